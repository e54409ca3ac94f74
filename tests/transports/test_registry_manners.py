"""Registries with manners of their own, into which docker and skopeo push: so do we."""

from __future__ import annotations

import random
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from attrs import define, evolve

from immutable.build.remote_cache import RemoteCache
from immutable.config import Registries
from immutable.errors import RegistryError, TagTaken
from immutable.net.attempts import Run
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.reference.registry import RegistryName
from immutable.spec.derivation import NO_ANSWERS, Realisation
from immutable.spec.keys import SecretKey
from immutable.store import MemoryStore
from immutable.transports import copy
from immutable.transports.registry.transport import RegistryImage
from tests.support.images import MemoryTransport, image
from tests.support.registry import Answer, Asked, FakeRegistry
from tests.support.specs import CONFIG

MIB = 1 << 20
LAYER = random.Random(3).randbytes(12 * MIB + 7)
KEY = SecretKey.generate("ci")


@define(eq=False)
class Mannered(FakeRegistry):
    """Takes at most `limit` bytes in a request, else answers `too_large`.

    `told` makes its Range header from the begin of a chunk and the bytes had, `unknown` is what
    it answers for a manifest that is not there, `head` for every HEAD of a manifest.
    """

    limit: int = 1 << 40
    too_large: int = 413
    told: Callable[[int, int], str] | None = None
    unknown: int = 404
    head: int = 0

    def _usual(self, asked: Asked) -> Answer:
        session = urlsplit(asked.path).path.rpartition("/")[2]
        if asked.method in ("PATCH", "PUT") and len(asked.body) > self.limit:
            return Answer(self.too_large)
        if asked.method == "HEAD" and "/manifests/" in asked.path and self.head:
            return Answer(self.head)
        begin = len(self._sessions.get(session, b""))
        answer = super()._usual(asked)
        if asked.method == "PATCH" and answer.status == 202 and self.told is not None:
            answer.headers["Range"] = self.told(begin, len(self._sessions[session]))
        if asked.method in ("GET", "HEAD") and "/manifests/" in asked.path:
            answer = answer if answer.status != 404 else Answer(self.unknown)
        return answer

    def sent(self) -> list[int]:
        """Return how long the bodies were of the chunks that were taken or not."""
        return [len(asked.body) for asked in self.asked if asked.method == "PATCH"]


def pushed(fake: Mannered) -> None:
    source = image(kinds=(oci.LAYER,), size=4 * MIB)  # of each of three files
    there = MemoryTransport()
    with fake.serve() as host:
        place = RegistryImage(RegistryName(host, "web", "1"), Registries(), sleep=lambda _: None)
        copy(source, place)
        fake.unknown, fake.head = 404, 0
        copy(place, there)
    assert source.blobs == there.blobs


def cached(fake: Mannered) -> None:
    store = MemoryStore()
    digest = store.put_blob(LAYER)
    blob = Descriptor(oci.LAYER, digest, len(LAYER))
    realisation = Realisation(Digest.of(b"derivation"), NO_ANSWERS, "raw", digest, blob)
    with fake.serve() as host:
        parsed = RemoteCache.parse(f"docker://{host}/cache", CONFIG)
        cache = RemoteCache(evolve(parsed.place, sleep=lambda _: None))
        with cache.writing(KEY, Run()) as writer:
            assert writer.offer(realisation, store)
        with cache.reading([KEY.public], Run()) as reader:
            assert realisation == reader.find(realisation.derivation, NO_ANSWERS, "raw")
    assert LAYER == fake.repository("cache").blobs[digest]


WAYS = pytest.mark.parametrize("way", [pushed, cached])
Way = Callable[[Mannered], None]

RANGES: dict[str, Callable[[int, int], str]] = {
    "one too many": lambda _, had: f"0-{had}",
    "one too few": lambda _, had: f"0-{had - 2}",
    "of the chunk": lambda begin, had: f"0-{had - begin - 1}",
    "of the chunk and one too many": lambda begin, had: f"0-{had - begin}",
    "with a unit": lambda _, had: f"bytes=0-{had - 1}",
    "nonsense": lambda *_: "nonsense",
}


@WAYS
def test_one_stream_carries_no_range(way: Way) -> None:
    fake = Mannered()
    way(fake)
    assert [False] == [
        "Content-Range" in asked.headers for asked in fake.asked if asked.method == "PATCH"
    ]


@WAYS
@pytest.mark.parametrize("too_large", [413, 416])
@pytest.mark.parametrize("limit", [MIB, 4 * MIB, 10 * MIB])
def test_chunks_shrink_until_the_registry_takes_them(way: Way, too_large: int, limit: int) -> None:
    fake = Mannered(limit=limit, too_large=too_large)
    way(fake)
    refused = [length for length in fake.sent() if length > limit]
    assert refused == sorted(set(refused), reverse=True)
    assert refused == fake.sent()[: len(refused)]


@WAYS
def test_a_small_blob_that_is_too_large_for_one_request_goes_in_chunks(way: Way) -> None:
    way(Mannered(limit=200_000))


@pytest.mark.parametrize("too_large", [413, 416])
def test_a_registry_that_takes_next_to_nothing_is_given_up(too_large: int) -> None:
    fake = Mannered(limit=5000, too_large=too_large)
    with pytest.raises(RegistryError, match=f"answered {too_large}"):
        pushed(fake)
    assert len(fake.sent()) < 20


def test_chunks_do_not_shrink_below_what_the_registry_wants_at_least() -> None:
    fake = Mannered(limit=3 * MIB)

    def begun(asked: Asked) -> Answer | None:
        answer = fake._begin(asked, "web")
        answer.headers["OCI-Chunk-Min-Length"] = str(3 * MIB)
        return answer

    for _ in range(2):
        fake.plan("POST", "uploads", begun)
    pushed(fake)
    taken = [length for length in fake.sent() if length <= 3 * MIB]
    assert {3 * MIB} == set(taken[:-1])


@WAYS
@pytest.mark.parametrize("limit", [1 << 40, 4 * MIB])
@pytest.mark.parametrize("told", RANGES.values(), ids=RANGES)
def test_a_range_that_is_wrong_by_a_manner_is_understood(
    way: Way, limit: int, told: Callable[[int, int], str]
) -> None:
    fake = Mannered(limit=limit, told=told)
    way(fake)
    large = [asked for asked in fake.asked if asked.method == "PUT" and "uploads" in asked.path]
    assert 2 == len(large)  # nothing was sent twice: a layer and a config


@WAYS
def test_once_all_was_sent_the_digest_decides(way: Way) -> None:
    way(Mannered(told=lambda *_: "0-0"))


@WAYS
@pytest.mark.parametrize("unknown", [403, 405])
@pytest.mark.parametrize("head", [0, 403, 405])
def test_what_a_registry_does_not_tell_of_a_tag_keeps_nobody_from_putting_it(
    way: Way, unknown: int, head: int
) -> None:
    way(Mannered(unknown=unknown, head=head))


@pytest.mark.parametrize("head", [403, 405])
def test_a_tag_that_can_be_read_is_not_moved_where_there_is_no_head(head: int) -> None:
    fake = Mannered(head=head)
    with fake.serve() as host:
        place = RegistryImage(RegistryName(host, "web", "1"), Registries(), sleep=lambda _: None)
        copy(image(kinds=(oci.LAYER,)), place)
        with pytest.raises(TagTaken):
            copy(image(kinds=(oci.LAYER,), size=5), place)
