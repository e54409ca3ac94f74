"""Where a package's paths come to lie: directories that are links to others.

Since bookworm ``/bin``, ``/sbin`` and ``/lib*`` are links into ``/usr`` (merged ``/usr``), and
``/var/run`` and ``/var/lock`` are links into ``/run``. dpkg writes through such links; a layer must
not, because a directory in it would take the link's place. So what packages ship below them is put
where the links lead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from attrs import evolve, field, frozen

from immutable.content.entries import Entry, EntryKind, parent, show, symlink
from immutable.errors import EntryError

_MERGED: Final = tuple(
    (name, b"usr/" + name)
    for name in (b"bin", b"sbin", b"lib", b"lib32", b"lib64", b"libo32", b"libx32")
)
_RUN: Final = ((b"var/run", b"/run"), (b"var/lock", b"/run/lock"))
# Those that every system has; the others are there where a package has something for them.
_ALWAYS: Final = frozenset({b"bin", b"sbin", b"lib"})

# Releases that debootstrap and Debian's own images set up with /bin beside /usr/bin.
_UNMERGED_SUITES: Final = frozenset(
    {"bullseye", "buster", "etch", "jessie", "lenny", "sarge", "squeeze", "stretch", "wheezy"}
)


def is_merged(suite: str) -> bool:
    """Tell whether systems of `suite` have a merged ``/usr``: bookworm and all later ones do."""
    return suite.partition("-")[0] not in _UNMERGED_SUITES


@frozen
class Places:
    """The directories that are links, each as (path, link text)."""

    links: tuple[tuple[bytes, bytes], ...]
    _targets: Mapping[bytes, bytes] = field(init=False, repr=False, eq=False)

    @_targets.default
    def _make_targets(self) -> Mapping[bytes, bytes]:
        return MappingProxyType({path: text.lstrip(b"/") for path, text in self.links})

    @classmethod
    def of(cls, *, merged: bool) -> Places:
        """Return the places of a system with or without a merged ``/usr``."""
        return cls((_MERGED if merged else ()) + _RUN)

    def __call__(self, path: bytes) -> bytes:
        """Return where `path` comes to lie; a link itself lies where its target does."""
        top = self._link_of(path)
        return self._targets[top] + path[len(top) :] if top else path

    def entry(self, entry: Entry) -> Entry:
        """Return `entry` at its place, links of it leading to where they led before.

        Raises EntryError for what would take the place of one of the links.
        """
        if entry.path in self._targets and entry.kind is not EntryKind.DIRECTORY:
            self._expect_link(entry)
            return entry  # the very link, as base-files has it since trixie
        if entry.kind is EntryKind.SYMLINK:
            return evolve(entry, path=self(entry.path), target=self._retarget(entry))
        if entry.kind is EntryKind.HARDLINK:
            return evolve(entry, path=self(entry.path), target=self(entry.target))
        place = self(entry.path)
        return entry if place == entry.path else evolve(entry, path=place)

    def _expect_link(self, entry: Entry) -> None:
        expected = self._targets[entry.path]
        found = f"a {entry.kind.name.lower()}"
        if entry.kind is EntryKind.SYMLINK:
            folder = b"" if entry.target.startswith(b"/") else parent(entry.path)
            if _joined(folder, entry.target) == expected:
                return
            found = f"one to {show(entry.target)}"
        raise EntryError(
            f"/{show(entry.path)}: expected a directory or the link to /{show(expected)}, "
            f"found {found}"
        )

    def needed(self, shipped: Iterable[bytes], *, first: bool) -> Iterator[Entry]:
        """Yield the links that the paths `shipped`, as packages name them, ask for.

        One is asked for by what goes through it and, as loaders look there, by what lies where
        it leads. The `first` layer of a system gets those that every system has; a later one has
        no say in them unless its packages go through them.
        """
        paths = tuple(shipped)
        through = self.passed(paths)
        targets = {b"/".join(path.split(b"/", 2)[:2]) for path in paths}
        for path, text in self.links:
            wanted = first if path in _ALWAYS else text in targets
            if path in through or wanted:
                yield symlink(path, text)

    def passed(self, shipped: Iterable[bytes]) -> set[bytes]:
        """Return the paths of the links that the paths `shipped` go through."""
        return {self._link_of(path) for path in shipped} - {b""}

    def _link_of(self, path: bytes) -> bytes:
        """Return the link that `path` is or goes through; empty for none."""
        first, slash, rest = path.partition(b"/")
        if first in self._targets:
            return first
        if first == b"var" and slash:
            two = first + b"/" + rest.partition(b"/")[0]
            if two in self._targets:
                return two
        return b""

    def _retarget(self, entry: Entry) -> bytes:
        """Return the text of a link that came to lie elsewhere.

        From ``/lib/x``, ``../usr/share/y`` leads to ``/usr/share/y``; from ``/usr/lib/x`` it would
        not.
        """
        top = self._link_of(entry.path)
        if not top or entry.target.startswith(b"/"):
            return entry.target
        destination = _joined(parent(entry.path), entry.target)
        if destination == top or destination.startswith(top + b"/"):
            return entry.target
        return _relative(self(destination), parent(self(entry.path)))


def _joined(folder: bytes, text: bytes) -> bytes:
    """Return the path that a relative link's `text` means in `folder`."""
    names = folder.split(b"/") if folder else []
    for name in text.split(b"/"):
        if name == b"..":
            names = names[:-1]
        elif name not in (b"", b"."):
            names.append(name)
    return b"/".join(names)


def _relative(path: bytes, folder: bytes) -> bytes:
    """Return the shortest relative link text that leads from `folder` to `path`."""
    there, here = path.split(b"/"), folder.split(b"/")
    common = 0
    while common < min(len(there), len(here)) and there[common] == here[common]:
        common += 1
    return b"/".join([b".."] * (len(here) - common) + there[common:]) or b"."
