"""``rollback``: make another version of an image the current one."""

from __future__ import annotations

import click

from immutable.cli import output
from immutable.cli.completers import complete_images
from immutable.cli.options import Command
from immutable.cli.shell import Shell, pass_shell
from immutable.store import AbstractStore, Generation


@click.command(cls=Command)
@click.argument("name", metavar="NAME", shell_complete=complete_images)
@click.option("--to", type=click.IntRange(min=1), metavar="N", help="This one, not the one before.")
@pass_shell
def rollback(shell: Shell, name: str, to: int | None) -> None:
    """Make an earlier version of the image NAME the current one. Nothing is deleted.

    Without --to it is the version before the current one. Tags stay where they are.
    """
    from immutable.lifecycle.generations import rollback as roll_back
    from immutable.lifecycle.generations import rollback_document

    with shell.open_store() as store:
        before = _current(store, name)
        now = roll_back(store, name, to)
    if shell.json:
        output.say_json(rollback_document(before, now))
    elif before.number == now.number:
        output.say(f"{name}: generation {now.number} is current already")
    else:
        output.say(f"{name}: generation {before.number} → {now.number}\n{now.descriptor.digest}")


def _current(store: AbstractStore, name: str) -> Generation:
    return next(each for each in store.generations(name) if each.current)
