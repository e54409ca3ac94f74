"""Placing entries on what is beneath: where they come to lie, what stays, what is refused."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from immutable.content import tar
from immutable.content.entries import (
    Arrangement,
    Entry,
    EntryKind,
    Inline,
    Sets,
    ancestors,
    arrange,
    directory,
    file,
    symlink,
    whiteout,
)
from immutable.content.placing import Footprint, Ground, Standing, ground, place
from immutable.content.recorder import Recorder, of_tar
from immutable.content.rootfs import Rootfs
from immutable.errors import EntryError
from tests.support.strategies import layer_tars

EMPTY = Rootfs([])


def contents_of(*entries: Entry) -> Arrangement:
    return arrange([entries], mtime=0)


def rootfs(*layers: Sequence[Entry] | Arrangement) -> Rootfs:
    made = []
    for layer in layers:
        arrangement = layer if isinstance(layer, Arrangement) else contents_of(*layer)
        data = b"".join(tar.chunks(arrangement, lambda *_: False, 1 << 20))
        made.append(of_tar(io.BytesIO(data), name="layer"))
    return Rootfs(made)


def on(
    beneath: Rootfs, *entries: Entry, replace: bool = False, removed: Sequence[bytes] = ()
) -> Arrangement:
    whole = contents_of(*entries)
    found = ground(Footprint.of(whole, removed), beneath)
    return place(whole, found, replace=replace, mtime=0)


def shown(arrangement: Arrangement) -> dict[str, str]:
    """Return mode and owner of directories, and what files hold or links say, by path."""
    found = {}
    for entry in arrangement:
        if entry.kind is EntryKind.DIRECTORY:
            what = f"{entry.mode:o} {entry.uid}:{entry.gid}"
        elif isinstance(entry.content, Inline):
            what = entry.content.data.decode()
        else:
            what = f"{entry.kind.name.lower()} {entry.target.decode()}".strip()
        found[entry.path.decode()] = what
    return found


MERGED = rootfs([directory(b"usr/lib", 0o750, 1, 2), symlink(b"lib", b"usr/lib")])
PLAIN = "755 0:0"


def test_nothing_beneath_leaves_a_layer_as_it_is() -> None:
    whole = contents_of(file(b"a/b", b"x"))
    assert Ground() == ground(Footprint.of(whole), EMPTY)
    assert whole is place(whole, Ground(), replace=False, mtime=0)


@pytest.mark.parametrize("text", [b"usr/lib", b"/usr/lib", b"../../usr/./lib/", b"usr/../usr/lib"])
def test_a_path_through_a_link_is_written_where_the_link_leads(text: bytes) -> None:
    beneath = rootfs([directory(b"usr/lib", 0o750, 1, 2), symlink(b"lib", text)])
    placed = on(beneath, file(b"lib/x", b"new"))
    assert {"usr": PLAIN, "usr/lib": "750 1:2", "usr/lib/x": "new"} == shown(placed)


def test_a_directory_that_is_there_keeps_owner_mode_and_attributes() -> None:
    marks = ((b"user.a", b"1"),)
    beneath = rootfs([evolve(directory(b"data", 0o1777, 1000, 1000), xattrs=marks)])
    (data, _) = on(beneath, directory(b"data", 0o700), file(b"data/x", b""))
    assert (0o1777, 1000, 1000, marks) == (data.mode, data.uid, data.gid, data.xattrs)


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (Sets.NOTHING, "1777 1:1"),
        (Sets.MODE, "700 1:1"),
        (Sets.OWNER, "1777 5:6"),
        (Sets.MODE | Sets.OWNER, "700 5:6"),
    ],
)
def test_a_directory_that_is_there_gets_what_its_entry_sets(sets: Sets, expected: str) -> None:
    beneath = rootfs([directory(b"data", 0o1777, 1, 1)])
    assert {"data": expected} == shown(on(beneath, directory(b"data", 0o700, 5, 6, sets)))


def test_a_directory_that_a_layer_has_without_an_entry_is_as_is_usual() -> None:
    data = tar.header(file(b"lib/x", b"")) + tar.header(file(b"root/x", b"")) + tar.END
    beneath = Rootfs([of_tar(io.BytesIO(data), name="layer")])
    lib = directory(b"lib", 0o700, 7, 7)
    expected = {"lib": "755 0:0", "root": "700 0:0", "root/y": ""}
    assert expected == shown(on(beneath, lib, file(b"root/y", b"")))


def test_a_link_that_leads_nowhere_gets_its_directory() -> None:
    beneath = rootfs([directory(b"var", 0o750), symlink(b"var/run", b"/run/now")])
    placed = on(beneath, file(b"var/run/pid", b"1"))
    assert {"run": PLAIN, "run/now": PLAIN, "run/now/pid": "1", "var": "750 0:0"} == shown(placed)


def test_links_on_the_way_of_a_link_are_followed() -> None:
    beneath = rootfs(
        [
            directory(b"c/d", 0o700),
            symlink(b"a", b"b"),
            symlink(b"b", b"c"),
            symlink(b"e", b"a/d/f"),
        ]
    )
    assert "c/d/f/x" in shown(on(beneath, file(b"e/x", b"")))
    assert "c/d/x" in shown(on(beneath, file(b"a/d/x", b"")))


def test_a_link_to_the_root_leads_to_the_root() -> None:
    beneath = rootfs([symlink(b"host", b"/"), directory(b"etc", 0o711)])
    assert {"etc": "711 0:0", "etc/x": "1"} == shown(on(beneath, file(b"host/etc/x", b"1")))


def test_the_root_cannot_be_changed_through_a_link() -> None:
    beneath = rootfs([symlink(b"host", b"/")])
    assert {"x"} == shown(on(beneath, directory(b"host"), file(b"host/x", b""))).keys()
    with pytest.raises(EntryError, match="/host: leads to the root, which no layer can change"):
        on(beneath, directory(b"host", 0o700, sets=Sets.MODE))


def test_two_ways_to_one_path_are_one_if_they_agree() -> None:
    placed = on(MERGED, file(b"lib/x", b"1"), file(b"usr/lib/x", b"1"), file(b"usr/lib/y", b"2"))
    assert {"usr": PLAIN, "usr/lib": "750 1:2", "usr/lib/x": "1", "usr/lib/y": "2"} == shown(placed)
    with pytest.raises(EntryError, match=r"usr/lib/x: claimed twice"):
        on(MERGED, file(b"lib/x", b"1"), file(b"usr/lib/x", b"2"))


def test_of_two_ways_to_one_directory_each_may_set_what_the_other_does_not() -> None:
    lib = directory(b"lib", 0o711, sets=Sets.MODE)
    usr = directory(b"usr/lib", None, 5, 6, Sets.OWNER)
    assert {"usr": PLAIN, "usr/lib": "711 5:6", "usr/lib/x": ""} == shown(
        on(MERGED, lib, usr, file(b"lib/x", b""))
    )
    assert "711 1:2" == shown(on(MERGED, lib, file(b"usr/lib/x", b"")))["usr/lib"]
    with pytest.raises(EntryError, match=r"usr/lib: claimed twice"):
        on(MERGED, lib, directory(b"usr/lib", 0o700, sets=Sets.MODE))


def test_hard_links_stay_links_where_they_come_to_lie() -> None:
    given = Entry(b"a/z", EntryKind.HARDLINK, content=Inline(b"1"), target=b"lib/x")
    placed = on(MERGED, file(b"lib/x", b"1"), given)
    kinds = {entry.path: (entry.kind, entry.target) for entry in placed.sources[0]}
    expected = {b"a/z": (EntryKind.FILE, b""), b"usr/lib/x": (EntryKind.HARDLINK, b"a/z")}
    assert expected == kinds


HIDING = [
    ("link", symlink(b"a", b"x"), file(b"a", b""), "a file would hide a symlink to x"),
    ("file", file(b"a", b""), symlink(b"a", b"x"), "a symlink would hide a file"),
    ("directory", directory(b"a"), file(b"a", b""), "a file would hide a directory"),
    ("way", file(b"a", b""), file(b"a/b", b""), "a directory would hide a file"),
    ("led", symlink(b"a", b"b"), file(b"a/c", b""), "a directory would hide a symlink to b"),
    ("fifo", Entry(b"a", EntryKind.FIFO), file(b"a", b""), "a file would hide a FIFO"),
]


@pytest.mark.parametrize(
    ("there", "new", "message"), [row[1:] for row in HIDING], ids=[row[0] for row in HIDING]
)
def test_what_would_hide_another_kind_is_refused_unless_it_is_to(
    there: Entry, new: Entry, message: str
) -> None:
    beneath = rootfs([there, file(b"b", b"")])
    with pytest.raises(EntryError) as caught:
        on(beneath, new)
    expected = f"/a: {message} of a lower layer; leave it out"
    assert expected == str(caught.value)
    assert new.path.decode() in shown(on(beneath, new, replace=True))


@pytest.mark.parametrize(
    ("there", "new"),
    [
        (file(b"a", b"1", 0o600, 5), file(b"a", b"2")),
        (symlink(b"a", b"1"), symlink(b"a", b"2")),
        (Entry(b"a", EntryKind.FIFO), Entry(b"a", EntryKind.FIFO)),
    ],
)
def test_what_is_there_of_the_same_kind_is_written_over(there: Entry, new: Entry) -> None:
    assert (new,) == on(rootfs([there]), new).sources[0]


def test_a_way_through_a_link_that_the_layer_replaces_is_refused() -> None:
    beneath = rootfs([symlink(b"x", b"a/d"), symlink(b"a", b"b"), directory(b"b/d")])
    assert {"b", "b/d", "b/d/f"} == shown(on(beneath, file(b"x/f", b""))).keys()
    with pytest.raises(EntryError, match="/x: leads to /b/d through a link that this layer repl"):
        on(beneath, symlink(b"a", b"c"), file(b"x/f", b""))
    other = symlink(b"y", b"c")
    assert "b/d/f" in shown(
        on(rootfs([symlink(b"x", b"b/d"), symlink(b"y", b"b")]), other, file(b"x/f", b""))
    )


def test_replacing_still_goes_through_links_to_directories() -> None:
    assert "usr/lib/x" in shown(on(MERGED, file(b"lib/x", b""), replace=True))


def test_links_in_a_circle_are_hidden_only_where_that_is_meant() -> None:
    beneath = rootfs([symlink(b"a", b"b"), symlink(b"b", b"a")])
    with pytest.raises(EntryError, match="/a: a directory would hide a symlink to b"):
        on(beneath, file(b"a/x", b""))
    assert {"a": PLAIN, "a/x": ""} == shown(on(beneath, file(b"a/x", b""), replace=True))


def test_a_link_through_a_file_leads_to_no_directory() -> None:
    beneath = rootfs([file(b"f", b""), symlink(b"a", b"f/x")])
    with pytest.raises(EntryError, match="/a: a directory would hide a symlink to f/x"):
        on(beneath, file(b"a/x", b""))


# Homes of users to come

HOMES = {b"home/web": Standing(EntryKind.DIRECTORY, (0o700, 1000, 1001, ()))}


def with_homes(beneath: Rootfs, *entries: Entry) -> dict[str, str]:
    whole = contents_of(*entries)
    found = ground(Footprint.of(whole), beneath, HOMES)
    return shown(place(whole, found, replace=False, mtime=0))


def test_what_is_put_into_a_home_finds_it_as_its_user_s() -> None:
    expected = {"home": PLAIN, "home/web": "700 1000:1001", "home/web/x": "1"}
    for beneath in (EMPTY, rootfs([directory(b"home")])):
        assert expected == with_homes(beneath, file(b"home/web/x", b"1"))


def test_a_home_that_a_lower_layer_has_is_as_it_is_there() -> None:
    beneath = rootfs([directory(b"home/web", 0o711)])
    assert "711 0:0" == with_homes(beneath, file(b"home/web/x", b"1"))["home/web"]


def test_a_home_through_a_link_is_where_the_link_leads() -> None:
    beneath = rootfs([directory(b"var/home"), symlink(b"home", b"var/home")])
    assert "700 1000:1001" == with_homes(beneath, file(b"home/web/x", b"1"))["var/home/web"]


def test_a_home_that_a_layer_goes_nowhere_near_is_no_answer() -> None:
    for entry in (file(b"home/other", b""), symlink(b"home", b"x"), file(b"home/web", b"")):
        found = ground(Footprint.of(contents_of(entry)), EMPTY, HOMES)
        assert Ground() == found


# What is removed


def test_what_is_removed_gets_whiteouts_in_directories_that_stay() -> None:
    beneath = rootfs([directory(b"data", 0o700, 1, 2), file(b"data/x/y", b""), file(b"a", b"")])
    placed = on(beneath, removed=[b"data/x/y", b"data/x", b"a", b"none"])
    assert {"data": "700 1:2", "data/x": "whiteout", "a": "whiteout"} == shown(placed)


def test_a_directory_in_the_place_of_a_removed_one_is_opaque_and_new() -> None:
    beneath = rootfs([directory(b"data", 0o700, 1, 2), symlink(b"data/x", b"/")])
    placed = on(beneath, file(b"data/x/y", b"1"), removed=[b"data"])
    assert {"data", "data/x", "data/x/y"} == shown(placed).keys()
    assert [(b"data", EntryKind.OPAQUE)] == [(one.path, one.kind) for one in placed.marks]
    assert (0o755, 0, 0) == (placed.head[0].mode, placed.head[0].uid, placed.head[0].gid)


@pytest.mark.parametrize(
    ("there", "new"),
    [
        (file(b"a", b""), symlink(b"a", b"x")),
        (directory(b"a"), file(b"a", b"")),
        (symlink(b"a", b"x"), directory(b"a")),
        (file(b"a", b""), file(b"a/b", b"")),
    ],
)
def test_what_takes_the_place_of_another_kind_that_is_removed_needs_no_mark(
    there: Entry, new: Entry
) -> None:
    placed = on(rootfs([there]), new, removed=[b"a"])
    assert () == placed.marks
    assert new.path in {entry.path for entry in placed}


def test_what_hides_the_way_to_what_is_removed_is_refused_unless_it_is_to() -> None:
    beneath = rootfs([file(b"a/b", b"")])
    with pytest.raises(EntryError, match="/a: a file would hide a directory"):
        on(beneath, file(b"a", b""), removed=[b"a/b"])
    assert {"a": ""} == shown(on(beneath, file(b"a", b""), removed=[b"a/b"], replace=True))


def test_a_link_leads_to_a_removed_directory_as_to_a_new_one() -> None:
    placed = on(MERGED, file(b"lib/x", b""), removed=[b"usr"])
    assert {"usr", "usr/lib", "usr/lib/x"} == shown(placed).keys()
    assert [b"usr"] == [one.path for one in placed.marks]


# What is asked


def rows(beneath: Rootfs, *entries: Entry, removed: Sequence[bytes] = ()) -> list[object]:
    return list(ground(Footprint.of(contents_of(*entries), removed), beneath).rows())


def test_what_is_elsewhere_beneath_is_no_answer() -> None:
    one = rootfs([directory(b"app", 0o700), file(b"etc/x", b"1"), file(b"app/y", b"1")])
    other = rootfs([directory(b"app", 0o700), file(b"srv/z", b"2", 0o600, 7)])
    assert [["app", "directory", 0o700, 0, 0, []]] == rows(one, file(b"app/x", b""))
    assert rows(one, file(b"app/x", b"")) == rows(other, file(b"app/x", b""))


def test_of_a_file_that_is_written_over_only_its_kind_is_an_answer() -> None:
    one = rootfs([file(b"a", b"1", 0o600)])
    other = rootfs([file(b"a", b"22", 0o4755, 9)])
    assert [["a", "file"]] == rows(one, file(b"a", b"")) == rows(other, file(b"a", b""))


def test_answers_tell_links_and_directories_apart_wherever_they_are() -> None:
    answered = [
        rows(beneath, file(b"lib/x", b""))
        for beneath in (
            EMPTY,
            MERGED,
            rootfs([directory(b"lib")]),
            rootfs([directory(b"lib", 0o700)]),
            rootfs([directory(b"lib", 0o755, 1)]),
            rootfs([symlink(b"lib", b"usr/lib")]),
            rootfs([file(b"lib/x", b"")]),
            rootfs([symlink(b"lib/x", b"y")]),
        )
    ]
    assert len(answered) == len({str(one) for one in answered})


def test_of_what_is_removed_only_its_kind_and_its_way_are_answers() -> None:
    one = rootfs([directory(b"a", 0o700), file(b"a/b/c", b"1")])
    other = rootfs([directory(b"a", 0o700), file(b"a/b/d", b"2", 0o600), file(b"e", b"")])
    expected = [["a", "directory", 0o700, 0, 0, []], ["a/b", "removed", "directory"]]
    for beneath in (one, other):
        assert expected == rows(beneath, file(b"a/b/c/x", b""), removed=[b"a/b"])


@given(
    st.lists(st.binary(min_size=1, max_size=8).filter(lambda b: not set(b) & set(b"\0/"))),
    st.lists(st.sampled_from([b"a", b"b/c", b"d"])),
)
def test_a_footprint_is_read_as_it_was_written(names: list[bytes], removed: list[bytes]) -> None:
    safe = [name for name in names if name not in (b".", b"..") and not name.startswith(b".wh.")]
    entries = [file(b"d/" + name, b"") for name in dict.fromkeys(safe)]
    footprint = Footprint.of(contents_of(*entries), removed)
    assert footprint == Footprint.decode(footprint.encode())


@pytest.mark.parametrize("data", [b"", b"no footprint"])
def test_what_is_no_footprint_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="footprint"):
        Footprint.decode(data)


# The promise as a whole

NAMES = st.sampled_from([b"a", b"b", b"c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)


@given(st.lists(layer_tars(), min_size=1, max_size=3), st.lists(PATHS, max_size=4, unique=True))
def test_every_file_is_found_under_its_own_name_and_all_else_is_as_it_was(
    tars: list[bytes], paths: list[bytes]
) -> None:
    layers = [of_tar(io.BytesIO(data), name="layer") for data in tars]
    try:
        beneath = Rootfs(layers)
        before = {found.path: found for found in beneath}
        whole = contents_of(*(file(path, b"new " + path, 0o640, 9, 9) for path in paths))
        placed = place(whole, ground(Footprint.of(whole), beneath), replace=False, mtime=0)
    except EntryError:
        return  # refused: what is beneath is in the way, or cannot be understood
    data = tar_of(placed)
    after = Rootfs([*layers, of_tar(io.BytesIO(data), name="layer")])
    for path in paths:
        folder = after.resolve(path.rpartition(b"/")[0]).path
        found = after.find(b"/".join(filter(None, (folder, path.rpartition(b"/")[2]))))
        assert found is not None
        assert (0o640, 9, 9) == (found.inode.mode, found.inode.uid, found.inode.gid)
    written = {entry.path for source in placed.sources for entry in source}
    made = {entry.path for entry in placed.directories} - before.keys()
    seen = {found.path: found for found in after}
    assert before.keys() | written | made == seen.keys()
    for path in before.keys() - written:
        assert before[path].inode == seen[path].inode


def tar_of(arrangement: Arrangement) -> bytes:
    return b"".join(tar.chunks(arrangement, lambda *_: False, 1 << 20))


@st.composite
def removals(draw: st.DrawFn) -> tuple[Rootfs, list[bytes]]:
    """A root file system, and some of its paths."""
    tars = draw(st.lists(layer_tars(), min_size=1, max_size=3))
    layers = [of_tar(io.BytesIO(data), name="layer") for data in tars]
    try:
        beneath = Rootfs(layers)
        there = [found.path for found in beneath]
    except EntryError:
        assume(False)
    assume(there)
    return beneath, draw(st.lists(st.sampled_from(there), min_size=1, max_size=3, unique=True))


def without(beneath: Rootfs, removed: Sequence[bytes]) -> Rootfs:
    """What is left, as one layer."""
    recorder = Recorder("left")
    for found in beneath:
        if not {found.path, *ancestors([found.path])} & set(removed):
            inode = found.inode
            fields = (inode.mode, inode.uid, inode.gid, 0, None, inode.target, inode.device)
            if found.layer is not None:
                entry = Entry(found.path, inode.kind, *fields, inode.xattrs)
                digest = b"" if inode.sha256 is None else bytes.fromhex(inode.sha256.hex)
                recorder.add(entry, inode.size, digest)
            else:  # it is in no layer by itself, but for what it had
                recorder.add(whiteout(found.path + b"/had"))
    return Rootfs([recorder.contents()])


def seen(beneath: Rootfs) -> dict[bytes, object]:
    return {one.path: evolve(one.inode, position=None) for one in beneath}


@given(removals(), st.lists(PATHS, max_size=4, unique=True))
def test_removing_is_deleting_before_anything_is_placed(
    given: tuple[Rootfs, list[bytes]], paths: list[bytes]
) -> None:
    beneath, removed = given
    entries = [file(path, b"new " + path, 0o640, 9, 9) for path in paths]
    try:
        left = without(beneath, removed)
        expected = on(left, *entries)
    except EntryError as error:
        with pytest.raises(EntryError, match=re.escape(str(error))):
            on(beneath, *entries, removed=removed)
        return
    placed = on(beneath, *entries, removed=removed)
    top = of_tar(io.BytesIO(tar_of(placed)), name="layer")
    other = of_tar(io.BytesIO(tar_of(expected)), name="layer")
    after = seen(Rootfs([*left.layers, other]))
    assert after == seen(Rootfs([*beneath.layers, top]))
