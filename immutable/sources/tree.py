"""Local trees: a listing with the digest of every file, taken once when a build begins."""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol, Self

from attrs import define, field, frozen
from typing_extensions import override

from immutable.content.entries import MAX_PATH, EntryKind, safe_path, show
from immutable.content.globs import compile_globs
from immutable.errors import SourceError
from immutable.oci.digest import Digest
from immutable.sources.disk_file import DiskFile, Signature, failed, measure, signature_of
from immutable.sources.ignoring import IgnoreFile
from immutable.sources.walk import Found, walk
from immutable.spec.splitting import part_of

_BATCH: Final = 256  # files read by one task; one a task costs more than the reading
# A file changed this recently may change again without its times moving on: file systems
# stamp in ticks, some of two seconds. Git calls such entries racy.
TICK: Final = 2_000_000_000

Stats = dict[bytes, tuple[Signature, Digest]]


class StatCache(Protocol):
    """What remembers, for a root, path → (signature, digest)."""

    def load_stats(self, root: bytes) -> Stats:
        """Return what is known within `root`."""

    def save_stats(self, root: bytes, rows: Stats) -> None:
        """Replace what is known within `root`."""


class _NoCache:
    """A stat cache that knows nothing."""

    def load_stats(self, _root: bytes) -> Stats:
        return {}

    def save_stats(self, _root: bytes, _rows: Stats) -> None:
        pass


_NO_CACHE: Final = _NoCache()


Item = tuple[
    bytes, EntryKind, int, DiskFile | None, bytes
]  # path, kind, mode, content, link target


