"""``copy``: an image from one place to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from immutable.cli import output
from immutable.cli.completers import complete_images
from immutable.cli.digest_file import digest_option, digest_written
from immutable.cli.options import RegistryCommand
from immutable.cli.params import platform_option, replace_option
from immutable.cli.shell import Shell, pass_shell
from immutable.cli.stored import tags_on
from immutable.config import Config
from immutable.oci.platforms import Platform
from immutable.oci.tags import LATEST
from immutable.store import AbstractStore
from immutable.transports import destinations

if TYPE_CHECKING:
    from immutable.transports import Transport


@click.command(cls=RegistryCommand)
@click.argument("source", metavar="SRC", shell_complete=complete_images)
@click.argument("destination", metavar="DEST")
@platform_option("Copy")
@replace_option
@digest_option
@pass_shell
def copy(
    shell: Shell,
    source: str,
    destination: str,
    platform: Platform | None,
    replace_tag: bool,
    digest_file: Path | None,
) -> None:
    """Copy an image from SRC to DEST.

    All bytes are verified on the way. Both are oci:DIR[:REF], oci-archive:FILE[:REF],
    docker-archive:FILE[:NAME:TAG], docker-daemon:NAME:TAG, docker://HOST[:PORT]/NAME:TAG, or
    store:NAME[:TAG]; SRC may also be a bare name in the store. An image keeps its name where
    DEST leaves it out. Logins are those of `docker login` and `podman login`.

    A tag in a registry or in the store that is on another image stays there, and `latest` is no
    tag to copy to. The JSON has source, destination, digest and media_type.
    """
    from immutable import transports
    from immutable.transports.reports import copied_document

    config = shell.config()
    # Only what is to be kept there makes a store.
    open_store = shell.open_store if destination.startswith("store:") else shell.look_into_store
    with digest_written(digest_file) as written, open_store(config) as store:
        taken = transports.parse(source, store=store, registries=config.registries)
        given = _destination(destination, taken, store, config, replace_tag=replace_tag)
        _expect_apart(digest_file, given)
        with shell.watching() as progress:
            root = transports.copy(taken, given, platform=platform, progress=progress)
        written(root)
    if shell.json:
        output.say_json(copied_document(str(taken), str(given), root))
    else:
        output.say(f"{given}  {root.digest}")


def _destination(
    destination: str, source: Transport, store: AbstractStore, config: Config, *, replace_tag: bool
) -> Transport:
    from immutable import transports

    name, tag = _own_name(source, store)
    if name:
        return destinations.place(
            destination,
            name,
            (tag,) if tag else (),
            store=store,
            registries=config.registries,
            replace_tag=replace_tag,
        )
    destinations.completed(destination, "image", "0")  # knows what is wrong with it
    return transports.parse(
        destination, store=store, registries=config.registries, replace_tag=replace_tag
    )


def _expect_apart(digest_file: Path | None, destination: Transport) -> None:
    """Raise TransportError where the digest would take the image's place."""
    from immutable.transports.outputs import DiskTransport, expect_apart

    if digest_file is not None and isinstance(destination, DiskTransport):
        expect_apart(digest_file, destination.path, "the image that is copied,")


def _own_name(source: Transport, store: AbstractStore) -> tuple[str, str]:
    """Return the name and the tag that an image goes by; both may be empty."""
    from immutable.transports.store import StoreImage

    called = source.called()
    if called.tag or not called.name or not isinstance(source, StoreImage):
        return called.name, "" if called.tag == LATEST else called.tag
    digest = store.resolve(source.reference).digest
    return called.name, next(iter(tags_on(store, called.name, digest)), "")
