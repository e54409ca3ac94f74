"""What there is to say of a store as JSON documents: its images, how much it holds, its damage.

Functions of values; what they return is plain JSON: dicts, lists, strings, numbers, None.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from immutable.store.base import Generation, StoreInfo

if TYPE_CHECKING:
    from immutable.store.faults import Fault  # what a copy does not need


def kept_document(generation: Generation) -> dict[str, Any]:
    """Return the document of an image that was put into the store, or given a name there.

    It has name, generation (its number), tags (all that stand on it), digest and media_type.
    """
    return {
        "name": generation.name,
        "generation": generation.number,
        "tags": [*generation.tags],
        "digest": str(generation.descriptor.digest),
        "media_type": generation.descriptor.media_type,
    }


def listed_document(generation: Generation, size: int | None) -> dict[str, Any]:
    """Return the document of an image in a list of them.

    It has name, tags, digest, media_type, size (bytes of all blobs, each once; None of a damaged
    image), generation (its number) and created (see `utc`).
    """
    return {
        "name": generation.name,
        "tags": [*generation.tags],
        "digest": str(generation.descriptor.digest),
        "media_type": generation.descriptor.media_type,
        "size": size,
        "generation": generation.number,
        "created": utc(generation.created),
    }


def info_document(place: str, info: StoreInfo) -> dict[str, Any]:
    """Return the document of how much the store in the folder `place` holds.

    It has path, and as numbers images, generations, blobs, bytes (the sum of the blobs' sizes),
    realisations, chunks and sources.
    """
    return {
        "path": place,
        "images": info.images,
        "generations": info.generations,
        "blobs": info.blobs,
        "bytes": info.bytes,
        "realisations": info.realisations,
        "chunks": info.chunks,
        "sources": info.sources,
    }


def check_document(place: str, found: Sequence[Fault], left: Sequence[Fault]) -> dict[str, Any]:
    """Return the document of a check of the store in the folder `place`.

    It has path, found and, after a repair, what is left; each fault as in `fault_document`.
    """
    return {
        "path": place,
        "found": [*map(fault_document, found)],
        "left": [*map(fault_document, left)],
    }


def fault_document(fault: Fault) -> dict[str, Any]:
    """Return the document of a fault: kind, place, expected, found, repairable and hint."""
    return {
        "kind": str(fault.kind),
        "place": fault.place,
        "expected": fault.expected,
        "found": fault.found,
        "repairable": fault.repairable,
        "hint": fault.hint,
    }


def utc(moment: datetime) -> str:
    """Return a time in UTC as RFC 3339 with whole seconds: ``2024-05-01T12:00:00Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
