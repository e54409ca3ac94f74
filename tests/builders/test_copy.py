"""Layers of kind ``copy``: files out of another image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import immutable
from immutable import lock
from immutable.build import contents as stored
from immutable.build.outputs import expect_place
from immutable.build.results import Image
from immutable.build.verify import verify
from immutable.content.entries import Entry, EntryKind
from immutable.errors import EntryError, LockMissing, SourceError, SpecError, TransportError
from immutable.store import AbstractStore, MemoryStore, Store
from immutable.store.layout import Layout
from immutable.testing import assert_reproducible
from immutable.transports import parse
from tests.support.archives import END, directory, hardlink, member, pax, symlink
from tests.support.git import repository, run
from tests.support.specs import (
    AMD64,
    ARM64,
    CONFIG,
    attributes,
    build,
    contents,
    layer,
    layout_image,
    layout_index,
    text,
    write,
)

CAPABILITY = b"SCHILY.xattr.security.capability"
CAPABILITIES = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)
OUT = [
    {"path": "/out/bin/tool", "text": "tool", "mode": "0755", "owner": "7:8"},
    {"path": "/out/lib/a.so", "text": "a"},
    {"path": "/out/lib/a.so.1", "link": "a.so"},
    {"path": "/out", "directory": True, "mode": "0750", "owner": "7:8"},
    {"path": "/usr/lib/b.so", "text": "b"},
    {"path": "/lib", "link": "usr/lib"},
]


def builder(folder: Path, *more: dict[str, Any], name: str = "builder.toml") -> Path:
    """Write the spec that is copied from."""
    return write(folder, layer("files", "made", entries=[*OUT, *more]), name)


def copied(folder: Path, store: AbstractStore, *paths: str, **options: Any) -> dict[str, Entry]:
    """Return the entries of a layer that copies from builder.toml, over nothing."""
    return contents(store, built(folder, store, *paths, **options).layers[-1])


def built(folder: Path, store: AbstractStore, *paths: str, **options: Any) -> Image:
    options = {"from_": "builder.toml", "paths": list(paths)} | options
    return build(write(folder, layer("copy", "tool", **options)), store)


# What goes where


def test_without_a_target_a_path_keeps_its_place_and_attributes(
    tmp_path: Path, store: MemoryStore
) -> None:
    builder(tmp_path)
    found = copied(tmp_path, store, "/out")

    assert "tool" == text(found["out/bin/tool"])
    assert b"a.so" == found["out/lib/a.so.1"].target
    assert {
        "out": (0o750, 7, 8),
        "out/bin": (0o755, 0, 0),
        "out/bin/tool": (0o755, 7, 8),
        "out/lib": (0o755, 0, 0),
        "out/lib/a.so": (0o644, 0, 0),
        "out/lib/a.so.1": (0o777, 0, 0),
    } == attributes(found)


def test_a_whole_image_is_copied_with_its_links(tmp_path: Path, store: MemoryStore) -> None:
    builder(tmp_path)
    found = copied(tmp_path, store, "/")
    assert b"usr/lib" == found["lib"].target
    assert {"out/bin/tool", "usr/lib/b.so"} < found.keys()
    inside = copied(tmp_path, store, "/", target="/sysroot")
    assert {"sysroot", *(f"sysroot/{path}" for path in found)} == inside.keys()
    assert "out" not in copied(tmp_path, store, "/", exclude=["/out"])


def test_what_is_in_a_directory_goes_into_the_target(tmp_path: Path, store: MemoryStore) -> None:
    builder(tmp_path)
    expected = ["app", "app/bin", "app/bin/tool", "app/lib", "app/lib/a.so", "app/lib/a.so.1"]

    found = copied(tmp_path, store, "/out", target="/app")
    assert expected == sorted(found)
    assert (0o750, 7, 8) == attributes(found)["app"]
    assert expected == sorted(copied(tmp_path, store, "/out", target="/app/"))
    assert ["bin", "bin/tool"] == sorted(copied(tmp_path, store, "/out/bin", target="/bin"))
    assert ["tool"] == sorted(copied(tmp_path, store, "/out/bin", target="/"))


def test_a_file_becomes_the_target_or_goes_into_it_where_that_ends_in_a_slash(
    tmp_path: Path, store: MemoryStore
) -> None:
    builder(tmp_path)
    assert ["a"] == sorted(copied(tmp_path, store, "/out/bin/tool", target="/a"))
    assert ["a", "a/tool"] == sorted(copied(tmp_path, store, "/out/bin/tool", target="/a/"))
    assert ["tool"] == sorted(copied(tmp_path, store, "/out/bin/tool", target="/"))


def test_several_paths_go_into_one_target(tmp_path: Path, store: MemoryStore) -> None:
    builder(tmp_path)
    found = copied(tmp_path, store, "/out/bin", "/out/lib", "/lib/b.so", target="/app/")

    assert ["app", "app/a.so", "app/a.so.1", "app/b.so", "app/tool"] == sorted(found)
    assert (0o755, 0, 0) == attributes(found)["app"]


def test_all_that_a_glob_matches_goes_into_the_target_by_name(
    tmp_path: Path, store: MemoryStore
) -> None:
    builder(tmp_path)
    found = copied(tmp_path, store, "/out/*", "/lib/*.so", target="/app/")

    expected = ["app", "app/b.so", "app/bin", "app/bin/tool", "app/lib", "app/lib/a.so"]
    assert [*expected, "app/lib/a.so.1"] == sorted(found)
    assert ["lib", "lib/b.so"] == sorted(copied(tmp_path, store, "/lib/*"))


def test_links_are_followed_on_the_way_and_at_the_end_but_not_within(
    tmp_path: Path, store: MemoryStore
) -> None:
    builder(tmp_path)
    found = copied(tmp_path, store, "/lib/b.so", "/out/lib/a.so.1")
    assert ["lib", "lib/b.so", "out", "out/lib", "out/lib/a.so.1"] == sorted(found)
    assert "a" == text(found["out/lib/a.so.1"])

    found = copied(tmp_path, store, "/lib", target="/l")
    assert ["l", "l/b.so"] == sorted(found)
    assert EntryKind.DIRECTORY is found["l"].kind


def test_an_owner_is_everything_s(tmp_path: Path, store: MemoryStore) -> None:
    builder(tmp_path)
    found = copied(tmp_path, store, "/out", owner="9:10")
    assert {(9, 10)} == {(entry.uid, entry.gid) for entry in found.values()}


def test_an_owner_by_name_is_of_the_layers_beneath(tmp_path: Path, store: MemoryStore) -> None:
    builder(tmp_path, {"path": "/etc/passwd", "text": "app:x:1:1::/:\n"})
    passwd = layer("files", entries=[{"path": "/etc/passwd", "text": "app:x:70:71::/:\n"}])
    tool = layer("copy", "tool", from_="builder.toml", paths=["/out/bin/tool"], owner="app")
    image = build(write(tmp_path, passwd + tool), store)

    assert (0o755, 70, 71) == attributes(contents(store, image.layers[1]))["out/bin/tool"]


def test_what_is_excluded_is_left_out(tmp_path: Path, store: MemoryStore) -> None:
    builder(tmp_path)
    exclude = ["/out/lib/*.1", "/out/bin"]
    found = copied(tmp_path, store, "/out", target="/app", exclude=exclude)
    assert ["app", "app/lib", "app/lib/a.so"] == sorted(found)

    with pytest.raises(EntryError, match="paths: /out: exclude leaves nothing of it"):
        copied(tmp_path, store, "/out", exclude=["/out"])


def test_what_is_beneath_stays_as_it_is(tmp_path: Path, store: MemoryStore) -> None:
    builder(tmp_path)
    entries = [
        {"path": "/opt/app", "directory": True, "mode": "0700", "owner": "5"},
        {"path": "/app", "link": "opt/app"},
    ]
    tool = layer("copy", "tool", from_="builder.toml", paths=["/out"], target="/app")
    image = build(write(tmp_path, layer("files", entries=entries) + tool), store)

    found = contents(store, image.layers[1])
    assert (0o700, 5, 5) == attributes(found)["opt/app"]
    assert "opt/app/bin/tool" in found
    assert 2 == len(image.layers) == len(image.manifest.layers)


# What is not there


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/out/bin/tol",
            "/out/bin/tol: not in the image to copy from; did you mean /out/bin/tool?",
        ),
        ("/lib/c.so", "did you mean /lib/b.so[?]"),
        ("/ouut/bin/tool", "/ouut/bin/tool: not in .*; did you mean /out[?]"),
        ("/out/bin/tool/x", "; did you mean /out/bin/tool[?]"),
        ("/quite/else", "; / is there"),
        ("/gone", "/gone: is a link that leads to nothing there; leave it out, of a glob by"),
        ("/out/*.x", r"/out/\*.x: nothing matches in the image to copy from"),
        ("/else/*", "nothing matches"),
    ],
)
def test_a_path_that_is_not_there_names_the_nearest(
    tmp_path: Path, store: MemoryStore, path: str, message: str
) -> None:
    builder(tmp_path, {"path": "/gone", "link": "nowhere"})
    with pytest.raises(EntryError, match=f'^layer "tool": paths: .*{message}'):
        copied(tmp_path, store, path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paths": []}, r"layer\[0\].paths: expected at least one path"),
        ({"paths": ["out"]}, r"layer\[0\].paths\[0\]: expected an absolute path, found 'out'"),
        ({"paths": ["/a", "/b"], "target": "/x"}, r'target: expected a directory, with "/" at'),
        ({"paths": ["/a*"], "target": "/x"}, r'target: expected a directory, with "/" at'),
        ({"paths": ["/a"], "target": "x"}, "target: expected an absolute path"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        immutable.load(write(tmp_path, layer("copy", from_="builder.toml", **options)))


# What it depends on


def test_a_change_elsewhere_in_the_other_image_does_not_rebuild(
    tmp_path: Path, store: MemoryStore
) -> None:
    builder(tmp_path)
    first = built(tmp_path, store, "/out")
    builder(tmp_path, {"path": "/elsewhere", "text": "new"})
    second = built(tmp_path, store, "/out")

    assert [False, True] == [first.layers[0].cached, second.layers[0].cached]
    assert first.digest == second.digest


def test_a_change_of_what_is_excluded_does_not_rebuild(tmp_path: Path, store: MemoryStore) -> None:
    builder(tmp_path)
    built(tmp_path, store, "/out", exclude=["/out/new"])
    builder(tmp_path, {"path": "/out/new", "text": "new"})

    assert built(tmp_path, store, "/out", exclude=["/out/new"]).layers[0].cached


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/out/new", "text": "new"},
        {"path": "/out/lib/a.so", "text": "b"},
        {"path": "/out/lib/a.so", "text": "a", "mode": "0600"},
        {"path": "/out/lib/a.so", "text": "a", "owner": "9"},
        {"path": "/out/lib/a.so.1", "link": "b.so"},
    ],
)
def test_a_change_of_what_is_copied_rebuilds(
    tmp_path: Path, store: MemoryStore, change: dict[str, Any]
) -> None:
    builder(tmp_path)
    first = built(tmp_path, store, "/out")
    base = layer("image", "first", from_="builder.toml")
    write(tmp_path, base + layer("files", "then", entries=[change]), "changed.toml")
    second = built(tmp_path, store, "/out", from_="changed.toml")

    assert not second.layers[0].cached
    assert first.layers[0].diff_id != second.layers[0].diff_id
    assert second.digest == built(tmp_path, MemoryStore(), "/out", from_="changed.toml").digest


def test_which_image_it_is_from_does_not_count(tmp_path: Path, store: MemoryStore) -> None:
    builder(tmp_path)
    builder(tmp_path, {"path": "/more", "text": "more"}, name="other.toml")
    first = built(tmp_path, store, "/out")
    second = built(tmp_path, store, "/out", from_="other.toml")

    assert second.layers[0].cached
    assert first.layers[0].derivation == second.layers[0].derivation


def test_two_layers_of_one_derivation_are_each_from_their_own_image(
    tmp_path: Path, store: MemoryStore
) -> None:
    write(tmp_path, layer("files", entries=[{"path": "/x", "text": "1"}]), "one.toml")
    # Its own layer has the derivation of the one that copies from it.
    write(tmp_path, layer("files", entries=[{"path": "/x", "text": "2"}]), "two.toml")
    write(tmp_path, layer("copy", from_="two.toml", paths=["/x"]), "three.toml")
    both = layer("copy", "a", from_="one.toml", paths=["/x"])
    both += layer("copy", "b", from_="three.toml", paths=["/x"])
    image = build(write(tmp_path, both), store)

    assert ["1", "2"] == [text(contents(store, one)["x"]) for one in image.layers]
    again = build(tmp_path / "web.toml", store)
    assert [True, True] == [one.cached for one in again.layers]
    assert image.digest == again.digest


def test_each_platform_has_its_own_files_and_one_layer_where_they_agree(
    tmp_path: Path, store: MemoryStore
) -> None:
    layout = Layout.create(tmp_path / "base")
    tars = {
        platform: member(b"bin/tool", str(platform).encode()) + member(b"etc/x", b"x") + END
        for platform in (AMD64, ARM64)
    }
    images = [layout_image(layout, data, platform=one) for one, data in tars.items()]
    layout_index(layout, "1.0", *images)
    tables = layer("copy", "tool", from_="oci:base:1.0", paths=["/bin/tool"])
    tables += layer("copy", "etc", from_="oci:base:1.0", paths=["/etc/x"])
    spec = write(tmp_path, tables, image='platforms = ["linux/amd64", "linux/arm64"]')
    lock(spec, store, config=CONFIG)
    image = build(spec, store)

    tools = [contents(store, one.layers[0])["bin/tool"] for one in image.platforms]
    assert ["linux/amd64", "linux/arm64"] == sorted(map(text, tools))
    assert 1 == len({one.layers[1].blob.digest for one in image.platforms})
    assert 1 == len({one.layers[0].derivation for one in image.platforms})


def test_an_unchanged_build_looks_at_nothing_of_the_other_image(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder(tmp_path)
    first = built(tmp_path, store, "/out")

    def refuse(*_: object) -> None:
        raise AssertionError("looked at")

    monkeypatch.setattr(stored.LayerContents, "of", refuse)
    assert first.digest == built(tmp_path, store, "/out").digest


def test_the_other_image_is_a_cache_that_prune_takes(tmp_path: Path) -> None:
    builder(tmp_path)
    with Store.open(tmp_path / "store") as store:
        first = built(tmp_path, store, "/out")
        made = build(tmp_path / "builder.toml", MemoryStore()).layers[0].blob.digest
        assert store.has_blob(made)

        store.sweep(caches=False)
        assert not store.has_blob(made)
        again = built(tmp_path, store, "/out")
        assert again.layers[0].cached
        assert not store.has_blob(made)
        assert first.digest == again.digest


# Other places


def test_an_image_in_a_layout_is_pinned_by_the_lock(tmp_path: Path, store: MemoryStore) -> None:
    data = (
        directory(b"data", mode=0o1777, uid=3)
        + pax((CAPABILITY, CAPABILITIES))
        + member(b"data/ping", b"ping", mode=0o755)
        + hardlink(b"data/pong", b"data/ping")
        + symlink(b"data/link", b"ping")
        + END
    )
    layout = Layout.create(tmp_path / "base")
    layout_index(layout, "1.0", layout_image(layout, data))
    spec = write(tmp_path, layer("copy", from_="oci:base:1.0", paths=["/data"]))
    with pytest.raises(LockMissing, match=r"web.lock.toml: there is no lock, .* takes app from"):
        build(spec, store)
    lock(spec, store, config=CONFIG)
    found = contents(store, build(spec, store).layers[0])

    assert (0o1777, 3, 0) == attributes(found)["data"]
    assert ((b"security.capability", CAPABILITIES),) == found["data/ping"].xattrs
    assert EntryKind.HARDLINK is found["data/pong"].kind
    assert b"data/ping" == found["data/pong"].target
    assert b"ping" == found["data/link"].target


def test_files_of_several_layers_come_in_any_order(tmp_path: Path, store: MemoryStore) -> None:
    low = member(b"z", b"z" * 70_000) + member(b"a", b"a") + member(b"m", b"old") + END
    high = member(b"m", b"m") + member(b"b", b"") + END
    layout = Layout.create(tmp_path / "base")
    layout_index(layout, "1.0", layout_image(layout, low, high))
    spec = write(tmp_path, layer("copy", from_="oci:base:1.0", paths=["/*"], target="/app/"))
    lock(spec, store, config=CONFIG)
    found = contents(store, build(spec, store).layers[0])

    expected = {"app/a": "a", "app/b": "", "app/m": "m", "app/z": "z" * 70_000}
    assert expected == {path: text(entry) for path, entry in found.items() if path != "app"}


def test_an_archive_s_image_is_taken_from(tmp_path: Path, store: MemoryStore) -> None:
    builder(tmp_path)
    name = build(tmp_path / "builder.toml", store).name
    immutable.copy(name, f"oci-archive:{tmp_path}/b.tar", store=store)
    spec = write(tmp_path, layer("copy", from_="oci-archive:b.tar", paths=["/out"]))
    other = MemoryStore()
    lock(spec, other, config=CONFIG)
    image = build(spec, other)

    write(tmp_path, layer("copy", from_="builder.toml", paths=["/out"]), "other.toml")
    expected = build(tmp_path / "other.toml", store).layers[0].diff_id
    assert expected == image.layers[0].diff_id


def test_the_lock_of_the_other_spec_is_its_own(tmp_path: Path, store: MemoryStore) -> None:
    url = layer("archive", "made", url="https://files.test/tool.tar")
    write(tmp_path, url, "builder.toml")
    with pytest.raises(
        LockMissing, match=r"builder.lock.toml: there is no lock, and .*builder.toml"
    ):
        built(tmp_path, store, "/out")


def test_the_other_spec_has_to_be_for_the_platform(tmp_path: Path, store: MemoryStore) -> None:
    builder(tmp_path)
    table = layer("copy", from_="builder.toml", paths=["/out"])
    spec = write(tmp_path, table, image='platforms = ["linux/arm64"]')
    with pytest.raises(SpecError, match=r"builder.toml: image.platforms: linux/arm64 is not"):
        build(spec, store)


def test_a_first_layer_that_copies_is_no_base(tmp_path: Path, store: MemoryStore) -> None:
    builder(tmp_path)
    image = built(tmp_path, store, "/out/bin")
    assert {} == dict(image.manifest.annotations)
    assert 1 == len(image.config.history)


# Specs that take from each other


@pytest.mark.parametrize("kind", ["copy", "image"])
def test_specs_in_a_circle_are_refused(tmp_path: Path, store: MemoryStore, kind: str) -> None:
    options: dict[str, Any] = {"paths": ["/out"]} if kind == "copy" else {}
    write(tmp_path, layer(kind, from_="web.toml", **options), "builder.toml")
    with pytest.raises(SpecError, match=r"in a circle: web.toml → builder.toml → web.toml"):
        built(tmp_path, store, "/out")


def test_many_ways_to_one_spec_are_gone_once(tmp_path: Path, store: MemoryStore) -> None:
    name = "s0.toml"
    builder(tmp_path, name=name)
    for number in range(1, 24):
        tables = [layer("copy", one, from_=name, paths=["/out"]) for one in ("a", "b")]
        name = f"s{number}.toml"
        write(tmp_path, "".join(tables), name)
    image = built(tmp_path, store, "/out", from_=name)
    assert "tool" == text(contents(store, image.layers[0])["out/bin/tool"])


def test_files_of_the_other_spec_count_for_git(tmp_path: Path, store: MemoryStore) -> None:
    work = repository(tmp_path / "work")
    write(work, layer("files", source="other", target="/out"), "builder.toml")
    copies = layer("copy", from_="builder.toml", paths=["/out"])
    spec = write(work, copies, image='tags = ["{git.sha}"]')
    run(work, "add", ".")
    run(work, "commit", "--quiet", "--message=second")
    image = build(spec, store)
    assert (run(work, "rev-parse", "HEAD"),) == image.tags

    (work / "app/main.js").write_text("another")  # nothing takes it
    assert image.digest == build(spec, store).digest
    (work / "other/x").write_text("another")
    with pytest.raises(SourceError, match="other/x"):
        build(spec, store)


# The same again


def test_it_is_reproducible(tmp_path: Path) -> None:
    builder(tmp_path)
    table = layer("copy", from_="builder.toml", paths=["/out", "/usr/lib/*"], target="/app/")
    assert_reproducible(write(tmp_path, table), config=CONFIG)


def test_verify_builds_it_again_without_the_other_image_s_place(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "base")
    layout_index(layout, "1.0", layout_image(layout, member(b"a", b"a") + END))
    spec = write(tmp_path, layer("copy", from_="oci:base:1.0", paths=["/a"]))
    store = MemoryStore()
    lock(spec, store, config=CONFIG)
    build(spec, store)
    (tmp_path / "base").rename(tmp_path / "gone")

    _, differences = verify(spec, store, config=CONFIG)
    assert () == differences


def test_an_image_does_not_go_where_it_is_copied_from(tmp_path: Path) -> None:
    builder(tmp_path)
    write(tmp_path, layer("copy", from_="oci:base:1.0", paths=["/a"]), "second.toml")
    spec = write(tmp_path, layer("copy", from_="second.toml", paths=["/a"]))

    for place in ("oci:base:1.0", "oci-archive:second.toml"):
        scheme, _, path = place.partition(":")
        with pytest.raises(TransportError, match="expected"):
            expect_place(parse(f"{scheme}:{tmp_path}/{path}"), immutable.load(spec))
    expect_place(parse(f"oci:{tmp_path}/base:2.0"), immutable.load(spec))
