"""Whiteouts and opaque directories: in a layer's entries, in its tar, and where it is unpacked.

Quotations are from OCI image-spec layer.md, "Whiteouts".
"""

from __future__ import annotations

import io
import random
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from immutable.content import tar
from immutable.content.entries import (
    MARKS,
    Arrangement,
    Entry,
    EntryKind,
    arrange,
    directory,
    file,
    opaque,
    parent,
    symlink,
    whiteout,
)
from immutable.content.recorder import of_tar
from immutable.content.rootfs import Rootfs
from immutable.errors import EntryError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import ImageConfig, Manifest
from immutable.transports import copy
from tests.support import needs
from tests.support.images import AMD64, MemoryTransport
from tests.support.overlay import Overlay
from tests.support.strategies import marked_trees


def packed(*entries: Entry) -> bytes:
    return b"".join(tar.chunks(arrange([entries], mtime=0), lambda *_: False, 1 << 20))


def places(arrangement: Arrangement) -> list[bytes]:
    """Where the tar has what is arranged."""
    return [entry.tar_path for entry in arrangement]


def refused(*sources: Sequence[Entry]) -> str:
    with pytest.raises(EntryError) as caught:
        arrange(sources, mtime=0)
    return str(caught.value)


# In a layer's entries


def test_a_mark_is_named_by_what_it_takes_away() -> None:
    assert (b"a/b", b"a/.wh.b") == (whiteout(b"a/b").path, whiteout(b"a/b").tar_path)
    assert (b"a/b", b"a/b/.wh..wh..opq") == (opaque(b"a/b").path, opaque(b"a/b").tar_path)
    assert b".wh.a" == whiteout(b"a").tar_path


def test_parents_of_marks_and_opaque_directories_are_implied() -> None:
    made = arrange([[whiteout(b"root/a/b"), opaque(b"c/d")]], mtime=3)
    assert [
        b"c",
        b"c/d",
        b"c/d/.wh..wh..opq",
        b"root",
        b"root/a",
        b"root/a/.wh.b",
    ] == places(made)
    assert [0o755, 0o755, 0o700, 0o755] == [entry.mode for entry in made.directories]


def test_marks_come_before_all_that_stands_beside_them() -> None:
    # "implementations SHOULD generate layers such that the whiteout files appear before sibling
    # directory entries"
    one = [file(b"a/-", b""), directory(b"a/-b"), directory(b"a-b")]
    two = [opaque(b"a"), whiteout(b"z"), whiteout(b"b/y"), whiteout(b"b/!")]
    assert [
        b".wh.z",
        b"a",
        b"a/.wh..wh..opq",
        b"a-b",
        b"a/-b",
        b"b",
        b"b/.wh.!",
        b"b/.wh.y",
        b"a/-",
    ] == places(arrange([one, two], mtime=0))


@given(marked_trees(), st.randoms(use_true_random=False))
def test_marks_have_one_order_and_follow_their_directory(
    tree: tuple[Entry, ...], rng: random.Random
) -> None:
    made = arrange([tree], mtime=9)
    assert {entry for entry in tree if entry.kind in MARKS} == {
        evolve(entry, mtime=0) for entry in made.marks
    }
    seen: dict[bytes, EntryKind] = {b"": EntryKind.DIRECTORY}
    others: set[bytes] = set()
    for entry in made:
        folder = parent(entry.tar_path)
        assert EntryKind.DIRECTORY is seen[folder]
        assert entry.kind not in MARKS or folder not in others
        seen[entry.tar_path] = entry.kind
        if entry.kind not in MARKS:
            others.add(folder)
    shuffled = list(tree)
    rng.shuffle(shuffled)
    assert made == arrange([shuffled], mtime=9)


