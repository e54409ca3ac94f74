"""Footprints as bytes: what is read is what was written, or refused."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immutable.content import placing
from immutable.content.entries import ancestors
from immutable.content.placing import Footprint

NAMES = st.binary(min_size=1, max_size=4).filter(
    lambda name: name not in (b".", b"..") and not {0, 0x2F} & {*name}
)
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=4).map(b"/".join))


@settings(deadline=None)
@given(others=PATHS, folders=PATHS, removed=PATHS)
def test_a_footprint_is_read_as_it_was_written(
    others: list[bytes], folders: list[bytes], removed: list[bytes]
) -> None:
    directories = {*folders, *ancestors([*folders, *others, *removed])}
    parts = (directories, {*others} - directories, {*removed})
    footprint = Footprint(*(tuple(sorted(part)) for part in parts))
    assert footprint == Footprint.decode(footprint.encode())


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (b"", "expected directories, others and what is removed"),
        (b"a\0b", "expected directories, others and what is removed"),
        (b"\0\0/a", "/a is no path of a layer"),
        (b"a\0\0a/", "a/ is no path of a layer"),
        (b"\0\0.", ". is no path of a layer"),
        (b"..\0\0", ".. is no path of a layer"),
        (b"a\0\0a/..", "a/.. is no path of a layer"),
        (b"a\0\0\0b", " is no path of a layer"),
        (b"\0\0" + b"a" * 256, "is no path of a layer"),
        (b"b\0a\0\0", "a comes after b"),
        (b"a\0a\0\0", "a comes after a"),
        (b"\0\0b\0a", "a comes after b"),
        (b"\0\0a/b", "a/b is in no directory of it"),
        (b"a/b\0\0", "a/b is in no directory of it"),
        (b"a\0\0a//b", "a//b is in no directory of it"),
    ],
)
def test_paths_that_no_layer_has(paths: bytes, said: str) -> None:
    with pytest.raises(ValueError, match="no footprint: ") as caught:
        Footprint.decode(zlib.compress(paths + b"\0\0"))
    assert said in str(caught.value)


@pytest.mark.parametrize("removed", [b"a/b", b"..", b"a\0a"])
def test_paths_that_no_layer_removes(removed: bytes) -> None:
    with pytest.raises(ValueError, match="no footprint: "):
        Footprint.decode(zlib.compress(b"\0\0\0\0" + removed))


def test_a_path_may_not_be_longer_than_any_can_be() -> None:
    names = [b"/".join([b"a" * 255] * count) for count in range(1, 17)]
    assert (15, 16 * 256 - 1) == (len(names[:-1]), len(names[-1]))
    Footprint.decode(Footprint(tuple(names[:15])).encode())
    Footprint.decode(Footprint(tuple(names)).encode())
    with pytest.raises(ValueError, match="is no path of a layer"):
        Footprint.decode(Footprint((*names, names[-1] + b"/a")).encode())


WHOLE = Footprint((b"a",), (b"a/b",)).encode()


@pytest.mark.parametrize("data", [b"", b"none", WHOLE[:-1], WHOLE + b"x", WHOLE[:-1] + b"x"])
def test_bytes_that_are_damaged(data: bytes) -> None:
    with pytest.raises(ValueError, match="no footprint: "):
        Footprint.decode(data)


def test_more_paths_than_any_layer_has_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "MOST_PATHS", 1 << 20)
    packed = zlib.compress(b"\0\0" + bytes(b"a" * 255) * 4113)
    assert len(packed) < 10_000
    with pytest.raises(ValueError, match="expected at most 1048576 bytes of paths"):
        Footprint.decode(packed)
