"""Entries to tar bytes: POSIX.1-2017 pax, ``ustar`` with extended headers where it must.

The standard library's `tarfile` changed the bytes it writes between versions; these do not
change. A header is a pure function of its entry.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Callable, Iterator
from typing import Final

from attrs import frozen

from immutable.content.entries import (
    MARKS,
    Arrangement,
    Entry,
    EntryKind,
    has_digest,
    known_digest,
    show,
)
from immutable.errors import EntryError

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)

_PADDING: Final = tuple(bytes(-length % BLOCK) for length in range(BLOCK))
_MAX_MODE: Final = 0o7777
_MAX_OCTAL_7: Final = 0o7777777  # uid, gid, device numbers
_MAX_ID: Final = (1 << 32) - 2  # -1 means "leave it" to chown
_MAX_NUMBER: Final = (1 << 63) - 1
_MAX_OCTAL_11: Final = 0o77777777777  # size (8 GiB) and mtime (the year 2242)
# Name of a pax header's own member; readers ignore it.
_PAX_NAME: Final = b"././@PaxHeader"
_DIRECTORY: Final = EntryKind.DIRECTORY.value
_FILE: Final = EntryKind.FILE.value
_MAGIC: Final = b"ustar\x0000"
# Name; mode, uid and gid; size; mtime; checksum; type flag; link; magic and version, user and
# group left empty; the two device numbers; prefix.
_USTAR: Final = struct.Struct("100s 24s 12s 12s 8s 1s 100s 72s 16s 167s")

_PaxRecord = tuple[bytes, bytes]
Record = Callable[[Entry, int, bytes, int], None]


def header(entry: Entry) -> bytes:
    """Return everything that stands before the content of `entry`: a multiple of 512 bytes.

    A mark is the empty file that OCI image-spec layer.md, "Whiteouts", has for it.
    Raises EntryError for modes, owners, times and devices that no reader could take.
    """
    flag = entry.kind.value
    path = entry.path
    if flag == _DIRECTORY:
        path += b"/"
    elif entry.kind in MARKS:
        flag, path = _FILE, entry.tar_path
    records: list[_PaxRecord] = []
    prefix, name = _split(path)
    if not name:
        records.append((b"path", path))
        name = path[:100]
    link = entry.target
    if len(link) > 100 or not link.isascii():
        records.append((b"linkpath", link))
        link = link[:100]
    try:
        fixed = _fixed(entry.mode, entry.uid, entry.gid, entry.mtime, *entry.device, flag)
    except ValueError as error:
        raise EntryError(f"{show(entry.path)}: {error}") from None
    records += fixed.id_records
    size = _number(records, b"size", entry.size, _MAX_OCTAL_11)
    records += fixed.time_records
    if entry.xattrs:
        _check_xattrs(entry)
        records += [(b"SCHILY.xattr." + key, value) for key, value in entry.xattrs]
    block = fixed.block(name, size, link, prefix)
    return _extended(records) + block if records else block


def chunks(
    arrangement: Arrangement,
    cut: Callable[[bytes, int], bool],
    limit: int,
    record: Record | None = None,
) -> Iterator[bytearray]:
    """Yield the tar stream of `arrangement`, cut into chunks.

    A chunk begins at the first entry of the head, at each source's first entry, before an entry
    for which ``cut(path, size)`` says so, before and after a file larger than `limit` and at every
    `limit` bytes of its content, and at the end marker. No chunk is longer than twice `limit`
    and its headers. The stream's bytes do not depend on where it is cut. `record` is told of
    each entry: the size of its content, the sha256 of that, and where in the stream it begins.
    """
    start = 0  # of the chunk
    for group in (arrangement.head, *arrangement.sources):
        chunk = bytearray()
        for entry in group:
            size = entry.size
            if chunk and (size > limit or len(chunk) >= limit or cut(entry.path, size)):
                yield chunk
                start += len(chunk)
                chunk = bytearray()
            if size > limit:
                for part in _large(entry, size, limit, start, record):
                    yield part
                    start += len(part)
                continue
            chunk += header(entry)
            begin = len(chunk)
            if size:
                for piece in _pieces(entry, size):
                    chunk += piece
                chunk += _PADDING[size % BLOCK]
            if record is not None:
                if size and has_digest(entry.content):
                    digest = known_digest(entry.content)
                else:
                    with memoryview(chunk) as whole, whole[begin : begin + size] as content:
                        digest = hashlib.sha256(content).digest()
                record(entry, size, digest, start + begin)
        if chunk:
            yield chunk
            start += len(chunk)
    yield bytearray(END)


def _pieces(entry: Entry, size: int) -> Iterator[bytes]:
    """Yield the content; raise EntryError as soon as it is not `size` bytes."""
    assert entry.content is not None  # noqa: S101 - only files with content have a size
    total = 0
    for piece in entry.content.read():
        total += len(piece)
        if total > size:
            raise EntryError(f"{show(entry.path)}: expected {size} bytes, found more")
        yield piece
    if total != size:
        raise EntryError(f"{show(entry.path)}: expected {size} bytes, found {total}")


def _large(
    entry: Entry, size: int, limit: int, start: int, record: Record | None
) -> Iterator[bytearray]:
    """Yield a file in chunks of its own, the first of which begins at `start` of the stream.

    Cuts fall at multiples of `limit` in the content, so that a change in place touches only
    its own chunk.
    """
    chunk = bytearray(header(entry))
    begin = start + len(chunk)
    hasher = None if record is None or has_digest(entry.content) else hashlib.sha256()
    full = len(chunk) + limit
    for piece in _pieces(entry, size):
        if hasher is not None:
            hasher.update(piece)
        view = memoryview(piece)
        while len(chunk) + len(view) > full:
            room = full - len(chunk)
            chunk += view[:room]
            view = view[room:]
            yield chunk
            chunk, full = bytearray(), limit
        chunk += view
    if record is not None:
        digest = known_digest(entry.content) if hasher is None else hasher.digest()
        record(entry, size, digest, begin)
    chunk += _PADDING[size % BLOCK]
    yield chunk


def _check_xattrs(entry: Entry) -> None:
    names = [name for name, _ in entry.xattrs]
    for name in names:
        if not name or b"=" in name or b"\0" in name or names.count(name) > 1:
            raise EntryError(f"{show(entry.path)}: an extended attribute called {show(name)!r}")


def _split(path: bytes) -> tuple[bytes, bytes]:
    """Return ustar's (prefix, name) for `path`; an empty name where it does not fit."""
    if not path.isascii():
        return b"", b""
    if len(path) <= 100:
        return b"", path
    # The shortest name that leaves a prefix of at most 155 bytes; a directory's own
    # trailing slash is no place to split.
    slash = path.rfind(b"/", 0, min(156, len(path) - 1))
    if slash <= 0 or len(path) - slash - 1 > 100:
        return b"", b""
    return path[:slash], path[slash + 1 :]


