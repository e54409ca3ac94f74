"""Tar's headers, decoded: POSIX.1-2017 pax ("ustar Interchange Format", "pax Header Block").

Beside these, GNU's base-256 numbers and its use of the header, and the older V7 form. Nothing
here knows where in an archive it is: a fault is a `FormatError`, and the reader adds the place.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Final

from attrs import define

from immutable.redact import quoted

BLOCK: Final = 512

# (name), mode, uid, gid, size, mtime, (chksum), typeflag, linkname, (magic, version, uname,
# gname), devmajor, devminor, (prefix, and what POSIX leaves unused)
_FIELDS = struct.Struct("100x8s8s8s12s12s8xc100s72x8s8s167x")
_GNU_MAGIC = b"ustar  \0"
_POSIX_MAGIC = b"ustar\0"
_V7_MAGIC = bytes(8)
_STAR_TRAILER = b"tar\0"

MAX_NUMBER: Final = (1 << 63) - 1
_TIME = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]*))?")
_CHARACTER_SETS = frozenset({b"BINARY", b"ISO-IR 10646 2000 UTF-8"})

Records = list[tuple[bytes, bytes]]


class FormatError(Exception):
    """A header that breaks the format; the message says how, but not where."""


@define
class Header:
    """The fixed part of a member's header; `name` has its prefix, numbers are plain.

    `major` and `minor` stay raw: writers leave anything there for what is no device.
    """

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    type: bytes
    linkname: bytes
    major: bytes
    minor: bytes


def identify(block: bytes) -> bytes:
    """Return the name in the 512 bytes of a member's header, its prefix included.

    Raises FormatError for a wrong checksum and an unknown magic.
    """
    _check_sum(block)
    name = block[:100].partition(b"\0")[0]
    magic = block[257:265]
    if magic[:6] == _POSIX_MAGIC:
        # star keeps two times in the prefix's end
        end = 476 if block[508:] == _STAR_TRAILER else 500
        prefix = block[345:end].partition(b"\0")[0]
        return prefix + b"/" + name if prefix else name
    if magic not in (_GNU_MAGIC, _V7_MAGIC):
        raise FormatError(f"expected a tar header, found the magic {magic!r}")
    return name


def decode(block: bytes, name: bytes) -> Header:
    """Return the header in the 512 bytes of `block`, whose name is `name`.

    Raises FormatError for fields that are no numbers.
    """
    mode, uid, gid, size, mtime, kind, linkname, major, minor = _FIELDS.unpack(block)
    return Header(
        name,
        number(mode, "mode") & 0o7777,
        number(uid, "uid"),
        number(gid, "gid"),
        number(size, "size"),
        number(mtime, "mtime"),
        kind,
        linkname.partition(b"\0")[0],
        major,
        minor,
    )


def _check_sum(block: bytes) -> None:
    field = block[148:156]
    # Adler-32's low half, started at 0, is the plain sum modulo 65521, which 256 bytes never
    # reach; it is ten times as fast as sum().
    total = (zlib.adler32(block[:256], 0) & 0xFFFF) + (zlib.adler32(block[256:], 0) & 0xFFFF)
    total += 8 * ord(" ") - sum(field)
    if total != number(field, "checksum"):
        raise FormatError(f"header checksum: expected {total:o}, found {field!r}")


def number(raw: bytes, what: str) -> int:
    """Return the number in a header's field: octal digits, or GNU's base-256.

    Blanks are 0. Base-256 is signed: the top bit marks it, the next one is the sign.
    """
    digits = raw.strip(b" \0")
    if digits.isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            pass
    elif not digits:
        return 0
    elif raw[0] & 0x80:
        value = int.from_bytes(raw, "big") & ((1 << (8 * len(raw) - 1)) - 1)
        if raw[0] & 0x40:
            value -= 1 << (8 * len(raw) - 1)
        if abs(value) <= MAX_NUMBER:
            return value
    raise FormatError(f"{what}: expected an octal number, found {raw!r}")


def decimal(raw: bytes, what: str) -> int:
    """Return the number that a PAX record holds as decimal digits, below 2**63."""
    if raw.isdigit() and len(raw) <= 19 and int(raw) <= MAX_NUMBER:
        return int(raw)
    raise FormatError(f"{what}: expected a decimal number, found {quoted(raw, 40)}")


def seconds(raw: bytes, what: str) -> int:
    """Return the time in a PAX record as whole seconds, rounded down."""
    match = _TIME.fullmatch(raw)
    if match is None or int(match[2]) > MAX_NUMBER:
        raise FormatError(f"{what}: expected seconds as a decimal number, found {quoted(raw, 40)}")
    sign, whole, fraction = match.groups()
    if not sign:
        return int(whole)
    return -int(whole) - bool((fraction or b"").strip(b"0"))


def records(data: bytes) -> Records:
    """Return the (keyword, value) pairs of a PAX header's content, in their order.

    Raises FormatError for a record whose length is not decimal, zero, or not the record's;
    without ``=`` or keyword; and for names in a character set that is neither UTF-8 nor binary.
    """
    result: Records = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space] if space > 0 else b""
        if not digits.isdigit():
            found = quoted(data[position:], 20)
            raise FormatError(f"PAX record: expected a decimal length, found {found}")
        end = position + int(digits)
        if end <= space + 1 or end > len(data) or data[end - 1] != 0x0A:
            raise FormatError(f"PAX record: the length {int(digits)} is not the record's")
        keyword, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not keyword:
            raise FormatError(f"PAX record: expected keyword=value, found {quoted(keyword, 40)}")
        if keyword == b"hdrcharset" and value and value not in _CHARACTER_SETS:
            raise FormatError(
                f"PAX hdrcharset: expected UTF-8 or BINARY, found {quoted(value, 40)}"
            )
        result.append((keyword, value))
        position = end
    return result


def long_name(data: bytes) -> bytes:
    """Return the name in the content of a GNU long name or long link member."""
    name, _, rest = data.partition(b"\0")
    if not name or rest.strip(b"\0"):
        raise FormatError(f"GNU long name: expected a name and a NUL, found {quoted(data, 40)}")
    return name
