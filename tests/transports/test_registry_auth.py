"""Logging in; and that no secret gets where it does not belong."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from immutable.config import Registries
from immutable.config.registries import AuthFile
from immutable.errors import ImmutableError, RegistryError
from immutable.oci import documents as oci
from immutable.reference.registry import RegistryName
from immutable.store import MemoryStore
from immutable.transports import copy
from immutable.transports.registry import lists
from immutable.transports.registry.client import Client
from immutable.transports.registry.transport import RegistryImage
from tests.support.images import MemoryTransport, image, index
from tests.support.registry import (
    IDENTITY,
    PASSWORD,
    USER,
    Answer,
    Asked,
    FakeRegistry,
    Flood,
    described,
    holding,
)

BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
LAYER = b"layer"


def known(host: str, *, identity: bool = False, password: str = PASSWORD) -> Registries:
    """Return the settings of a user with a login for `host`."""
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    entry = {"identitytoken": IDENTITY} if identity else {"auth": auth}
    return Registries(auth_files=(AuthFile(Path("config.json"), {"auths": {host: entry}}),))


@contextmanager
def connected(
    fake: FakeRegistry, actions: str = "pull", clock: list[float] | None = None, **login: Any
) -> Iterator[Client]:
    now = [0.0] if clock is None else clock
    with (
        fake.serve() as host,
        Client.connect(
            host,
            "web",
            known(host, **login),
            actions=actions,
            sleep=lambda _: None,
            clock=lambda: now[0],
        ) as client,
    ):
        yield client


def tokens(fake: FakeRegistry) -> list[Asked]:
    return [asked for asked in fake.asked if asked.path.startswith("/token")]


# Ways of logging in


@pytest.mark.parametrize("login", ["basic", "token"])
def test_a_login_is_kept_for_the_next_request(login: str) -> None:
    fake = holding(LAYER, login=login)
    with connected(fake) as client:
        for _ in range(3):
            assert client.has_blob(described(LAYER))
    refused = [a for a in fake.asked if a.method == "HEAD" and "Authorization" not in a.headers]
    assert 1 == len(refused)
    assert (1 if login == "token" else 0) == len(tokens(fake))


def test_a_token_is_asked_for_what_the_client_is_going_to_do() -> None:
    fake = holding(LAYER, login="token")
    with connected(fake, "pull,push") as client:
        client.has_blob(described(LAYER))
    (asked,) = tokens(fake)
    assert {"service": ["fake"], "scope": ["repository:web:pull,push"]} == asked.query


def test_a_scope_that_the_registry_adds_is_asked_for_too() -> None:
    fake = holding(LAYER, login="token")
    with connected(fake) as client:
        realm = f'Bearer realm="http://{fake.host}/token",scope="repository:web:delete"'
        fake.plan("HEAD", "", Answer(401, {"WWW-Authenticate": realm}))
        client.has_blob(described(LAYER))
    assert ["repository:web:pull", "repository:web:delete"] == tokens(fake)[0].query["scope"]


def test_an_identity_token_is_traded() -> None:
    fake = holding(LAYER, login="token")
    with connected(fake, identity=True) as client:
        assert client.has_blob(described(LAYER))
    (asked,) = tokens(fake)
    assert "POST" == asked.method
    assert f"refresh_token={IDENTITY}" in asked.body.decode()
    assert "grant_type=refresh_token" in asked.body.decode()
    assert "Authorization" not in asked.headers


def test_a_token_that_ends_is_renewed() -> None:
    fake, clock = holding(LAYER, login="token"), [0.0]
    with connected(fake, clock=clock) as client:
        client.has_blob(described(LAYER))
        clock[0] = 294.0
        client.has_blob(described(LAYER))
        assert 1 == len(tokens(fake))
        clock[0] = 296.0
        client.has_blob(described(LAYER))
    assert 2 == len(tokens(fake))


def test_a_token_that_ends_before_its_time_is_renewed() -> None:
    fake, source = FakeRegistry(login="token", uses=2), MemoryTransport()
    large = source.root = source.add(bytes(3 << 20), oci.LAYER)
    with connected(fake, "pull,push") as client, source.open() as opened:
        client.upload(opened, large, chunk=1 << 20)
    assert large.digest in fake.repository("web").blobs
    assert 3 == len(tokens(fake))  # for a POST, three of PATCH and a PUT


def test_a_public_repository_needs_no_login() -> None:
    fake = holding(LAYER, login="token")
    fake.plan("GET", "^/token", Answer(body=b'{"access_token":"anyone"}'))
    fake.tokens["anyone"] = 9
    with fake.serve() as host, Client.connect(host, "web", Registries()) as client:
        assert client.has_blob(described(LAYER))
    assert "Authorization" not in tokens(fake)[0].headers


@pytest.mark.parametrize("login", ["basic", "token"])
def test_without_a_login_the_message_says_how_to_make_one(login: str) -> None:
    fake = holding(LAYER, login=login)
    with (
        fake.serve() as host,
        Client.connect(host, "web", Registries()) as client,
        pytest.raises(RegistryError, match=f"docker login {host}|token answered 401|answered 401"),
    ):
        client.has_blob(described(LAYER))


@pytest.mark.parametrize("login", ["basic", "token"])
def test_a_wrong_password_ends_it_at_once(login: str) -> None:
    fake = holding(LAYER, login=login)
    with connected(fake, password="wrong") as client, pytest.raises(RegistryError, match="401"):
        client.has_blob(described(LAYER))
    assert 2 == len([asked for asked in fake.asked if asked.path != "/v2/"])


@pytest.mark.parametrize("login", ["basic", "token"])
def test_a_registry_that_always_asks_for_a_login_is_given_up(login: str) -> None:
    fake = holding(LAYER, login=login)
    with connected(fake) as client:
        realm = f"http://{fake.host}/token"
        header = {"basic": "Basic", "token": f'Bearer realm="{realm}"'}[login]
        for _ in range(50):
            fake.plan("HEAD", "", Answer(401, {"WWW-Authenticate": header}))
        with pytest.raises(RegistryError, match="answered 401"):
            client.has_blob(described(LAYER))
    assert 2 == len([asked for asked in fake.asked if asked.method == "HEAD"])


@pytest.mark.parametrize("header", ["", "Negotiate", "Bearer", 'Bearer service="x"', '"'])
def test_a_login_of_another_kind(header: str) -> None:
    fake = holding(LAYER)
    fake.plan("HEAD", "", Answer(401, {"WWW-Authenticate": header}))
    with connected(fake) as client, pytest.raises(RegistryError, match="of no kind known here"):
        client.has_blob(described(LAYER))


@pytest.mark.parametrize(
    "realm",
    [
        "http://registry.test/token",
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/token",
        "https://2852039166/",
        "https://me:you@auth.test/token",
        "ftp://auth.test/token",
        "/token",
        "https://auth.test/a b",
    ],
)
def test_a_realm_that_is_not_asked(realm: str) -> None:
    fake = holding(LAYER, login="token", realm=realm)
    with connected(fake) as client, pytest.raises(RegistryError, match="realm: ") as caught:
        client.has_blob(described(LAYER))
    assert "me:you" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(403), "answered 403"),
        (Answer(302, {"Location": "http://127.0.0.2/"}), "answered 302"),
        (Answer(200, {}, b"hush"), "expected a token in JSON"),
        (Answer(200, {}, b"{}"), "expected a token, found none"),
        (Answer(200, {}, b'{"token":"a\\r\\nX-Evil: 1"}'), "expected a token, found none"),
        (Answer(200, {}, b'{"token":5}'), "expected a token, found none"),
        (Answer(200, {}, b'["token"]'), "expected a token, found none"),
    ],
)
def test_a_realm_that_gives_no_token(answer: Answer, message: str) -> None:
    fake = holding(LAYER, login="token")
    for _ in range(6):
        fake.plan("GET", "^/token", answer)
    with connected(fake) as client, pytest.raises(RegistryError, match=message) as caught:
        client.has_blob(described(LAYER))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_a_realm_that_fails_for_a_while(status: int) -> None:
    fake = holding(LAYER, login="token")
    for _ in range(5):
        fake.plan("GET", "^/token", Answer(status))
    with connected(fake) as client:
        assert client.has_blob(described(LAYER))


def test_a_realms_answer_without_end_is_cut_off() -> None:
    fake, floods = holding(LAYER, login="token"), [Flood(b"{") for _ in range(6)]
    for flood in floods:
        fake.plan("GET", "^/token", Answer(pieces=flood))
    with connected(fake) as client, pytest.raises(RegistryError, match="a token in JSON"):
        client.has_blob(described(LAYER))
    assert [True] * 6 == [flood.was_cut for flood in floods]


# No secret gets elsewhere


class Watched:
    """A registry with a login, all that it was sent, and all that was logged."""

    def __init__(self, login: str, caplog: pytest.LogCaptureFixture, *, identity: bool) -> None:
        self.fake = FakeRegistry(login=login)
        self.caplog = caplog
        self.identity = identity
        self.errors: list[str] = []

    def place(self, host: str, repository: str = "web") -> RegistryImage:
        registries = known(host, identity=self.identity)
        return RegistryImage(RegistryName(host, repository, "1"), registries, sleep=lambda _: None)

    def secrets(self) -> set[str]:
        return {PASSWORD, BASIC, IDENTITY, *filter(None, self.fake.tokens)}

    def expect_discreet(self, *, visited: bool = True) -> None:
        """Look for the secrets wherever they do not belong."""
        strangers = [asked for asked in self.fake.asked if asked.host != "127.0.0.1"]
        assert visited == bool(strangers)
        sent = [f"{asked.path} {asked.headers} {asked.body!r}" for asked in strangers]
        told = [*sent, *self.errors, *(record.getMessage() for record in self.caplog.records)]
        told += [str(record.exc_text) for record in self.caplog.records]
        for secret in self.secrets():
            assert [] == [text for text in told if secret in text]
        assert not any("Authorization" in asked.headers for asked in strangers)


@pytest.fixture(params=["basic", "token", "identity"])
def watched(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Watched:
    caplog.set_level(logging.DEBUG)
    login = "basic" if request.param == "basic" else "token"
    return Watched(login, caplog, identity=request.param == "identity")


def elsewhere(fake: FakeRegistry) -> Any:
    """Return what sends a request on to the other host, where everything is too."""
    return lambda asked: Answer(307, {"Location": f"http://{fake.elsewhere}{asked.path}"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", "/blobs/"),
        ("POST", "/blobs/uploads/"),
        ("PATCH", "/blobs/uploads/"),
        ("PUT", "/blobs/uploads/"),
        ("PUT", "/manifests/"),
    ],
)
def test_pushing_with_a_redirect_to_another_host(watched: Watched, method: str, path: str) -> None:
    fake = watched.fake
    with fake.serve() as host:
        # The first is only asked for a login.
        fake.plan(method, path, lambda _: None)
        fake.plan(method, path, elsewhere(fake))
        copy(image(kinds=(oci.LAYER,) * 2, size=800_000), watched.place(host))
    watched.expect_discreet()


@pytest.mark.parametrize(("method", "path"), [("GET", "/blobs/"), ("GET", "/manifests/")])
def test_pulling_with_a_redirect_to_another_host(watched: Watched, method: str, path: str) -> None:
    fake, source, there = watched.fake, index(), MemoryTransport()
    with fake.serve() as host:
        copy(source, watched.place(host))
        fake.plan(method, path, lambda _: None)
        fake.plan(method, path, elsewhere(fake))
        copy(watched.place(host), there)
    assert source.blobs == there.blobs
    watched.expect_discreet()


def test_an_upload_that_goes_on_at_another_host(watched: Watched) -> None:
    fake = watched.fake

    def moved(asked: Asked) -> Answer:
        answer = fake._begin(asked, "web")
        answer.headers["Location"] = f"http://{fake.elsewhere}{answer.headers['Location']}"
        return answer

    with fake.serve() as host:
        fake.plan("POST", "uploads", lambda _: None)
        fake.plan("POST", "uploads", moved)
        copy(image(kinds=(oci.LAYER,), size=800_000), watched.place(host))
    watched.expect_discreet()


def test_once_sent_away_a_request_comes_back_without_its_login(watched: Watched) -> None:
    fake = watched.fake
    with fake.serve() as host:
        copy(image(), watched.place(host))
        fake.plan("GET", "/manifests/1", lambda _: None)
        fake.plan("GET", "/manifests/1", elsewhere(fake))
        fake.plan(
            "GET",
            "/manifests/1",
            lambda _: Answer(307, {"Location": f"http://{fake.host}/back"}),
        )
        with pytest.raises(ImmutableError) as caught:
            copy(watched.place(host), MemoryTransport())
        watched.errors.append(repr(caught.value))
    (back,) = [asked for asked in fake.asked if asked.path == "/back"]
    assert "Authorization" not in back.headers
    watched.expect_discreet()


def test_another_host_that_asks_for_a_login_gets_none(watched: Watched) -> None:
    fake = watched.fake
    with fake.serve() as host:
        copy(image(), watched.place(host))
        fake.plan("GET", "/manifests/1", lambda _: None)
        fake.plan("GET", "/manifests/1", elsewhere(fake))
        fake.plan(
            "GET", "/manifests/1", Answer(401, {"WWW-Authenticate": 'Basic realm="give it to me"'})
        )
        with pytest.raises(RegistryError, match="answered 401") as caught:
            copy(watched.place(host), MemoryTransport())
        watched.errors.append(repr(caught.value))
    watched.expect_discreet()


def test_a_list_that_goes_on_at_another_host(watched: Watched) -> None:
    fake = watched.fake
    with fake.serve() as host, watched.place(host).client() as client:
        client.head_manifest("1")
        link = f'<http://{fake.elsewhere}/v2/web/tags/list>; rel="next"'
        fake.plan("GET", "tags", Answer(200, {"Link": link}, b'{"tags":[]}'))
        with pytest.raises(RegistryError) as caught:
            [*lists.tags(client)]
        watched.errors.append(repr(caught.value))
    watched.expect_discreet(visited=False)


def test_a_registry_that_repeats_what_it_was_sent(watched: Watched) -> None:
    def echo(asked: Asked) -> Answer:
        text = json.dumps(dict(asked.headers))
        errors = [{"code": "DENIED", "message": f"{text} {PASSWORD} {IDENTITY}", "detail": text}]
        return Answer(403, {}, json.dumps({"errors": errors}).encode())

    fake = watched.fake
    with fake.serve() as host:
        fake.plan("POST", "uploads", echo)
        with pytest.raises(RegistryError, match="DENIED") as caught:
            copy(image(kinds=(oci.LAYER,)), watched.place(host))
    watched.errors += [str(caught.value), repr(caught.value), repr(caught.value.__dict__)]
    used = IDENTITY if watched.identity else PASSWORD
    assert used not in str(caught.value)
    for secret in filter(None, fake.tokens):
        assert secret not in str(caught.value)


def test_a_password_that_netrc_has_goes_nowhere(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login {USER} password {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    fake = FakeRegistry()
    with fake.serve() as host:
        copy(image(), watched.place(host))
    assert not any("Authorization" in asked.headers for asked in fake.asked)


def test_a_cookie_is_not_kept() -> None:
    fake = holding(LAYER)
    fake.plan("HEAD", "", Answer(200, {"Set-Cookie": "session=hush"}))
    with connected(fake) as client:
        client.has_blob(described(LAYER))
        client.has_blob(described(LAYER))
    assert not any("Cookie" in asked.headers for asked in fake.asked)


def test_what_is_stored_holds_no_secret(watched: Watched) -> None:
    fake = watched.fake
    with fake.serve() as host, MemoryStore() as store:
        place = watched.place(host)
        copy(index(), place)
        copy(place, "web:1", store=store)
        copy("web:1", back := MemoryTransport(), store=store)
        shown = f"{place} {place!r}"
        with place.open() as source:
            shown += f"{source!r} {source.where} {source.client!r} {source.client.exchange!r}"
        stored = b"".join(back.blobs.values()).decode("latin-1") + repr(store.images())
    for secret in watched.secrets():
        assert secret not in shown
        assert secret not in stored
