"""Layers of kind ``archive`` whose files are spread over several layers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import immutable
from immutable.build.contents import LayerContents
from immutable.build.results import Image
from immutable.content.entries import EntryKind
from immutable.oci.digest import Digest
from immutable.spec.splitting import part_of
from immutable.store import AbstractStore, MemoryStore
from immutable.testing import assert_reproducible
from tests.support.archives import END, directory, hardlink, member, symlink
from tests.support.specs import CONFIG, build, contents, layer, write
from tests.support.spread import ANY, BASE, MOST, TOPS, names, shown


def pinned(folder: Path, data: bytes, base: str = "", **options: Any) -> Path:
    """A spec with a layer of the archive `data`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x.tar").write_bytes(data)
    digest = Digest.of(data).hex
    options = {"path": "x.tar", "sha256": digest, "target": "/opt", "layers": MOST, **options}
    return write(folder, base + layer("archive", **options))


def tar(*, edited: str = "", more: Sequence[bytes] = ()) -> bytes:
    members = [directory(b"a/", mode=0o750), directory(b"void/deep/", mode=0o700)]
    for top in TOPS:
        text = "edited" if top == edited else top
        members.append(member(f"{top}/one".encode(), text.encode(), mode=0o755))
        members.append(symlink(f"{top}/link".encode(), b"one"))
    return b"".join([*members, *more, END])


def test_an_archive_over_layers_holds_what_one_layer_holds(
    tmp_path: Path, store: MemoryStore
) -> None:
    split = build(pinned(tmp_path, tar(), owner="5:6"), store)
    whole = build(pinned(tmp_path, tar(), owner="5:6", layers=1), store)
    assert ["1/4", "2/4", "3/4", "4/4"] == [one.part for one in split.layers]
    assert shown(store, whole) == shown(store, split)
    for number, there in enumerate(names(store, split, "opt/")):
        tops = {path.split("/")[0].encode() for path in there} - {b"void"}
        assert {number} == {part_of(top, MOST) for top in tops}


def test_over_other_layers_an_archive_comes_to_what_one_layer_comes_to(
    tmp_path: Path, store: MemoryStore
) -> None:
    base = layer("files", "base", entries=[*BASE, {"path": "/opt", "link": "srv/app"}])
    for options in ({}, {"target": "/lib"}, {"target": "/"}, {"owner": "1:1"}):
        split = build(pinned(tmp_path, tar(), base, **options), store)
        whole = build(pinned(tmp_path, tar(), base, **options, layers=1), store)
        assert (5, 2) == (len(split.layers), len(whole.layers))
        assert shown(store, whole) == shown(store, split)


def test_a_change_in_an_archive_changes_one_part(tmp_path: Path, store: MemoryStore) -> None:
    before = build(pinned(tmp_path, tar()), store)
    after = build(pinned(tmp_path, tar(edited="c")), store)
    there = {one.blob.digest for one in before.layers}
    changed = [one.part for one in after.layers if one.blob.digest not in there]
    assert [f"{part_of(b'c', MOST) + 1}/{MOST}"] == changed


@pytest.mark.parametrize("links", [[(b"z", b"a/one")], [(b"0/l", b"a/one"), (b"1", b"0/l")]])
def test_no_hard_link_leads_to_another_part(
    tmp_path: Path, store: MemoryStore, links: list[tuple[bytes, bytes]]
) -> None:
    more = [hardlink(path, target) for path, target in links]
    split = build(pinned(tmp_path, tar(more=more)), store)
    group = {"opt/a/one", *(f"opt/{path.decode()}" for path, _ in links)}
    found = [group & contents(store, one).keys() for one in split.layers]
    first = part_of(min(path.removeprefix("opt/") for path in group).split("/")[0].encode(), MOST)
    assert [group if number == first else set() for number in range(MOST)] == found
    linked = [
        path
        for path, entry in contents(store, split.layers[first]).items()
        if entry.kind is EntryKind.HARDLINK
    ]
    assert len(links) == len(linked)
    whole = build(pinned(tmp_path, tar(more=more), layers=1), store)
    assert shown(store, whole) == shown(store, split)


def names_of_files(store: AbstractStore, image: Image) -> set[frozenset[bytes]]:
    """The names of each file: several are hard links."""
    groups: dict[object, set[bytes]] = {}
    for found in LayerContents(store).rootfs([one.blob for one in image.layers]).rootfs:
        if found.inode.kind is EntryKind.FILE:
            groups.setdefault((found.layer, found.inode.position), set()).add(found.path)
    return set(map(frozenset, groups.values()))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(ANY, st.none() | st.integers(0, 9)), max_size=9, unique_by=lambda one: one[0]
    ),
    st.integers(2, 9),
)
def test_spread_or_not_an_archive_has_the_same_files_and_links(
    members: list[tuple[str, int | None]], most: int
) -> None:
    data, before = [], list[bytes]()
    for path, link in members:
        name = path.encode()
        if link is None or not before:
            data.append(member(name, name))
        else:
            data.append(hardlink(name, before[link % len(before)]))
        before.append(name)
    with tempfile.TemporaryDirectory() as folder, MemoryStore() as store:
        whole, split = (
            build(pinned(Path(folder), b"".join([*data, END]), layers=count), store)
            for count in (1, most)
        )
        assert shown(store, whole) == shown(store, split)
        assert names_of_files(store, whole) == names_of_files(store, split)


def test_parts_of_an_archive_with_nothing_in_them_are_in_no_image(
    tmp_path: Path, store: MemoryStore
) -> None:
    data = b"".join([member(b"a/one", b"1"), member(b"b/two", b"2"), END])
    image = build(pinned(tmp_path, data, layers=100), store)
    assert 2 == len(image.layers) == len(image.manifest.layers) == len(image.config.diff_ids)
    assert 2 == len(image.config.history)
    upon = layer("image", "base", from_="web.toml") + layer("files", entries=BASE)
    assert 3 == len(build(write(tmp_path, upon, "upon.toml"), store).manifest.layers)


def test_an_archive_with_nothing_in_it_is_one_layer(tmp_path: Path, store: MemoryStore) -> None:
    spec = pinned(tmp_path, END, target="/")
    assert 1 == len(build(spec, store).manifest.layers)


def test_it_comes_out_the_same_again(tmp_path: Path, store: MemoryStore) -> None:
    spec = pinned(tmp_path, tar())
    image, differences = immutable.verify(spec, store, config=CONFIG)
    assert (MOST, ()) == (len(image.layers), differences)
    assert_reproducible(spec, config=CONFIG)
