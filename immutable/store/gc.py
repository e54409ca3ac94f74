"""Removing from the store on disk what nothing needs, beside builds that go on.

The candidates are listed first: a blob that is put later is none. Then what is needed is
marked. Both may be out of date by the time something is removed, so whatever is removed is
asked about again, inside the transaction in which it is removed:

1. A transaction takes the records of some garbage away, so that no record outlives its blob.
   It is on the disk before the next step.
2. Another transaction, which writes nothing, holds the database's write lock while their files
   go. A lease enters a blob, which needs that lock, before it looks whether the blob is there:
   so either the lease is seen here, and the blob stays, or the blob is gone when the lease's
   owner looks, who then makes it again.

Documents go before what they refer to: a document that is still there is still whole, and who
finds it under a lease keeps it so. A crash in between leaves garbage for the next sweep.

Other tools know no leases. What they put is safe once `index.json` names it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO, Final

from attrs import define, field, frozen

from immutable.errors import ImageError, StoreError
from immutable.oci.digest import Digest
from immutable.oci.documents import REF_NAME, Index
from immutable.store import files, memo_records, records
from immutable.store.base import Swept
from immutable.store.closure import CachePolicy, Marker, Need
from immutable.store.database import Database
from immutable.store.layout import Layout
from immutable.store.leases import Leases

_BATCH: Final = 100  # blobs whose files go while others wait for the database
_ROWS: Final = 4096  # records that go in one transaction, and what they may add to its log
_FEW_ROWS: Final = 16
_AMPLE: Final = 64 << 20  # bytes


@define
class _Count:
    """What was removed so far."""

    blobs: dict[Digest, int] = field(factory=dict)
    realisations: int = 0
    sources: int = 0
    chunks: int = 0

    def swept(self) -> Swept:
        return Swept(
            tuple(sorted(self.blobs.items())), self.realisations, self.sources, self.chunks
        )


@frozen
class _Garbage:
    """What is to go: blobs, documents first; and what has records, but is `missing`."""

    blobs: tuple[Digest, ...]
    missing: tuple[Digest, ...]


class Sweep:
    """One sweep; `leases` is None for a store that can only be read."""

    def __init__(self, layout: Layout, database: Database, leases: Leases | None) -> None:
        self._layout = layout
        self._database = database
        self._leases = leases
        self._marker = Marker(_Reader(layout))
        self._roots: frozenset[Need] = frozenset()
        self._index: tuple[object, Index] | None = None
        self._sizes: dict[Digest, int] = {}

    def plan(self, caching: CachePolicy, dropped: frozenset[str] = frozenset()) -> _Garbage:
        """Return what could go if the names in `dropped` were gone."""
        self._sizes = dict(self._layout.blobs())
        self._marker.index_referrers(self._sizes)
        with self._database.read() as connection:
            self._mark(connection, dropped)
            used = records.caches(connection)
            recorded = records.blobs(connection)
        live = self._marker.live
        garbage = self._sizes.keys() - live - caching.kept(used, self._sizes, live)
        return _Garbage(
            tuple(self._marker.parents_first(garbage)),
            tuple(sorted(recorded - self._sizes.keys(), key=lambda digest: digest.hex)),
        )

    def preview(self, garbage: _Garbage) -> Swept:
        """Return what `run` would remove."""
        count = _Count({digest: self._sizes[digest] for digest in garbage.blobs})
        with self._database.read() as connection:
            for batch in _batches((*garbage.blobs, *garbage.missing)):
                realisations, sources, chunks = records.count(connection, batch)
                count.realisations += realisations
                count.sources += sources
                count.chunks += chunks
        return count.swept()

    def run(self, garbage: _Garbage) -> Swept:
        """Remove the garbage, as far as it still is garbage; return what was removed."""
        count = _Count()
        for batch in _batches(garbage.blobs):
            self._forget_records(batch, count)
            self._remove_files(batch, count)
        for batch in _batches(garbage.missing):
            self._forget_records(batch, count)
        self._forget_rows(memo_records.forget_useless)
        return count.swept()

    def _forget_records(self, batch: Sequence[Digest], count: _Count) -> None:
        """Take away what is known about blobs."""

        def forget_chunks(connection: sqlite3.Connection, most: int) -> int:
            garbage = self._still_garbage(connection, batch)
            return records.forget_chunks(connection, garbage, most)

        def forget_contents(connection: sqlite3.Connection, most: int) -> int:
            garbage = self._still_garbage(connection, batch)
            return memo_records.forget_contents(connection, garbage, most)

        count.chunks += self._forget_rows(forget_chunks)
        self._forget_rows(forget_contents)
        with self._database.write(durable=True) as connection:
            garbage = self._still_garbage(connection, batch)
            realisations, sources = records.forget(connection, garbage)
        count.realisations += realisations
        count.sources += sources

    def _forget_rows(self, forget: Callable[[sqlite3.Connection, int], int]) -> int:
        """Have `forget` remove rows until it finds no more; return how many it removed.

        What is known of a large layer's chunks is a large transaction.
        """
        most = _ROWS if files.has_room(self._layout.path, _AMPLE) else _FEW_ROWS
        total, removed = 0, most
        while removed == most:
            with self._database.write() as connection:
                removed = forget(connection, most)
            total += removed
        return total

    def _remove_files(self, batch: Sequence[Digest], count: _Count) -> None:
        """Remove blobs, while nobody can take a lease on one."""
        with self._database.write() as connection:
            garbage = self._still_garbage(connection, batch)
            # Of those that were recorded again, nobody need have a lease any more.
            recorded = records.recorded(connection, garbage)
            for digest in garbage:
                if digest not in recorded and self._layout.remove(digest):
                    count.blobs[digest] = self._sizes[digest]

    def _still_garbage(
        self, connection: sqlite3.Connection, batch: Sequence[Digest]
    ) -> list[Digest]:
        """Return those of the blobs that nothing needs by now; of what was missing, what still is.

        The caller's transaction keeps it so.
        """
        self._mark(connection)
        return [digest for digest in batch if self._is_garbage(digest)]

    def _is_garbage(self, digest: Digest) -> bool:
        if digest in self._sizes:
            return digest not in self._marker.live
        return not self._layout.has(digest)

    def _mark(self, connection: sqlite3.Connection, dropped: frozenset[str] = frozenset()) -> None:
        """Mark what is needed now and was not yet."""
        roots = frozenset(self._find_roots(connection, dropped))
        self._marker.mark(roots - self._roots)
        self._roots |= roots

    def _find_roots(
        self, connection: sqlite3.Connection, dropped: frozenset[str]
    ) -> Iterator[Need]:
        for name, descriptor in records.named(connection):
            if name not in dropped:
                yield Need.of(descriptor)
        for entry in self._read_index().manifests:
            if dict(entry.annotations).get(REF_NAME) not in dropped:
                yield Need.of(entry)
        if self._leases is not None:
            for digest in self._leases.spared(connection):
                yield Need(digest)

    def _read_index(self) -> Index:
        """Return `index.json`, read again if it was replaced."""
        signature = self._layout.index_signature()
        if self._index is None or self._index[0] != signature:
            try:
                self._index = signature, self._layout.index()
            except ImageError as error:
                raise StoreError(
                    f"{error}; what it names is not known: "
                    "run `immutable store check --repair` first"
                ) from None
        return self._index[1]


@frozen
class _Reader:
    """A layout's blobs, as `Marker` reads them."""

    layout: Layout

    def blob_size(self, digest: Digest) -> int:
        return self.layout.size(digest)

    def open_blob(self, digest: Digest) -> BinaryIO:
        return self.layout.open_blob(digest)

    def read_blob(self, digest: Digest, limit: int) -> bytes:
        return self.layout.read(digest, limit)


def _batches(digests: Iterable[Digest]) -> Iterator[tuple[Digest, ...]]:
    remaining = iter(digests)
    while batch := tuple(islice(remaining, _BATCH)):
        yield batch
