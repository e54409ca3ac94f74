"""What a zip holds and where: the central directory, held against each local header.

Sections are those of PKWARE's APPNOTE 6.3.10.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from attrs import evolve, frozen

from immutable.content.entries import show
from immutable.content.tar.format import FormatError

_END = struct.Struct("<4sHHHHIIH")  # 4.3.16
_END64 = struct.Struct("<4sQHHIIQQQQ")  # 4.3.14
_LOCATOR = struct.Struct("<4sIQI")  # 4.3.15
_CENTRAL = struct.Struct("<4sHHHHIIIIHHHHHII")  # 4.3.12
_LOCAL = struct.Struct("<4sHHHIIIIHH")  # 4.3.7
_DESCRIPTOR = b"PK\x07\x08"  # 4.3.9
_MAX_COMMENT = 0xFFFF

_ZIP64, _UNICODE_PATH = 0x0001, 0x7075
_BIG16, _BIG32 = 0xFFFF, 0xFFFFFFFF  # "look in the ZIP64 field"
_HAS_DESCRIPTOR, _UTF8 = 1 << 3, 1 << 11
_METHODS = {0: "stored", 8: "deflate"}
_UNKNOWN = (_BIG32, _BIG32, _BIG32, _BIG16)
# 4.4.4: what readers that know nothing of it would misread
_REFUSED_FLAGS = {1 << 0: "encrypted", 1 << 5: "a patch", 1 << 6: "encrypted", 1 << 13: "masked"}
_UNIX_HOSTS = frozenset((3, 19))  # 4.4.2.2: Unix, OS X


@frozen
class Listed:
    """A member as the central directory has it; `start` is where its content begins.

    `name` is the name's bytes in UTF-8 or, from Unix, as they were there; `mode` is Unix's
    ``st_mode``, 0 where the archive comes from elsewhere.
    """

    name: bytes
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    offset: int
    start: int = -1

    @property
    def is_deflated(self) -> bool:
        """Whether the content is deflated, and not stored."""
        return self.method == 8


@frozen
class _Directory:
    offset: int
    size: int
    count: int


def list_members(file: BinaryIO, *, limit: int) -> list[Listed]:
    """Return the members of the zip in `file`, in the central directory's order.

    Raises FormatError unless both headers of each member agree, members and directory fill the
    file exactly, and nothing is encrypted or compressed otherwise than by deflate.
    """
    directory = _find_directory(file)
    if directory.count > limit:
        raise FormatError(f"{directory.count} members; at most {limit}")
    file.seek(directory.offset)
    listed = list(_central(file, directory))
    starts: dict[int, int] = {}
    expected = 0
    by_offset = sorted(listed, key=lambda member: member.offset)
    for member in by_offset:
        if member.offset != expected:
            what = "overlap" if member.offset < expected else "gap"
            raise FormatError(
                f"{show(member.name)}: {what}: expected byte {expected}, found {member.offset}"
            )
        start = _check_local(file, member)
        if start + member.packed > directory.offset:
            raise FormatError(f"{show(member.name)}: overlap: reaches into the directory")
        starts[member.offset] = start
        expected = _end_of_member(file, member, start + member.packed)
    if expected != directory.offset:
        raise FormatError(f"expected the directory at byte {expected}, found {directory.offset}")
    return [evolve(member, start=starts[member.offset]) for member in listed]


def _exactly(file: BinaryIO, length: int, what: str) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise FormatError(f"truncated: ends within {what}")
    return data


# The directory's place


def _find_directory(file: BinaryIO) -> _Directory:
    length = file.seek(0, os.SEEK_END)
    tail_at = max(0, length - _END.size - _MAX_COMMENT)
    file.seek(tail_at)
    tail = _exactly(file, length - tail_at, "the file's end")
    # The last signature must be the one whose comment reaches the end: a second candidate, in
    # a comment, would be another archive to another reader.
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise FormatError("expected a zip, found no end of central directory")
    _, disk, first, here, count, size, offset, comment = _END.unpack_from(tail, found)
    if found + _END.size + comment != len(tail):
        raise FormatError("junk after its end, or a comment that holds another end")
    end = tail_at + found
    fields = (disk, first, here, count, size, offset)
    wide = _find_directory64(file, end)
    if wide is not None:
        end, wider = wide
        _check_wider(fields, wider)
        disk, first, here, count, size, offset = wider
    if disk or first or here != count:
        raise FormatError("one part of an archive of several; expected a whole one")
    if offset + size != end:
        raise FormatError(f"expected the directory to end at byte {end}, found {offset + size}")
    return _Directory(offset, size, count)


def _find_directory64(file: BinaryIO, end: int) -> tuple[int, tuple[int, ...]] | None:
    """Return where ZIP64's end record is, and its fields; None if there is none."""
    at = end - _LOCATOR.size
    if at < 0:
        return None
    file.seek(at)
    signature, disk, record, disks = _LOCATOR.unpack(_exactly(file, _LOCATOR.size, "its end"))
    if signature != b"PK\x06\x07":
        return None
    if disk or disks > 1 or not 0 <= record <= at - _END64.size:
        raise FormatError(f"ZIP64 end record: expected before byte {at}, found {record}")
    file.seek(record)
    signature, size, _, _, *fields = _END64.unpack(_exactly(file, _END64.size, "its end"))
    if signature != b"PK\x06\x06" or record + 12 + size != at:
        raise FormatError(f"ZIP64 end record: expected one that ends at byte {at}")
    return record, tuple(fields)


def _check_wider(fields: tuple[int, ...], wider: tuple[int, ...]) -> None:
    for value, wide, unknown in zip(fields, wider, (_BIG16,) * 4 + (_BIG32,) * 2, strict=True):
        if value not in (wide, unknown):
            raise FormatError(f"ZIP64 end record: expected {value}, found {wide}")


