"""The store on disk: an OCI image layout with a database beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from typing_extensions import override

from immutable.errors import BlobMissing, ImageError, StoreError
from immutable.oci.digest import Digest
from immutable.oci.documents import REF_NAME, Descriptor
from immutable.spec.derivation import Realisation
from immutable.store import access, files, records, reserve
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
)
from immutable.store.closure import MAX_DOCUMENT, CachePolicy
from immutable.store.database import Database, is_refused
from immutable.store.gc import Sweep
from immutable.store.layout import Layout, make_root
from immutable.store.leases import Leases
from immutable.store.memo_records import RecordedMemos
from immutable.store.names import check_tag
from immutable.store.preconditions import check_commit, check_sweep, dropped_names
from immutable.store.refs import Refs, with_references
from immutable.store.streams import Ingest

if TYPE_CHECKING:
    from immutable.config import Config

_ROOT_MODE: Final = 0o700
_LEAST_ROOM: Final = 1 << 18  # bytes: what the smallest change of names may need
_NOT_HERE: Final = "the store cannot be written here; choose another with --store"
_NO_ROOM: Final = "the store's disk is full or failing; make room on it, then try again"


class Store(RecordedMemos, AbstractStore):
    """The store in the directory `root`; `Store.open` makes one."""

    def __init__(
        self,
        root: Path,
        layout: Layout,
        database: Database,
        leases: Leases | None,
        *,
        refusal: str = "",
    ) -> None:
        self.root = root
        self._clock: Callable[[], float] = time.time
        self._refusal = refusal  # why a store without leases cannot be written
        self._layout = layout
        self._database = database
        self._leases = leases

    @classmethod
    def open(
        cls,
        root: Path | None = None,
        *,
        config: Config | None = None,
        reclaim: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open the store at `root`, by default where `config` says, making it if need be.

        One that this user cannot write, or whose disk is full, is opened for reading. To
        `reclaim` room, one whose disk is full is opened for writing, with the room that it
        keeps in reserve. `clock` gives seconds since the epoch, for the times of last use.
        Raises StoreError for a directory that others can write, that is not empty and no
        store, and for a store or layout of another version.
        """
        path = _default_root(config) if root is None else Path(root)
        # One name for good: the working directory may change under a relative one.
        path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
        with files.explained(path):
            read_only = path.is_dir() and any(path.iterdir()) and not access.is_writable(path)
        try:
            if read_only:
                store = cls._open_read_only(path, _NOT_HERE)
            elif reclaim:
                store = cls._open_writable(path, reclaim=True)
            else:
                store = cls._open_with_room(path)
        except ImageError as error:
            raise StoreError(str(error)) from None
        store._clock = clock
        return store

    @classmethod
    def _open_with_room(cls, path: Path) -> Self:
        """Open the store for writing; for reading if its disk has no room for the database's log.

        Queries, and builds that change nothing, need no more.
        """
        try:
            store = cls._open_writable(path)
        except StoreError as error:
            if not is_refused(error):
                raise
            with suppress(ImageError, StoreError):
                return cls._open_read_only(path, _NO_ROOM)
            raise
        if not files.has_room(path, _LEAST_ROOM):
            # A log that was there already could be opened; it could not grow by a lease.
            store._leases, store._refusal = None, _NO_ROOM
        return store

    @classmethod
    def _open_writable(cls, path: Path, *, reclaim: bool = False) -> Self:
        make_root(path, _ROOT_MODE)
        layout = Layout(path, path / "tmp")
        layout.expect_layout_or_empty()
        access.refuse_shared(path)
        with files.locked_directory(path):
            layout.complete()
            access.refuse_shared(path / "blobs")
            access.refuse_shared(path / "blobs" / "sha256")
            for name in ("tmp", "leases"):
                files.make_directory(path / name, _ROOT_MODE)
            for directory in (path, path / "tmp"):
                files.sweep_drafts(directory)  # first: they may be what fills the disk
            full = not files.has_room(path, _LEAST_ROOM)
            if reclaim and full:
                reserve.spend(path)
            elif not full:
                reserve.keep(path)
            database = Database.open(
                path / "immutable.db",
                fill=lambda connection: Refs(connection).adopt(layout.index()),
            )
        store = cls(path, layout, database, Leases(path / "leases", database))
        try:
            if full:
                database.spare_room()
            store._recover()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def _open_read_only(cls, path: Path, refusal: str) -> Self:
        layout = Layout.open(path)
        for part in (path, path / "blobs", path / "blobs" / "sha256"):
            if part.exists():
                access.refuse_shared(part)
        database = Database.open_read_only(path / "immutable.db")
        if database is None:
            database = Database.in_memory()
            with database.write() as connection:
                Refs(connection).adopt(layout.index())
        return cls(path, layout, database, None, refusal=refusal)

    def _sweep_the_dead(self) -> None:
        """Remove what killed processes were about to put, and their leases."""
        for directory in (self.root, self.root / "tmp"):
            files.sweep_drafts(directory)
        if self._leases is not None:
            self._leases.sweep()

    def _recover(self) -> None:
        """Put right what killed processes left."""
        if self._leases is not None:
            self._leases.sweep()
        with self._database.read() as connection:
            lags = Refs(connection).index_lags() is not None
        if lags:
            with self._naming():
                pass  # whatever it does, it ends with index.json written

    def close(self) -> None:
        """Close the database. What is open of blobs stays open."""
        self._database.close()

    # Blobs

    @override
    def has_blob(self, digest: Digest) -> bool:
        return self._spared_and(self._layout.has, digest)

    @override
    def blob_size(self, digest: Digest) -> int:
        return self._layout.size(digest)

    def blob_path(self, digest: Digest) -> Path:
        """Return where a blob stands, or would."""
        return self._layout.blob_path(digest)

    @override
    def open_blob(self, digest: Digest) -> BinaryIO:
        return self._layout.open_blob(digest)

    @override
    def verified(self, digest: Digest, size: int | None = None) -> AbstractContextManager[BinaryIO]:
        return self._layout.verified(digest, size)

    @override
    def read_blob(self, digest: Digest, limit: int = MAX_DOCUMENT) -> bytes:
        return self._layout.read(digest, limit)

    @override
    @contextmanager
    def ingest(self) -> Iterator[Ingest]:
        if self._leases is None:
            yield _Comparison(self._layout, self._refused())
        else:
            with self._layout.ingest(before=lambda digest: self._spare((digest,))) as blob:
                yield blob

    @override
    def scratch(self) -> AbstractContextManager[BinaryIO]:
        directory = None if self._leases is None else self.root / "tmp"
        return files.scratch(directory)

    # What is known about blobs

    @override
    def find_realisation(
        self, derivation: Digest, answers: Digest, encoder: str
    ) -> Realisation | None:
        with self._database.read() as connection:
            row = records.find_realisation(connection, derivation, answers, encoder)
        if row is None:
            return None
        found, used = row
        blob = found.blob
        there = self._spared_and(lambda digest: self._layout.holds(digest, blob.size), blob.digest)
        now = int(self._clock())
        if there and used <= now - USE_RESOLUTION and self._leases is not None:
            # It only says what to evict first.
            with suppress(StoreError), self._database.write() as connection:
                records.use_realisation(connection, found, now)
        return found if there else None

    @override
    def has_realisation(self, derivation: Digest) -> bool:
        with self._database.read() as connection:
            return records.has_realisation(connection, derivation)

    @override
    def record_realisation(self, realisation: Realisation) -> None:
        self.expect_writable()
        self._expect_blob(realisation.blob)
        with self._database.write() as connection:
            records.record_realisation(connection, realisation, int(self._clock()))

    @override
    def record_sources(self, digests: Iterable[Digest]) -> None:
        if self._leases is None:
            return
        now = int(self._clock())
        with self._database.read() as connection:
            stale = records.stale_sources(connection, digests, now - USE_RESOLUTION)
        there = [digest for digest in stale if self.has_blob(digest)]
        if there:
            with self._database.write() as connection:
                records.record_sources(connection, there, now)

    @override
    def find_chunks(self, digests: Iterable[Digest], encoder: str) -> dict[Digest, Chunk]:
        with self._database.read() as connection:
            found = records.find_chunks(connection, digests, encoder)
        blobs = {chunk.blob for chunk in found.values()}
        self._spare(blobs)
        sizes = {blob: self._size_or_none(blob) for blob in blobs}
        return {
            digest: chunk
            for digest, chunk in found.items()
            if (size := sizes[chunk.blob]) is not None and chunk.offset + chunk.length <= size
        }

    @override
    def record_chunks(self, encoder: str, chunks: Mapping[Digest, Chunk]) -> None:
        self.expect_writable()
        with self._database.write() as connection:
            records.record_chunks(connection, encoder, chunks)

    @override
    def load_stats(self, root: bytes) -> dict[bytes, tuple[Signature, Digest]]:
        with self._database.read() as connection:
            return records.load_stats(connection, root)

    @override
    def save_stats(self, root: bytes, rows: Stats) -> None:
        if self._leases is not None:
            with self._database.write() as connection:
                records.save_stats(connection, root, rows)

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
        self._expect_blob(descriptor)
        descriptor = descriptor.bare()
        with self._database.read() as connection:
            current = Refs(connection).current(name)
        if current and current.descriptor == descriptor and {*tags} <= {*current.tags}:
            return current  # so that a build that changes nothing needs to write nothing
        self.expect_writable()
        # Whoever stored them may not have come to this yet; a name must not outlive a blob.
        self._layout.sync()
        with self._naming() as refs:
            self._expect_blob(descriptor)  # still: no sweep comes between this and the name
            if not replace_tags:
                expect_free(name, refs.tags(name), tags, descriptor.digest)
            return refs.commit(name, descriptor, tags, created)

    @override
    def generations(self, name: str) -> tuple[Generation, ...]:
        with self._database.read() as connection:
            return Refs(connection).generations(name)

    @override
    def images(self) -> tuple[Generation, ...]:
        with self._database.read() as connection:
            return Refs(connection).images()

    @override
    def set_current(self, name: str, number: int) -> Generation:
        with self._naming() as refs:
            return refs.set_current(name, number)

    @override
    def tag(self, name: str, tag: str, digest: Digest, *, replace: bool = True) -> Generation:
        check_tag(tag)
        with self._naming() as refs:
            generation = refs.with_digest(name, digest)
            if not replace:
                expect_free(name, refs.tags(name), (tag,), digest)
            refs.set_tag(name, tag, generation.descriptor)
            return refs.generation(name, generation.number)

    @override
    def untag(self, name: str, tag: str) -> None:
        with self._naming() as refs:
            refs.untag(name, tag)

    @override
    def pin(self, name: str, number: int, *, pinned: bool = True) -> Generation:
        with self._naming() as refs:
            return refs.pin(name, number, pinned=pinned)

    @override
    def forget(self, name: str, numbers: Iterable[int]) -> None:
        with self._naming() as refs:
            refs.forget(name, numbers)

    @override
    def resolve(self, reference: str) -> Descriptor:
        found = super().resolve(reference)
        # What was found may be gone by the time that it is in the lease; then there is less.
        while self._spare((found.digest,)):
            found = super().resolve(reference)
        return found

    @override
    def references(self) -> dict[str, Descriptor]:
        result: dict[str, Descriptor] = {}
        # What we named ourselves can be had without a whole index.json.
        with suppress(ImageError):
            for entry in self._layout.index().manifests:
                name = dict(entry.annotations).get(REF_NAME)
                if name:
                    result.setdefault(name, entry.bare())
        with self._database.read() as connection:
            ours = Refs(connection).references()
        return result | {name: descriptor.bare() for name, descriptor in ours.items()}

    @override
    def lease(self) -> AbstractContextManager[None]:
        return nullcontext() if self._leases is None else self._leases.held()

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
        caching = CachePolicy(caches, max_size, frozenset(spent))
        sweep = Sweep(self._layout, self._database, self._leases)
        if dry_run:
            return sweep.preview(sweep.plan(caching, dropped_names(self, forgotten)))
        self.expect_writable()
        self._sweep_the_dead()
        swept = sweep.run(sweep.plan(caching))
        with files.locked_directory(self.root):
            reserve.keep(self.root)
        return swept

    @override
    def info(self) -> StoreInfo:
        sizes = [size for _, size in self._layout.blobs()]
        with self._database.read() as connection:
            images, generations, realisations, chunks, sources = (
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
                for table in ("image", "generation", "realisation", "chunk", "source")
            )
        return StoreInfo(
            self.root, len(sizes), sum(sizes), images, generations, realisations, chunks, sources
        )

    @contextmanager
    def _naming(self) -> Iterator[Refs]:
        """Change names in the database and in index.json together.

        All that can fail for want of space comes before the commit. A process killed between
        the commit and the rename leaves the mark that makes the next one write index.json.
        """
        self.expect_writable()
        with files.locked_directory(self.root), ExitStack() as stack:
            with self._database.write(durable=True) as connection:
                refs = Refs(connection)
                before = refs.references().keys() | (refs.index_lags() or set())
                yield refs
                wanted = refs.references()
                gone = before - wanted.keys()
                publish = stack.enter_context(
                    self._layout.prepared_index(lambda index: with_references(index, wanted, gone))
                )
                refs.mark_index(gone)
            publish()
            with suppress(StoreError), self._database.write() as connection:
                Refs(connection).unmark_index()

    def _spare(self, digests: Iterable[Digest]) -> bool:
        return self._leases is not None and self._leases.spare(digests)

    def _spared_and(self, there: Callable[[Digest], bool], digest: Digest) -> bool:
        """Whether a blob is there, and stays there under a lease."""
        if not there(digest):
            return False
        return not self._spare((digest,)) or there(digest)

    def _size_or_none(self, digest: Digest) -> int | None:
        try:
            return self._layout.size(digest)
        except BlobMissing:
            return None

    def expect_writable(self) -> None:
        """Raise StoreError if this store can only be read."""
        if self._leases is None:
            raise self._refused()

    def _refused(self) -> StoreError:
        return StoreError(f"{self.root}: {self._refusal}")


class _Comparison(Ingest):
    """What goes into a store that cannot be written: nothing that is not there already."""

    def __init__(self, layout: Layout, refused: StoreError) -> None:
        super().__init__()
        self._layout, self._refused = layout, refused

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def _keep(self, digest: Digest) -> None:
        if not self._layout.holds(digest, self.size):
            raise self._refused


def _default_root(config: Config | None) -> Path:
    from immutable.config import Config

    return (config or Config.load()).store
