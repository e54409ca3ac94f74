"""``key generate``: this user's own key."""

from __future__ import annotations

import click

from immutable.cli import output
from immutable.cli.options import Command
from immutable.cli.shell import Shell, pass_shell
from immutable.config.keys import keys_document
from immutable.spec.keys import check_name


def _name(ctx: click.Context, param: click.Parameter, value: str) -> str:  # noqa: ARG001
    try:
        return check_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(cls=Command)
@click.argument("name", metavar="NAME", callback=_name)
@pass_shell
def generate(shell: Shell, name: str) -> None:
    """Make this user's own key, which signs what `build --cache-to` shares.

    The secret key stays on this machine; the public one is printed, for others to trust.
    """
    config = shell.config()
    public = config.keys.generate(name)
    if shell.json:
        output.say_json(keys_document([public]))
    else:
        output.say(str(public))
    shell.hint(f"others trust it with: immutable key trust {public}")
