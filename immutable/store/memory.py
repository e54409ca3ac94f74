"""A store in memory: for tests, and for looking at images without keeping them."""

from __future__ import annotations

import io
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import BinaryIO, Generic, TypeVar, cast

from attrs import define, evolve, field
from typing_extensions import override

from immutable.errors import BlobMissing, ImageNotFound
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.reference.store import Reference
from immutable.spec.derivation import Realisation
from immutable.store.base import (
    NOTHING,
    USE_RESOLUTION,
    AbstractStore,
    Chunk,
    Generation,
    Signature,
    Stats,
    StoreInfo,
    Swept,
    expect_free,
    in_utc,
)
from immutable.store.closure import MAX_DOCUMENT, CachePolicy, Marker, Need
from immutable.store.memos import ANSWERS_KEPT, QUESTIONS_KEPT
from immutable.store.names import check_tag, no_such_generation, no_such_tag, not_found
from immutable.store.preconditions import check_commit, check_forget, check_sweep, dropped_names
from immutable.store.records import storable
from immutable.store.streams import Ingest, read_verified, verifying

K = TypeVar("K", Digest, tuple[Digest, Digest])
V = TypeVar("V")


@define
class _Image:
    """One name: its generations without what is told of them elsewhere, its tags."""

    name: str
    current: int = 0
    last: int = 0
    by_number: dict[int, Generation] = field(factory=dict)
    tags: dict[str, Descriptor] = field(factory=dict)

    @property
    def generations(self) -> tuple[Generation, ...]:
        return tuple(map(self.told, self.by_number.values()))

    def at(self, number: int) -> Generation:
        if number not in self.by_number:
            raise no_such_generation(self.name, number, self.by_number)
        return self.told(self.by_number[number])

    def told(self, generation: Generation) -> Generation:
        digest = generation.descriptor.digest
        tags = sorted(tag for tag, target in self.tags.items() if target.digest == digest)
        return evolve(generation, tags=tuple(tags), current=generation.number == self.current)

    def held(self) -> dict[str, Digest]:
        """Return what each tag is on."""
        return {tag: descriptor.digest for tag, descriptor in self.tags.items()}

    def add(self, descriptor: Descriptor, created: datetime) -> None:
        self.current = self.last = self.last + 1
        self.by_number[self.last] = Generation(self.name, self.last, descriptor, in_utc(created))

    def forget(self, numbers: Iterable[int]) -> None:
        for number in check_forget(self.name, self.generations, numbers):
            del self.by_number[number]
        left = {generation.descriptor.digest for generation in self.by_number.values()}
        self.tags = {tag: d for tag, d in self.tags.items() if d.digest in left}


