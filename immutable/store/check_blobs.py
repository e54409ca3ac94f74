"""Whether the bytes of blobs are what their names, and the records of them, say."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from attrs import field, frozen

from immutable.content.archives.decompress import open_stream
from immutable.errors import ArchiveError, BlobMissing, StoreError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.reading import Window
from immutable.store import files
from immutable.store.faults import Fault, FaultKind
from immutable.store.layout import Layout

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

COMPRESSIONS: Final = {oci.LAYER: "none", oci.LAYER_GZIP: "gzip", oci.LAYER_ZSTD: "zstd"}
_PIECE: Final = 1 << 20
_MOST: Final = 1 << 44  # bytes of a layer's tar
_UNREADABLE: Final = (errno.EIO, errno.EISDIR, errno.ELOOP)


@frozen
class Claim:
    """That a layer's blob, decompressed, has a diffID; `fault` makes the fault of what it has."""

    diff_id: Digest
    compression: str
    fault: Callable[[str], Fault]


@frozen
class ChunkRow:
    """What the database says of a chunk; of any type, as a damaged one may."""

    digest: bytes
    encoder: str
    position: int
    length: int
    frame: bytes


@frozen
class Inspector:
    """Reads blobs. `deep` says whether to decompress, too; `advance` is told the bytes read.

    `claims` and `chunks` give what is said of a blob; `needed_by` names who refers to it.
    """

    layout: Layout
    deep: bool
    claims: Callable[[Digest], Sequence[Claim]]
    chunks: Callable[[Digest], Sequence[ChunkRow]]
    needed_by: Callable[[Digest], str]
    advance: Callable[[int], None] = field(default=lambda _: None)

    def inspect(self, digest: Digest) -> list[Fault]:
        """Return what is wrong with a blob; nothing if it is gone."""
        rows = self.chunks(digest)
        try:
            with self.layout.open_blob(digest) as file:
                return self._inspect(digest, file, rows)
        except BlobMissing:
            return []
        except (StoreError, OSError) as error:
            cause = error.__cause__ if isinstance(error, StoreError) else error
            if not isinstance(cause, OSError):
                return [self._damaged(digest, str(error))]
            if cause.errno in _UNREADABLE:
                return [self._damaged(digest, cause.strerror or "an error")]
            if isinstance(cause, PermissionError):
                return [_forbidden(digest, str(self.layout.blob_path(digest)))]
            # This machine's state, say too many open files: it tells nothing of the blob.
            with files.explained(self.layout.blob_path(digest)):
                raise cause from None

    def _inspect(self, digest: Digest, file: BinaryIO, rows: Sequence[ChunkRow]) -> list[Fault]:
        claims = self.claims(digest) if self.deep else ()
        compressions = sorted({claim.compression for claim in claims} - {"none"})
        tee = _Tee(file, self.advance)
        plain = {name: _plain(tee, name) for name in compressions[:1]}
        tee.drain()
        actual = tee.digest()
        if actual != digest:
            return [self._damaged(digest, f"{actual}, {tee.count} bytes", actual)]
        plain |= {name: _plain(_rewound(file), name) for name in compressions[1:]}
        faults = []
        for claim in claims:
            found = plain.get(claim.compression, str(digest))
            if found != str(claim.diff_id):
                faults.append(claim.fault(found))
        wrong = [row for row in rows if not _holds(row, file.fileno(), deep=self.deep)]
        return [*faults, _misplaced(digest, wrong, len(rows))] if wrong else faults

    def _damaged(self, digest: Digest, found: str, actual: Digest | None = None) -> Fault:
        needed_by = self.needed_by(digest)
        again = "the next build makes or fetches it again"
        return Fault(
            FaultKind.BLOB,
            f"blob {digest}",
            "the bytes of its digest",
            found,
            repairable=not needed_by,
            hint=f"damages {needed_by}: a repair moves it away, then build that again"
            if needed_by
            else f"a repair moves it away; {again}",
            key=(digest, actual),
        )


class _Tee(io.RawIOBase):
    """A file, hashed as it is read."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None]) -> None:
        super().__init__()
        self._file, self._advance = file, advance
        self._hash = hashlib.sha256()
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        count = cast("io.RawIOBase", self._file).readinto(view) or 0
        self._hash.update(view[:count])
        self.count += count
        self._advance(count)
        return count

    def drain(self) -> None:
        buffer = bytearray(_PIECE)
        while self.readinto(buffer):
            pass

    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _plain(raw: io.RawIOBase | BinaryIO, compression: str) -> str:
    """Return the digest of what `raw` holds compressed, or what is wrong with it."""
    hasher = hashlib.sha256()
    try:
        stream = open_stream(
            cast("BinaryIO", raw), name="it", limit=_MOST, compression=compression, free=_MOST
        )
        buffer = bytearray(_PIECE)
        while count := cast("io.BufferedReader", stream).readinto(buffer):
            hasher.update(memoryview(buffer)[:count])
    except ArchiveError as error:
        return str(error).removeprefix("it: ")
    return str(Digest(hasher.hexdigest()))


def _holds(row: ChunkRow, descriptor: int, *, deep: bool) -> bool:
    """Whether the frame stands where it is said to; and, if `deep`, whether it is the chunk's."""
    position, length = row.position, row.length
    size = os.fstat(descriptor).st_size
    if not (isinstance(position, int) and isinstance(length, int)):
        return False
    if position < 0 or length < 0 or position + length > size:
        return False
    tee = _Tee(cast("BinaryIO", Window(descriptor, position, length)), lambda _: None)
    compression = str(row.encoder).partition("-")[0]
    if deep and compression in ("gzip", "zstd"):
        plain = _plain(tee, compression)
        if not isinstance(row.digest, bytes) or plain != f"sha256:{row.digest.hex()}":
            return False
    tee.drain()
    return isinstance(row.frame, bytes) and tee.digest().hex == row.frame.hex()


def _misplaced(digest: Digest, wrong: Sequence[ChunkRow], count: int) -> Fault:
    return Fault(
        FaultKind.CHUNKS,
        f"chunks in blob {digest}",
        f"{count} that are there",
        f"{len(wrong)} that are not as they are recorded",
        repairable=True,
        hint="a repair forgets where they are; they are compressed again",
        key=("rows", tuple((row.digest, row.encoder) for row in wrong)),
    )


def _forbidden(digest: Digest, path: str) -> Fault:
    return Fault(
        FaultKind.BLOB,
        f"blob {digest}",
        "a file that its owner can read",
        "one that this user cannot",
        repairable=False,
        hint=f"run `chmod u+r {path}`, as its owner",
    )
