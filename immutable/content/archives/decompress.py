"""Compressed streams, told apart by their first bytes, and read in bounded memory.

gzip (RFC 1952), zstd (RFC 8878), xz (the .xz file format 1.2) and bzip2. A stream may be
several members one after another; anything after the last one is refused.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Final, Protocol

from attrs import frozen
from typing_extensions import override

from immutable.content.compat import zstd
from immutable.content.tar.reader import FREE, MOST_RATIO
from immutable.errors import ArchiveError
from immutable.redact import quoted

_CHUNK = 1 << 16
_BUFFER = 1 << 18
_GIBI = 1 << 30


_XZ_MEMORY = 100 << 20  # xz -9 needs 65 MiB
_ZSTD_WINDOW_LOG = 27  # 128 MiB, the most that zstd itself takes when not told otherwise

DEFAULT_LIMIT: Final = 64 * _GIBI


class _Decoder(Protocol):
    """The part of the standard library's decompressors that is used here."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's decompressor of one gzip member, made like the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not (self._full or self._zlib.unconsumed_tail)

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        # zlib may hold back output that there was no room for.
        self._full = len(out) == max_length
        return out


@frozen
class _Format:
    """A compression: its name, how its streams begin, and what reads one of them."""

    name: str
    begins: Callable[[bytes], bool]
    decoder: Callable[[], _Decoder]


def _is_zstd(data: bytes) -> bool:
    # RFC 8878, 3.1: frames of data, and frames to skip
    return data[:4] == b"\x28\xb5\x2f\xfd" or (
        data[1:4] == b"\x2a\x4d\x18" and data[0] & 0xF0 == 0x50
    )


def _zstd_decoder() -> _Decoder:
    options = {int(zstd.DecompressionParameter.window_log_max): _ZSTD_WINDOW_LOG}
    decoder: _Decoder = zstd.ZstdDecompressor(options=options)
    return decoder


_FORMATS = (
    _Format("gzip", lambda data: data[:3] == b"\x1f\x8b\x08", _Gzip),
    _Format("zstd", _is_zstd, _zstd_decoder),
    _Format(
        "xz",
        lambda data: data[:6] == b"\xfd7zXZ\0",
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
    ),
    _Format(
        "bzip2",
        lambda data: data[:3] == b"BZh" and data[4:6] in (b"1A", b"\x17r"),
        bz2.BZ2Decompressor,
    ),
)
_MAGIC = 6  # the longest of them, in bytes
NAMES: Final = ("none", *(one.name for one in _FORMATS))


def open_stream(
    raw: BinaryIO,
    *,
    name: str,
    limit: int = DEFAULT_LIMIT,
    compression: str | None = None,
    free: int = FREE,
    padded: bool = False,
    begins: Callable[[int, int], None] | None = None,
) -> BinaryIO:
    """Return a reader of what `raw` holds, decompressed if it is gzip, zstd, xz or bzip2.

    `raw` is read from where it is to its end, and not seeked. Reading raises ArchiveError,
    beginning with `name`, for damage, truncation, junk after the end, more than `limit` bytes
    of output, and output past `free` bytes that is more than 1000 times its input. With
    `compression`, one of `NAMES`, anything else is refused. With `padded`, zeros may follow a gzip
    member, as gzip(1) has it. The reader's `taken` counts the bytes of `raw` that were
    read; its `compression` is what was found. `begins` is told of each member or frame: how many
    bytes of output and of input are before it.
    """
    raw_stream = _Stream(raw, name, limit, free, begins, padded=padded)
    if compression is not None and raw_stream.compression != compression:
        raise ArchiveError(f"{name}: expected {compression}, found {raw_stream.compression}")
    return _Reader(raw_stream, _BUFFER)


class _Reader(io.BufferedReader):
    """The decompressed bytes, buffered; `taken` counts the bytes of input that they took."""

    def __init__(self, stream: _Stream, size: int) -> None:
        super().__init__(stream, size)
        self._stream = stream

    @property
    def taken(self) -> int:
        return self._stream.taken

    @property
    def compression(self) -> str:
        return self._stream.compression