@frozen
class Choice:
    """Which paths of a folder are wanted.

    Those that match `include`, if any, and not `exclude`, and that `ignore` does not leave out.
    What git keeps for itself is in no clone alike: a ``.git`` is never wanted, nor is one of
    the paths `never`.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignore: IgnoreFile | None = None
    never: frozenset[bytes] = frozenset()
    _included: Callable[[bytes], bool] = field(init=False, eq=False, repr=False)
    excluded: Callable[[bytes], bool] = field(init=False, eq=False, repr=False)

    @_included.default
    def _compile_include(self) -> Callable[[bytes], bool]:
        return compile_globs(self.include)

    @excluded.default
    def _compile_exclude(self) -> Callable[[bytes], bool]:
        """Return whether neither a path nor anything below it is wanted."""
        excluded, never = compile_globs(self.exclude), self.never

        def skips(path: bytes) -> bool:
            # Most paths have no such name anywhere: that is found out soonest.
            return (
                path in never or (b".git" in path and b".git" in path.split(b"/")) or excluded(path)
            )

        if (ignore := self.ignore) is None:
            return skips
        return lambda path: skips(path) or ignore.ignores_all(path)

    @property
    def skips_folders(self) -> bool:
        """Whether a folder may be unwanted that holds something wanted."""
        return bool(self.include) or (self.ignore is not None and self.ignore.takes_back)

    def included(self, path: bytes) -> bool:
        """Tell whether a `path` that is not `excluded` is wanted."""
        if self.ignore is not None and self.ignore.ignores(path):
            return False
        return not self.include or self._included(path)

    def __call__(self, path: bytes) -> bool:
        """Tell whether the file at `path`, relative to the folder, is wanted."""
        return self.included(path) and not self.excluded(path)

    @override
    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.include, self.exclude, self.ignore, self.never)


@define(eq=False)
class Tree:
    """A file or folder on disk, as chosen by globs, at one moment.

    It is listed first, and its digest known when its files are: the stat cache spares reading
    them, and so does whoever reads them for another reason in between. One that was pickled asks
    no stat cache any more.
    """

    is_folder: bool
    _items: Sequence[Item] = field(repr=False)
    _top: bytes = field(repr=False)
    _choice: Choice = field(repr=False)
    _stats: StatCache = field(repr=False)
    _known: Stats = field(repr=False)
    _digest: Digest | None = None
    _parts: Sequence[Self] = field(default=(), init=False, repr=False)

    @classmethod
    def listed(
        cls,
        root: Path,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        ignore: IgnoreFile | None = None,
        never: frozenset[bytes] = frozenset(),
        stats: StatCache,
    ) -> Self:
        """Return the tree at `root` without having read its files.

        Only files that match `include`, when there are any, and neither `exclude` nor `ignore`
        are in it; so are the folders they stand in and, without `include`, empty ones. A ``.git``
        and the paths `never` are not in it, whatever the globs say. Where `root` is a
        file, it is the tree, and the globs have no say. Files whose times and inode are those
        in `stats` have the digest it says. Raises SourceError for what is missing, unreadable,
        or neither file, folder nor link.
        """
        given = os.fsencode(root)
        began = time.time_ns()
        try:
            # A link that the spec names stands for what it leads to.
            top = os.path.realpath(given, strict=True)
            status = os.stat(top)  # noqa: PTH116 - bytes
        except OSError as error:
            raise failed(given, error) from None
        is_folder = stat.S_ISDIR(status.st_mode)
        choice = Choice(tuple(include), tuple(exclude), ignore, never) if is_folder else Choice()
        known = stats.load_stats(top)
        if is_folder:
            found = walk(top, status, choice.excluded)
            items = _items(sorted(_chosen(found, choice), key=_by_path), known, began)
        else:
            items = _items([(b"", top, status, b"")], known, began)
            for *_, content, _ in items:
                if content is not None and not content.size:
                    measure(content)
        return cls(is_folder, items, top, choice, stats, known)

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
        """Return what `listed` does, with its digest."""
        tree = cls.listed(root, include=include, exclude=exclude, stats=stats)
        tree.read(jobs)
        return tree

    @property
    def digest(self) -> Digest:
        """The digest of everything in the tree; it has to be `read` before."""
        assert self._digest is not None, "a tree that was not read"  # noqa: S101
        return self._digest

    @property
    def unseen(self) -> int:
        """How many bytes the files have that the stat cache has never heard of."""
        return sum(
            content.size
            for path, _, _, content, _ in self._items
            if content is not None and path not in self._known
        )

    def read(self, jobs: int) -> Digest:
        """Read the files that nobody has read yet, and return the digest of the tree.

        The stat cache remembers what was read. Raises SourceError for what has changed.
        """
        if self._digest is None:
            _read([content for *_, content, _ in self._items if content is not None], jobs)
            self._remember()
            self._digest = _digest(self._items)
        return self._digest

    def __getstate__(self) -> tuple[object, ...]:
        return (self.is_folder, self._items, self._top, self._choice, self._digest)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.is_folder, self._items, self._top, self._choice, self._digest = state
        self._stats, self._known, self._parts = _NO_CACHE, {}, ()

    def _remember(self) -> None:
        """Leave to the stat cache what can be told by its times."""
        rows = {
            path: (content.signature, content.digest)
            for path, _, _, content, _ in self._items
            if content is not None and content.digest is not None and not content.racy
        }
        # What another layer chooses of the same folder stays known.
        rows.update((path, row) for path, row in self._known.items() if not self._choice(path))
        if rows != self._known:
            self._stats.save_stats(self._top, rows)
        self._known = {}

    def items(self) -> Iterator[Item]:
        """Yield (path, kind, mode, content, link target), parents first."""
        yield from self._items

    def parts(self, most: int) -> Sequence[Self]:
        """Return the folder as `most` trees, which share no file; it has to be `read` before.

        What is in it goes by its first name: see `immutable.spec.splitting`. Trees can be empty.
        """
        if len(self._parts) != most:
            items: list[list[Item]] = [[] for _ in range(most)]
            number = functools.cache(functools.partial(part_of, most=most))
            for item in self._items:
                items[number(item[0].partition(b"/")[0])].append(item)
            self._parts = [self._of(some) for some in items]
        return self._parts

    def _of(self, items: Sequence[Item]) -> Self:
        rest = (self.is_folder, items, self._top, self._choice, _NO_CACHE, Stats())
        return type(self)(*rest, _digest(items))

    def covers(self, path: bytes) -> bool:
        """Tell whether a file at the absolute `path`, if there were one, would be in the tree."""
        if not self.is_folder:
            return path == self._top
        inner = path.removeprefix(self._top.rstrip(b"/") + b"/")
        return inner != path and self._choice(inner)


def _by_path(found: Found) -> bytes:
    return found[0]


def _chosen(found: Iterator[Found], choice: Choice) -> Iterator[Found]:
    """Yield what `choice` includes, and the folders it stands in."""
    if not choice.skips_folders:
        yield from found
        return
    folders: dict[bytes, Found] = {}
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


def _items(found: Iterable[Found], known: Stats, began: int) -> list[Item]:
    """Return the items; files have the digest that the stat cache knows."""
    items: list[Item] = []
    for path, place, status, target in found:
        if len(path) > MAX_PATH:
            safe_path(path)  # which says so
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            signature = signature_of(status)
            racy = max(signature[1], signature[2]) > began - TICK
            row = known.get(path)
            digest = row[1] if row is not None and row[0] == signature else None
            mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            content = DiskFile(place, signature, status.st_dev, racy, digest)
            items.append((path, EntryKind.FILE, mode, content, b""))
        elif kind == stat.S_IFDIR:
            items.append((path, EntryKind.DIRECTORY, 0o755, None, b""))
        elif kind == stat.S_IFLNK:
            items.append((path, EntryKind.SYMLINK, 0o777, None, target))
        else:
            what = "a socket" if kind == stat.S_IFSOCK else "a device or FIFO"
            raise SourceError(f"{show(place)}: {what}; exclude it, as images hold none")
    return items


def _read(files: Iterable[DiskFile], jobs: int) -> None:
    """Read those of `files` whose digest is not known, which makes it known."""
    unread = [file for file in files if file.digest is None]
    batches = [unread[start : start + _BATCH] for start in range(0, len(unread), _BATCH)]
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        for _ in pool.map(_read_all, batches):
            pass


def _read_all(batch: Iterable[DiskFile]) -> None:
    for file in batch:
        for _ in file.read():
            pass


def _digest(items: Sequence[Item]) -> Digest:
    hasher = hashlib.sha256(b"tree 1\n")
    for path, kind, mode, content, target in items:
        what = target
        if content is not None:
            assert content.digest is not None  # noqa: S101 - all were read
            what = content.digest.hex.encode()
        hasher.update(b"%b %o %d %d\n" % (kind.value, mode, len(path), len(what)) + path + what)
    return Digest(hasher.hexdigest())
