"""Layers of kind ``files`` whose files are spread over several layers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import immutable
from immutable.build.results import Image
from immutable.errors import EntryError, SpecError
from immutable.spec.splitting import part_of
from immutable.store import MemoryStore, Store
from immutable.testing import assert_reproducible
from tests.support.progress import Notes
from tests.support.specs import AMD64, ARM64, CONFIG, build, contents, fill, layer, write
from tests.support.spread import ANY, BASE, FOLDERS, MOST, TOPS, names, shown

TREE = {f"{top}/{name}": f"{top} {name}" for top in TOPS for name in ("one", "deep/two")}


def made(image: Image) -> int:
    return sum(not one.cached for one in image.layers)


def app(folder: Path, **options: Any) -> Path:
    options = {"source": "app", "target": "/srv/app", "layers": MOST, **options}
    return write(folder, layer("files", **options))


# Files


def test_all_that_is_in_a_top_directory_is_in_one_layer(tmp_path: Path, store: MemoryStore) -> None:
    fill(tmp_path / "app", {**TREE, "main.js": "main"})
    image = build(app(tmp_path), store)
    assert ["1/4", "2/4", "3/4", "4/4"] == [one.part for one in image.layers]
    places: dict[str, set[int]] = {}
    for number, there in enumerate(names(store, image, "srv/app/")):
        for path in there:
            places.setdefault(path.split("/")[0], set()).add(number)
    tops = sorted({*TOPS, "main.js"})
    assert {top: {part_of(top.encode(), MOST)} for top in tops} == places


def test_the_parts_hold_what_the_one_layer_holds(tmp_path: Path, store: MemoryStore) -> None:
    folder = fill(tmp_path / "app", TREE)
    (folder / "empty/inner").mkdir(parents=True)
    (folder / "link").symlink_to("a/one")
    options = {"owner": "5:6", "directory_mode": "0750", "mode": "0640"}
    split = shown(store, build(app(tmp_path, **options), store))
    assert shown(store, build(app(tmp_path, layers=1, **options), store)) == split


@pytest.mark.parametrize("change", ["edit", "add", "remove", "add to the top"])
def test_a_change_packs_one_part(tmp_path: Path, store: MemoryStore, change: str) -> None:
    folder = fill(tmp_path / "app", TREE)
    before = build(app(tmp_path), store)
    match change:
        case "edit":
            fill(folder, {"c/deep/two": "edited"})
        case "add":
            fill(folder, {"c/deep/three": "new"})
        case "remove":
            (folder / "c/one").unlink()
        case "add to the top":
            fill(folder, {"k/one": "new"})
    after = build(app(tmp_path), store)
    assert (MOST, MOST) == (len(before.layers), len(after.layers))
    assert 1 == made(after)
    there = {one.blob.digest for one in before.layers}
    assert 1 == sum(one.blob.digest not in there for one in after.layers)


def test_a_change_packs_one_part_over_a_base(tmp_path: Path, store: MemoryStore) -> None:
    folder = fill(tmp_path / "app", TREE)
    base = layer("files", "base", entries=[{"path": "/srv/app/a/one", "text": "there before"}])
    spread = layer("files", source="app", target="/srv/app", layers=MOST)
    above = layer("files", "above", entries=[{"path": "/etc/motd", "text": "hello"}])
    build(write(tmp_path, base + spread + above), store)
    fill(folder, {"c/one": "edited"})
    after = build(write(tmp_path, base + spread + above), store)
    assert ["app"] == [one.name for one in after.layers if not one.cached]


def test_another_count_moves_names_to_the_new_parts_alone(
    tmp_path: Path, store: MemoryStore
) -> None:
    fill(tmp_path / "app", TREE)
    four = names(store, build(app(tmp_path), store), "srv/app/")
    image = build(app(tmp_path, layers=5), store)
    *lower, new = names(store, image, "srv/app/")
    assert [[path for path in part if path not in new] for part in four] == lower
    assert [one.cached for one in image.layers] == [*map(list.__eq__, four, lower), False]


def test_no_part_is_empty(tmp_path: Path, store: MemoryStore) -> None:
    fill(tmp_path / "app", {"a/one": "1", "b": "2"})
    image = build(app(tmp_path, layers=100), store)
    assert ["1/2", "2/2"] == [one.part for one in image.layers]
    fill(tmp_path / "app", {"c": "3"})
    image = build(app(tmp_path, layers=100), store)
    assert (3, 1) == (len(image.layers), made(image))


def test_what_comes_to_one_part_is_shown_as_one_layer(tmp_path: Path, store: MemoryStore) -> None:
    fill(tmp_path / "app", {"a/one": "1", "a/two": "2"})
    split, whole = build(app(tmp_path), store), build(app(tmp_path, layers=1), store)
    assert [""] == [one.part for one in split.layers]
    assert split.digest == whole.digest


def test_a_layer_without_any_files_is_one_layer(tmp_path: Path, store: MemoryStore) -> None:
    (tmp_path / "app").mkdir()
    split, whole = build(app(tmp_path), store), build(app(tmp_path, layers=1), store)
    assert split.digest == whole.digest


def test_a_file_goes_with_the_entries(tmp_path: Path, store: MemoryStore) -> None:
    fill(tmp_path, {"tool": "#!"})
    entries = [{"path": "/usr/bin/other", "link": "tool"}, {"path": "/etc/motd", "text": "x"}]
    options = {"source": "tool", "target": "/usr/bin/tool", "entries": entries}
    split = build(app(tmp_path, **options), store)
    assert ["other", "tool"] in names(store, split, "usr/bin/")
    assert shown(store, build(app(tmp_path, layers=1, **options), store)) == shown(store, split)


def test_entries_go_where_the_files_beside_them_are(tmp_path: Path, store: MemoryStore) -> None:
    fill(tmp_path / "app", TREE)
    entries = [
        {"path": "/srv/app/c/more", "text": "more"},
        {"path": "/srv/app/d/more", "directory": True, "mode": "0700"},
        {"path": "/srv", "directory": True, "mode": "0710"},
        {"path": "/srv/other/x", "text": "x"},
        {"path": "/etc/a", "text": "a"},
        {"path": "/etc/b", "text": "b"},
    ]
    split = build(app(tmp_path, entries=entries), store)
    assert {
        (path, entry.mode)
        for one in split.layers
        for path, entry in contents(store, one).items()
        if path == "srv"
    } == {("srv", 0o710)}
    whole = build(app(tmp_path, entries=entries, layers=1), store)
    assert shown(store, whole) == shown(store, split)


def test_an_entry_that_goes_through_another_is_refused_as_ever(
    tmp_path: Path, store: MemoryStore
) -> None:
    fill(tmp_path / "app", TREE)
    for path in ("/srv", "/srv/app", "/srv/app/a"):
        with pytest.raises(EntryError, match=path[1:]):
            build(app(tmp_path, entries=[{"path": path, "link": "/x"}]), store)


def test_a_wrong_entry_is_named_by_its_path(tmp_path: Path, store: MemoryStore) -> None:
    fill(tmp_path / "app", TREE)
    entries = [{"path": "/etc/a", "text": "a"}, {"path": "/usr/gone", "mode": "0755"}]
    with pytest.raises(EntryError, match=r'layer "app": entries, /usr/gone: expected a file'):
        build(app(tmp_path, entries=entries), store)


# Over other layers


def over(folder: Path, text: str, **options: Any) -> str:
    options = {"source": "app", "target": "/srv/app", "layers": MOST, **options}
    return layer("files", "base", entries=BASE) + text + layer("files", **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"owner": "3:4", "directory_mode": "0770"},
        {"target": "/lib/app"},
        {"target": "/lib"},
        {"target": "/"},
        {"remove": ["/srv/app/b", "/srv/app/old", "/usr/lib/*"]},
        {"remove": ["/srv"]},
    ],
)
def test_over_other_layers_they_come_to_what_the_one_layer_comes_to(
    tmp_path: Path, store: MemoryStore, options: dict[str, Any]
) -> None:
    fill(tmp_path / "app", TREE)
    split = build(write(tmp_path, over(tmp_path, "", **options)), store)
    whole = build(write(tmp_path, over(tmp_path, "", **options, layers=1)), store)
    assert len(whole.layers) + 2 < len(split.layers)
    assert shown(store, whole) == shown(store, split)


def test_what_is_removed_is_a_layer_beneath_the_parts(tmp_path: Path, store: MemoryStore) -> None:
    folder = fill(tmp_path / "app", TREE)
    spec = write(tmp_path, over(tmp_path, "", remove=["/srv/app/b", "/srv/app/old"]))
    image = build(spec, store)
    assert ["", "1/5", "2/5", "3/5", "4/5", "5/5"] == [one.part for one in image.layers]
    assert {"srv", "srv/app", "srv/app/.wh.b", "srv/app/.wh.old"} == {
        *contents(store, image.layers[1])
    }
    fill(folder, {"c/one": "edited"})
    assert 1 == made(build(spec, store))


def test_only_removing_is_one_layer(tmp_path: Path, store: MemoryStore) -> None:
    base = layer("files", "base", entries=BASE)
    image = build(
        write(tmp_path, base + layer("files", remove=["/srv/app/old"], layers=MOST)), store
    )
    assert ["", ""] == [one.part for one in image.layers]


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "/usr/lib", "directory": True, "mode": "0700"},
        {"path": "/usr/lib/y", "directory": True},
        {"path": "/usr/lib/y/z", "text": "z"},
        {"path": "/usr/lib/y", "text": "another"},
    ],
)
def test_two_parts_that_come_to_one_path_through_links_are_refused(
    tmp_path: Path, store: MemoryStore, entry: dict[str, Any]
) -> None:
    entries = [{"path": "/lib/y", "text": "y"}, entry]
    text = layer("files", "base", entries=BASE) + layer("files", entries=entries, layers=100)
    for _ in range(2):  # when all is there too
        with pytest.raises(EntryError, match=r'layer "app": /usr/lib(/y)? is in two of its parts'):
            build(write(tmp_path, text), store)


def test_two_parts_that_come_to_one_directory_are_fine(tmp_path: Path, store: MemoryStore) -> None:
    entries = [{"path": "/lib/y", "text": "y"}, {"path": "/usr/lib/z", "text": "z"}]
    text = layer("files", "base", entries=BASE) + layer("files", entries=entries, layers=100)
    assert ["", "1/2", "2/2"] == [one.part for one in build(write(tmp_path, text), store).layers]


FOLDER = FOLDERS.map("/".join)
OWN = st.fixed_dictionaries(
    {}, optional={"mode": st.sampled_from(["0700", "0750"]), "owner": st.just("1:2")}
)


def entries(*, links: bool, changes: bool = False) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Entries of a layer, files under other names than directories so that most are taken."""
    made: list[st.SearchStrategy[dict[str, Any]]] = [
        st.builds(lambda at, own: {"path": f"/{at}", "text": at, **own}, ANY, OWN),
        st.builds(
            lambda at, own: {"path": f"/{at}", "directory": True, **own}, FOLDER.filter(bool), OWN
        ),
    ]
    if links:
        path, target = st.sampled_from(["/lib", "/a", "/b/c"]), st.sampled_from(["usr", "/c"])
        made.append(st.builds(lambda at, to: {"path": at, "link": to}, path, target))
    if changes:
        path = st.one_of(ANY, FOLDER.filter(bool)).map("/".__add__)
        made.append(st.builds(lambda at, own: {"path": at, "mode": "0711", **own}, path, OWN))
    return st.lists(st.one_of(made), max_size=5, unique_by=lambda one: str(one["path"]))