class _Stream(io.RawIOBase):
    """The decompressed bytes; `compression` says of what, one of `NAMES`."""

    def __init__(
        self,
        raw: BinaryIO,
        name: str,
        limit: int,
        free: int,
        begins: Callable[[int, int], None] | None,
        *,
        padded: bool,
    ) -> None:
        super().__init__()
        self._raw, self._name, self._limit, self._free = raw, name, limit, free
        self._padded, self._begins = padded, begins
        self.taken = self._given = 0
        self._input = b""
        self._fill(_MAGIC)
        self._format = next((one for one in _FORMATS if one.begins(self._input)), None)
        self._decoder: _Decoder | None = None
        self.compression = self._format.name if self._format else "none"

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill `buffer`, at least in part; return how much, 0 only at the end."""
        data = self._plain(len(buffer)) if self._format is None else self._decoded(len(buffer))
        buffer[: len(data)] = data
        self._given += len(data)
        self._check_bounds()
        return len(data)

    def _plain(self, length: int) -> bytes:
        if self._input:
            data, self._input = self._input[:length], self._input[length:]
            return data
        data = self._raw.read(length)
        self.taken += len(data)
        return data

    def _decoded(self, length: int) -> bytes:
        while True:
            if self._decoder is None and not self._begin():
                return b""
            data = self._step(length)
            if data:
                return data

    def _begin(self) -> bool:
        """Begin the next member, if there is one; refuse anything else."""
        assert self._format is not None  # noqa: S101 - plain streams have no members
        self._fill(_MAGIC)
        if self._format.name == "xz":
            self._skip_padding()
        elif self._padded and self._format.name == "gzip" and self._skip_zeros() and self._input:
            raise self._error(f"junk after its end: {quoted(self._input, 16)}")
        if not self._input:
            return False
        if not self._format.begins(self._input):
            raise self._error(f"junk after its end: {quoted(self._input, 16)}")
        if self._begins is not None:
            self._begins(self._given, self.taken - len(self._input))
        self._decoder = self._format.decoder()
        return True

    def _step(self, length: int) -> bytes:
        decoder = self._decoder
        assert decoder is not None  # noqa: S101 - begun by the caller
        data = b""
        if decoder.needs_input:
            if not self._input:
                self._fill(1)
            if not self._input:
                raise self._error("truncated: ends within a stream")
            data, self._input = self._input, b""
        try:
            out = decoder.decompress(data, length)
        except (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, EOFError) as fault:
            raise self._error(f"damaged: {fault}") from None
        if decoder.eof:
            self._input = decoder.unused_data + self._input
            self._decoder = None
        return out

    def _skip_padding(self) -> None:
        """Pass over xz's stream padding: zeros, in fours (section 2.2)."""
        zeros = self._skip_zeros()
        if zeros % 4:
            raise self._error(f"junk after its end: {zeros} zeros; xz pads with fours")
        self._fill(_MAGIC)

    def _skip_zeros(self) -> int:
        """Pass over zeros; return how many there were."""
        zeros = 0
        while self._input:
            rest = self._input.lstrip(b"\0")
            zeros += len(self._input) - len(rest)
            self._input = rest
            if rest:
                break
            self._fill(1)
        return zeros

    def _fill(self, length: int) -> None:
        while len(self._input) < length:
            more = self._raw.read(_CHUNK)
            if not more:
                break
            self.taken += len(more)
            self._input += more

    def _check_bounds(self) -> None:
        if self._given > self._limit:
            raise self._error(f"expands to more than {self._limit} bytes")
        if self._format and self._given > max(self._free, MOST_RATIO * self.taken):
            raise self._error(
                f"expands to more than {self._free} bytes and {MOST_RATIO} times its input"
            )

    def _error(self, what: str) -> ArchiveError:
        return ArchiveError(f"{self._name}: {self.compression}: {what}")
