"""The table of a layer: finding nodes in it, and frames of its blob."""

from __future__ import annotations

import io

import pytest
from hypothesis import given

from immutable.content.contents import ABSENT, Contents, FrameRecorder, Frames, column
from immutable.content.entries import EntryKind
from immutable.content.recorder import of_tar
from tests.support.archives import END, block, member, pax
from tests.support.strategies import layer_tars


def contents(*members: bytes) -> Contents:
    return of_tar(io.BytesIO(b"".join(members) + END), name="layer")


def test_a_path_is_found_by_its_names() -> None:
    found = contents(*(member(b"d%d/f%d" % (n % 7, n)) for n in range(100)))
    assert all(found.node(b"d%d/f%d" % (n % 7, n)) != ABSENT for n in range(100))
    for path in (b"d", b"d7", b"d0/f1", b"d0/f", b"d0/f0/x", b"e"):
        assert ABSENT == found.node(path)
    assert 0 == found.node(b"")
    assert EntryKind.DIRECTORY is found.inode(0).kind


def test_paths_come_in_the_order_of_their_bytes() -> None:
    names = [b"a", b"a-b/c", b"a/b", b"a.b", b"a/b-c", b"a/b/c", b"z"]
    found = contents(*(member(name) for name in names if name not in (b"a", b"a/b")))
    paths = [path for path, _ in found.walk()]
    assert sorted({*names, b"a-b"}) == paths


@given(layer_tars())
def test_the_walk_gives_each_path_once_with_its_node(tar: bytes) -> None:
    found = of_tar(io.BytesIO(tar), name="layer")
    walked = list(found.walk())
    assert sorted(walked) == walked
    assert len(found) == len(walked)
    assert walked == [(path, found.node(path)) for path, _ in walked]


def test_columns_cannot_be_changed() -> None:
    numbers = column("Q", [1, 1 << 63])
    assert [1, 1 << 63] == list(numbers)
    with pytest.raises(TypeError):
        numbers[0] = 2


def test_marks_of_overlay_file_systems_are_known() -> None:
    found = contents(
        block(b"a", flag=b"3"),
        pax((b"SCHILY.xattr.trusted.overlay.opaque", b"y")),
        member(b"b"),
        member(b".wh.c"),
    )
    marks = {path: found.attributes_of(node).mark for path, node in found.walk()}
    expected = {
        b"a": "the character device 0:0",
        b"b": "the extended attribute trusted.overlay.opaque",
        b"c": "",
    }
    assert expected == marks


def test_reading_begins_at_the_last_frame_before() -> None:
    recorder = FrameRecorder()
    for place in ((0, 0), (100, 50), (1 << 20, 1000), ((1 << 20) + 10, 1020), (1 << 21, 2000)):
        recorder.add(*place)
    frames = recorder.frames("gzip")
    assert [0, 1 << 20, 1 << 21] == list(frames.plain)
    for position, expected in (
        (0, (0, 0)),
        ((1 << 20) - 1, (0, 0)),
        (1 << 20, (1 << 20, 1000)),
        ((1 << 20) + 20, (1 << 20, 1000)),
        (1 << 30, (1 << 21, 2000)),
    ):
        assert expected == frames.before(position)


def test_a_plain_blob_is_read_anywhere() -> None:
    assert (12345, 12345) == Frames().before(12345)
