"""``key list``: who is trusted."""

from __future__ import annotations

import click

from immutable.cli import output
from immutable.cli.options import Command
from immutable.cli.shell import Shell, pass_shell
from immutable.config.keys import keys_document


@click.command(cls=Command)
@pass_shell
def list(shell: Shell) -> None:  # noqa: A001 - the command's name
    """Print the public keys that are trusted, this user's own among them."""
    keys = shell.config().keys.trusted()
    if shell.json:
        output.say_json(keys_document(keys))
    elif keys:
        output.say("\n".join(map(str, keys)))
