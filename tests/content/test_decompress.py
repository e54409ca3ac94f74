from __future__ import annotations

import bz2
import contextlib
import io
import lzma
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immutable.content.archives.decompress import open_stream
from immutable.content.compat import zstd
from immutable.errors import ArchiveError
from tests.support.archives import Trickle, gzipped

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzipped,
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}
TEXT = b"".join(b"line %d\n" % number for number in range(30_000))
ROOT = Path(__file__).parents[2]
every_format = pytest.mark.parametrize("name", PACKERS)


def unpacked(data: bytes, **options: Any) -> bytes:
    return open_stream(io.BytesIO(data), name="a.tar", **options).read()


def refused(data: bytes, *parts: str, **options: Any) -> None:
    with pytest.raises(ArchiveError) as caught:
        unpacked(data, **options)
    message = str(caught.value)
    assert message.startswith("a.tar: ")
    for part in parts:
        assert part in message


@every_format
def test_each_format_is_known_by_its_bytes(name: str) -> None:
    packed = PACKERS[name](TEXT)
    assert TEXT == unpacked(packed)
    assert TEXT == unpacked(packed, compression=name)


@every_format
@pytest.mark.parametrize("length", [1, 511, 1 << 20])
def test_reads_of_any_length(name: str, length: int) -> None:
    stream = open_stream(io.BytesIO(PACKERS[name](TEXT[:20_000])), name="a.tar")
    assert [TEXT[:20_000][at : at + length] for at in range(0, 20_000, length)] == [
        *iter(lambda: stream.read(length), b"")
    ]


@pytest.mark.parametrize("data", [b"", b"x", b"plain", TEXT, b"BZhello"])
def test_anything_else_is_plain(data: bytes) -> None:
    assert data == unpacked(data)
    assert data == unpacked(data, compression="none")


@every_format
def test_members_one_after_another(name: str) -> None:
    packed = b"".join(map(PACKERS[name], (TEXT, b"", b"more", TEXT)))
    assert TEXT + b"more" + TEXT == unpacked(packed)


def test_frames_to_skip_are_skipped() -> None:
    skip = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"12345"
    frame = zstd.compress(b"data")
    assert b"datadata" == unpacked(skip + frame + skip + frame + skip)


@pytest.mark.parametrize("zeros", [1, 512, 100_000])
def test_zeros_after_gzip_are_passed_over_where_they_may_be(zeros: int) -> None:
    packed = PACKERS["gzip"](b"data")

    def read(data: bytes) -> bytes:
        return open_stream(io.BytesIO(data), name="a", padded=True).read()

    assert b"data" == read(packed) == read(packed + bytes(zeros))
    assert b"datadata" == read(packed * 2 + bytes(zeros))
    for junk in (bytes(zeros) + b"x", bytes(zeros) + packed, b"x" + bytes(zeros)):
        with pytest.raises(ArchiveError, match="a: gzip: junk after its end"):
            read(packed + junk)
    with pytest.raises(ArchiveError, match="a: gzip: junk after its end"):
        open_stream(io.BytesIO(packed + bytes(zeros)), name="a").read()


def test_padding_of_xz_comes_in_fours() -> None:
    packed = lzma.compress(b"data")
    assert b"data" == unpacked(packed + bytes(8))
    assert b"datadata" == unpacked(packed + bytes(4) + packed)
    assert b"data" == unpacked(packed + bytes(200_000))
    refused(packed + bytes(3), "xz: junk after its end")
    refused(packed + bytes(4) + b"junk", "xz: junk after its end")


@every_format
@pytest.mark.parametrize("junk", [b"\0", b"junk", bytes(511), b"\x1f", b"BZh", TEXT])
def test_junk_after_the_end(name: str, junk: bytes) -> None:
    refused(PACKERS[name](b"data") + junk, f"{name}: junk after its end")


def test_another_format_after_the_end() -> None:
    refused(gzipped(b"data") + lzma.compress(b"data"), "gzip: junk after its end")


@every_format
def test_truncated_anywhere(name: str) -> None:
    packed = PACKERS[name](b"some data")
    for length in range(6, len(packed)):
        refused(packed[:length], f"{name}: truncated")


@every_format
def test_a_wrong_checksum(name: str) -> None:
    packed = bytearray(PACKERS[name](b"some data" * 10))
    at = {"gzip": -6, "zstd": -2, "xz": -30, "bzip2": 10}[name]
    packed[at] ^= 1
    refused(bytes(packed), f"{name}: damaged")


def test_a_wrong_gzip_length() -> None:
    packed = bytearray(gzipped(b"some data"))
    packed[-1] ^= 1
    refused(bytes(packed), "gzip: damaged", "length")


def test_another_compression_than_promised() -> None:
    refused(gzipped(b"x"), "expected xz, found gzip", compression="xz")
    refused(b"x", "expected gzip, found none", compression="gzip")
    refused(gzipped(b"x"), "expected none, found gzip", compression="none")


