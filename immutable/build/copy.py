"""The verb `copy`: an image from one transport to another."""

from __future__ import annotations

from immutable import transports
from immutable.build.results import Image
from immutable.config import Registries
from immutable.oci.documents import Descriptor
from immutable.oci.platforms import Platform
from immutable.progress import SILENT, Progress
from immutable.store import AbstractStore
from immutable.transports import destinations


def copy(
    source: Image | str,
    destination: str,
    *,
    platform: Platform | None = None,
    store: AbstractStore | None = None,
    registries: Registries | None = None,
    replace_tag: bool = False,
    progress: Progress = SILENT,
) -> Descriptor:
    """Copy an image and return the descriptor of what was copied.

    `source` is what `build` returned, or a reference in containers-transports(5) spelling;
    one without a transport is a name in `store`, or in this user's own. `destination` is a
    reference; ``oci:DIR`` and archives may leave the name out. What a built image's destination
    leaves out is the image's own, as on the command line: in a registry that is all its tags.
    With `platform` one platform of an index is copied. Registries are reached as `registries`
    says, or this user's own settings.

    All bytes are verified on the way, and on an error the destination has nothing new by its
    name. Raises ImmutableError: TagTaken if the destination is a registry or a store and has
    the tag on another image, unless `replace_tag`.
    """
    given: transports.Transport | str = source if isinstance(source, str) else _built(source)
    taken: transports.Transport | str = destination
    if isinstance(source, Image):
        store = store or source.store
        taken = destinations.place(
            destination,
            source.name,
            source.tags,
            store=store,
            registries=registries,
            replace_tag=replace_tag,
        )
    return transports.copy(
        given,
        taken,
        platform=platform,
        store=store,
        registries=registries,
        replace_tag=replace_tag,
        progress=progress,
    )


def _built(image: Image) -> transports.Transport:
    from immutable.transports.store import StoreImage

    return StoreImage(f"{image.name}@{image.digest}", image.store)
