"""The verb `inspect`: an image's manifests, configs and layers, wherever it is."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from immutable import transports
from immutable.config import Registries
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.documents import Descriptor, ImageConfig, Manifest
from immutable.reference.store import Reference
from immutable.store import AbstractStore, Generation
from immutable.store.reports import utc
from immutable.transports.store import StoreImage
from immutable.transports.tree import gather, total_size


@frozen
class InspectedPlatform:
    """One manifest of an image; `config` and its bytes, `data`, are None where it is no image's."""

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig | None
    data: bytes | None


@frozen
class Inspected:
    """An image as `inspect` finds it.

    `size` are the bytes of all that it is made of, each blob once. `generation` is that of the
    store, None for an image elsewhere.
    """

    reference: str
    root: Descriptor
    size: int
    generation: Generation | None
    platforms: tuple[InspectedPlatform, ...]


def inspect(
    reference: str, store: AbstractStore, *, registries: Registries | None = None
) -> Inspected:
    """Return what the image `reference` is made of: one of `store`, or of any other place.

    Raises ImmutableError: for what is no reference, for an image that is not there, and for one
    whose documents do not hold.
    """
    place = transports.parse(reference, store=store, registries=registries)
    with place.open() as source:
        image = gather(source)
        generation = None
        if isinstance(place, StoreImage):
            generation = _generation(place.reference, image.root, store)
        return Inspected(
            reference,
            image.root,
            total_size(image),
            generation,
            tuple(
                _platform(image, document.descriptor, document.value)
                for document in image.documents
                if isinstance(document.value, Manifest)
            ),
        )


def inspected_document(found: Inspected) -> dict[str, Any]:
    """Return the JSON document of an image.

    It has name, digest, media_type, size, generation (its number), created, tags and platforms.
    Of an image that is not in the store the name is the reference, and generation and created
    are None. Of each platform there are platform, digest (the manifest's), annotations,
    config_digest, config (the config itself, as it is stored) and layers, bottom first: of each,
    media_type, digest, size, diff_id and created_by. Platform, config and diff_id are None of
    what is no image's manifest; created_by is None where the config's history does not fit.
    """
    generation = found.generation
    return {
        "name": generation.name if generation else found.reference,
        "digest": str(found.root.digest),
        "media_type": found.root.media_type,
        "size": found.size,
        "generation": generation.number if generation else None,
        "created": utc(generation.created) if generation else None,
        "tags": [*generation.tags] if generation else [],
        "platforms": [_platform_document(platform) for platform in found.platforms],
    }


def _generation(reference: str, root: Descriptor, store: AbstractStore) -> Generation | None:
    """Return the newest generation that is the image `root`, by the reference's own name."""
    parsed = Reference.parse(reference)
    if parsed is None or parsed.name not in {image.name for image in store.images()}:
        return None
    same = [one for one in store.generations(parsed.name) if one.descriptor.digest == root.digest]
    current = [one for one in same if one.current]
    numbered = [one for one in same if one.number == parsed.number]
    return next(iter((*numbered, *current, *reversed(same))), None)


def _platform(
    image: transports.GatheredImage, descriptor: Descriptor, manifest: Manifest
) -> InspectedPlatform:
    """Return a manifest with its config, which is read and verified."""
    if oci.family(manifest.config.media_type) != oci.CONFIG:
        return InspectedPlatform(descriptor, manifest, None, None)
    data = image.read(manifest.config)
    config = oci.decode_config(data, f"{image.source.where}: {manifest.config.digest}")
    return InspectedPlatform(descriptor, manifest, config, data)


def _platform_document(platform: InspectedPlatform) -> dict[str, Any]:
    config, layers = platform.config, platform.manifest.layers
    made_by = _made_by(config, len(layers))
    diff_ids = config.diff_ids if config else ()
    return {
        "platform": str(config.platform) if config else None,
        "digest": str(platform.descriptor.digest),
        "annotations": dict(platform.manifest.annotations),
        "config_digest": str(platform.manifest.config.digest),
        "config": None if platform.data is None else canonical.decode(platform.data),
        "layers": [
            {
                "media_type": layer.media_type,
                "digest": str(layer.digest),
                "size": layer.size,
                "diff_id": str(diff_ids[number]) if number < len(diff_ids) else None,
                "created_by": made_by[number],
            }
            for number, layer in enumerate(layers)
        ],
    }


def _made_by(config: ImageConfig | None, count: int) -> list[str | None]:
    """Return the history's step for each layer; None where the two do not fit."""
    steps = [step.created_by for step in config.history if not step.empty_layer] if config else []
    return [*steps] if len(steps) == count else [None] * count
