"""A blob on its way from a registry, over a line that breaks."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from attrs import define

from immutable.net.attempts import FailedError, Run
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.transports.registry.downloads import BlobReader

DATA = random.Random(1).randbytes(90_000)
BLOB = Descriptor(oci.LAYER, Digest.of(DATA), len(DATA))


@define
class Breaking:
    """An answer whose line breaks after `left` bytes; of the read that it breaks none comes."""

    rest: io.BytesIO
    left: int
    status_code: int
    headers: dict[str, str]

    @property
    def raw(self) -> Breaking:
        return self

    def read(self, amount: int, *, decode_content: bool) -> bytes:
        data = self.rest.read(amount)
        self.left -= len(data)
        if self.left < 0:
            raise ConnectionResetError("reset")
        return data

    def close(self) -> None:
        self.left = 0


def reader(left: int, asked: list[int]) -> BlobReader:
    def ask(offset: int) -> Any:
        asked.append(offset)
        span = f"bytes {offset}-{len(DATA) - 1}/{len(DATA)}"
        return Breaking(io.BytesIO(DATA[offset:]), left, 206, {"Content-Range": span})

    return BlobReader(ask, BLOB, Run(lambda _: None), lambda failed: failed)


def read(blob: BlobReader) -> bytes:
    """Read as those do who write it down: as much as there is at once."""
    buffer, data = bytearray(1 << 20), b""
    while count := blob.readinto(buffer):
        data += buffer[:count]
    return data


def test_a_line_that_breaks_again_and_again_still_brings_it() -> None:
    asked: list[int] = []
    assert DATA == read(reader(40_000, asked))
    assert asked == sorted(asked)
    assert 6 >= len(asked)


def test_six_times_are_the_most() -> None:
    asked: list[int] = []
    with pytest.raises(FailedError, match="reset"):
        read(reader(1000, asked))
    assert [0] * 6 == asked
