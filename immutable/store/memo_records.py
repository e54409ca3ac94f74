"""Memos in the database. One that is damaged there is not found, as if it were not there."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from immutable.errors import StoreError
from immutable.oci.digest import Digest
from immutable.store.base import USE_RESOLUTION
from immutable.store.memos import ANSWERS_KEPT, QUESTIONS_KEPT, Memos
from immutable.store.records import digest, marked, raw

if TYPE_CHECKING:
    from immutable.store.database import Database
    from immutable.store.leases import Leases

# What is of no use: answers to derivations that have no realisation; then the least recently
# used, beyond a number for each derivation that has one. At most so many at a time.
_USELESS: Final = """DELETE FROM answer WHERE (derivation, chain) IN (
    SELECT derivation, chain FROM answer WHERE NOT EXISTS (
        SELECT 1 FROM realisation WHERE realisation.derivation = answer.derivation) LIMIT ?)"""
_OLD_ANSWERS: Final = """DELETE FROM answer WHERE (derivation, chain) IN (
    SELECT derivation, chain FROM answer ORDER BY used DESC, derivation, chain LIMIT ? OFFSET ?)"""
_OLD_QUESTIONS: Final = """DELETE FROM question WHERE key IN (
    SELECT key FROM question ORDER BY used DESC, key LIMIT ? OFFSET ?)"""


class RecordedMemos(Memos):
    """The memos of a store with a database; `_leases` is None if it can only be read."""

    _clock: Callable[[], float]
    _database: Database
    _leases: Leases | None

    @override
    def find_contents(self, blob: Digest) -> bytes | None:
        query = "SELECT data FROM contents WHERE blob = ?"
        with self._database.read() as connection:
            row = connection.execute(query, (raw(blob),)).fetchone()
        return None if row is None else _bytes(row[0])

    @override
    def record_contents(self, blob: Digest, data: bytes) -> None:
        self._change("REPLACE INTO contents (blob, data) VALUES (?, ?)", raw(blob), data)

    @override
    def find_questions(self, key: Digest) -> bytes | None:
        return _bytes(self._used("question", "data", key=key))

    @override
    def record_questions(self, key: Digest, data: bytes) -> None:
        self._change(
            "INSERT INTO question (key, used, data) VALUES (?, ?, ?) ON CONFLICT (key) "
            "DO UPDATE SET data = excluded.data, used = max(used, excluded.used)",
            raw(key),
            self._now(),
            data,
        )

    @override
    def find_answers(self, derivation: Digest, chain: Digest) -> Digest | None:
        found = self._used("answer", "answers", derivation=derivation, chain=chain)
        with suppress(StoreError):
            return None if found is None else digest(found)
        return None

    @override
    def record_answers(self, derivation: Digest, chain: Digest, answers: Digest) -> None:
        self._change(
            "INSERT INTO answer (derivation, chain, answers, used) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (derivation, chain) "
            "DO UPDATE SET answers = excluded.answers, used = max(used, excluded.used)",
            raw(derivation),
            raw(chain),
            raw(answers),
            self._now(),
        )

    def _used(self, table: str, column: str, **key: Digest) -> Any:
        """Return a value of the row with this key, which is of use now; None if there is none."""
        where = " AND ".join(f"{name} = ?" for name in key)
        values = [raw(value) for value in key.values()]
        now = self._now()
        query = f"SELECT {column}, used <= ? FROM {table} WHERE {where}"  # noqa: S608 - our own
        with self._database.read() as connection:
            row = connection.execute(query, (now - USE_RESOLUTION, *values)).fetchone()
        if row is None:
            return None
        value, stale = row
        if stale:
            with suppress(StoreError):  # it only says what to forget first
                query = f"UPDATE {table} SET used = ? WHERE {where} AND used < ?"  # noqa: S608
                self._change(query, now, *values, now)
        return value

    def _change(self, statement: str, *values: object) -> None:
        """Change a memo; a store that can only be read stays as it is."""
        if self._leases is not None:
            with self._database.write() as connection:
                connection.execute(statement, values)

    def _now(self) -> int:
        return int(self._clock())


def forget_contents(connection: sqlite3.Connection, blobs: Iterable[Digest], most: int) -> int:
    """Forget the contents of at most `most` of the blobs; return of how many."""
    total = 0
    for marks, batch in marked(blobs):
        chosen = f"SELECT blob FROM contents WHERE blob IN ({marks}) LIMIT ?"  # noqa: S608
        query = f"DELETE FROM contents WHERE blob IN ({chosen})"  # noqa: S608
        total += connection.execute(query, (*batch, most - total)).rowcount
    return total


def forget_useless(connection: sqlite3.Connection, most: int) -> int:
    """Forget at most `most` of the questions and answers that are of no use; return how many."""
    query = "SELECT count(DISTINCT derivation) FROM realisation"
    (derivations,) = connection.execute(query).fetchone()
    total: int = connection.execute(_USELESS, (most,)).rowcount
    for statement, kept in ((_OLD_ANSWERS, ANSWERS_KEPT), (_OLD_QUESTIONS, QUESTIONS_KEPT)):
        total += connection.execute(statement, (most - total, kept * derivations)).rowcount
    return total


def _bytes(value: Any) -> bytes | None:
    return value if isinstance(value, bytes) else None
