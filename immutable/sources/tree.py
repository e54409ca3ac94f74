"""Local trees: a listing with the digest of every file, taken once when a build begins."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, Self

from attrs import field, frozen

from immutable.digest import Digest
from immutable.entries import MAX_PATH, Kind, safe_path, show
from immutable.errors import SourceError
from immutable.globs import compile_globs

_PIECE: Final = 1 << 20
_BATCH: Final = 256  # files read by one task; one a task costs more than the reading
# A file changed this recently may change again without its times moving on: file systems
# stamp in ticks, some of two seconds. Git calls such entries racy.
_TICK: Final = 2_000_000_000

Signature = tuple[int, int, int, int]  # size, mtime and ctime in nanoseconds, inode
Stats = dict[bytes, tuple[Signature, Digest]]


class StatCache(Protocol):
    """What remembers, for a root, path → (signature, digest)."""

    def load_stats(self, root: bytes) -> Stats:
        """Return what is known below `root`."""

    def save_stats(self, root: bytes, rows: Stats) -> None:
        """Replace what is known below `root`."""


@frozen
class DiskFile:
    """A file on disk as it was when scanned.

    Reading it raises SourceError if it has changed since: its times say so, or, where it was
    too fresh for times to tell, its digest does.
    """

    path: bytes
    signature: Signature
    digest: Digest
    racy: bool

    @property
    def size(self) -> int:
        """The size in bytes when scanned."""
        return self.signature[0]

    def read(self) -> Iterator[bytes]:
        """Yield the content in pieces of at most 1 MiB."""
        hasher = hashlib.sha256() if self.racy else None
        descriptor = _open(self.path)
        try:
            if _signature(os.fstat(descriptor)) != self.signature:
                raise _changed(self.path)
            rest = self.size
            while rest:
                piece = os.read(descriptor, min(rest, _PIECE))
                if not piece:
                    raise _changed(self.path)
                rest -= len(piece)
                if hasher is not None:
                    hasher.update(piece)
                yield piece
            if _signature(os.fstat(descriptor)) != self.signature:
                raise _changed(self.path)
        except OSError as error:
            raise _failed(self.path, error) from None
        finally:
            os.close(descriptor)
        if hasher is not None and hasher.hexdigest() != self.digest.hex:
            raise _changed(self.path)


Item = tuple[bytes, Kind, int, DiskFile | None, bytes]  # path, kind, mode, content, link target


@frozen
class Choice:
    """Which paths of a folder are wanted: those that match `include`, if any, and not `exclude`."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    _included: Callable[[bytes], bool] = field(init=False, eq=False, repr=False)
    excluded: Callable[[bytes], bool] = field(init=False, eq=False, repr=False)

    @_included.default
    def _compile_include(self) -> Callable[[bytes], bool]:
        return compile_globs(self.include)

    @excluded.default
    def _compile_exclude(self) -> Callable[[bytes], bool]:
        return compile_globs(self.exclude)

    def included(self, path: bytes) -> bool:
        """Tell whether `include` lets `path` in."""
        return not self.include or self._included(path)

    def __call__(self, path: bytes) -> bool:
        """Tell whether the file at `path`, relative to the folder, is wanted."""
        return self.included(path) and not self.excluded(path)


@frozen
class Tree:
    """A file or folder on disk, as chosen by globs, at one moment."""

    is_folder: bool
    _items: tuple[Item, ...] = field(repr=False)
    digest: Digest
    _top: bytes = field(repr=False)
    _choice: Choice = field(repr=False)

    @classmethod
    def scan(
        cls,
        root: Path,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        stats: StatCache,
        jobs: int = 1,
    ) -> Self:
        """Return the tree at `root`.

        Only files that match `include`, when there are any, and not `exclude` are in it; so
        are the folders they stand in and, without `include`, empty ones. Where `root` is a
        file, it is the tree, and the globs have no say. Files whose times and inode are those
        in `stats` are not read. Raises SourceError for what is missing, unreadable, or neither
        file, folder nor link.
        """
        given = os.fsencode(root)
        began = time.time_ns()
        try:
            # A link that the spec names stands for what it leads to.
            top = os.path.realpath(given, strict=True)
            status = os.stat(top)  # noqa: PTH116 - bytes
        except OSError as error:
            raise _failed(given, error) from None
        is_folder = stat.S_ISDIR(status.st_mode)
        choice = Choice(tuple(include), tuple(exclude)) if is_folder else Choice()
        if is_folder:
            found = sorted(_chosen(_walk(top, choice.excluded), choice), key=_by_path)
        else:
            found = [(b"", top, status)]
        known = stats.load_stats(top)
        items, rows = _digested(found, known, began, jobs)
        # What another layer chooses of the same folder stays known.
        rows.update((path, row) for path, row in known.items() if not choice(path))
        if rows != known:
            stats.save_stats(top, rows)
        return cls(is_folder, tuple(items), _digest(items), top, choice)

    def items(self) -> Iterator[Item]:
        """Yield (path, kind, mode, content, link target), parents first."""
        yield from self._items

    def covers(self, path: bytes) -> bool:
        """Tell whether a file at the absolute `path`, if there were one, would be in the tree."""
        if not self.is_folder:
            return path == self._top
        below = path.removeprefix(self._top.rstrip(b"/") + b"/")
        return below != path and self._choice(below)