def test_a_mark_has_no_attributes_of_its_own() -> None:
    plain = arrange([[whiteout(b"a"), opaque(b"b")]], mtime=5)
    given = [evolve(one, mode=0o644, uid=3, mtime=8) for one in (whiteout(b"a"), opaque(b"b"))]
    assert plain == arrange([given], mtime=5)
    assert [(0, 0, 5), (0, 0, 5)] == [(one.mode, one.uid, one.mtime) for one in plain.marks]


def test_the_same_mark_twice_is_one() -> None:
    once = arrange([[whiteout(b"a"), opaque(b"b")], []], mtime=0)
    twice = [whiteout(b"a"), opaque(b"b"), opaque(b"b")]
    assert once == arrange([twice, [whiteout(b"a")]], mtime=0)


def test_an_opaque_directory_may_have_an_entry_and_hold_others() -> None:
    made = arrange([[opaque(b"a"), file(b"a/b", b"")], [directory(b"a", 0o700, 3)]], mtime=0)
    assert [b"a", b"a/.wh..wh..opq", b"a/b"] == places(made)
    assert (0o700, 3) == (made.directories[0].mode, made.directories[0].uid)


CONTRADICTIONS: list[tuple[Entry, Entry, str]] = [
    (whiteout(b"a"), file(b"a", b"x"),
     "a: claimed twice, as a file (mode 0644, owner 0:0, 1 bytes) and as a whiteout"),
    (whiteout(b"a"), directory(b"a"),
     "a: claimed twice, as a directory (mode 0755, owner 0:0) and as a whiteout"),
    (whiteout(b"a"), symlink(b"a", b"b"),
     "a: claimed twice, as a symlink to b (mode 0777, owner 0:0) and as a whiteout"),
    (whiteout(b"a"), file(b"a/b/c", b""), "a/b/c: goes through a, which is a whiteout"),
    (whiteout(b"a"), whiteout(b"a/b"), "a/b: goes through a, which is a whiteout"),
    (whiteout(b"a"), opaque(b"a"), "a/.wh..wh..opq: goes through a, which is a whiteout"),
    (whiteout(b"a"), opaque(b"a/b"), "a/b/.wh..wh..opq: goes through a, which is a whiteout"),
    (opaque(b"a"), file(b"a", b""), "a/.wh..wh..opq: goes through a, which is a file"),
    (opaque(b"a"), symlink(b"a", b"b"), "a/.wh..wh..opq: goes through a, which is a symlink"),
    (whiteout(b"a/b"), file(b"a", b""), "a/b: goes through a, which is a file"),
    (opaque(b"a"), whiteout(b"a/b/c"),
     "a/b/c: a whiteout in a, which is opaque: nothing in it is left to hide; leave it out"),
    (opaque(b"a"), opaque(b"a/b"),
     ("a/b: a mark of an opaque directory in a, which is opaque: nothing in it is left to hide; "
      "leave it out")),
    (whiteout(b"a"), Entry(b"b", EntryKind.HARDLINK, target=b"a"),
     "b: a hard link to a, which is not there"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "message"), CONTRADICTIONS)
def test_marks_that_contradict_another_entry_are_refused(
    one: Entry, other: Entry, message: str
) -> None:
    for sources in ([one, other],), ([other, one],), ([one], [other]), ([other], [one]):
        assert message == refused(*sources)


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (whiteout(b""), "the root as a whiteout"),
        (opaque(b""), "the root as a mark of an opaque directory"),
        (whiteout(b"/a"), "/a: an absolute path"),
        (whiteout(b"a/.."), "a/..: leaves the root through .."),
        (opaque(b"a/"), "a/: expected a path like a"),
        (whiteout(b".wh.a"), ".wh.a: names that start with .wh. mean deletion in a layer"),
        (opaque(b"a/.wh.b"), "a/.wh.b: names that start with .wh. mean deletion in a layer"),
        (whiteout(b"a/" + b"n" * 252),
         ("a whiteout with a name of 256 bytes in the layer, and a path of 258; "
          "expected at most 255 and 4095")),
        (whiteout(b"/".join([b"n" * 15] * 256)),
         ("a whiteout with a name of 19 bytes in the layer, and a path of 4099; "
          "expected at most 255 and 4095")),
        (opaque(b"/".join([b"n" * 15] * 256)),
         ("a mark of an opaque directory with a name of 12 bytes in the layer, and a path of 4108; "
          "expected at most 255 and 4095")),
    ],
)  # fmt: skip
def test_marks_that_no_layer_can_hold_are_refused(mark: Entry, message: str) -> None:
    assert refused([mark]).endswith(message)


