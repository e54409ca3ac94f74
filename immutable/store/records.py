"""What the database knows about blobs: realisations, sources, chunks, the stat cache.

Times of use are whole seconds since the epoch. They only ever grow: after a clock that jumped
back, what was used last is still used last.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from immutable.errors import StoreError
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.redact import cut
from immutable.spec.derivation import Realisation
from immutable.store.base import Chunk, Signature, Stats

_SIGNATURE: Final = struct.Struct("<qqqQ")
_BATCH: Final = 300  # thrice that is below the 999 variables a statement that any SQLite allows
_COUNTED: Final = ("realisation", "source", "chunk")
_TABLES: Final = (*_COUNTED, "contents")  # what knows blobs


def raw(digest: Digest) -> bytes:
    """Return the 32 bytes of a digest, as the database holds it."""
    return bytes.fromhex(digest.hex)


def digest(value: bytes) -> Digest:
    """Return the digest whose 32 bytes the database holds.

    Raises StoreError for anything else.
    """
    if not isinstance(value, bytes) or len(value) != 32:
        found = f"{len(value)} bytes" if isinstance(value, bytes) else cut(repr(value), 80)
        raise StoreError(
            f"a digest of {found} in the database; run `immutable store check --repair`"
        )
    # Around the validator, for which bytes.hex() cannot be wrong: the stat cache of a large
    # tree has a hundred thousand of these.
    result = object.__new__(Digest)
    object.__setattr__(result, "hex", value.hex())
    return result


def find_realisation(
    connection: sqlite3.Connection, derivation: Digest, answers: Digest, encoder: str
) -> tuple[Realisation, int] | None:
    """Return the realisation that is recorded, and when it was last of use."""
    row = connection.execute(
        "SELECT diff_id, media_type, blob, size, used FROM realisation "
        "WHERE derivation = ? AND answers = ? AND encoder = ?",
        (raw(derivation), raw(answers), encoder),
    ).fetchone()
    if row is None:
        return None
    diff_id, media_type, blob, size, used = row
    layer = Descriptor(media_type, digest(blob), size)
    return Realisation(derivation, answers, encoder, digest(diff_id), layer), used


def has_realisation(connection: sqlite3.Connection, derivation: Digest) -> bool:
    """Whether a realisation is recorded, for whatever answers and encoder."""
    query = "SELECT 1 FROM realisation WHERE derivation = ? LIMIT 1"
    return connection.execute(query, (raw(derivation),)).fetchone() is not None


def use_realisation(connection: sqlite3.Connection, realisation: Realisation, now: int) -> None:
    """Remember that a realisation is of use now."""
    connection.execute(
        "UPDATE realisation SET used = ? "
        "WHERE derivation = ? AND answers = ? AND encoder = ? AND used < ?",
        (now, raw(realisation.derivation), raw(realisation.answers), realisation.encoder, now),
    )


def record_realisation(connection: sqlite3.Connection, realisation: Realisation, now: int) -> None:
    """Record a realisation in place of an older one, as of use now."""
    connection.execute(
        "INSERT INTO realisation "
        "(derivation, answers, encoder, diff_id, media_type, blob, size, used) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (derivation, answers, encoder) DO UPDATE SET "
        "diff_id = excluded.diff_id, media_type = excluded.media_type, blob = excluded.blob, "
        "size = excluded.size, used = max(used, excluded.used)",
        (
            raw(realisation.derivation),
            raw(realisation.answers),
            realisation.encoder,
            raw(realisation.diff_id),
            realisation.blob.media_type,
            raw(realisation.blob.digest),
            realisation.blob.size,
            now,
        ),
    )


def stale_sources(
    connection: sqlite3.Connection, digests: Iterable[Digest], since: int
) -> list[Digest]:
    """Return those of the blobs that are not known as sources of use after `since`."""
    wanted = {raw(each): each for each in digests}
    for batch in batches([*wanted]):
        marks = ",".join("?" * len(batch))
        rows = connection.execute(
            f"SELECT blob FROM source WHERE used > ? AND blob IN ({marks})",  # noqa: S608
            (since, *batch),
        )
        for (key,) in rows.fetchall():
            del wanted[key]
    return list(wanted.values())


def record_sources(connection: sqlite3.Connection, digests: Iterable[Digest], now: int) -> None:
    """Record blobs as sources that are of use now."""
    connection.executemany(
        "INSERT INTO source (blob, used) VALUES (?, ?) "
        "ON CONFLICT (blob) DO UPDATE SET used = max(used, excluded.used)",
        ((raw(each), now) for each in digests),
    )


def caches(connection: sqlite3.Connection) -> dict[Digest, int]:
    """Return the blobs that are recorded as realised or fetched, and when each was last of use."""
    rows = connection.execute(
        "SELECT blob, max(used) FROM (SELECT blob, used FROM realisation "
        "UNION ALL SELECT blob, used FROM source) GROUP BY blob"
    )
    return {digest(blob): used for blob, used in rows}


def named(connection: sqlite3.Connection) -> Iterator[tuple[str, Descriptor]]:
    """Yield what generations and tags refer to, each with its name in `index.json`."""
    rows = connection.execute(
        "SELECT name || '@' || number, media_type, digest, size FROM generation "
        "UNION ALL SELECT name || ':' || tag, media_type, digest, size FROM tag"
    )
    for name, media_type, blob, size in rows:
        yield name, Descriptor(media_type, digest(blob), size)


def blobs(connection: sqlite3.Connection) -> set[Digest]:
    """Return every blob that something is recorded of."""
    rows = connection.execute(" UNION ".join(f"SELECT blob FROM {t}" for t in _TABLES))  # noqa: S608
    return {digest(blob) for (blob,) in rows}


def recorded(connection: sqlite3.Connection, digests: Iterable[Digest]) -> set[Digest]:
    """Return those of the blobs that something is recorded of."""
    found = set()
    for marks, batch in marked(digests):
        rows = connection.execute(
            " UNION ".join(f"SELECT blob FROM {t} WHERE blob IN ({marks})" for t in _TABLES),  # noqa: S608
            batch * len(_TABLES),
        )
        found |= {digest(blob) for (blob,) in rows}
    return found


def count(connection: sqlite3.Connection, digests: Iterable[Digest]) -> tuple[int, int, int]:
    """Return how many realisations, sources and chunks of the blobs are recorded."""
    total = [0] * len(_COUNTED)
    for marks, batch in marked(digests):
        for number, table in enumerate(_COUNTED):
            query = f"SELECT count(*) FROM {table} WHERE blob IN ({marks})"  # noqa: S608
            total[number] += connection.execute(query, batch).fetchone()[0]
    realisations, sources, chunks = total
    return realisations, sources, chunks


def forget(connection: sqlite3.Connection, digests: Iterable[Digest]) -> tuple[int, int]:
    """Forget the realisations that gave the blobs, and the sources; return how many."""
    total = [0, 0]
    for marks, batch in marked(digests):
        for number, table in enumerate(("realisation", "source")):
            query = f"DELETE FROM {table} WHERE blob IN ({marks})"  # noqa: S608
            total[number] += connection.execute(query, batch).rowcount
    realisations, sources = total
    return realisations, sources


def forget_chunks(connection: sqlite3.Connection, digests: Iterable[Digest], most: int) -> int:
    """Forget at most `most` of the chunks that stand in the blobs; return how many."""
    total = 0
    for marks, batch in marked(digests):
        chosen = f"SELECT digest, encoder FROM chunk WHERE blob IN ({marks}) LIMIT ?"  # noqa: S608
        query = f"DELETE FROM chunk WHERE (digest, encoder) IN ({chosen})"  # noqa: S608
        total += connection.execute(query, (*batch, most - total)).rowcount
    return total


def find_chunks(
    connection: sqlite3.Connection, digests: Iterable[Digest], encoder: str
) -> dict[Digest, Chunk]:
    """Return the chunks that are recorded."""
    wanted = {raw(each): each for each in digests}
    result = {}
    for batch in batches(wanted):
        marks = ",".join("?" * len(batch))
        rows = connection.execute(
            "SELECT digest, blob, position, length, frame FROM chunk "  # noqa: S608 - marks only
            f"WHERE encoder = ? AND digest IN ({marks})",
            (encoder, *batch),
        )
        for key, blob, offset, length, frame in rows:
            result[wanted[key]] = Chunk(digest(blob), offset, length, digest(frame))
    return result


def record_chunks(
    connection: sqlite3.Connection, encoder: str, chunks: Mapping[Digest, Chunk]
) -> None:
    """Record chunks in place of older ones."""
    connection.executemany(
        "REPLACE INTO chunk (digest, encoder, blob, position, length, frame) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            (raw(key), encoder, raw(chunk.blob), chunk.offset, chunk.length, raw(chunk.frame))
            for key, chunk in chunks.items()
        ),
    )


def load_stats(
    connection: sqlite3.Connection, root: bytes
) -> dict[bytes, tuple[Signature, Digest]]:
    """Return the stat cache of a tree."""
    unpack = _SIGNATURE.unpack
    try:
        return {
            path: (unpack(signature), digest(content))
            for path, signature, content in _stat_rows(connection, root)
        }
    except (struct.error, TypeError) as error:
        raise StoreError(
            f"a stat in the database: {error}; run `immutable store check --repair`"
        ) from None


def save_stats(connection: sqlite3.Connection, root: bytes, rows: Stats) -> None:
    """Make `rows` the stat cache of a tree, touching only what differs."""
    connection.execute("INSERT OR IGNORE INTO stat_root (path) VALUES (?)", (root,))
    (number,) = connection.execute("SELECT id FROM stat_root WHERE path = ?", (root,)).fetchone()
    old = {path: (signature, content) for path, signature, content in _stat_rows(connection, root)}
    new = {path: (_SIGNATURE.pack(*s), raw(content)) for path, (s, content) in _storable(rows)}
    connection.executemany(
        "DELETE FROM stat WHERE root = ? AND path = ?",
        ((number, path) for path in old if path not in new),
    )
    connection.executemany(
        "REPLACE INTO stat (root, path, signature, digest) VALUES (?, ?, ?, ?)",
        ((number, path, *row) for path, row in new.items() if old.get(path) != row),
    )


def _stat_rows(connection: sqlite3.Connection, root: bytes) -> Iterable[tuple[bytes, bytes, bytes]]:
    return connection.execute(
        "SELECT stat.path, signature, digest FROM stat JOIN stat_root ON root = id "
        "WHERE stat_root.path = ?",
        (root,),
    )


def _storable(rows: Stats) -> Iterator[tuple[bytes, tuple[Signature, Digest]]]:
    return (item for item in rows.items() if storable(item[1][0]))


def storable(signature: Signature) -> bool:
    """Whether the numbers fit the 64 bits that file systems have for them."""
    *signed, inode = signature
    return all(-(1 << 63) <= number < 1 << 63 for number in signed) and 0 <= inode < 1 << 64


def marked(digests: Iterable[Digest]) -> Iterator[tuple[str, list[bytes]]]:
    """Yield digests in lists that one statement can take, each with its question marks."""
    for batch in batches(map(raw, digests)):
        yield ",".join("?" * len(batch)), batch


def batches(items: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield `items` in lists that one statement can take."""
    remaining = iter(items)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
