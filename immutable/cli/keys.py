"""``key``: who vouches for layers that come from a remote cache."""

from __future__ import annotations

from typing import Any

import click

from immutable.cli import output
from immutable.cli.shell import Group, Shell, pass_shell
from immutable.spec.keys import PublicKey, check_name


def _name(ctx: click.Context, param: click.Parameter, value: str) -> str:  # noqa: ARG001
    try:
        return check_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _public(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:  # noqa: ARG001
    try:
        return tuple(map(PublicKey.parse, value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group(cls=Group)
def key() -> None:
    """Keep the keys that vouch for layers in a remote cache."""


@key.command()
@click.argument("name", metavar="NAME", callback=_name)
@pass_shell
def generate(shell: Shell, name: str) -> None:
    """Make this user's own key, which signs what `build --cache-to` shares.

    The secret key stays on this machine; the public one is printed, for others to trust.
    """
    config = shell.config()
    public = config.keys.generate(name)
    _say(shell, [public])
    shell.hint(f"others trust it with: immutable key trust {public}")


@key.command()
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, callback=_public)
@pass_shell
def trust(shell: Shell, keys: tuple[PublicKey, ...]) -> None:
    """Take layers that KEY, like NAME:BASE64, has signed from caches instead of building them."""
    config = shell.config()
    new = config.keys.trust(*keys)
    if shell.json:
        output.say_json({"path": str(config.keys.trusted_file), "added": [str(one) for one in new]})
    elif not shell.quiet:
        count = output.plural(len(new), "key")
        output.say(f"{config.keys.trusted_file}: {count} added")


@key.command(name="list")
@pass_shell
def list_(shell: Shell) -> None:
    """Print the public keys that are trusted, this user's own among them."""
    _say(shell, list(shell.config().keys.trusted()))


def _say(shell: Shell, keys: list[PublicKey]) -> None:
    if shell.json:
        output.say_json({"keys": [str(one) for one in keys]})
    elif keys:
        output.say("\n".join(map(str, keys)))
