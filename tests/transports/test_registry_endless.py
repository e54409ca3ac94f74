"""Registries whose answers have no end: cut off, each at what it may be."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable

import pytest

from immutable.errors import DigestMismatch, RegistryError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.transports.registry import lists
from immutable.transports.registry.client import Client
from tests.support.registry import Answer, Asked, FakeRegistry, Flood, connected, described, holding

SMALL, LARGE = random.Random(1).randbytes(5000), random.Random(2).randbytes((5 << 20) + 7)


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_a_blob_without_end_is_read_to_one_byte_beyond_its_size(data: bytes) -> None:
    fake, flood = holding(data), Flood(data)
    fake.plan("GET", "/blobs/", Answer(pieces=flood))
    with connected(fake) as client, client.open_blob(described(data)) as stream:
        assert data + b"\0" == stream.read()
        assert b"" == stream.read()
    assert flood.was_cut


def test_a_small_blob_without_end_is_not_the_one() -> None:
    fake, floods = holding(SMALL), [Flood(SMALL), Flood(SMALL)]
    for flood in floods:
        fake.plan("GET", "/blobs/", Answer(pieces=flood))
    with connected(fake) as client, pytest.raises(DigestMismatch):
        client.read_blob(described(SMALL))
    assert [True, True] == [flood.was_cut for flood in floods]


@pytest.mark.parametrize("path", ["/manifests/", "/tags/", "/_catalog", "/referrers/"])
def test_no_document_is_without_end(path: str) -> None:
    fake, floods = FakeRegistry(), [Flood(b"{"), Flood(b"{")]
    for flood in floods:
        fake.plan("GET", path, Answer(pieces=flood))
    asks: dict[str, Callable[[Client], object]] = {
        "/manifests/": lambda client: client.manifest("1"),
        "/tags/": lambda client: [*lists.tags(client)],
        "/_catalog": lambda client: [*lists.catalog(client)],
        "/referrers/": lambda client: lists.referrers(client, Digest.of(SMALL)),
    }
    with connected(fake) as client, pytest.raises(RegistryError, match="found a longer one"):
        asks[path](client)
    assert [True, True] == [flood.was_cut for flood in floods]


class Endless(FakeRegistry):
    """Gives lists of which each page is `page_body`, and is followed by another."""

    page_body = b""
    pages = 0

    def _usual(self, asked: Asked) -> Answer:
        if not re.search("/tags/|_catalog|/referrers/", asked.path):
            return super()._usual(asked)
        self.pages += 1
        return Answer(200, {"Link": f'<?n={self.pages}>; rel="next"'}, self.page_body)


def entries(number: int) -> bytes:
    """Return a page of `number` entries, whatever it is of."""
    names = ["1"] * number
    entry = described(SMALL, oci.MANIFEST).plain()
    plain = {"tags": names, "repositories": names, "manifests": [entry] * number}
    return json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, **plain}).encode()


@pytest.mark.parametrize("what", ["tags", "catalog", "referrers"])
@pytest.mark.parametrize(
    ("body", "most", "pages"),
    [
        (entries(5), "_MOST_ENTRIES", 21),
        (entries(0) + b" " * 100, "_MOST_BYTES", None),
        (entries(0), "_MOST_PAGES", 100),
    ],
    ids=["entries", "bytes", "pages"],
)
def test_a_list_without_end_has_one_budget_for_all_its_pages(
    what: str, body: bytes, most: str, pages: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = len(body) * 20 if most == "_MOST_BYTES" else 100
    monkeypatch.setattr(lists, most, limit)
    asks: dict[str, Callable[[Client], object]] = {
        "tags": lambda client: [*lists.tags(client)],
        "catalog": lambda client: [*lists.catalog(client)],
        "referrers": lambda client: lists.referrers(client, Digest.of(SMALL)),
    }
    fake = Endless()
    fake.page_body = body
    with connected(fake) as client, pytest.raises(RegistryError, match=f"at most {limit} "):
        asks[what](client)
    assert (pages or 21) == fake.pages
