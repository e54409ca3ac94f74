"""The verb `copy`: an image from one transport to another."""

from __future__ import annotations

from immutable import transports
from immutable.build import Image
from immutable.oci import Descriptor
from immutable.platforms import Platform
from immutable.progress import SILENT, Progress
from immutable.store import AbstractStore


def copy(
    source: Image | str,
    destination: str,
    *,
    platform: Platform | None = None,
    store: AbstractStore | None = None,
    progress: Progress = SILENT,
) -> Descriptor:
    """Copy an image and return the descriptor of what was copied.

    `source` is what `build` returned, or a reference in containers-transports(5) spelling;
    one without a transport is a name in `store`, or in this user's own. `destination` is a
    reference; ``oci:DIR`` and archives may leave the name out. With `platform` one platform
    of an index is copied. All bytes are verified on the way, and on an error the destination
    has nothing new by its name. Raises ImmutableError.
    """
    if isinstance(source, Image):
        from immutable.transports.store import StoreImage

        given = StoreImage(f"{source.name}@{source.digest}", source.store)
        return transports.copy(
            given, destination, platform=platform, store=store or source.store, progress=progress
        )
    return transports.copy(source, destination, platform=platform, store=store, progress=progress)
