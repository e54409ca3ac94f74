"""ar archives in the common format, as debs are: ar(5), "COMMON FORMAT", and deb(5).

Read forward only, so the archive may come from a pipe.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

from attrs import frozen
from typing_extensions import override

from immutable.errors import ArchiveError

_MAGIC = b"!<arch>\n"
# name, date, uid, gid, mode (octal), size in bytes, and what ends a header
_HEADER = struct.Struct("16s12s6s6s8s10s2s")
_END = b"`\n"
_PIECE = 1 << 18


@frozen
class Member:
    """One member: its name, its size in bytes, and its content, which is read forward only.

    The content is there until the next member is taken.
    """

    name: str
    size: int
    stream: BinaryIO


def read(stream: BinaryIO, *, name: str) -> Iterator[Member]:
    """Yield the members of the ar archive in `stream`; `name` is the archive's, for errors.

    Names end in ``/`` or spaces, and have at most 16 bytes: GNU's and BSD's long names are for
    libraries. Raises ArchiveError for what is not in the common format, duplicates, and
    truncation.
    """
    magic = stream.read(len(_MAGIC))
    if magic != _MAGIC:
        raise ArchiveError(f"{name}: expected an ar archive, which begins {_MAGIC!r}: {magic!r}")
    taken: set[str] = set()
    while (header := _exactly(stream, _HEADER.size, name)) is not None:
        member, size = _decode(header, name)
        if member in taken:
            raise ArchiveError(f"{name}: {member}: a second member of that name")
        taken.add(member)
        content = io.BufferedReader(_Content(stream, f"{name}: {member}", size))
        yield Member(member, size, content)
        while content.read(_PIECE):
            pass
        # Members begin at even offsets, with a newline after odd sizes.
        if size % 2 and stream.read(1) != b"\n":
            raise ArchiveError(f"{name}: {member}: expected a newline after its {size} bytes")


class _Content(io.RawIOBase):
    def __init__(self, archive: BinaryIO, where: str, size: int) -> None:
        super().__init__()
        self._archive, self._where, self._size, self._left = archive, where, size, size

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill `buffer`, at least in part; return how much, 0 only at the end."""
        wanted = min(len(buffer), self._left)
        data = self._archive.read(wanted) if wanted else b""
        if wanted and not data:
            found = self._size - self._left
            raise ArchiveError(
                f"{self._where}: truncated: expected {self._size} bytes, found {found}"
            )
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def _exactly(stream: BinaryIO, length: int, name: str) -> bytes | None:
    """Return the next `length` bytes, or None at the archive's end."""
    data = b""
    while len(data) < length:
        more = stream.read(length - len(data))
        if not more:
            break
        data += more
    if not data:
        return None
    if len(data) < length:
        raise ArchiveError(f"{name}: truncated: ends within a member's header")
    return data


def _decode(header: bytes, name: str) -> tuple[str, int]:
    """Return a member's name and size."""
    raw, date, uid, gid, mode, size, end = _HEADER.unpack(header)
    if end != _END:
        raise ArchiveError(f"{name}: expected an ar header, found {header!r}")
    member = raw.rstrip(b" ").removesuffix(b"/")
    if not member or not member.isascii() or b"/" in member or b"\0" in member:
        raise ArchiveError(f"{name}: expected a member's name, found {raw!r}")
    shown = member.decode()
    for field, digits, what in (
        (date, b"0123456789", "date"),
        (uid, b"0123456789", "uid"),
        (gid, b"0123456789", "gid"),
        (mode, b"01234567", "mode"),
    ):
        if field.rstrip(b" ").strip(digits):
            raise ArchiveError(f"{name}: {shown}: {what}: expected a number, found {field!r}")
    length = size.rstrip(b" ")
    if not length.isdigit():
        raise ArchiveError(f"{name}: {shown}: size: expected a number, found {size!r}")
    return shown, int(length)
