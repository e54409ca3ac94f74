"""A layer's entries, in its tar's order, recorded as contents.

OCI image-spec layer.md, "Whiteouts": they hide what lower layers have, wherever they stand in the
tar, and nothing of their own layer. Of what a tar has twice, the last counts. A hard link is
the file that its target was when the tar got to it, attributes included.
"""

from __future__ import annotations

import hashlib
from array import array
from itertools import accumulate
from typing import BinaryIO, Final

from attrs import define, evolve, field

from immutable.content.contents import (
    DIGEST,
    IMPLIED,
    NOWHERE,
    WHITEOUT,
    Attributes,
    Contents,
    Frames,
    column,
)
from immutable.content.entries import MARKS, Entry, EntryKind, parent, show
from immutable.content.tar.reader import DEFAULT, Limits, Member, read
from immutable.errors import EntryError

_PREFIX: Final[bytes] = EntryKind.WHITEOUT.value
_OPAQUE: Final[bytes] = EntryKind.OPAQUE.value
_AUFS: Final = b".wh..wh."  # how AUFS began the names of its own files in a layer's root
_ZEROS: Final = bytes(1 << 18)
_MASK: Final = (1 << 32) - 1

_Key = tuple[EntryKind, int, int, int, tuple[int, int], tuple[tuple[bytes, bytes], ...]]