# The two headers


def _central(file: BinaryIO, directory: _Directory) -> Iterator[Listed]:
    left = directory.size
    for _ in range(directory.count):
        fields = _CENTRAL.unpack(_exactly(file, _CENTRAL.size, "the central directory"))
        signature, made, _, flags, method, _, crc, packed, size, *lengths = fields[:12]
        disk, _, attributes, at = fields[12:]
        if signature != b"PK\x01\x02":
            raise FormatError(f"expected a central header, found {signature!r}")
        name, extra, _ = (_exactly(file, length, "the central directory") for length in lengths)
        left -= _CENTRAL.size + sum(lengths)
        extras = _extras(extra, name)
        size, packed, at, disk = _widened(extras, name, (size, packed, at, disk))
        if disk:
            raise FormatError(f"{show(name)}: on disk {disk}; expected a whole archive")
        _check_readable(name, flags, method)
        host = made >> 8
        mode = attributes >> 16 if host in _UNIX_HOSTS else 0
        readable = _decoded(name, flags, host, extras)
        yield Listed(readable, name, flags, method, crc, packed, size, mode, at)
    if left:
        raise FormatError(f"central directory: {left} bytes more than its headers")


def _check_readable(name: bytes, flags: int, method: int) -> None:
    for bit, what in _REFUSED_FLAGS.items():
        if flags & bit:
            raise FormatError(f"{show(name)}: {what}; expected a plain member")
    if method not in _METHODS:
        raise FormatError(f"{show(name)}: compression method {method}; expected 0 or 8 (deflate)")


def _decoded(name: bytes, flags: int, host: int, extras: dict[int, bytes]) -> bytes:
    if flags & _UTF8:
        try:
            name.decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError(f"{show(name)}: a name marked as UTF-8 that is not") from None
    elif host not in _UNIX_HOSTS:
        name = name.decode("cp437").encode("utf-8")  # appendix D.1
    other = extras.get(_UNICODE_PATH)
    if other is not None and other[5:] != name:
        raise FormatError(f"{show(name)}: a second name, {show(other[5:])}")
    return name


def _check_local(file: BinaryIO, member: Listed) -> int:
    """Hold a local header against the central one; return where the content begins."""
    file.seek(member.offset)
    fields = _LOCAL.unpack(_exactly(file, _LOCAL.size, "a local header"))
    signature, _, flags, method, _, crc, packed, size, name_length, extra_length = fields
    if signature != b"PK\x03\x04":
        raise FormatError(f"{show(member.name)}: expected a local header, found {signature!r}")
    name = _exactly(file, name_length, "a local header")
    extras = _extras(_exactly(file, extra_length, "a local header"), name)
    size, packed = _widened(extras, name, (size, packed))
    pairs = [
        ("name", member.raw_name, name),
        ("flags", member.flags, flags),
        ("method", member.method, method),
    ]
    # Where a descriptor follows, a local header need not know yet.
    if not (flags & _HAS_DESCRIPTOR and crc == packed == size == 0):
        pairs += [
            ("CRC", member.crc, crc),
            ("compressed size", member.packed, packed),
            ("size", member.size, size),
        ]
    for what, central, local in pairs:
        if central != local:
            raise FormatError(
                f"{show(member.name)}: {what}: the central directory has {central!r}, "
                f"the local header {local!r}"
            )
    other = extras.get(_UNICODE_PATH)
    if other is not None and other[5:] != member.name:
        raise FormatError(f"{show(member.name)}: a second name, {show(other[5:])}")
    return file.tell()


def _end_of_member(file: BinaryIO, member: Listed, end: int) -> int:
    """Return where the content that ends at `end` and the descriptor behind it end."""
    if not member.flags & _HAS_DESCRIPTOR:
        return end
    file.seek(end)
    found = file.read(24)
    values = (member.crc, member.packed, member.size)
    for layout in ("<IQQ", "<III") if max(values) <= _BIG32 else ("<IQQ",):
        for signature in (_DESCRIPTOR, b""):
            expected = signature + struct.pack(layout, *values)
            if found.startswith(expected):
                return end + len(expected)
    raise FormatError(f"{show(member.name)}: expected a data descriptor at byte {end}")


# Extra fields


def _extras(data: bytes, name: bytes) -> dict[int, bytes]:
    """Return the extra fields by their header ID (4.5.1)."""
    fields: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        # Some writers pad with fewer bytes than a field's header has.
        if len(data) - at < 4 and not data[at:].strip(b"\0"):
            break
        if len(data) - at < 4:
            raise FormatError(f"{show(name)}: extra field: truncated")
        kind, length = struct.unpack_from("<HH", data, at)
        at += 4
        if at + length > len(data):
            raise FormatError(f"{show(name)}: extra field {kind:#06x}: truncated")
        if kind in fields and kind in (_ZIP64, _UNICODE_PATH):
            raise FormatError(f"{show(name)}: extra field {kind:#06x}: there twice")
        fields[kind] = data[at : at + length]
        at += length
    return fields


def _widened(extras: dict[int, bytes], name: bytes, values: tuple[int, ...]) -> tuple[int, ...]:
    """Return size, compressed size, offset and disk, from the ZIP64 field where it has them."""
    field = extras.get(_ZIP64)
    if field is None:
        return values
    wide, at = [], 0
    for value, unknown, length in zip(values, _UNKNOWN, (8, 8, 8, 4), strict=False):
        if value != unknown:
            wide.append(value)
            continue
        digits = field[at : at + length]
        if len(digits) != length:
            raise FormatError(f"{show(name)}: ZIP64 field: expected {at + length} bytes")
        wide.append(int.from_bytes(digits, "little"))
        at += length
    return tuple(wide)
