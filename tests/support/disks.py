"""A file system of its own, small enough to be filled up."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import needs


@contextmanager
def mounted(mount: Path, size: str = "1m") -> Iterator[Path]:
    """Mount an empty file system; skip the test where that cannot be done."""
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(mount)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode and not needs.nothing_may_skip():
        pytest.skip(f"no file system can be mounted: {made.stderr.strip()}")
    assert 0 == made.returncode, made.stderr
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


def fill_up(directory: Path) -> Path:
    """Write a file until the disk takes no more; return it."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(512))
    return path
