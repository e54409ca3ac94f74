"""What a build gives: the image, its platforms, their layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import field, frozen

from immutable.build.assemble import PlatformImage
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, ImageConfig, Manifest
from immutable.oci.platforms import Platform
from immutable.store import AbstractStore, Generation


@frozen
class BuiltLayer:
    """One layer of a built image; `cached` tells that it was there already.

    `part` is like ``2/12`` where the spec's layer `name` is spread over several, else empty.
    """

    name: str
    kind: str
    derivation: Digest
    diff_id: Digest
    blob: Descriptor
    cached: bool
    part: str = ""


@frozen
class BuiltPlatform:
    """A built image for one platform."""

    image: PlatformImage
    layers: tuple[BuiltLayer, ...]

    @property
    def platform(self) -> Platform:
        """The platform."""
        return self.image.platform

    @property
    def manifest(self) -> Manifest:
        """The manifest."""
        return self.image.manifest

    @property
    def config(self) -> ImageConfig:
        """The config."""
        return self.image.config


@frozen
class Image:
    """A built image: its root's descriptor, its platforms, and the store that holds it."""

    name: str
    descriptor: Descriptor
    tags: tuple[str, ...]
    platforms: tuple[BuiltPlatform, ...]
    generation: Generation
    store: AbstractStore = field(eq=False, repr=False)

    @property
    def digest(self) -> Digest:
        """The digest of the manifest, or of the index where there are several platforms."""
        return self.descriptor.digest

    @property
    def size(self) -> int:
        """The bytes of all that the image is made of, each blob once."""
        blobs = [self.descriptor]
        for platform in self.platforms:
            manifest = platform.manifest
            blobs += (platform.image.descriptor, manifest.config, *manifest.layers)
        return sum({blob.digest: blob.size for blob in blobs}.values())

    @property
    def manifest(self) -> Manifest:
        """The manifest of the first platform."""
        return self.platforms[0].manifest

    @property
    def config(self) -> ImageConfig:
        """The config of the first platform."""
        return self.platforms[0].config

    @property
    def layers(self) -> tuple[BuiltLayer, ...]:
        """The layers of the first platform, bottom first."""
        return self.platforms[0].layers


def built_document(image: Image, outputs: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON document of a build; its keys are a contract.

    They are name, digest, media_type, size (bytes of all blobs, each once), generation (its
    number), tags, outputs (the references it was written to) and platforms: of each platform,
    digest (the manifest's), config (its digest) and layers, bottom first. A layer has name, kind,
    derivation, diff_id, digest, size (the blob's bytes) and cached; and part, like ``2/12``,
    where the spec's layer is spread over several.
    """
    return {
        "name": image.name,
        "digest": str(image.digest),
        "media_type": image.descriptor.media_type,
        "size": image.size,
        "generation": image.generation.number,
        "tags": [*image.tags],
        "outputs": [*outputs],
        "platforms": [_platform_document(platform) for platform in image.platforms],
    }


def _platform_document(platform: BuiltPlatform) -> dict[str, Any]:
    return {
        "platform": str(platform.platform),
        "digest": str(platform.image.descriptor.digest),
        "config": str(platform.manifest.config.digest),
        "layers": [_layer_document(layer) for layer in platform.layers],
    }


def _layer_document(layer: BuiltLayer) -> dict[str, Any]:
    return {
        "name": layer.name,
        **({"part": layer.part} if layer.part else {}),
        "kind": layer.kind,
        "derivation": str(layer.derivation),
        "diff_id": str(layer.diff_id),
        "digest": str(layer.blob.digest),
        "size": layer.blob.size,
        "cached": layer.cached,
    }