FILES = st.fixed_dictionaries(
    {"target": FOLDER.map("/".__add__)},
    optional={
        "owner": st.just("3:4"),
        "directory_mode": st.just("0770"),
        "replace": st.just(True),
        "entries": entries(links=False) | entries(links=True, changes=True),
    },
)


@settings(deadline=None, max_examples=100)
@given(
    st.sets(ANY, max_size=6),
    FILES,
    entries(links=False) | entries(links=True),
    st.integers(2, 6),
    st.none() | st.integers(0, 4),
)
def test_spread_or_not_the_image_is_the_same(
    tree: set[str],
    options: dict[str, Any],
    beneath: list[dict[str, Any]],
    most: int,
    removed: int | None,
) -> None:
    if beneath and removed is not None:
        options = {**options, "remove": [beneath[removed % len(beneath)]["path"]]}
    with tempfile.TemporaryDirectory() as made:
        fill(Path(made, "app"), {path: path for path in tree})
        base = layer("files", "base", entries=beneath) if beneath else ""
        whole, split = (
            outcome(Path(made), base + layer("files", source="app", layers=count, **options))
            for count in (1, most)
        )
    # Through links one path is come to twice; then the parts are refused rather than merged.
    if split == "parts":
        assert any("link" in one for one in beneath)
    else:
        assert whole == split


