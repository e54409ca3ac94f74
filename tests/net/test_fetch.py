"""Fetching: verified, in parallel, from the first place that has the bytes."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from immutable.config import Config
from immutable.errors import FetchError
from immutable.net.fetch import ATTEMPTS, LONGEST_DELAY, Fetcher, Hashed, Wanted, show_url
from immutable.oci.digest import Digest
from immutable.progress import SILENT
from immutable.store import MemoryStore
from tests.support import certificates
from tests.support.progress import Notes
from tests.support.web import Answer, WebServer

BODY = b"the right bytes\n" * 1000


class Naps(list[float]):
    """Takes down how long it was asked to sleep, and does not."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def fetcher(tmp_path: Path, naps: Naps) -> Iterator[Fetcher]:
    with Fetcher(Config(tmp_path, tmp_path / "cache", jobs=2), sleep=naps) as made:
        yield made


def wanted(
    *urls: str, body: bytes = BODY, size: int | None = len(BODY), absent: str = ""
) -> Wanted:
    return Wanted("hello 1.0", Digest.of(body), size, urls, absent)


def serve(web: WebServer, name: str, body: bytes = BODY) -> None:
    (web.folder / name).write_bytes(body)


def test_everything_wanted_comes_into_the_store(web: WebServer, url: str, fetcher: Fetcher) -> None:
    bodies = [b"%d\n" % number * 500 for number in range(20)]
    for number, body in enumerate(bodies):
        serve(web, str(number), body)
    store = MemoryStore()

    fetcher.fetch_all(
        [wanted(f"{url}/{n}", body=body, size=len(body)) for n, body in enumerate(bodies)],
        store,
        SILENT,
        jobs=4,
    )

    assert [True] * 20 == [store.has_blob(Digest.of(body)) for body in bodies]


def test_what_the_store_has_is_not_fetched(web: WebServer, url: str, fetcher: Fetcher) -> None:
    store = MemoryStore()
    store.put_blob(BODY)

    fetcher.fetch_all([wanted(f"{url}/a"), wanted(f"{url}/b")], store, SILENT)

    assert [] == web.requests


def test_one_digest_is_fetched_once(web: WebServer, url: str, fetcher: Fetcher) -> None:
    serve(web, "a")

    fetcher.fetch_all([wanted(f"{url}/a"), wanted(f"{url}/a")], MemoryStore(), SILENT)

    assert ["/a"] == web.requests


def test_file_urls_are_read(tmp_path: Path, fetcher: Fetcher) -> None:
    (tmp_path / "a b~1.deb").write_bytes(BODY)
    store = MemoryStore()

    fetcher.fetch_all([wanted((tmp_path / "a b~1.deb").as_uri())], store, SILENT)

    assert store.has_blob(Digest.of(BODY))


def test_a_file_that_is_short_is_not_read_again(
    tmp_path: Path, fetcher: Fetcher, naps: Naps
) -> None:
    (tmp_path / "a").write_bytes(BODY[:-1])
    with pytest.raises(FetchError, match=rf"ended at {len(BODY) - 1} of {len(BODY)} bytes"):
        fetcher.fetch_all([wanted((tmp_path / "a").as_uri())], MemoryStore(), SILENT)
    assert [] == naps


@pytest.mark.parametrize("path", ["/dev/zero", "fifo"])
def test_what_could_be_read_for_ever_is_refused(
    tmp_path: Path, fetcher: Fetcher, path: str
) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FetchError, match="expected a regular file, found a"):
        fetcher.fetch_all([wanted((tmp_path / path).as_uri())], MemoryStore(), SILENT)


@pytest.mark.parametrize("wrong", [b"x" * len(BODY), BODY[:-1] + b"!"])
def test_other_bytes_are_not_taken_and_the_next_place_is_tried(
    web: WebServer, url: str, fetcher: Fetcher, wrong: bytes
) -> None:
    serve(web, "wrong", wrong)
    serve(web, "right")
    store = MemoryStore()

    fetcher.fetch_all([wanted(f"{url}/wrong", f"{url}/right")], store, SILENT)

    assert store.has_blob(Digest.of(BODY))
    assert not store.has_blob(Digest.of(wrong))
    assert ["/wrong", "/right"] == web.requests


