"""Room for the day on which the disk is full: a file that is there to be removed.

Removing a name or a blob takes room first: for the database's log, for a new `index.json`. So
a store keeps some, and a store that is opened to remove something may use it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from immutable.errors import StoreError
from immutable.store import files

SIZE: Final = 1 << 18  # bytes: the log and its index, for changes made one at a time
_NAME: Final = "reserve"


def keep(root: Path) -> None:
    """Make the reserve, if it is not there and there is room; the caller holds the lock."""
    path = root / _NAME
    with suppress(StoreError, OSError):
        size = _size((root / "index.json").stat().st_size)
        if path.exists():
            if path.stat().st_size >= size:
                return
            path.unlink()
        if files.has_room(root, 2 * size):
            _write(path, size)


def _size(index: int) -> int:
    """Return how large a reserve has to be beside an index.json of `index` bytes.

    A changed one is written beside the present one. What grows with every name is rounded, so
    that the reserve is not made anew for each.
    """
    size = SIZE
    while size < SIZE // 2 + 2 * index:
        size *= 2
    return size


def spend(root: Path) -> None:
    """Remove the reserve."""
    path = root / _NAME
    with files.explained(path):
        path.unlink(missing_ok=True)


def _write(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # Noise: of zeros, some file systems keep nothing.
        left = memoryview(os.urandom(size))
        while left:
            left = left[os.write(descriptor, left) :]
        os.fchmod(descriptor, 0o600)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