def outcome(folder: Path, text: str) -> Any:
    """What is built, or in which way it is refused."""
    with MemoryStore() as store:
        try:
            return shown(store, build(write(folder, text), store))
        except EntryError as error:
            return "parts" if "in two of its parts" in str(error) else "refused"
        except SpecError:
            return "no spec"


# What is read


def test_large_files_that_nobody_has_read_are_read_first(tmp_path: Path) -> None:
    folder = fill(tmp_path / "app", {f"{name}/x": os.urandom(3 << 20) for name in "abd"})
    with Store.open(tmp_path / "store") as store:
        image = build(app(tmp_path), store)
        assert 3 == len(image.layers)
        fill(folder, {"aa/x": os.urandom(9 << 20)})
        assert 1 == made(build(app(tmp_path), store))


def test_platforms_share_the_parts(tmp_path: Path, store: MemoryStore) -> None:
    fill(tmp_path / "app", TREE)
    spec = write(
        tmp_path,
        layer("files", source="app", layers=MOST),
        image='platforms = ["linux/amd64", "linux/arm64"]',
    )
    one, other = build(spec, store).platforms
    assert (AMD64, ARM64) == (one.platform, other.platform)
    assert one.manifest.layers == other.manifest.layers
    assert MOST == len(one.manifest.layers)


