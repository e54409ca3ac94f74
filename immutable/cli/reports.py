"""The JSON documents that commands print of images and locks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from immutable import transports
from immutable.build.lock import Locked
from immutable.build.results import BuiltPlatform, Image
from immutable.build.verify import Difference
from immutable.oci.documents import Descriptor
from immutable.store import AbstractStore, Generation
from immutable.transports.store import StoreSource
from immutable.transports.tree import gather


def built(image: Image, outputs: Sequence[str]) -> dict[str, Any]:
    """Return the JSON document of a build; its keys are a contract."""
    return {
        "name": image.name,
        "digest": str(image.digest),
        "media_type": image.descriptor.media_type,
        "size": stored_size(image.store, image.descriptor, image.name),
        "generation": image.generation.number,
        "tags": [*image.tags],
        "outputs": [*outputs],
        "platforms": [_platform(platform) for platform in image.platforms],
    }


def _platform(platform: BuiltPlatform) -> dict[str, Any]:
    return {
        "platform": str(platform.platform),
        "digest": str(platform.image.descriptor.digest),
        "config": str(platform.manifest.config.digest),
        "layers": [
            {
                "name": layer.name,
                **({"part": layer.part} if layer.part else {}),
                "kind": layer.kind,
                "derivation": str(layer.derivation),
                "diff_id": str(layer.diff_id),
                "digest": str(layer.blob.digest),
                "size": layer.blob.size,
                "cached": layer.cached,
            }
            for layer in platform.layers
        ],
    }


def locked(result: Locked) -> dict[str, Any]:
    """Return the JSON document of `lock`; a change without `old` was added, without `new` went."""
    return {
        "path": str(result.path),
        "written": result.written,
        "changes": [
            {
                "layer": change.layer,
                "name": change.name,
                "architecture": change.architecture,
                "old": change.old or None,
                "new": change.new or None,
            }
            for change in result.changes
        ],
    }


def verified(image: Image, found: Sequence[Difference]) -> dict[str, Any]:
    """Return the JSON document of `verify`."""
    return {
        "name": image.name,
        "digest": str(image.digest),
        "reproducible": not found,
        "differences": [
            {"place": one.place, "expected": one.expected, "actual": one.actual} for one in found
        ],
    }


def generation(generation: Generation) -> dict[str, Any]:
    """Return what the JSON document says of one generation."""
    return {
        "name": generation.name,
        "generation": generation.number,
        "digest": str(generation.descriptor.digest),
        "created": utc(generation.created),
        "tags": [*generation.tags],
        "current": generation.current,
        "pinned": generation.pinned,
    }


def stored_size(store: AbstractStore, root: Descriptor, name: str) -> int:
    """Return the bytes of all that an image in the store is made of, each blob once."""
    return total_size(gather(StoreSource(name, root, store)))


def total_size(image: transports.GatheredImage) -> int:
    """Return the bytes of all that an image is made of, each blob once."""
    documents = sum(document.descriptor.size for document in image.documents)
    return documents + sum(blob.size for blob in image.blobs)


def utc(moment: datetime) -> str:
    """Return a time in UTC as RFC 3339 with whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
