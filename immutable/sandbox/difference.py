"""What becomes of what a command changed: the entries of a layer.

An overlay's upper directory has more than changes: files that were only opened for writing, mount
points, directories that were removed and made again as they were. What is left here depends on
nothing but what is beneath and what the command left behind, not on how it got there:

- What equals what is beneath (kind, mode, owner, xattrs, link, bytes) is no change. Times are none
  either, as every entry gets the layer's. Nor is what a file is hard-linked with: copying up breaks
  hard links, and none crosses layers. Names of one file that all are changes stay hard links.
- A file of which only the mode, the owner, an xattr or a capability is another comes whole.
- A whiteout hides something beneath, or it is none. A directory that was made anew has a mark only
  where nothing that is beneath has its name back; else what is gone from it has whiteouts.

It is chosen in this order. First goes what is at or below `/proc`, `/sys`, `/dev`, `/tmp`, `/run`
and mounts, and new directories that only lead to these. Of the changes, those are taken that a
`keep` matches (all, if there is none) and no `drop` does; a whiteout's path is that of what it
hides, and where it is not taken, what is beneath stays. Of these, known residue is left out:
`immutable.sandbox.residue`. Directories on the way to what is taken come with it: those that are
beneath as they are there, new ones as the command made them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, Final, Protocol

from attrs import define, evolve, field, frozen

from immutable.content.contents import Inode
from immutable.content.entries import (
    Content,
    Entry,
    EntryKind,
    Inline,
    Sets,
    ancestors,
    described,
    directory,
    opaque,
    parent,
    show,
    whiteout,
)
from immutable.content.globs import compile_globs
from immutable.content.rootfs import Found
from immutable.errors import EntryError
from immutable.oci.digest import Digest
from immutable.sandbox import residue
from immutable.sandbox.upper import Spooled, Upper, read_upper

__all__ = ["Beneath", "Difference", "LeftOut", "changes"]

_ALL: Final = Sets.MODE | Sets.OWNER | Sets.XATTRS
_FILES: Final = (EntryKind.FILE, EntryKind.HARDLINK)
_REFUSED: Final = (EntryKind.FIFO, EntryKind.CHARACTER, EntryKind.BLOCK)
_SMALL: Final = 64  # bytes of an id
_EMPTY: Final = Spooled(Inline(b""), Digest.of(b""))


class Beneath(Protocol):
    """What the command ran over; `immutable.content.rootfs.Rootfs` is one."""

    def find(self, path: bytes) -> Found | None:
        """Return what stands at the plain `path`; None if nothing, or if it goes through a link."""

    def names(self, path: bytes) -> Sequence[bytes]:
        """Return the sorted names in the directory at the plain `path`; none if it is none."""


@frozen
class LeftOut:
    """A file that the command made or changed and that is in no layer, and why."""

    path: bytes
    why: str


@frozen
class Difference:
    """The entries of a layer, sorted by path, parents included; what was left out of them.

    Files, and hard links, have contents that know their `digest`. Their paths go through no link
    beneath: what a layer is to hide of another kind was there on purpose.
    """

    entries: tuple[Entry, ...]
    left_out: tuple[LeftOut, ...] = ()


def changes(
    tar: BinaryIO,
    beneath: Beneath,
    *,
    scratch: BinaryIO,
    mtime: int,
    keep: Sequence[str] = (),
    drop: Sequence[str] = (),
    mounts: Iterable[str] = (),
) -> Difference:
    """Return what of `tar`, the uncompressed layer tar of one run, is to be a layer.

    `mounts` are absolute paths of what was mounted for the run: caches and inputs. Contents are
    kept in `scratch`, a real file that must stay open as long as one is read; the tar may go.
    Raises ArchiveError for a damaged tar, ValueError for a glob that cannot be understood, and
    EntryError for a FIFO or a device that is not dropped: a layer could bring one, but a command
    that leaves one had a program of its own in mind, which runs no longer. (A socket cannot stand
    in a tar, and nobody listens at it: whoever writes the tar passes over it.)
    """
    upper = read_upper(tar, scratch)
    kept = compile_globs(keep) if keep else _everything
    dropped = compile_globs(drop)
    mounted = {path.strip("/").encode("utf-8", "surrogateescape") for path in mounts} - {b""}
    never = residue.MOUNTED | mounted

    def wanted(path: bytes) -> bool:
        return path not in never and kept(path) and not dropped(path)

    comparison = _Comparison(upper, beneath, wanted, never)
    comparison.walk()
    found = comparison.found
    _forget_stubs(found, upper, beneath, ancestors(mounted))
    _add_parents(found, upper, beneath)
    linked = _linked(found)
    entries = (evolve(entry, mtime=mtime) for entry in linked)
    left_out = sorted(comparison.left_out.items())
    return Difference(
        tuple(sorted(entries, key=_tar_path)), tuple(LeftOut(path, why) for path, why in left_out)
    )


def _everything(_path: bytes) -> bool:
    return True


def _tar_path(entry: Entry) -> bytes:
    return entry.tar_path


class _Lower(enum.Enum):
    """How a directory of the run lies over what is beneath."""

    NOTHING = enum.auto()  # there is none, or nothing of it is left
    MERGED = enum.auto()
    HIDDEN = enum.auto()  # what is in it was made anew, some of it with names from beneath


@define
class _Comparison:
    """Walks what the run left, and finds what is a change."""

    upper: Upper
    beneath: Beneath
    wanted: Callable[[bytes], bool]
    never: frozenset[bytes]
    found: dict[bytes, Entry] = field(factory=dict)  # by their places in a tar
    left_out: dict[bytes, str] = field(factory=dict)

    def walk(self) -> None:
        root = _Lower.MERGED
        if b"" in self.upper.opaque:  # engines differ on a mark there, so there is never one
            root = self._made_anew(b"")
        todo = [(b"", root)]
        while todo:
            folder, lower = todo.pop()
            if lower is _Lower.MERGED:
                self._white_out(folder, self.upper.whiteouts.get(folder, ()))
            for name in self.upper.names.get(folder, ()):
                path = _joined(folder, name)
                if path in self.never:
                    continue
                entry = self.upper.entries.get(path)
                inode = None if lower is _Lower.NOTHING else self._inode(path)
                if entry is None or entry.kind is EntryKind.DIRECTORY:
                    todo.append((path, self._directory(path, entry, inode, lower)))
                else:
                    self._other(path, entry, inode)

    def _inode(self, path: bytes) -> Inode | None:
        found = self.beneath.find(path)
        return None if found is None else found.inode

    def _add(self, entry: Entry) -> None:
        self.found[entry.tar_path] = entry

    def _other(self, path: bytes, entry: Entry, inode: Inode | None) -> None:
        entry = _without_id(entry)
        if inode is not None and _equal(entry, inode):
            return
        if not self.wanted(path):
            return
        if why := self._residue(path, entry):
            self.left_out[path] = why
            return
        if entry.kind in _REFUSED:
            raise EntryError(
                f"/{show(path)}: expected files, directories and links, found "
                f"{described(entry.kind)} that the command left; let it remove that, or say "
                f'drop = ["/{show(path)}"]'
            )
        self._add(entry)

    def _residue(self, path: bytes, entry: Entry) -> str:
        if entry.kind in _FILES:
            return residue.reason(path)
        if entry.kind is EntryKind.SYMLINK and entry.target.rpartition(b"/")[2] == residue.SNAKEOIL:
            target = entry.target if b"/" in entry.target else _joined(parent(path), entry.target)
            return residue.reason(target.lstrip(b"/"))
        return ""

    def _directory(
        self, path: bytes, entry: Entry | None, inode: Inode | None, lower: _Lower
    ) -> _Lower:
        """Add a directory if it is a change; return how it lies over what is beneath."""
        implied = entry is None
        entry = entry or directory(path)
        if inode is None or inode.kind is not EntryKind.DIRECTORY:
            if self.wanted(path):
                self._add(evolve(entry, sets=_ALL))
            return _Lower.NOTHING
        passed = implied and lower is _Lower.MERGED
        if not passed and not _equal(entry, inode) and self.wanted(path):
            self._add(evolve(entry, sets=_ALL))
        if lower is _Lower.HIDDEN or path in self.upper.opaque:
            return self._made_anew(path)
        return _Lower.MERGED

    def _made_anew(self, path: bytes) -> _Lower:
        """Hide what is in a directory beneath and has no name in it any more."""
        there = self.beneath.names(path)
        gone = sorted(set(there).difference(self.upper.names.get(path, ())))
        hides = all(self.wanted(_joined(path, name)) for name in gone)
        if path and gone and len(gone) == len(there) and hides:
            self._add(opaque(path))
            return _Lower.NOTHING
        self._white_out(path, gone)
        return _Lower.HIDDEN

    def _white_out(self, folder: bytes, names: Iterable[bytes]) -> None:
        # What has its name back hides what was there anyway.
        for name in set(names).difference(self.upper.names.get(folder, ())):
            path = _joined(folder, name)
            if self.wanted(path) and self._inode(path) is not None:
                self._add(whiteout(path))


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _without_id(entry: Entry) -> Entry:
    content = entry.content
    if entry.kind not in _FILES or content is None or not 0 < content.size <= _SMALL:
        return entry
    if residue.emptied(entry.path, b"".join(content.read())):
        return evolve(entry, kind=EntryKind.FILE, target=b"", content=_EMPTY)
    return entry


def _equal(entry: Entry, inode: Inode) -> bool:
    """Tell whether `entry` is what is beneath, whatever it is linked with and whenever made."""
    is_file = entry.kind in _FILES
    kind = EntryKind.FILE if is_file else entry.kind
    if (kind, entry.mode, entry.uid, entry.gid) != (inode.kind, inode.mode, inode.uid, inode.gid):
        return False
    if entry.xattrs != inode.xattrs:
        return False
    if is_file:
        return entry.content is not None and _digest(entry.content) == inode.sha256
    return (entry.target, entry.device) == (inode.target, inode.device)


def _digest(content: Content) -> Digest:
    if not isinstance(content, Spooled):
        raise TypeError("expected content that was spooled")
    return content.digest


def _forget_stubs(
    found: dict[bytes, Entry], upper: Upper, beneath: Beneath, folders: Iterable[bytes]
) -> None:
    """Take out new directories that hold nothing but mount points, deepest first."""
    for folder in sorted(folders, key=len, reverse=True):
        names = upper.names.get(folder, ())
        if (
            folder in found
            and beneath.find(folder) is None
            and not any(_joined(folder, name) in found for name in names)
        ):
            del found[folder]


def _add_parents(found: dict[bytes, Entry], upper: Upper, beneath: Beneath) -> None:
    for path in ancestors(found) - found.keys():
        below = beneath.find(path)
        if below is not None and below.inode.kind is EntryKind.DIRECTORY:
            one = below.inode
            found[path] = evolve(directory(path, one.mode, one.uid, one.gid), xattrs=one.xattrs)
        else:
            found[path] = evolve(upper.entries.get(path) or directory(path), sets=_ALL)


def _linked(found: dict[bytes, Entry]) -> Iterable[Entry]:
    """Return the entries, the first name of each file as the file and the others as links to it."""
    groups: dict[bytes, list[Entry]] = {}
    for entry in found.values():
        if entry.kind is EntryKind.HARDLINK:
            groups.setdefault(entry.target, []).append(entry)
    linked = dict(found)
    for target, links in groups.items():
        whole = found.get(target)
        # An id that was emptied is no longer what its other names are.
        with_target = whole is not None and whole.content == links[0].content
        paths = sorted([one.path for one in links] + ([target] if with_target else []))
        first, *others = paths
        linked[first] = evolve(links[0], path=first, kind=EntryKind.FILE, target=b"")
        for path in others:
            linked[path] = evolve(links[0], path=path, kind=EntryKind.HARDLINK, target=first)
    return linked.values()
