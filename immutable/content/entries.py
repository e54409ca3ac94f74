"""Tree entries: what a layer holds, put in the one order and checked for safety.

Paths are raw bytes, relative to the image's root, without a leading ``/`` or ``./`` and without
a trailing ``/``. The root itself is no entry.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from attrs import evolve, field, frozen

from immutable.errors import EntryError
from immutable.redact import redact

MAX_NAME = 255  # NAME_MAX of every Linux file system
MAX_PATH = 4095  # PATH_MAX less its NUL

# Directories whose customary mode is not 0755, for when a layer only implies them.
CUSTOMARY_MODES = {b"root": 0o700, b"tmp": 0o1777, b"var/tmp": 0o1777}


class EntryKind(enum.Enum):
    """What an entry is; the value is its ustar type flag (POSIX.1-2017 pax, "typeflag")."""

    FILE = b"0"
    HARDLINK = b"1"
    SYMLINK = b"2"
    CHARACTER = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


_NAMES = {
    EntryKind.FILE: "file",
    EntryKind.HARDLINK: "hard link",
    EntryKind.SYMLINK: "symlink",
    EntryKind.CHARACTER: "character device",
    EntryKind.BLOCK: "block device",
    EntryKind.DIRECTORY: "directory",
    EntryKind.FIFO: "FIFO",
}
_SLASH = b"/"[0]
# What overlay file systems, the kernel's and FUSE's, keep for themselves: marks that hide lower
# layers, or that change owners and modes. "trusted" is for the machine's own administration.
_KEPT = (b"trusted.", b"user.overlay.", b"user.fuseoverlayfs.", b"user.containers.")
_PLAIN_NAME = re.compile(rb"(?!\.{0,2}\Z|\.wh\.)[^\0]{1,255}\Z", re.DOTALL).match


class Content(Protocol):
    """The bytes of a file, readable any number of times."""

    @property
    def size(self) -> int:
        """How many bytes `read` gives."""

    def read(self) -> Iterator[bytes]:
        """Yield the bytes in pieces of any length, `size` in all.

        Raises ImmutableError if they are not the bytes, or not as many, as when the content
        was described.
        """


@frozen
class Inline:
    """Content that is held in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """The length of the data in bytes."""
        return len(self.data)

    def read(self) -> Iterator[bytes]:
        """Yield the data."""
        if self.data:
            yield self.data