@define
class Recorder:
    """Entries on their way into contents; `name` is the layer's, for errors.

    A path is held as one number: that of its attributes, and 32 bits for its file or link.
    """

    _name: str
    _found: dict[bytes, int] = field(factory=dict, init=False)
    _rows: dict[Attributes, int] = field(factory=dict, init=False)
    _keys: dict[_Key, int] = field(factory=dict, init=False)  # faster than by attributes
    attributes: list[Attributes] = field(factory=list, init=False)
    targets: dict[bytes, int] = field(factory=dict, init=False)
    sizes: array[int] = field(factory=lambda: array("Q"), init=False)
    positions: array[int] = field(factory=lambda: array("Q"), init=False)
    digests: bytearray = field(factory=bytearray, init=False)
    _whiteouts: set[bytes] = field(factory=set, init=False)
    _opaque: set[bytes] = field(factory=set, init=False)
    _folder: bytes = field(default=b"", init=False)  # is known to be a directory

    def add(
        self, entry: Entry, size: int = 0, sha256: bytes = b"", position: int = NOWHERE
    ) -> None:
        """Record the next entry; of a file, what its bytes are and where they stand in the tar.

        Raises EntryError for a hard link whose target is not there, a path through what is no
        directory, anything in the place of one, and what begins with ``.wh.`` and means nothing.
        """
        path = entry.tar_path if entry.kind in MARKS else entry.path
        folder, _, name = path.rpartition(b"/")
        if path.startswith(_AUFS) and path != _OPAQUE:
            return
        if name.startswith(_PREFIX):
            self._hide(path, folder, name)
            return
        if folder != self._folder:
            self._expect_folder(folder, path)
        if entry.kind is EntryKind.HARDLINK:
            self._put(path, self._linked(path, entry.target))
            return
        extra = 0
        if entry.kind is EntryKind.FILE:
            extra = self._file(size, sha256, position)
        elif entry.kind is EntryKind.SYMLINK:
            extra = self.targets.setdefault(entry.target, len(self.targets))
        # Linux gives every link the mode 0777, whatever a tar says.
        mode = 0o777 if entry.kind is EntryKind.SYMLINK else entry.mode
        key = (entry.kind, mode, entry.uid, entry.gid, entry.device, entry.xattrs)
        row = self._keys.get(key)
        if row is None:
            row = self._keys[key] = self._row(Attributes(*key))
        self._put(path, row << 32 | extra)

    def contents(self, frames: Frames | None = None) -> Contents:
        """Return what was recorded, of a blob with these frames."""
        found = self._with_marks()
        # By depth, and then as if "/" came before every other byte: so the children of one
        # directory stand together, in the order of their directories.
        order = sorted(
            path.count(b"/").to_bytes(2, "big") + path.replace(b"/", b"\0") for path in found
        )
        columns = _Columns(self)
        columns.add(b"", self._row(evolve(IMPLIED, opaque=b"" in self._opaque)) << 32)
        for key in order:
            path = key[2:].replace(b"\0", b"/")
            columns.add(path, found[path])
        return columns.contents(frames or Frames())

    def _file(self, size: int, sha256: bytes, position: int) -> int:
        if len(sha256) != DIGEST:
            raise ValueError(f"expected a sha256 of {DIGEST} bytes, found {len(sha256)}")
        self.sizes.append(size)
        self.positions.append(position)
        self.digests += sha256
        return len(self.sizes) - 1

    def _row(self, attributes: Attributes) -> int:
        row = self._rows.setdefault(attributes, len(self._rows))
        if row == len(self.attributes):
            self.attributes.append(attributes)
        return row

    def _kind(self, path: bytes) -> EntryKind | None:
        found = self._found.get(path)
        return None if found is None else self.attributes[found >> 32].kind

    def _put(self, path: bytes, value: int) -> None:
        present = self._kind(path)
        if present is EntryKind.DIRECTORY:
            kind = self.attributes[value >> 32].kind
            if kind is not EntryKind.DIRECTORY:
                raise self._error(path, "something else in the place of a directory")
        self._found[path] = value

    def _linked(self, path: bytes, target: bytes) -> int:
        if self._kind(target) in (None, EntryKind.DIRECTORY):
            raise self._error(path, f"a hard link to {show(target)}, which is no file before it")
        return self._found[target]

    def _hide(self, path: bytes, folder: bytes, name: bytes) -> None:
        if name == _OPAQUE:
            self._expect_folder(folder, path)
            self._opaque.add(folder)
        elif not name.startswith(_AUFS):
            hidden = name.removeprefix(_PREFIX)
            if hidden in (b"", b".", b".."):
                raise self._error(path, "a whiteout of nothing")
            self._expect_folder(folder, path)
            self._whiteouts.add(folder + b"/" + hidden if folder else hidden)

    def _expect_folder(self, folder: bytes, path: bytes) -> None:
        """See to it that `folder` and all above it are directories."""
        at = folder
        while at:
            present = self._kind(at)
            if present is EntryKind.DIRECTORY:
                break
            if present is not None or at.rpartition(b"/")[2].startswith(_PREFIX):
                raise self._error(path, f"goes through {show(at)}, which is no directory")
            self._found[at] = self._row(IMPLIED) << 32
            at = parent(at)
        self._folder = folder

    def _with_marks(self) -> dict[bytes, int]:
        """Return what each path is, whiteouts and opaque directories told."""
        found = dict(self._found) if self._whiteouts or self._opaque else self._found
        for path in self._whiteouts:
            present = found.get(path)
            if present is None:
                found[path] = self._row(WHITEOUT) << 32
            elif self.attributes[present >> 32].kind is EntryKind.DIRECTORY:
                # What was beneath is gone, and with it what the directory was like there.
                was = self.attributes[present >> 32]
                found[path] = self._row(evolve(was, opaque=True, implied=False)) << 32
        for path in self._opaque - {b""}:
            was = self.attributes[found[path] >> 32]
            found[path] = self._row(evolve(was, opaque=True)) << 32
        return found

    def _error(self, path: bytes, what: str) -> EntryError:
        return EntryError(f"{self._name}: {show(path)}: {what}")


