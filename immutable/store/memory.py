"""A store in memory: for tests, and for looking at images without keeping them."""

from __future__ import annotations

import io
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import BinaryIO, cast

from attrs import define, evolve, field

from immutable.derivation import Realisation
from immutable.digest import Digest
from immutable.errors import BlobMissing, ImageNotFound
from immutable.oci import Descriptor
from immutable.store.base import (
    MAX_DOCUMENT,
    AbstractStore,
    Chunk,
    Generation,
    Signature,
    Stats,
    StoreInfo,
    bare,
    check_commit,
    expect_free,
    in_utc,
)
from immutable.store.names import Reference, check_tag, not_found
from immutable.store.records import storable
from immutable.store.streams import Ingest, read_verified, verifying


@define
class _Image:
    """One name: its generations without what is told of them elsewhere, its tags."""

    current: int = 0
    generations: list[Generation] = field(factory=list)
    tags: dict[str, Descriptor] = field(factory=dict)

    def told(self, generation: Generation) -> Generation:
        digest = generation.descriptor.digest
        tags = sorted(tag for tag, target in self.tags.items() if target.digest == digest)
        return evolve(generation, tags=tuple(tags), current=generation.number == self.current)

    def held(self) -> dict[str, Digest]:
        """Return what each tag is on."""
        return {tag: descriptor.digest for tag, descriptor in self.tags.items()}

    def add(self, name: str, descriptor: Descriptor, created: datetime) -> None:
        self.current = len(self.generations) + 1
        self.generations.append(Generation(name, self.current, descriptor, in_utc(created)))


