"""Entries that a spec writes: attributes of new files, and changes of what lower layers have."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from immutable.build.contents import LayerContents
from immutable.content.capabilities import parse
from immutable.content.entries import Entry
from immutable.errors import EntryError, SpecError
from immutable.store import MemoryStore
from tests.support.archives import END, block
from tests.support.specs import build, contents, layer, text, write

CAPABILITY = b"security.capability"
RAW = parse("cap_net_raw+ep")
PING: dict[str, Any] = {
    "path": "/usr/bin/ping",
    "text": "#!",
    "mode": "4750",
    "owner": "5:6",
    "xattrs": {'"user.a"': "1", '"user.b"': "2"},
    "capabilities": "cap_net_raw+ep",
}
BASE: list[dict[str, Any]] = [
    PING,
    {"path": "/bin", "link": "usr/bin"},
    {"path": "/data", "directory": True, "owner": "5:6", "mode": "0700"},
    {"path": "/data/x", "text": ""},
    {"path": "/void", "link": "nowhere"},
    {"path": "/to-root", "link": "/"},
]
WEB = '[[user]]\nname = "web"\nuid = 1001\n'


def changed(folder: Path, *entries: dict[str, Any], **options: Any) -> dict[str, Entry]:
    """What the layer with these entries has over the base."""
    store = MemoryStore()
    upper = layer("files", "upper", entries=entries, **options)
    image = build(write(folder, layer("files", "base", entries=BASE) + upper + WEB), store)
    return contents(store, image.layers[1])


def refused(folder: Path, *entries: dict[str, Any], **options: Any) -> str:
    with pytest.raises(EntryError) as caught:
        changed(folder, *entries, **options)
    return str(caught.value).removeprefix('layer "upper": ')


def fault(folder: Path, **entry: Any) -> str:
    with pytest.raises(SpecError) as caught:
        changed(folder, {"path": "/a", **entry})
    (found,) = caught.value.faults
    return found.removeprefix("layer[1].entries[0]")


XATTRS = {b"user.a": b"1", b"user.b": b"2", CAPABILITY: RAW}


@pytest.mark.parametrize(
    ("change", "attributes", "xattrs"),
    [
        ({"mode": "0711"}, (0o711, 5, 6), XATTRS),
        ({"owner": "7:8"}, (0o4750, 7, 8), XATTRS),
        ({"owner": "web"}, (0o4750, 1001, 1001), XATTRS),
        ({"xattrs": {'"user.b"': "ü", '"user.c"': "4"}}, (0o4750, 5, 6),
         XATTRS | {b"user.b": "ü".encode(), b"user.c": b"4"}),
        ({"capabilities": "all=p"}, (0o4750, 5, 6), XATTRS | {CAPABILITY: parse("all=p")}),
        ({"capabilities": ""}, (0o4750, 5, 6), {b"user.a": b"1", b"user.b": b"2"}),
    ],
)  # fmt: skip
def test_a_file_comes_again_with_its_bytes_and_what_is_changed(
    tmp_path: Path,
    change: dict[str, Any],
    attributes: tuple[int, int, int],
    xattrs: dict[bytes, bytes],
) -> None:
    found = changed(tmp_path, {"path": "/usr/bin/ping", **change}, owner="99:99", mode="0600")
    assert ["usr", "usr/bin", "usr/bin/ping"] == list(found)
    ping = found["usr/bin/ping"]
    assert ("#!", *attributes) == (text(ping), ping.mode, ping.uid, ping.gid)
    assert xattrs == dict(ping.xattrs)


def test_links_on_the_way_are_followed_and_stay(tmp_path: Path) -> None:
    found = changed(tmp_path, {"path": "/bin/ping", "mode": "0700"})
    assert ["usr", "usr/bin", "usr/bin/ping"] == list(found)
    assert ["usr", "usr/bin"] == list(changed(tmp_path, {"path": "/bin", "mode": "0700"}))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"mode": "1777"}, (0o1777, 5, 6, ())),
        ({"owner": "7"}, (0o700, 7, 7, ())),
        ({"xattrs": {'"user.a"': "1"}}, (0o700, 5, 6, ((b"user.a", b"1"),))),
    ],
)
def test_a_directory_gets_what_is_changed_and_nothing_else(
    tmp_path: Path, change: dict[str, Any], expected: tuple[object, ...]
) -> None:
    found = changed(tmp_path, {"path": "/data", **change})
    data = found.pop("data")
    assert {} == found
    assert expected == (data.mode, data.uid, data.gid, data.xattrs)


def test_attributes_of_a_directory_that_is_there_are_added_to_its_own(tmp_path: Path) -> None:
    store = MemoryStore()
    layers = [
        layer("files", name, entries=[{"path": "/d", "directory": True, "xattrs": {key: name}}])
        for name, key in (("one", '"user.a"'), ("two", '"user.b"'), ("three", '"user.a"'))
    ]
    image = build(write(tmp_path, "".join(layers)), store)
    rootfs = LayerContents(store).rootfs([one.blob for one in image.layers]).rootfs
    found = rootfs.find(b"d")
    assert found is not None
    assert ((b"user.a", b"three"), (b"user.b", b"two")) == found.inode.xattrs


def test_a_new_file_has_the_attributes_it_is_given(tmp_path: Path) -> None:
    more = {"xattrs": {'"user.mime_type"': "text/plain", '"security.note"': "a"}}
    new = {"path": "/new", "base64": "YQ==", "capabilities": "cap_net_raw+ep", **more}
    found = changed(tmp_path, new, {**new, "path": "/usr/bin/ping"})
    expected = {b"user.mime_type": b"text/plain", b"security.note": b"a", CAPABILITY: RAW}
    assert [expected] * 2 == [dict(found[path].xattrs) for path in ("new", "usr/bin/ping")]
    assert "a" == text(found["new"])


# What is refused


def test_what_is_not_there_cannot_be_changed(tmp_path: Path) -> None:
    expected = (
        "entries[1]: expected a file or directory of a lower layer at {}, found nothing; for a new "
        "one say text, base64, directory or link"
    )
    for path in ("/nothing", "/void", "/new"):
        entries = {"path": "/new", "text": ""}, {"path": path, "mode": "0700"}
        assert expected.format(path) == refused(tmp_path, *entries)


def test_what_is_no_file_and_no_directory_cannot_be_changed(tmp_path: Path) -> None:
    data = block(b"fifo", flag=b"6") + END
    (tmp_path / "fifo.tar").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    lower = layer("archive", "base", path="fifo.tar", sha256=digest, special=True)
    upper = layer("files", "upper", entries=[{"path": "/fifo", "mode": "0700"}])
    with pytest.raises(EntryError) as caught:
        build(write(tmp_path, lower + upper), MemoryStore())
    expected = "entries[0]: expected a file or directory of a lower layer at /fifo, found a FIFO"
    assert f'layer "upper": {expected}' == str(caught.value)


def test_a_link_to_the_root_leads_to_nothing_that_can_be_changed(tmp_path: Path) -> None:
    told = refused(tmp_path, {"path": "/to-root", "mode": "0700"})
    assert "entries[0]: /to-root leads to the root, which no layer can change" in told


def test_a_directory_has_no_capabilities(tmp_path: Path) -> None:
    message = refused(tmp_path, {"path": "/data", "capabilities": "all=p"})
    assert "entries[0].capabilities: only a file has them, /data is a directory" == message


@pytest.mark.parametrize("glob", ["/usr/bin/ping", "/usr", "/bin/*"])
def test_what_the_layer_removes_cannot_be_changed(tmp_path: Path, glob: str) -> None:
    message = refused(tmp_path, {"path": "/bin/ping", "mode": "0700"}, remove=[glob])
    assert "entries[0]: /usr/bin/ping cannot be changed, as this layer removes it" == message


def test_a_new_directory_has_nothing_of_one_that_is_removed(tmp_path: Path) -> None:
    store = MemoryStore()
    old = {"path": "/d", "directory": True, "xattrs": {'"user.a"': "1"}}
    new = {"path": "/d", "directory": True, "xattrs": {'"user.b"': "2"}}
    upper = layer("files", "upper", entries=[new], remove=["/d"])
    image = build(write(tmp_path, layer("files", "base", entries=[old]) + upper), store)
    assert ((b"user.b", b"2"),) == contents(store, image.layers[1])["d"].xattrs


NEITHER = (
    ": expected one of text, base64, directory and link; or none of them, and what is to change of "
    "a lower layer's: owner, mode, xattrs, capabilities"
)


NAME = "expected a name that begins with user. or security., of at most 255 bytes and without ="
MARK = "the extended attribute user.overlay.a, which may mean deletion to an overlay file system"
EMPTY = "expected some text: an empty value is lost where layers are unpacked"
UNKNOWN = (
    "expected a capability such as cap_net_raw, found 'cap_net_row'; did you mean cap_net_raw?"
)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({}, NEITHER),
        ({"xattrs": {}}, NEITHER),
        ({"text": "", "link": "a"}, NEITHER),
        ({"text": "", "directory": True}, NEITHER),
        ({"link": "a", "mode": "0700"}, ": mode: a link has none"),
        ({"link": "a", "xattrs": {'"user.a"': "1"}}, ": xattrs: a link has none"),
        ({"link": "a", "capabilities": ""}, ": capabilities: only a file has them"),
        ({"directory": True, "capabilities": "all=p"}, ": capabilities: only a file has them"),
        ({"capabilities": "cap_net_row+ep"}, f".capabilities: {UNKNOWN}"),
        ({"xattrs": {"mime": "a"}}, f".xattrs.mime: {NAME}, found 'mime'"),
        ({"xattrs": {'"user.a=b"': "a"}}, f".xattrs.'user.a=b': {NAME}, found 'user.a=b'"),
        ({"xattrs": {'"user.overlay.a"': "y"}}, f".xattrs.'user.overlay.a': {MARK}"),
        ({"xattrs": {'"user.a"': ""}}, f".xattrs.'user.a': {EMPTY}"),
        (
            {"xattrs": {'"security.capability"': "a"}},
            ".xattrs.'security.capability': say capabilities = \"…\" instead",
        ),
    ],
)
def test_what_no_entry_can_be_is_refused(
    tmp_path: Path, entry: dict[str, Any], expected: str
) -> None:
    assert expected == fault(tmp_path, **entry)


# When it is made again


@pytest.mark.parametrize(
    ("change", "cached"),
    [
        ({"path": "/usr/bin/ls", "text": ""}, True),
        ({**PING, "text": "#!/bin/sh"}, False),
        ({**PING, "mode": "0755"}, False),
        ({**PING, "capabilities": "cap_net_raw+p"}, False),
    ],
)
def test_it_is_made_again_where_what_it_changes_has_changed(
    tmp_path: Path, change: dict[str, Any], cached: bool
) -> None:
    store = MemoryStore()
    upper = layer("files", "upper", entries=[{"path": "/bin/ping", "owner": "7"}])
    build(write(tmp_path, layer("files", "base", entries=BASE) + upper), store)
    entries = [*(BASE[1:] if change["path"] == PING["path"] else BASE), change]
    second = build(write(tmp_path, layer("files", "base", entries=entries) + upper), store)
    assert [False, cached] == [one.cached for one in second.layers]


def test_capabilities_that_mean_the_same_are_one_layer(tmp_path: Path) -> None:
    store = MemoryStore()
    found = [
        build(write(tmp_path, layer("files", entries=[{**PING, "capabilities": text}])), store)
        for text in ("cap_net_raw+ep", "cap_net_raw=pe")
    ]
    assert [False, True] == [one.layers[0].cached for one in found]