@define
class _Columns:
    """Contents, node by node; files, links and attributes are numbered as nodes name them first.

    So the same layer gives the same bytes, in whatever order its tar has it.
    """

    _given: Recorder
    _names: list[bytes] = field(factory=list, init=False)
    _counts: array[int] = field(factory=lambda: array("I"), init=False)
    _rows: array[int] = field(factory=lambda: array("I"), init=False)
    _extras: array[int] = field(factory=lambda: array("I"), init=False)
    _row_numbers: dict[int, int] = field(factory=dict, init=False)
    _file_numbers: dict[int, int] = field(factory=dict, init=False)
    _link_numbers: dict[int, int] = field(factory=dict, init=False)
    _folders: list[tuple[bytes, int]] = field(factory=list, init=False)
    _folder: int = field(default=0, init=False)

    def add(self, path: bytes, value: int) -> None:
        """Add the next node, which is below one that was added."""
        folder, _, name = path.rpartition(b"/")
        if self._names:
            while self._folders[self._folder][0] != folder:
                self._folder += 1
            self._counts[self._folders[self._folder][1]] += 1
        row, extra = value >> 32, value & _MASK
        kind = self._given.attributes[row].kind
        if kind is EntryKind.FILE:
            extra = self._file_numbers.setdefault(extra, len(self._file_numbers))
        elif kind is EntryKind.SYMLINK:
            extra = self._link_numbers.setdefault(extra, len(self._link_numbers))
        elif kind is EntryKind.DIRECTORY:
            self._folders.append((path, len(self._names)))
        self._names.append(name)
        self._counts.append(0)
        self._rows.append(self._row_numbers.setdefault(row, len(self._row_numbers)))
        self._extras.append(extra)

    def contents(self, frames: Frames) -> Contents:
        """Return the whole."""
        given = self._given
        targets = tuple(given.targets)
        digests = memoryview(given.digests)
        return Contents(
            tuple(self._names),
            column("I", accumulate(self._counts, initial=1)),
            column("I", self._rows),
            column("I", self._extras),
            tuple(given.attributes[row] for row in self._row_numbers),
            tuple(targets[link] for link in self._link_numbers),
            column("Q", (given.sizes[file] for file in self._file_numbers)),
            column("Q", (given.positions[file] for file in self._file_numbers)),
            b"".join(digests[file * DIGEST :][:DIGEST] for file in self._file_numbers),
            frames,
        )


@define
class _Counted:
    """A stream that counts what was read from it."""

    _stream: BinaryIO
    position: int = 0

    def read(self, length: int) -> bytes:
        data = self._stream.read(length)
        self.position += len(data)
        return data

    @property
    def taken(self) -> int:
        taken: int = getattr(self._stream, "taken", self.position)
        return taken


def of_tar(stream: BinaryIO, *, name: str, limits: Limits = DEFAULT) -> Contents:
    """Return the contents of the layer whose uncompressed tar is `stream`, read to its end.

    `name` is the layer's, for errors. Raises ArchiveError for a damaged or unsafe tar, EntryError
    for whiteouts that mean nothing.
    """
    counted = _Counted(stream)
    recorder = Recorder(name)
    members = read(counted, name=name, limits=limits, reroot=True, repeats=True)  # type: ignore[arg-type]
    for member in members:
        if member.entry.kind is EntryKind.FILE:
            recorder.add(member.entry, *_measured(member, counted.position))
        else:
            recorder.add(member.entry)
    return recorder.contents()


def _measured(member: Member, position: int) -> tuple[int, bytes, int]:
    """Return a file's size, the sha256 of its bytes, and where they stand if in one piece."""
    hasher = hashlib.sha256()
    end = 0
    whole = True
    for offset, piece in member.extents():
        if offset != end:
            whole = False
            _hash_zeros(hasher, offset - end)
        hasher.update(piece)
        end = offset + len(piece)
    if end != member.size:
        whole = False
        _hash_zeros(hasher, member.size - end)
    return member.size, hasher.digest(), position if whole else NOWHERE


def _hash_zeros(hasher: hashlib._Hash, count: int) -> None:
    while count > 0:
        hasher.update(_ZEROS[:count])
        count -= len(_ZEROS)
