"""Stored root file systems in the words of `tests.support.overlay`, to compare them with its."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from itertools import groupby
from typing import Final

from immutable.build.contents import LayerReader, StoredRootfs
from immutable.content.contents import NOWHERE
from immutable.content.entries import EntryKind
from immutable.content.rootfs import Found
from tests.support.overlay import Shown

_TYPES: Final = {
    EntryKind.FILE: stat.S_IFREG,
    EntryKind.SYMLINK: stat.S_IFLNK,
    EntryKind.CHARACTER: stat.S_IFCHR,
    EntryKind.BLOCK: stat.S_IFBLK,
    EntryKind.DIRECTORY: stat.S_IFDIR,
    EntryKind.FIFO: stat.S_IFIFO,
}


def shown(root: StoredRootfs) -> dict[bytes, Shown]:
    """Return what a root file system has at each path; its files are read, each layer at once."""
    everything = list(root.rootfs)
    bytes_of = _read(root, everything)
    return {one.path: _shown(one, *bytes_of.get(one.path, (0, ""))) for one in everything}


def _shown(one: Found, size: int, sha256: str) -> Shown:
    inode = one.inode
    return Shown(
        _TYPES[inode.kind],
        inode.mode,
        inode.uid,
        inode.gid,
        inode.device,
        inode.target,
        size,
        sha256,
        inode.xattrs,
        # Of a sparse file nobody can tell.
        one.path if inode.position is None else (one.layer, inode.position),
    )


def _read(root: StoredRootfs, everything: list[Found]) -> Mapping[bytes, tuple[int, str]]:
    """Return the size and the sha256 of the bytes that are read of each file."""
    found = {}
    files = [one for one in everything if one.inode.kind is EntryKind.FILE]
    for number, group in groupby(sorted(files, key=_place), key=lambda one: _place(one)[0]):
        frames = root.rootfs.layers[number].frames
        with LayerReader(root.store, root.layers[number], frames) as reader:
            for one in group:
                hasher, size = hashlib.sha256(), 0
                for piece in reader.read(one.path, one.inode):
                    hasher.update(piece)
                    size += len(piece)
                assert one.inode.size == size
                found[one.path] = (size, hasher.hexdigest())
    return found


def _place(one: Found) -> tuple[int, int]:
    assert one.layer is not None
    return one.layer, NOWHERE if one.inode.position is None else one.inode.position
