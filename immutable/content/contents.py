"""Contents: what each path of a layer is, and where in its tar the bytes of its files stand.

The table is a tree in columns: every directory's children stand together, sorted by name, so that
a look-up is a search by halves for each name of the path, and 200,000 paths take some 30 MB.
Paths are raw bytes without a leading ``/``, as in `immutable.content.entries`; the root is ``b""``.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final

from attrs import define, field, frozen

from immutable.content.entries import Entry, EntryKind, overlay_mark
from immutable.oci.digest import Digest

ABSENT: Final = -1  # no such node
NOWHERE: Final = (1 << 64) - 1  # the position of a file whose bytes are not in one piece
DIGEST: Final = 32  # bytes
_APART: Final = 1 << 16  # bytes of the tar from one recorded frame to the next


@frozen
class Attributes:
    """What many paths of a layer have in common.

    `kind` is never HARDLINK or a mark, and None for a whiteout. A directory that is `opaque` hides
    what is in it in lower layers; one that is `implied` has no entry of its own, and is as it is
    beneath.
    """

    kind: EntryKind | None
    mode: int = 0
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    opaque: bool = False
    implied: bool = False

    @property
    def mark(self) -> str:
        """What an overlay file system would take for its own; empty if nothing."""
        if self.kind is None:
            return ""
        return overlay_mark(Entry(b"", self.kind, device=self.device, xattrs=self.xattrs))


@frozen
class Inode:
    """What stands at a path: `kind` is never HARDLINK or a mark.

    `size` and `sha256` are those of a file's bytes, which begin at `position` of the uncompressed
    tar; that is None where they are not in one piece there, as of a sparse file. Files of one
    layer with one position are one file with several names. `target` is a symbolic link's text,
    `device` a device's (major, minor); `xattrs` are sorted by name.
    """

    kind: EntryKind
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    sha256: Digest | None = None
    position: int | None = field(default=None, eq=False)  # no part of what the file is

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory."""
        return self.kind is EntryKind.DIRECTORY


def column(code: str, values: Iterable[int]) -> memoryview:
    """Return numbers as a read-only column: ``I`` of 32 bits, ``Q`` of 64."""
    return memoryview(array(code, values).tobytes()).cast(code)  # type: ignore[call-overload,no-any-return]


IMPLIED: Final = Attributes(EntryKind.DIRECTORY, 0o755, implied=True)
WHITEOUT: Final = Attributes(None)


@frozen
class Frames:
    """Where decompressing a blob can begin: `plain` of the tar stands at `packed` of the blob.

    `compression` is the blob's, by the names of `content.archives.decompress`. Both columns begin
    with 0 and ascend; they are read-only views of 64-bit numbers.
    """

    compression: str = "none"
    plain: memoryview = field(factory=lambda: column("Q", [0]), eq=False, repr=False)
    packed: memoryview = field(factory=lambda: column("Q", [0]), eq=False, repr=False)

    def before(self, position: int) -> tuple[int, int]:
        """Return the last (plain, packed) place that is not after `position` of the tar."""
        if self.compression == "none":
            return position, position
        number = bisect_left(self.plain, position + 1) - 1
        return self.plain[number], self.packed[number]


@define
class FrameRecorder:
    """Frames on their way into a column: of those that are close to one another, the first."""

    _plain: array[int] = field(factory=lambda: array("Q", [0]), init=False)
    _packed: array[int] = field(factory=lambda: array("Q", [0]), init=False)

    def add(self, plain: int, packed: int) -> None:
        """Record that decompressing can begin here."""
        if plain - self._plain[-1] >= _APART:
            self._plain.append(plain)
            self._packed.append(packed)

    def frames(self, compression: str) -> Frames:
        """Return the frames of a blob with this compression."""
        return Frames(compression, column("Q", self._plain), column("Q", self._packed))


@frozen(eq=False)
class Contents:
    """The table of one layer. Its nodes are numbered from 0, which is the root.

    Numeric columns are read-only views of bytes. `names`, `starts` and `rows` have one value a
    node: its name; the number of its first child, and one value more for the end; its number in
    `attributes`. `extras` has the number of a file or of a link's target. Of files, `sizes`,
    `positions` and `digests` (32 bytes each) are columns of their own.
    """

    names: tuple[bytes, ...] = field(repr=False)
    starts: memoryview = field(repr=False)
    rows: memoryview = field(repr=False)
    extras: memoryview = field(repr=False)
    attributes: tuple[Attributes, ...] = field(repr=False)
    targets: tuple[bytes, ...] = field(repr=False)
    sizes: memoryview = field(repr=False)
    positions: memoryview = field(repr=False)
    digests: bytes = field(repr=False)
    frames: Frames = Frames()

    def __len__(self) -> int:
        """Return how many paths there are, whiteouts included and the root not."""
        return len(self.names) - 1

    def attributes_of(self, node: int) -> Attributes:
        """Return the attributes of a node."""
        return self.attributes[self.rows[node]]

    def children(self, node: int) -> range:
        """Return a directory's children, sorted by name."""
        return range(self.starts[node], self.starts[node + 1])

    def child(self, node: int, name: bytes) -> int:
        """Return the child that is called `name`, or `ABSENT`."""
        end = self.starts[node + 1]
        found = bisect_left(self.names, name, self.starts[node], end)
        return found if found < end and self.names[found] == name else ABSENT

    def node(self, path: bytes) -> int:
        """Return what stands at `path` in this layer alone, or `ABSENT`; no link is followed."""
        found = 0
        for name in path.split(b"/") if path else ():
            found = self.child(found, name)
            if found == ABSENT:
                break
        return found

    def inode(self, node: int) -> Inode:
        """Return what a node is; not for a whiteout."""
        given = self.attributes[self.rows[node]]
        kind = given.kind
        if kind is None:
            raise ValueError("a whiteout is no inode")
        size, target, sha256, position = 0, b"", None, None
        if kind is EntryKind.FILE:
            number = self.extras[node]
            size, position = self.sizes[number], self.positions[number]
            sha256 = Digest(self.digests[number * DIGEST : (number + 1) * DIGEST].hex())
            position = None if position == NOWHERE else position
        elif kind is EntryKind.SYMLINK:
            target = self.targets[self.extras[node]]
        return Inode(
            kind,
            given.mode,
            given.uid,
            given.gid,
            size,
            target,
            given.device,
            given.xattrs,
            sha256,
            position,
        )

    def walk(self) -> Iterator[tuple[bytes, int]]:
        """Yield each path with its node, whiteouts included, by raw path bytes."""
        stack: list[tuple[bytes, int, bool]] = [(b"", 0, True)]
        while stack:
            path, node, inside = stack.pop()
            if not inside:
                yield path, node
                continue
            within = path and path + b"/"
            stack += reversed(self._listed(within, node))

    def _listed(self, within: bytes, node: int) -> list[tuple[bytes, int, bool]]:
        found = []
        for child in self.children(node):
            path = within + self.names[child]
            found.append((path, path, child, False))
            if self.starts[child] < self.starts[child + 1]:
                # What is in a directory comes where its path and a "/" would.
                found.append((path + b"/", path, child, True))
        found.sort()
        return [(path, child, inside) for _, path, child, inside in found]
