"""Layer kind ``image``: the layers of another image, as they are, to build upon."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final, cast

from attrs import field, frozen

from immutable import oci
from immutable.archives.decompress import open_stream
from immutable.builders.base import Foundation, Inputs, LockScope, Scope
from immutable.derivation import Derivation, Facts, Read, Realisation, Snapshot
from immutable.digest import Digest
from immutable.entries import Entry
from immutable.errors import DigestMismatch, ImageError, SpecError
from immutable.image import Base
from immutable.lock import LockedLayer, Pin
from immutable.oci import Descriptor, ImageConfig, Manifest
from immutable.platforms import Platform
from immutable.sources.fetch import Wanted
from immutable.spec import Layer
from immutable.store import Ingest
from immutable.store.layout import Layout
from immutable.structure import FaultError, parsed_by

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

AS_IS: Final = "as-is"  # what stands for the encoder in the record of an adopted layer
_PIECE: Final = 1 << 20
_MAX_DOCUMENT: Final = 4 << 20
_MAX_LAYER: Final = 1 << 40
_COMPRESSIONS: Final = {oci.LAYER: "none", oci.LAYER_GZIP: "gzip", oci.LAYER_ZSTD: "zstd"}


def _from(text: str) -> str:
    layout, colon, rest = text.partition(":")
    if text.endswith(".toml") or (layout == "oci" and colon and rest):
        return text
    raise FaultError(f'expected a spec ("base.toml") or a layout ("oci:DIR"), found {text[:80]!r}')


@frozen
class ImageOptions:
    """An ``image`` layer: `from` is another spec's path, or ``oci:DIR[:REF]``."""

    from_: str = field(metadata=parsed_by(_from))


@frozen
class _Layout:
    """An image in a layout, pinned, for one platform."""

    path: Path
    name: str
    manifest: Descriptor
    layers: tuple[Descriptor, ...]
    config: ImageConfig


