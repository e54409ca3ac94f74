"""`assert_reproducible`, for people's own tests."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from immutable.errors import SourceError
from immutable.oci.digest import Digest
from immutable.store import MemoryStore
from immutable.testing import assert_reproducible
from tests.support import kinds
from tests.support.everything import TOOL, everything
from tests.support.specs import CONFIG, build, fill, layer, write
from tests.support.web import WebServer


def test_a_good_spec_passes_and_gives_its_image(tmp_path: Path) -> None:
    spec = everything(tmp_path)

    image = assert_reproducible(spec, config=CONFIG)

    assert build(spec, MemoryStore()).digest == image.digest


def test_relative_paths_mean_the_folder_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "app", {"a": "1"})
    write(tmp_path, layer("files", source="app"))
    monkeypatch.chdir(tmp_path)

    assert assert_reproducible("web.toml", config=CONFIG)


def test_what_is_not_reproducible_fails_with_its_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kinds.registered(tmp_path / "site", monkeypatch):
        spec = write(tmp_path, layer("test-random", "dice") + layer("test-plain", "same"))

        with pytest.raises(AssertionError) as caught:
            assert_reproducible(spec, config=CONFIG)

    lines = str(caught.value).splitlines()
    assert "not reproducible:" == lines[0]
    assert lines[1].startswith('linux/amd64: layer "dice": diffID: expected sha256:')
    assert not any('"same"' in line for line in lines)


def test_what_does_not_build_says_why(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="none: No such file"):
        assert_reproducible(write(tmp_path, layer("files", source="none")), config=CONFIG)


def test_the_process_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC0")

    def state() -> tuple[object, ...]:
        mask = os.umask(0o022)
        os.umask(mask)
        return Path.cwd(), mask, os.environ.get("TZ"), time.tzname

    before = state()
    assert_reproducible(everything(tmp_path), config=CONFIG)
    assert before == state()

    with pytest.raises(SourceError):
        assert_reproducible(write(tmp_path, layer("files", source="none")), config=CONFIG)
    assert before == state()


def test_sources_are_fetched_once_and_taken_from_a_store_first(tmp_path: Path) -> None:
    web = WebServer(tmp_path / "web")
    web.folder.mkdir()
    (web.folder / "t.tar").write_bytes(TOOL)
    store = MemoryStore()
    with web.serve() as url:
        options = {"url": f"{url}/t.tar", "sha256": Digest.of(TOOL).hex}
        spec = write(tmp_path, layer("archive", **options))
        assert_reproducible(spec, config=CONFIG)
        assert ["/t.tar"] == web.requests

        store.put_blob(TOOL)
        assert_reproducible(spec, config=CONFIG, store=store)
        assert ["/t.tar"] == web.requests
