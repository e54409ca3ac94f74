"""Leases: what a running build has found or put is spared by whoever deletes.

A lease is a locked file in `leases/` and, in the database, the blobs it spares. The lock ends
with the process, however that ends. The order makes it safe beside a sweep that looks at live
leases inside the very transaction in which it deletes (see `gc`): a blob is entered first,
and only then found to be there.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from immutable.errors import StoreError
from immutable.oci.digest import Digest
from immutable.store import files
from immutable.store.database import Database
from immutable.store.records import digest as parsed
from immutable.store.records import raw

_PREFIX: Final = "lease-"


class Leases:
    """The lease of this store's users, one for all its threads, and the remains of others'."""

    def __init__(self, directory: Path, database: Database) -> None:
        self._directory = directory
        self._database = database
        self._lock = threading.Lock()
        self._holders = 0
        self._spared: set[Digest] = set()
        self._file = files.HeldFile(directory, _PREFIX)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lease for the block."""
        with self._lock:
            if not self._holders:
                self._file.take()
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    self._end()

    def spare(self, digests: Iterable[Digest]) -> bool:
        """Enter blobs into the lease, if one is held; say whether any is new in it.

        Whether a new one is there has to be asked after this.
        """
        if not self._file.name:
            return False
        with self._lock:
            name = self._file.name
            new = [digest for digest in digests if digest not in self._spared]
            if not name or not new:
                return False
            with self._database.write() as connection:
                connection.executemany(
                    "INSERT OR IGNORE INTO lease (file, blob) VALUES (?, ?)",
                    ((name, raw(digest)) for digest in new),
                )
            self._spared.update(new)
            return True

    def spared(self, connection: sqlite3.Connection) -> Iterator[Digest]:
        """Yield the blobs in all leases, this one's and others', that have not ended."""
        rows = connection.execute("SELECT file, blob FROM lease ORDER BY file").fetchall()
        there: dict[str, bool] = {}
        for file, blob in rows:
            if file not in there:
                there[file] = (self._directory / file).exists()
            if there[file]:
                yield parsed(blob)

    def sweep(self) -> None:
        """Forget the leases of processes that are gone."""
        with files.abandoned(self._directory, _PREFIX):
            pass
        with self._database.read() as connection:
            rows = connection.execute("SELECT DISTINCT file FROM lease").fetchall()
        # A file is there before its first row and goes before its last: one that is missing
        # now never comes back.
        gone = [row for row in rows if not (self._directory / row[0]).exists()]
        if gone:
            with self._database.write() as connection:
                connection.executemany("DELETE FROM lease WHERE file = ?", gone)

    def _end(self) -> None:
        name = self._file.name
        self._spared.clear()
        self._file.release()
        # If this fails, a later sweep does it.
        with suppress(StoreError), self._database.write() as connection:
            connection.execute("DELETE FROM lease WHERE file = ?", (name,))
