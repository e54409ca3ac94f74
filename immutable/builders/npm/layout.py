"""Where packages' files go: folders, commands and links, as npm leaves them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from immutable.builders.npm.package import File, Files
from immutable.content.entries import Entry, EntryKind, directory, file, parent, safe_path, symlink
from immutable.errors import ArchiveError
from immutable.sources.npm import hidden
from immutable.sources.npm.lockfile import LockedPackage
from immutable.sources.npm.selection import Selection

_MODULES = "node_modules"
HIDDEN = f"{_MODULES}/.package-lock.json"


@frozen
class Command:
    """A link in a ``.bin`` folder to a file of a package; all are paths within the project.

    `linked` says that the package is a link to a folder, whose files are not known here.
    """

    path: str
    folder: str
    file: str
    linked: bool

    def plain(self) -> list[Any]:
        """Return it as plain values."""
        return [self.path, self.folder, self.file, self.linked]


def commands(selection: Selection, packages: Mapping[str, LockedPackage]) -> tuple[Command, ...]:
    """Return the commands of what is installed; of equal names in one folder, the first counts.

    Arborist's "rebuild" and bin-links: packages before links, flat ones before nested ones, each
    by path.
    """
    installed = {p.location: p for p in (*selection.packages, *selection.bundled)}
    links = {p.location: packages[p.link] for p in selection.links if p.link}
    found: dict[str, Command] = {}
    for group, linked in ((installed, False), (links, True)):
        for location in hidden.ordered(group):
            folder = location[: location.rindex(_MODULES) + len(_MODULES)]
            for name, path in group[location].bins:
                place = f"{folder}/.bin/{name}"
                found.setdefault(place, Command(place, location, path, linked))
    return tuple(found.values())


@frozen
class Placement:
    """Where a package goes: its location, and which of the layer's sources it is."""

    location: str
    source: int


@define
class Layout:
    """Turns packages' files into the layer's entries, within `target`, for one owner."""

    target: bytes
    uid: int
    gid: int
    _folders: set[bytes] = field(factory=set)

    def entries(
        self,
        places: Sequence[Placement],
        unpacked: Sequence[Files],
        commands: Iterable[Command],
        links: Iterable[tuple[str, str]],
        text: bytes,
        bundled: Iterable[LockedPackage] = (),
    ) -> list[list[Entry]]:
        """Return the entries of each source, then those that belong to no single one.

        `text` is npm's own lockfile of the tree. Raises ArchiveError for a package of `bundled`
        that the archive it comes with does not hold.
        """
        files = {place.location: dict(unpacked[place.source]) for place in places}
        _clear_nested(files)
        _check_bundled(bundled, files)
        made = list(self._linked(commands, files))
        sources: list[list[Entry]] = [[] for _ in unpacked]
        for place in places:
            sources[place.source] += self._package(place.location, files[place.location])
        made += [
            symlink(self._at(location.encode()), target.encode(), self.uid, self.gid)
            for location, target in links
        ]
        if text:
            made.append(file(self._at(HIDDEN.encode()), text, 0o644, self.uid, self.gid))
        self._note(entry.path for entry in made)
        folders = [directory(path, 0o755, self.uid, self.gid) for path in sorted(self._folders)]
        return [*sources, [*folders, *made]]

    def _at(self, path: bytes) -> bytes:
        return b"/".join(filter(None, (self.target, path)))

    def _note(self, paths: Iterable[bytes]) -> None:
        """Remember the folders, from the target on, that `paths` lie in."""
        for path in paths:
            folder = parent(path)
            while len(folder) > len(self.target) and folder not in self._folders:
                self._folders.add(folder)
                folder = parent(folder)

    def _package(self, location: str, files: Files) -> Iterator[Entry]:
        base = self._at(location.encode())
        self._note([base + b"/file"])
        for path, one in files.items():
            whole = safe_path(base + b"/" + path)
            self._note([whole])
            yield Entry(whole, EntryKind.FILE, one.mode, self.uid, self.gid, content=one.content)

    def _linked(
        self, commands: Iterable[Command], files: dict[str, dict[bytes, File]]
    ) -> Iterator[Entry]:
        """Yield the links of commands whose file is there, and make those files executable."""
        holders = _Holders(files)
        for command in commands:
            path = f"{command.folder}/{command.file}"
            if not command.linked:
                holder = holders.find(path)
                if holder is None:
                    continue
                holder.make_command()
            holders.remove(command.path)
            text = relative(path, posixpath.dirname(command.path))
            yield symlink(self._at(command.path.encode()), text.encode(), self.uid, self.gid)


@frozen
class _Holder:
    """A file of a package that is unpacked; without `path`, a folder."""

    files: dict[bytes, File]
    path: bytes

    def make_command(self) -> None:
        if self.path in self.files:
            self.files[self.path] = self.files[self.path].as_command()


@frozen
class _Holders:
    """Finds which unpacked package holds a path: a bundled one's files are another's."""

    files: dict[str, dict[bytes, File]]

    def find(self, path: str) -> _Holder | None:
        for location, rest in _splits(path):
            if location in self.files:
                inner, held = rest.encode(), self.files[location]
                inside = inner + b"/"
                there = inner in held or any(one.startswith(inside) for one in held)
                return _Holder(held, inner) if there else None
        return None

    def remove(self, path: str) -> None:
        """Take away a file that an archive has where a command's link goes."""
        for location, rest in _splits(path):
            if location in self.files:
                self.files[location].pop(rest.encode(), None)


def relative(path: str, folder: str) -> str:
    """Return what a link in `folder` says to lead to `path`; both are within the project.

    `path` may begin with ``..``, to lead out of it.
    """
    # Any place that is deep enough: relpath would otherwise ask for this process's folder.
    project = "/-" * (path.count("../") + 1)
    return posixpath.relpath(f"{project}/{path}", f"{project}/{folder}")


def _splits(path: str) -> Iterator[tuple[str, str]]:
    """Yield (folder, rest) for each folder that `path` lies in, the nearest first."""
    at = len(path)
    while (at := path.rfind("/", 0, at)) > 0:
        yield path[:at], path[at + 1 :]


def _check_bundled(bundled: Iterable[LockedPackage], files: dict[str, dict[bytes, File]]) -> None:
    holders = _Holders(files)
    for package in bundled:
        if holders.find(f"{package.location}/package.json") is None:
            raise ArchiveError(
                f"{package.location}: expected {package.label} in the archive of the package that "
                "it is bundled with, as the lockfile says; found nothing there"
            )


def _clear_nested(files: dict[str, dict[bytes, File]]) -> None:
    """Take out of archives what they hold where another package is installed."""
    for location in files:
        for above, rest in _splits(location):
            held = files.get(above)
            if held:
                prefix = rest.encode() + b"/"
                for path in [path for path in held if path.startswith(prefix)]:
                    del held[path]
