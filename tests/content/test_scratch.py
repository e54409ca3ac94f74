from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import pytest

from immutable.content.archives import refuse_special
from immutable.content.archives.scratch import ScratchWriter, Slice, unpack
from immutable.content.entries import Entry, EntryKind, arrange
from immutable.content.tar.reader import read
from immutable.errors import ArchiveError, EntryError, StoreError
from tests.support.archives import END, block, directory, hardlink, member, symlink
from tests.support.entries import content


@pytest.fixture
def scratch() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        yield file


def unpacked(data: bytes, scratch: BinaryIO, *, repeats: bool = False) -> list[Entry]:
    return unpack(read(io.BytesIO(data), name="a.tar", repeats=repeats), scratch)


def test_files_keep_their_contents(scratch: BinaryIO) -> None:
    large = os.urandom(3 << 20)
    entries = unpacked(
        member(b"a", b"one") + member(b"empty") + member(b"large", large) + END, scratch
    )
    assert [content(entry) for entry in entries] == [b"one", b"", large]
    assert [3, 0, 3 << 20] == [entry.size for entry in entries]


def test_contents_may_be_read_again_and_from_threads(scratch: BinaryIO) -> None:
    entries = unpacked(
        b"".join(member(b"%d" % at, b"%d" % at * 50_000) for at in range(20)) + END, scratch
    )
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(content, entries)) == [b"%d" % at * 50_000 for at in range(20)]


def test_two_archives_in_one_file(scratch: BinaryIO) -> None:
    one = unpacked(member(b"a", b"one") + END, scratch)
    two = unpacked(member(b"a", b"two") + END, scratch)
    assert (b"one", b"two") == (content(one[0]), content(two[0]))


def test_zeros_become_holes(scratch: BinaryIO) -> None:
    size = 32 << 20
    entries = unpacked(
        member(b"zeros", bytes(size)) + member(b"a", b"x") + member(b"b", bytes(size)) + END,
        scratch,
    )
    assert [content(entry) for entry in entries] == [bytes(size), b"x", bytes(size)]
    assert os.fstat(scratch.fileno()).st_blocks * 512 < 1 << 20


def test_extents(scratch: BinaryIO) -> None:
    writer = ScratchWriter(scratch)
    first = writer.add([(3, b"ab"), (7, b"c")], 10)
    second = writer.add([], 5)
    third = writer.add([(0, b"z")], 1)
    writer.finish()
    assert [b"".join(one.read()) for one in (first, second, third)] == [
        b"\0\0\0ab\0\0c\0\0",
        bytes(5),
        b"z",
    ]


def test_hard_links_have_their_content(scratch: BinaryIO) -> None:
    entries = unpacked(
        member(b"a", b"x") + hardlink(b"b", b"a") + hardlink(b"c", b"b") + END, scratch
    )
    assert [
        (EntryKind.FILE, b"", b"x"),
        (EntryKind.HARDLINK, b"a", b"x"),
        (EntryKind.HARDLINK, b"a", b"x"),
    ] == [(entry.kind, entry.target, content(entry)) for entry in entries]
    arranged = list(arrange([entries[1:]], mtime=0))
    assert [
        (b"b", EntryKind.FILE),
        (b"c", EntryKind.HARDLINK),
    ] == [(entry.path, entry.kind) for entry in arranged]


def test_a_hard_link_to_a_symlink_is_another_symlink(scratch: BinaryIO) -> None:
    entries = unpacked(symlink(b"a", b"x", mode=0o777) + hardlink(b"b", b"a") + END, scratch)
    assert entries[1] == Entry(b"b", EntryKind.SYMLINK, 0o777, target=b"x")


def test_repeats_are_refused(scratch: BinaryIO) -> None:
    with pytest.raises(EntryError, match="a: claimed twice"):
        unpacked(member(b"a") + member(b"a") + END, scratch, repeats=True)


def test_a_file_cut_short_is_noticed(scratch: BinaryIO) -> None:
    (entry,) = unpacked(member(b"a", b"x" * 100) + END, scratch)
    scratch.truncate(40)
    with pytest.raises(StoreError, match="expected 100 bytes at 0, found 40"):
        content(entry)


def test_slices_are_values(scratch: BinaryIO) -> None:
    assert Slice(scratch, 1, 2) == Slice(scratch, 1, 2)


def test_special_files() -> None:
    for flag, what in ((b"3", "character device"), (b"4", "block device"), (b"6", "FIFO")):
        (one,) = read(io.BytesIO(block(b"d/x", flag=flag) + END), name="a.tar")
        with pytest.raises(ArchiveError, match=f"a.tar: d/x: a {what}"):
            refuse_special(one.entry, "a.tar")
    for data in (member(b"a"), directory(b"d"), symlink(b"l", b"a")):
        (one,) = read(io.BytesIO(data + END), name="a.tar")
        refuse_special(one.entry, "a.tar")


class _StopError(Exception):
    pass


@pytest.mark.parametrize("data", [bytes(64 << 20), b"1" * (64 << 20)], ids=["hole", "bytes"])
def test_it_ends_between_two_pieces_when_the_watcher_says_so(
    scratch: BinaryIO, data: bytes
) -> None:
    seen: list[int] = []

    def advance(amount: int) -> None:
        seen.append(amount)
        if sum(seen) > 2 << 20:
            raise _StopError

    with pytest.raises(_StopError):
        unpack(read(io.BytesIO(member(b"a", data) + END), name="a.tar"), scratch, advance)
    assert sum(seen) < 4 << 20


def test_it_ends_between_two_members_too(scratch: BinaryIO) -> None:
    def advance(_: int) -> None:
        raise _StopError

    with pytest.raises(_StopError):
        unpack(read(io.BytesIO(directory(b"a") + END), name="a.tar"), scratch, advance)
