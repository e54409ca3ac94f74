"""Local trees: a listing with the digest of every file, taken once when a build begins."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
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
from immutable.sources.ignoring import IgnoreFile

_PIECE: Final = 1 << 20
_BATCH: Final = 256  # files read by one task; one a task costs more than the reading
# A file changed this recently may change again without its times moving on: file systems
# stamp in ticks, some of two seconds. Git calls such entries racy.
TICK: Final = 2_000_000_000
_MOST_UNSIZED: Final = 16 << 20
_ENCODING: Final = sys.getfilesystemencoding()
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW

Signature = tuple[int, int, int, int]  # size, mtime and ctime in nanoseconds, inode
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


@define(eq=False)
class DiskFile:
    """A file on disk as it was when listed.

    Reading it raises SourceError if it has changed since: its device, inode and times say so,
    or, where it was too fresh for times to tell, its digest does. So whatever its path leads to
    by then, only the file that was listed is read. `digest` is None until the content is known,
    from the stat cache or because somebody has read it to its end. `unsized` is the content's
    size where the file system says 0 of a file that it makes up when read.
    """

    path: bytes
    signature: Signature
    device: int
    racy: bool
    digest: Digest | None = None
    unsized: int = 0

    @property
    def size(self) -> int:
        """The size in bytes when listed."""
        return self.unsized or self.signature[0]

    def read(self) -> Iterator[bytes]:
        """Yield the content in pieces of at most 1 MiB."""
        hasher = hashlib.sha256() if self.digest is None or self.racy else None
        descriptor = _open(self.path)
        try:
            self.expect_same(descriptor)
            rest = self.size
            while rest:
                piece = os.read(descriptor, min(rest, _PIECE))
                if not piece:
                    raise _changed(self.path)
                rest -= len(piece)
                if hasher is not None:
                    hasher.update(piece)
                yield piece
            # It was the file that was listed, unchanged, all the time, and this is its end.
            self.expect_same(descriptor)
            if not self.signature[0] and os.read(descriptor, 1):
                raise _unsized(self.path)
        except OSError as error:
            raise _failed(self.path, error) from None
        finally:
            os.close(descriptor)
        if hasher is not None:
            self._settle(Digest(hasher.hexdigest()))

    def expect_same(self, descriptor: int) -> None:
        """Raise SourceError unless the open file is the one listed, as it was then."""
        status = os.fstat(descriptor)
        same = status.st_dev == self.device and stat.S_ISREG(status.st_mode)
        if not same or (not self.unsized and signature_of(status) != self.signature):
            raise _changed(self.path)

    def _settle(self, digest: Digest) -> None:
        if self.digest is None:
            self.digest = digest
        elif self.digest != digest:
            raise _changed(self.path)


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
            raise _failed(given, error) from None
        is_folder = stat.S_ISDIR(status.st_mode)
        choice = Choice(tuple(include), tuple(exclude), ignore, never) if is_folder else Choice()
        known = stats.load_stats(top)
        if is_folder:
            walk = _walk(top, status, choice.excluded)
            items = _items(sorted(_chosen(walk, choice), key=_by_path), known, began)
        else:
            items = _items([(b"", top, status, b"")], known, began)
            for *_, content, _ in items:
                if content is not None and not content.size:
                    _measure(content)
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
        self._stats, self._known = _NO_CACHE, {}

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

    def covers(self, path: bytes) -> bool:
        """Tell whether a file at the absolute `path`, if there were one, would be in the tree."""
        if not self.is_folder:
            return path == self._top
        below = path.removeprefix(self._top.rstrip(b"/") + b"/")
        return below != path and self._choice(below)


_Found = tuple[bytes, bytes, os.stat_result, bytes]  # path, place, status, link target


def _by_path(found: _Found) -> bytes:
    return found[0]


def _walk(top: bytes, status: os.stat_result, skip: Callable[[bytes], bool]) -> Iterator[_Found]:
    """Yield what is in the folder `top`, whose status is known.

    No path is followed: a folder is opened by its name in the open one that it was listed in, and
    the way back is `..` of the open one; either is gone only to the folder that was listed. So
    one that is swapped for a link meanwhile, at any depth, leads nowhere else, and two
    descriptors are enough however deep the folders are.
    """
    folder = _Folder(b"", top, status)
    descriptor = folder.enter(top)
    try:
        yield from folder.list(descriptor, skip)
        above: list[_Folder] = []
        while folder.waiting or above:
            if not folder.waiting:
                folder = above.pop()
                descriptor = _exchanged(descriptor, folder.enter(b"..", descriptor))
                continue
            below = folder.waiting.pop()
            entered = below.enter(below.place.rpartition(b"/")[2], descriptor)
            try:
                yield from below.list(entered, skip)
                if below.waiting:
                    # Others are left as they were entered: `..` asks for a right to search.
                    above.append(folder)
                    folder, descriptor, entered = below, entered, descriptor
            finally:
                os.close(entered)
    finally:
        os.close(descriptor)


def _exchanged(old: int, new: int) -> int:
    os.close(old)
    return new


@define(eq=False)
class _Folder:
    """A folder on the walk: the ones in it that are `waiting` are still to be walked."""

    prefix: bytes  # of the paths of what is in it
    place: bytes
    status: os.stat_result
    waiting: list[_Folder] = field(factory=list)

    def enter(self, name: bytes, at: int | None = None) -> int:
        """Return a descriptor of `name` in the open folder `at`; SourceError if it is another."""
        try:
            descriptor = os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=at)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise _changed(self.place) from None
            raise _failed(self.place, error) from None
        if not os.path.samestat(os.fstat(descriptor), self.status):
            os.close(descriptor)
            raise _changed(self.place)
        return descriptor

    def list(self, descriptor: int, skip: Callable[[bytes], bool]) -> Iterator[_Found]:
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
                        self.waiting.append(_Folder(path + b"/", place, status))
                    elif kind == stat.S_IFLNK:
                        target = os.readlink(name, dir_fd=descriptor)
                    yield path, place, status, target
        except OSError as error:
            raise _failed(self.place, error) from None


def _chosen(found: Iterator[_Found], choice: Choice) -> Iterator[_Found]:
    """Yield what `choice` includes, and the folders it stands in."""
    if not choice.skips_folders:
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


def _items(found: Iterable[_Found], known: Stats, began: int) -> list[Item]:
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


def _measure(file: DiskFile) -> None:
    """Read a file that is said to be empty, as files of /proc are whatever they hold."""
    descriptor = _open(file.path)
    hasher = hashlib.sha256()
    size = 0
    try:
        file.expect_same(descriptor)
        while piece := os.read(descriptor, _PIECE):
            size += len(piece)
            hasher.update(piece)
            if size > _MOST_UNSIZED:
                raise _unsized(file.path)
    except OSError as error:
        raise _failed(file.path, error) from None
    finally:
        os.close(descriptor)
    if size:
        # Such a file's times tell nothing.
        file.unsized, file.racy, file.digest = size, True, Digest(hasher.hexdigest())


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


def signature_of(status: os.stat_result) -> Signature:
    """Return what of a file changes with its content."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _open(path: bytes) -> int:
    try:
        # A FIFO in its place would wait for a writer forever.
        return os.open(path, _FLAGS | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _changed(path) from None
        raise _failed(path, error) from None


def _failed(path: bytes, error: OSError) -> SourceError:
    return SourceError(f"{show(path)}: {error.strerror}")


def _changed(path: bytes) -> SourceError:
    return SourceError(f"{show(path)}: changed while it was being read; build again")


def _unsized(path: bytes) -> SourceError:
    return SourceError(
        f"{show(path)}: expected no more bytes than its size says, found more, as in files of "
        "/proc; copy it to an ordinary file and take that"
    )