def test_when_every_place_fails_each_is_named_with_its_reason(
    web: WebServer, url: str, fetcher: Fetcher
) -> None:
    serve(web, "wrong", b"x" * len(BODY))
    web.answers["/private"] = [Answer(403)]
    store = MemoryStore()

    with pytest.raises(FetchError) as caught:
        fetcher.fetch_all(
            [wanted(f"{url}/wrong", f"{url}/private", f"{url}/none", absent="advice")],
            store,
            SILENT,
        )

    expected = (
        "hello 1.0: cannot be fetched\n"
        f"  {url}/wrong: expected {Digest.of(BODY)}, "
        f"the body is {Digest.of(b'x' * len(BODY))}\n"
        f"  {url}/private: the server answered 403 Forbidden\n"
        f"  {url}/none: the server answered 404 Not Found"
    )
    assert expected == str(caught.value)


def test_when_no_place_has_it_the_advice_is_given(
    url: str, tmp_path: Path, fetcher: Fetcher
) -> None:
    gone = wanted(f"{url}/none", (tmp_path / "none").as_uri(), absent="lock again")

    with pytest.raises(FetchError, match=r"no such file\n  lock again$"):
        fetcher.fetch_all([gone], MemoryStore(), SILENT)


def test_a_wanted_file_without_places_says_so(fetcher: Fetcher) -> None:
    with pytest.raises(FetchError, match=r"hello 1\.0: cannot be fetched: no place is known"):
        fetcher.fetch_all([wanted()], MemoryStore(), SILENT)


@pytest.mark.parametrize("promised", [None, 10**9])
def test_a_longer_body_is_cut_off(
    web: WebServer, url: str, fetcher: Fetcher, promised: int | None
) -> None:
    web.answers["/long"] = [Answer(200, BODY + b"x" * 2_000_000, promised=promised)]

    with pytest.raises(FetchError, match=f"expected at most {len(BODY)} bytes"):
        fetcher.fetch_all([wanted(f"{url}/long")], MemoryStore(), SILENT)

    assert ["/long"] == web.requests


def test_a_body_that_breaks_off_is_asked_for_again(
    web: WebServer, url: str, fetcher: Fetcher, naps: Naps
) -> None:
    serve(web, "a")
    web.answers["/a"] = [Answer(200, BODY[:500], promised=len(BODY)), Answer(200, BODY[:500])]
    store = MemoryStore()

    fetcher.fetch_all([wanted(f"{url}/a")], store, SILENT)

    assert store.has_blob(Digest.of(BODY))
    assert 2 == len(naps)


def test_a_compressed_label_does_not_unpack_the_body(
    web: WebServer, url: str, fetcher: Fetcher
) -> None:
    web.answers["/a.gz"] = [Answer(200, BODY, {"Content-Encoding": "gzip"})]
    store = MemoryStore()

    fetcher.fetch_all([wanted(f"{url}/a.gz")], store, SILENT)

    assert store.has_blob(Digest.of(BODY))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_refusal_is_not_repeated(
    web: WebServer, url: str, fetcher: Fetcher, naps: Naps, status: int
) -> None:
    web.answers["/a"] = [Answer(status)]

    with pytest.raises(FetchError, match=f"the server answered {status}"):
        fetcher.get_small([f"{url}/a"], limit=100)

    assert ["/a"] == web.requests
    assert [] == naps


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_trouble_is_waited_out(
    web: WebServer, url: str, fetcher: Fetcher, naps: Naps, status: int
) -> None:
    serve(web, "a", b"small")
    web.answers["/a"] = [Answer(status), Answer(status)]

    assert b"small" == fetcher.get_small([f"{url}/a"], limit=100)
    assert 2 == len(naps)


def test_attempts_are_bounded_and_the_waits_grow(
    web: WebServer, url: str, fetcher: Fetcher, naps: Naps
) -> None:
    web.answers["/a"] = [Answer(503)] * 10

    with pytest.raises(FetchError, match="503"):
        fetcher.get_small([f"{url}/a"], limit=100)

    assert ATTEMPTS == len(web.requests)
    assert all(2**n / 2 <= nap <= 2**n for n, nap in enumerate(naps))


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7.0, 7.0),
        ("99999", LONGEST_DELAY, LONGEST_DELAY),
        ("soon", 0.5, 1.0),
        ("-5", 0.5, 1.0),
        ("", 0.5, 1.0),
        (format_datetime(datetime.now(UTC) + timedelta(hours=1)), LONGEST_DELAY, LONGEST_DELAY),
        (format_datetime(datetime.now(UTC) - timedelta(hours=1)), 0.5, 1.0),
    ],
    # Not the values: those of two processes would differ in the time.
    ids=["seconds", "too many", "no number", "negative", "empty", "date to come", "date past"],
)
def test_retry_after_is_followed_within_reason(
    web: WebServer,
    url: str,
    fetcher: Fetcher,
    naps: Naps,
    header: str,
    least: float,
    most: float,
) -> None:
    serve(web, "a", b"small")
    web.answers["/a"] = [Answer(503, headers={"Retry-After": header})]

    fetcher.get_small([f"{url}/a"], limit=100)

    assert least <= naps[0] <= most