def test_the_longest_name_can_be_hidden() -> None:
    assert [b".wh." + b"n" * 251] == places(arrange([[whiteout(b"n" * 251)]], mtime=0))


# In parts of a layer


def test_marks_stand_in_the_lowest_part_alone() -> None:
    whole = arrange(
        [[file(b"a/x", b""), opaque(b"a"), whiteout(b"b/c")], [file(b"a/y", b"")]], mtime=0
    )
    lowest = whole.part([0], rest=False, marks=True)
    assert [b"a", b"a/.wh..wh..opq", b"b", b"b/.wh.c", b"a/x"] == places(lowest)
    assert [b"a", b"a/y"] == places(whole.part([1], rest=True, marks=False))
    layers = [lowest, whole.part([1], rest=True, marks=False)]
    tars = [b"".join(tar.chunks(one, lambda *_: False, 99)) for one in layers]
    root = Rootfs([of_tar(io.BytesIO(one), name="layer") for one in tars])
    assert [b"a", b"a/x", b"a/y", b"b"] == [found.path for found in root]


def test_marks_are_never_lost_in_parts() -> None:
    whole = arrange([[whiteout(b"a")], [file(b"b", b"")]], mtime=0)
    with pytest.raises(ValueError, match="which part is the lowest"):
        whole.part([1], rest=True)


# Where layers are unpacked

LOWER = [
    file(b"etc/gone", b"1"),
    file(b"etc/kept", b"2"),
    file(b"doc/a/b", b"3"),
    file(b"doc/c", b"4"),
    file(b"new/x", b"5"),
    symlink(b"link", b"etc/kept"),
    file(b"n" * 251, b"6"),
]
UPPER = [
    whiteout(b"etc/gone"),
    whiteout(b"etc/never"),
    whiteout(b"doc/a"),
    whiteout(b"link"),
    whiteout(b"n" * 251),
    opaque(b"new"),
    file(b"new/y", b"7"),
    opaque(b"empty"),
]
LEFT = [b"doc", b"doc/c", b"empty", b"etc", b"etc/kept", b"new", b"new/y"]
TARS = [packed(*LOWER), packed(*UPPER)]


def test_the_rootfs_is_what_whiteouts_leave() -> None:
    root = Rootfs([of_tar(io.BytesIO(one), name="layer") for one in TARS])
    assert LEFT == [found.path for found in root]


@needs.overlay()
def test_the_kernel_shows_what_whiteouts_leave() -> None:
    with closing(Overlay()) as overlay:
        assert LEFT == sorted(overlay.shows(TARS))


@pytest.mark.tools
@needs.tool("umoci")
def test_umoci_unpacks_what_whiteouts_leave(tmp_path: Path) -> None:
    there = MemoryTransport()
    config = ImageConfig(AMD64, "1970-01-01T00:00:00Z", tuple(map(Digest.of, TARS)))
    blobs = tuple(there.add(one, oci.LAYER) for one in TARS)
    there.add_manifest(Manifest(there.add(config.encode(), oci.CONFIG), blobs))
    copy(there, f"oci:{tmp_path / 'layout'}:web")
    command = ("umoci", "unpack", "--rootless", "--image", "layout:web", "bundle")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert 0 == done.returncode, done.stderr.decode()
    unpacked = tmp_path / "bundle/rootfs"
    assert LEFT == sorted(bytes(path.relative_to(unpacked)) for path in unpacked.rglob("*"))
