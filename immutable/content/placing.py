"""Placing a layer's entries on the root file system beneath.

A layer is written as if its files were copied into a system that runs: through links, past
directories that stay as they are. What it removes is gone before that. What placing needs to know
of what is beneath is asked beforehand, and it looks at nothing but the answers: so they tell
whether a layer comes out the same over another root file system.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, Self, TypeAlias

from attrs import evolve, field, frozen

from immutable.content.entries import (
    CUSTOMARY_MODES,
    MAX_NAME,
    MAX_PATH,
    Arrangement,
    Entry,
    EntryKind,
    Sets,
    ancestors,
    arrange,
    described,
    opaque,
    parent,
    show,
    whiteout,
)
from immutable.content.recorder import Recorder
from immutable.content.rootfs import Found, Rootfs
from immutable.errors import EntryError
from immutable.oci.canonical import JSON, text

_DIRECTORY: Final = EntryKind.DIRECTORY
_FEW: Final = 3  # links that a message names
_AS: Final = {EntryKind.HARDLINK: EntryKind.FILE}
_Attributes: TypeAlias = tuple[int, int, int, tuple[tuple[bytes, bytes], ...]]
_NO_NAMES: Final = frozenset({b"", b".", b".."})
MOST_PATHS: Final = 512 << 20  # bytes of a footprint's paths


@frozen
class Footprint:
    """The paths that a layer's entries go to, before it is known where these lead.

    `directories` hold each other, the `others` and what is `removed` beneath; all are sorted. What
    is removed goes through no link, and none of it is in other such.
    """

    directories: tuple[bytes, ...] = ()
    others: tuple[bytes, ...] = ()
    removed: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, arrangement: Arrangement, removed: Iterable[bytes] = ()) -> Self:
        """Return the footprint of a layer's entries, and of what the layer removes."""
        others = (entry.path for source in arrangement.sources for entry in source)
        gone = set(removed)
        gone = {path for path in gone if not ancestors([path]) & gone}
        directories = {entry.path for entry in arrangement.directories} | ancestors(gone)
        return cls(tuple(sorted(directories)), tuple(sorted(others)), tuple(sorted(gone)))

    def encode(self) -> bytes:
        """Return it as bytes; those of a path hold no NUL."""
        parts = (self.directories, self.others, self.removed)
        return zlib.compress(b"\0\0".join(map(b"\0".join, parts)), 1)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return what `encode` wrote; raise ValueError for anything else.

        More than 512 MiB of paths are refused, those that no layer could have too.
        """
        inflating = zlib.decompressobj()
        try:
            joined = inflating.decompress(data, MOST_PATHS + 1)
        except zlib.error as error:
            raise ValueError(f"no footprint: {error}") from None
        if len(joined) > MOST_PATHS:
            raise ValueError(f"no footprint: expected at most {MOST_PATHS} bytes of paths")
        if not inflating.eof or inflating.unused_data:
            raise ValueError("no footprint: expected one stream of zlib's, and its end")
        parts = joined.split(b"\0\0")
        if len(parts) != 3:
            raise ValueError("no footprint: expected directories, others and what is removed")
        found = cls(*map(_split, parts))
        folders = {b"", *found.directories}
        _expect_paths(found.directories, folders)
        _expect_paths(found.others, folders)
        _expect_paths(found.removed, folders)
        return found


def _split(joined: bytes) -> tuple[bytes, ...]:
    return tuple(joined.split(b"\0")) if joined else ()


def _expect_paths(paths: Sequence[bytes], folders: Container[bytes]) -> None:
    """Raise ValueError unless `paths` are sorted ones of a layer, each in one of `folders`."""
    before = b""
    for path in paths:
        # What it lies in is one of these paths too, so that all its names come by here.
        folder, _, name = path.rpartition(b"/")
        if folder not in folders:
            raise ValueError(f"no footprint: {show(path)} is in no directory of it")
        if (
            name in _NO_NAMES
            or len(name) > MAX_NAME
            or len(path) > MAX_PATH
            or path.startswith(b"/")
        ):
            raise ValueError(f"no footprint: {show(path)} is no path of a layer")
        if path <= before:
            raise ValueError(f"no footprint: {show(path)} comes after {show(before)}")
        before = path


@frozen(order=False)
class Standing:
    """What stands in a layer's way, or is passed through: only a directory has attributes here.

    One that a layer brings without an entry is root's, with the mode that is usual.
    """

    kind: EntryKind
    attributes: _Attributes = (0, 0, 0, ())
    target: bytes = field(default=b"", eq=False)  # of a link, for messages

    @classmethod
    def of(cls, found: Found) -> Self:
        """Return what was found, as far as placing asks."""
        inode = found.inode
        if inode.kind is not _DIRECTORY:
            return cls(inode.kind, target=inode.target)
        mode = inode.mode if found.layer is not None else CUSTOMARY_MODES.get(found.path, 0o755)
        return cls(_DIRECTORY, (mode, inode.uid, inode.gid, inode.xattrs))

    def row(self, path: bytes) -> list[JSON]:
        """Return it as a value of canonical JSON."""
        row: list[JSON] = [text(path), self.kind.name.lower()]
        if self.kind is _DIRECTORY:
            mode, uid, gid, xattrs = self.attributes
            row += [mode, uid, gid, [[text(name), text(value)] for name, value in xattrs]]
        return row


@frozen
class Ground:
    """What a footprint meets in the root file system beneath.

    `leads` has, of its directories that are links beneath, where these lead. `there` has what
    stands at the paths that a layer goes to, links followed; of what is not in it, nothing is
    there, nor below. `removed` has the kind of what is taken away, which is in neither of them.
    """

    leads: Mapping[bytes, bytes] = field(factory=dict)
    there: Mapping[bytes, Standing] = field(factory=dict)
    removed: Mapping[bytes, EntryKind] = field(factory=dict)

    def rows(self) -> list[JSON]:
        """Return it as values of canonical JSON; none where nothing is there."""
        leads: list[JSON] = [[text(path), "leads", text(to)] for path, to in self.leads.items()]
        there: list[JSON] = [
            standing.row(path) for path, standing in sorted(self.there.items(), key=_path)
        ]
        removed: list[JSON] = [
            [text(path), "removed", kind.name.lower()] for path, kind in self.removed.items()
        ]
        return leads + there + removed


def _path(item: tuple[bytes, Standing]) -> bytes:
    return item[0]


def ground(
    footprint: Footprint, rootfs: Rootfs, homes: Mapping[bytes, Standing] | None = None
) -> Ground:
    """Return what `footprint` meets in `rootfs`.

    `homes` are directories that will be there: one that nothing is at yet is met as if it were.
    Raises EntryError for a path that leads through a link which the layer itself replaces.
    """
    found_removed = ((path, rootfs.find(path)) for path in footprint.removed)
    removed = {path: found.inode.kind for path, found in found_removed if found is not None}
    if removed:
        rootfs = _without(removed, rootfs)
    leads: dict[bytes, bytes] = {}
    there: dict[bytes, Standing] = {}
    # Where each directory that is there leads; what is in others is not there either.
    places = {b"": b""}
    links: dict[bytes, bytes] = {}  # of those that lead somewhere, where they are
    for path in footprint.directories:
        folder, _, name = path.rpartition(b"/")
        above = places.get(folder)
        if above is None:
            continue
        place = _joined(above, name)
        found = rootfs.find(place)
        if found is None:
            continue
        if found.inode.kind is EntryKind.SYMLINK:
            resolved = rootfs.lead(place)
            if resolved is not None and _is_free(resolved.path, rootfs):
                leads[path] = places[path] = resolved.path
                links[place] = resolved.path
                on_the_way = _on_the_way(resolved.path, rootfs)
                there.update((one.path, Standing.of(one)) for one in on_the_way)
                continue
        there[place] = Standing.of(found)
        if found.inode.is_directory:
            places[path] = place
    for path, home in (homes or {}).items():
        at = bisect_left(footprint.directories, path)
        if footprint.directories[at : at + 1] == (path,):
            resolved = rootfs.lead(path)
            if resolved is not None and resolved.found is None:
                there[resolved.path] = home
    new: list[bytes] = []  # links beneath whose place the layer takes
    for path in footprint.others:
        folder, _, name = path.rpartition(b"/")
        above = places.get(folder)
        if above is not None and (found := rootfs.find(_joined(above, name))) is not None:
            there[found.path] = Standing.of(found)
            if found.inode.kind is EntryKind.SYMLINK:
                new.append(found.path)
    if links and new:
        _expect_same(links, _without(new, rootfs))
    return Ground(leads, there, removed)


def _expect_same(links: Mapping[bytes, bytes], rootfs: Rootfs) -> None:
    """Raise EntryError unless `links` lead to the same without those that a layer replaces."""
    for path, to in links.items():
        resolved = rootfs.lead(path)
        if resolved is None or resolved.path != to:
            raise EntryError(
                f"/{show(path)}: leads to /{show(to)} through a link that this layer replaces; "
                "write the path that it is to lead to"
            )


def _without(removed: Iterable[bytes], rootfs: Rootfs) -> Rootfs:
    """Return what `rootfs` is once these paths are gone."""
    recorder = Recorder("removed")
    for path in removed:
        recorder.add(whiteout(path))
    return Rootfs([*rootfs.layers, recorder.contents()])


def _is_free(path: bytes, rootfs: Rootfs) -> bool:
    """Whether a directory can be at `path`: all that there is on the way is one."""
    return all(found.inode.is_directory for found in _on_the_way(path, rootfs))


def _on_the_way(path: bytes, rootfs: Rootfs) -> Iterator[Found]:
    """Yield what there is at `path` and at all that it lies in."""
    at = path
    while at:
        if (found := rootfs.find(at)) is not None:
            yield found
        at = parent(at)


def place(
    arrangement: Arrangement,
    on: Ground,
    *,
    mtime: int,
    replace: bool = False,
    instead: str = "leave it out",
) -> Arrangement:
    """Return the entries where they lead to, over what is beneath as `on` tells.

    A directory that is there beneath stays as it is, but for what the entry sets. What is removed
    gets whiteouts; in the place of it the layer may have anything, and of a directory there only
    the layer's own is left. Raises EntryError, naming the path, for what would hide something of
    another kind, unless it is to `replace` that, and where two entries come to one path; `instead`
    is what people are told to do.
    """
    if not on.there and not on.leads and not on.removed:
        return arrangement
    if on.leads or on.removed:
        arrangement = _moved(arrangement, on, mtime)
    if not replace:
        for entry in chain(arrangement.directories, *arrangement.sources):
            _check(entry, on.there.get(entry.path), instead)
    directories = tuple(_passing(entry, on) for entry in arrangement.directories)
    return evolve(arrangement, directories=directories)


def _moved(arrangement: Arrangement, on: Ground, mtime: int) -> Arrangement:
    """Return the entries at the paths that links beneath lead to, and marks for what is removed."""
    places = {b"": b""}
    directories = []
    for entry in arrangement.directories:
        path = entry.path
        place = on.leads[path] if path in on.leads else _placed(path, places)
        places[path] = place
        if place:
            directories.append(evolve(entry, path=place))
        elif entry.sets:
            raise EntryError(f"/{show(path)}: leads to the root, which no layer can change")
    directories = _agreed(directories, on)
    sources = [[_at(entry, places) for entry in source] for source in arrangement.sources]
    marks = [_at(mark, places) for mark in arrangement.marks]
    folders = {entry.path for entry in directories}
    folders |= ancestors(folders)
    taken = {entry.path for source in sources for entry in source}
    marks += _removing(on.removed, folders, taken)
    try:
        moved = arrange([*sources, [*directories, *marks]], mtime=mtime)
    except EntryError as error:
        # By their own paths all was well.
        leads = [f"/{show(path)} leads to /{show(to)}" for path, to in on.leads.items()]
        if not leads:
            raise
        more = ", and more" if len(leads) > _FEW else ""
        raise EntryError(f"{error}; beneath, {', '.join(leads[:_FEW])}{more}") from None
    return evolve(moved, sources=moved.sources[:-1])


def _agreed(directories: Iterable[Entry], on: Ground) -> list[Entry]:
    """Return directories, of which several may come to one place, as they come out there.

    What any of them sets of one that is there beneath is so for all; what two set otherwise stays,
    and they do not agree.
    """
    directories = list(directories)
    there = {
        path: standing.attributes
        for path, standing in on.there.items()
        if standing.kind is _DIRECTORY
    }
    for entry in directories:
        if entry.path in there:
            made = _over(entry, there[entry.path])
            there[entry.path] = (made.mode, made.uid, made.gid, made.xattrs)
    return [_over(one, there[one.path]) if one.path in there else one for one in directories]


def _removing(
    removed: Mapping[bytes, EntryKind], folders: set[bytes], taken: set[bytes]
) -> Iterator[Entry]:
    """Yield marks for what is removed, unless what the layer has in its place hides it."""
    for path, kind in removed.items():
        if path not in folders:
            if taken.isdisjoint((path, *ancestors([path]))):
                yield whiteout(path)
        elif kind is _DIRECTORY:
            yield opaque(path)


def _at(entry: Entry, places: Mapping[bytes, bytes]) -> Entry:
    opaque = entry.kind is EntryKind.OPAQUE  # its path is a directory's
    path = places[entry.path] if opaque else _placed(entry.path, places)
    target = entry.target
    if entry.kind is EntryKind.HARDLINK:
        target = _placed(target, places)
    if path == entry.path and target == entry.target:
        return entry
    return evolve(entry, path=path, target=target)


def _placed(path: bytes, places: Mapping[bytes, bytes]) -> bytes:
    folder, _, name = path.rpartition(b"/")
    return _joined(places[folder], name)


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _passing(entry: Entry, on: Ground) -> Entry:
    """Return a directory as it comes out where one may be at its place."""
    standing = on.there.get(entry.path)
    if standing is None or standing.kind is not _DIRECTORY:
        return entry
    return _over(entry, standing.attributes)


def _over(entry: Entry, attributes: _Attributes) -> Entry:
    """Return a directory that is there with these attributes, but for what it sets."""
    mode, uid, gid, xattrs = attributes
    if Sets.MODE in entry.sets:
        mode = entry.mode
    if Sets.OWNER in entry.sets:
        uid, gid = entry.uid, entry.gid
    if Sets.XATTRS in entry.sets:
        xattrs = entry.xattrs
    return evolve(entry, mode=mode, uid=uid, gid=gid, xattrs=xattrs)


def _check(entry: Entry, standing: Standing | None, instead: str) -> None:
    """Raise EntryError where an entry would hide something of another kind."""
    if standing is not None and standing.kind is not _AS.get(entry.kind, entry.kind):
        raise EntryError(
            f"/{show(entry.path)}: {described(entry.kind)} would hide "
            f"{described(standing.kind, standing.target)} of a lower layer; {instead}"
        )
