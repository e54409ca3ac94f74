"""Zip archives, strictly: PKWARE's APPNOTE 6.3.10, and Info-ZIP's Unix modes.

A zip says everything twice, in a local header before each member and in the central directory
at its end. Readers that believe the one or the other see two archives in the same bytes; here
both must agree, and the members must fill the file without gaps or overlaps. So what stands
before the first member is refused; a comment at the end is allowed.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from immutable.content.archives.scratch import ScratchWriter
from immutable.content.archives.zip_directory import Listed, list_members
from immutable.content.entries import MAX_PATH, Entry, EntryKind, safe_path, show
from immutable.content.tar.claims import Claims
from immutable.content.tar.format import FormatError
from immutable.content.tar.reader import DEFAULT, FREE, MOST_RATIO, Limits
from immutable.errors import ArchiveError, EntryError

_PIECE = 1 << 18
_KINDS = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFLNK: EntryKind.SYMLINK,
}


def read_zip(
    file: BinaryIO,
    *,
    name: str,
    scratch: BinaryIO,
    limits: Limits = DEFAULT,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Entry]:
    """Return the entries of the zip in `file`, which must be seekable, contents in `scratch`.

    Modes are Unix's where the archive has them, else 0644 and 0755; the time of all is 0, for
    a zip's has no zone. `scratch` must stay open as long as a content is read. `advance` is
    told of each piece's bytes; it ends the work by raising. Raises
    ArchiveError, beginning with `name`, for what is damaged, unsafe, ambiguous, encrypted,
    too large, or compressed otherwise than by deflate.
    """
    try:
        members = list_members(file, limit=limits.members)
        _check_sizes(members, file.seek(0, os.SEEK_END), limits.content)
        claims = Claims(members=limits.members, names=limits.names)
        writer = ScratchWriter(scratch, advance)
        entries = [entry for one in members if (entry := _entry(file, one, claims, writer))]
    except (FormatError, EntryError) as fault:
        raise ArchiveError(f"{name}: {fault}") from None
    writer.finish()
    return entries


def _check_sizes(members: Iterable[Listed], length: int, limit: int) -> None:
    total = sum(member.size for member in members)
    if total > limit:
        raise FormatError(f"more than {limit} bytes of content in one archive")
    if total > max(FREE, MOST_RATIO * length):
        raise FormatError(f"expands to more than {FREE} bytes and {MOST_RATIO} times its size")


def _entry(file: BinaryIO, member: Listed, claims: Claims, writer: ScratchWriter) -> Entry | None:
    """Return the member as an entry; None for the root itself."""
    path = _path(member.name)
    kind = _kind(member)
    content = _verified(_pieces(file, member), member)
    if not path and kind is EntryKind.DIRECTORY:
        return None
    claims.add(path, kind)
    mode = stat.S_IMODE(member.mode)
    if kind is EntryKind.DIRECTORY:
        if member.size:
            raise FormatError(f"{show(path)}: a directory of {member.size} bytes; expected 0")
        _drain(content)
        return Entry(path, kind, mode or 0o755)
    if kind is EntryKind.SYMLINK:
        return Entry(path, kind, 0o777, target=_target(path, content, member.size))
    return Entry(path, kind, mode or 0o644, content=writer.add(content, member.size))


def _path(name: bytes) -> bytes:
    if not name:
        raise FormatError("a member without a name")
    if b"\\" in name:
        # To some readers it separates directories (APPNOTE 4.4.17 wants slashes).
        raise FormatError(f"{show(name)}: a backslash in a path")
    return safe_path(name)


def _kind(member: Listed) -> EntryKind:
    """Return what the Unix mode says, or the name where there is none; both must agree."""
    named = EntryKind.DIRECTORY if member.name.endswith(b"/") else EntryKind.FILE
    kind = _KINDS.get(stat.S_IFMT(member.mode)) if stat.S_IFMT(member.mode) else named
    if kind is None:
        raise FormatError(
            f"{show(member.name)}: mode {member.mode:o}; expected a file, directory or symlink"
        )
    if (kind is EntryKind.DIRECTORY) != (named is EntryKind.DIRECTORY):
        what = kind.name.lower()
        raise FormatError(f"{show(member.name)}: a {what} by its mode, but not by its name")
    return kind


def _target(path: bytes, content: Iterable[tuple[int, bytes]], size: int) -> bytes:
    if not 0 < size <= MAX_PATH:
        raise FormatError(f"{show(path)}: a symlink to {size} bytes; expected 1 to {MAX_PATH}")
    target = b"".join(piece for _, piece in content)
    if b"\0" in target:
        raise FormatError(f"{show(path)}: a NUL in a symlink's target")
    return target


def _drain(content: Iterable[tuple[int, bytes]]) -> None:
    for _ in content:
        pass


def _verified(pieces: Iterator[bytes], member: Listed) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes); raise FormatError unless size and CRC are those of the headers."""
    crc = offset = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
        if offset + len(piece) > member.size:
            raise FormatError(f"{show(member.name)}: more than its {member.size} bytes")
        yield offset, piece
        offset += len(piece)
    if offset != member.size:
        raise FormatError(f"{show(member.name)}: expected {member.size} bytes, found {offset}")
    if crc != member.crc:
        raise FormatError(f"{show(member.name)}: CRC: expected {member.crc:08x}, found {crc:08x}")


def _pieces(file: BinaryIO, member: Listed) -> Iterator[bytes]:
    file.seek(member.start)
    if not member.is_deflated:
        yield from _stored(file, member)
        return
    inflater = zlib.decompressobj(wbits=-15)
    try:
        for data in _stored(file, member):
            rest, piece = data, b""
            while rest or piece:
                piece = inflater.decompress(rest, _PIECE)
                rest = inflater.unconsumed_tail
                if piece:
                    yield piece
    except zlib.error as fault:
        raise FormatError(f"{show(member.name)}: damaged: {fault}") from None
    if not inflater.eof or inflater.unused_data:
        raise FormatError(f"{show(member.name)}: deflated data that is not {member.packed} bytes")


def _stored(file: BinaryIO, member: Listed) -> Iterator[bytes]:
    left = member.packed
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise FormatError(f"{show(member.name)}: truncated: {left} bytes missing")
        left -= len(piece)
        yield piece
