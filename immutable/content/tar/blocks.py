"""An archive's bytes in their order, and the one member that stands before its reader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from immutable.content.entries import Entry, show
from immutable.content.tar.format import BLOCK
from immutable.errors import ArchiveError

_PIECE = 1 << 20
_ZEROS = bytes(1 << 18)
_ZERO_BLOCK = bytes(BLOCK)


class Member:
    """One entry of an archive and its content, which is there until the next member is taken.

    `entry` has no content; a hard link's target is the path of an earlier entry. `size` is the
    length of the content in bytes, holes of sparse files included.
    """

    __slots__ = ("_extents", "_gone", "_pieces", "_rest", "entry", "size")

    def __init__(self, entry: Entry, size: int, extents: Iterator[tuple[int, bytes]]) -> None:
        self.entry, self.size = entry, size
        self._extents = extents
        self._pieces: Iterator[bytes] | None = None
        self._rest = b""
        self._gone = False

    def extents(self) -> Iterator[tuple[int, bytes]]:
        """Yield the content's stored parts as (offset, bytes), ascending; the rest is zeros."""
        for extent in self._extents:
            yield extent
            self._check()
        self._check()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the content in pieces, holes as zeros; a second time, what was not yet taken."""
        if self._pieces is None:
            self._pieces = self._expanded()
        return self._pieces

    def read(self, length: int = -1) -> bytes:
        """Return the next `length` bytes, fewer only at the end; all that is left if negative."""
        self._check()
        pieces, held = [self._rest], len(self._rest)
        while length < 0 or held < length:
            piece = next(iter(self), b"")
            if not piece:
                break
            pieces.append(piece)
            held += len(piece)
        data = b"".join(pieces)
        if length < 0:
            length = held
        self._rest = data[length:]
        return data[:length]

    def pass_over(self) -> None:
        """Read to the content's end; after this there is no more to be had."""
        for _ in self._extents:
            pass
        self._gone = True

    def _check(self) -> None:
        if self._gone:
            raise ValueError(f"{show(self.entry.path)}: read after the next member was taken")

    def _expanded(self) -> Iterator[bytes]:
        position = 0
        for offset, piece in self.extents():
            yield from _zeros(offset - position)
            yield piece
            position = offset + len(piece)
        yield from _zeros(self.size - position)


def _zeros(length: int) -> Iterator[bytes]:
    while length > 0:
        yield _ZEROS[:length]
        length -= len(_ZEROS)


class BlockReader:
    """The archive's bytes, in order; knows the place for messages."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self.offset = 0
        self.start = 0
        self.member = b""

    def error(self, what: object) -> ArchiveError:
        """Return the error for the member that is being read."""
        member = f"{show(self.member)}: " if self.member else ""
        return ArchiveError(f"{self._name}: {member}{what} (header at byte {self.start})")

    @property
    def taken(self) -> int:
        """How many bytes came in so far: of compressed input, where the stream counts them."""
        taken: int = getattr(self._stream, "taken", self.offset)
        return taken

    def header(self) -> bytes:
        """Return the next 512 bytes, which begin a member."""
        self.start, self.member = self.offset, b""
        return self.take(BLOCK)

    def block(self) -> bytes:
        """Return the next 512 bytes."""
        return self.take(BLOCK)

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes, which must be few."""
        data = self._stream.read(length)
        if len(data) != length:
            data = self._fill(data, length)
        self.offset += length
        return data

    def _fill(self, data: bytes, length: int) -> bytes:
        while len(data) < length:
            more = self._stream.read(length - len(data))
            if not more:
                end = self.offset + len(data)
                raise self.error(f"truncated: the archive ends at byte {end}, before its end mark")
            data += more
        return data

    def pieces(self, length: int) -> Iterator[bytes]:
        """Yield the next `length` bytes."""
        while length > 0:
            piece = self._stream.read(min(length, _PIECE))
            if not piece:
                raise self.error(
                    f"truncated: {length} bytes of content missing at byte {self.offset}"
                )
            self.offset += len(piece)
            length -= len(piece)
            yield piece

    def pad(self, length: int) -> None:
        """Pass over what fills the last block of `length` bytes of content."""
        if length % BLOCK:
            self.take(-length % BLOCK)

    def finish(self) -> None:
        """Read to the end of the stream after a zero block; refuse anything but zeros."""
        if self.block() != _ZERO_BLOCK:
            raise self.error("a lone zero block; expected two at the archive's end")
        while piece := self._stream.read(_PIECE):
            if piece.strip(b"\0"):
                raise self.error(f"data after the end mark, at or after byte {self.offset}")
            self.offset += len(piece)
