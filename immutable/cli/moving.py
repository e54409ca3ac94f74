"""``copy``, and what it shares with the other commands that move images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from immutable.cli import output
from immutable.cli.params import complete_images, digest_option, platform_option, replace_option
from immutable.cli.shell import RegistryCommand, Shell, pass_shell
from immutable.config import Config
from immutable.errors import ImageNotFound
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.oci.platforms import Platform
from immutable.oci.tags import LATEST
from immutable.reference.store import Reference
from immutable.store import AbstractStore, Generation
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
        output.say_json({"source": str(taken), "destination": str(given), **digest_document(root)})
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


@contextmanager
def digest_written(path: Path | None) -> Iterator[Callable[[Descriptor], object]]:
    """Give what takes the digest for the file `path`, which is there if the block ends well.

    Raises TransportError at once for a place where no file can be, and for a file that is
    neither empty nor one with a digest.
    """
    if path is None:
        yield lambda _: None
        return
    from immutable.transports import members, outputs

    with members.written(path, outputs.DIGEST) as draft:
        yield lambda root: draft.write(f"{root.digest}\n".encode())


def tags_on(store: AbstractStore, name: str, digest: Digest) -> tuple[str, ...]:
    """Return the tags of `name` that are on `digest`; none for what others put into the store."""
    try:
        generations = store.generations(name)
    except ImageNotFound:
        return ()
    return next((one.tags for one in generations if one.descriptor.digest == digest), ())


def kept(store: AbstractStore, name: str, root: Descriptor) -> Generation:
    """Return the newest generation of `name` that is `root`, which was just put there."""
    generations = store.generations(name)
    return next(one for one in reversed(generations) if one.descriptor.digest == root.digest)


def kept_document(generation: Generation) -> dict[str, Any]:
    """Return the JSON document of an image in the store."""
    return {
        "name": generation.name,
        "generation": generation.number,
        "tags": [*generation.tags],
        **digest_document(generation.descriptor),
    }


def kept_text(name: str, tags: Sequence[str], root: Descriptor) -> str:
    """Return what to say of an image that is in the store under `tags`, or under its name alone."""
    references = [str(Reference(name, tag=tag)) for tag in tags] or [name]
    return "\n".join(f"store:{reference}  {root.digest}" for reference in references)


def digest_document(root: Descriptor) -> dict[str, Any]:
    """Return what every JSON document says of an image that was moved."""
    return {"digest": str(root.digest), "media_type": root.media_type}
