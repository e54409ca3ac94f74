"""``images``: what the store holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from immutable.cli import output
from immutable.cli.shell import Command, Shell, pass_shell
from immutable.errors import ImmutableError
from immutable.store import AbstractStore, Generation


@click.command(cls=Command)
@pass_shell
def images(shell: Shell) -> None:
    """List the images in the store.

    Of each name, the current generation is shown.
    """
    config = shell.config()
    with shell.look_into_store(config) as store:
        documents = [_listed(image, store) for image in store.images()]
    if shell.json:
        output.say_json(documents)
    elif documents:
        output.say(_listing(documents))
    else:
        output.say(f"no images in {config.store}")


def _listed(image: Generation, store: AbstractStore) -> dict[str, Any]:
    from immutable.cli import reports

    try:
        size = reports.stored_size(store, image.descriptor, image.name)
    except ImmutableError:
        size = None  # damaged; one bad image must not hide the others
    return {
        "name": image.name,
        "tags": [*image.tags],
        "digest": str(image.descriptor.digest),
        "media_type": image.descriptor.media_type,
        "size": size,
        "generation": image.number,
        "created": reports.utc(image.created),
    }


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
