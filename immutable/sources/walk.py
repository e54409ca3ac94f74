"""Walking a folder of this machine's disk without following any path: by descriptors alone."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, field

from immutable.sources.disk_file import FLAGS, changed, failed

_ENCODING: Final = sys.getfilesystemencoding()

Found = tuple[bytes, bytes, os.stat_result, bytes]  # path, place, status, link target


def walk(top: bytes, status: os.stat_result, skip: Callable[[bytes], bool]) -> Iterator[Found]:
    """Yield what is in the folder `top`, whose status is known.

    No path is followed: a folder is opened by its name in the open one that it was listed in, and
    the way back is `..` of the open one; either is gone only to the folder that was listed. So
    one that is swapped for a link meanwhile, at any depth, leads nowhere else, and two
    descriptors are enough however deep the folders are.
    """
    folder = Folder(b"", top, status)
    descriptor = folder.enter(top)
    try:
        yield from folder.list(descriptor, skip)
        outer: list[Folder] = []
        while folder.waiting or outer:
            if not folder.waiting:
                folder = outer.pop()
                descriptor = _exchanged(descriptor, folder.enter(b"..", descriptor))
                continue
            inner = folder.waiting.pop()
            entered = inner.enter(inner.place.rpartition(b"/")[2], descriptor)
            try:
                yield from inner.list(entered, skip)
                if inner.waiting:
                    # Others are left as they were entered: `..` asks for a right to search.
                    outer.append(folder)
                    folder, descriptor, entered = inner, entered, descriptor
            finally:
                os.close(entered)
    finally:
        os.close(descriptor)


def _exchanged(old: int, new: int) -> int:
    os.close(old)
    return new


@define(eq=False)
class Folder:
    """A folder on the walk: the ones in it that are `waiting` are still to be walked."""

    prefix: bytes  # of the paths of what is in it
    place: bytes
    status: os.stat_result
    waiting: list[Folder] = field(factory=list)

    def enter(self, name: bytes, at: int | None = None) -> int:
        """Return a descriptor of `name` in the open folder `at`; SourceError if it is another."""
        try:
            descriptor = os.open(name, FLAGS | os.O_DIRECTORY, dir_fd=at)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise changed(self.place) from None
            raise failed(self.place, error) from None
        if not os.path.samestat(os.fstat(descriptor), self.status):
            os.close(descriptor)
            raise changed(self.place)
        return descriptor

    def list(self, descriptor: int, skip: Callable[[bytes], bool]) -> Iterator[Found]:
        """Yield what is in the folder, which is open, itself."""
        prefix, inside = self.prefix, self.place.rstrip(b"/") + b"/"
        try:
            with os.scandir(descriptor) as listing:
                for item in listing:
                    name = item.name.encode(_ENCODING, "surrogateescape")  # as os.fsencode does
                    path = prefix + name
                    if skip(path):
                        continue
                    place = inside + name
                    status = item.stat(follow_symlinks=False)
                    target = b""
                    kind = stat.S_IFMT(status.st_mode)
                    if kind == stat.S_IFDIR:
                        self.waiting.append(Folder(path + b"/", place, status))
                    elif kind == stat.S_IFLNK:
                        target = os.readlink(name, dir_fd=descriptor)
                    yield path, place, status, target
        except OSError as error:
            raise failed(self.place, error) from None
