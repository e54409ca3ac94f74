"""The upper folder of an overlay, read within its namespace, to a layer tar.

OCI image-spec layer.md, "Whiteouts" and "Opaque Whiteout". Names that hard links share stand where
the first is, sorted by path; sockets are none of a layer.
"""

# Little is imported, as a process starts with it; paths are looked up in folders that are open.
# ruff: noqa: PTH115, PTH208

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from immutable.content.entries import MAX_PATH, Entry, EntryKind, opaque, safe_path, show, whiteout
from immutable.content.tar.writer import BLOCK, END, header
from immutable.errors import EntryError

__all__ = ["write"]

_PIECE: Final = 1 << 20
_OPAQUE: Final = "user.overlay.opaque"
_OVERLAY: Final = "user.overlay."
_KEPT: Final = ("user.", "security.capability", "system.posix_acl_")
_KINDS: Final = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFLNK: EntryKind.SYMLINK,
    stat.S_IFIFO: EntryKind.FIFO,
}


class _File:
    """A file's bytes; what has grown since is left out, what is missing is an error there."""

    def __init__(self, path: bytes, size: int) -> None:
        self.path, self.size = path, size

    def read(self) -> Iterator[bytes]:
        opened = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            left = self.size
            while left and (piece := os.read(opened, min(left, _PIECE))):
                left -= len(piece)
                yield piece
        finally:
            os.close(opened)
        if left:
            raise EntryError(f"{show(self.path)}: expected {self.size} bytes, found {left} fewer")


def write(upper: int, out: int) -> int:
    """Write the tar of the folder `upper` to the file `out`; return its length.

    Raises EntryError for what no layer can hold: names that begin with ``.wh.``, devices, paths of
    over 4,095 bytes.
    """
    os.fchdir(upper)
    first: dict[tuple[int, int], bytes] = {}
    with os.fdopen(out, "wb", _PIECE) as file:
        for path, found in _walk():
            for entry in _entries(path, found, first):
                file.write(header(entry))
                if entry.kind is EntryKind.FILE and entry.content is not None:
                    for piece in entry.content.read():
                        file.write(piece)
                    file.write(bytes(-entry.size % BLOCK))
        file.write(END)
        return file.tell()


def _walk() -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield what is below this folder: folders before what is in them, in the order of paths."""
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        if path:
            found = os.lstat(path)
            yield path, found
            if not stat.S_ISDIR(found.st_mode):
                continue
        inner = [path + b"/" + name if path else name for name in os.listdir(path or b".")]
        for one in inner:
            if len(one) > MAX_PATH:
                raise EntryError(f"{show(one)}: a path of {len(one)} bytes; at most {MAX_PATH}")
        waiting += sorted(inner, reverse=True)


def _entries(
    path: bytes, found: os.stat_result, first: dict[tuple[int, int], bytes]
) -> Iterator[Entry]:
    safe_path(path)
    name = path.rpartition(b"/")[2]
    kind = stat.S_IFMT(found.st_mode)
    if name.startswith(b".wh."):
        raise EntryError(f"{show(path)}: names that start with .wh. mean deletion in a layer")
    if kind == stat.S_IFCHR and found.st_rdev == 0:
        yield whiteout(path)
        return
    if kind == stat.S_IFSOCK:
        return
    if kind not in _KINDS:
        raise EntryError(f"{show(path)}: a device; expected a file, folder, link or FIFO")
    given = _Attributes(path, found)
    if kind == stat.S_IFREG:
        key = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and key in first:
            yield given.entry(EntryKind.HARDLINK, target=first[key])
            return
        first[key] = path
        yield given.entry(EntryKind.FILE, content=_File(path, found.st_size))
        return
    target = os.readlink(path) if kind == stat.S_IFLNK else b""
    yield given.entry(_KINDS[kind], target=target)
    if kind == stat.S_IFDIR and _is_opaque(path):
        yield opaque(path)


class _Attributes:
    """What entries of all kinds have."""

    def __init__(self, path: bytes, found: os.stat_result) -> None:
        self._path, self._found = path, found

    def entry(self, kind: EntryKind, *, target: bytes = b"", content: _File | None = None) -> Entry:
        found = self._found
        for number in (found.st_uid, found.st_gid):
            if number > 65535:
                raise EntryError(f"{show(self._path)}: expected owners up to 65535, found {number}")
        return Entry(
            self._path,
            kind,
            stat.S_IMODE(found.st_mode),
            found.st_uid,
            found.st_gid,
            found.st_mtime_ns // 1_000_000_000,
            content=content,
            target=target,
            xattrs=_xattrs(self._path),
        )


def _xattrs(path: bytes) -> tuple[tuple[bytes, bytes], ...]:
    names = os.listxattr(path, follow_symlinks=False)
    return tuple(
        (os.fsencode(name), os.getxattr(path, name, follow_symlinks=False))
        for name in sorted(names)
        if name.startswith(_KEPT) and not name.startswith(_OVERLAY)
    )


def _is_opaque(path: bytes) -> bool:
    try:
        return os.getxattr(path, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False
