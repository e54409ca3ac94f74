"""Tar bytes to entries, strictly: ustar, PAX, GNU long names, sparse files, V7.

POSIX.1-2017 pax is the standard; where it leaves a choice that two readers could make
differently, the archive is refused. Every refusal is an ArchiveError that names the archive,
the member, and where its header stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from attrs import define, field, frozen

from immutable.content.entries import MARKS, MAX_PATH, Entry, EntryKind, safe_path, show
from immutable.content.tar import sparse
from immutable.content.tar.blocks import BlockReader, Member
from immutable.content.tar.claims import Claims
from immutable.content.tar.format import (
    BLOCK,
    FormatError,
    Header,
    Records,
    decimal,
    decode,
    identify,
    long_name,
    number,
    records,
    seconds,
)
from immutable.errors import EntryError

__all__ = ["DEFAULT", "FREE", "MOST_RATIO", "Limits", "Member", "read"]

# The most that deflate can do is 1032:1. An archive of more than a gibibyte that does nearly as
# well all along is all but empty; xz, zstd and sparse files go past 10,000:1.
MOST_RATIO: Final = 1000
FREE: Final = 1 << 30

_ZERO_BLOCK = bytes(BLOCK)
_MAX_OWNER = (1 << 32) - 2  # the last one, -1, means "leave it" to chown
_XATTR = b"SCHILY.xattr."
_KINDS = {
    b"\0": EntryKind.FILE,
    b"7": EntryKind.FILE,  # POSIX: a contiguous file may be read as a plain one
    b"S": EntryKind.FILE,
    **{kind.value: kind for kind in EntryKind if kind not in MARKS},
}
_EXTENSIONS = frozenset((b"x", b"X", b"g", b"L", b"K"))


@frozen
class Limits:
    """What one archive may cost; more is refused, naming the limit.

    `extension` is the bytes of one PAX header or GNU long name; `members` and `names` the count
    and total bytes of paths, with the directories they imply; `segments` the parts of one
    sparse file; `content` the bytes of all files together, sparse ones expanded. Past `free`
    bytes, content may be at most 1000 times the input: an archive's compressed bytes, where its
    stream counts them as `taken`.
    """

    extension: int = 1 << 20
    members: int = 1_000_000  # entries are held in memory, close to a kilobyte each
    names: int = 96 << 20
    segments: int = 1 << 18
    content: int = 64 << 30
    free: int = FREE


DEFAULT: Final = Limits()


def read(
    stream: BinaryIO,
    *,
    name: str,
    limits: Limits = DEFAULT,
    reroot: bool = False,
    repeats: bool = False,
) -> Iterator[Member]:
    """Yield the members of the tar archive in `stream`, which is read to its end and not seeked.

    `name` is the archive's, for errors. With `reroot` a leading ``/`` means the image's root,
    as in debs and OCI layers; without it, absolute paths are refused. With `repeats`, as in OCI
    layers, a later entry may replace an earlier one, but never a directory. The root itself is
    passed over. Nothing is read ahead: when a member is given, `stream` stands at its content.
    Raises ArchiveError for whatever is damaged, unsafe, ambiguous or too large.
    """
    return _Reader(BlockReader(stream, name), limits, reroot, repeats).members()


@define
class _Pending:
    """What extension headers say of the next file."""

    records: Records | None = None
    name: bytes | None = None
    link: bytes | None = None

    def __bool__(self) -> bool:
        return not (self.records is None and self.name is None and self.link is None)


@define
class _Described:
    """A file's own header and what the headers before it say of it.

    `block` is the header's bytes; `values` what PAX records hold for the file, by keyword;
    `own` those that stand right before it, as written.
    """

    header: Header
    block: bytes
    values: dict[bytes, bytes]
    own: Records
    long_name: bytes | None
    long_link: bytes | None


@define
class _Reader:
    _blocks: BlockReader
    _limits: Limits
    _reroot: bool
    _repeats: bool
    _globals: dict[bytes, bytes] = field(factory=dict, init=False)
    _pending: _Pending = field(factory=_Pending, init=False)
    _content: int = field(default=0, init=False)
    _claims: Claims = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._claims = Claims(
            members=self._limits.members, names=self._limits.names, repeats=self._repeats
        )

    def members(self) -> Iterator[Member]:
        """Yield each member, then pass over what is left of its content."""
        blocks = self._blocks
        while (block := blocks.header()) != _ZERO_BLOCK:
            try:
                member = self._next(block)
            except FormatError as fault:
                raise blocks.error(fault) from None
            except EntryError as fault:
                blocks.member = b""  # the message begins with it
                raise blocks.error(fault) from None
            if member is not None:
                yield member
                member.pass_over()
        if self._pending:
            raise blocks.error("an extended header at the end, without the file that it describes")
        blocks.finish()

    def _next(self, block: bytes) -> Member | None:
        """Return the member whose header is `block`; None for extensions and the root."""
        self._blocks.member = name = identify(block)
        header = decode(block, name)
        if header.type in _EXTENSIONS:
            self._extend(header)
            return None
        return self._member(self._describe(header, block))

    def _extend(self, header: Header) -> None:
        # Its length is in its own header: a `size` in a PAX header is the next file's.
        if not 0 <= header.size <= self._limits.extension:
            raise FormatError(
                f"an extended header of {header.size} bytes; at most {self._limits.extension}"
            )
        data = self._blocks.take(header.size)
        self._blocks.pad(header.size)
        pending = self._pending
        if header.type == b"g":
            self._extend_all(data)
        elif header.type == b"L":
            _once(pending.name, "GNU long names")
            pending.name = long_name(data)
        elif header.type == b"K":
            _once(pending.link, "GNU long links")
            pending.link = long_name(data)
        else:
            _once(pending.records, "PAX headers")
            pending.records = records(data)

    def _extend_all(self, data: bytes) -> None:
        if self._pending:
            raise FormatError("a global header between a file and its extended header")
        given = dict(records(data))
        for keyword in given:
            if keyword in (b"path", b"linkpath", b"size") or sparse.is_keyword(keyword):
                raise FormatError(f"a global header with {keyword.decode()}, which is one file's")
        self._globals |= given

    def _describe(self, header: Header, block: bytes) -> _Described:
        pending, self._pending = self._pending, _Pending()
        own = pending.records or []
        values = _values(self._globals, own) if own or self._globals else {}
        return _Described(header, block, values, own, pending.name, pending.link)

    def _member(self, described: _Described) -> Member | None:
        name = _name(described)
        self._blocks.member = name
        kind = _kind(described, name)
        size = _size(described, kind)
        path = safe_path(name, reroot=self._reroot)
        if not path and kind is EntryKind.DIRECTORY:
            return None
        target = self._target(described, kind)
        if kind is EntryKind.HARDLINK:
            self._claims.check_link(path, target)
        self._claims.add(path, kind)
        entry = _entry(described, kind, path, target)
        if kind is not EntryKind.FILE:
            return Member(entry, 0, iter(()))
        return self._file(entry, described, size)

    def _target(self, described: _Described, kind: EntryKind) -> bytes:
        if kind is not EntryKind.SYMLINK and kind is not EntryKind.HARDLINK:
            return b""
        target = described.values.get(b"linkpath", described.header.linkname)
        if described.long_link is not None:
            if described.values.get(b"linkpath", described.long_link) != described.long_link:
                raise FormatError(f"two targets: {show(described.long_link)} and {show(target)}")
            target = described.long_link
        if kind is EntryKind.HARDLINK:
            try:
                return safe_path(target, reroot=self._reroot)
            except EntryError as fault:
                raise FormatError(f"a hard link to {fault}") from None
        if not 0 < len(target) <= MAX_PATH:
            raise FormatError(f"a symlink to {len(target)} bytes; expected 1 to {MAX_PATH}")
        return target

    def _file(self, entry: Entry, described: _Described, stored: int) -> Member:
        length: int = stored
        segments: tuple[tuple[int, int], ...] = ((0, stored),)
        holes, taken = self._holes(described)
        if holes is not None:
            stored -= taken
            length, segments = holes.size, holes.segments
            if holes.stored != stored:
                raise FormatError(f"sparse map: expected {stored} bytes, found {holes.stored}")
        self._content += length
        if self._content > self._limits.content:
            raise FormatError(f"more than {self._limits.content} bytes of content in one archive")
        # What is stored takes at most its own length of input.
        self._check_ratio(self._blocks.taken + stored)
        return Member(entry, length, self._extents(segments, stored))

    def _holes(self, described: _Described) -> tuple[sparse.Map | None, int]:
        """Return a sparse file's map, and how many bytes of its content that took."""
        limit, values, blocks = self._limits.segments, described.values, self._blocks
        sparse_keywords = any(map(sparse.is_keyword, values))
        if described.header.type == b"S":
            if sparse_keywords:
                raise FormatError("two maps of a sparse file, in its header and in PAX records")
            # The header's size does not count the blocks in which the map goes on.
            return sparse.from_header(described.block, blocks.block, limit), 0
        if not sparse_keywords:
            return None, 0
        if sparse.is_version_1(values):
            before = blocks.offset
            return sparse.from_content(values, blocks.block, limit), blocks.offset - before
        return sparse.from_records(described.own, values, limit), 0

    def _extents(
        self, segments: Iterable[tuple[int, int]], stored: int
    ) -> Iterator[tuple[int, bytes]]:
        for offset, length in segments:
            for piece in self._blocks.pieces(length):
                yield offset, piece
                offset += len(piece)
        self._blocks.pad(stored)
        try:
            self._check_ratio(self._blocks.taken)
        except FormatError as fault:
            raise self._blocks.error(fault) from None

    def _check_ratio(self, taken: int) -> None:
        free = self._limits.free
        if self._content > max(free, MOST_RATIO * taken):
            raise FormatError(f"expands to more than {free} bytes and {MOST_RATIO} times its input")


