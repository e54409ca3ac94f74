"""How files are opened and read: regular ones, to their end or a part, within a budget."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from typing_extensions import override

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Bytes of a file of settings, a spec or a lock; far more than a person writes.
MAX_WRITTEN: Final = 16 << 20
_PIECE: Final = 1 << 20
# What a shell's <(...) and < give a program: files that are open already.
_GIVEN: Final = re.compile(r"/dev/stdin|/dev/fd/[0-9]+|/proc/self/fd/[0-9]+")
_NAMES: Final = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotRegularError(OSError):
    """There is a directory, FIFO, device or socket where a regular file was expected."""


def open_regular(path: Path | str, *, given: bool = False) -> int:
    """Return a descriptor of the regular file `path`, open for reading.

    Raises OSError, its `strerror` fit for a message, for what cannot be opened; NotRegularError
    for what is no regular file: a FIFO would wait for a writer forever. What is `given` by the
    user may also be a pipe that the shell opened: ``/dev/stdin`` or ``/dev/fd/N``.
    """
    if given and _GIVEN.fullmatch(str(path)):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind == stat.S_IFREG:
        return descriptor
    os.close(descriptor)
    if kind == stat.S_IFDIR:
        raise NotRegularError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    found = _NAMES.get(kind, "something else")
    raise NotRegularError(errno.EINVAL, f"expected a regular file, found {found}", str(path))


def read_file(path: Path | str, most: int = MAX_WRITTEN, *, given: bool = False) -> bytes:
    """Return the content of the regular file `path`; raise OSError, also for over `most` bytes.

    It is read to its end, whatever its size is said to be: files of ``/proc`` say 0. `given` is as
    in `open_regular`.
    """
    return read_with_status(path, most, given=given)[0]


def read_with_status(
    path: Path | str, most: int = MAX_WRITTEN, *, given: bool = False
) -> tuple[bytes, os.stat_result]:
    """Return what `read_file` does, and the status of the very file that was read."""
    descriptor = open_regular(path, given=given)
    try:
        return _read(descriptor, most), os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _read(descriptor: int, most: int) -> bytes:
    data = bytearray()
    while piece := os.read(descriptor, min(_PIECE, most + 1 - len(data))):
        data += piece
        if len(data) > most:
            raise OSError(errno.EFBIG, f"larger than {most} bytes")
    return bytes(data)


class Window(io.RawIOBase):
    """A part of an open file, read without moving the file's own position."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._position, self._end = offset, offset + size

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")[: self._end - self._position]
        count = os.preadv(self._descriptor, [view], self._position) if view else 0
        self._position += count
        return count
