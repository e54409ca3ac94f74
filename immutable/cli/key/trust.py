"""``key trust``: take what others have signed."""

from __future__ import annotations

from typing import Any

import click

from immutable.cli import output
from immutable.cli.options import Command
from immutable.cli.shell import Shell, pass_shell
from immutable.config.keys import trusted_document
from immutable.spec.keys import PublicKey


def _public(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:  # noqa: ARG001
    try:
        return tuple(map(PublicKey.parse, value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(cls=Command)
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, callback=_public)
@pass_shell
def trust(shell: Shell, keys: tuple[PublicKey, ...]) -> None:
    """Take layers that KEY, like NAME:BASE64, has signed from caches instead of building them."""
    config = shell.config()
    new = config.keys.trust(*keys)
    if shell.json:
        output.say_json(trusted_document(config.keys.trusted_file, new))
    elif not shell.quiet:
        count = output.plural(len(new), "key")
        output.say(f"{config.keys.trusted_file}: {count} added")
