"""Layers unpacked, each over those beneath it, kept from one sandbox to the next.

A folder's name is the digest of the diffIDs up to its layer, the image-spec's ChainID: what a layer
comes to on disk depends on what is beneath, as folders that it implies are like those there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from immutable.sandbox.command import Layer
from immutable.sandbox.folders import Lock, locked
from immutable.sandbox.namespaces import Namespaces

__all__ = ["MOST_BYTES", "Unpacked"]

MOST_BYTES: Final = 20 << 30


class Unpacked:
    """The unpacked layers in a folder; what was asked for stays until `close`."""

    def __init__(self, folder: Path, namespaces: Namespaces, stop: Callable[[], None]) -> None:
        self._folder = folder / namespaces.id_map.name
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._namespaces, self._stop = namespaces, stop
        self._held: dict[str, Lock] = {}

    def lowers(self, layers: Sequence[Layer]) -> list[str]:
        """Return the folders of `layers`, bottom first, unpacking those that are not there."""
        found: list[str] = []
        chain = ""
        for layer in layers:
            chain = _chained(chain, layer)
            if chain not in self._held:
                self._held[chain] = self._take(chain, layer, found)
            os.utime(self._held[chain].path)
            found.append(str(self._folder / chain / "upper"))
        return found

    def _take(self, chain: str, layer: Layer, beneath: Sequence[str]) -> Lock:
        path = self._folder / f"{chain}.lock"
        final = self._folder / chain
        while True:
            lock = locked(path, exclusive=False, stop=self._stop)
            if final.is_dir():
                return lock
            lock.close()
            alone = locked(path, exclusive=True, stop=self._stop)
            try:
                if not final.is_dir():
                    path.write_text(str(self._unpack(final, layer, beneath)))
            finally:
                alone.close()

    def _unpack(self, final: Path, layer: Layer, beneath: Sequence[str]) -> int:
        made = self._folder / f"new+{secrets.token_hex(8)}"
        lock = Lock(made.with_suffix(".lock"), exclusive=True)
        try:
            made.mkdir(mode=0o700)
            task = {
                "task": "unpack",
                "folder": str(made),
                "lowers": list(beneath),
                "name": str(layer.diff_id),
            }
            with layer.open() as tar:
                answer, _ = self._namespaces.do(task, given=tar)
            self._remove(made / "work", made / "scratch")
            made.replace(final)
            return int(answer["size"])
        finally:
            if made.exists():
                self._remove(made)
            lock.path.unlink(missing_ok=True)
            lock.close()

    def sweep(self) -> None:
        """Remove what was not completed by those who were killed, and the oldest beyond a limit."""
        for path in self._folder.glob("new+*.lock"):
            with contextlib.suppress(BlockingIOError):
                self._forget(Lock(path, exclusive=True))
        left = MOST_BYTES
        for _, size, path in sorted(self._sizes(), reverse=True):
            left -= size
            if left < 0:
                with contextlib.suppress(BlockingIOError):
                    self._forget(Lock(path, exclusive=True))

    def close(self) -> None:
        """Let go of the layers: others may remove them."""
        for lock in self._held.values():
            lock.close()
        self._held.clear()

    def _sizes(self) -> Iterator[tuple[float, int, Path]]:
        for path in self._folder.glob("*.lock"):
            with contextlib.suppress(FileNotFoundError, ValueError):
                yield path.stat().st_mtime, int(path.read_text() or "0"), path

    def _forget(self, lock: Lock) -> None:
        try:
            folder = lock.path.with_suffix("")
            if folder.exists():
                self._remove(folder)
            lock.path.unlink(missing_ok=True)
        finally:
            lock.close()

    def _remove(self, *paths: Path) -> None:
        self._namespaces.do({"task": "remove", "paths": [str(path) for path in paths]})
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)


def _chained(chain: str, layer: Layer) -> str:
    """Return the ChainID's hex of a layer over the chain `chain`: image-spec config.md."""
    if not chain:
        return layer.diff_id.hex
    return hashlib.sha256(f"sha256:{chain} {layer.diff_id}".encode()).hexdigest()
