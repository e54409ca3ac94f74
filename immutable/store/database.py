"""The SQLite database beside the blobs: one file, many threads, many processes.

What it holds is either only a matter of time (realisations, chunks, memos, stat cache) or stands in
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from immutable.errors import StoreError
from immutable.store import files

VERSION: Final = 3
_BUSY_SECONDS: Final = 60
_REFUSED: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)

# Fetched blobs, and when they were last of use: seconds since the epoch, as in `realisation`.
_SOURCE: Final = """CREATE TABLE source (
    blob BLOB PRIMARY KEY, used INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID"""
# Rows while index.json may lag behind the names in here: an empty one, and the names that are
# to go from it.
_LAGGING: Final = "CREATE TABLE lagging (name TEXT PRIMARY KEY) WITHOUT ROWID"
_REALISATION: Final = (
    """CREATE TABLE realisation (
        derivation BLOB NOT NULL, answers BLOB NOT NULL, encoder TEXT NOT NULL,
        diff_id BLOB NOT NULL, media_type TEXT NOT NULL, blob BLOB NOT NULL,
        size INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (derivation, answers, encoder)) WITHOUT ROWID""",
    "CREATE INDEX realisation_blob ON realisation (blob)",
)
# See `memos`. Data may be long: it stands last, so that what is before is found without it.
_MEMOS: Final = (
    "CREATE TABLE contents (blob BLOB NOT NULL PRIMARY KEY, data BLOB NOT NULL)",
    """CREATE TABLE question (
        key BLOB NOT NULL PRIMARY KEY, used INTEGER NOT NULL, data BLOB NOT NULL)""",
    """CREATE TABLE answer (
        derivation BLOB NOT NULL, chain BLOB NOT NULL, answers BLOB NOT NULL,
        used INTEGER NOT NULL, PRIMARY KEY (derivation, chain)) WITHOUT ROWID""",
)
# Digests are their 32 bytes. `WITHOUT ROWID` keeps a row in its key's own tree.
_SCHEMA: Final = (
    *_REALISATION,
    *_MEMOS,
    _SOURCE,
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
        created TEXT NOT NULL, pinned INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (name, number)) WITHOUT ROWID""",
    """CREATE TABLE tag (
        name TEXT NOT NULL REFERENCES image, tag TEXT NOT NULL,
        media_type TEXT NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (name, tag)) WITHOUT ROWID""",
    """CREATE TABLE lease (
        file TEXT NOT NULL, blob BLOB NOT NULL, PRIMARY KEY (file, blob)) WITHOUT ROWID""",
    "CREATE INDEX lease_blob ON lease (blob)",
    _LAGGING,
)

# What makes a database of the version before one of this version.
_UPGRADES: Final[Mapping[int, tuple[str, ...]]] = {
    2: (
        "ALTER TABLE realisation ADD COLUMN used INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE generation ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0",
        _SOURCE,
        _LAGGING,
        "INSERT INTO lagging SELECT DISTINCT '' FROM index_lags",
        "DROP TABLE index_lags",
    ),
    # What was realised before was realised without questions: nobody asks for it any more.
    3: ("DROP TABLE realisation", *_REALISATION, *_MEMOS),
}


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
                    version = _check_version(connection, str(path))
            except StoreError as error:
                database.close()
                if not isinstance(error.__cause__, sqlite3.OperationalError):
                    raise
            else:
                return database if version == VERSION else database._upgraded_copy()
        return None

    @classmethod
    def in_memory(cls) -> Self:
        """Return an empty database that is gone when it is closed."""
        database = cls(_connect_memory(), "database in memory")
        database._prepare(lambda _: None)
        return database

    def _upgraded_copy(self) -> Self:
        """Return a copy in memory, of this version; close this one."""
        copy = type(self)(_connect_memory(), self._where)
        with self.read() as connection, copy.read() as other:
            connection.backup(other)
        self.close()
        copy._prepare(lambda _: None)
        return copy

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

    def spare_room(self) -> None:
        """Keep the log as short as it can be, for a disk that has no room to spare."""
        with self.read() as connection:
            connection.execute("PRAGMA wal_autocheckpoint = 1")

    def _prepare(self, fill: Callable[[sqlite3.Connection], None]) -> None:
        with self.read() as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            # Else SQLite as some build it writes zeros over what goes, all of it through the log.
            connection.execute("PRAGMA secure_delete = OFF")
            version = _check_version(connection, self._where)
            if version == VERSION:
                return
            connection.execute("PRAGMA journal_mode = WAL")
        with self.write(durable=True) as connection:
            if version:
                statements = [line for n in range(version, VERSION) for line in _UPGRADES[n + 1]]
            else:
                statements = [*_SCHEMA]
            for statement in (*statements, f"PRAGMA user_version = {VERSION}"):
                connection.execute(statement)
            if not version:
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


def _connect_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)


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
