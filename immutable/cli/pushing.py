"""``push`` and ``pull``: between the store and registries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click
from attrs import frozen

from immutable.cli import output
from immutable.cli.moving import (
    digest_document,
    digest_written,
    kept,
    kept_document,
    kept_text,
    tags_on,
)
from immutable.cli.params import (
    complete_images,
    digest_option,
    parse_name,
    platform_option,
    replace_option,
)
from immutable.cli.shell import RegistryCommand, Shell, pass_shell
from immutable.errors import TransportError
from immutable.oci.platforms import Platform
from immutable.oci.tags import LATEST, NO_VERSION
from immutable.reference.grammar import is_repository
from immutable.reference.store import Reference
from immutable.store import AbstractStore
from immutable.transports import destinations

if TYPE_CHECKING:
    from immutable.progress import Progress
    from immutable.transports import Transport
    from immutable.transports.store import StoreImage


@click.command(cls=RegistryCommand)
@click.argument("image", metavar="NAME[:TAG|@N]", shell_complete=complete_images)
@click.argument("places", metavar="[DEST]...", nargs=-1)
@click.option("--all-tags", is_flag=True, help="Push all tags of the image, not just NAME's.")
@platform_option("Push")
@replace_option
@digest_option
@pass_shell
def push(
    shell: Shell,
    image: str,
    places: tuple[str, ...],
    all_tags: bool,
    platform: Platform | None,
    replace_tag: bool,
    digest_file: Path | None,
) -> None:
    """Push an image of the store to registries.

    DEST is HOST[:PORT]/NAME[:TAG], or docker://HOST for the image's own name; with none, NAME
    has to begin with the host. Where DEST has no TAG, it is the one of NAME, else all that the
    image has. Logins are those of `docker login` and `podman login`.

    A tag that is on another image stays there, and nothing of the image is pushed. The JSON has
    source, destinations (an array), digest and media_type. With --quiet only the digest is
    printed.
    """
    from immutable import transports

    config = shell.config()
    with (
        digest_written(digest_file) as written,
        shell.look_into_store(config) as store,
        store.lease(),  # from the look at its name to the last destination
    ):
        pushed = _Pushed.find(image, store, all_tags=all_tags)
        targets = [
            destinations.place(
                destination,
                pushed.name,
                pushed.tags,
                store=store,
                registries=config.registries,
                replace_tag=replace_tag,
            )
            for destination in _targets(places, pushed, all_tags=all_tags)
        ]
        with shell.watching() as progress:
            for target in targets:
                root = transports.copy(pushed.place, target, platform=platform, progress=progress)
        written(root)
    names = [name for target in targets for name in destinations.references(target)]
    if shell.json:
        source = f"store:{pushed.reference}"
        output.say_json({"source": source, "destinations": names, **digest_document(root)})
    elif shell.quiet:
        output.say(str(root.digest))
    else:
        output.say("\n".join(f"{name}  {root.digest}" for name in names))


@click.command(cls=RegistryCommand)
@click.argument("source", metavar="SRC")
@click.argument(
    "under",
    metavar="[NAME[:TAG]]",
    required=False,
    callback=parse_name,
    shell_complete=complete_images,
)
@platform_option("Pull")
@replace_option
@digest_option
@pass_shell
def pull(
    shell: Shell,
    source: str,
    under: Reference | None,
    platform: Platform | None,
    replace_tag: bool,
    digest_file: Path | None,
) -> None:
    """Pull an image into the store.

    SRC is HOST[:PORT]/NAME:TAG or HOST[:PORT]/NAME@sha256:… in a registry, or any other place
    that `copy` knows. The image becomes the newest generation of NAME, by default its own name
    without the host, and keeps its tag; but for `latest`, which names no version.

    A tag of the store that is on another image stays there, and the image is not kept. The JSON
    has source, name, generation, tags, digest and media_type. With --quiet only the digest is
    printed.
    """
    from immutable import transports

    config = shell.config()
    with digest_written(digest_file) as written, shell.open_store(config) as store:
        taken = _source(source, store, shell)
        with shell.watching() as progress:
            name = _name_for(taken, under, progress)
            given = transports.parse(f"store:{name}", store=store, replace_tag=replace_tag)
            root = transports.copy(taken, given, platform=platform, progress=progress)
        written(root)
        generation = kept(store, name.name, root)
    if shell.json:
        output.say_json({"source": str(taken), **kept_document(generation)})
    elif shell.quiet:
        output.say(str(root.digest))
    else:
        output.say(kept_text(name.name, [name.tag] if name.tag else [], root))


# Pushing


@frozen
class _Pushed:
    """An image of the store that is to be pushed: its name, and the tags that it goes by.

    `reference` is what meant it; `place` is by digest, as a name may come to mean
    another or nothing.
    """

    reference: Reference
    name: str
    tags: tuple[str, ...]
    place: StoreImage

    @classmethod
    def find(cls, image: str, store: AbstractStore, *, all_tags: bool) -> Self:
        """Return what the reference `image` means; raise TransportError and ImageNotFound."""
        from immutable import transports
        from immutable.transports.store import StoreImage, named

        given = transports.parse(image, store=store)
        parsed = named(given.reference) if isinstance(given, StoreImage) else None
        if parsed is None:
            raise TransportError(
                f"{image}: expected NAME, NAME:TAG or NAME@N, an image of the store; from "
                f"elsewhere: immutable copy {image} docker://HOST/NAME:TAG"
            )
        digest = store.resolve(str(parsed)).digest
        alone = parsed.tag is not None and not all_tags
        tags = (str(parsed.tag),) if alone else tags_on(store, parsed.name, digest)
        return cls(parsed, parsed.name, tags, StoreImage(str(digest), store))


def _targets(places: tuple[str, ...], pushed: _Pushed, *, all_tags: bool) -> Iterator[str]:
    """Yield where to push to; raise UsageError if nothing says where, or too much which tag."""
    if not places and destinations.registry_name(pushed.name) is None:
        raise click.UsageError(
            f"say where to: immutable push {pushed.reference} HOST/{pushed.name}"
        )
    for place in places or (pushed.name,):
        reference = destinations.in_registry(place)
        if all_tags and destinations.names_version(reference):
            raise click.UsageError(f"--all-tags, or a tag for {place}: only one of them")
        yield reference


# Pulling


def _source(source: str, store: AbstractStore, shell: Shell) -> Transport:
    """Return the place that `source` writes, where a bare name is one with a host."""
    from immutable import transports

    if not destinations.has_transport(source) and destinations.registry_name(source) is not None:
        source = destinations.in_registry(source)
    registries = shell.config().registries
    place = transports.parse(source, store=store, registries=registries)
    if str(place) == f"store:{source}":
        raise TransportError(
            f"{source}: expected HOST/NAME:TAG or TRANSPORT:…; a name without a host is in no "
            "registry"
        )
    return place


def _name_for(taken: Transport, under: Reference | None, progress: Progress) -> Reference:
    """Return the name to keep an image under; raise UsageError if nothing says which."""
    called = taken.called()
    if under is None and not is_repository(called.name):
        raise click.UsageError(f"{taken} does not say what to call the image; write NAME behind it")
    name = Reference(called.name) if under is None else under
    if name.tag is not None or not called.tag:
        return name
    if called.tag == LATEST:
        progress.note(f"{taken}: {NO_VERSION}; kept as {name} without a tag")
        return name
    return Reference(name.name, tag=called.tag)