class MemoryStore(AbstractStore):
    """A store that is gone with the object. It answers as `Store` does."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._blobs: dict[Digest, bytes] = {}
        self._realisations: dict[tuple[Digest, str], Realisation] = {}
        self._chunks: dict[tuple[Digest, str], Chunk] = {}
        self._stats: dict[bytes, dict[bytes, tuple[Signature, Digest]]] = {}
        self._images: dict[str, _Image] = {}

    # Blobs

    def has_blob(self, digest: Digest) -> bool:  # noqa: D102
        return digest in self._blobs

    def blob_size(self, digest: Digest) -> int:  # noqa: D102
        return len(self._blob(digest))

    def open_blob(self, digest: Digest) -> BinaryIO:  # noqa: D102
        return io.BytesIO(self._blob(digest))

    def verified(  # noqa: D102
        self, digest: Digest, size: int | None = None
    ) -> AbstractContextManager[BinaryIO]:
        return verifying(self.open_blob(digest), f"blob {digest}", digest, size)

    def read_blob(self, digest: Digest, limit: int = MAX_DOCUMENT) -> bytes:  # noqa: D102
        return read_verified(self.open_blob(digest), f"blob {digest}", digest, limit)

    @contextmanager
    def ingest(self) -> Iterator[Ingest]:  # noqa: D102
        yield _MemoryIngest(self._blobs)

    @contextmanager
    def scratch(self) -> Iterator[BinaryIO]:  # noqa: D102
        with tempfile.TemporaryFile() as file:
            yield cast("BinaryIO", file)

    # What is known about blobs

    def find_realisation(  # noqa: D102
        self, derivation: Digest, encoder: str
    ) -> Realisation | None:
        found = self._realisations.get((derivation, encoder))
        if found is None or found.blob.digest not in self._blobs:
            return None
        return found

    def record_realisation(self, realisation: Realisation) -> None:  # noqa: D102
        self._expect_blob(realisation.blob)
        key = (realisation.derivation, realisation.encoder)
        self._realisations[key] = evolve(realisation, blob=bare(realisation.blob))

    def find_chunks(self, digests: Iterable[Digest], encoder: str) -> dict[Digest, Chunk]:  # noqa: D102
        result = {}
        for digest in digests:
            chunk = self._chunks.get((digest, encoder))
            blob = None if chunk is None else self._blobs.get(chunk.blob)
            if chunk and blob is not None and chunk.offset + chunk.length <= len(blob):
                result[digest] = chunk
        return result

    def record_chunks(self, encoder: str, chunks: Mapping[Digest, Chunk]) -> None:  # noqa: D102
        self._chunks.update({(digest, encoder): chunk for digest, chunk in chunks.items()})

    def load_stats(self, root: bytes) -> dict[bytes, tuple[Signature, Digest]]:  # noqa: D102
        return dict(self._stats.get(root, {}))

    def save_stats(self, root: bytes, rows: Stats) -> None:  # noqa: D102
        self._stats[root] = {path: row for path, row in rows.items() if storable(row[0])}

    # Images

    def commit_generation(  # noqa: D102
        self,
        name: str,
        descriptor: Descriptor,
        *,
        tags: Sequence[str] = (),
        created: datetime,
        replace_tags: bool = True,
    ) -> Generation:
        check_commit(name, tags, created)
        self._expect_blob(descriptor)
        descriptor = bare(descriptor)
        with self._lock:
            if not replace_tags and name in self._images:
                expect_free(name, self._images[name].held(), tags, descriptor.digest)
            image = self._images.setdefault(name, _Image())
            if not image.current or self._at(image).descriptor != descriptor:
                image.add(name, descriptor, created)
            image.tags.update(dict.fromkeys(tags, descriptor))
            return image.told(self._at(image))

    def generations(self, name: str) -> tuple[Generation, ...]:  # noqa: D102
        with self._lock:
            image = self._image(name)
            return tuple(image.told(generation) for generation in image.generations)

    def images(self) -> tuple[Generation, ...]:  # noqa: D102
        with self._lock:
            return tuple(image.told(self._at(image)) for _, image in sorted(self._images.items()))

    def set_current(self, name: str, number: int) -> Generation:  # noqa: D102
        with self._lock:
            image = self._image(name)
            numbers = [generation.number for generation in image.generations]
            if number not in numbers:
                there = ", ".join(map(str, numbers))
                raise ImageNotFound(f"{name}@{number}: no such generation; there is {there}")
            image.current = number
            return image.told(self._at(image))

    def tag(  # noqa: D102
        self, name: str, tag: str, digest: Digest, *, replace: bool = True
    ) -> Generation:
        check_tag(tag)
        with self._lock:
            image = self._image(name)
            for generation in reversed(image.generations):
                if generation.descriptor.digest == digest:
                    if not replace:
                        expect_free(name, image.held(), (tag,), digest)
                    image.tags[tag] = generation.descriptor
                    return image.told(generation)
        raise ImageNotFound(f"{name}@{digest}: in no generation of {name}")

    def references(self) -> dict[str, Descriptor]:  # noqa: D102
        result: dict[str, Descriptor] = {}
        with self._lock:
            for name, image in self._images.items():
                result[name] = self._at(image).descriptor
                for generation in image.generations:
                    result[str(Reference(name, number=generation.number))] = generation.descriptor
                for tag, descriptor in image.tags.items():
                    result[str(Reference(name, tag=tag))] = descriptor
        return result

    def lease(self) -> AbstractContextManager[None]:  # noqa: D102
        return nullcontext()

    def info(self) -> StoreInfo:  # noqa: D102
        with self._lock:
            return StoreInfo(
                root=None,
                blobs=len(self._blobs),
                bytes=sum(map(len, self._blobs.values())),
                images=len(self._images),
                generations=sum(len(image.generations) for image in self._images.values()),
                realisations=len(self._realisations),
                chunks=len(self._chunks),
            )

    def _blob(self, digest: Digest) -> bytes:
        try:
            return self._blobs[digest]
        except KeyError:
            raise BlobMissing(f"blob {digest} is missing") from None

    def _image(self, name: str) -> _Image:
        try:
            return self._images[name]
        except KeyError:
            raise not_found(name, self._images) from None

    @staticmethod
    def _at(image: _Image) -> Generation:
        return image.generations[image.current - 1]


class _MemoryIngest(Ingest):
    def __init__(self, blobs: dict[Digest, bytes]) -> None:
        super().__init__()
        self._blobs = blobs
        self._data = bytearray()

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        self._data += data

    def _keep(self, digest: Digest) -> None:
        self._blobs.setdefault(digest, bytes(self._data))
