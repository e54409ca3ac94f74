"""``images``: what the store holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from immutable.cli import output
from immutable.cli.options import Command
from immutable.cli.shell import Shell, pass_shell
from immutable.errors import ImmutableError
from immutable.store import AbstractStore, Generation
from immutable.store.reports import listed_document


@click.command(cls=Command)
@pass_shell
def images(shell: Shell) -> None:
    """List the images in the store.

    Of each name, the current generation is shown.
    """
    config = shell.config()
    with shell.look_into_store(config) as store:
        documents = [listed_document(image, _size(image, store)) for image in store.images()]
    if shell.json:
        output.say_json(documents)
    elif documents:
        output.say(_listing(documents))
    else:
        output.say(f"no images in {config.store}")


def _size(image: Generation, store: AbstractStore) -> int | None:
    """Return the bytes of all that an image is made of; None of one that is damaged."""
    from immutable.transports.store import StoreSource
    from immutable.transports.tree import gather, total_size

    try:
        return total_size(gather(StoreSource(image.name, image.descriptor, store)))
    except ImmutableError:
        return None  # one bad image must not hide the others


def _listing(documents: Sequence[dict[str, Any]]) -> str:
    head = ("NAME", "TAGS", "DIGEST", "SIZE", "GENERATION", "CREATED")
    rows = [
        (
            document["name"],
            ",".join(document["tags"]) or "-",
            document["digest"].removeprefix("sha256:")[:12],
            "damaged" if document["size"] is None else output.size(document["size"]),
            str(document["generation"]),
            document["created"],
        )
        for document in documents
    ]
    return output.table([head, *rows], right={3, 4})