class ImageBuilder:
    """Takes over the layers of a spec's image, or of an image in an OCI layout."""

    kind: ClassVar[str] = "image"
    version: ClassVar[int] = 1
    options: ClassVar[type[Any]] = ImageOptions

    def request(self, options: ImageOptions, read: Read) -> Mapping[str, Any] | None:  # noqa: ARG002
        """Return the layout's reference; a spec has a lock of its own."""
        return None if options.from_.endswith(".toml") else {"from": options.from_}

    def paths(self, options: ImageOptions) -> tuple[str, ...]:  # noqa: ARG002
        """Return nothing: a layout is pinned, and a spec has inputs of its own."""
        return ()

    def beneath(self, options: ImageOptions) -> str | None:
        """Return the path of the spec to build upon; None for a layout."""
        return options.from_ if options.from_.endswith(".toml") else None

    def lock(self, layer: Layer, given: LockScope) -> LockedLayer:
        """Pin the digest of what the layout's reference names now.

        Raises ImageError where that has no image for one of the platforms.
        """
        place, name = _place(layer.options.from_)
        layout = Layout.open(given.scope.folder / place)
        root = _named(layout, name, layer.options.from_)
        pin = Pin(
            name or place, "", "", "", root.size, root.digest, ("asked for",), platforms=()
        )  # fmt: skip
        platforms = tuple(p for p in given.platforms if _offers(layout, pin, p, given.scope))
        request = self.request(layer.options, given.read) or {}
        return LockedLayer(layer.name, self.kind, request, platforms, (), (pin,))

    def scan(self, layer: Layer, locked: LockedLayer | None, scope: Scope) -> Snapshot | None:
        """Read the pinned manifests and configs, or plan the other spec."""
        place, name = _place(layer.options.from_)
        foundations: Mapping[Platform, Foundation]
        if locked is None:
            foundations = scope.foundation(scope.folder / place)
        else:
            layout = Layout.open(scope.folder / place)
            root = locked.pin[0]
            found = {
                platform: _read(layout, root, platform, name or place)
                for platform in scope.platforms
            }
            foundations = {
                platform: _foundation(self, image, layer.name) for platform, image in found.items()
            }
        layers = [d.digest for f in foundations.values() for d in f.layers]
        return Snapshot(Digest.of(" ".join(map(str, layers)).encode()), foundations)

    def foundation(self, snapshot: Snapshot, platform: Platform) -> Foundation:
        """Return what the layer brings for `platform`."""
        foundation: Foundation = snapshot.data[platform]
        return foundation

    def derive(self, facts: Facts) -> tuple[Derivation, ...]:
        """Return the other image's layers."""
        if facts.below or facts.snapshot is None:
            raise SpecError(
                facts.spec.where,
                [f'layer "{facts.layer.name}": an image to build upon has to be the first layer'],
            )
        return self.foundation(facts.snapshot, facts.platform).layers

    def wanted(self, derivation: Derivation, scope: Scope) -> Sequence[Wanted]:  # noqa: ARG002
        """Return nothing: a layout's blobs are copied when they are adopted."""
        return ()

    def entries(self, derivation: Derivation, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Never called: layers are adopted."""
        raise NotImplementedError

    def adopt(self, derivation: Derivation, inputs: Inputs) -> Realisation:
        """Copy the layer's blob from the layout, checked against its digest and diffID."""
        digest, size = derivation.sources[0], derivation.options["size"]
        if inputs.store.has_blob(digest):
            with inputs.store.verified(digest, size) as raw:
                _expect_layer(raw, derivation)
        else:
            assert derivation.snapshot is not None  # noqa: S101 - set by _foundation
            layout = Layout.open(derivation.snapshot.data)
            with layout.verified(digest, size) as raw, inputs.store.ingest() as blob:
                _expect_layer(cast("BinaryIO", _Copying(raw, blob)), derivation)
                blob.commit(expected=digest, size=size, name=f"layer {digest.short}")
        return Realisation(
            derivation.digest,
            AS_IS,
            Digest.parse(derivation.options["diff-id"]),
            Descriptor(derivation.options["media-type"], digest, size),
        )


class _Copying(io.RawIOBase):
    """A stream that writes down whatever is read from it."""

    def __init__(self, source: BinaryIO, copy: Ingest) -> None:
        super().__init__()
        self._source, self._copy = source, copy

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._source.read(len(view))
        view[: len(data)] = data
        self._copy.write(data)
        return len(data)


def _expect_layer(raw: BinaryIO, derivation: Derivation) -> None:
    """Read `raw` to its end; raise unless it is the layer that the other image's config means."""
    options = derivation.options
    name = f"layer {derivation.sources[0].short}"
    hasher = hashlib.sha256()
    compression = _COMPRESSIONS[options["media-type"]]
    stream = open_stream(raw, name=name, limit=_MAX_LAYER, compression=compression)
    while piece := stream.read(_PIECE):
        hasher.update(piece)
    expected, actual = Digest.parse(options["diff-id"]), Digest(hasher.hexdigest())
    if actual != expected:
        raise DigestMismatch(f"{name}: diffID", expected=expected, actual=actual)


def _place(given: str) -> tuple[str, str]:
    """Return the path and the reference in `given`."""
    if given.endswith(".toml"):
        return given, ""
    path, _, name = given.removeprefix("oci:").partition(":")
    return path, name


def _named(layout: Layout, name: str, where: str) -> Descriptor:
    manifests = layout.index().manifests
    names = [dict(descriptor.annotations).get(oci.REF_NAME, "") for descriptor in manifests]
    if not name and len(manifests) == 1:
        return manifests[0]
    if name in names and name:
        return manifests[names.index(name)]
    known = ", ".join(filter(None, names)) or "no names"
    raise ImageError(f"{where}: expected the name of an image in it; it has {known}")


def _offers(layout: Layout, root: Pin, platform: Platform, scope: Scope) -> bool:
    """Tell whether there is an image for `platform`; raise ImageError if the scope needs one."""
    try:
        _read(layout, root, platform, root.name)
    except ImageError:
        # Others are what the lock was once made for, on another machine.
        if platform in scope.platforms:
            raise
        return False
    return True


def _read(layout: Layout, root: Pin, platform: Platform, name: str) -> _Layout:
    where = f"oci:{layout.path}"
    descriptor = Descriptor("", root.sha256, root.size)
    data = layout.read(root.sha256, _MAX_DOCUMENT)
    if oci.is_index(data, where):
        index = oci.decode_index(data, f"{where}: {root.sha256}")
        descriptor = _choose(index.manifests, platform, where)
        data = layout.read(descriptor.digest, _MAX_DOCUMENT)
    manifest = oci.decode_manifest(data, f"{where}: {descriptor.digest}")
    config = oci.decode_config(
        layout.read(manifest.config.digest, _MAX_DOCUMENT), f"{where}: {manifest.config.digest}"
    )
    _check(manifest, config, platform, where)
    return _Layout(layout.path, name, descriptor, manifest.layers, config)


def _choose(manifests: Sequence[Descriptor], platform: Platform, where: str) -> Descriptor:
    for descriptor in manifests:
        if descriptor.platform == platform:
            return descriptor
    known = ", ".join(sorted(str(d.platform) for d in manifests if d.platform))
    raise ImageError(f"{where}: no manifest for {platform}; it has {known}")


def _check(manifest: Manifest, config: ImageConfig, platform: Platform, where: str) -> None:
    if config.platform != platform:
        raise ImageError(f"{where}: expected an image for {platform}, found {config.platform}")
    if len(manifest.layers) != len(config.diff_ids):
        raise ImageError(
            f"{where}: {len(manifest.layers)} layers, but {len(config.diff_ids)} diffIDs"
        )
    for layer in manifest.layers:
        if oci.family(layer.media_type) not in oci.LAYERS:
            raise ImageError(f"{where}: {layer.digest}: no layer to build upon: {layer.media_type}")


def _foundation(builder: ImageBuilder, image: _Layout, name: str) -> Foundation:
    derivations = tuple(
        Derivation(
            kind=builder.kind,
            version=builder.version,
            mtime=0,
            options={
                "media-type": oci.family(layer.media_type),
                "size": layer.size,
                "diff-id": str(diff_id),
            },
            sources=(layer.digest,),
            name=name,
            snapshot=Snapshot(layer.digest, image.path),
        )
        for layer, diff_id in zip(image.layers, image.config.diff_ids, strict=True)
    )
    base = Base(image.name, image.manifest.digest, image.config)
    return Foundation(derivations, lambda _: base)
