"""What becomes of what a command changed: entries of a layer, and nothing that is no change."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from immutable.content import tar
from immutable.content.compression import CHUNK, cut
from immutable.content.contents import Contents, Inode
from immutable.content.entries import (
    Entry,
    EntryKind,
    Inline,
    Sets,
    ancestors,
    arrange,
    opaque,
    whiteout,
)
from immutable.content.recorder import of_tar
from immutable.content.rootfs import Rootfs
from immutable.errors import EntryError
from immutable.oci.digest import Digest
from immutable.sandbox.difference import Difference, changes
from immutable.sandbox.residue import MOUNTED
from immutable.sandbox.upper import Spooled
from tests.support.archives import END, block, directory, hardlink, member, pax, symlink
from tests.support.entries import content
from tests.support.strategies import trees

ALL = Sets.MODE | Sets.OWNER | Sets.XATTRS
MTIME = 1_000_000
_FLAGS = st.booleans()


@pytest.fixture
def scratch() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        yield file


def rootfs(*members: bytes) -> Rootfs:
    return Rootfs([of_tar(io.BytesIO(b"".join(members) + END), name="layer")])


def difference(
    scratch: BinaryIO,
    beneath: Sequence[bytes],
    upper: Sequence[bytes],
    *,
    keep: Sequence[str] = (),
    drop: Sequence[str] = (),
    mounts: Sequence[str] = (),
) -> Difference:
    return changes(
        io.BytesIO(b"".join(upper) + END),
        rootfs(*beneath),
        scratch=scratch,
        mtime=MTIME,
        keep=keep,
        drop=drop,
        mounts=mounts,
    )


def shown(found: Difference) -> list[tuple[bytes, str]]:
    return [(entry.path, entry.kind.name.lower()) for entry in found.entries]


# What is no change


def test_what_was_only_touched_is_none(scratch: BinaryIO) -> None:
    lower = [
        directory(b"etc/", mode=0o711, uid=3),
        pax((b"SCHILY.xattr.security.capability", b"x")),
        member(b"etc/a", b"text", mode=0o4755, uid=5, gid=6),
        symlink(b"etc/b", b"a", mode=0o777),
    ]
    upper = [
        directory(b"etc/", mode=0o711, uid=3, mtime=77),
        pax((b"SCHILY.xattr.security.capability", b"x")),
        member(b"etc/a", b"text", mode=0o4755, uid=5, gid=6, mtime=78),
        symlink(b"etc/b", b"a", mode=0o644, mtime=79),
    ]
    assert Difference(()) == difference(scratch, lower, upper)


@pytest.mark.parametrize(
    "upper",
    [
        [member(b"a", b"other")],
        [member(b"a", b"text", mode=0o600)],
        [member(b"a", b"text", uid=1)],
        [member(b"a", b"text", gid=1)],
        [pax((b"SCHILY.xattr.user.x", b"1")), member(b"a", b"text")],
    ],
    ids=["bytes", "mode", "owner", "group", "xattr"],
)
def test_a_file_of_which_anything_is_another_comes_whole(
    scratch: BinaryIO, upper: list[bytes]
) -> None:
    found = difference(scratch, [member(b"a", b"text")], upper)
    assert [(b"a", "file")] == shown(found)
    assert content(found.entries[0]) in (b"text", b"other")
    assert MTIME == found.entries[0].mtime


def test_a_lost_capability_is_a_change(scratch: BinaryIO) -> None:
    lower = [pax((b"SCHILY.xattr.security.capability", b"x")), member(b"a", b"text")]
    found = difference(scratch, lower, [member(b"a", b"text")])
    assert [((), b"a")] == [(entry.xattrs, entry.path) for entry in found.entries]


def test_contents_are_read_after_the_tar_is_gone_and_know_their_digest(scratch: BinaryIO) -> None:
    data = bytes(5000) + b"x" * 5000
    with io.BytesIO(member(b"a", b"one") + member(b"b", data) + END) as stream:
        found = changes(stream, rootfs(), scratch=scratch, mtime=0)
    contents = [entry.content for entry in found.entries]
    assert [b"one", data] == [content(entry) for entry in found.entries]
    assert [Digest.of(b"one"), Digest.of(data)] == [
        one.digest for one in contents if isinstance(one, Spooled)
    ]


# Directories


def test_parents_are_passed_through_as_they_are_beneath(scratch: BinaryIO) -> None:
    lower = [directory(b"srv/", mode=0o1777, uid=7, gid=8), member(b"srv/a", b"1")]
    upper = [
        directory(b"srv/", mode=0o1777, uid=7, gid=8, mtime=9),
        member(b"srv/a", b"1"),
        member(b"srv/b", b"2"),
    ]
    parent, _ = difference(scratch, lower, upper).entries
    assert (b"srv", 0o1777, 7, 8, Sets.NOTHING) == (
        parent.path,
        parent.mode,
        parent.uid,
        parent.gid,
        parent.sets,
    )


def test_a_changed_and_a_new_directory_set_all_that_they_are(scratch: BinaryIO) -> None:
    upper = [directory(b"a/", mode=0o700, uid=1), directory(b"b/", mode=0o755)]
    found = difference(scratch, [directory(b"a/")], upper)
    assert [(b"a", 0o700, 1, ALL), (b"b", 0o755, 0, ALL)] == [
        (entry.path, entry.mode, entry.uid, entry.sets) for entry in found.entries
    ]


def test_a_whiteout_stays_only_if_it_hides_something(scratch: BinaryIO) -> None:
    lower = [member(b"a/x"), member(b"a/y")]
    upper = [directory(b"a/"), member(b"a/.wh.x"), member(b"a/.wh.z"), member(b".wh.b")]
    found = difference(scratch, lower, upper)
    assert [(b"a", "directory"), (b"a/x", "whiteout")] == shown(found)


def test_a_directory_made_again_as_it_was_is_no_change(scratch: BinaryIO) -> None:
    lower = [directory(b"a/"), directory(b"a/b/"), member(b"a/b/x", b"1")]
    upper = [
        directory(b"a/"),
        member(b"a/.wh..wh..opq"),
        directory(b"a/b/"),
        member(b"a/b/x", b"1"),
    ]
    assert Difference(()) == difference(scratch, lower, upper)


def test_a_directory_made_anew_is_opaque_where_no_name_came_back(scratch: BinaryIO) -> None:
    lower = [directory(b"a/"), member(b"a/x"), member(b"a/b/y")]
    upper = [directory(b"a/"), member(b"a/.wh..wh..opq"), member(b"a/z")]
    found = difference(scratch, lower, upper)
    assert [(b"a", "directory"), (b"a", "opaque"), (b"a/z", "file")] == shown(found)


def test_a_directory_made_anew_with_names_from_before_has_whiteouts(scratch: BinaryIO) -> None:
    lower = [directory(b"a/"), member(b"a/w", b"1"), member(b"a/x", b"1"), member(b"a/y/z", b"1")]
    upper = [
        directory(b"a/"),
        member(b"a/.wh..wh..opq"),
        member(b"a/x", b"1"),
        directory(b"a/y/"),
        member(b"a/y/new", b"2"),
    ]
    assert [
        (b"a", "directory"),
        (b"a/w", "whiteout"),
        (b"a/y", "directory"),
        (b"a/y", "opaque"),
        (b"a/y/new", "file"),
    ] == sorted(shown(difference(scratch, lower, upper)))


def test_an_opaque_directory_over_nothing_or_a_file_needs_no_mark(scratch: BinaryIO) -> None:
    upper = [
        directory(b"a/"),
        member(b"a/.wh..wh..opq"),
        member(b"a/x"),
        directory(b"b/"),
        member(b"b/.wh..wh..opq"),
    ]
    assert [(b"a", "directory"), (b"a/x", "file"), (b"b", "directory")] == shown(
        difference(scratch, [member(b"a", b"file")], upper)
    )


def test_an_opaque_root_becomes_whiteouts(scratch: BinaryIO) -> None:
    found = difference(scratch, [member(b"a"), member(b"b")], [member(b".wh..wh..opq")])
    assert [(b"a", "whiteout"), (b"b", "whiteout")] == shown(found)


# Replacing


def test_a_rename_onto_a_lower_file_is_a_file_and_a_whiteout(scratch: BinaryIO) -> None:
    lower = [member(b"new", b"new"), member(b"old", b"old")]
    found = difference(scratch, lower, [member(b"old", b"new"), member(b".wh.new")])
    assert [(b"new", "whiteout"), (b"old", "file")] == shown(found)


def test_a_file_becomes_a_directory_and_a_directory_a_file(scratch: BinaryIO) -> None:
    lower = [member(b"a", b"1"), member(b"b/x", b"2"), symlink(b"c", b"b")]
    upper = [directory(b"a/"), member(b"a/y"), member(b"b", b"3"), directory(b"c/"), member(b"c/x")]
    assert [
        (b"a", "directory"),
        (b"a/y", "file"),
        (b"b", "file"),
        (b"c", "directory"),
        (b"c/x", "file"),
    ] == shown(difference(scratch, lower, upper))


def test_another_target_of_a_symlink_is_a_change(scratch: BinaryIO) -> None:
    found = difference(scratch, [symlink(b"a", b"x")], [symlink(b"a", b"y")])
    assert [(b"a", b"y")] == [(entry.path, entry.target) for entry in found.entries]


# Hard links


def test_new_names_of_one_file_stay_hard_links(scratch: BinaryIO) -> None:
    upper = [member(b"b", b"1", mode=0o755), hardlink(b"a", b"b"), hardlink(b"c", b"a")]
    found = difference(scratch, [], upper)
    assert [(b"a", "file", b""), (b"b", "hardlink", b"a"), (b"c", "hardlink", b"a")] == [
        (entry.path, entry.kind.name.lower(), entry.target) for entry in found.entries
    ]
    assert {0o755} == {entry.mode for entry in found.entries}
    arrange([found.entries], mtime=MTIME)


def test_names_that_equal_those_beneath_drop_out_of_hard_links(scratch: BinaryIO) -> None:
    lower = [member(b"a", b"1"), hardlink(b"b", b"a")]
    assert Difference(()) == difference(scratch, lower, [member(b"a", b"1"), hardlink(b"b", b"a")])
    upper = [member(b"a", b"1"), hardlink(b"c", b"a"), hardlink(b"d", b"a")]
    assert [(b"c", "file"), (b"d", "hardlink")] == shown(difference(scratch, lower, upper))


def test_of_several_names_beneath_only_the_changed_one_is_in_the_layer(scratch: BinaryIO) -> None:
    lower = [member(b"a", b"1"), hardlink(b"b", b"a")]
    assert [(b"b", "file")] == shown(difference(scratch, lower, [member(b"b", b"2")]))


def test_another_name_of_a_link_is_a_link(scratch: BinaryIO) -> None:
    found = difference(scratch, [], [symlink(b"a", b"x"), hardlink(b"b", b"a")])
    assert [(b"a", "symlink"), (b"b", "symlink")] == shown(found)


# What never is in a layer


@pytest.mark.parametrize("folder", [b"proc", b"sys", b"dev", b"tmp", b"run"])
def test_nothing_of_what_systems_mount_is_in_a_layer(scratch: BinaryIO, folder: bytes) -> None:
    upper = [directory(folder + b"/", mode=0o700), block(folder + b"/x", flag=b"6")]
    assert Difference(()) == difference(scratch, [directory(folder + b"/")], upper)
    assert Difference(()) == difference(scratch, [], upper)
    assert Difference(()) == difference(scratch, [directory(folder)], [member(b".wh." + folder)])


def test_mount_points_and_what_only_leads_to_them_are_in_no_layer(scratch: BinaryIO) -> None:
    upper = [
        directory(b"root/", mode=0o700),
        directory(b"root/.cache/"),
        directory(b"root/.cache/pip/"),
        directory(b"src/"),
        member(b"src/x.tar"),
        member(b"src/own"),
    ]
    found = difference(
        scratch, [directory(b"root/", mode=0o700)], upper, mounts=["/root/.cache/pip", "/src/x.tar"]
    )
    assert [(b"src", "directory"), (b"src/own", "file")] == shown(found)


@pytest.mark.parametrize(("flag", "what"), [(b"6", "a FIFO"), (b"4", "a block device")])
def test_fifos_and_devices_are_refused_unless_dropped(
    scratch: BinaryIO, flag: bytes, what: str
) -> None:
    upper = [block(b"a", flag=flag, device=(8, 1))]
    with pytest.raises(EntryError, match=f'/a: .*found {what} .*drop = \\["/a"\\]'):
        difference(scratch, [], upper)
    assert Difference(()) == difference(scratch, [], upper, drop=["/a"])


def test_names_that_would_mean_deletion_are_refused(scratch: BinaryIO) -> None:
    with pytest.raises(EntryError, match=r"/a/\.wh\.\.wh\.x: names that begin"):
        difference(scratch, [], [member(b"a/.wh..wh.x")])


@pytest.mark.parametrize(
    "path",
    [
        b"var/cache/ldconfig/aux-cache",
        b"var/log/dpkg.log",
        b"var/log/apt/history.log",
        b"var/log/alternatives.log",
        b"root/.npm/_logs/2026-11-29T10_00_00_000Z-debug-0.log",
        b"etc/ssh/ssh_host_ed25519_key",
        b"etc/ssh/ssh_host_ed25519_key.pub",
        b"etc/ssl/private/ssl-cert-snakeoil.key",
        b"etc/ssl/certs/ssl-cert-snakeoil.pem",
        b"var/lib/systemd/random-seed",
        b"var/lib/dbus/machine-id",
    ],
)
def test_known_residue_is_left_out_and_named(scratch: BinaryIO, path: bytes) -> None:
    found = difference(scratch, [], [member(path, b"x")])
    assert {"directory"} == {kind for _, kind in shown(found)}
    assert [path] == [one.path for one in found.left_out]
    assert found.left_out[0].why


def test_residue_that_was_removed_is_a_whiteout(scratch: BinaryIO) -> None:
    path = b"var/log/dpkg.log"
    found = difference(scratch, [member(path, b"x")], [member(b"var/log/.wh.dpkg.log")])
    assert (path, "whiteout") in shown(found)


def test_links_to_the_certificate_that_is_left_out_go_with_it(scratch: BinaryIO) -> None:
    upper = [
        symlink(b"etc/ssl/certs/4f3c.0", b"ssl-cert-snakeoil.pem"),
        symlink(b"srv/cert", b"/etc/ssl/certs/ssl-cert-snakeoil.pem"),
        symlink(b"srv/own", b"ssl-cert-snakeoil.pem"),
    ]
    found = difference(scratch, [], upper)
    assert [b"etc/ssl/certs/4f3c.0", b"srv/cert"] == [one.path for one in found.left_out]
    assert (b"srv/own", "symlink") in shown(found)


def test_an_id_of_the_machine_is_emptied_and_a_word_for_it_stays(scratch: BinaryIO) -> None:
    made = member(b"etc/machine-id", b"0123456789abcdef0123456789abcdef\n", mode=0o444)
    found = difference(scratch, [], [made]).entries[-1]
    assert (b"etc/machine-id", 0o444, b"") == (found.path, found.mode, content(found))
    empty = [directory(b"etc/"), member(b"etc/machine-id", mode=0o444)]
    assert Difference(()) == difference(scratch, empty, [directory(b"etc/"), made])
    word = member(b"etc/machine-id", b"uninitialized\n")
    assert b"uninitialized\n" == content(difference(scratch, [], [word]).entries[-1])


# Globs


def test_keep_takes_what_matches_with_its_parents_and_nothing_else(scratch: BinaryIO) -> None:
    lower = [directory(b"usr/", mode=0o711), member(b"usr/gone"), member(b"usr/also")]
    upper = [
        directory(b"usr/", mode=0o700),
        directory(b"usr/bin/", mode=0o750),
        member(b"usr/bin/x"),
        member(b"usr/bin/y"),
        member(b"usr/.wh.gone"),
        member(b"usr/.wh.also"),
        member(b"z"),
    ]
    found = difference(scratch, lower, upper, keep=["/usr/bin/x", "/usr/gone"])
    assert [
        (b"usr", "directory"),
        (b"usr/gone", "whiteout"),
        (b"usr/bin", "directory"),
        (b"usr/bin/x", "file"),
    ] == shown(found)
    assert [0o711, 0o750] == [one.mode for one in found.entries if one.kind.name == "DIRECTORY"]


def test_drop_comes_after_keep_and_undoes_whiteouts(scratch: BinaryIO) -> None:
    lower = [directory(b"a/"), member(b"a/x"), member(b"a/y")]
    upper = [directory(b"a/"), member(b"a/.wh.x"), member(b"a/.wh.y"), member(b"a/z")]
    found = difference(scratch, lower, upper, keep=["/a"], drop=["/a/x", "/a/z"])
    assert [(b"a", "directory"), (b"a/y", "whiteout")] == shown(found)


def test_of_a_directory_made_anew_what_is_dropped_stays_as_it_is_beneath(
    scratch: BinaryIO,
) -> None:
    lower = [directory(b"a/"), member(b"a/x"), member(b"a/y")]
    upper = [directory(b"a/"), member(b"a/.wh..wh..opq"), member(b"a/z")]
    found = difference(scratch, lower, upper, drop=["/a/x"])
    assert [(b"a", "directory"), (b"a/y", "whiteout"), (b"a/z", "file")] == shown(found)


def test_of_hard_links_what_is_not_dropped_is_a_file(scratch: BinaryIO) -> None:
    upper = [member(b"a", b"1"), hardlink(b"b", b"a")]
    assert [(b"b", "file")] == shown(difference(scratch, [], upper, drop=["/a"]))


def test_residue_that_nobody_kept_is_not_named(scratch: BinaryIO) -> None:
    found = difference(scratch, [], [member(b"var/log/dpkg.log", b"1")], drop=["/var/log"])
    assert () == found.left_out


# Any change to any tree


@st.composite
def changed_trees(draw: st.DrawFn) -> tuple[dict[bytes, Entry], dict[bytes, Entry]]:
    """A tree and what became of it: files removed, made, replaced, changed, linked."""
    lower = _whole(draw(trees()))
    after = dict(lower)
    for path in sorted(lower):
        if path in after and draw(st.integers(0, 3)) == 0:
            _remove(after, path)
        elif path in after and draw(st.integers(0, 3)) == 0:
            after[path] = evolve(after[path], mode=draw(st.sampled_from((0o777, 0o4711))))
    for entry in _whole(draw(trees())).values():
        for above in ancestors([entry.path]):
            if above in after and after[above].kind is not EntryKind.DIRECTORY:
                _remove(after, above)
        if entry.kind is not EntryKind.DIRECTORY:
            _remove(after, entry.path)
        after[entry.path] = entry
    files = sorted(path for path, entry in after.items() if entry.kind is EntryKind.FILE)
    if draw(_FLAGS) and files:
        target = draw(st.sampled_from(files))
        link = evolve(after[target], path=b"zz", kind=EntryKind.HARDLINK, target=target)
        _remove(after, b"zz")
        after[b"zz"] = link
    return lower, _whole(after.values())


def _whole(entries: Iterable[Entry]) -> dict[bytes, Entry]:
    found: dict[bytes, Entry] = {}
    for entry in entries:
        if entry.path.partition(b"/")[0] in MOUNTED:
            continue
        if entry.kind is EntryKind.FIFO:
            entry = evolve(entry, kind=EntryKind.FILE, content=Inline(b"was a FIFO"))
        if entry.kind is EntryKind.SYMLINK:
            entry = evolve(entry, mode=0o777)
        found[entry.path] = entry
    for path in ancestors(found) - found.keys():
        found[path] = Entry(path, EntryKind.DIRECTORY, 0o755)
    return found


def _remove(tree: dict[bytes, Entry], path: bytes) -> None:
    for one in [one for one in tree if one == path or one.startswith(path + b"/")]:
        del tree[one]


@st.composite
def uppers(draw: st.DrawFn, lower: dict[bytes, Entry], after: dict[bytes, Entry]) -> list[Entry]:
    """What an overlay has of that, with what was touched and made anew as chance has it."""
    anew: set[bytes] = set()
    found: dict[bytes, Entry] = {}
    for path in sorted(after):
        entry, before = after[path], lower.get(path)
        within = bool(ancestors([path]) & anew)
        if before is not None and before.kind is not EntryKind.DIRECTORY:
            before = None if entry.kind is EntryKind.DIRECTORY else before
        if entry.kind is EntryKind.DIRECTORY and not within and draw(_FLAGS):
            anew.add(path)
            within = True
        if within or entry != before or draw(_FLAGS):
            found[path] = entry
        if entry.kind is EntryKind.HARDLINK:
            found[entry.target] = after[entry.target]
    found |= {path: after[path] for path in ancestors([*found, *anew])}
    marks = [opaque(path) for path in anew]
    for path in lower.keys() - after.keys():
        above = ancestors([path])
        if (
            above <= after.keys()
            and not above & anew
            and all(after[one].kind is EntryKind.DIRECTORY for one in above)
        ):
            marks.append(whiteout(path))
            found |= {one: after[one] for one in above}
    return [*found.values(), *marks]


def _tar(entries: Sequence[Entry]) -> bytes:
    return b"".join(tar.chunks(arrange([entries], mtime=5), cut, CHUNK))


def _contents(entries: Sequence[Entry]) -> Contents:
    return of_tar(io.BytesIO(_tar(entries)), name="layer")


def _shows(root: Rootfs) -> dict[bytes, Inode]:
    return {found.path: found.inode for found in root}


@given(st.data())
def test_over_what_is_beneath_the_changes_are_what_the_command_left(data: st.DataObject) -> None:
    lower, after = data.draw(changed_trees())
    upper: list[Entry] = data.draw(uppers(lower, after))
    beneath = Rootfs([_contents(tuple(lower.values()))])
    with tempfile.TemporaryFile() as scratch:
        found = changes(io.BytesIO(_tar(upper)), beneath, scratch=scratch, mtime=5)
        both = Rootfs([*beneath.layers, _contents(found.entries)])
    assert _shows(Rootfs([_contents(tuple(after.values()))])) == _shows(both)
    _expect_no_more(found, beneath)


def _expect_no_more(found: Difference, beneath: Rootfs) -> None:
    leads = ancestors(entry.tar_path for entry in found.entries)
    for entry in found.entries:
        below = beneath.find(entry.path)
        if entry.kind is EntryKind.WHITEOUT:
            assert below is not None
        elif entry.kind is EntryKind.OPAQUE:
            assert beneath.names(entry.path)
        elif entry.path not in leads and below is not None:
            alone = evolve(entry, kind=_AS.get(entry.kind, entry.kind))
            digest = getattr(entry.content, "digest", None)
            assert below.inode != Inode(
                alone.kind,
                alone.mode,
                alone.uid,
                alone.gid,
                0 if alone.content is None else alone.content.size,
                b"" if alone.kind is EntryKind.FILE else alone.target,
                xattrs=alone.xattrs,
                sha256=digest,
            )


_AS = {EntryKind.HARDLINK: EntryKind.FILE}
