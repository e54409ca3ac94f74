"""The fold of layers' contents: what overlayfs shows, and how paths are looked up in it."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immutable.content.contents import Contents, Inode
from immutable.content.entries import EntryKind
from immutable.content.recorder import of_tar
from immutable.content.rootfs import Found, Rootfs
from immutable.errors import EntryError
from tests.support import needs
from tests.support.archives import END, block, directory, member, pax, symlink
from tests.support.overlay import Overlay
from tests.support.strategies import layer_tars


def contents(*members: bytes) -> Contents:
    return of_tar(io.BytesIO(b"".join(members) + END), name="layer")


def rootfs(*layers: Sequence[bytes]) -> Rootfs:
    return Rootfs([contents(*members) for members in layers])


def paths(root: Rootfs) -> list[bytes]:
    return [found.path for found in root]


def at(root: Rootfs, path: bytes) -> Inode:
    found = root.find(path)
    assert found is not None
    return found.inode


# The fold


def test_a_whiteout_hides_what_lower_layers_have() -> None:
    root = rootfs([member(b"a/x"), member(b"a/y")], [member(b"a/.wh.x")])
    assert [b"a", b"a/y"] == paths(root)
    assert root.find(b"a/x") is None


def test_a_whiteout_of_a_directory_hides_all_that_is_in_it() -> None:
    assert [b"b"] == paths(rootfs([member(b"a/x/y"), member(b"b")], [member(b".wh.a")]))


def test_a_whiteout_hides_nothing_of_its_own_layer_wherever_it_stands() -> None:
    for layer in ([member(b"a"), member(b".wh.a")], [member(b".wh.a"), member(b"a")]):
        assert [b"a"] == paths(rootfs(layer))


def test_a_directory_beside_its_whiteout_starts_anew() -> None:
    root = rootfs(
        [directory(b"a/", mode=0o700, uid=7), member(b"a/x")], [member(b".wh.a"), member(b"a/y")]
    )
    assert [b"a", b"a/y"] == paths(root)
    assert (0o755, 0) == (at(root, b"a").mode, at(root, b"a").uid)


def test_an_opaque_directory_hides_what_is_in_it_beneath_and_keeps_its_attributes() -> None:
    root = rootfs(
        [directory(b"a/", mode=0o700, uid=7), member(b"a/x")],
        [member(b"a/y"), member(b"a/.wh..wh..opq")],
    )
    assert [b"a", b"a/y"] == paths(root)
    assert root.find(b"a/x") is None
    assert (0o700, 7) == (at(root, b"a").mode, at(root, b"a").uid)


def test_an_opaque_root_above_other_layers_is_refused_as_engines_differ() -> None:
    with pytest.raises(EntryError, match="layer 2 of 2 hides all layers under it"):
        rootfs([member(b"a")], [member(b".wh..wh..opq"), member(b"b")])
    assert [b"a", b"b"] == paths(rootfs([member(b".wh..wh..opq"), member(b"a")], [member(b"b")]))


def test_what_came_back_over_a_whiteout_is_not_what_was_there() -> None:
    root = rootfs([member(b"a/x")], [member(b".wh.a")], [member(b"a/y")])
    assert [b"a", b"a/y"] == paths(root)


def test_a_file_hides_a_directory_and_a_directory_hides_a_file() -> None:
    root = rootfs([member(b"a/x"), member(b"b", b"b")], [member(b"a", b"a"), member(b"b/y")])
    assert [b"a", b"b", b"b/y"] == paths(root)
    assert EntryKind.FILE is at(root, b"a").kind


def test_what_a_file_has_hidden_stays_hidden_under_a_directory() -> None:
    assert [b"a", b"a/y"] == paths(rootfs([member(b"a/x")], [member(b"a")], [member(b"a/y")]))


def test_a_link_hides_a_directory_and_an_implied_directory_a_link() -> None:
    lower = [directory(b"usr/lib/"), symlink(b"lib", b"usr/lib"), member(b"etc/x")]
    root = rootfs(lower, [member(b"lib/y"), symlink(b"etc", b"usr")])
    assert [b"etc", b"lib", b"lib/y", b"usr", b"usr/lib"] == paths(root)
    assert EntryKind.SYMLINK is at(root, b"etc").kind


def test_directories_merge_with_the_upper_ones_attributes() -> None:
    lower = [pax((b"SCHILY.xattr.user.a", b"1")), directory(b"a/", mode=0o700), member(b"a/x")]
    root = rootfs(lower, [directory(b"a/", mode=0o711, uid=3), member(b"a/y")])
    assert Inode(EntryKind.DIRECTORY, 0o711, 3) == at(root, b"a")
    assert [b"a", b"a/x", b"a/y"] == paths(root)


def test_a_directory_that_a_layer_only_passes_through_stays_as_it_is() -> None:
    lower = [pax((b"SCHILY.xattr.user.a", b"1")), directory(b"a/", mode=0o1777, uid=5)]
    root = rootfs(lower, [member(b"a/x")], [member(b"a/y")])
    expected = Inode(EntryKind.DIRECTORY, 0o1777, 5, xattrs=((b"user.a", b"1"),))
    assert Found(b"a", expected, 0) == root.find(b"a")
    assert Found(b"b", Inode(EntryKind.DIRECTORY, 0o755), None) == rootfs([member(b"b/x")]).find(
        b"b"
    )


def test_no_layers_are_an_empty_root() -> None:
    root = rootfs()
    assert [] == paths(root)
    assert Found(b"", Inode(EntryKind.DIRECTORY, 0o755), None) == root.find(b"")


def test_a_mark_of_an_overlay_file_system_is_refused_where_it_is_met() -> None:
    root = rootfs([member(b"a/x"), block(b"b", flag=b"3"), member(b"c")])
    assert root.find(b"c") is not None
    with pytest.raises(EntryError, match="b: layer 1 of 1 has the character device 0:0 there"):
        root.find(b"b")
    with pytest.raises(EntryError, match="character device"):
        list(root)
    above = rootfs([block(b"b", flag=b"3")], [member(b"b")])
    assert [b"b"] == paths(above)


# Looking


def test_paths_come_in_the_order_of_their_bytes() -> None:
    root = rootfs(
        [member(b"a/b/c"), member(b"a-b"), member(b"a/b.c")], [member(b"a.b/x"), member(b"a/b/a")]
    )
    expected = [b"a", b"a-b", b"a.b", b"a.b/x", b"a/b", b"a/b.c", b"a/b/a", b"a/b/c"]
    assert expected == paths(root)
    assert [b"a/b", b"a/b.c", b"a/b/a", b"a/b/c"] == [found.path for found in root.walk(b"a")]


def test_a_directory_is_listed_by_name_and_nothing_else_is_listed() -> None:
    root = rootfs([member(b"a/b/x"), member(b"a/c")], [member(b"a/a"), member(b"a/.wh.c")])
    assert (b"a", b"b") == root.names(b"a")
    assert [b"a/a", b"a/b"] == [found.path for found in root.children(b"a")]
    assert () == root.names(b"a/a") == root.names(b"nothing")
    assert [] == list(root.children(b"a/a")) == list(root.walk(b"a/a"))


def test_a_plain_look_up_goes_through_no_link() -> None:
    root = rootfs([member(b"a/x"), symlink(b"b", b"a"), member(b"f")])
    assert root.find(b"b/x") is None
    assert root.find(b"f/x") is None
    for other in (b"/a", b"/a/x", b"a//x", b"a/", b"./a", b"a/../a", b"/"):
        assert root.find(other) is None
        assert () == root.names(other)


LINKS = [
    member(b"usr/lib/x"),
    symlink(b"lib", b"usr/lib"),
    symlink(b"absolute", b"/usr"),
    symlink(b"usr/up", b"../../../usr/lib/"),
    symlink(b"chain", b"absolute/up"),
    symlink(b"file", b"lib/x"),
    symlink(b"dangling", b"usr/none/at/all"),
    symlink(b"loop", b"loop"),
    symlink(b"root", b"/"),
]


@pytest.mark.parametrize(
    ("path", "expected", "there"),
    [
        (b"lib/x", b"usr/lib/x", True),
        (b"/lib//./x", b"usr/lib/x", True),
        (b"chain/x", b"usr/lib/x", True),
        (b"file", b"usr/lib/x", True),
        (b"lib/../up/x", b"usr/lib/x", True),
        (b"../../lib", b"usr/lib", True),
        (b"root/root/lib", b"usr/lib", True),
        (b"..", b"", True),
        (b"", b"", True),
        (b"/", b"", True),
        (b"lib/new/file", b"usr/lib/new/file", False),
        (b"dangling/more", b"usr/none/at/all/more", False),
        (b"usr/none/../lib", b"usr/lib", False),
        (b"file/", b"usr/lib/x", False),
        (b"file/..", b"usr/lib", False),
        (b"file/more", b"usr/lib/x/more", False),
    ],
)
def test_links_are_followed_inside_the_root(path: bytes, expected: bytes, there: bool) -> None:
    found = rootfs(LINKS).resolve(path)
    assert expected == found.path
    assert there == (found.found is not None)
    assert not there or found.found == rootfs(LINKS).find(expected)


def test_a_link_at_the_end_can_stand_for_itself() -> None:
    root = rootfs(LINKS)
    assert b"lib" == root.resolve(b"lib", follow=False).path
    assert b"usr/up" == root.resolve(b"absolute/up", follow=False).path
    assert b"usr/lib" == root.resolve(b"lib/", follow=False).path


def test_at_most_forty_links_are_followed() -> None:
    with pytest.raises(EntryError, match="loop: more than 40 links on the way"):
        rootfs(LINKS).resolve(b"loop")
    chain = [symlink(b"%d" % n, b"%d" % (n + 1)) for n in range(41)]
    assert b"41" == rootfs([member(b"41"), *chain]).resolve(b"1").path
    with pytest.raises(EntryError, match="0: more than 40"):
        rootfs([member(b"41"), *chain]).resolve(b"0")


def test_a_path_of_two_thousand_names_is_looked_up() -> None:
    deep = b"/".join([b"d"] * 2000)
    root = rootfs([pax((b"path", deep + b"/x")), member(b"x", b"deep")])
    assert 4 == at(root, deep + b"/x").size
    assert 2001 == len(paths(root))


def test_what_is_remembered_of_directories_changes_no_answer() -> None:
    layers = [[member(b"a/b/%d" % n) for n in range(3)], [member(b"a/.wh.b"), member(b"c/x")]]
    root = rootfs(*layers)
    asked = [b"a/b/1", b"a/b", b"c/x", b"c/y", b"a", b"c"]
    first = [root.find(path) for path in asked]
    assert first == [root.find(path) for path in asked]
    assert [b"a", b"c", b"c/x"] == paths(root)


@given(st.lists(layer_tars(), max_size=6))
def test_each_path_that_comes_is_found_and_no_other(tars: list[bytes]) -> None:
    root = Rootfs([of_tar(io.BytesIO(tar), name="layer") for tar in tars])
    found = paths(root)
    assert sorted(set(found)) == found
    for path in found:
        one = root.find(path)
        assert one is not None
        assert path == one.path == root.resolve(path, follow=False).path
    once = {path for layer in root.layers for path, _ in layer.walk()}
    assert [] == [path for path in once - set(found) if root.find(path) is not None]


# Where the kernel says that links lead; tests/build/test_overlay.py has all else that it shows


@pytest.fixture(scope="module")
def overlay() -> Iterator[Overlay]:
    process = Overlay()
    yield process
    process.close()


LOOKS = st.lists(
    st.tuples(
        st.lists(
            st.sampled_from((b"a", b"a-b", b"b", b"c", b"..", b".", b"")), min_size=1, max_size=5
        ).map(lambda names: b"/".join(names) or b"."),
        st.booleans(),
    ),
    max_size=40,
)


@needs.overlay()
@settings(deadline=None)
@given(tars=st.lists(layer_tars(), min_size=1, max_size=3), looks=LOOKS)
def test_links_lead_where_the_kernel_says(
    overlay: Overlay, tars: list[bytes], looks: list[tuple[bytes, bool]]
) -> None:
    root = Rootfs([of_tar(io.BytesIO(tar), name="layer") for tar in tars])
    for (path, follow), expected in zip(looks, overlay.resolves(tars, looks), strict=True):
        try:
            found = root.resolve(path, follow=follow)
        except EntryError:
            assert expected == errno.ELOOP
        else:
            if found.found is None:
                assert expected in (errno.ENOENT, errno.ENOTDIR)
            else:
                assert expected == found.path == found.found.path