@every_format
@settings(max_examples=60)
@given(edits=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), min_size=1, max_size=3))
def test_damage_is_refused_or_read(name: str, edits: list[tuple[int, int]]) -> None:
    damaged = bytearray(PACKERS[name](TEXT[:400]))
    for at, change in edits:
        damaged[at % len(damaged)] ^= change
    with contextlib.suppress(ArchiveError):
        unpacked(bytes(damaged))


def test_the_source_may_read_short() -> None:
    for data in (gzipped(TEXT), TEXT):
        stream: Any = Trickle(data, 3)
        assert TEXT == open_stream(stream, name="a.tar").read()


def test_errors_of_the_source_are_its_own() -> None:
    class Broken(io.BytesIO):
        def read(self, _length: int | None = -1, /) -> bytes:
            if self.tell():
                raise OSError("no disk")
            return super().read(100)

    with pytest.raises(OSError, match="no disk"):
        open_stream(Broken(bz2.compress(TEXT)), name="a.tar").read()


# What a stream may cost


@every_format
def test_a_limit_of_output(name: str) -> None:
    packed = PACKERS[name](TEXT)
    assert TEXT == unpacked(packed, limit=len(TEXT))
    refused(packed, f"{name}: expands to more than 1000 bytes", limit=1000)


def test_a_limit_of_plain_output() -> None:
    refused(TEXT, "expands to more than 1000 bytes", limit=1000)


@every_format
def test_a_bomb_is_refused_by_its_ratio(name: str) -> None:
    zeros = bytes(1 << 20)
    bomb = {
        "gzip": PACKERS["gzip"](zeros) * 3,
        "zstd": PACKERS["zstd"](zeros),
        "xz": PACKERS["xz"](zeros),
        "bzip2": PACKERS["bzip2"](zeros),
    }[name]
    assert zeros == unpacked(bomb)[: len(zeros)]
    if name != "gzip":  # deflate cannot do a thousand to one in a mebibyte
        refused(bomb, "1000 times its input", free=1 << 17)


def test_deflate_at_its_best() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    stream = open_stream(io.BytesIO(bomb), name="a.tar", free=1 << 20)
    with pytest.raises(ArchiveError, match="1000 times its input"):
        stream.read()


_BOMB = """
import io, resource, sys
from immutable.content.archives.decompress import open_stream
from immutable.content.compat import zstd
import bz2, lzma, zlib

def repeat(data, times):
    for _ in range(times):
        yield data

class Stream:
    def __init__(self, pieces):
        self.pieces, self.rest = iter(pieces), b""
    def read(self, length):
        while not self.rest:
            self.rest = next(self.pieces, None)
            if self.rest is None:
                self.rest = b""
                return b""
        data, self.rest = self.rest[:length], self.rest[length:]
        return data

mebi = bytes(1 << 20)
window = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.compression_level: 1}
made = {
    "gzip": zlib.compressobj(9, wbits=31),
    "xz": lzma.LZMACompressor(preset=0),
    "bzip2": bz2.BZ2Compressor(),
    "zstd": zstd.ZstdCompressor(options=window),
}[sys.argv[1]]
bomb = b"".join([*(made.compress(mebi) for _ in range(200)), made.flush()])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = 0
stream = open_stream(Stream([bomb]), name="bomb")
while data := stream.read(1 << 20):
    total += len(data)
assert total == 200 << 20
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@every_format
def test_memory_stays_flat(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BOMB, name], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert "" == done.stderr
    assert int(done.stdout) < 150 << 10  # ru_maxrss counts KiB


def test_a_window_too_large() -> None:
    options = {int(zstd.CompressionParameter.window_log): 28}
    packer = zstd.ZstdCompressor(options=options)
    frame = packer.compress(b"x") + packer.flush()
    refused(frame, "zstd: damaged", "Frame requires too much memory")


def test_a_dictionary_too_large() -> None:
    header = lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 27}])
    refused(header, "xz: damaged", "Memory usage limit")


def test_many_members_take_linear_time() -> None:
    def seconds(count: int) -> float:
        packed = gzipped(b"x" * 100) * count
        begun = time.perf_counter()
        unpacked(packed)
        return time.perf_counter() - begun

    seconds(100)
    small, large = min(seconds(2_000) for _ in range(3)), min(seconds(16_000) for _ in range(2))
    assert large < 40 * small  # quadratic would be 64 times


@pytest.mark.parametrize("pack", [gzipped, zstd.compress], ids=["gzip", "zstd"])
def test_where_members_begin_is_told(pack: Callable[[bytes], bytes]) -> None:
    parts = [noise * 40_000 for noise in (b"ab", b"c", b"def")]
    packed = [pack(part) for part in parts]
    told: list[tuple[int, int]] = []
    stream = open_stream(
        io.BytesIO(b"".join(packed)), name="a", begins=lambda *place: told.append(place)
    )
    assert b"".join(parts) == stream.read()
    expected = [(0, 0), (80_000, len(packed[0])), (120_000, len(packed[0] + packed[1]))]
    assert expected == told
