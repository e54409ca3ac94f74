"""``push``: from the store to registries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click
from attrs import frozen

from immutable.cli import output
from immutable.cli.completers import complete_images
from immutable.cli.digest_file import digest_option, digest_written
from immutable.cli.options import RegistryCommand
from immutable.cli.params import platform_option, replace_option
from immutable.cli.shell import Shell, pass_shell
from immutable.cli.stored import tags_on
from immutable.errors import TransportError
from immutable.oci.platforms import Platform
from immutable.reference.store import Reference
from immutable.store import AbstractStore
from immutable.transports import destinations

if TYPE_CHECKING:
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
    from immutable.transports.reports import pushed_document

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
        output.say_json(pushed_document(f"store:{pushed.reference}", names, root))
    elif shell.quiet:
        output.say(str(root.digest))
    else:
        output.say("\n".join(f"{name}  {root.digest}" for name in names))


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
