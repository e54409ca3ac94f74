"""``generations``, ``rollback`` and ``pin``: the versions of an image."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from immutable.cli import output, reports
from immutable.cli.params import complete_images
from immutable.cli.shell import Command, Shell, pass_shell
from immutable.errors import ImageNotFound
from immutable.store import AbstractStore, Generation

if TYPE_CHECKING:
    from immutable.lifecycle.generations import Version

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@click.command(cls=Command)
@click.argument("name", metavar="NAME", shell_complete=complete_images)
@pass_shell
def generations(shell: Shell, name: str) -> None:
    """List the versions of the image NAME, the newest first.

    OWN is what no other version of any image in the store has. CHANGED is against the version
    before.
    """
    from immutable.lifecycle.generations import generations as list_generations

    with shell.look_into_store() as store:
        versions = list_generations(store, name)
    documents = [_document(version) for version in reversed(versions)]
    if shell.json:
        output.say_json(documents)
    else:
        output.say(_table(documents, datetime.datetime.now(datetime.UTC)))


def _document(version: Version) -> dict[str, Any]:
    generation = version.generation
    return {
        **_described(generation),
        "size": version.size,
        "own": version.own,
        "changes": None if version.changes is None else [str(one) for one in version.changes],
    }


def _described(generation: Generation) -> dict[str, Any]:
    return {
        "name": generation.name,
        "generation": generation.number,
        "digest": str(generation.descriptor.digest),
        "created": reports.utc(generation.created),
        "tags": [*generation.tags],
        "current": generation.current,
        "pinned": generation.pinned,
    }


def _table(documents: Sequence[dict[str, Any]], now: datetime.datetime) -> str:
    head = ("", "GENERATION", "AGE", "DIGEST", "TAGS", "SIZE", "OWN", "CHANGED")
    rows = [
        (
            "*" if one["current"] else "",
            str(one["generation"]) + (" pinned" if one["pinned"] else ""),
            age(datetime.datetime.fromisoformat(one["created"]), now),
            one["digest"].removeprefix("sha256:")[:12],
            ",".join(one["tags"]) or "-",
            output.size(one["size"]),
            output.size(one["own"]),
            "-" if one["changes"] is None else "; ".join(one["changes"]) or "nothing that counts",
        )
        for one in documents
    ]
    return output.table([head, *rows], right={5, 6})


def age(created: datetime.datetime, now: datetime.datetime) -> str:
    """Return how long ago `created` was, in its largest unit; a time to come is ``0s``."""
    seconds = max(0, int((now - created).total_seconds()))
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return "0s"


@click.command(cls=Command)
@click.argument("name", metavar="NAME", shell_complete=complete_images)
@click.option("--to", type=click.IntRange(min=1), metavar="N", help="This one, not the one before.")
@pass_shell
def rollback(shell: Shell, name: str, to: int | None) -> None:
    """Make an earlier version of the image NAME the current one. Nothing is deleted.

    Without --to it is the version before the current one. Tags stay where they are.
    """
    from immutable.lifecycle.generations import rollback as roll_back

    with shell.open_store() as store:
        before = _current(store, name)
        now = roll_back(store, name, to)
    if shell.json:
        output.say_json({**_described(now), "previous": before.number})
    elif before.number == now.number:
        output.say(f"{name}: generation {now.number} is current already")
    else:
        output.say(f"{name}: generation {before.number} → {now.number}\n{now.descriptor.digest}")


@click.command(cls=Command)
@click.argument("reference", metavar="NAME[:TAG|@N]", shell_complete=complete_images)
@click.option("--remove", is_flag=True, help="Let go of it.")
@pass_shell
def pin(shell: Shell, reference: str, remove: bool) -> None:
    """Keep one version of an image, whatever a policy says. NAME alone is its current version."""
    with shell.open_store() as store:
        found = _named(store, reference)
        pinned = store.pin(found.name, found.number, pinned=not remove)
    if shell.json:
        output.say_json(_described(pinned))
    else:
        state = "pinned" if pinned.pinned else "not pinned"
        output.say(f"{pinned.name}@{pinned.number}: {state}")


def _current(store: AbstractStore, name: str) -> Generation:
    return next(each for each in store.generations(name) if each.current)


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