class MemoryStore(AbstractStore):
    """A store that is gone with the object. It answers as `Store` does."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._lock = threading.RLock()
        self._clock = clock
        self._blobs: dict[Digest, bytes] = {}
        self._realisations: dict[tuple[Digest, Digest, str], Realisation] = {}
        self._sources: set[Digest] = set()
        self._used: dict[Digest, int] = {}
        self._chunks: dict[tuple[Digest, str], Chunk] = {}
        self._contents: dict[Digest, bytes] = {}
        self._questions = _Remembered[Digest, bytes](QUESTIONS_KEPT)
        self._answers = _Remembered[tuple[Digest, Digest], Digest](ANSWERS_KEPT)
        self._stats: dict[bytes, dict[bytes, tuple[Signature, Digest]]] = {}
        self._images: dict[str, _Image] = {}
        self._holders = 0
        self._spared: set[Digest] = set()

    # Blobs

    @override
    def has_blob(self, digest: Digest) -> bool:
        with self._lock:
            self._spare(digest)
            return digest in self._blobs

    @override
    def blob_size(self, digest: Digest) -> int:
        return len(self._blob(digest))

    @override
    def open_blob(self, digest: Digest) -> BinaryIO:
        return io.BytesIO(self._blob(digest))

    @override
    def verified(self, digest: Digest, size: int | None = None) -> AbstractContextManager[BinaryIO]:
        return verifying(self.open_blob(digest), f"blob {digest}", digest, size)

    @override
    def read_blob(self, digest: Digest, limit: int = MAX_DOCUMENT) -> bytes:
        return read_verified(self.open_blob(digest), f"blob {digest}", digest, limit)

    @override
    @contextmanager
    def ingest(self) -> Iterator[Ingest]:
        yield _MemoryIngest(self._put)

    @override
    @contextmanager
    def scratch(self) -> Iterator[BinaryIO]:
        with tempfile.TemporaryFile() as file:
            yield cast("BinaryIO", file)

    # What is known about blobs

    @override
    def find_realisation(
        self, derivation: Digest, answers: Digest, encoder: str
    ) -> Realisation | None:
        with self._lock:
            found = self._realisations.get((derivation, answers, encoder))
            if found is None or not self.has_blob(found.blob.digest):
                return None
            self._use(found.blob.digest)
            return found

    @override
    def has_realisation(self, derivation: Digest) -> bool:
        with self._lock:
            return any(key[0] == derivation for key in self._realisations)

    @override
    def record_realisation(self, realisation: Realisation) -> None:
        key = (realisation.derivation, realisation.answers, realisation.encoder)
        with self._lock:
            self._expect_blob(realisation.blob)
            self._realisations[key] = evolve(realisation, blob=realisation.blob.bare())
            self._use(realisation.blob.digest)

    @override
    def record_sources(self, digests: Iterable[Digest]) -> None:
        with self._lock:
            for digest in filter(self.has_blob, digests):
                self._sources.add(digest)
                self._use(digest)

    @override
    def find_chunks(self, digests: Iterable[Digest], encoder: str) -> dict[Digest, Chunk]:
        result = {}
        with self._lock:
            for digest in digests:
                chunk = self._chunks.get((digest, encoder))
                if chunk is None or not self.has_blob(chunk.blob):
                    continue
                if chunk.offset + chunk.length <= self.blob_size(chunk.blob):
                    result[digest] = chunk
        return result

    @override
    def record_chunks(self, encoder: str, chunks: Mapping[Digest, Chunk]) -> None:
        self._chunks.update({(digest, encoder): chunk for digest, chunk in chunks.items()})

    @override
    def find_contents(self, blob: Digest) -> bytes | None:
        return self._contents.get(blob)

    @override
    def record_contents(self, blob: Digest, data: bytes) -> None:
        self._contents[blob] = data

    @override
    def find_questions(self, key: Digest) -> bytes | None:
        with self._lock:
            return self._questions.find(key, int(self._clock()))

    @override
    def record_questions(self, key: Digest, data: bytes) -> None:
        with self._lock:
            self._questions.record(key, data, int(self._clock()))

    @override
    def find_answers(self, derivation: Digest, chain: Digest) -> Digest | None:
        with self._lock:
            return self._answers.find((derivation, chain), int(self._clock()))

    @override
    def record_answers(self, derivation: Digest, chain: Digest, answers: Digest) -> None:
        with self._lock:
            self._answers.record((derivation, chain), answers, int(self._clock()))

    @override
    def load_stats(self, root: bytes) -> dict[bytes, tuple[Signature, Digest]]:
        return dict(self._stats.get(root, {}))

    @override
    def save_stats(self, root: bytes, rows: Stats) -> None:
        self._stats[root] = {path: row for path, row in rows.items() if storable(row[0])}

    # Images

    @override
    def commit_generation(
        self,
        name: str,
        descriptor: Descriptor,
        *,
        tags: Sequence[str] = (),
        created: datetime,
        replace_tags: bool = True,
    ) -> Generation:
        check_commit(name, tags, created)
        descriptor = descriptor.bare()
        with self._lock:
            self._expect_blob(descriptor)
            if not replace_tags and name in self._images:
                expect_free(name, self._images[name].held(), tags, descriptor.digest)
            image = self._images.setdefault(name, _Image(name))
            if not image.current or image.at(image.current).descriptor != descriptor:
                image.add(descriptor, created)
            image.tags.update(dict.fromkeys(tags, descriptor))
            return image.at(image.current)

    @override
    def generations(self, name: str) -> tuple[Generation, ...]:
        with self._lock:
            return self._image(name).generations

    @override
    def images(self) -> tuple[Generation, ...]:
        with self._lock:
            return tuple(image.at(image.current) for _, image in sorted(self._images.items()))

    @override
    def set_current(self, name: str, number: int) -> Generation:
        with self._lock:
            image = self._image(name)
            image.current = image.at(number).number
            return image.at(number)

    @override
    def tag(self, name: str, tag: str, digest: Digest, *, replace: bool = True) -> Generation:
        check_tag(tag)
        with self._lock:
            image = self._image(name)
            for generation in reversed(image.generations):
                if generation.descriptor.digest == digest:
                    if not replace:
                        expect_free(name, image.held(), (tag,), digest)
                    image.tags[tag] = generation.descriptor
                    return image.at(generation.number)
        raise ImageNotFound(f"{name}@{digest}: in no generation of {name}")

    @override
    def untag(self, name: str, tag: str) -> None:
        with self._lock:
            image = self._image(name)
            if tag not in image.tags:
                raise no_such_tag(name, tag, image.tags)
            del image.tags[tag]

    @override
    def pin(self, name: str, number: int, *, pinned: bool = True) -> Generation:
        with self._lock:
            image = self._image(name)
            image.by_number[number] = evolve(image.at(number), pinned=pinned)
            return image.at(number)

    @override
    def forget(self, name: str, numbers: Iterable[int]) -> None:
        with self._lock:
            self._image(name).forget(numbers)

    @override
    def references(self) -> dict[str, Descriptor]:
        result: dict[str, Descriptor] = {}
        with self._lock:
            for name, image in self._images.items():
                result[name] = image.at(image.current).descriptor
                for generation in image.generations:
                    result[str(Reference(name, number=generation.number))] = generation.descriptor
                for tag, descriptor in image.tags.items():
                    result[str(Reference(name, tag=tag))] = descriptor
        return result

    @override
    @contextmanager
    def lease(self) -> Iterator[None]:
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    self._spared.clear()

    @override
    def resolve(self, reference: str) -> Descriptor:
        with self._lock:
            found = super().resolve(reference)
            self._spare(found.digest)
        return found

    @override
    def sweep(
        self,
        *,
        caches: bool = True,
        max_size: int | None = None,
        spent: Collection[Digest] = frozenset(),
        dry_run: bool = False,
        forgotten: Mapping[str, Collection[int]] = NOTHING,
    ) -> Swept:
        check_sweep(max_size, forgotten, dry_run=dry_run)
        with self._lock:
            dropped = dropped_names(self, forgotten)
            sizes = {digest: len(data) for digest, data in self._blobs.items()}
            marker = Marker(self)
            marker.index_referrers(sizes)
            named = self.references().items()
            marker.mark(Need.of(descriptor) for name, descriptor in named if name not in dropped)
            marker.mark(map(Need, self._spared))
            caching = CachePolicy(caches, max_size, frozenset(spent))
            left = marker.live | caching.kept(self._caches(), sizes, marker.live)
            return self._swept({d: n for d, n in sizes.items() if d not in left}, dry_run=dry_run)

    def _caches(self) -> dict[Digest, int]:
        known = {realisation.blob.digest for realisation in self._realisations.values()}
        return {digest: self._used[digest] for digest in known | self._sources}

    def _swept(self, garbage: Mapping[Digest, int], *, dry_run: bool) -> Swept:
        left = self._blobs.keys() - garbage.keys()
        realisations = {k: v for k, v in self._realisations.items() if v.blob.digest in left}
        chunks = {key: chunk for key, chunk in self._chunks.items() if chunk.blob in left}
        swept = Swept(
            tuple(sorted(garbage.items())),
            len(self._realisations) - len(realisations),
            len(self._sources - left),
            len(self._chunks) - len(chunks),
        )
        if not dry_run:
            self._blobs = {digest: self._blobs[digest] for digest in left}
            self._realisations, self._chunks = realisations, chunks
            self._sources &= left
            self._contents = {d: data for d, data in self._contents.items() if d in left}
            realised = {derivation for derivation, _, _ in realisations}
            self._questions.trim(len(realised))
            self._answers.keep(lambda key: key[0] in realised)
            self._answers.trim(len(realised))
        return swept

    def _spare(self, *digests: Digest) -> None:
        with self._lock:
            if self._holders:
                self._spared.update(digests)

    def _use(self, digest: Digest) -> None:
        """Remember that a blob is of use now; as exactly as the store on disk does."""
        now = int(self._clock())
        if self._used.get(digest, 0) <= now - USE_RESOLUTION:
            self._used[digest] = now

    @override
    def info(self) -> StoreInfo:
        with self._lock:
            return StoreInfo(
                root=None,
                blobs=len(self._blobs),
                bytes=sum(map(len, self._blobs.values())),
                images=len(self._images),
                generations=sum(len(image.generations) for image in self._images.values()),
                realisations=len(self._realisations),
                chunks=len(self._chunks),
                sources=len(self._sources),
            )

    def _put(self, digest: Digest, data: bytes) -> None:
        with self._lock:
            self._spare(digest)
            self._blobs.setdefault(digest, data)

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


@define
class _Remembered(Generic[K, V]):
    """Values by key, each with when it was last of use; `each` stay for a derivation."""

    each: int
    _rows: dict[K, tuple[V, int]] = field(factory=dict, init=False)

    def find(self, key: K, now: int) -> V | None:
        if key not in self._rows:
            return None
        value, used = self._rows[key]
        if used <= now - USE_RESOLUTION:
            self._rows[key] = value, now
        return value

    def record(self, key: K, value: V, now: int) -> None:
        _, used = self._rows.get(key, (value, now))
        self._rows[key] = value, max(used, now)

    def keep(self, is_of_use: Callable[[K], bool]) -> None:
        self._rows = {key: row for key, row in self._rows.items() if is_of_use(key)}

    def trim(self, derivations: int) -> None:
        """Keep those last of use, for so many derivations."""
        rows = sorted(self._rows.items(), key=lambda item: (-item[1][1], item[0]))
        self._rows = dict(rows[: self.each * derivations])


class _MemoryIngest(Ingest):
    def __init__(self, put: Callable[[Digest, bytes], None]) -> None:
        super().__init__()
        self._put = put
        self._data = bytearray()

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        self._data += data

    def _keep(self, digest: Digest) -> None:
        self._put(digest, bytes(self._data))
