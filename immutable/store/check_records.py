"""Whether what the database knows of blobs can be so. Its rows may hold anything."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from attrs import evolve

from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.redact import cut, quoted
from immutable.store.check_blobs import ChunkRow
from immutable.store.check_names import Walk
from immutable.store.faults import Fault, FaultKind

_FORGET: Final = "a repair forgets it; the next build makes it again"
_NO_BLOB, _NO_DIGEST, _NO_SIGNATURE, _NO_KEY, _NO_DERIVATION, _NO_CHAIN, _NO_ANSWERS = (
    f"typeof({column}) <> 'blob' OR length({column}) <> 32"
    for column in ("blob", "digest", "signature", "key", "derivation", "chain", "answers")
)
_NO_DATA: Final = "typeof(data) <> 'blob'"
_NO_TIME: Final = "typeof(used) <> 'integer'"
# By kind: a table, and which of its rows are nothing at all.
MALFORMED: Final[Mapping[FaultKind, tuple[str, str]]] = {
    FaultKind.STATS: ("stat", f"typeof(path) <> 'blob' OR {_NO_SIGNATURE} OR {_NO_DIGEST}"),
    FaultKind.LEASE: ("lease", f"typeof(file) <> 'text' OR {_NO_BLOB}"),
    FaultKind.CHUNKS: ("chunk", _NO_BLOB),
    FaultKind.SOURCE: ("source", f"{_NO_TIME} OR {_NO_BLOB}"),
    FaultKind.CONTENTS: ("contents", f"{_NO_DATA} OR {_NO_BLOB}"),
    FaultKind.QUESTIONS: ("question", f"{_NO_DATA} OR {_NO_TIME} OR {_NO_KEY}"),
    FaultKind.ANSWERS: (
        "answer",
        f"{_NO_TIME} OR {_NO_DERIVATION} OR {_NO_CHAIN} OR {_NO_ANSWERS}",
    ),
}


def check_records(
    connection: sqlite3.Connection, there: Mapping[Digest, int], walk: Walk
) -> Iterator[Fault]:
    """Yield the records that do not hold; tell `walk` what realisations say of their blobs.

    What chunks are, only the blobs' bytes can tell.
    """
    yield from _realisations(connection, there, walk)
    for kind in (FaultKind.SOURCE, FaultKind.CHUNKS, FaultKind.CONTENTS):
        table, _ = MALFORMED[kind]
        query = f"SELECT blob, count(*) FROM {table} GROUP BY blob"  # noqa: S608 - our own
        for blob, count in connection.execute(query):
            if isinstance(blob, bytes) and len(blob) == 32 and Digest(blob.hex()) not in there:
                place = f"{table} records of blob sha256:{blob.hex()}"
                found = f"{count}, and no such blob"
                yield Fault(kind, place, "none", found, True, _FORGET, ("blob", Digest(blob.hex())))
    for kind, (table, condition) in MALFORMED.items():
        query = f"SELECT count(*) FROM {table} WHERE {condition}"  # noqa: S608 - our own
        (count,) = connection.execute(query).fetchone()
        if count:
            place = f"{table} records"
            yield Fault(kind, place, "digests", f"{count} of none", True, _FORGET)


def chunk_rows(connection: sqlite3.Connection, blob: Digest) -> list[ChunkRow]:
    """Return the chunks that are recorded of a blob, in its order."""
    rows = connection.execute(
        "SELECT digest, encoder, position, length, frame FROM chunk WHERE blob = ? "
        "ORDER BY position",
        (bytes.fromhex(blob.hex),),
    )
    return [ChunkRow(*row) for row in rows]


def _realisations(
    connection: sqlite3.Connection, there: Mapping[Digest, int], walk: Walk
) -> Iterator[Fault]:
    rows = connection.execute(
        "SELECT derivation, answers, encoder, diff_id, media_type, blob, size, used "
        "FROM realisation"
    )
    for *key, diff_id, media_type, blob, size, used in rows:
        derivation, answers, encoder = key
        fault = _fault_maker(derivation, answers, encoder)
        if not all(
            isinstance(value, bytes) and len(value) == 32
            for value in (derivation, answers, diff_id, blob)
        ):
            yield fault("digests", "other bytes")
            continue
        layer = Digest(blob.hex())
        if not isinstance(media_type, str) or oci.family(media_type) not in oci.LAYERS:
            yield fault("a layer's media type", cut(str(media_type), 80))
        elif not isinstance(size, int):
            yield fault("a size", cut(str(size), 80))
        elif there.get(layer) != size:
            found = f"{there[layer]} bytes" if layer in there else "nothing"
            missed = fault(f"blob {layer} of {size} bytes", found)
            yield evolve(missed, key=(*key, Descriptor(media_type, layer, size)))
        elif not isinstance(encoder, str) or not isinstance(used, int):
            yield fault("an encoder and a time", f"{quoted(str(encoder))} and {quoted(str(used))}")
        else:
            expected = Digest(diff_id.hex())
            claim = _claimed(fault, expected)
            walk.claim(layer, expected, oci.family(media_type), claim)


def _fault_maker(derivation: Any, answers: Any, encoder: Any) -> Callable[[str, str], Fault]:
    shown, beneath = (
        f"sha256:{value.hex()}" if isinstance(value, bytes) else cut(repr(value), 80)
        for value in (derivation, answers)
    )

    def make(expected: str, found: str) -> Fault:
        return Fault(
            FaultKind.REALISATION,
            f"realisation of {shown} for answers {beneath} ({cut(str(encoder), 80)})",
            expected,
            found,
            repairable=True,
            hint=_FORGET,
            key=(derivation, answers, encoder, None),
        )

    return make


def _claimed(fault: Callable[[str, str], Fault], diff_id: Digest) -> Callable[[str], Fault]:
    return lambda found: fault(f"the diffID {diff_id}", found)
