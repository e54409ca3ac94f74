"""Layers of kind ``files``: a local tree and inline entries."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from immutable.content.entries import EntryKind
from immutable.errors import EntryError, ImmutableError, SourceError, SpecError
from immutable.store import MemoryStore, Store
from tests.support.specs import (
    State,
    attributes,
    build,
    contents,
    fill,
    layer,
    text,
    write,
)

USER = '[[user]]\nname = "nodejs"\nuid = 1001\n'
FILES = {"main.js": "1", "lib/a.js": "2", "notes.txt": "3"}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return fill(tmp_path / "app", FILES)


def test_a_folder_goes_below_its_target(tmp_path: Path, app: Path, store: MemoryStore) -> None:
    (app / "lib/link").symlink_to("../main.js")
    (app / "main.js").chmod(0o711)
    spec = write(tmp_path, layer("files", source="app", target="/srv/app", exclude=["*.txt"]))

    found = contents(store, build(spec, store).layers[0])

    assert {
        "srv": (0o755, 0, 0),
        "srv/app": (0o755, 0, 0),
        "srv/app/lib": (0o755, 0, 0),
        "srv/app/lib/a.js": (0o644, 0, 0),
        "srv/app/lib/link": (0o777, 0, 0),
        "srv/app/main.js": (0o755, 0, 0),
    } == attributes(found)
    assert b"../main.js" == found["srv/app/lib/link"].target
    assert "2" == text(found["srv/app/lib/a.js"])


def test_owner_and_modes_as_the_spec_says(tmp_path: Path, app: Path, store: MemoryStore) -> None:
    spec = write(
        tmp_path,
        layer(
            "files",
            source="app",
            target="/srv/app",
            owner="nodejs",
            mode="0000",
            directory_mode="0750",
        )
        + USER,
    )

    found = attributes(contents(store, build(spec, store).layers[0]))

    assert (0o755, 0, 0) == found["srv"]
    assert (0o750, 1001, 1001) == found["srv/app"] == found["srv/app/lib"]
    assert (0, 1001, 1001) == found["srv/app/main.js"]


def test_one_file_becomes_its_target(tmp_path: Path, app: Path, store: MemoryStore) -> None:
    spec = write(
        tmp_path, layer("files", source="app/main.js", target="/etc/m.js", owner="7:8", mode="600")
    )

    found = contents(store, build(spec, store).layers[0])

    assert {"etc": (0o755, 0, 0), "etc/m.js": (0o600, 7, 8)} == attributes(found)


def test_one_file_needs_a_target(tmp_path: Path, app: Path, store: MemoryStore) -> None:
    spec = write(tmp_path, layer("files", source="app/main.js"))

    with pytest.raises(SourceError, match=r'"app": app/main.js is a file; .* target = "/main.js"'):
        build(spec, store)


def test_entries_of_every_sort(tmp_path: Path, store: MemoryStore) -> None:
    entries = [
        {"path": "/etc/motd", "text": "hello\n"},
        {"path": "/etc/key", "base64": base64.b64encode(b"\0\xff").decode(), "mode": "0400"},
        {"path": "/data", "directory": True, "owner": "nodejs", "mode": "0750"},
        {"path": "/etc/localtime", "link": "/usr/share/zoneinfo/UTC"},
    ]
    spec = write(tmp_path, layer("files", entries=entries, owner="5") + USER)

    found = contents(store, build(spec, store).layers[0])

    assert {
        "data": (0o750, 1001, 1001),
        "etc": (0o755, 0, 0),
        "etc/key": (0o400, 5, 5),
        "etc/localtime": (0o777, 5, 5),
        "etc/motd": (0o644, 5, 5),
    } == attributes(found)
    assert "hello\n" == text(found["etc/motd"])
    assert b"/usr/share/zoneinfo/UTC" == found["etc/localtime"].target


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ({"path": "/a"}, "expected one of text, base64, directory and link"),
        ({"path": "/a", "text": "", "link": "x"}, "expected one of text, base64"),
        ({"path": "/a", "link": "x", "mode": "0644"}, "mode: a link has none"),
        ({"path": "/a", "link": ""}, "link: expected a link's target"),
        ({"path": "/a", "base64": "?"}, "base64: expected base64 text"),
        ({"path": "/a", "base64": "ä"}, "base64: expected base64 text"),
        ({"path": "/a/../b", "text": ""}, "path: .*leaves the root"),
        ({"path": "/", "directory": True}, "path: expected a path below the root"),
        ({"path": "/a", "text": "", "mode": "9"}, "mode: expected an octal mode"),
    ],
)
def test_wrong_entries_are_named(
    tmp_path: Path, store: MemoryStore, entry: dict[str, object], fault: str
) -> None:
    good = {"path": "/b", "text": ""}
    spec = write(tmp_path, layer("files", entries=[good, entry]))

    with pytest.raises(SpecError, match=rf"web\.toml: layer\[0\]\.entries\[1\].*{fault}"):
        build(spec, store)


def test_a_path_claimed_twice_names_the_layer(tmp_path: Path, app: Path) -> None:
    entries = [{"path": "/app/main.js", "text": "other"}]
    spec = write(tmp_path, layer("files", source="app", target="/app", entries=entries))
    with Store.open(tmp_path / "store") as store:
        before = State.of(store)

        with pytest.raises(EntryError, match=r'layer "app": app/main\.js: claimed twice'):
            build(spec, store)

        assert before == State.of(store)


def test_an_unknown_owner_is_named(tmp_path: Path, app: Path, store: MemoryStore) -> None:
    spec = write(tmp_path, layer("files", source="app", owner="nodjs") + USER)

    with pytest.raises(SpecError, match=r"owner: no .*user.* is called 'nodjs'; .*'nodejs'"):
        build(spec, store)


def test_names_that_mean_deletion_are_refused(tmp_path: Path, store: MemoryStore) -> None:
    fill(tmp_path / "app", {".wh.x": ""})

    with pytest.raises(EntryError, match=r"\.wh\.x: names that start with \.wh\. mean deletion"):
        build(write(tmp_path, layer("files", source="app")), store)


def test_a_fifo_is_refused_and_nothing_recorded(tmp_path: Path, app: Path) -> None:
    os.mkfifo(app / "pipe")
    with Store.open(tmp_path / "store") as store:
        before = State.of(store)

        with pytest.raises(SourceError, match="app/pipe: a device or FIFO"):
            build(write(tmp_path, layer("files", source="app")), store)

        assert before == State.of(store)


def test_a_layer_of_nothing_is_the_empty_tar(tmp_path: Path, store: MemoryStore) -> None:
    (tmp_path / "app").mkdir()
    spec = write(tmp_path, layer("files", source="app"), image='compression = "none"')

    built = build(spec, store)

    assert bytes(1024) == store.read_blob(built.layers[0].blob.digest)


def test_names_and_places_are_no_part_of_a_derivation(tmp_path: Path, app: Path) -> None:
    fill(tmp_path / "other" / "src", FILES)
    one = build(write(tmp_path, layer("files", source="app")), MemoryStore())
    other = build(write(tmp_path / "other", layer("files", "renamed", source="src")), MemoryStore())

    assert one.layers[0].derivation == other.layers[0].derivation
    assert one.digest == other.digest


# Directories that a layer passes through


def described(*layers: str) -> str:
    return "".join(layers) + USER


DATA = layer(
    "files",
    "data",
    entries=[{"path": "/data", "directory": True, "owner": "nodejs", "mode": "0750"}],
)


def test_a_parent_stays_as_a_layer_beneath_describes_it(tmp_path: Path, app: Path) -> None:
    store = MemoryStore()
    entries = [{"path": "/data/x", "text": ""}]
    spec = write(
        tmp_path,
        described(
            DATA,
            layer("files", "entry", entries=entries),
            layer("files", "below", source="app", target="/data/y/z"),
            layer("files", "into", source="app", target="/data"),
            layer("files", "owned", source="app", target="/data", owner="root"),
            layer("files", "after", entries=[{"path": "/data/q", "text": ""}]),
        ),
    )

    layers = [attributes(contents(store, built)) for built in build(spec, store).layers]

    assert (
        [
            (0o750, 1001, 1001),
            (0o750, 1001, 1001),
            (0o750, 1001, 1001),
            (0o750, 1001, 1001),
            (0o750, 0, 0),  # has the owner that is said
            (0o750, 0, 0),  # as have those above
        ]
        == [found["data"] for found in layers[:6]]
    )
    assert (0o755, 0, 0) == layers[2]["data/y"] == layers[2]["data/y/z"]


def test_folders_of_trees_and_targets_count_as_described(tmp_path: Path, app: Path) -> None:
    store = MemoryStore()
    spec = write(
        tmp_path,
        described(
            layer("files", "app", source="app", target="/srv", owner="nodejs"),
            layer("files", "more", entries=[{"path": "/srv/lib/new/x", "text": ""}]),
        ),
    )

    found = attributes(contents(store, build(spec, store).layers[1]))

    assert {
        "srv": (0o755, 1001, 1001),
        "srv/lib": (0o755, 1001, 1001),
        "srv/lib/new": (0o755, 0, 0),
        "srv/lib/new/x": (0o644, 0, 0),
    } == found


def test_what_lies_in_a_home_leaves_it_to_its_user(tmp_path: Path, app: Path) -> None:
    store = MemoryStore()
    spec = write(
        tmp_path,
        described(layer("files", source="app", target="/home/nodejs/app", owner="nodejs")),
    )

    layers = [attributes(contents(store, built)) for built in build(spec, store).layers]

    assert (0o700, 1001, 1001) == layers[0]["home/nodejs"]
    assert "home/nodejs" not in layers[1]


def test_a_home_among_the_system_s_folders_gives_nothing_away(tmp_path: Path, app: Path) -> None:
    store = MemoryStore()
    user = '[[user]]\nname = "daemon"\nuid = 1\nhome = "/usr/sbin"\n'
    spec = write(tmp_path, layer("files", source="app", target="/usr/sbin/app") + user)

    found = attributes(contents(store, build(spec, store).layers[0]))

    assert (0o755, 0, 0) == found["usr/sbin"]


def test_unrelated_descriptions_change_no_derivation(tmp_path: Path, app: Path) -> None:
    top = layer("files", "top", source="app", target="/srv")
    alone = build(write(tmp_path, described(top)), MemoryStore())
    above = build(write(tmp_path, described(DATA, top)), MemoryStore())

    assert alone.layers[0].derivation == above.layers[1].derivation


def test_customary_modes_hold_for_targets(tmp_path: Path, app: Path) -> None:
    store = MemoryStore()
    spec = write(tmp_path, layer("files", source="app", target="/tmp"))

    assert 0o1777 == contents(store, build(spec, store).layers[0])["tmp"].mode


def test_hard_links_on_disk_are_two_files(tmp_path: Path, store: MemoryStore) -> None:
    fill(tmp_path / "app", {"a": "x"})
    os.link(tmp_path / "app/a", tmp_path / "app/b")

    found = contents(store, build(write(tmp_path, layer("files", source="app")), store).layers[0])

    assert {EntryKind.FILE} == {entry.kind for entry in found.values()}


def test_a_missing_source_is_named(tmp_path: Path, store: MemoryStore) -> None:
    with pytest.raises(ImmutableError, match="none: No such file"):
        build(write(tmp_path, layer("files", source="none")), store)


def test_an_include_that_matches_nothing_is_named(tmp_path: Path, app: Path) -> None:
    spec = write(tmp_path, layer("files", "one", source="app", include=["nope", "*.py"]))
    with pytest.raises(SourceError, match=r'layer "one": include: nothing in app matches "nope", '):
        build(spec, MemoryStore())