def _number(records: list[_PaxRecord], key: bytes, value: int, most: int) -> int:
    if 0 <= value <= most:
        return value
    records.append((key, b"%d" % value))
    return 0


@frozen
class _Fixed:
    """What headers share: their fields short of name, size and link, and the sum of these.

    A layer has few combinations of mode, owner and time, and each entry's header is made from
    one. The records are those of what the fields could not hold.
    """

    owner: bytes  # mode, uid and gid
    mtime: bytes
    flag: bytes
    devices: bytes
    checksum: int
    id_records: tuple[_PaxRecord, ...]
    time_records: tuple[_PaxRecord, ...]

    def block(self, name: bytes, size: int, link: bytes, prefix: bytes) -> bytes:
        """Return the 512 bytes."""
        length = b"%011o" % size
        checksum = self.checksum + sum(name) + sum(length) + sum(link) + sum(prefix)
        return _USTAR.pack(
            name,
            self.owner,
            length,
            self.mtime,
            b"%06o\0 " % checksum,
            self.flag,
            link,
            _MAGIC,
            self.devices,
            prefix,
        )


@functools.lru_cache(maxsize=1024)
def _fixed(
    mode: int, uid: int, gid: int, mtime: int, major: int, minor: int, flag: bytes
) -> _Fixed:
    """Return what headers with these fields share; raise ValueError for what no tar can hold."""
    if not (
        0 <= mode <= _MAX_MODE
        and 0 <= uid <= _MAX_ID
        and 0 <= gid <= _MAX_ID
        and -_MAX_NUMBER <= mtime <= _MAX_NUMBER
        and 0 <= major <= _MAX_OCTAL_7
        and 0 <= minor <= _MAX_OCTAL_7
    ):
        raise ValueError(
            f"mode {mode:#o}, owner {uid}:{gid}, time {mtime}, device {major},{minor}: "
            "more than a tar can hold"
        )
    ids: list[_PaxRecord] = []
    times: list[_PaxRecord] = []
    uid = _number(ids, b"uid", uid, _MAX_OCTAL_7)
    gid = _number(ids, b"gid", gid, _MAX_OCTAL_7)
    mtime = _number(times, b"mtime", mtime, _MAX_OCTAL_11)
    owner = b"%07o\0%07o\0%07o\0" % (mode, uid, gid)
    time = b"%011o" % mtime
    devices = b"%07o\0%07o\0" % (major, minor)
    # The checksum counts its own field as spaces.
    checksum = sum(owner + time + flag + _MAGIC + devices) + 8 * 0x20
    return _Fixed(owner, time, flag, devices, checksum, tuple(ids), tuple(times))


def _extended(records: list[_PaxRecord]) -> bytes:
    if any(not _is_utf8(value) for key, value in records if key in (b"path", b"linkpath")):
        # Without it the standard says that names are UTF-8.
        records = [(b"hdrcharset", b"BINARY"), *records]
    data = b"".join(_record(key, value) for key, value in records)
    block = _fixed(0o644, 0, 0, 0, 0, 0, b"x").block(_PAX_NAME, len(data), b"", b"")
    return block + data + _PADDING[len(data) % BLOCK]


def _record(key: bytes, value: bytes) -> bytes:
    """Return a record: length, space, key, ``=``, value, newline; the length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
