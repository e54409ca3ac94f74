"""Encoders: the released bytes, readable by everyone, or an error that says so."""

from __future__ import annotations

import gzip
import random
import subprocess
import zlib
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from immutable.content import compression as encode
from immutable.content.compat import zstd
from immutable.content.compression import CHUNK, NAMES, cut, encoder, probe
from immutable.errors import EncoderError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from tests.support import needs


def test_the_probe_never_changes() -> None:
    assert (469_164, "49bab0d7030d") == (len(probe()), Digest.of(probe()).short)


@pytest.mark.parametrize(
    ("name", "level", "media_type", "short"),
    [
        ("gzip", 5, oci.LAYER_GZIP, "910f714050f5"),
        ("zstd", 3, oci.LAYER_ZSTD, "8c4acb0460df"),
        ("none", 0, oci.LAYER, "49bab0d7030d"),
    ],
)
def test_the_released_encoders(name: str, level: int, media_type: str, short: str) -> None:
    chosen = encoder(name)
    assert (name, level, media_type) == (chosen.name, chosen.level, chosen.media_type)
    assert f"{name}-{level}-{short}" == chosen.key
    assert Digest.of(chosen.frame(probe())) == chosen.fingerprint
    assert (name != "none") == chosen.compresses


def test_there_are_no_others() -> None:
    assert ("gzip", "zstd", "none") == NAMES


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gzip", "1f8b08000000000000ffcbcccd2d2d494cca4955c8a4320b001a2ecd295a000000"),
        ("zstd", "28b52ffd245a8d000050696d6d757461626c652001005db42001b53470fd"),
        ("none", (b"immutable " * 9).hex()),
    ],
)
def test_a_frame_s_exact_bytes(name: str, expected: str) -> None:
    assert expected == encoder(name).frame(b"immutable " * 9).hex()


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_is_a_pure_function_of_the_bytes(name: str) -> None:
    data = probe()[:100_000]
    chosen = encoder(name)
    assert chosen.frame(data) == chosen.frame(bytearray(data)) == chosen.frame(data)
    assert isinstance(chosen.frame(bytearray(data)), bytes)


@given(st.lists(st.binary(max_size=3000), max_size=4))
def test_frames_one_after_the_other_decode_to_the_chunks(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    blobs = {name: b"".join(map(encoder(name).frame, pieces)) for name in NAMES}
    assert data == blobs["none"]
    assert data == (gzip.decompress(blobs["gzip"]) if pieces else b"")
    assert data == (zstd.decompress(blobs["zstd"]) if pieces else b"")


def test_a_gzip_frame_has_our_own_header_and_a_checksum() -> None:
    frame = encoder("gzip").frame(b"hello")
    assert "1f8b08000000000000ff" == frame[:10].hex()
    assert (zlib.crc32(b"hello"), 5) == (
        int.from_bytes(frame[-8:-4], "little"),
        int.from_bytes(frame[-4:], "little"),
    )


def test_a_zstd_frame_has_a_checksum_and_its_size() -> None:
    frame = encoder("zstd").frame(b"hello" * 100)
    info = zstd.get_frame_info(frame)
    assert 500 == info.decompressed_size
    damaged = frame[:-1] + bytes([frame[-1] ^ 1])
    with pytest.raises(zstd.ZstdError):
        zstd.decompress(damaged)


@needs.tool("gzip")
def test_gzip_finds_many_members_in_order(tmp_path: Path) -> None:
    blob = tmp_path / "blob.gz"
    blob.write_bytes(b"".join(encoder("gzip").frame(b"%d" % n * n) for n in range(300)))
    subprocess.run(["gzip", "-t", str(blob)], check=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_library_that_gives_other_bytes_is_refused(name: str) -> None:
    other = evolve(encoder(name), frame=lambda chunk, _level: bytes(chunk) + b"\0")
    with pytest.raises(EncoderError) as caught:
        other.check()
    message = str(caught.value)
    found = Digest.of(probe() + b"\0")
    assert message.startswith(f"the installed {name} library gives other bytes than the one")
    assert f"expected {other.fingerprint}, found {found} for the probe" in message
    assert message.endswith(
        'install the versions that immutable was released with, or build with compression = "none"'
    )


def test_an_encoder_is_looked_up_by_every_use(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = evolve(encoder("gzip"), fingerprint=Digest("0" * 64))
    monkeypatch.setitem(encode._ENCODERS, "gzip", broken)
    with pytest.raises(EncoderError, match="expected sha256:0000"):
        encoder("gzip")


# "The tar stream is cut into chunks of about 1 MiB at boundaries chosen by content"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mean", [300, 9_000, 150_000])
def test_chunks_are_about_a_mebibyte_long(seed: int, mean: int) -> None:
    rng = random.Random(seed)
    lengths, length = [], 0
    for number in range(120_000_000 // (mean + 1024)):
        path = b"usr/lib/python3/site-packages/p%d/m%d.py" % (number // 40, number)
        size = int(rng.expovariate(1 / mean))
        if length and (cut(path, size) or length >= CHUNK):
            lengths.append(length)
            length = 0
        length += 512 + -(-size // 512) * 512
    assert 0.35 * CHUNK < sum(lengths) / len(lengths) < 1.3 * CHUNK


def test_the_cut_looks_at_nothing_but_path_and_size() -> None:
    paths = [b"a/%d" % n for n in range(20_000)]
    first = [path for path in paths if cut(path, 5000)]
    assert first == [path for path in paths if cut(path, 5000)]
    assert set(first) <= {path for path in paths if cut(path, 6000)}
    assert all(cut(path, CHUNK) for path in paths)
