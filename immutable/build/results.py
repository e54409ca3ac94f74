"""What a build gives: the image, its platforms, their layers."""

from __future__ import annotations

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
