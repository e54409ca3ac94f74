"""Files that are whole or not there: drafts, directory syncs, locks.

A draft is locked (`flock`) by the process that writes it for as long as it lives. So a draft
that nobody holds a lock on was left by a killed process, and only such a one is swept; process
numbers, which are used again, are never asked.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from immutable import reading
from immutable.errors import StoreError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

DRAFT: Final = ".immutable-"

DIRECTORY_MODE: Final = 0o755
FILE_MODE: Final = 0o644

_ADVICE: Final = {
    errno.ENOSPC: "make room on the disk, then try again",
    errno.EDQUOT: "make room within the quota, then try again",
    errno.EROFS: "it can only be read here; choose another place, for a store with --store",
    errno.EACCES: "it is not yours to change; choose another place, for a store with --store",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
}


@contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """Turn an OSError of the block into a StoreError that names `path` and what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        advice = _ADVICE.get(error.errno or 0)
        raise StoreError(f"{path}: {reason}" + (f"; {advice}" if advice else "")) from error


def has_room(path: Path, size: int) -> bool:
    """Whether the file system of `path` has `size` bytes free for this user, as far as it says."""
    with explained(path):
        status = os.statvfs(path)
    free = status.f_bfree if os.geteuid() == 0 else status.f_bavail
    return not status.f_blocks or free * status.f_frsize >= size


class _Scratch(io.FileIO):
    """A file without a name; errors of its disk name the directory `where` it is."""

    def __init__(self, descriptor: int, where: Path) -> None:
        super().__init__(descriptor, "r+b")
        self._where = where

    def write(self, data: ReadableBuffer, /) -> int:
        with explained(self._where):
            return super().write(data)

    def truncate(self, size: int | None = None, /) -> int:
        with explained(self._where):
            return super().truncate(size)


@contextmanager
def scratch(directory: Path | None) -> Iterator[BinaryIO]:
    """Give an empty file without a name in `directory`, or where this system has such files.

    A disk that refuses is a StoreError, when the file is made and at every write.
    """
    where = directory or Path(tempfile.gettempdir())
    with explained(where), tempfile.TemporaryFile(dir=where, buffering=0) as raw:
        descriptor = os.dup(raw.fileno())
    with io.BufferedRandom(_Scratch(descriptor, where)) as file:
        yield cast("BinaryIO", file)


class Draft:
    """A new file that gets its final name only when it is whole.

    It is locked while it lives. `publish` or `discard` ends it; a second end does nothing.
    Every OSError comes out as a StoreError.
    """

    def __init__(self, directory: Path) -> None:
        with explained(directory):
            self._path, self._descriptor = _locked_file(directory, DRAFT)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`."""
        with explained(self._path):
            view = memoryview(data).cast("B")
            while view:
                view = view[os.write(self._descriptor, view) :]

    def rewrite(self, offset: int, data: bytes) -> None:
        """Write `data` over what stands at `offset`."""
        with explained(self._path):
            os.pwrite(self._descriptor, data, offset)

    def cut(self, size: int) -> None:
        """Take back all but the first `size` bytes; what is written next follows them."""
        with explained(self._path):
            os.ftruncate(self._descriptor, size)
            os.lseek(self._descriptor, size, os.SEEK_SET)

    def sync(self) -> None:
        """Put what was written onto the disk: where a full or a failing one shows."""
        with explained(self._path):
            os.fchmod(self._descriptor, FILE_MODE)  # whatever the umask
            os.fsync(self._descriptor)

    def publish(self, final: Path) -> None:
        """Give the synced file its name, replacing what has it, and sync the directory."""
        with explained(final):
            self._path.rename(final)
            self._close()
            sync_directory(final.parent)

    def discard(self) -> None:
        """Remove the file."""
        if self._descriptor >= 0:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


def write_atomically(final: Path, data: bytes) -> None:
    """Write `data` as the file `final`: whole or not at all, and durable."""
    draft = Draft(final.parent)
    try:
        draft.write(data)
        draft.sync()
        draft.publish(final)
    finally:
        draft.discard()


def sync_directory(path: Path) -> None:
    """Put the names in the directory `path` onto the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that knows no such thing
            raise
    finally:
        os.close(descriptor)


def make_directory(path: Path, mode: int = DIRECTORY_MODE) -> bool:
    """Make the directory `path` with exactly `mode`; say whether it was not there before."""
    with explained(path):
        try:
            path.mkdir(mode)
        except FileExistsError:
            if path.is_dir():
                return False
            raise
        path.chmod(mode)  # of the mode above the umask takes bits away
        sync_directory(path.parent)
        return True


@contextmanager
def locked_directory(path: Path) -> Iterator[None]:
    """Hold the exclusive lock on the directory `path`, waiting for whoever has it.

    The directory itself is locked, so no lock file stands in layouts that are given away.
    """
    with explained(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with explained(path):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class HeldFile:
    """An empty file in `directory` whose lock says that this process still lives."""

    def __init__(self, directory: Path, prefix: str) -> None:
        self._directory, self._prefix = directory, prefix
        self._descriptor = -1
        self.name = ""  # empty while it is not held

    def take(self) -> None:
        """Make the file and lock it, under a new name."""
        with explained(self._directory):
            path, self._descriptor = _locked_file(self._directory, self._prefix)
        self.name = path.name

    def release(self) -> None:
        """Remove the file."""
        name, self.name = self.name, ""
        with suppress(OSError):
            (self._directory / name).unlink(missing_ok=True)
        os.close(self._descriptor)


@contextmanager
def abandoned(directory: Path, prefix: str) -> Iterator[tuple[str, ...]]:
    """Give the names in `directory` that start with `prefix` and that no process holds.

    They are locked for the block and removed at its end, if it ends well.
    """
    taken: dict[str, int] = {}
    try:
        with explained(directory):
            for name in sorted(os.listdir(directory)):  # noqa: PTH208 - names, not paths
                descriptor = _try_lock(directory / name) if name.startswith(prefix) else None
                if descriptor is not None:
                    taken[name] = descriptor
        yield tuple(taken)
        with explained(directory):
            for name in taken:
                (directory / name).unlink(missing_ok=True)
    finally:
        for descriptor in taken.values():
            os.close(descriptor)


def holds_any(directory: Path) -> bool:
    """Whether a process holds a file in `directory`."""
    with explained(directory):
        names = sorted(os.listdir(directory))  # noqa: PTH208 - names, not paths
    for name in names:
        descriptor = _try_lock(directory / name)
        if descriptor is None and (directory / name).exists():
            return True
        if descriptor is not None:
            os.close(descriptor)
    return False


def sweep_drafts(directory: Path) -> None:
    """Remove the drafts in `directory` whose writers are gone."""
    with abandoned(directory, DRAFT):
        pass


def open_regular(path: Path) -> int:
    """Return a descriptor of the regular file `path`, open for reading.

    Raises StoreError for what is no regular file.
    """
    try:
        return reading.open_regular(path)
    except reading.NotRegularError:
        raise StoreError(f"{path}: expected a regular file") from None


def _locked_file(directory: Path, prefix: str) -> tuple[Path, int]:
    """Return path and descriptor of a new locked file in `directory`."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    while True:
        path = directory / f"{prefix}{secrets.token_hex(8)}"
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between its creation and its lock a sweep may have taken it for an abandoned one.
            if os.fstat(descriptor).st_nlink:
                return path, descriptor
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        os.close(descriptor)


def _try_lock(path: Path) -> int | None:
    """Return a locked descriptor of `path`; None if it is gone, held, or no file of ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
