"""What is recorded of a layer's tar."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.content import tar
from immutable.content.contents import Attributes, Contents, Inode
from immutable.content.contents_format import dumps
from immutable.content.entries import Entry, EntryKind, arrange, opaque, whiteout
from immutable.content.recorder import Recorder, of_tar
from immutable.errors import EntryError
from immutable.oci.digest import Digest
from tests.support.archives import (
    END,
    block,
    directory,
    hardlink,
    member,
    padded,
    pax,
    symlink,
)
from tests.support.strategies import marked_trees, trees


def contents(*members: bytes) -> Contents:
    return of_tar(io.BytesIO(b"".join(members) + END), name="layer")


def inode(found: Contents, path: bytes) -> Inode:
    return found.inode(found.node(path))


def attributes(found: Contents, path: bytes) -> Attributes:
    return found.attributes_of(found.node(path))


def test_a_file_is_told_whole() -> None:
    xattr = pax((b"SCHILY.xattr.user.a", b"1"))
    tar = xattr + member(b"a/b", b"bytes", mode=0o4711, uid=3, gid=4) + END
    found = of_tar(io.BytesIO(tar), name="layer")
    one = inode(found, b"a/b")
    expected = Inode(
        EntryKind.FILE,
        0o4711,
        3,
        4,
        size=5,
        xattrs=((b"user.a", b"1"),),
        sha256=Digest.of(b"bytes"),
    )
    assert expected == one
    assert one.position is not None
    assert b"bytes" == tar[one.position :][: one.size]


def test_links_devices_and_pipes_are_told() -> None:
    found = contents(
        symlink(b"l", b"../x", mode=0o600),
        block(b"c", flag=b"3", device=(1, 3)),
        block(b"b", flag=b"4", device=(8, 1)),
        block(b"p", flag=b"6", mode=0o620),
    )
    assert Inode(EntryKind.SYMLINK, 0o777, target=b"../x") == inode(found, b"l")
    assert Inode(EntryKind.CHARACTER, 0o644, device=(1, 3)) == inode(found, b"c")
    assert Inode(EntryKind.BLOCK, 0o644, device=(8, 1)) == inode(found, b"b")
    assert Inode(EntryKind.FIFO, 0o620) == inode(found, b"p")
    assert 4 == len(found)


def test_a_directory_without_an_entry_is_implied() -> None:
    found = contents(member(b"a/b/c"), directory(b"a/", mode=0o700))
    assert Attributes(EntryKind.DIRECTORY, 0o700) == attributes(found, b"a")
    assert Attributes(EntryKind.DIRECTORY, 0o755, implied=True) == attributes(found, b"a/b")


def test_whiteouts_and_opaque_directories_are_told() -> None:
    found = contents(member(b"a/.wh.b"), member(b"c/.wh..wh..opq"), directory(b"c/", mode=0o700))
    assert attributes(found, b"a/b").kind is None
    assert Attributes(EntryKind.DIRECTORY, 0o700, opaque=True) == attributes(found, b"c")
    assert [b"a", b"a/b", b"c"] == [path for path, _ in found.walk()]
    with pytest.raises(ValueError, match="whiteout"):
        inode(found, b"a/b")


def test_of_what_a_tar_has_twice_the_last_counts() -> None:
    found = contents(member(b"a", b"1"), member(b"a", b"22", mode=0o600), symlink(b"a", b"b"))
    assert Inode(EntryKind.SYMLINK, 0o777, target=b"b") == inode(found, b"a")
    found = contents(member(b"a", b"1"), directory(b"a/"), member(b"a/b"))
    assert [b"a", b"a/b"] == [path for path, _ in found.walk()]


def test_a_hard_link_is_what_its_target_was_before_it() -> None:
    found = contents(
        member(b"a", b"old", mode=0o600, uid=9),
        hardlink(b"b", b"a", mode=0o777),
        member(b"a", b"new"),
        hardlink(b"c", b"b"),
        symlink(b"l", b"a"),
        hardlink(b"m", b"l"),
    )
    assert Inode(EntryKind.FILE, 0o600, 9, size=3, sha256=Digest.of(b"old")) == inode(found, b"b")
    assert inode(found, b"b") == inode(found, b"c")
    assert inode(found, b"b").position == inode(found, b"c").position
    assert inode(found, b"a").position != inode(found, b"b").position
    assert inode(found, b"l") == inode(found, b"m")


def test_a_sparse_file_has_its_bytes_in_no_one_place() -> None:
    sparse = pax(
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"a"),
        (b"GNU.sparse.realsize", b"600000"),
    )
    stored = padded(b"1\n300000\n3\n") + padded(b"abc")
    header = block(b"GNUSparseFile.0/a", size=512 + 3)
    found = contents(sparse, header, stored)
    one = inode(found, b"a")
    assert (600000, None) == (one.size, one.position)
    assert Digest.of(bytes(300000) + b"abc" + bytes(600000 - 300003)) == one.sha256


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (b"a/.wh.", "layer: a/.wh.: a whiteout of nothing"),
        (b"a/.wh..", r"layer: a/.wh..: a whiteout of nothing"),
        (b"a/.wh...", r"layer: a/.wh...: a whiteout of nothing"),
        (b".wh.a/b", r"layer: .wh.a/b: goes through .wh.a, which is no directory"),
        (b"a/.wh.a/.wh.b", r"layer: a/.wh.a/.wh.b: goes through a/.wh.a"),
    ],
)
def test_whiteouts_that_mean_nothing_are_refused(name: bytes, message: str) -> None:
    with pytest.raises(EntryError, match=f"^{message}"):
        contents(member(name))


def test_the_files_of_aufs_in_the_root_are_passed_over() -> None:
    found = contents(member(b".wh..wh.aufs"), member(b".wh..wh.plnk/12.3"), member(b"a"))
    assert [b"a"] == [path for path, _ in found.walk()]


@given(st.randoms(use_true_random=False))
def test_the_order_of_a_tar_changes_only_positions(chance: random.Random) -> None:
    members = [member(b"%d/%d" % (n % 3, n), b"%d" % n, uid=n % 4) for n in range(12)]
    members += [symlink(b"l%d" % n, b"%d" % n) for n in range(3)] + [member(b"0/.wh.x")]
    first = contents(*members)
    chance.shuffle(members)
    second = contents(*members)
    for one in ("names", "rows", "starts", "extras", "attributes", "targets", "sizes", "digests"):
        assert getattr(first, one) == getattr(second, one)


@given(trees() | marked_trees(), st.integers(1, 600), st.booleans())
def test_what_is_recorded_while_a_tar_is_written_is_what_reading_it_gives(
    tree: tuple[Entry, ...], limit: int, everywhere: bool
) -> None:
    recorder = Recorder("layer")
    arrangement = arrange([tree[::2], tree[1::2]], mtime=0)
    stream = b"".join(tar.chunks(arrangement, lambda *_: everywhere, limit, recorder.add))
    assert dumps(of_tar(io.BytesIO(stream), name="layer")) == dumps(recorder.contents())
    assert stream == b"".join(tar.chunks(arrangement, lambda *_: everywhere, limit))


def test_marks_are_recorded_as_their_files_are() -> None:
    recorder = Recorder("layer")
    for entry in arrange([[whiteout(b"a/x"), whiteout(b"y"), opaque(b"b/c")]], mtime=0):
        recorder.add(entry)
    found = recorder.contents()
    assert Attributes(None) == attributes(found, b"a/x") == attributes(found, b"y")
    assert Attributes(EntryKind.DIRECTORY, 0o755, opaque=True) == attributes(found, b"b/c")
    assert [b"a", b"a/x", b"b", b"b/c", b"y"] == [path for path, _ in found.walk()]
