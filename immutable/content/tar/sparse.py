"""Sparse files in tar: GNU's old form, and its PAX forms 0.0, 0.1 and 1.0.

The GNU tar manual, "Storing Sparse Files" and "Sparse Formats", is their only description. A
map says which parts of a file are stored; the rest are zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import frozen

from immutable.content.tar.format import BLOCK, FormatError, Records, decimal, number
from immutable.redact import quoted

_PREFIX = b"GNU.sparse."


@frozen
class Map:
    """A file's length in bytes, and the (offset, length) of its stored parts, ascending."""

    size: int
    segments: tuple[tuple[int, int], ...]

    @property
    def stored(self) -> int:
        """How many bytes the archive holds for the file."""
        return sum(length for _, length in self.segments)


def is_keyword(keyword: bytes) -> bool:
    """Tell whether a PAX record with this keyword describes a sparse file."""
    return keyword.startswith(_PREFIX)


def is_version_1(values: Mapping[bytes, bytes]) -> bool:
    """Tell whether the map stands before the content (1.0) and not in the PAX records (0.x).

    Raises FormatError for any other version.
    """
    version = values.get(b"GNU.sparse.major", b"0"), values.get(b"GNU.sparse.minor", b"")
    if version == (b"1", b"0"):
        return True
    if version[0] == b"0" and version[1] in (b"", b"0", b"1"):
        return False
    major, minor = (part.decode("ascii", "backslashreplace") for part in version)
    raise FormatError(f"sparse file: expected version 0.0, 0.1 or 1.0, found {major}.{minor}")


def from_records(records: Records, values: Mapping[bytes, bytes], limit: int) -> Map:
    """Return the map in PAX records of version 0.0 (repeated pairs) or 0.1 (one list)."""
    if b"GNU.sparse.map" in values:
        listed = values[b"GNU.sparse.map"]
        flat = listed.split(b",") if listed else []
    else:
        flat = [
            value
            for keyword, value in records
            if keyword in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        ]
    count = decimal(values.get(b"GNU.sparse.numblocks", b""), "GNU.sparse.numblocks")
    if len(flat) != 2 * count:
        raise FormatError(f"sparse map: expected {count} segments, found {len(flat) / 2:g}")
    numbers = [decimal(value, "sparse map") for value in flat]
    return _checked(_real_size(values, b"GNU.sparse.size"), _pairs(numbers), limit)


def from_content(values: Mapping[bytes, bytes], block: Callable[[], bytes], limit: int) -> Map:
    """Return the map of version 1.0: decimal lines, from as many blocks as they need."""
    rest = b""

    def line() -> int:
        nonlocal rest
        while b"\n" not in rest:
            if len(rest) > BLOCK:
                raise FormatError(
                    f"sparse map: expected a decimal number, found {quoted(rest, 40)}"
                )
            rest += block()
        digits, _, rest = rest.partition(b"\n")
        return decimal(digits, "sparse map")

    count = line()
    if count > limit:
        raise FormatError(_too_many(count, limit))
    numbers = [line() for _ in range(2 * count)]
    return _checked(_real_size(values, b"GNU.sparse.realsize"), _pairs(numbers), limit)


def from_header(header: bytes, block: Callable[[], bytes], limit: int) -> Map:
    """Return the map of GNU's old form: in the header, then in as many blocks as it says."""
    segments = _old_segments(header[386:482])
    more = header[482]
    while more:
        if len(segments) > limit:
            raise FormatError(_too_many(len(segments), limit))
        extension = block()
        segments += _old_segments(extension[:504])
        more = extension[504]
    return _checked(number(header[483:495], "real size"), segments, limit)


def _old_segments(table: bytes) -> list[tuple[int, int]]:
    segments = []
    for at in range(0, len(table), 24):
        if not table[at]:
            break
        offset, length = table[at : at + 12], table[at + 12 : at + 24]
        segments.append((number(offset, "sparse offset"), number(length, "sparse length")))
    return segments


def _real_size(values: Mapping[bytes, bytes], keyword: bytes) -> int:
    return decimal(values.get(keyword, b""), keyword.decode())


def _pairs(numbers: list[int]) -> list[tuple[int, int]]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _checked(size: int, segments: list[tuple[int, int]], limit: int) -> Map:
    if len(segments) > limit:
        raise FormatError(_too_many(len(segments), limit))
    end = 0
    for offset, length in segments:
        if offset < end or length < 0:
            raise FormatError(f"sparse map: {length} bytes at {offset} overlap what ends at {end}")
        end = offset + length
    if end > size:
        raise FormatError(f"sparse map: ends at {end}, past the file's {size} bytes")
    return Map(size, tuple(segments))


def _too_many(count: int, limit: int) -> str:
    return f"sparse map: {count} segments; at most {limit}"
