"""The SQLite database beside the blobs: one file, many threads, many processes.

What it holds is either only a matter of time (realisations, chunks, stat cache) or stands in
`index.json` too (generations, tags). So it can be lost.

Write-ahead logging lets readers go on beside a writer. A commit is not synced by itself: after
a power cut the database is whole, and may lack its last transactions. That is right for
records of blobs, which are synced before they are recorded and made again if forgotten. Names
are committed with `durable`, which syncs: a generation that was told to a person stays.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from immutable.errors import StoreError
from immutable.store import files

VERSION: Final = 1
_BUSY_SECONDS: Final = 60
_REFUSED: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)

# Digests are their 32 bytes. `WITHOUT ROWID` keeps a row in its key's own tree.
_SCHEMA: Final = (
    """CREATE TABLE realisation (
        derivation BLOB NOT NULL, encoder TEXT NOT NULL, diff_id BLOB NOT NULL,
        media_type TEXT NOT NULL, blob BLOB NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (derivation, encoder)) WITHOUT ROWID""",
    "CREATE INDEX realisation_blob ON realisation (blob)",
    """CREATE TABLE chunk (
        digest BLOB NOT NULL, encoder TEXT NOT NULL, blob BLOB NOT NULL,
        position INTEGER NOT NULL, length INTEGER NOT NULL, frame BLOB NOT NULL,
        PRIMARY KEY (digest, encoder)) WITHOUT ROWID""",
    "CREATE INDEX chunk_blob ON chunk (blob)",
    "CREATE TABLE stat_root (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE)",
    """CREATE TABLE stat (
        root INTEGER NOT NULL REFERENCES stat_root ON DELETE CASCADE,
        path BLOB NOT NULL, signature BLOB NOT NULL, digest BLOB NOT NULL,
        PRIMARY KEY (root, path)) WITHOUT ROWID""",
    # The current generation cannot be deleted, only succeeded.
    """CREATE TABLE image (
        name TEXT PRIMARY KEY, current INTEGER NOT NULL, next INTEGER NOT NULL,
        FOREIGN KEY (name, current) REFERENCES generation (name, number)
            DEFERRABLE INITIALLY DEFERRED) WITHOUT ROWID""",
    """CREATE TABLE generation (
        name TEXT NOT NULL REFERENCES image, number INTEGER NOT NULL,
        media_type TEXT NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL,
        created TEXT NOT NULL, PRIMARY KEY (name, number)) WITHOUT ROWID""",
    """CREATE TABLE tag (
        name TEXT NOT NULL REFERENCES image, tag TEXT NOT NULL,
        media_type TEXT NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (name, tag)) WITHOUT ROWID""",
    """CREATE TABLE lease (
        file TEXT NOT NULL, blob BLOB NOT NULL, PRIMARY KEY (file, blob)) WITHOUT ROWID""",
    "CREATE INDEX lease_blob ON lease (blob)",
    # One row while index.json may lag behind the names in here.
    "CREATE TABLE index_lags (since TEXT NOT NULL)",
    f"PRAGMA user_version = {VERSION}",
)


class Database:
    """A connection that threads take in turn. It must not be carried over a fork."""

    def __init__(self, connection: sqlite3.Connection, where: str) -> None:
        self._connection = connection
        self._where = where
        self._lock = threading.RLock()
        self.close = weakref.finalize(self, connection.close)

    @classmethod
    def open(cls, path: Path, *, fill: Callable[[sqlite3.Connection], None]) -> Self:
        """Open the database for writing; `fill` a new one in the transaction that makes it.

        The caller holds the store's lock. Raises StoreError for a damaged one, or one that a
        newer version wrote.
        """
        _make_file(path)
        database = cls(_connect(path, "rw"), str(path))
        try:
            database._prepare(fill)
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def open_read_only(cls, path: Path) -> Self | None:
        """Open the database of a store that cannot be written; None if that cannot be done.

        Where nothing can be written, write-ahead logging works only while somebody else keeps
        its files. With no log there, nothing can change the database under us.
        """
        if not path.is_file() or not path.stat().st_size:
            return None
        log = path.with_name(path.name + "-wal")
        quiet = not log.exists() or not log.stat().st_size
        for mode in ("ro", "ro&immutable=1")[: 2 if quiet else 1]:
            database = cls(_connect(path, mode), str(path))
            try:
                with database.read() as connection:
                    _check_version(connection, str(path))
            except StoreError as error:
                database.close()
                if not isinstance(error.__cause__, sqlite3.OperationalError):
                    raise
            else:
                return database
        return None

    @classmethod
    def in_memory(cls) -> Self:
        """Return an empty database that is gone when it is closed."""
        connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        database = cls(connection, "database in memory")
        database._prepare(lambda _: None)
        return database

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for queries; sqlite3's errors come out as StoreError."""
        with self._lock, self._explained():
            yield self._connection

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """Give the connection inside a transaction: all that the block does, or nothing.

        With `durable` it is on the disk afterwards.
        """
        with self._lock, self._explained():
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _prepare(self, fill: Callable[[sqlite3.Connection], None]) -> None:
        with self.read() as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            version = _check_version(connection, self._where)
            if version == VERSION:
                return
            connection.execute("PRAGMA journal_mode = WAL")
        with self.write(durable=True) as connection:
            for statement in _SCHEMA:
                connection.execute(statement)
            fill(connection)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = _code(error)
            advice = ""
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                advice = "; move it away: blobs and names do not depend on it"
            elif code in _REFUSED:
                advice = "; the disk is full or failing: make room on it, then try again"
            elif code == sqlite3.SQLITE_BUSY:
                advice = "; another process holds it: try again when that is done"
            raise StoreError(f"{self._where}: {error}{advice}") from error


def is_refused(error: BaseException | None) -> bool:
    """Whether a full or failing disk is what `error` comes from: SQLite's word for it or ours."""
    while error is not None:
        if isinstance(error, sqlite3.Error) and _code(error) in _REFUSED:
            return True
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return True
        error = error.__cause__
    return False


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; 0 for an error of Python's own."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _make_file(path: Path) -> None:
    """Make an empty database file; SQLite gives the log beside it the same mode."""
    with files.explained(path):
        try:
            descriptor = os.open(
                path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, files.FILE_MODE
            )
        except FileExistsError:
            return
        try:
            os.fchmod(descriptor, files.FILE_MODE)
        finally:
            os.close(descriptor)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _check_version(connection: sqlite3.Connection, where: str) -> int:
    """Return the schema's version, 0 for an empty database; raise StoreError for a newer one."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StoreError(
            f"{where}: version: expected {VERSION}, found {version}; "
            "it was written by a newer immutable"
        )
    if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise StoreError(f"{where}: expected immutable's database, found another; move it away")
    return version
