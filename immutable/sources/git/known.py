"""Which files were found to be which objects of git, so that they are read once.

The stat cache keeps it apart from what it knows of trees: path → (signature, digest of the
object's mode and name). A file's times tell whether it has changed since, its mode too.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from attrs import define, field

from immutable.content.entries import show
from immutable.errors import SourceError
from immutable.oci.digest import Digest
from immutable.sources.disk_file import Signature, signature_of
from immutable.sources.git.objects import Held, Repository
from immutable.sources.tree import TICK, StatCache, Stats


@define
class Known:
    """What is known for the specs in one `folder`; nothing without a stat cache."""

    _folder: Path
    _stats: StatCache | None
    _began: int = field(init=False)
    _rows: Stats = field(init=False)
    _new: Stats = field(init=False, factory=dict)

    @_began.default
    def _now(self) -> int:
        return time.time_ns()

    @_rows.default
    def _load(self) -> Stats:
        return {} if self._stats is None else self._stats.load_stats(self._root)

    @property
    def _root(self) -> bytes:
        return b"git:" + os.fsencode(self._folder)

    def is_as(self, repository: Repository, path: Path, held: Held) -> bool:
        """Tell whether the file or link at `path` is as a commit of `repository` has it."""
        signature = self._settled(path)
        if signature is None:
            return held == repository.named(path)
        key = os.fsencode(path)
        row = signature, Digest.of(f"{held.mode:o} {held.name}".encode())
        # The signature is of before the reading: one that changes meanwhile has another by then.
        same = row == self._rows.get(key) or held == repository.named(path)
        if same:
            self._new[key] = row
        return same

    def _settled(self, path: Path) -> Signature | None:
        """Return the signature of the file at `path` if its times tell of every change to come."""
        try:
            status = path.lstat()
        except OSError as error:
            raise SourceError(f"{show(os.fsencode(path))}: {error.strerror}") from None
        signature = signature_of(status)
        fresh = max(signature[1], signature[2]) > self._began - TICK
        return signature if stat.S_ISREG(status.st_mode) and not fresh else None

    def save(self, places: Iterable[Path]) -> None:
        """Keep what was found out at and below `places`, and what is known of elsewhere."""
        if self._stats is None:
            return
        asked = {os.fsencode(place) for place in places}
        below = tuple(place + b"/" for place in asked)
        kept = {
            path: row
            for path, row in self._rows.items()
            # Another spec in the same folder may ask for these.
            if path not in asked and not path.startswith(below)
        }
        rows = {**kept, **self._new}
        if rows != self._rows:
            self._stats.save_stats(self._root, rows)
