"""Who may use a store's directories: whether this user can write, and nobody else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from immutable.errors import StoreError
from immutable.store import files

OTHERS_WRITE: Final = 0o022


def is_writable(root: Path) -> bool:
    """Tell whether this user can write all that makes up the store at `root`."""
    parts = (root, root / "blobs" / "sha256", root / "tmp", root / "immutable.db")
    effective = os.access in os.supports_effective_ids
    return all(os.access(part, os.W_OK, effective_ids=effective) for part in parts if part.exists())


def refuse_shared(path: Path) -> None:
    """Raise StoreError for a directory that others can write."""
    with files.explained(path):
        mode = path.stat().st_mode
    if mode & OTHERS_WRITE:
        raise StoreError(
            f"{path}: expected a directory that only its owner can write, "
            f"found mode {mode & 0o7777:04o}; run `chmod go-w {path}`"
        )