def _once(present: object, what: str) -> None:
    if present is not None:
        raise FormatError(f"two {what} for one file")


def _values(shared: dict[bytes, bytes], own: Records) -> dict[bytes, bytes]:
    """Return what holds for a file: its own records over the global ones, empty ones for none."""
    values = shared | dict(own)
    for keyword in [key for key, value in values.items() if not value]:
        if not keyword.startswith(_XATTR):
            del values[keyword]
    for keyword in (b"path", b"linkpath", b"GNU.sparse.name"):
        if b"\0" in values.get(keyword, b""):
            raise FormatError(f"PAX {keyword.decode()}: a NUL in {show(values[keyword])}")
    return values


def _name(described: _Described) -> bytes:
    values = described.values
    name = values.get(b"path", described.header.name)
    if described.long_name is not None:
        if values.get(b"path", described.long_name) != described.long_name:
            raise FormatError(f"two names: {show(described.long_name)} and {show(name)}")
        name = described.long_name
    name = values.get(b"GNU.sparse.name", name)
    if not name:
        raise FormatError("a member without a name")
    return name


def _kind(described: _Described, name: bytes) -> EntryKind:
    flag = described.header.type
    kind = _KINDS.get(flag)
    if kind is None:
        raise FormatError(f"type {flag!r}: expected a file, link, directory, device or FIFO")
    if name.endswith(b"/") and flag in (b"\0", b"0"):
        kind = EntryKind.DIRECTORY  # V7 has no other way to say so
    if kind is not EntryKind.FILE and any(map(sparse.is_keyword, described.values)):
        raise FormatError(f"a sparse {kind.name.lower()}; expected a file")
    return kind


