"""The command `immutable` itself."""

from __future__ import annotations

from typing import Final

import click

from immutable import __version__
from immutable.cli.building import build, lock, verify
from immutable.cli.completing import completion
from immutable.cli.keeping import load, tag
from immutable.cli.keys import key
from immutable.cli.moving import copy
from immutable.cli.pushing import pull, push
from immutable.cli.shell import Group
from immutable.cli.showing import images, inspect
from immutable.cli.starter import init
from immutable.cli.storing import store


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def root() -> None:
    """Build OCI images the Nix way: same spec, same lock, same digest.

    Results go to stdout, progress and messages to stderr. Global options may stand before or
    after the command's name.

    Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 a difference was found.
    """


_COMMANDS: Final = (
    *(init, lock, build, images, inspect, tag),
    *(push, pull, copy, load, verify, store, key, completion),
)
for command in _COMMANDS:
    root.add_command(command)
