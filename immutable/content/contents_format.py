"""Contents as bytes: small, fast to load, and the same for the same layer.

A line names the format; the sha256 of all that follows stands next; then the digests of the files'
bytes, which do not compress; then the other columns, compressed with zlib. Every column begins
with its length. Each name is there once, in the tree's order, so what paths have in common is not
repeated. Of numbers all lowest bytes come first, then all second ones, so that they compress well.
All is little-endian.
"""

from __future__ import annotations

import hashlib
import struct
import sys
import zlib
from array import array
from collections.abc import Iterator
from itertools import chain, pairwise
from operator import le, lt
from typing import Final

from attrs import define

from immutable.content.contents import DIGEST, Attributes, Contents, Frames
from immutable.content.entries import MARKS, MAX_NAME, MAX_PATH, EntryKind
from immutable.errors import StoreError
from immutable.redact import quoted

__all__ = ["dumps", "loads"]

_MAGIC: Final = b"immutable contents 1\n"
_LENGTH: Final = struct.Struct("<Q")
_ROW: Final = struct.Struct("<cBHIIQQI")
_LEVEL: Final = 6
_MOST: Final = 1 << 30  # bytes of the columns: some 40 million paths
_WHITEOUT: Final = b"w"
_DIRECTORY: Final = EntryKind.DIRECTORY.value[0]
_FILE: Final = EntryKind.FILE.value[0]
_SYMLINK: Final = EntryKind.SYMLINK.value[0]
_OPAQUE, _IMPLIED = 1, 2
_KINDS: Final[dict[bytes, EntryKind | None]] = {
    **{
        kind.value: kind
        for kind in EntryKind
        if kind is not EntryKind.HARDLINK and kind not in MARKS
    },
    _WHITEOUT: None,
}
_COMPRESSIONS: Final = (b"none", b"gzip", b"zstd", b"xz", b"bzip2")


def dumps(contents: Contents) -> bytes:
    """Return `contents` as bytes, a pure function of them."""
    frames = contents.frames
    columns = (
        b"/".join(contents.names[1:]),
        _planes(contents.starts),
        _planes(contents.rows),
        _planes(contents.extras),
        b"".join(map(_row, contents.attributes)),
        b"".join(_sized(target) for target in contents.targets),
        _planes(contents.sizes),
        _planes(contents.positions),
        frames.compression.encode(),
        _planes(frames.plain),
        _planes(frames.packed),
    )
    import deflate  # unlike zlib, it gives the same bytes on every machine

    packed = deflate.zlib_compress(b"".join(map(_sized, columns)), _LEVEL)
    rest = _sized(contents.digests) + packed
    return _MAGIC + hashlib.sha256(rest).digest() + rest


def loads(data: bytes, *, name: str) -> Contents:
    """Return the contents that `dumps` made `data` of; `name` is for errors.

    Raises StoreError for anything else: damage, and tables that no layer has.
    """
    try:
        return _checked(_loads(data))
    except (_DamageError, zlib.error) as damage:
        raise StoreError(
            f"{name}: expected the contents of a layer, found {damage}; make them again"
        ) from None


class _DamageError(Exception):
    """What is wrong."""


@define
class _Columns:
    """Columns, one after another, of which nothing may be left over."""

    _data: bytes
    _at: int = 0

    def next(self) -> bytes:
        size = int.from_bytes(self._take(_LENGTH.size), "little")
        return self._take(size)

    def struct(self) -> tuple[bytes, int, int, int, int, int, int, int]:
        found: tuple[bytes, int, int, int, int, int, int, int]
        found = _ROW.unpack(self._take(_ROW.size))
        return found

    def numbers(self, code: str) -> memoryview:
        return _from_planes(self.next(), code)

    @property
    def ended(self) -> bool:
        return self._at == len(self._data)

    def rest(self) -> bytes:
        return self._take(len(self._data) - self._at)

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise _DamageError("less than its lengths say")
        data = self._data[self._at : end]
        self._at = end
        return data


def _loads(data: bytes) -> Contents:
    if not data.startswith(_MAGIC):
        raise _DamageError("another format, or another version of it")
    rest = data[len(_MAGIC) + DIGEST :]
    if hashlib.sha256(rest).digest() != data[len(_MAGIC) : len(_MAGIC) + DIGEST]:
        raise _DamageError("bytes that are not the ones that were written")
    whole = _Columns(rest)
    digests = whole.next()
    columns = _Columns(_unpacked(whole.rest()))
    names = columns.next()
    found = Contents(
        (b"", *(names.split(b"/") if names else ())),
        columns.numbers("I"),
        columns.numbers("I"),
        columns.numbers("I"),
        tuple(_rows(columns.next())),
        tuple(_texts(columns.next())),
        columns.numbers("Q"),
        columns.numbers("Q"),
        digests,
        _frames(columns.next(), columns.numbers("Q"), columns.numbers("Q")),
    )
    if not columns.ended:
        raise _DamageError("more than the columns that there are")
    return found


def _unpacked(packed: bytes) -> bytes:
    decoder = zlib.decompressobj()
    data = decoder.decompress(packed, _MOST)
    if not decoder.eof or decoder.unused_data:
        raise _DamageError("columns that do not end where their bytes do")
    return data


