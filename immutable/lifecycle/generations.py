"""The verbs `generations` and `rollback`: the versions of an image, and which one is current."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from immutable.errors import ImageNotFound, ImmutableError, StoreError
from immutable.oci import documents as oci
from immutable.oci.changes import Change, Platforms, changes
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, ImageConfig
from immutable.oci.platforms import Platform
from immutable.store import AbstractStore, Generation
from immutable.store.base import read_index
from immutable.store.reports import utc

__all__ = ["Change", "Version", "generations", "rollback"]


@frozen
class Version:
    """A generation, with what can be said of it beside the others.

    `size` is that of all its blobs in bytes, `own` of those that no other generation of any
    image has: what would be free without it. `changes` are against the generation before, None
    for the first and for one that is damaged. Of a manifest that is damaged, itself alone counts.
    """

    generation: Generation
    size: int
    own: int
    changes: tuple[Change, ...] | None


def generation_document(generation: Generation) -> dict[str, Any]:
    """Return the JSON document of a generation.

    It has name, generation (its number), digest, created (in UTC, whole seconds), tags, current
    and pinned.
    """
    return {
        "name": generation.name,
        "generation": generation.number,
        "digest": str(generation.descriptor.digest),
        "created": utc(generation.created),
        "tags": [*generation.tags],
        "current": generation.current,
        "pinned": generation.pinned,
    }


def version_document(version: Version) -> dict[str, Any]:
    """Return the JSON document of a version beside the others.

    It has what `generation_document` says, and size and own in bytes, and changes, a line each;
    None where there is nothing to compare with.
    """
    return {
        **generation_document(version.generation),
        "size": version.size,
        "own": version.own,
        "changes": None if version.changes is None else [str(one) for one in version.changes],
    }


def rollback_document(before: Generation, now: Generation) -> dict[str, Any]:
    """Return the JSON document of a `rollback` from the generation `before` to `now`.

    It has what `generation_document` says of `now`, and previous: the number of `before`.
    """
    return {**generation_document(now), "previous": before.number}


def generations(store: AbstractStore, name: str) -> tuple[Version, ...]:
    """Return the versions of the image `name`, oldest first.

    Raises ImageNotFound, and StoreError for a store that cannot be read.
    """
    found = store.generations(name)
    holders = _holders(store)
    versions: list[Version] = []
    before: Platforms | None = None
    for generation in found:
        blobs = _blobs(store, generation.descriptor)
        own = sum(size for digest, size in blobs.items() if holders[digest] < 2)
        now = _platforms(store, generation.descriptor)
        differences = None if before is None or now is None else changes(before, now)
        versions.append(Version(generation, sum(blobs.values()), own, differences))
        before = now
    return tuple(versions)


def rollback(store: AbstractStore, name: str, to: int | None = None) -> Generation:
    """Make generation `to` of `name` current, or the one before the current; delete nothing.

    Raises ImageNotFound when there is no such generation, or no earlier one.
    """
    if to is not None:
        return store.set_current(name, to)
    found = store.generations(name)
    current = next(each.number for each in found if each.current)
    earlier = [each.number for each in found if each.number < current]
    if not earlier:
        raise ImageNotFound(f"{name}: generation {current} is current, and there is none before it")
    return store.set_current(name, max(earlier))


def _holders(store: AbstractStore) -> Counter[Digest]:
    """Return by how many different images in the store each blob is held."""
    roots = {
        each.descriptor.digest: each.descriptor
        for image in store.images()
        for each in store.generations(image.name)
    }
    return Counter(digest for root in roots.values() for digest in _blobs(store, root))


def _blobs(store: AbstractStore, root: Descriptor) -> Mapping[Digest, int]:
    try:
        return store.closure(root)
    except StoreError:
        return {root.digest: root.size}  # `store check` tells of it


def _platforms(store: AbstractStore, root: Descriptor) -> Mapping[Platform, ImageConfig] | None:
    """Return the configs of an image, by platform; None where they cannot be read."""
    try:
        index = read_index(store, root)
        manifests = (root,) if index is None else index.children
        configs = [_config(store, manifest) for manifest in manifests]
    except ImmutableError:
        return None
    return {config.platform: config for config in configs if config is not None}


def _config(store: AbstractStore, root: Descriptor) -> ImageConfig | None:
    """Return a manifest's config; None where it is no image's, as an attestation's is not."""
    manifest = oci.decode_manifest(store.read_blob(root.digest), str(root.digest))
    config = manifest.config
    if oci.family(config.media_type) != oci.CONFIG:
        return None
    return oci.decode_config(store.read_blob(config.digest), str(config.digest))
