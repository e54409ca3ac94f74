"""Fetching what nobody has pinned yet, as `lock` does: whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from immutable.config import Config
from immutable.errors import FetchError
from immutable.net import fetch
from immutable.net.fetch import Fetcher
from immutable.oci.digest import Digest
from immutable.progress import SILENT
from immutable.store import MemoryStore
from tests.support.web import Answer, WebServer

BODY = b"whatever the server has today\n" * 1000


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[Fetcher]:
    with Fetcher(Config(tmp_path, tmp_path), sleep=lambda _: None) as made:
        yield made


def test_what_comes_is_stored_and_named(web: WebServer, url: str, fetcher: Fetcher) -> None:
    (web.folder / "tool.tar").write_bytes(BODY)
    store = MemoryStore()

    got = fetcher.fetch_unpinned((f"{url}/tool.tar",), store, name="tool.tar", progress=SILENT)

    assert (Digest.of(BODY), len(BODY)) == got
    assert BODY == store.read_blob(got[0])


def test_the_next_place_is_tried_when_one_has_nothing(
    web: WebServer, url: str, fetcher: Fetcher
) -> None:
    (web.folder / "b").write_bytes(BODY)

    got = fetcher.fetch_unpinned(
        (f"{url}/a", f"{url}/b"), MemoryStore(), name="tool", progress=SILENT
    )

    assert (Digest.of(BODY), len(BODY)) == got


def test_a_body_that_breaks_off_is_no_body(web: WebServer, url: str, fetcher: Fetcher) -> None:
    web.answers["/a"] = [Answer(200, BODY[:500], promised=len(BODY)), Answer(200, BODY)]
    store = MemoryStore()

    got = fetcher.fetch_unpinned((f"{url}/a",), store, name="tool", progress=SILENT)

    assert (Digest.of(BODY), len(BODY)) == got
    assert 1 == store.info().blobs


def test_a_body_without_end_is_cut_off(
    web: WebServer, url: str, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_MOST_UNPINNED", 1000)
    (web.folder / "a").write_bytes(BODY)
    store = MemoryStore()

    with pytest.raises(FetchError, match="expected at most 1000 bytes"):
        fetcher.fetch_unpinned((f"{url}/a",), store, name="tool", progress=SILENT)

    assert 0 == store.info().blobs


def test_a_refusal_names_the_place_and_the_reason(
    web: WebServer, url: str, fetcher: Fetcher
) -> None:
    with pytest.raises(FetchError, match=rf"tool: cannot be fetched\n  {url}/a: .* 404 Not Found"):
        fetcher.fetch_unpinned((f"{url}/a",), MemoryStore(), name="tool", progress=SILENT)
