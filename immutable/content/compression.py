"""Encoders: chunks of a tar to the frames of a blob.

Each chunk becomes one gzip member (RFC 1952) or one zstd frame (RFC 8878); a blob is their
concatenation, which both standards define to decode to the concatenated content. So chunks
compress in parallel, and a frame can be copied from one blob to another.

What a compression library makes of the same bytes may change with its version. An encoder
therefore carries the digest of what it makes of a fixed probe, and refuses to work where the
installed library gives another.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Callable
from typing import Any, Final

from attrs import field, frozen

from immutable.errors import EncoderError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest

CHUNK: Final = 1 << 20  # the mean length of a chunk, and the piece a large file is cut to

# RFC 1952, 2.3: magic, deflate, no flags, no time, no extra flags, an unknown file system.
_GZIP_HEADER: Final = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])

# libdeflate's. Up to here a level saves 4 kB or more for each further ms of a core, and the
# next one 1 kB; see benchmarks/README.md. Another level is another digest of every gzip layer.
_GZIP_LEVEL: Final = 5


def cut(path: bytes, size: int) -> bool:
    """Tell whether a chunk begins at the entry with this path and content size in bytes.

    The path's own hash decides, with odds in proportion to the room the entry takes: chunks
    are `CHUNK` bytes long on average whatever the files' sizes, and as the decision looks at
    nothing else, an inserted entry moves no boundary but its own.
    """
    room = size + 1024
    return zlib.crc32(path) * CHUNK < room << 32


def probe() -> bytes:
    """Return some hundred KB that exercise an encoder: runs, text, and noise, always the same."""
    noise = b"".join(hashlib.sha256(b"probe %d" % n).digest() for n in range(4096))
    text = b"".join(b"%06d /usr/share/doc/%x/copyright\n" % (n, n * n) for n in range(4096))
    mixed = b"".join(noise[n * 32 : n * 32 + n % 32] + text[n : n + 96] for n in range(1024))
    return bytes(65536) + text + noise + mixed


@frozen
class Encoder:
    """One way to turn chunks into frames; get them from `encoder`.

    `name` is the spec's word for it, `level` the compression level, `media_type` what a layer
    of it is, and `fingerprint` the digest of the frame that the released version makes of the
    probe.
    """

    name: str
    level: int
    media_type: str
    fingerprint: Digest
    _frame: Callable[[Any, int], bytes] = field(eq=False, repr=False)

    @property
    def key(self) -> str:
        """What a realisation is recorded under: name, level and fingerprint."""
        return f"{self.name}-{self.level}-{self.fingerprint.short}"

    @property
    def compresses(self) -> bool:
        """Whether frames differ from their chunks, so that keeping them spares work."""
        return self.level > 0

    def frame(self, chunk: bytes | bytearray) -> bytes:
        """Return the frame of `chunk`; a pure function of it, safe in any thread."""
        return self._frame(chunk, self.level)

    def check(self) -> None:
        """Raise EncoderError unless the installed library gives the released bytes."""
        actual = _measured(self._frame, self.level)
        if actual != self.fingerprint:
            raise EncoderError(
                f"the installed {self.name} library gives other bytes than the one immutable was "
                f"released with (expected {self.fingerprint}, found {actual} for the probe), so "
                "images would get other digests; install the versions that immutable was "
                'released with, or build with compression = "none"'
            )


def encoder(name: str) -> Encoder:
    """Return the encoder that a spec calls `name`: gzip, zstd or none.

    Raises EncoderError where the installed library would give other bytes; the check runs
    once a process.
    """
    chosen = _ENCODERS[name]
    chosen.check()
    return chosen


NAMES: Final = ("gzip", "zstd", "none")


@functools.cache
def _measured(frame: Callable[[Any, int], bytes], level: int) -> Digest:
    return Digest.of(frame(probe(), level))


def _gzip(chunk: bytes | bytearray, level: int) -> bytes:
    import deflate

    body = deflate.deflate_compress(chunk, level)
    trailer = deflate.crc32(chunk).to_bytes(4, "little") + len(chunk).to_bytes(4, "little")
    return b"".join((_GZIP_HEADER, body, trailer))


def _zstd(chunk: bytes | bytearray, level: int) -> bytes:
    from immutable.content.compat import zstd

    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.checksum_flag: 1,
    }
    return zstd.compress(chunk, options=options)


def _none(chunk: bytes | bytearray, level: int) -> bytes:  # noqa: ARG001
    return bytes(chunk)


_ENCODERS: Final = {
    encoder.name: encoder
    for encoder in (
        Encoder(
            "gzip",
            _GZIP_LEVEL,
            oci.LAYER_GZIP,
            Digest("910f714050f5cde38ae67f417426fee1a2b0918dd7ef162060839d4da1bec369"),
            _gzip,
        ),
        Encoder(
            "zstd",
            3,
            oci.LAYER_ZSTD,
            Digest("8c4acb0460df0c5412dddaef50c089db172793bef18c4a982f92fcd5ddaccafd"),
            _zstd,
        ),
        Encoder(
            "none",
            0,
            oci.LAYER,
            Digest("49bab0d7030d96eea70890eb0deff457ebfa6f71f4e0f0caa290b010b8e050b7"),
            _none,
        ),
    )
}