def _sorted_pairs(pairs: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(sorted(pairs)) if pairs else ()


@frozen
class Entry:
    """One path of a layer.

    `mode` is the permission bits with setuid, setgid and sticky; `mtime` is in whole seconds
    since the epoch. `target` is a symbolic link's text, or the path that a hard link repeats.
    A hard link also has that path's `content`, so it can stand alone when the path is left
    out. `device` is a device's (major, minor); `xattrs` are sorted by name.
    """

    path: bytes
    kind: EntryKind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    content: Content | None = None
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = field(default=(), converter=_sorted_pairs)

    @property
    def size(self) -> int:
        """The length of a file's content in bytes; 0 for everything else."""
        if self.kind is EntryKind.FILE and self.content is not None:
            return self.content.size
        return 0


@frozen
class Arrangement:
    """A layer's entries in their order: all directories, then each source's other entries."""

    directories: tuple[Entry, ...]
    sources: tuple[tuple[Entry, ...], ...]

    def part(self, chosen: Iterable[int], *, rest: bool) -> Arrangement:
        """Return the layer that holds some of the sources alone, by their numbers.

        Parents are there, as in the whole layer. With `rest`, directories that no source has
        anything in are there too.
        """
        sources = tuple(self.sources[number] for number in chosen)
        needed = ancestors(entry.path for source in sources for entry in source)
        if rest:
            held = ancestors(entry.path for source in self.sources for entry in source)
            empty = {entry.path for entry in self.directories} - held
            needed |= empty | ancestors(empty)
        directories = (entry for entry in self.directories if entry.path in needed)
        return Arrangement(tuple(directories), sources)

    def __iter__(self) -> Iterator[Entry]:
        yield from self.directories
        for source in self.sources:
            yield from source


def directory(path: bytes, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Entry:
    """Return a directory entry."""
    return Entry(path, EntryKind.DIRECTORY, mode, uid, gid)


def file(path: bytes, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Entry:
    """Return a file entry with content in memory."""
    return Entry(path, EntryKind.FILE, mode, uid, gid, content=Inline(data))


def symlink(path: bytes, target: bytes, uid: int = 0, gid: int = 0) -> Entry:
    """Return a symbolic link; its mode is 0777, as Linux has it."""
    return Entry(path, EntryKind.SYMLINK, 0o777, uid, gid, target=target)


def safe_path(raw: bytes, *, reroot: bool = False) -> bytes:
    """Return `raw` as an entry's path; empty for the root itself.

    ``.`` and empty components vanish. With `reroot`, a leading ``/`` means the image's root;
    without it, an absolute path is refused. Raises EntryError for a ``..`` component, a NUL,
    a component over 255 bytes or a path over 4,095.
    """
    if raw.startswith(b"/") and not reroot:
        raise EntryError(f"{show(raw)}: an absolute path")
    if b"\0" in raw:
        raise EntryError(f"{show(raw)}: a NUL in a path")
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    for part in parts:
        if part == b"..":
            raise EntryError(f"{show(raw)}: leaves the root through ..")
        if len(part) > MAX_NAME:
            raise EntryError(f"{show(raw)}: a name of {len(part)} bytes; at most {MAX_NAME}")
    path = b"/".join(parts)
    if len(path) > MAX_PATH:
        raise EntryError(f"{show(raw)}: a path of {len(path)} bytes; at most {MAX_PATH}")
    return path


def show(path: bytes) -> str:
    """Return a path as people read it, shortened when it is very long."""
    text = path.decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(text) <= 200:
        return text
    text = redact(text)  # of a secret that was cut, the rest would not be known as one
    return text if len(text) <= 200 else f"{text[:120]}…{text[-60:]}"


def overlay_mark(entry: Entry) -> str:
    """Return what of `entry` an overlay file system takes for its own; empty if nothing.

    The kernel's documentation, "Overlay Filesystem", whiteouts and opaque directories.
    """
    if entry.kind is EntryKind.CHARACTER and entry.device == (0, 0):
        return "the character device 0:0"
    kept = next((name for name, _ in entry.xattrs if name.startswith(_KEPT)), b"")
    return f"the extended attribute {show(kept)}" if kept else ""


def parent(path: bytes) -> bytes:
    """Return the path of the directory that holds `path`; empty for the root."""
    return path.rpartition(b"/")[0]


def ancestors(paths: Iterable[bytes]) -> set[bytes]:
    """Return every directory, short of the root, that `paths` lie in."""
    found: set[bytes] = set()
    for path in paths:
        folder = parent(path)
        while folder and folder not in found:
            found.add(folder)
            folder = parent(folder)
    return found


def arrange(sources: Iterable[Iterable[Entry]], *, mtime: int) -> Arrangement:
    """Put the entries of a layer in their one order, every parent present.

    `sources` are the layer's inputs in the lock's order; every entry gets the time `mtime`.
    Directories come first, by raw path bytes; then each source's other entries, by path. Of
    hard links the first path carries the content; the order within a source does not matter.
    Raises EntryError, naming the path, when two entries claim one path without being the same,
    when a path goes through something that is no directory, for paths that `safe_path` would
    not return, and for what unpackers and overlay file systems take for whiteouts.
    """
    taken: dict[bytes, Entry] = {}
    arranged: list[list[Entry]] = []
    for source in sources:
        others = []
        for given in _link_first_path(source):
            path = given.path
            kind = given.kind
            if (
                not _is_plain(path)
                or kind is EntryKind.SYMLINK
                or kind is EntryKind.CHARACTER
                or given.xattrs
            ):
                _check(path, given)
            entry = given if given.mtime == mtime else _at(given, mtime)
            present = taken.get(path)
            if present is not None:
                if not _same(present, entry):
                    raise EntryError(_collision(present, entry))
                continue
            taken[path] = entry
            if entry.kind is not EntryKind.DIRECTORY:
                others.append(entry)
        others.sort(key=_by_path)
        arranged.append(others)
    _imply_parents(taken, mtime)
    directories = [entry for entry in taken.values() if entry.kind is EntryKind.DIRECTORY]
    directories.sort(key=_by_path)
    return Arrangement(tuple(directories), tuple(map(tuple, arranged)))


def _by_path(entry: Entry) -> bytes:
    return entry.path


def _at(entry: Entry, mtime: int) -> Entry:
    # What `evolve` does, at less than half its cost: every entry of a layer comes by here.
    return Entry(
        entry.path,
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        mtime,
        entry.content,
        entry.target,
        entry.device,
        entry.xattrs,
    )


def _is_plain(path: bytes) -> bool:
    """Tell whether the last name of `path`, its start and its length need no closer look."""
    return (
        _PLAIN_NAME(path, path.rfind(b"/") + 1) is not None
        and path[0] != _SLASH
        and len(path) <= MAX_PATH
    )


def _check(path: bytes, entry: Entry) -> None:
    """Raise EntryError unless the last name of `path` can stand in a layer."""
    name = path[path.rfind(b"/") + 1 :]
    if not path:
        raise EntryError(f"the root as a {_NAMES[entry.kind]}")
    if safe_path(path) != path:
        raise EntryError(f"{show(path)}: expected a path like {show(safe_path(path))}")
    if name.startswith(b".wh."):
        raise EntryError(f"{show(path)}: names that start with .wh. mean deletion in a layer")
    if mark := overlay_mark(entry):
        raise EntryError(f"{show(path)}: {mark}, which may mean deletion to an overlay file system")
    if entry.kind is EntryKind.SYMLINK and (
        not 0 < len(entry.target) <= MAX_PATH or b"\0" in entry.target
    ):
        raise EntryError(
            f"{show(path)}: a symlink to {show(entry.target)!r}; expected 1 to {MAX_PATH} bytes "
            "without a NUL"
        )


def _link_first_path(source: Iterable[Entry]) -> Iterable[Entry]:
    """Give the content of each set of hard links to its first path, and link the others to it."""
    entries: list[Entry] = []
    links: list[Entry] = []
    for entry in source:
        (links if entry.kind is EntryKind.HARDLINK else entries).append(entry)
    return _with_links(entries, _by_file(links)) if links else entries


def _with_links(entries: Iterable[Entry], links: dict[bytes, list[Entry]]) -> Iterator[Entry]:
    for entry in entries:
        group = links.pop(entry.path, None)
        if group is None:
            yield entry
        elif entry.kind is EntryKind.FILE:
            yield from _link_group([entry, *group], entry)
        elif entry.kind is EntryKind.DIRECTORY:
            raise EntryError(
                f"{show(group[0].path)}: a hard link to {show(entry.path)}, a directory"
            )
        else:
            yield from (evolve(entry, path=path) for path in _paths([entry, *group]))
    for target, group in links.items():
        model = min(group, key=_by_path)
        if model.content is None:
            raise EntryError(
                f"{show(model.path)}: a hard link to {show(target)}, which is not there"
            )
        yield from _link_group(group, model)


def _by_file(links: Iterable[Entry]) -> dict[bytes, list[Entry]]:
    """Return the hard links by the path that they lead to in the end: links may link to links."""
    targets = {entry.path: entry.target for entry in links}
    ends: dict[bytes, bytes] = {}
    for entry in links:
        path = entry.path
        trail: dict[bytes, None] = {}
        while path in targets and path not in ends and path not in trail:
            trail[path] = None
            path = targets[path]
        # Links that go round in a circle are one file, if they bring its content.
        end = ends.get(path) or (min(trail) if path in trail else path)
        ends.update(dict.fromkeys(trail, end))
    groups: dict[bytes, list[Entry]] = {}
    for entry in links:
        groups.setdefault(ends[entry.path], []).append(entry)
    return groups


def _link_group(group: Sequence[Entry], model: Entry) -> Iterator[Entry]:
    """Yield one file and links to it; all have `model`'s attributes, as one inode has."""
    first, *rest = _paths(group)
    yield evolve(model, path=first, kind=EntryKind.FILE, target=b"")
    for path in rest:
        yield evolve(model, path=path, kind=EntryKind.HARDLINK, target=first)


def _paths(group: Iterable[Entry]) -> list[bytes]:
    return sorted({entry.path for entry in group})


def _same(one: Entry, other: Entry) -> bool:
    one, other = _alone(one), _alone(other)
    if evolve(one, content=None) != evolve(other, content=None):
        return False
    if one.content is None or other.content is None:
        return one.size == other.size
    return one.content.size == other.content.size and _same_bytes(one.content, other.content)


def _alone(entry: Entry) -> Entry:
    """Return the file that a hard link is, whatever else links to it."""
    if entry.kind is not EntryKind.HARDLINK:
        return entry
    return evolve(entry, kind=EntryKind.FILE, target=b"")


def _same_bytes(one: Content, other: Content) -> bool:
    left, right = _Pieces(one), _Pieces(other)
    while True:
        a, b = left.take(1 << 20), right.take(1 << 20)
        if a != b:
            return False
        if not a:
            return True


class _Pieces:
    """Content re-cut to pieces of a chosen length."""

    def __init__(self, content: Content) -> None:
        self._pieces = content.read()
        self._rest = b""

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes; fewer only at the end."""
        parts, missing = [self._rest], length - len(self._rest)
        while missing > 0 and (piece := next(self._pieces, None)) is not None:
            parts.append(piece)
            missing -= len(piece)
        data = b"".join(parts)
        self._rest = data[length:]
        return data[:length]


def _collision(one: Entry, other: Entry) -> str:
    first, second = _claim(one), _claim(other)
    but = "; what they hold differs" if first == second else ""
    return f"{show(one.path)}: claimed twice, as {first} and as {second}{but}"


def _claim(entry: Entry) -> str:
    entry = _alone(entry)
    name = f"a {_NAMES[entry.kind]}"
    if entry.kind is EntryKind.SYMLINK:
        name += f" to {show(entry.target)}"
    size = f", {entry.size} bytes" if entry.kind is EntryKind.FILE else ""
    return f"{name} (mode {entry.mode:04o}, owner {entry.uid}:{entry.gid}{size})"


def _imply_parents(taken: dict[bytes, Entry], mtime: int) -> None:
    """Add the directories that entries stand in but nobody listed; refuse other parents."""
    checked: set[bytes] = {b""}
    for path in list(taken):
        folder = parent(path)
        while folder not in checked:
            present = taken.get(folder)
            if present is None:
                mode = CUSTOMARY_MODES.get(folder, 0o755)
                made = Entry(folder, EntryKind.DIRECTORY, mode, mtime=mtime)
                _check(folder, made)
                taken[folder] = made
            elif present.kind is not EntryKind.DIRECTORY:
                raise EntryError(
                    f"{show(path)}: goes through {show(folder)}, which is a {_NAMES[present.kind]}"
                )
            checked.add(folder)
            folder = parent(folder)
