"""Whether a manifest that a registry gave is what the registry says it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from immutable.errors import ImageError
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.redact import cut

# All that is understood; what a registry turns an image into for others is not asked for.
MEDIA_TYPES: Final = (
    oci.INDEX,
    oci.MANIFEST,
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT: Final = ", ".join(MEDIA_TYPES)
_FOREIGN: Final = (
    "application/vnd.docker.image.rootfs.foreign.",
    "application/vnd.oci.image.layer.nondistributable.",
)


def check(data: bytes, content_type: str, where: str) -> str:
    """Return the media type of the manifest or index in `data`.

    `content_type` is the header that came with it. Raises ImageError for another type than
    these, a document that says otherwise than its header, one that is no manifest or index, and
    layers that are to be fetched from elsewhere.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        raise ImageError(
            f"{where}: Content-Type: expected a manifest or an index of OCI or of Docker's "
            f"schema 2, found {cut(media_type, 80) or 'nothing'}"
        )
    oci.decode_document(data, media_type, where)
    document = canonical.decode(data)
    own = document.get("mediaType", media_type)
    if own != media_type:
        raise ImageError(
            f"{where}: Content-Type says {media_type}, mediaType says {cut(str(own), 80)}"
        )
    _refuse_foreign(document, where)
    return media_type


def subject(data: bytes) -> Mapping[str, Any] | None:
    """Return the descriptor of what the manifest in `data` refers to, if it does."""
    document = canonical.decode(data)
    found = document.get("subject") if isinstance(document, dict) else None
    return found if isinstance(found, dict) else None


def _refuse_foreign(document: Mapping[str, Any], where: str) -> None:
    for place, descriptor in _descriptors(document):
        if descriptor.get("urls"):
            raise ImageError(
                f"{where}: {place}.urls: found {cut(repr(descriptor['urls']), 80)}; blobs are "
                "taken from the registry alone"
            )
        if str(descriptor.get("mediaType")).startswith(_FOREIGN):
            raise ImageError(
                f"{where}: {place}.mediaType: found {cut(descriptor['mediaType'], 80)}; a layer "
                "that no registry may hold cannot be copied"
            )


def _descriptors(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key in ("config", "layers", "manifests"):
        value = document.get(key, [])
        items: Iterable[Any] = value if isinstance(value, list) else [value]
        for number, item in enumerate(items):
            if isinstance(item, dict):
                yield (f"{key}[{number}]" if isinstance(value, list) else key), item