def _sized(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def _planes(numbers: memoryview) -> bytes:
    data = numbers.tobytes()
    width = numbers.itemsize
    ascending = range(width) if sys.byteorder == "little" else reversed(range(width))
    return b"".join(data[plane::width] for plane in ascending)


def _from_planes(data: bytes, code: str) -> memoryview:
    width = array(code).itemsize
    count, left = divmod(len(data), width)
    if left:
        raise _DamageError("a column of broken numbers")
    found = bytearray(len(data))
    for plane in range(width):
        place = plane if sys.byteorder == "little" else width - 1 - plane
        found[place::width] = data[plane * count : (plane + 1) * count]
    return memoryview(bytes(found)).cast(code)  # type: ignore[call-overload,no-any-return]


def _row(given: Attributes) -> bytes:
    kind = _WHITEOUT if given.kind is None else given.kind.value
    flags = given.opaque * _OPAQUE | given.implied * _IMPLIED
    fixed = _ROW.pack(
        kind, flags, given.mode, given.uid, given.gid, *given.device, len(given.xattrs)
    )
    return fixed + b"".join(map(_sized, chain.from_iterable(given.xattrs)))


def _rows(data: bytes) -> Iterator[Attributes]:
    columns = _Columns(data)
    while not columns.ended:
        code, flags, mode, uid, gid, major, minor, count = columns.struct()
        if code not in _KINDS or flags > _OPAQUE | _IMPLIED or mode > 0o7777:
            raise _DamageError(f"a kind {code!r} with the flags {flags} and the mode {mode:o}")
        if flags and code[0] != _DIRECTORY:
            raise _DamageError(f"a kind {code!r} that is opaque or implied")
        xattrs = tuple((columns.next(), columns.next()) for _ in range(count))
        if not all(one[0] < other[0] for one, other in pairwise(xattrs)):
            raise _DamageError("extended attributes that are not in their order")
        yield Attributes(
            _KINDS[code],
            mode,
            uid,
            gid,
            (major, minor),
            xattrs,
            opaque=bool(flags & _OPAQUE),
            implied=bool(flags & _IMPLIED),
        )


def _texts(data: bytes) -> Iterator[bytes]:
    columns = _Columns(data)
    while not columns.ended:
        text = columns.next()
        if not 0 < len(text) <= MAX_PATH or b"\0" in text:
            raise _DamageError(f"a link to {len(text)} bytes")
        yield text


def _frames(compression: bytes, plain: memoryview, packed: memoryview) -> Frames:
    if compression not in _COMPRESSIONS:
        raise _DamageError(f"the compression {quoted(compression, 20)}")
    for numbers in (plain, packed):
        if not numbers or numbers[0] or not all(map(lt, numbers, numbers[1:])):
            raise _DamageError("frames that are not in their order")
    if len(plain) != len(packed):
        raise _DamageError(f"{len(plain)} frames, and {len(packed)} places of them")
    return Frames(compression.decode(), plain, packed)


def _checked(found: Contents) -> Contents:
    """Return `found` if it is a tree of sorted names whose numbers all lead somewhere."""
    nodes, files = len(found.names), len(found.sizes)
    if not len(found.starts) - 1 == len(found.rows) == len(found.extras) == nodes:
        raise _DamageError("columns of different lengths")
    if len(found.positions) != files or len(found.digests) != files * DIGEST:
        raise _DamageError("files with other numbers of sizes, positions and digests")
    if max(found.rows) >= len(found.attributes):
        raise _DamageError("a path with attributes that are not there")
    _check_tree(found, nodes)
    codes = [_WHITEOUT if one.kind is None else one.kind.value for one in found.attributes]
    kinds = bytes(map(b"".join(codes).__getitem__, found.rows))
    if kinds[0] != _DIRECTORY or any(
        start != end and kind != _DIRECTORY
        for start, end, kind in zip(found.starts, found.starts[1:], kinds, strict=False)
    ):
        raise _DamageError("paths through what is no directory")
    known = {_FILE: files, _SYMLINK: len(found.targets)}
    if any(extra >= known.get(kind, 1) for extra, kind in zip(found.extras, kinds, strict=True)):
        raise _DamageError("a file or a link that is not there")
    return found


def _check_tree(found: Contents, nodes: int) -> None:
    """Every directory's children are after it, where the ones of the last before it end."""
    starts, names = found.starts, found.names
    if starts[0] != 1 or starts[-1] != nodes or not all(map(le, starts, starts[1:])):
        raise _DamageError("paths of no directory")
    if not all(map(lt, range(nodes), starts)):
        raise _DamageError("a directory that is in itself")
    unsorted = (number for number in range(2, nodes) if names[number - 1] >= names[number])
    if not set(starts).issuperset(unsorted):
        raise _DamageError("names that are not in their order")
    wrong = {b"", b".", b".."}.intersection(names[1:])
    if wrong or max(map(len, names)) > MAX_NAME or any(b"\0" in name for name in names):
        raise _DamageError("a name that no path can have")
