"""``copy``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from immutable.cli import destinations, output
from immutable.cli.params import complete_images, parse_platforms
from immutable.cli.shell import Command, Shell, pass_shell
from immutable.platforms import Platform
from immutable.store import AbstractStore

if TYPE_CHECKING:
    from immutable.transports import Transport


@click.command(cls=Command)
@click.argument("source", metavar="SRC", shell_complete=complete_images)
@click.argument("destination", metavar="DEST")
@click.option(
    "--platform",
    callback=parse_platforms,
    metavar="PLATFORM",
    help="Copy only the image for this one, say linux/arm64.",
)
@pass_shell
def copy(shell: Shell, source: str, destination: str, platform: Platform | None) -> None:
    """Copy an image from SRC to DEST.

    All bytes are verified on the way. Both are oci:DIR[:REF], oci-archive:FILE[:REF],
    docker-archive:FILE[:NAME:TAG], docker-daemon:NAME:TAG, or store:NAME[:TAG]; SRC may also be
    a bare name in the store. An image from the store keeps its name where DEST leaves it out.
    """
    from immutable import transports

    with shell.open_store() as store:
        taken = transports.parse(source, store=store)
        name, tag = _own_name(taken, store)
        whole = destinations.completed(destination, name, tag) if name else destination
        if not name:
            destinations.completed(destination, "image", "0")
        given = transports.parse(whole, store=store)
        with shell.watching() as progress:
            root = transports.copy(taken, given, platform=platform, store=store, progress=progress)
    if shell.json:
        output.say_json(
            {
                "source": str(taken),
                "destination": str(given),
                "digest": str(root.digest),
                "media_type": root.media_type,
            }
        )
    else:
        output.say(f"{given}  {root.digest}")


def _own_name(source: Transport, store: AbstractStore) -> tuple[str, str | None]:
    """Return the name and the tag that an image of the store goes by; no name for others."""
    from immutable.store.names import Reference
    from immutable.transports.store import StoreImage

    parsed = Reference.parse(source.reference) if isinstance(source, StoreImage) else None
    if parsed is None:
        return "", None
    if parsed.tag is not None:
        return parsed.name, parsed.tag
    digest = store.resolve(str(parsed)).digest
    tags = [
        tag
        for one in store.generations(parsed.name)
        if one.descriptor.digest == digest
        for tag in one.tags
    ]
    return parsed.name, next(iter(tags), None)