_Found = tuple[bytes, bytes, os.stat_result]


def _by_path(found: _Found) -> bytes:
    return found[0]


def _walk(top: bytes, skip: Callable[[bytes], bool]) -> Iterator[_Found]:
    waiting = [(b"", top)]
    while waiting:
        prefix, folder = waiting.pop()
        try:
            with os.scandir(folder) as listing:
                for item in listing:
                    path = prefix + item.name
                    if skip(path):
                        continue
                    yield path, item.path, item.stat(follow_symlinks=False)
                    if item.is_dir(follow_symlinks=False):
                        waiting.append((path + b"/", item.path))
        except OSError as error:
            raise _failed(error.filename or folder, error) from None


def _chosen(found: Iterator[_Found], choice: Choice) -> Iterator[_Found]:
    """Yield what `include` chooses, and the folders it stands in."""
    if not choice.include:
        yield from found
        return
    folders: dict[bytes, _Found] = {}
    needed: set[bytes] = set()
    for row in found:
        path = row[0]
        is_folder = stat.S_ISDIR(row[2].st_mode)
        if is_folder:
            folders[path] = row
        if not choice.included(path):
            continue
        if not is_folder:
            yield row
        while path and path not in needed:
            needed.add(path)
            path = path.rpartition(b"/")[0]
    yield from (folders[path] for path in needed if path in folders)


def _digested(
    found: Sequence[_Found], known: Stats, began: int, jobs: int
) -> tuple[list[Item], Stats]:
    """Return the items, and what the stat cache may remember of them."""
    digests = _digests(found, known, jobs)
    items: list[Item] = []
    rows: Stats = {}
    for path, place, status in found:
        if len(path) > MAX_PATH:
            safe_path(path)  # which says so
        if stat.S_ISREG(status.st_mode):
            signature = _signature(status)
            racy = max(signature[1], signature[2]) > began - _TICK
            content = DiskFile(place, signature, digests[path], racy)
            mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            items.append((path, Kind.FILE, mode, content, b""))
            if not racy:
                rows[path] = (signature, digests[path])
        elif stat.S_ISDIR(status.st_mode):
            items.append((path, Kind.DIRECTORY, 0o755, None, b""))
        elif stat.S_ISLNK(status.st_mode):
            items.append((path, Kind.SYMLINK, 0o777, None, _link_target(place)))
        else:
            what = "a socket" if stat.S_ISSOCK(status.st_mode) else "a device or FIFO"
            raise SourceError(f"{show(place)}: {what}; exclude it, as images hold none")
    return items, rows


def _digests(found: Sequence[_Found], known: Stats, jobs: int) -> dict[bytes, Digest]:
    """Return the digest of each file, reading those that the stat cache does not know."""
    digests: dict[bytes, Digest] = {}
    unread: list[_Found] = []
    for path, place, status in found:
        if stat.S_ISREG(status.st_mode):
            row = known.get(path)
            if row is not None and row[0] == _signature(status):
                digests[path] = row[1]
            else:
                unread.append((path, place, status))
    batches = [unread[start : start + _BATCH] for start in range(0, len(unread), _BATCH)]
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        for batch, read in zip(batches, pool.map(_read_all, batches), strict=True):
            digests.update(zip((path for path, _, _ in batch), read, strict=True))
    return digests


def _link_target(place: bytes) -> bytes:
    try:
        return os.readlink(place)  # noqa: PTH115 - bytes
    except OSError as error:
        raise _failed(place, error) from None


def _read_all(batch: Sequence[_Found]) -> list[Digest]:
    return [_read(found) for found in batch]


def _read(found: _Found) -> Digest:
    _, place, status = found
    hasher = hashlib.sha256()
    descriptor = _open(place)
    try:
        while piece := os.read(descriptor, _PIECE):
            hasher.update(piece)
        if _signature(os.fstat(descriptor)) != _signature(status):
            raise _changed(place)
    except OSError as error:
        raise _failed(place, error) from None
    finally:
        os.close(descriptor)
    return Digest(hasher.hexdigest())


def _digest(items: Sequence[Item]) -> Digest:
    hasher = hashlib.sha256(b"tree 1\n")
    for path, kind, mode, content, target in items:
        what = content.digest.hex.encode() if content is not None else target
        hasher.update(b"%b %o %d %d\n" % (kind.value, mode, len(path), len(what)) + path + what)
    return Digest(hasher.hexdigest())


def _signature(status: os.stat_result) -> Signature:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _open(path: bytes) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise _failed(path, error) from None


def _failed(path: bytes, error: OSError) -> SourceError:
    return SourceError(f"{show(path)}: {error.strerror}")


def _changed(path: bytes) -> SourceError:
    return SourceError(f"{show(path)}: changed while it was being read; build again")
