"""Entries: one order, every parent, one claim a path, and nothing through what is no directory.

Quotations are from the design's "Bytes".
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from immutable.content.entries import (
    Arrangement,
    Entry,
    EntryKind,
    Inline,
    arrange,
    directory,
    file,
    parent,
    safe_path,
    show,
    symlink,
)
from immutable.errors import EntryError
from tests.support import strategies
from tests.support.entries import Sized


def hardlink(path: bytes, target: bytes, data: bytes | None = None) -> Entry:
    return Entry(
        path, EntryKind.HARDLINK, target=target, content=None if data is None else Inline(data)
    )


def listed(arrangement: Arrangement) -> list[tuple[bytes, str]]:
    return [(entry.path, entry.kind.name.lower()) for entry in arrangement]


def contents(arrangement: Arrangement) -> dict[bytes, bytes]:
    """What a reader finds at each path, links followed as tar has them: to what came before."""
    found: dict[bytes, bytes] = {}
    for entry in arrangement:
        if entry.kind is EntryKind.HARDLINK:
            found[entry.path] = found[entry.target]
        elif entry.kind is EntryKind.FILE and entry.content is not None:
            found[entry.path] = b"".join(entry.content.read())
    return found


def refused(*sources: Sequence[Entry]) -> str:
    with pytest.raises(EntryError) as caught:
        arrange(sources, mtime=0)
    return str(caught.value)


# Paths


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"a/b", b"a/b"),
        (b"./a//b/./c/", b"a/b/c"),
        (b"", b""),
        (b".", b""),
        (b"a/..b/...", b"a/..b/..."),
        (b"\xff/\n", b"\xff/\n"),
        (b"n" * 255, b"n" * 255),
        (b"/".join([b"n" * 15] * 256), b"/".join([b"n" * 15] * 256)),
    ],
)
def test_safe_paths(raw: bytes, expected: bytes) -> None:
    assert expected == safe_path(raw)
    assert expected == safe_path(b"//" + raw, reroot=True)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"../x", "../x: leaves the root through .."),
        (b"a/../b", "a/../b: leaves the root through .."),
        (b"a/..", "a/..: leaves the root through .."),
        (b"/etc", "/etc: an absolute path"),
        (b"a\0b", r"a\x00b: a NUL in a path"),
        (b"a/" + b"n" * 256, "a name of 256 bytes; at most 255"),
        (b"/".join([b"n" * 15] * 256) + b"n", "a path of 4096 bytes; at most 4095"),
    ],
)
def test_unsafe_paths(raw: bytes, message: str) -> None:
    with pytest.raises(EntryError) as caught:
        safe_path(raw)
    assert str(caught.value).endswith(message)


@given(st.binary(max_size=40))
def test_a_safe_path_is_its_own_safe_path(raw: bytes) -> None:
    try:
        path = safe_path(raw, reroot=True)
    except EntryError:
        return
    assert path == safe_path(path)
    assert not {b"", b".", b".."} & set(path.split(b"/")) or path == b""


def test_paths_are_shown_without_control_characters() -> None:
    assert r"a\n\x1b[1m\xffé" == show(b"a\n\x1b[1m\xff" + "é".encode())
    assert 181 == len(show(b"x" * 5000))


# "parents always present, one entry a path, no absolute path or `..`"


@given(strategies.trees())
def test_parents_are_always_present_and_before_what_they_hold(tree: tuple[Entry, ...]) -> None:
    seen = {b""}
    for entry in arrange([tree], mtime=0):
        assert parent(entry.path) in seen
        assert entry.path not in seen
        if entry.kind is EntryKind.DIRECTORY:
            seen.add(entry.path)


@given(strategies.trees(), st.integers(0, 2**33))
def test_nothing_is_lost_and_nothing_but_directories_is_added(
    tree: tuple[Entry, ...], mtime: int
) -> None:
    given = {entry.path: evolve(entry, mtime=mtime) for entry in tree}
    made = {entry.path: entry for entry in arrange([tree], mtime=mtime)}
    assert given == {path: entry for path, entry in made.items() if path in given}
    assert {EntryKind.DIRECTORY} >= {made[path].kind for path in made.keys() - given.keys()}
    assert {mtime} >= {entry.mtime for entry in made.values()}


def test_implied_directories_have_their_customary_modes() -> None:
    made = arrange([[file(b"root/a", b""), file(b"var/tmp/b", b""), file(b"tmp/c", b"")]], mtime=3)
    assert [
        (b"root", 0o700, 0, 3),
        (b"tmp", 0o1777, 0, 3),
        (b"var", 0o755, 0, 3),
        (b"var/tmp", 0o1777, 0, 3),
    ] == [(entry.path, entry.mode, entry.uid, entry.mtime) for entry in made.directories]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (b"", "the root as a file"),
        (b"/a", "/a: an absolute path"),
        (b"/a/b", "/a/b: an absolute path"),
        (b"../a", "..: leaves the root through .."),
        (b"a/../b", "a/..: leaves the root through .."),
        (b"a/..", "a/..: leaves the root through .."),
        (b"a//b", "a/: expected a path like a"),
        (b"a/", "a/: expected a path like a"),
        (b"./a", ".: expected a path like "),
        (b"a\0", r"a\x00: a NUL in a path"),
        (b"a\0/b", r"a\x00: a NUL in a path"),
        (b"x" * 256, "a name of 256 bytes; at most 255"),
        (b"x" * 256 + b"/b", "a name of 256 bytes; at most 255"),
        (b"/".join([b"n" * 15] * 256) + b"n", "a path of 4096 bytes; at most 4095"),
        (b".wh.a", ".wh.a: names that start with .wh. mean deletion in a layer"),
        (b"a/.wh..wh..opq", "a/.wh..wh..opq: names that start with .wh. mean deletion in a layer"),
        (b"a/.wh.b/c", "a/.wh.b: names that start with .wh. mean deletion in a layer"),
    ],
)
def test_paths_that_no_layer_can_hold(path: bytes, message: str) -> None:
    assert refused([file(path, b"")]).endswith(message)


@pytest.mark.parametrize(
    "path",
    [
        b"x" * 255,
        b"/".join([b"n" * 15] * 256),
        b"\xff\xfe",
        b"\n",
        b".wh",
        b"...",
        b"a.wh.b",
        b".a",
    ],
)
def test_paths_that_a_layer_can_hold(path: bytes) -> None:
    assert path == list(arrange([[file(path, b"")]], mtime=0))[-1].path


@pytest.mark.parametrize("target", [b"", b"x" * 4096, b"a\0b"])
def test_links_that_no_file_system_can_hold(target: bytes) -> None:
    assert refused([symlink(b"a", target)]).startswith("a: a symlink to ")


# "A path that two sources of one layer claim is an error unless it is an identical directory or
# file."


@pytest.mark.parametrize(
    "entry",
    [
        directory(b"a", 0o700, 1, 2),
        file(b"a", b"data", 0o600),
        symlink(b"a", b"b"),
        Entry(b"a", EntryKind.CHARACTER, device=(1, 3)),
        Entry(b"a", EntryKind.FILE, content=Inline(b"x"), xattrs=((b"user.a", b"1"),)),
    ],
)
def test_an_identical_claim_is_one(entry: Entry) -> None:
    alone = arrange([[entry], []], mtime=0)
    assert alone == arrange([[entry], [evolve(entry, mtime=5)]], mtime=0)
    assert [entry] == list(arrange([[entry, entry]], mtime=0))


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (directory(b"a/b"), directory(b"a/b", 0o700),
         ("a/b: claimed twice, as a directory (mode 0755, owner 0:0) "
         "and as a directory (mode 0700, owner 0:0)")),
        (directory(b"a"), directory(b"a", uid=3),
         ("a: claimed twice, as a directory (mode 0755, owner 0:0) "
         "and as a directory (mode 0755, owner 3:0)")),
        (file(b"a", b"x"), file(b"a", b"xy"),
         ("a: claimed twice, as a file (mode 0644, owner 0:0, 1 bytes) "
         "and as a file (mode 0644, owner 0:0, 2 bytes)")),
        (file(b"a", b"x"), file(b"a", b"y"),
         ("a: claimed twice, as a file (mode 0644, owner 0:0, 1 bytes) "
         "and as a file (mode 0644, owner 0:0, 1 bytes); what they hold differs")),
        (file(b"a", b"x"), symlink(b"a", b"b"),
         ("a: claimed twice, as a file (mode 0644, owner 0:0, 1 bytes) "
         "and as a symlink to b (mode 0777, owner 0:0)")),
        (symlink(b"a", b"b"), symlink(b"a", b"c"),
         ("a: claimed twice, as a symlink to b (mode 0777, owner 0:0) "
         "and as a symlink to c (mode 0777, owner 0:0)")),
        (directory(b"a"), file(b"a", b""),
         ("a: claimed twice, as a directory (mode 0755, owner 0:0) "
         "and as a file (mode 0644, owner 0:0, 0 bytes)")),
        (Entry(b"a", EntryKind.BLOCK, device=(1, 2)), Entry(b"a", EntryKind.BLOCK, device=(1, 3)),
         ("a: claimed twice, as a block device (mode 0644, owner 0:0) "
         "and as a block device (mode 0644, owner 0:0); what they hold differs")),
    ],
)  # fmt: skip
def test_two_claims_are_named(one: Entry, other: Entry, message: str) -> None:
    assert message == refused([one], [other])
    assert message == refused([one, other])


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=6), st.booleans())
def test_content_is_compared_however_it_is_cut(data: bytes, cuts: list[int], flip: bool) -> None:
    other = bytes([data[0] ^ 1]) + data[1:] if flip and data else data
    places = [0, *sorted(min(cut, len(other)) for cut in cuts), len(other)]
    cut = Sized(len(other), tuple(other[a:b] for a, b in pairwise(places)))
    sources = [[file(b"a", data)], [Entry(b"a", EntryKind.FILE, content=cut)]]
    if data == other:
        assert 1 == len(list(arrange(sources, mtime=0)))
    else:
        refused(*sources)


# BAD-INPUTS: "a symlink, then a write through it, also across two packages"


@pytest.mark.parametrize(
    ("link", "what"),
    [
        (symlink(b"a/b", b"/etc"), "a symlink"),
        (file(b"a/b", b""), "a file"),
        (Entry(b"a/b", EntryKind.FIFO), "a FIFO"),
        (Entry(b"a/b", EntryKind.CHARACTER, device=(1, 3)), "a character device"),
    ],
)
def test_nothing_goes_through_what_is_no_directory(link: Entry, what: str) -> None:
    lower = file(b"a/b/c/d", b"")
    message = f"a/b/c/d: goes through a/b, which is {what}"
    for sources in ([link, lower],), ([lower, link],), ([link], [lower]), ([lower], [link]):
        assert message == refused(*sources)


# "Directories first, by raw path bytes; then everything else, source by source in the lock's
# order, each by path"


def test_the_order() -> None:
    one = [file(b"z", b""), file(b"b/\xff", b""), file(b"b/a", b""), file("b/é".encode(), b"")]
    two = [directory(b"b-"), symlink(b"a", b"z"), file(b"b/b", b""), directory(b"B")]
    assert [
        (b"B", "directory"),
        (b"b", "directory"),
        (b"b-", "directory"),
        (b"b/a", "file"),
        (b"b/\xc3\xa9", "file"),
        (b"b/\xff", "file"),
        (b"z", "file"),
        (b"a", "symlink"),
        (b"b/b", "file"),
    ] == listed(arrange([one, two], mtime=0))


@given(strategies.trees(), st.randoms(use_true_random=False))
def test_the_order_within_a_source_does_not_matter(
    tree: tuple[Entry, ...], rng: random.Random
) -> None:
    shuffled = list(tree)
    rng.shuffle(shuffled)
    assert arrange([tree], mtime=0) == arrange([shuffled], mtime=0)


@given(st.lists(strategies.trees(), max_size=3))
def test_a_source_s_files_are_the_same_whatever_stands_beside_it(
    sources: list[tuple[Entry, ...]],
) -> None:
    apart = [[evolve(e, path=b"%d/%b" % (n, e.path)) for e in s] for n, s in enumerate(sources)]
    together = arrange(apart, mtime=0)
    assert [arrange([source], mtime=0).sources[0] for source in apart] == list(together.sources)
    paths = [entry.path for entry in together.directories]
    assert sorted(paths) == paths


# "Of hard links the first path carries the content."


def test_the_first_path_carries_the_content() -> None:
    source = [file(b"m", b"data", 0o755, 1, 2), hardlink(b"z", b"m"), hardlink(b"d/a", b"m")]
    made = arrange([source], mtime=9)
    assert [
        Entry(b"d", EntryKind.DIRECTORY, 0o755, mtime=9),
        Entry(b"d/a", EntryKind.FILE, 0o755, 1, 2, 9, Inline(b"data")),
        Entry(b"m", EntryKind.HARDLINK, 0o755, 1, 2, 9, Inline(b"data"), b"d/a"),
        Entry(b"z", EntryKind.HARDLINK, 0o755, 1, 2, 9, Inline(b"data"), b"d/a"),
    ] == list(made)
    assert 0 == list(made)[2].size


@given(st.permutations(range(6)), st.data())
def test_links_may_link_to_links(order: list[int], data: st.DataObject) -> None:
    names = [b"%d" % n for n in order]
    links = [
        hardlink(name, data.draw(st.sampled_from(names[: n + 1])))
        for n, name in enumerate(names[1:])
    ]
    source = data.draw(st.permutations([file(names[0], b"data"), *links]))
    made = arrange([source], mtime=0)
    assert [(b"0", "file"), *((b"%d" % n, "hardlink") for n in range(1, 6))] == listed(made)
    assert {b"0"} == {entry.target for entry in list(made)[1:]}


def test_a_link_that_brings_its_content_stands_alone() -> None:
    source = [hardlink(b"b", b"gone", b"data"), hardlink(b"a", b"b", b"data")]
    for links in (source, source[::-1]):
        made = arrange([links], mtime=0)
        assert [(b"a", "file"), (b"b", "hardlink")] == listed(made)
        assert {b"a": b"data", b"b": b"data"} == contents(made)


def test_links_in_a_circle_are_one_file_if_they_bring_its_content() -> None:
    source = [hardlink(b"a", b"b", b"x"), hardlink(b"b", b"a", b"x"), hardlink(b"c", b"a", b"x")]
    for links in (source, source[::-1]):
        assert {b"a": b"x", b"b": b"x", b"c": b"x"} == contents(arrange([links], mtime=0))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([hardlink(b"a", b"gone")], "a: a hard link to gone, which is not there"),
        ([hardlink(b"a", b"a")], "a: a hard link to a, which is not there"),
        ([hardlink(b"a", b"b"), hardlink(b"b", b"a")], "a: a hard link to a, which is not there"),
        ([hardlink(b"a", b"d"), directory(b"d")], "a: a hard link to d, a directory"),
        ([hardlink(b".wh.a", b"b"), file(b"b", b"")],
         ".wh.a: names that start with .wh. mean deletion in a layer"),
        ([hardlink(b"../a", b"b"), file(b"b", b"")], "..: leaves the root through .."),
    ],
)  # fmt: skip
def test_links_to_nothing_are_refused(source: list[Entry], message: str) -> None:
    assert message == refused(source)


def test_a_hard_link_to_a_symlink_is_the_same_symlink() -> None:
    made = arrange([[symlink(b"b", b"x"), hardlink(b"a", b"b")]], mtime=0)
    assert [symlink(b"a", b"x"), symlink(b"b", b"x")] == list(made)


def test_a_file_that_one_source_links_is_the_file_that_another_has() -> None:
    one, two = [file(b"b", b"x"), hardlink(b"a", b"b")], [file(b"b", b"x")]
    for sources in ([one, two], [two, one], [one + two], [two + one]):
        made = arrange(sources, mtime=0)
        assert {b"a": b"x", b"b": b"x"} == contents(made)
        assert 2 == len(list(made))
    assert "b: claimed twice" in refused(one, [file(b"b", b"y")])


# BAD-INPUTS: "a million entries, ten thousand nested directories (bounded memory, near-linear
# time)"


def _seconds(count: int) -> float:
    source = [file(b"usr/%d/%d/%d" % (n % 97, n % 1009, n), b"") for n in range(count)]
    source += [hardlink(b"links/%d" % n, b"links/%d" % (n - 1)) for n in range(1, count // 10)]
    source.append(file(b"links/0", b""))
    start = time.process_time()
    arrange([source], mtime=1)
    return time.process_time() - start


def test_the_time_is_near_linear() -> None:
    small = min(_seconds(5_000) for _ in range(3))
    assert _seconds(50_000) < 40 * small + 0.5


def test_deep_paths_cost_their_length() -> None:
    path = b"/".join([b"d"] * 2000)
    start = time.process_time()
    made = arrange([[file(path + b"/%d" % n, b"") for n in range(2000)]], mtime=0)
    assert 2000 == len(made.directories)
    assert time.process_time() - start < 5


# Marks of overlay file systems


@pytest.mark.parametrize(
    "name",
    [
        b"trusted.overlay.opaque",
        b"trusted.x",
        b"user.overlay.opaque",
        b"user.fuseoverlayfs.opaque",
        b"user.containers.override_stat",
    ],
)
@pytest.mark.parametrize("kind", [EntryKind.DIRECTORY, EntryKind.FILE])
def test_attributes_that_hide_lower_layers_are_refused(name: bytes, kind: EntryKind) -> None:
    entry = Entry(b"etc", kind, xattrs=((b"user.a", b""), (name, b"y")))

    assert (
        f"etc: the extended attribute {name.decode()}, "
        "which may mean deletion to an overlay file system"
    ) == refused([entry])


def test_overlays_own_whiteout_is_refused() -> None:
    assert "etc: the character device 0:0, which" in refused([Entry(b"etc", EntryKind.CHARACTER)])


def test_other_attributes_and_devices_are_kept() -> None:
    names = (b"security.capability", b"system.posix_acl_access", b"user.overlays", b"com.apple.x")
    marked = Entry(b"a", EntryKind.FILE, xattrs=[(name, b"y") for name in names])
    entries = [
        marked,
        Entry(b"n", EntryKind.CHARACTER, device=(1, 3)),
        Entry(b"z", EntryKind.BLOCK),
    ]

    assert entries == list(arrange([entries], mtime=0))
