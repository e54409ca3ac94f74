"""A layer's tar applied, within namespaces, to an overlay of the layers beneath it.

The kernel makes the marks so, those for whom `userxattr` is, and a folder that the layer only
implies has the attributes that it has beneath.
"""

# Little is imported, as a process starts with it; paths are looked up in folders that are open.
# ruff: noqa: PTH101, PTH102, PTH109
# ruff: noqa: PTH112, PTH114, PTH123, PTH208, PTH211

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any, Final

from immutable.content.entries import Entry, EntryKind, overlay_mark, parent, show
from immutable.content.tar.reader import Member, read
from immutable.errors import EntryError
from immutable.sandbox import mounts, removal, syscalls

__all__ = ["unpack"]

_WHITEOUT: Final[bytes] = EntryKind.WHITEOUT.value
_OPAQUE: Final[bytes] = EntryKind.OPAQUE.value
_DEVICES: Final = (EntryKind.CHARACTER, EntryKind.BLOCK)


def unpack(task: Mapping[str, Any]) -> dict[str, Any]:
    """Read a tar from stdin to the folder ``upper`` of the task's; return how long it was."""
    os.chdir(task["folder"])
    for name in ("scratch", "upper", "work"):
        os.mkdir(name, 0o755)
    folder = os.getcwd()
    mounts.prepare("scratch")
    os.chdir("scratch")
    os.symlink(folder, "own")
    os.mkdir("empty", 0o755)
    os.mkdir("merged")
    for number, path in enumerate(task["lowers"]):
        os.symlink(path, f"{number}")
    lowers = ["empty", *(str(number) for number in range(len(task["lowers"])))]
    mounts.overlay("merged", lowers, "own/upper", "own/work")
    stream = os.fdopen(0, "rb", 1 << 20)
    # From here on no link in the layer leads out.
    os.chdir("merged")
    syscalls.pivot_root()
    os.umask(0)
    taken = _Unpacked().apply(read(stream, name=task["name"], reroot=True, repeats=True))
    return {"size": taken}


class _Unpacked:
    def __init__(self) -> None:
        self._own: set[bytes] = set()
        self._times: dict[bytes, int] = {}

    def apply(self, members: Any) -> int:
        size = 0
        for member in members:
            size += 4096 + member.size
            entry: Entry = member.entry
            folder, name = parent(entry.path), entry.path.rpartition(b"/")[2]
            if name == _OPAQUE:
                self._hide_all(folder)
            elif name.startswith(_WHITEOUT):
                self._hide(b"/".join(filter(None, (folder, name[len(_WHITEOUT) :]))))
            else:
                self._make(entry, member)
        for path in sorted(self._times, reverse=True):
            os.utime(path, (self._times[path], self._times[path]), follow_symlinks=False)
        os.utime(".", (0, 0))  # of the root a layer says nothing
        return size

    def _hide_all(self, folder: bytes) -> None:
        if os.path.isdir(folder or b"."):
            for name in os.listdir(folder or b"."):
                self._hide(b"/".join(filter(None, (folder, name))))

    def _hide(self, path: bytes) -> None:
        if path not in self._own:
            removal.remove(os.fsdecode(path))
        elif stat.S_ISDIR(os.lstat(path).st_mode):
            self._hide_all(path)

    def _make(self, entry: Entry, member: Member) -> None:
        path = entry.path
        if mark := overlay_mark(entry):
            raise EntryError(f"{show(path)}: {mark}, which an overlay takes for its own")
        if entry.kind in _DEVICES:
            if path.startswith(b"dev/"):  # a command has devices of its own there
                return
            raise EntryError(f"{show(path)}: a device; expected none outside dev/")
        self._make_folders(parent(path))
        directory = entry.kind is EntryKind.DIRECTORY
        stays = directory and os.path.isdir(path) and not os.path.islink(path)
        if not stays and not (entry.kind is EntryKind.HARDLINK and entry.target == path):
            removal.remove(os.fsdecode(path))
        self._own.add(path)
        self._create(entry, member)
        if entry.kind is EntryKind.HARDLINK:
            return
        try:
            os.lchown(path, entry.uid, entry.gid)
        except OSError as error:
            raise EntryError(
                f"{show(path)}: expected owners up to 65535, found {entry.uid}:{entry.gid}: "
                f"{error.strerror}"
            ) from None
        if entry.kind is not EntryKind.SYMLINK:
            os.chmod(path, entry.mode)
        if directory:
            for held in os.listxattr(path):
                os.removexattr(path, held)
        for key, value in entry.xattrs:
            os.setxattr(path, key, value, follow_symlinks=False)
        self._times[path] = entry.mtime

    def _create(self, entry: Entry, member: Member) -> None:
        path, kind = entry.path, entry.kind
        if kind is EntryKind.DIRECTORY:
            if not os.path.isdir(path):
                os.mkdir(path)
        elif kind is EntryKind.SYMLINK:
            os.symlink(entry.target, path)
        elif kind is EntryKind.FIFO:
            os.mkfifo(path)
        elif kind is EntryKind.HARDLINK:
            if entry.target != path:
                os.link(entry.target, path, follow_symlinks=False)
        else:
            with open(path, "xb", 0) as file:
                for offset, piece in member.extents():
                    file.seek(offset)
                    view = memoryview(piece)
                    while view:
                        view = view[file.write(view) :]
                file.truncate(member.size)

    def _make_folders(self, folder: bytes) -> None:
        if not folder or folder in self._own:
            return
        self._make_folders(parent(folder))
        self._own.add(folder)
        if os.path.isdir(folder):  # a link to one, too: it leads there
            return
        removal.remove(os.fsdecode(folder))
        os.mkdir(folder, 0o755)
