"""``store info``: where the store is, and how much it holds."""

from __future__ import annotations

import click

from immutable.cli import output
from immutable.cli.options import Command
from immutable.cli.shell import Shell, pass_shell
from immutable.store.reports import info_document


@click.command(cls=Command)
@pass_shell
def info(shell: Shell) -> None:
    """Say where the store is, and how much it holds."""
    config = shell.config()
    with shell.look_into_store(config) as opened:
        found = opened.info()
    if shell.json:
        output.say_json(info_document(str(config.store), found))
        return
    missing = "" if found.root else "  (not there yet: `immutable build` makes it)"
    output.say(
        output.fields(
            [
                ("store", f"{config.store}{missing}"),
                ("images", str(found.images)),
                ("generations", str(found.generations)),
                ("blobs", f"{found.blobs}, {output.size(found.bytes)}"),
                ("realisations", str(found.realisations)),
                ("chunks", str(found.chunks)),
                ("sources", str(found.sources)),
            ]
        )
    )
