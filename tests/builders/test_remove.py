"""What a ``files`` layer removes of the layers under it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from immutable.build.contents import LayerContents, StoredRootfs
from immutable.build.copy import copy
from immutable.build.results import Image
from immutable.content.archives.decompress import open_stream
from immutable.content.entries import EntryKind
from immutable.errors import EntryError, SpecError
from immutable.store import AbstractStore, MemoryStore
from tests.support import needs
from tests.support import overlay as kernel
from tests.support.overlay import Overlay
from tests.support.shown import shown
from tests.support.specs import build, contents, fill, layer, write

BASE: list[dict[str, Any]] = [
    {"path": "/usr/lib/x", "text": "x"},
    {"path": "/usr/lib/deep/y", "text": "y"},
    {"path": "/usr/share/doc/a/copyright", "text": "a"},
    {"path": "/usr/share/doc/b", "text": "b"},
    {"path": "/lib", "link": "usr/lib"},
    {"path": "/data", "directory": True, "owner": "1000:1000", "mode": "0700"},
    {"path": "/data/old/z", "text": "z"},
    {"path": "/data/in", "link": "/usr/share"},
    {"path": "/etc/conf", "text": "conf"},
]
PLAIN = "755 0:0"


def base(*more: dict[str, Any]) -> str:
    return layer("files", "base", entries=[*BASE, *more])


def less(*remove: str, **options: Any) -> str:
    return layer("files", "less", remove=remove, **options)


def built(folder: Path, text: str) -> tuple[MemoryStore, Image]:
    store = MemoryStore()
    return store, build(write(folder, text), store)


def said(store: AbstractStore, image: Image) -> dict[str, str]:
    """What the top layer has at each path: kinds, and of directories mode and owner."""
    return {
        path: f"{entry.mode:o} {entry.uid}:{entry.gid}"
        if entry.kind is EntryKind.DIRECTORY
        else entry.kind.name.lower()
        for path, entry in contents(store, image.layers[-1]).items()
    }


def upper(folder: Path, *remove: str, **options: Any) -> dict[str, str]:
    """What the layer that removes comes to, over the base."""
    return said(*built(folder, base() + less(*remove, **options)))


def rootfs(store: AbstractStore, image: Image) -> StoredRootfs:
    return LayerContents(store).rootfs([one.blob for one in image.layers])


def paths(store: AbstractStore, image: Image) -> list[str]:
    return [found.path.decode() for found in rootfs(store, image).rootfs]


def refused(folder: Path, text: str) -> str:
    with pytest.raises(EntryError) as caught:
        built(folder, text)
    return str(caught.value).removeprefix('layer "less": ')


def test_each_topmost_match_becomes_a_whiteout(tmp_path: Path) -> None:
    expected = {
        "usr": PLAIN,
        "usr/share": PLAIN,
        "usr/share/doc": PLAIN,
        "usr/share/doc/.wh.a": "file",
        "usr/share/doc/.wh.b": "file",
    }
    assert expected == upper(tmp_path, "/usr/share/doc/**")


def test_what_matches_is_gone_and_all_else_is_there(tmp_path: Path) -> None:
    before = paths(*built(tmp_path, base()))
    after = paths(*built(tmp_path, base() + less("/usr/share/doc", "**/y", "/etc/*")))
    gone = {"usr/lib/deep/y", "usr/share/doc", "usr/share/doc/b", "etc/conf"}
    gone |= {"usr/share/doc/a", "usr/share/doc/a/copyright"}
    assert [path for path in before if path not in gone] == after


def test_a_whiteout_in_another_is_left_out(tmp_path: Path) -> None:
    expected = {"usr": PLAIN, "usr/.wh.share": "file"}
    assert expected == upper(tmp_path, "/usr/share/doc/a", "/usr/share", "**/copyright")


def test_the_directories_on_the_way_stay_as_they_are(tmp_path: Path) -> None:
    assert {"data": "700 1000:1000", "data/.wh.old": "file"} == upper(tmp_path, "/data/old")


def test_through_a_link_goes_what_it_leads_to(tmp_path: Path) -> None:
    expected = {"usr": PLAIN, "usr/lib": PLAIN, "usr/lib/.wh.x": "file"}
    assert expected == upper(tmp_path, "/lib/x")


def test_a_link_that_matches_goes_itself(tmp_path: Path) -> None:
    assert {".wh.lib": "file"} == upper(tmp_path, "/lib")


def test_the_whole_root_can_go(tmp_path: Path) -> None:
    made = built(tmp_path, base() + less("/**"))
    assert [".wh.data", ".wh.etc", ".wh.lib", ".wh.usr"] == list(said(*made))
    assert [] == paths(*made)


# What a layer has in the place of what it removes


def test_of_a_directory_only_what_the_layer_has_in_it_is_left(tmp_path: Path) -> None:
    entries = [{"path": "/data/new/n", "text": "n"}]
    made = built(tmp_path, base() + less("/data", entries=entries))
    expected = {
        "data": PLAIN,
        "data/.wh..wh..opq": "file",
        "data/new": PLAIN,
        "data/new/n": "file",
    }
    assert expected == said(*made)
    assert ["data", "data/new", "data/new/n", "etc"] == paths(*made)[:4]


def test_a_folder_of_the_source_counts_as_what_the_layer_has(tmp_path: Path) -> None:
    fill(tmp_path / "app", {"old/new": "1"})
    options = {"source": "app", "target": "/data", "owner": "7:7"}
    found = upper(tmp_path, "/data/**", **options)
    expected = {
        "data": "700 7:7",
        "data/.wh.in": "file",
        "data/old": "755 7:7",
        "data/old/.wh..wh..opq": "file",
        "data/old/new": "file",
    }
    assert expected == found


def test_anything_may_take_the_place_of_what_is_removed(tmp_path: Path) -> None:
    entries = [
        {"path": "/data", "text": "a file now"},
        {"path": "/etc/conf/d", "text": "a directory now"},
        {"path": "/lib/own", "text": "no link now"},
        {"path": "/usr/lib/x", "link": "own"},
    ]
    remove = ["/data", "/etc/conf", "/lib", "/usr/lib/x"]
    made = built(tmp_path, base() + less(*remove, entries=entries))
    expected = {
        "data": "file",
        "etc": PLAIN,
        "etc/conf": PLAIN,
        "etc/conf/d": "file",
        "lib": PLAIN,
        "lib/own": "file",
        "usr": PLAIN,
        "usr/lib": PLAIN,
        "usr/lib/x": "symlink",
    }
    assert expected == said(*made)
    assert {"data/old", "lib/x"}.isdisjoint(paths(*made))


def test_what_is_in_the_way_elsewhere_is_refused_as_ever(tmp_path: Path) -> None:
    entries = [{"path": "/etc/conf/d", "text": ""}]
    message = refused(tmp_path, base() + less("/data", entries=entries))
    assert message.startswith("/etc/conf: a directory would hide a file of a lower layer")


def test_a_link_still_leads_to_a_directory_that_is_removed(tmp_path: Path) -> None:
    found = upper(tmp_path, "/usr/lib", entries=[{"path": "/lib/own", "text": ""}])
    expected = {
        "usr": PLAIN,
        "usr/lib": PLAIN,
        "usr/lib/.wh..wh..opq": "file",
        "usr/lib/own": "file",
    }
    assert expected == found


def test_a_link_in_what_is_removed_leads_nowhere(tmp_path: Path) -> None:
    found = upper(tmp_path, "/data", entries=[{"path": "/data/in/own", "text": ""}])
    assert {"data", "data/.wh..wh..opq", "data/in", "data/in/own"} == set(found)


# What is refused


def test_a_glob_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    message = 'remove[1]: nothing beneath matches "/nothing/**"'
    assert message == refused(tmp_path, base() + less("/data", "/nothing/**"))
    assert 'remove[0]: nothing beneath matches "/data"' == refused(tmp_path, less("/data"))


def test_what_the_layer_has_itself_is_not_beneath(tmp_path: Path) -> None:
    text = base() + less("/own", entries=[{"path": "/own", "text": ""}])
    assert 'remove[0]: nothing beneath matches "/own"' == refused(tmp_path, text)


def test_a_glob_that_cannot_be_understood_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"layer\[0\]\.remove\[0\]: .*expected a pattern for paths"):
        built(tmp_path, less("/"))


# When it is made again


@pytest.mark.parametrize(
    ("change", "cached"),
    [
        ({"path": "/srv/other", "text": "1"}, True),
        ({"path": "/usr/share/doc/a/more", "text": "in what is removed"}, True),
        ({"path": "/usr/share/doc/c", "text": "one more to remove"}, False),
        ({"path": "/usr/share/doc", "directory": True, "mode": "0700"}, False),
        ({"path": "/usr/share/other", "text": "1"}, True),
    ],
)
def test_it_is_made_again_where_what_it_asks_about_has_changed(
    tmp_path: Path, change: dict[str, Any], cached: bool
) -> None:
    store, more = MemoryStore(), [{"path": "/usr/share/doc/own", "text": ""}]
    text = less("/usr/share/doc/**", entries=more)
    build(write(tmp_path, base() + text), store)
    second = build(write(tmp_path, base(change) + text), store)
    assert [False, cached] == [one.cached for one in second.layers]


def test_another_kind_of_what_is_replaced_is_another_layer(tmp_path: Path) -> None:
    store = MemoryStore()
    text = less("/srv", entries=[{"path": "/srv/own", "text": ""}])
    entries = [{"path": "/srv", "text": ""}], [{"path": "/srv", "directory": True}]
    found = [
        build(write(tmp_path, layer("files", "base", entries=one) + text), store) for one in entries
    ]
    assert [False, False] == [one.layers[1].cached for one in found]
    assert ["srv", "srv/own"] == list(said(store, found[0]))
    assert ["srv", "srv/.wh..wh..opq", "srv/own"] == list(said(store, found[1]))


# What engines make of it

CHANGED = (
    base({"path": "/usr/bin/ping", "text": "#!", "mode": "0755", "capabilities": "cap_net_raw+p"})
    + less(
        "/usr/share/doc/**",
        "/data",
        "/lib",
        "/etc/conf",
        entries=[
            {"path": "/data/new/n", "text": "n"},
            {"path": "/usr/share/doc/a", "text": "a file now"},
            {"path": "/lib/own", "text": "no link now"},
            {"path": "/etc/conf/d", "text": "a directory now"},
            {"path": "/usr/bin/ping", "owner": "7:8", "capabilities": "cap_net_raw+ep"},
            {"path": "/usr/lib", "mode": "0711", "xattrs": {'"user.note"': "here"}},
        ],
    )
    + less("/data/**", "/usr/lib/deep").replace('"less"', '"more"')
)  # fmt: skip


def tars(store: AbstractStore, image: Image) -> Iterator[bytes]:
    for one in image.layers:
        with store.verified(one.blob.digest, one.blob.size) as raw:
            yield open_stream(raw, name="layer").read()


@needs.overlay()
def test_a_kernel_overlay_mount_shows_what_we_see(tmp_path: Path) -> None:
    store, image = built(tmp_path, CHANGED)
    overlay = Overlay()
    try:
        expected = overlay.shows(list(tars(store, image)))
    finally:
        overlay.close()
    _check(expected)
    assert expected == shown(rootfs(store, image))


@pytest.mark.tools
@needs.tool("umoci")
@needs.root()
def test_umoci_unpacks_what_we_see(tmp_path: Path) -> None:
    store, image = built(tmp_path, CHANGED)
    copy(image, f"oci:{tmp_path}/layout:web")
    command = ("umoci", "unpack", "--image", "layout:web", "bundle")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert 0 == done.returncode, done.stderr.decode()
    expected = kernel.look(f"{tmp_path}/bundle/rootfs".encode())
    _check(expected)
    assert expected == shown(rootfs(store, image))


def _check(found: Mapping[bytes, kernel.Shown]) -> None:
    """Expect what the layers say, so that all cannot be wrong together."""
    names = [b"data", b"etc", b"etc/conf", b"etc/conf/d", b"lib", b"lib/own", b"usr"]
    assert names == sorted(found)[:7]
    ping = found[b"usr/bin/ping"]
    (capability,) = ping.xattrs
    assert (7, 8, b"security.capability") == (ping.uid, ping.gid, capability[0])
    assert bytes.fromhex("0100000200200000000000000000000000000000") == capability[1]
    assert ((b"user.note", b"here"),) == found[b"usr/lib"].xattrs
