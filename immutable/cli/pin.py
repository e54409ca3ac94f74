"""``pin``: keep one version of an image."""

from __future__ import annotations

import click

from immutable.cli import output
from immutable.cli.completers import complete_images
from immutable.cli.options import Command
from immutable.cli.shell import Shell, pass_shell
from immutable.errors import ImageNotFound
from immutable.store import AbstractStore, Generation


@click.command(cls=Command)
@click.argument("reference", metavar="NAME[:TAG|@N]", shell_complete=complete_images)
@click.option("--remove", is_flag=True, help="Let go of it.")
@pass_shell
def pin(shell: Shell, reference: str, remove: bool) -> None:
    """Keep one version of an image, whatever a policy says. NAME alone is its current version."""
    from immutable.lifecycle.generations import generation_document

    with shell.open_store() as store:
        found = _named(store, reference)
        pinned = store.pin(found.name, found.number, pinned=not remove)
    if shell.json:
        output.say_json(generation_document(pinned))
    else:
        state = "pinned" if pinned.pinned else "not pinned"
        output.say(f"{pinned.name}@{pinned.number}: {state}")


def _named(store: AbstractStore, reference: str) -> Generation:
    """Return the newest generation that `reference` means."""
    from immutable.reference.store import Reference

    root = store.resolve(reference)
    parsed = Reference.parse(reference)
    if parsed is None:
        raise ImageNotFound(f"{reference}: expected NAME, NAME:TAG or NAME@N")
    wanted = [
        each
        for each in store.generations(parsed.name)
        if each.descriptor.digest == root.digest and parsed.number in (None, each.number)
    ]
    current = [each for each in wanted if each.current and parsed.number is None]
    return (current or wanted)[-1]