def test_a_server_that_is_not_there_is_tried_again_then_the_next(
    web: WebServer, url: str, fetcher: Fetcher, naps: Naps
) -> None:
    serve(web, "a", b"small")

    body = fetcher.get_small(["http://127.0.0.1:1/a", f"{url}/a"], limit=100)

    assert b"small" == body
    assert ATTEMPTS - 1 == len(naps)


def test_small_bodies_are_bounded(web: WebServer, url: str, fetcher: Fetcher) -> None:
    serve(web, "a", b"x" * 101)

    with pytest.raises(FetchError, match="expected at most 100 bytes"):
        fetcher.get_small([f"{url}/a"], limit=100)


def test_a_redirect_is_followed(web: WebServer, url: str, fetcher: Fetcher) -> None:
    serve(web, "b", b"small")
    web.answers["/a"] = [Answer(302, headers={"Location": "/b"})]

    assert b"small" == fetcher.get_small([f"{url}/a"], limit=100)


def test_a_redirect_out_of_http_is_refused(
    web: WebServer, url: str, fetcher: Fetcher, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    target = (tmp_path / "secret").as_uri()
    web.answers["/a"] = [Answer(302, headers={"Location": target})]

    with pytest.raises(FetchError, match="cannot be fetched"):
        fetcher.get_small([f"{url}/a"], limit=100)


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[WebServer, str]]:
    """Give a server over TLS that is trusted, and its URL."""
    served = certificates.made(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(served.ca_file))
    web = WebServer(tmp_path)
    with web.serve(served.tls) as base:
        yield web, base


@pytest.mark.parametrize("location", ["{}/b?token=secret", "{}/b", "{}/b#secret"])
@pytest.mark.parametrize("hops", [1, 2])
def test_from_https_nobody_is_sent_on_to_http(
    web: WebServer,
    url: str,
    secure: tuple[WebServer, str],
    fetcher: Fetcher,
    location: str,
    hops: int,
) -> None:
    safe, base = secure
    serve(web, "b")
    location = location.format(url.replace("http://", "HTTP://user:secret@"))
    safe.answers["/a"] = [Answer(302, headers={"Location": "/a"})] * (hops - 1)
    safe.answers["/a"] += [Answer(302, headers={"Location": location})]

    with pytest.raises(FetchError) as caught:
        fetcher.fetch_all([wanted(f"{base}/a?key=secret")], MemoryStore(), SILENT)

    shown = url.replace("http://", "http://***@")
    assert f"expected to be sent on to an https URL, {base}/a leads to {shown}/b" in str(
        caught.value
    )
    assert "secret" not in str(caught.value)
    assert [] == web.requests


@pytest.mark.parametrize("get", ["small", "unpinned", "hashed"])
def test_what_is_not_pinned_yet_never_comes_without_tls_either(
    web: WebServer, url: str, secure: tuple[WebServer, str], fetcher: Fetcher, get: str
) -> None:
    safe, base = secure
    serve(web, "b")
    safe.answers["/a"] = [Answer(301, headers={"Location": f"{url}/b"})]
    places, store = (f"{base}/a",), MemoryStore()
    hashed = Hashed("b", (hashlib.sha512(BODY).hexdigest(),), places)

    gets: dict[str, Callable[[], object]] = {
        "small": lambda: fetcher.get_small(places, limit=100_000),
        "unpinned": lambda: fetcher.fetch_unpinned(places, store, name="b", progress=SILENT),
        "hashed": lambda: fetcher.fetch_hashed([hashed], store, SILENT),
    }

    with pytest.raises(FetchError, match="expected to be sent on to an https URL"):
        gets[get]()

    assert [] == web.requests


