"""The tar of what one run changed, read: what an overlay's upper directory holds.

It is an OCI layer's tar. Whiteouts and opaque directories are told by their names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

from attrs import evolve, field, frozen

from immutable.content.archives.scratch import ScratchWriter
from immutable.content.entries import Content, Entry, EntryKind, ancestors, show
from immutable.content.tar.reader import Member, read
from immutable.errors import EntryError
from immutable.oci.digest import Digest

__all__ = ["Spooled", "Upper", "read_upper"]

_NAME: Final = "what the command changed"
_WHITEOUT: Final[bytes] = EntryKind.WHITEOUT.value
_OPAQUE: Final[bytes] = EntryKind.OPAQUE.value
_KEPT: Final = b".wh..wh."


@frozen
class Spooled:
    """Content whose digest is known; `held` has the bytes."""

    held: Content
    digest: Digest

    @property
    def size(self) -> int:
        """The length in bytes."""
        return self.held.size

    def read(self) -> Iterator[bytes]:
        """Yield the bytes."""
        yield from self.held.read()


@frozen
class Upper:
    """What the tar has: entries by path, and by directory the names that it whites out.

    Every file, and every hard link, has `Spooled` content; a hard link leads to the one path of its
    file that is no link, and has its attributes. `names` has what is in each directory, in order,
    those without entries too.
    """

    entries: Mapping[bytes, Entry]
    whiteouts: Mapping[bytes, tuple[bytes, ...]]
    opaque: frozenset[bytes]
    names: Mapping[bytes, tuple[bytes, ...]] = field(repr=False)


def read_upper(stream: BinaryIO, scratch: BinaryIO) -> Upper:
    """Return what the tar `stream` has, read to its end; contents go to `scratch`, a real file.

    `scratch` must stay open as long as a content is read. Raises ArchiveError for a tar that is
    damaged, and EntryError for names that begin with ``.wh.`` and mean nothing.
    """
    writer = ScratchWriter(scratch)
    entries: dict[bytes, Entry] = {}
    whiteouts: dict[bytes, set[bytes]] = {}
    opaque: set[bytes] = set()
    for member in read(stream, name=_NAME, reroot=True):
        path = member.entry.path
        folder, _, name = path.rpartition(b"/")
        if not name.startswith(_WHITEOUT):
            entries[path] = _entry(member, entries, writer)
        elif name == _OPAQUE:
            opaque.add(folder)
        elif name.startswith(_KEPT) or name == _WHITEOUT:
            raise EntryError(
                f"/{show(path)}: names that begin with .wh. mean deletion in a layer; the command "
                "has to choose another"
            )
        else:
            whiteouts.setdefault(folder, set()).add(name.removeprefix(_WHITEOUT))
    writer.finish()
    # A directory beside its own whiteout shows nothing of what is beneath.
    hidden = {_joined(folder, name) for folder, names in whiteouts.items() for name in names}
    places = [*entries, *hidden, *(_joined(folder, b"-") for folder in opaque)]
    there = {*entries, *ancestors(places)}
    opaque |= hidden & there
    names = _names(there)
    gone = {folder: tuple(sorted(names)) for folder, names in whiteouts.items()}
    return Upper(entries, gone, frozenset(opaque), names)


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _names(paths: set[bytes]) -> dict[bytes, tuple[bytes, ...]]:
    found: dict[bytes, list[bytes]] = {}
    for path in sorted(paths):
        folder, _, name = path.rpartition(b"/")
        found.setdefault(folder, []).append(name)
    return {folder: tuple(sorted(names)) for folder, names in found.items()}


def _entry(member: Member, entries: Mapping[bytes, Entry], writer: ScratchWriter) -> Entry:
    entry = member.entry
    if entry.kind is EntryKind.FILE:
        return evolve(entry, content=_spooled(member, writer))
    if entry.kind is EntryKind.SYMLINK:
        return evolve(entry, mode=0o777)  # as Linux has it
    if entry.kind is EntryKind.HARDLINK:
        target = entries[entry.target]
        if target.kind is EntryKind.FILE:
            return evolve(target, path=entry.path, kind=EntryKind.HARDLINK, target=target.path)
        return evolve(target, path=entry.path)
    return entry


def _spooled(member: Member, writer: ScratchWriter) -> Spooled:
    hasher = hashlib.sha256()

    def extents() -> Iterator[tuple[int, bytes]]:
        at = 0
        for piece in member:
            hasher.update(piece)
            yield at, piece
            at += len(piece)

    held = writer.add(extents(), member.size)
    return Spooled(held, Digest(hasher.hexdigest()))
