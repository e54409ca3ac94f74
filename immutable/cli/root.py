"""The command `immutable` itself."""

from __future__ import annotations

from typing import Final

import click

from immutable import __version__
from immutable.cli.options import Group

# In the order of the help: as people are likely to need them.
_COMMANDS: Final = (
    "init",
    "lock",
    "build",
    "images",
    "inspect",
    "tag",
    "generations",
    "rollback",
    "pin",
    "prune",
    "policy",
    "push",
    "pull",
    "copy",
    "load",
    "verify",
    "store",
    "key",
    "completion",
)


@click.group(
    cls=Group,
    package="immutable.cli",
    names=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def root() -> None:
    """Build OCI images the Nix way: same spec, same lock, same digest.

    Results go to stdout, progress and messages to stderr. Global options may stand before or
    after the command's name.

    Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 a difference was found.
    """