def test_from_http_one_may_be_sent_on_to_https(
    web: WebServer, url: str, secure: tuple[WebServer, str], fetcher: Fetcher
) -> None:
    safe, base = secure
    (safe.folder / "b").write_bytes(b"small")
    web.answers["/a"] = [Answer(302, headers={"Location": f"{base}/b"})]

    assert b"small" == fetcher.get_small([f"{url}/a"], limit=100)


def test_a_redirect_to_what_is_no_url_is_refused(
    web: WebServer, url: str, fetcher: Fetcher
) -> None:
    web.answers["/a"] = [Answer(302, headers={"Location": "http://[::1/b"})]

    with pytest.raises(FetchError, match="leads to what is no URL"):
        fetcher.get_small([f"{url}/a"], limit=100)


def test_passwords_and_queries_stay_out_of_messages(url: str, fetcher: Fetcher) -> None:
    private = url.replace("http://", "http://user:secret@") + "/none?token=secret"

    with pytest.raises(FetchError) as caught:
        fetcher.get_small([private, private.replace("127.0.0.1", "127.0.0.1:x")], limit=100)

    assert "secret" not in str(caught.value)
    assert "http://***@h.test/a" == show_url("http://u:p@h.test/a?b=c#d")


def test_we_say_who_we_are_and_take_bytes_as_they_are(
    web: WebServer, url: str, fetcher: Fetcher
) -> None:
    serve(web, "a", b"small")

    fetcher.get_small([f"{url}/a"], limit=100)

    assert web.headers[0]["User-Agent"].startswith("immutable")
    assert "identity" == web.headers[0]["Accept-Encoding"]


def test_into_a_file_only_the_verified_body_comes(
    web: WebServer, url: str, fetcher: Fetcher
) -> None:
    serve(web, "wrong", b"y" * len(BODY))
    serve(web, "right")

    with tempfile.TemporaryFile() as file:
        fetcher.fetch_into(wanted(f"{url}/wrong", f"{url}/right"), file)
        assert BODY == file.read()


class CountingStore(MemoryStore):
    """Knows how many blobs were begun and are not yet ended."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0

    @contextmanager
    def ingest(self) -> Iterator[object]:  # type: ignore[override]
        self.open += 1
        try:
            with super().ingest() as blob:
                yield blob
        finally:
            self.open -= 1


def test_an_interrupt_ends_all_work_and_leaves_nothing(
    web: WebServer, url: str, tmp_path: Path
) -> None:
    release = threading.Event()
    stalled = b"s" * 1_000_000
    web.answers["/stalled"] = [Answer(200, stalled, gate=release.wait)]
    serve(web, "quick")
    store = CountingStore()

    def interrupt(_amount: int) -> None:
        raise KeyboardInterrupt

    items = [
        wanted(f"{url}/stalled", body=stalled, size=len(stalled)),
        wanted(f"{url}/quick"),
    ]
    try:
        with (
            Fetcher(Config(tmp_path, tmp_path)) as fetcher,
            pytest.raises(KeyboardInterrupt),
        ):
            fetcher.fetch_all(items, store, Notes(advances=interrupt), jobs=2)
        assert 0 == store.open
        assert not store.has_blob(Digest.of(stalled))
    finally:
        release.set()


def test_one_failure_stops_a_stalled_other(web: WebServer, url: str, tmp_path: Path) -> None:
    release = threading.Event()
    stalled = b"s" * 1_000_000
    web.answers["/stalled"] = [Answer(200, stalled, gate=release.wait)]
    store = CountingStore()
    items = [
        wanted(f"{url}/stalled", body=stalled, size=len(stalled)),
        wanted(f"{url}/none"),
    ]
    try:
        with (
            Fetcher(Config(tmp_path, tmp_path)) as fetcher,
            pytest.raises(FetchError, match="404"),
        ):
            fetcher.fetch_all(items, store, SILENT, jobs=2)
        assert 0 == store.open
    finally:
        release.set()


def test_progress_counts_each_byte_once(web: WebServer, url: str, fetcher: Fetcher) -> None:
    watching = Notes()
    serve(web, "a")
    web.answers["/a"] = [Answer(200, BODY[:700], promised=len(BODY))]

    fetcher.fetch_all([wanted(f"{url}/a")], MemoryStore(), watching, jobs=1)

    assert len(BODY) == watching.total
    assert len(BODY) == sum(watching.steps)
