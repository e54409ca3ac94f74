"""Archives made by hand, byte by byte, so that they can be wrong in any one way."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, frozen

BLOCK = 512
END = bytes(2 * BLOCK)


def gzipped(data: bytes) -> bytes:
    """Return `data` as one gzip member, with the same bytes whenever and wherever it is made.

    gzip.compress writes the present time, and from Python 3.13 on another header.
    """
    return zlib.compress(data, 9, wbits=zlib.MAX_WBITS | 16)


# Tar: POSIX.1-2017 pax, "ustar Interchange Format"


def block(
    name: bytes,
    *,
    size: int | bytes = 0,
    flag: bytes = b"0",
    link: bytes = b"",
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 0,
    magic: bytes = b"ustar\x0000",
    device: tuple[int | bytes, int | bytes] = (0, 0),
    prefix: bytes = b"",
    tail: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """Return a header; numbers may be given as the field's raw bytes."""

    def number(value: int | bytes, width: int) -> bytes:
        raw = value if isinstance(value, bytes) else b"%0*o" % (width - 1, value)
        return raw.ljust(width, b"\0")

    head = name.ljust(100, b"\0") + number(mode, 8) + number(uid, 8) + number(gid, 8)
    head += number(size, 12) + number(mtime, 12)
    rest = flag + link.ljust(100, b"\0") + magic.ljust(8, b"\0") + bytes(64)
    rest += number(device[0], 8) + number(device[1], 8)
    rest += tail or prefix.ljust(155, b"\0")
    rest = rest.ljust(356, b"\0")
    total = sum(head) + 8 * 0x20 + sum(rest)
    made = head + (b"%06o\0 " % total if checksum is None else checksum) + rest
    assert BLOCK == len(made)
    return made


def padded(data: bytes) -> bytes:
    """Return `data` filled to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def member(name: bytes, data: bytes = b"", **fields: Any) -> bytes:
    """Return a header and its content."""
    return block(name, **{"size": len(data), **fields}) + padded(data)


def directory(name: bytes, **fields: Any) -> bytes:
    """Return a directory's header."""
    return block(name, **{"flag": b"5", "mode": 0o755, **fields})


def symlink(name: bytes, target: bytes, **fields: Any) -> bytes:
    """Return a symbolic link's header."""
    return block(name, flag=b"2", link=target, **fields)


def hardlink(name: bytes, target: bytes, **fields: Any) -> bytes:
    """Return a hard link's header."""
    return block(name, flag=b"1", link=target, **fields)


def record(keyword: bytes, value: bytes) -> bytes:
    """Return a PAX record, its length counting itself."""
    rest = b" " + keyword + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def pax(*pairs: tuple[bytes, bytes], flag: bytes = b"x", raw: bytes | None = None) -> bytes:
    """Return a PAX header with these records, or with `raw` in their place."""
    data = b"".join(record(*pair) for pair in pairs) if raw is None else raw
    return member(b"pax", data, flag=flag)


def sparse(
    name: bytes,
    data: bytes,
    *records: tuple[bytes, bytes],
    before: int = 3000,
    after: int = 0,
    **fields: Any,
) -> bytes:
    """Return a file with holes around `data`, in GNU tar's PAX format 1.0; with other records."""
    told = {
        b"major": b"1",
        b"minor": b"0",
        b"name": name,
        b"realsize": b"%d" % (before + len(data) + after),
    }
    head = pax(*((b"GNU.sparse." + key, value) for key, value in told.items()), *records)
    stored = padded(b"1\n%d\n%d\n" % (before, len(data))) + data
    return head + member(b"GNUSparseFile.0/" + name.rpartition(b"/")[2], stored, **fields)


def gnu_long(name: bytes, flag: bytes = b"L") -> bytes:
    """Return a GNU long name, or with `flag` K a long link."""
    return member(b"././@LongLink", name + b"\0", flag=flag, magic=b"ustar  \0")