def _size(described: _Described, kind: EntryKind) -> int:
    """Return how many bytes of content follow the header."""
    size, flag = described.header.size, described.header.type
    if b"size" in described.values:
        size = decimal(described.values[b"size"], "PAX size")
    if flag == EntryKind.DIRECTORY.value:
        return 0  # POSIX: here a size is a quota, and no content follows
    if size < 0 or (size and kind is not EntryKind.FILE):
        expected = "at least 0" if kind is EntryKind.FILE else f"0 for a {kind.name.lower()}"
        raise FormatError(f"size: expected {expected}, found {size}")
    return size


def _entry(described: _Described, kind: EntryKind, path: bytes, target: bytes) -> Entry:
    header, values = described.header, described.values
    device = (0, 0)
    if kind is EntryKind.CHARACTER or kind is EntryKind.BLOCK:
        device = _device(header)
    uid, gid, mtime = header.uid, header.gid, header.mtime
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    if values:
        if b"uid" in values:
            uid = decimal(values[b"uid"], "PAX uid")
        if b"gid" in values:
            gid = decimal(values[b"gid"], "PAX gid")
        if b"mtime" in values:
            mtime = seconds(values[b"mtime"], "PAX mtime")
        xattrs = _xattrs(values)
    if not (0 <= uid <= _MAX_OWNER and 0 <= gid <= _MAX_OWNER):
        raise FormatError(f"owner: expected 0 to {_MAX_OWNER}, found {uid}:{gid}")
    return Entry(
        path,
        kind,
        header.mode,
        uid,
        gid,
        mtime,
        target=target,
        device=device,
        xattrs=xattrs,
    )


def _xattrs(values: dict[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(
        (keyword.removeprefix(_XATTR), value)
        for keyword, value in values.items()
        if keyword.startswith(_XATTR)
    )


def _device(header: Header) -> tuple[int, int]:
    major, minor = number(header.major, "device major"), number(header.minor, "device minor")
    if major < 0 or minor < 0:
        raise FormatError(f"device: expected numbers of at least 0, found {major}, {minor}")
    return major, minor
