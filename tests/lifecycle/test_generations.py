"""The versions of an image, and going back to an earlier one."""

from pathlib import Path

import pytest

import immutable
from immutable.errors import ImageNotFound
from immutable.lifecycle.generations import generations, rollback
from immutable.store import AbstractStore, Store
from immutable.transports import copy
from tests.support import specs
from tests.support.images import index
from tests.support.specs import CONFIG


def build(folder: Path, store: AbstractStore, text: str, *tags: str) -> immutable.Image:
    specs.fill(folder / "app", {"app.txt": text})
    layers = specs.layer("files", "base", entries=[{"path": "/etc/motd", "text": "hello"}])
    layers += specs.layer("files", "app", source="app", target="/app")
    return immutable.build(specs.write(folder, layers), store, config=CONFIG, tags=tags)


def test_versions_say_what_is_theirs_and_what_changed(tmp_path: Path, store: AbstractStore) -> None:
    images = [build(tmp_path, store, text, text) for text in ("one", "two")]
    versions = generations(store, "test/web")
    assert [1, 2] == [version.generation.number for version in versions]
    assert [None, ["layers: 1 of 2 new (files)"]] == [
        version.changes and [str(change) for change in version.changes] for version in versions
    ]
    for version, image in zip(versions, images, strict=True):
        shared, own = (layer.blob.size for layer in image.layers)
        documents = image.descriptor.size + image.manifest.config.size
        assert (own + documents, shared + own + documents) == (version.own, version.size)


def test_the_same_digest_again_is_no_new_generation(tmp_path: Path, store: AbstractStore) -> None:
    build(tmp_path, store, "one")
    again = build(tmp_path, store, "one")
    assert 1 == again.generation.number
    assert 1 == len(generations(store, "test/web"))


def test_rollback_deletes_nothing(tmp_path: Path, store: AbstractStore) -> None:
    first, _, third = (build(tmp_path, store, text) for text in ("one", "two", "three"))
    before = store.info()
    assert 2 == rollback(store, "test/web").number
    assert 1 == rollback(store, "test/web").number
    assert first.digest == store.resolve("test/web").digest
    assert before == store.info()
    assert 3 == rollback(store, "test/web", 3).number
    assert third.digest == store.resolve("test/web").digest
    assert [1, 2, 3] == [version.generation.number for version in generations(store, "test/web")]


def test_rollback_to_what_is_not_there(tmp_path: Path, store: AbstractStore) -> None:
    for text in ("one", "two", "three"):
        build(tmp_path, store, text)
    store.forget("test/web", [1])
    with pytest.raises(ImageNotFound, match="test/web@1: no such generation; there is 2, 3"):
        rollback(store, "test/web", 1)
    rollback(store, "test/web")
    with pytest.raises(ImageNotFound, match="generation 2 is current, and there is none before"):
        rollback(store, "test/web")
    with pytest.raises(ImageNotFound):
        rollback(store, "test/other")


def test_a_build_after_a_rollback_is_a_new_generation(tmp_path: Path, store: AbstractStore) -> None:
    for text in ("one", "two"):
        build(tmp_path, store, text)
    rollback(store, "test/web")
    assert 1 == build(tmp_path, store, "one").generation.number
    assert 3 == build(tmp_path, store, "two").generation.number


def test_a_damaged_version_hides_no_other(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        images = [build(tmp_path, store, text) for text in ("one", "two", "three")]
        store.blob_path(images[1].manifest.config.digest).unlink()
        versions = generations(store, "test/web")
    assert [None, None, None] == [version.changes for version in versions]
    assert 3 == len(versions)


@pytest.mark.parametrize("data", [b"", b"{", b"damaged"])
def test_a_damaged_manifest_of_any_image_hides_no_version(tmp_path: Path, data: bytes) -> None:
    with Store.open(tmp_path / "store") as store:
        images = [build(tmp_path, store, text) for text in ("one", "two")]
        other = store.commit_generation(
            "other", images[0].descriptor, created=images[0].generation.created
        )
        store.blob_path(images[0].digest).unlink()
        store.blob_path(images[0].digest).write_bytes(data)
        versions = generations(store, "test/web")
        assert [None, None] == [version.changes for version in versions]
        assert versions[1].size >= versions[1].own > 0
        assert 1 == len(generations(store, other.name))


def test_attestations_beside_the_platforms_hide_no_change(store: AbstractStore) -> None:
    for seed in (1, 2):
        copy(index(seed), f"store:test/multi:{seed}", store=store)
    _, second = generations(store, "test/multi")
    assert second.changes is not None
    assert any(change.what == "layers" for change in second.changes)