# ar, as in ar(5)


def ar(members: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return an ar archive."""
    return b"!<arch>\n" + b"".join(ar_member(name, data) for name, data in members)


def ar_member(name: bytes, data: bytes, *, size: bytes | None = None, end: bytes = b"`\n") -> bytes:
    """Return an ar member with its header and padding."""
    length = b"%d" % len(data) if size is None else size
    header = b"%-16b%-12b%-6b%-6b%-8b%-10b%b" % (name, b"0", b"0", b"0", b"100644", length, end)
    return header + data + b"\n" * (len(data) % 2)


CONTROL = b"Package: hello\nVersion: 1.0-1\nArchitecture: amd64\nDescription: greets\n kindly\n"


def deb(
    control: bytes = CONTROL, data: bytes = END, extra: Iterable[tuple[bytes, bytes]] = ()
) -> bytes:
    """Return a package with an uncompressed control and data tar."""
    return ar(
        [
            (b"debian-binary", b"2.0\n"),
            (b"control.tar", directory(b"./") + member(b"./control", control) + END),
            (b"data.tar", data),
            *extra,
        ]
    )


# zip, as in APPNOTE 6.3.10


@frozen
class Zipped:
    """One member; what `local` holds replaces fields in the local header only."""

    name: bytes
    data: bytes = b""
    method: int = 8
    flags: int = 0
    mode: int = 0o100644
    host: int = 3
    crc: int | None = None
    size: int | None = None
    packed: bytes | None = None
    extra: bytes = b""
    local: Mapping[str, Any] = {}
    local_extra: bytes = b""
    descriptor: bytes | None = None
    offset: int | None = None

    @property
    def content(self) -> bytes:
        """The bytes between the headers."""
        if self.packed is not None:
            return self.packed
        return deflate(self.data) if self.method == 8 else self.data

    @property
    def sums(self) -> tuple[int, int, int]:
        """CRC, compressed size, size."""
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        return crc, len(self.content), len(self.data) if self.size is None else self.size


def deflate(data: bytes) -> bytes:
    """Return `data` as a raw deflate stream."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def zipped(
    *members: Zipped, comment: bytes = b"", before: bytes = b"", between: bytes = b""
) -> bytes:
    """Return a zip of `members`; `before` and `between` are junk before and after them."""
    body, central = bytearray(before), bytearray()
    for one in members:
        offset = len(body) if one.offset is None else one.offset
        body += _local(evolve(one, **one.local)) + one.content
        body += one.descriptor or b""
        central += _central(one, offset)
    body += between
    end = struct.pack(
        "<4sHHHHIIH",
        b"PK\x05\x06",
        0,
        0,
        len(members),
        len(members),
        len(central),
        len(body),
        len(comment),
    )
    return bytes(body + central + end + comment)


def _local(one: Zipped) -> bytes:
    sums = one.sums
    if one.flags & 8 and not one.local:
        sums = (0, 0, 0)
    fields = (b"PK\x03\x04", 20, one.flags, one.method, 0, *sums)
    lengths = (len(one.name), len(one.local_extra))
    return struct.pack("<4sHHHIIIIHH", *fields, *lengths) + one.name + one.local_extra


def _central(one: Zipped, offset: int) -> bytes:
    fields = (b"PK\x01\x02", one.host << 8 | 20, 20, one.flags, one.method, 0, *one.sums)
    rest = (len(one.name), len(one.extra), 0, 0, 0, one.mode << 16, offset)
    return struct.pack("<4sHHHHIIIIHHHHHII", *fields, *rest) + one.name + one.extra


class Trickle(io.RawIOBase):
    """A stream that gives at most `most` bytes a time, as pipes may, and cannot seek."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data, self._most = io.BytesIO(data), most

    def read(self, length: int | None = -1, /) -> bytes:
        return self._data.read(
            self._most if length is None or length < 0 else min(length, self._most)
        )
