"""Certificates of private authorities: looked at as strictly as curl, docker and skopeo do."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from immutable.config import Config, Registries
from immutable.config.npm import Npm
from immutable.errors import FetchError, RegistryError
from immutable.net.fetch import Fetcher, Wanted
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.progress import SILENT
from immutable.store import MemoryStore
from immutable.transports.registry import connections
from immutable.transports.registry.client import Client
from tests.support import certificates
from tests.support.certificates import Served
from tests.support.registry import FakeRegistry
from tests.support.web import WebServer

BODY = b"bytes\n"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return certificates.made(tmp_path)


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have contexts made as Python 3.13 makes them, on every Python."""

    def strictly(make: Callable[..., ssl.SSLContext]) -> Callable[..., ssl.SSLContext]:
        def made(*args: Any, **settings: Any) -> ssl.SSLContext:
            context = make(*args, **settings)
            context.verify_flags |= ssl.VERIFY_X509_STRICT
            return context

        return made

    for name in (
        "ssl.create_default_context",
        "urllib3.connection.create_urllib3_context",
        "immutable.net.sessions.create_urllib3_context",
    ):
        module, _, function = name.rpartition(".")
        make = getattr(__import__(module, fromlist=[function]), function)
        monkeypatch.setattr(name, strictly(make))
    monkeypatch.setattr(
        connections, "_usual", lambda: connections._context(())
    )  # made anew, for others may have made it before


def fetch(url: str, folder: Path, settings: Npm | None = None) -> None:
    wanted = Wanted("a", Digest.of(BODY), len(BODY), (url,), settings=settings)
    with Fetcher(Config(folder, folder / "cache"), sleep=lambda _: None) as fetcher:
        fetcher.fetch_all([wanted], MemoryStore(), SILENT)


@pytest.mark.parametrize("told", ["environment", "npm"])
def test_an_authority_without_a_key_usage_is_trusted_for_files(
    served: Served, tmp_path: Path, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(BODY)
    npm = Npm(cafile=str(served.ca_file)) if told == "npm" else None
    if npm is None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(served.ca_file))
    with WebServer(tmp_path).serve(served.tls) as url:
        fetch(f"{url}/a", tmp_path, npm)


def test_an_authority_without_a_key_usage_is_trusted_for_registries(served: Served) -> None:
    fake = FakeRegistry()
    digest = fake.put("web", b"{}", oci.MANIFEST, "1")
    registries = Registries(ca_files=(served.ca_file,))
    with (
        fake.serve(served.tls) as host,
        Client.connect(host, "web", registries, sleep=lambda _: None) as client,
    ):
        assert digest == client.head_manifest("1")


def test_what_npm_trusts_nobody_else_does(served: Served, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BODY)
    web = WebServer(tmp_path)
    with (
        web.serve(served.tls) as trusted,
        web.serve(served.tls) as other,
        Fetcher(Config(tmp_path, tmp_path / "cache"), sleep=lambda _: None) as fetcher,
    ):
        one = Wanted("a", Digest.of(BODY), len(BODY), (f"{trusted}/a",))
        npm = Npm(cafile=str(served.ca_file))
        fetcher.fetch_all([evolve(one, settings=npm)], MemoryStore(), SILENT)
        with pytest.raises(FetchError, match="TLS failed"):
            fetcher.fetch_all([evolve(one, urls=(f"{other}/a",))], MemoryStore(), SILENT)


def test_an_authority_that_nobody_trusts_is_still_refused(served: Served, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BODY)
    fake = FakeRegistry()
    with (
        WebServer(tmp_path).serve(served.tls) as url,
        pytest.raises(FetchError, match="TLS failed"),
    ):
        fetch(f"{url}/a", tmp_path)
    with (
        fake.serve(served.tls) as host,
        Client.connect(host, "web", Registries(), sleep=lambda _: None) as client,
        pytest.raises(RegistryError, match="TLS failed"),
    ):
        client.head_manifest("1")


def test_a_certificate_of_another_name_is_still_refused(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(BODY)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(served.ca_file))
    registries = Registries(ca_files=(served.ca_file,))
    with WebServer(tmp_path).serve(served.tls) as url, pytest.raises(FetchError, match="TLS"):
        fetch(url.replace("127.0.0.1", "localhost") + "/a", tmp_path)
    with (
        FakeRegistry().serve(served.tls) as host,
        Client.connect(
            host.replace("127.0.0.1", "localhost"), "web", registries, sleep=lambda _: None
        ) as client,
        pytest.raises(RegistryError, match="TLS failed"),
    ):
        client.head_manifest("1")
