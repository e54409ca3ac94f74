"""Folders whose files belong to the ids of sandboxes, and the locks that say who uses them.

A lock is a file that is held with flock(2): with its process, the kernel lets go of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["Lock", "Session", "dead_sessions", "own_folder", "private"]


_OWN = "own"


class Lock:
    """A locked file, which goes on being the one at its path while it is held."""

    def __init__(self, path: Path, *, exclusive: bool) -> None:
        """Lock the file at `path`, made if there is none; BlockingIOError means that others do."""
        self.path = path
        how = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
        while True:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._file, how)
                if path.exists() and os.path.samestat(os.fstat(self._file), path.stat()):
                    return
            except BaseException:
                os.close(self._file)
                raise
            os.close(self._file)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)


def locked(path: Path, *, exclusive: bool, stop: Callable[[], None]) -> Lock:
    """Wait for a lock; `stop` raises when there is no more reason to wait."""
    while True:
        with contextlib.suppress(BlockingIOError):
            return Lock(path, exclusive=exclusive)
        stop()
        time.sleep(0.02)


def private(folder: Path) -> Path:
    """Make `folder`, which nobody else can look into, if it is not there."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder


class Session:
    """A folder for what one sandbox does, held until `close`."""

    def __init__(self, sessions: Path, name: str) -> None:
        sessions.mkdir(exist_ok=True, mode=0o700)
        self.folder = sessions / f"{name}+{secrets.token_hex(8)}"
        # The lock comes first: a folder without one that is held is a dead one's.
        self._lock = Lock(self.folder.with_suffix(".lock"), exclusive=True)
        self.folder.mkdir(mode=0o700)

    def new(self) -> Path:
        """Make and return a folder for one run."""
        made = self.folder / secrets.token_hex(8)
        made.mkdir(mode=0o700)
        return made

    def close(self) -> None:
        """Let go of the folder, which is gone."""
        self._lock.path.unlink(missing_ok=True)
        self._lock.close()


@contextlib.contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """Give a folder in `parent` for files of this process, which are gone afterwards.

    What processes left there that were killed is removed.
    """
    private(parent)
    for folder, lock in dead_sessions(parent, _OWN):
        shutil.rmtree(folder, ignore_errors=True)
        lock.path.unlink(missing_ok=True)
        lock.close()
    session = Session(parent, _OWN)
    try:
        yield session.folder
    finally:
        shutil.rmtree(session.folder, ignore_errors=True)
        session.close()


def dead_sessions(sessions: Path, name: str) -> Iterator[tuple[Path, Lock]]:
    """Yield the folders of sandboxes that were killed, and their locks, held."""
    for path in sorted(sessions.glob(f"{name}+*.lock")):
        try:
            lock = Lock(path, exclusive=True)
        except BlockingIOError:
            continue
        yield path.with_suffix(""), lock
