"""``docker-archive:FILE[:NAME:TAG]``: what ``docker load`` reads and ``docker save`` writes.

Its layers are plain tars named by their diffIDs, so the bytes depend on the image's content and
not on how its layers were compressed. Docker's image-spec v1.2, "Combined Image JSON + Filesystem
Changeset Format", is what comes nearest to a standard.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import field, frozen

from immutable.content import tar
from immutable.content.archives.decompress import open_stream
from immutable.errors import DigestMismatch, ImageError, TransportError
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Index
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.reference.docker import DockerName
from immutable.store.files import Draft
from immutable.transports import docker_saved, members, outputs
from immutable.transports.base import Called, GatheredImage, Scratch, pieces, temporary
from immutable.transports.docker_saved import SavedSource

_COMPRESSION: Final = {oci.LAYER: "none", oci.LAYER_GZIP: "gzip", oci.LAYER_ZSTD: "zstd"}


@frozen
class DockerArchive:
    """The image called `name` in the archive `path`, or with no `name` the only one.

    What is written holds this one image, and its bytes depend on nothing but config, layers
    and `name`. What is read may be compressed, and is then unpacked into a `scratch` file.
    """

    path: Path
    name: DockerName | None = None
    scratch: Scratch = field(default=temporary, eq=False, repr=False)

    def __str__(self) -> str:
        return f"docker-archive:{self.path}" + (f":{self.name}" if self.name else "")

    def called(self) -> Called:
        """Return what the reference calls the image."""
        return Called() if self.name is None else Called.parse(str(self.name))

    @contextmanager
    def open(self) -> Iterator[SavedSource]:
        """Open the image that is there."""
        with members.opened(self.path, self.scratch) as archive:
            yield docker_saved.source(archive, self.name, str(self))

    def takes(self) -> Platform | None:
        """Take this machine's platform."""
        try:
            return Platform.of_machine(platform.machine())
        except ValueError as error:
            raise TransportError(f"{self}: {error}; say which platform to take") from None

    def expect_replaceable(self) -> None:
        """Raise TransportError unless there is nothing, or another such archive."""
        outputs.expect_replaceable(self.path, outputs.DOCKER_ARCHIVE)

    def replaces(self) -> Path:
        """Return the archive."""
        return self.path

    def receive(self, image: GatheredImage, progress: Progress) -> None:
        """Write the archive beside its place, then move it there."""
        parts = take_apart(image, str(self))
        with members.written(self.path, outputs.DOCKER_ARCHIVE) as draft:
            _write(draft, image, parts, self.name, progress)


@frozen
class SavedLayer:
    """A layer: its stored blob, and the digest of its tar."""

    blob: Descriptor
    diff_id: Digest

    @property
    def compression(self) -> str:
        """``none``, ``gzip`` or ``zstd``."""
        return _COMPRESSION[oci.family(self.blob.media_type)]

    def read(self, image: GatheredImage) -> Iterator[bytes]:
        """Yield the plain tar; raises DigestMismatch if it is not the one of `diff_id`."""
        name = f"{image.source.where}: layer {self.blob.digest}"
        found = hashlib.sha256()
        with image.open(self.blob) as stream:
            for piece in pieces(open_stream(stream, name=name, compression=self.compression)):
                found.update(piece)
                yield piece
        actual = Digest(found.hexdigest())
        if actual != self.diff_id:
            raise DigestMismatch(f"{name}: diffID", expected=self.diff_id, actual=actual)


@frozen
class Parts:
    """One platform's image: its config's digest and bytes, and its layers, bottom first."""

    digest: Digest
    config: bytes
    layers: tuple[SavedLayer, ...]


