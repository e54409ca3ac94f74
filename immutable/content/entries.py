"""A layer's entries, put in the one order and checked for safety.

What an entry is stands in `immutable.content.entry`, whose names can be had from here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attrs import evolve, frozen

from immutable.content.entry import (
    CUSTOMARY_MODES,
    KIND_NAMES,
    MARKS,
    MAX_NAME,
    MAX_PATH,
    Content,
    Entry,
    EntryKind,
    Inline,
    Sets,
    ancestors,
    described,
    directory,
    file,
    has_digest,
    known_digest,
    opaque,
    overlay_mark,
    parent,
    safe_path,
    show,
    symlink,
    whiteout,
)
from immutable.errors import EntryError

__all__ = [
    "CUSTOMARY_MODES",
    "MARKS",
    "MAX_NAME",
    "MAX_PATH",
    "Arrangement",
    "Content",
    "Entry",
    "EntryKind",
    "Inline",
    "Sets",
    "ancestors",
    "arrange",
    "described",
    "directory",
    "file",
    "has_digest",
    "known_digest",
    "opaque",
    "overlay_mark",
    "parent",
    "safe_path",
    "show",
    "symlink",
    "whiteout",
]

_SLASH: Final = b"/"[0]
_PLAIN_NAME: Final = re.compile(rb"(?!\.{0,2}\Z|\.wh\.)[^\0]{1,255}\Z", re.DOTALL).match


@frozen
class Arrangement:
    """A layer's entries in their order: directories and marks, then each source's other entries."""

    directories: tuple[Entry, ...]
    sources: tuple[tuple[Entry, ...], ...]
    marks: tuple[Entry, ...] = ()

    @property
    def head(self) -> tuple[Entry, ...]:
        """All directories, each with the marks in it after it, before all else that is in it.

        layer.md: "implementations SHOULD generate layers such that the whiteout files appear before
        sibling directory entries".
        """
        if not self.marks:
            return self.directories
        marks: dict[bytes, list[Entry]] = {}
        for mark in self.marks:
            marks.setdefault(parent(mark.tar_path), []).append(mark)
        found = marks.pop(b"", [])
        for entry in self.directories:
            found += [entry, *marks.pop(entry.path, ())]
        return tuple(found)

    def part(self, chosen: Iterable[int], *, rest: bool, marks: bool | None = None) -> Arrangement:
        """Return the layer that holds some of the sources alone, by their numbers.

        Parents are there, as in the whole layer. With `rest`, directories that no source has
        anything in are there too; with `marks`, the marks. They belong in the lowest part, as they
        would hide what is in parts under theirs: raises ValueError where nobody says which it is.
        """
        if self.marks and marks is None:
            raise ValueError("expected to be told which part is the lowest, as the layer has marks")
        sources = tuple(self.sources[number] for number in chosen)
        kept = self.marks if marks else ()
        needed = ancestors(entry.path for source in sources for entry in source)
        needed |= ancestors(mark.tar_path for mark in kept)
        if rest:
            held = ancestors(entry.path for source in self.sources for entry in source)
            held |= ancestors(mark.tar_path for mark in self.marks)
            empty = {entry.path for entry in self.directories} - held
            needed |= empty | ancestors(empty)
        directories = (entry for entry in self.directories if entry.path in needed)
        return Arrangement(tuple(directories), sources, kept)

    def __iter__(self) -> Iterator[Entry]:
        yield from self.head
        for source in self.sources:
            yield from source


def arrange(sources: Iterable[Iterable[Entry]], *, mtime: int) -> Arrangement:
    """Put the entries of a layer in their one order, every parent present.

    `sources` are the layer's inputs in the lock's order; every entry gets the time `mtime`.
    Directories come first, by raw path bytes; then each source's other entries, by path. Of
    hard links the first path carries the content; the order within a source does not matter.
    Marks come right after the directory that they stand in, whatever source they are of. It is
    implied if nobody listed it, as all parents are. A mark has no attributes, whatever it brings.
    Raises EntryError, naming the path, when two entries claim one path without being the same,
    when a path goes through something that is no directory, for paths that `safe_path` would
    not return, for what unpackers and overlay file systems would take for marks, and for marks
    that contradict another entry or that another mark makes needless.
    """
    taken: dict[bytes, Entry] = {}
    arranged: list[list[Entry]] = []
    marks: list[Entry] = []
    for source in sources:
        others = []
        for given in _link_first_path(source):
            path = given.path
            kind = given.kind
            if (
                (kind is not EntryKind.FILE and kind is not EntryKind.DIRECTORY)
                or given.xattrs
                or not _is_plain(path)
            ):
                _check(path, given)
                if kind in MARKS:
                    marks.append(Entry(path, kind, 0, mtime=mtime))
                    continue
            entry = given if given.mtime == mtime else _at(given, mtime)
            present = taken.get(path)
            if present is not None:
                if not _same(present, entry):
                    raise EntryError(_collision(present, entry))
                if entry.sets not in present.sets:
                    taken[path] = evolve(present, sets=present.sets | entry.sets)
                continue
            taken[path] = entry
            if entry.kind is not EntryKind.DIRECTORY:
                others.append(entry)
        others.sort(key=_by_path)
        arranged.append(others)
    marked = _add_marks(taken, marks)
    _imply_parents(taken, mtime)
    directories = [entry for entry in taken.values() if entry.kind is EntryKind.DIRECTORY]
    directories.sort(key=_by_path)
    return Arrangement(tuple(directories), tuple(map(tuple, arranged)), marked)


def _add_marks(taken: dict[bytes, Entry], marks: Iterable[Entry]) -> tuple[Entry, ...]:
    """Add marks to what is taken; return each once, by its place in the tar.

    A whiteout takes the path that it hides, so that nothing else goes through it; the mark of an
    opaque directory, which takes its own, only its place.
    """
    found = {mark.tar_path: mark for mark in marks}
    hiding = {mark.path for mark in found.values() if mark.kind is EntryKind.OPAQUE}
    places = sorted(found)
    for place in places:
        mark = found[place]
        if needless := hiding and hiding & ancestors([mark.path]):
            raise EntryError(
                f"{show(mark.path)}: a {KIND_NAMES[mark.kind]} in {show(min(needless))}, which is "
                "opaque: nothing in it is left to hide; leave it out"
            )
        key = mark.path if mark.kind is EntryKind.WHITEOUT else place
        if key in taken:
            raise EntryError(_collision(taken[key], mark))
        taken[key] = mark
    return tuple(found[place] for place in places)


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
        entry.sets,
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
        raise EntryError(f"the root as a {KIND_NAMES[entry.kind]}")
    if entry.kind in MARKS:
        _check_mark(entry)
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


def _check_mark(mark: Entry) -> None:
    place = mark.tar_path
    length = len(place) - place.rfind(b"/") - 1
    if length > MAX_NAME or len(place) > MAX_PATH:
        raise EntryError(
            f"{show(mark.path)}: a {KIND_NAMES[mark.kind]} with a name of {length} bytes in the "
            f"layer, and a path of {len(place)}; expected at most {MAX_NAME} and {MAX_PATH}"
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
        group = None if entry.kind in MARKS else links.pop(entry.path, None)
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
    if evolve(one, content=None, sets=other.sets) != evolve(other, content=None):
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
    name = described(entry.kind, entry.target)
    if entry.kind in MARKS:
        return name
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
                    f"{show(path)}: goes through {show(folder)}, "
                    f"which is a {KIND_NAMES[present.kind]}"
                )
            checked.add(folder)
            folder = parent(folder)
