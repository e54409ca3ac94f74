"""``generations``: the versions of an image."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import click

from immutable.cli import output
from immutable.cli.completers import complete_images
from immutable.cli.options import Command
from immutable.cli.shell import Shell, pass_shell

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
    from immutable.lifecycle.generations import version_document

    with shell.look_into_store() as store:
        versions = list_generations(store, name)
    documents = [version_document(version) for version in reversed(versions)]
    if shell.json:
        output.say_json(documents)
    else:
        output.say(_table(documents, datetime.datetime.now(datetime.UTC)))


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
