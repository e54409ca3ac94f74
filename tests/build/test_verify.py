"""The verb `verify`: built again from nothing, every digest compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from immutable import verify
from immutable.build.verify import Difference
from immutable.errors import DigestMismatch
from immutable.store import MemoryStore, Store
from tests.support import kinds
from tests.support.everything import everything
from tests.support.specs import CONFIG, build, layer, write


def test_a_good_image_has_no_differences(tmp_path: Path) -> None:
    spec = everything(tmp_path, 'platforms = ["linux/amd64", "linux/arm64"]')
    with Store.open(tmp_path / "store") as store:
        image, differences = verify(spec, store, config=CONFIG)

        assert () == differences
        assert image.digest == build(spec, store).digest


def test_a_cache_that_lies_is_found_out(tmp_path: Path) -> None:
    store = MemoryStore()
    spec = everything(tmp_path)
    honest = build(spec, store)
    app, tool = honest.layers[2], honest.layers[0]
    (record,) = (r for r in store._realisations.values() if r.derivation == app.derivation)
    store.record_realisation(evolve(record, diff_id=tool.diff_id, blob=tool.blob))

    image, differences = verify(spec, store, config=CONFIG)

    place = 'linux/amd64: layer "app"'
    assert image.digest != honest.digest
    assert [
        Difference(f"{place}: diffID", str(tool.diff_id), str(app.diff_id)),
        Difference(f"{place}: blob", str(tool.blob.digest), str(app.blob.digest)),
    ] == list(differences[:2])
    assert Difference("image", str(image.digest), str(honest.digest)) == differences[-1]
    assert f"image: expected {image.digest}, found {honest.digest}" == str(differences[-1])


def test_a_kind_that_is_not_reproducible_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kinds.registered(tmp_path / "site", monkeypatch):
        spec = write(tmp_path, layer("test-random", "dice"))
        _, differences = verify(spec, MemoryStore(), config=CONFIG)

    assert 'linux/amd64: layer "dice": diffID' == differences[0].place


def test_a_damaged_source_is_no_difference_but_an_error(tmp_path: Path) -> None:
    store = MemoryStore()
    spec = everything(tmp_path)
    build(spec, store)
    archive = tmp_path / "tool.tar"
    digest = store.put_blob(archive.read_bytes())
    archive.unlink()  # so that the store's copy is the one to take
    store._blobs[digest] = b"other"

    with pytest.raises(DigestMismatch, match=str(digest)):
        verify(spec, store, config=CONFIG)