def test_they_come_out_the_same_again(tmp_path: Path, store: MemoryStore) -> None:
    fill(tmp_path / "app", TREE)
    spec = app(tmp_path)
    image, differences = immutable.verify(spec, store, config=CONFIG)
    assert (MOST, ()) == (len(image.layers), differences)
    assert_reproducible(spec, config=CONFIG)


def test_they_can_be_built_upon(tmp_path: Path, store: MemoryStore) -> None:
    fill(tmp_path / "app", TREE)
    build(app(tmp_path), store)
    base = layer("image", "base", from_="web.toml")
    upon = write(tmp_path, base + layer("files", source="app", layers=3), "upon.toml")
    image = build(upon, store)
    assert ["1/4", "2/4", "3/4", "4/4", "1/3", "2/3", "3/3"] == [one.part for one in image.layers]


def test_files_can_be_copied_out_of_them(tmp_path: Path, store: MemoryStore) -> None:
    folder = fill(tmp_path / "app", TREE)
    whole = contents(store, build(app(tmp_path, layers=1), store).layers[0])
    app(tmp_path)
    copying = layer("copy", "copied", from_="web.toml", paths=["/srv/app"])
    image = build(write(tmp_path, copying, "copying.toml"), store)
    assert whole == contents(store, image.layers[0])
    fill(folder, {"c/one": "edited"})
    assert 1 == made(build(app(tmp_path), store))


# The count


@pytest.mark.parametrize("count", [0, 101, "4"])
@pytest.mark.parametrize("kind", ["files", "archive"])
def test_a_count_that_cannot_be(tmp_path: Path, kind: str, count: object) -> None:
    options = {"url": "https://a.test/x.tar"} if kind == "archive" else {}
    spec = write(tmp_path, layer(kind, layers=count, **options))
    with pytest.raises(SpecError, match=r"layer\[0\]\.layers: expected"):
        immutable.load(spec)


def test_spreading_asks_nothing_of_a_lock(tmp_path: Path, store: MemoryStore) -> None:
    fill(tmp_path / "app", TREE)
    notes = Notes()
    build(app(tmp_path), store, progress=notes)
    assert not (tmp_path / "web.lock.toml").exists()
    assert () == immutable.check(tmp_path / "web.toml", config=CONFIG)
