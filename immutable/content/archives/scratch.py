"""The contents of an archive's files, kept in one scratch file instead of memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from attrs import evolve, frozen

from immutable.content.entries import Entry, EntryKind, show
from immutable.content.tar.reader import Member
from immutable.errors import EntryError, StoreError

_PIECE = 1 << 20
_ZEROS = bytes(_PIECE)


@frozen
class Slice:
    """Content that is `size` bytes at `offset` of a file; may be read from many threads.

    The file must stay open as long as the content is wanted.
    """

    file: BinaryIO
    offset: int
    size: int

    def read(self) -> Iterator[bytes]:
        """Yield the bytes; raise StoreError if the file has become shorter."""
        descriptor = self.file.fileno()
        at, end = self.offset, self.offset + self.size
        while at < end:
            piece = os.pread(descriptor, min(_PIECE, end - at), at)
            if not piece:
                raise StoreError(
                    f"scratch file: expected {self.size} bytes at {self.offset}, "
                    f"found {at - self.offset}"
                )
            at += len(piece)
            yield piece


def _ignore(_amount: int) -> None:
    pass


class ScratchWriter:
    """Writes contents one after another to the end of a scratch file.

    `advance` is told of each piece's bytes; it ends the work by raising.
    """

    def __init__(self, scratch: BinaryIO, advance: Callable[[int], None] = _ignore) -> None:
        self._scratch = scratch
        self._advance = advance
        self._end = scratch.seek(0, os.SEEK_END)

    def add(self, extents: Iterable[tuple[int, bytes]], size: int) -> Slice:
        """Write a content given as (offset, bytes) parts; the rest of its `size` is a hole.

        The slice may be read after `finish`.
        """
        start, at = self._end, self._end
        for offset, piece in extents:
            self._advance(len(piece))
            if piece == _ZEROS[: len(piece)]:
                continue  # a hole costs no disk, and ten gibibytes of zeros no time
            if at != start + offset:
                self._scratch.seek(start + offset)
            self._scratch.write(piece)
            at = start + offset + len(piece)
        self._end = start + size
        if at != self._end:
            self._scratch.seek(self._end)
        return Slice(self._scratch, start, size)

    def finish(self) -> None:
        """Make all that was added readable, a hole at the end too."""
        self._scratch.flush()
        self._scratch.truncate(self._end)


def unpack(
    members: Iterable[Member], scratch: BinaryIO, advance: Callable[[int], None] = _ignore
) -> list[Entry]:
    """Copy the files' contents to `scratch`, and return the entries with their contents.

    `members` are those of one archive, without repeats. A hard link gets its target's content;
    one to another hard link becomes one to what that links to, and one to anything but a file
    becomes a second such thing. `scratch` must stay open as long as a content is read.
    `advance` is told of every member (0) and of each piece's bytes; it ends the work by raising.
    """
    writer = ScratchWriter(scratch, advance)
    found: dict[bytes, Entry] = {}
    for member in members:
        advance(0)
        entry = member.entry
        if entry.path in found:
            raise EntryError(f"{show(entry.path)}: claimed twice in one archive")
        if entry.kind is EntryKind.FILE:
            entry = evolve(entry, content=writer.add(member.extents(), member.size))
        elif entry.kind is EntryKind.HARDLINK:
            entry = _linked(entry, found[entry.target])
        found[entry.path] = entry
    writer.finish()
    return list(found.values())


def _linked(link: Entry, target: Entry) -> Entry:
    if target.kind is EntryKind.FILE:
        return evolve(link, content=target.content)
    if target.kind is EntryKind.HARDLINK:
        return evolve(link, content=target.content, target=target.target)
    return evolve(target, path=link.path)
