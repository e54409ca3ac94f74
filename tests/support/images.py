"""Small images and indexes, and a transport in memory, for tests."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from attrs import define, evolve, field, frozen

from immutable.content import tar
from immutable.content.compat import zstd
from immutable.content.entries import arrange, file
from immutable.errors import BlobMissing
from immutable.oci import documents as oci
from immutable.oci.canonical import encode
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, ImageConfig, Index, Manifest
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.store.streams import Ingest
from immutable.transports import copy
from immutable.transports.base import Called, GatheredImage
from immutable.transports.sending import send
from tests.support.archives import gzipped

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


def _gzip(data: bytes) -> bytes:
    """Two members, as ours are of several."""
    half = len(data) // 2
    return gzipped(data[:half]) + gzipped(data[half:])


_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    oci.LAYER: bytes,
    oci.LAYER_GZIP: _gzip,
    oci.LAYER_ZSTD: zstd.compress,
}


@frozen
class MemorySource:
    where: str
    root: Descriptor
    blobs: dict[Digest, bytes]

    def open(self, descriptor: Descriptor) -> BinaryIO:
        try:
            return io.BytesIO(self.blobs[descriptor.digest])
        except KeyError:
            raise BlobMissing(f"{self.where}: blob {descriptor.digest} is missing") from None


class _MemoryIngest(Ingest):
    def __init__(self, blobs: dict[Digest, bytes]) -> None:
        super().__init__()
        self._blobs, self._data = blobs, bytearray()

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        self._data += data

    def _keep(self, digest: Digest) -> None:
        self._blobs[digest] = bytes(self._data)


@define
class MemoryTransport:
    """An image in memory; as a destination it takes any."""

    blobs: dict[Digest, bytes] = field(factory=dict)
    root: Descriptor | None = None
    platform: Platform | None = None

    def __str__(self) -> str:
        return "memory:"

    @contextmanager
    def open(self) -> Iterator[MemorySource]:
        assert self.root is not None
        yield MemorySource("memory:", self.root, self.blobs)

    def called(self) -> Called:
        return Called()

    def takes(self) -> Platform | None:
        return self.platform

    def receive(self, image: GatheredImage, progress: Progress) -> None:
        send(image, self, progress)
        self.root = image.root

    def has(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self.blobs

    @contextmanager
    def ingest(self) -> Iterator[Ingest]:
        yield _MemoryIngest(self.blobs)

    def put_manifest(self, descriptor: Descriptor, data: bytes) -> None:
        self.blobs[descriptor.digest] = data

    # Making

    def add(self, data: bytes, media_type: str) -> Descriptor:
        digest = Digest.of(data)
        self.blobs[digest] = data
        return Descriptor(media_type, digest, len(data))

    def add_manifest(self, manifest: Manifest | Index) -> Descriptor:
        self.root = self.add(manifest.encode(), manifest.media_type)
        return self.root

    # Looking

    @property
    def manifest(self) -> Manifest:
        assert self.root is not None
        return oci.decode_manifest(self.blobs[self.root.digest], "test")

    @property
    def config(self) -> bytes:
        return self.blobs[self.manifest.config.digest]

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        return oci.decode_config(self.config, "test").diff_ids


def layer_tar(seed: int, size: int = 3000) -> bytes:
    """Return a layer's tar: a directory and a few files that `seed` decides."""
    rng = random.Random(seed)
    entries = [
        file(f"data-{seed}/{number}".encode(), rng.randbytes(size) + bytes(size))
        for number in range(3)
    ]
    arranged = arrange([entries], mtime=0)
    return b"".join(tar.chunks(arranged, lambda _path, _size: False, 1 << 20))


def image(
    seed: int = 1,
    *,
    kinds: Sequence[str] = (oci.LAYER_GZIP, oci.LAYER_ZSTD, oci.LAYER),
    platform: Platform = AMD64,
    size: int = 3000,
    into: MemoryTransport | None = None,
) -> MemoryTransport:
    """Return an image with one layer for each of the media types `kinds`."""
    there = MemoryTransport() if into is None else into
    tars = [layer_tar(seed * 100 + number, size) for number in range(len(kinds))]
    layers = [there.add(_PACKERS[kind](data), kind) for kind, data in zip(kinds, tars, strict=True)]
    config = ImageConfig(
        platform,
        "1970-01-01T00:00:00Z",
        tuple(map(Digest.of, tars)),
        oci.Execution(cmd=("/bin/true",), labels={"seed": str(seed)}),
        tuple(oci.History("1970-01-01T00:00:00Z", f"layer {n}") for n in range(len(tars))),
    )
    there.add_manifest(Manifest(there.add(config.encode(), oci.CONFIG), tuple(layers)))
    return there


def index(
    seed: int = 1, platforms: Sequence[Platform] = (AMD64, ARM64), **options: Any
) -> MemoryTransport:
    """Return an index with an image for each platform, and an attestation of none."""
    there = MemoryTransport()
    manifests = []
    for number, platform in enumerate(platforms):
        image(seed * 10 + number, platform=platform, into=there, **options)
        assert there.root is not None
        manifests.append(evolve(there.root, platform=platform))
    statement = there.add(b'{"statement":1}', "application/vnd.in-toto+json")
    config = there.add(b"{}", "application/vnd.oci.empty.v1+json")
    attestation = Manifest(config, (statement,)).encode()
    manifests.append(there.add(attestation, oci.MANIFEST))
    document = json.loads(Index(tuple(manifests)).encode())
    document["manifests"][-1]["platform"] = {"os": "unknown", "architecture": "unknown"}
    there.root = there.add(encode(document), oci.INDEX)
    return there


def fetched(source: str) -> MemoryTransport:
    """Return the image at the reference `source`, copied into memory."""
    there = MemoryTransport()
    copy(source, there)
    return there


def raw_tar(members: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a tar of plain files with nothing checked: names and repeats as they are given."""
    result = b""
    for name, data in members:
        header = tar.header(file(name.encode(), data))
        result += header + data + bytes(-len(data) % tar.BLOCK)
    return result + tar.END


def untar(path: Path) -> dict[str, bytes]:
    """Return the files in a tar, read by the standard library."""
    import tarfile

    with tarfile.open(path) as archive:
        found = {}
        for member in archive:
            data = archive.extractfile(member)
            if data is not None:
                found[member.name] = data.read()
        return found
