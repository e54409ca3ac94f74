"""What the database knows about blobs: realisations, chunks, the stat cache."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from immutable.derivation import Realisation
from immutable.digest import Digest
from immutable.errors import StoreError
from immutable.oci import Descriptor
from immutable.store.base import Chunk, Signature, Stats

_SIGNATURE: Final = struct.Struct("<qqqQ")
_BATCH: Final = 500  # below the 999 variables a statement that any SQLite allows


def raw(digest: Digest) -> bytes:
    """Return the 32 bytes of a digest, as the database holds it."""
    return bytes.fromhex(digest.hex)


def digest(value: bytes) -> Digest:
    """Return the digest whose 32 bytes the database holds.

    Raises StoreError for anything else.
    """
    if len(value) != 32:
        raise StoreError(f"a digest of {len(value)} bytes in the database; move the database away")
    # Around the validator, for which bytes.hex() cannot be wrong: the stat cache of a large
    # tree has a hundred thousand of these.
    result = object.__new__(Digest)
    object.__setattr__(result, "hex", value.hex())
    return result


def find_realisation(
    connection: sqlite3.Connection, derivation: Digest, encoder: str
) -> Realisation | None:
    """Return the realisation that is recorded."""
    row = connection.execute(
        "SELECT diff_id, media_type, blob, size FROM realisation "
        "WHERE derivation = ? AND encoder = ?",
        (raw(derivation), encoder),
    ).fetchone()
    if row is None:
        return None
    diff_id, media_type, blob, size = row
    return Realisation(
        derivation, encoder, digest(diff_id), Descriptor(media_type, digest(blob), size)
    )


def record_realisation(connection: sqlite3.Connection, realisation: Realisation) -> None:
    """Record a realisation in place of an older one."""
    connection.execute(
        "REPLACE INTO realisation (derivation, encoder, diff_id, media_type, blob, size) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            raw(realisation.derivation),
            realisation.encoder,
            raw(realisation.diff_id),
            realisation.blob.media_type,
            raw(realisation.blob.digest),
            realisation.blob.size,
        ),
    )


def find_chunks(
    connection: sqlite3.Connection, digests: Iterable[Digest], encoder: str
) -> dict[Digest, Chunk]:
    """Return the chunks that are recorded."""
    wanted = {raw(each): each for each in digests}
    result = {}
    for batch in _batches(wanted):
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
    return {
        path: (unpack(signature), digest(content))
        for path, signature, content in _stat_rows(connection, root)
    }


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


def _batches(items: Iterable[bytes]) -> Iterator[list[bytes]]:
    remaining = iter(items)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