def take_apart(image: GatheredImage, where: str) -> Parts:
    """Return the parts of a one-platform image.

    Raises TransportError for what engines cannot run, ImageError where config and manifest
    disagree.
    """
    manifest = image.documents[0].value
    if isinstance(manifest, Index):
        raise TransportError(f"{where}: takes one platform; found an index")
    kind = manifest.config.media_type
    if oci.family(kind) != oci.CONFIG:
        raise TransportError(f"{where}: takes images to run; found a config of type {kind}")
    data = image.read(manifest.config)
    place = f"{image.source.where}: config {manifest.config.digest}"
    diff_ids = oci.decode_config(data, place).diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise ImageError(
            f"{place}: rootfs.diff_ids: expected {len(manifest.layers)} as the manifest has "
            f"layers, found {len(diff_ids)}"
        )
    for blob in manifest.layers:
        if oci.family(blob.media_type) not in _COMPRESSION:
            raise TransportError(
                f"{where}: takes tar layers, plain, gzip or zstd; found {blob.media_type}"
            )
    layers = tuple(
        SavedLayer(blob, diff) for blob, diff in zip(manifest.layers, diff_ids, strict=True)
    )
    return Parts(manifest.config.digest, data, layers)


def config_name(parts: Parts) -> str:
    """Return the path of the config in an archive."""
    return f"{parts.digest.hex}.json"


def layer_name(layer: SavedLayer) -> str:
    """Return the path of a layer in an archive; how it is compressed is seen by its bytes."""
    return f"{layer.diff_id.hex}.tar"


def documents(parts: Parts, name: DockerName | None) -> Iterator[bytes]:
    """Yield an archive's beginning, the JSON: a reader learns first what is coming."""
    listing = canonical.encode(
        [
            {
                "Config": config_name(parts),
                "RepoTags": None if name is None else [str(name)],
                "Layers": [layer_name(layer) for layer in parts.layers],
            }
        ]
    )
    yield from members.member("manifest.json", len(listing), (listing,))
    yield from members.member(config_name(parts), len(parts.config), (parts.config,))


def distinct(layers: tuple[SavedLayer, ...]) -> tuple[SavedLayer, ...]:
    """Return the layers, each diffID once."""
    return tuple({layer.diff_id: layer for layer in reversed(layers)}.values())[::-1]


@contextmanager
def counting(
    layers: tuple[SavedLayer, ...], image: GatheredImage, progress: Progress
) -> Iterator[GatheredImage]:
    """Give `image` to copy `layers` from, counted in their stored bytes."""
    total = sum(layer.blob.size for layer in layers)
    with progress.task(f"copying {image.source.where}", total) as advance:
        yield image.counted(advance)


def _write(
    draft: Draft, image: GatheredImage, parts: Parts, name: DockerName | None, progress: Progress
) -> None:
    offset = 0
    for piece in documents(parts, name):
        draft.write(piece)
        offset += len(piece)
    layers = distinct(parts.layers)
    with counting(layers, image, progress) as counted:
        for layer in layers:
            offset += _write_layer(draft, offset, counted, layer)
    draft.write(tar.END)


def _write_layer(draft: Draft, offset: int, image: GatheredImage, layer: SavedLayer) -> int:
    """Write a layer's member at `offset`, the draft's end; return its length.

    A descriptor does not say how long the plain tar is, and its header comes first. So the
    layer is decompressed behind a header of size 0, which is put right afterwards. Beyond 8 GiB
    the header is longer than that, and the layer is decompressed again behind the right one.
    """
    path = layer_name(layer)
    room = members.header(path, 0)
    size = _write_content(draft, room, image, layer)
    header = members.header(path, size)
    if len(header) == len(room):
        draft.rewrite(offset, header)
    else:
        draft.cut(offset)
        _write_content(draft, header, image, layer)
    padding = members.padding(size)
    draft.write(padding)
    return len(header) + size + len(padding)


def _write_content(draft: Draft, header: bytes, image: GatheredImage, layer: SavedLayer) -> int:
    draft.write(header)
    size = 0
    for piece in layer.read(image):
        draft.write(piece)
        size += len(piece)
    return size
