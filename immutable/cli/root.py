"""The command `immutable` itself."""

from __future__ import annotations

import importlib
from typing import Final

import click

from immutable import __version__
from immutable.cli.shell import Group

# In the order of the help; what a command needs is imported when it is run.
_PLACES: Final = {
    "init": "starter",
    "lock": "building",
    "build": "building",
    "images": "showing",
    "inspect": "showing",
    "tag": "keeping",
    "generations": "lifecycle",
    "rollback": "lifecycle",
    "pin": "lifecycle",
    "prune": "pruning",
    "policy": "policies",
    "push": "pushing",
    "pull": "pushing",
    "copy": "moving",
    "load": "keeping",
    "verify": "building",
    "store": "storing",
    "key": "keys",
    "completion": "completing",
}


class Root(Group):
    """The group of all commands, each imported from its module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order in which they are likely to be used."""
        return [*_PLACES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command by its name."""
        place = _PLACES.get(cmd_name)
        if place is None:
            return None
        module = importlib.import_module(f"immutable.cli.{place}")
        found: click.Command = getattr(module, cmd_name)
        return found


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def root() -> None:
    """Build OCI images the Nix way: same spec, same lock, same digest.

    Results go to stdout, progress and messages to stderr. Global options may stand before or
    after the command's name.

    Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 a difference was found.
    """
