"""What may follow ``docker://``, and who may be told what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.config import Registries
from immutable.errors import TransportError
from immutable.net.attempts import FailedError
from immutable.oci.digest import Digest
from immutable.reference.registry import RegistryName
from immutable.transports import parse
from immutable.transports.registry.origins import Origin, Trust, is_link_local, is_loopback

DIGEST = f"sha256:{'a' * 64}"

HOSTS = st.sampled_from(
    ["registry.test", "registry.test:5000", "localhost", "localhost:1", "[::1]:5000", "10.0.0.1:80"]
)
WORDS = st.text("ab09", min_size=1, max_size=5)
PARTS = st.builds(
    lambda words, mark: mark.join(words),
    st.lists(WORDS, min_size=1, max_size=3),
    st.sampled_from([".", "_", "__", "-", "---"]),
)
REPOSITORIES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
TAGS = st.text("aZ0_", max_size=1).flatmap(
    lambda first: st.text("aZ0_.-", max_size=127).map(first.__add__) if first else st.just("")
)


@given(HOSTS, REPOSITORIES, TAGS, st.none() | st.just(Digest.parse(DIGEST)))
def test_a_name_is_read_as_it_is_written(
    host: str, repository: str, tag: str, digest: Digest | None
) -> None:
    name = RegistryName(host, repository, tag, digest)
    assert name == RegistryName.parse(str(name))


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("docker://registry.test/web:1", "docker://registry.test/web:1"),
        ("docker://REGISTRY.test:5000/a/b:1", "docker://registry.test:5000/a/b:1"),
        (f"docker://localhost/web@{DIGEST}", f"docker://localhost/web@{DIGEST}"),
        (f"docker://localhost/web:1@{DIGEST}", f"docker://localhost/web:1@{DIGEST}"),
    ],
)
def test_references(reference: str, shown: str) -> None:
    assert shown == str(parse(reference))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("docker:web:1", "expected docker://HOST/NAME:TAG"),
        ("docker:web:1", "docker-daemon:NAME:TAG"),
        ("docker:", "expected docker://HOST/NAME:TAG"),
        ("docker:/registry.test/web:1", "expected docker://HOST/NAME:TAG"),
        ("docker://web:1", "write the registry's host"),
        ("docker://shop/web:1", "write the registry's host"),
        ("docker://registry.test", "write the registry's host"),
        ("docker://", "write the registry's host"),
        ("docker:///web", "write the registry's host"),
        ("docker://registry.test:0/web", "write the registry's host"),
        ("docker://registry.test:65536/web", "write the registry's host"),
        ("docker://registry.test:x/web", "write the registry's host"),
        ("docker://registry.test/Web:1", "a name in lower case"),
        ("docker://registry.test/:1", "a name in lower case"),
        ("docker://https://registry.test/web:1", "found a URL; leave https:// out"),
        ("docker://registry.test/../web:1", "a name in lower case"),
        ("docker://registry.test/a//b:1", "a name in lower case"),
        ("docker://registry.test/web:", "expected a tag"),
        ("docker://registry.test/web:a b", "expected a tag"),
        (f"docker://registry.test/web:{'1' * 129}", "expected a tag"),
        ("docker://registry.test/web@sha256:../..", "64 hex digits"),
        ("docker://registry.test/web@sha512:aa", "expected sha256"),
        (f"docker://registry.test/{'a' * 255}:1", "at most 255"),
        ("https://registry.test/web:1", "a registry is docker://"),
        ("dockr://registry.test/web:1", "a registry is docker://"),
    ],
)
def test_refused_references(reference: str, message: str) -> None:
    with pytest.raises(TransportError) as caught:
        parse(reference)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "reference",
    ["docker://me:hush@registry.test/web:1", "docker://me:hu/hush@registry.test/web:1"],
)
def test_a_password_in_a_reference_is_not_repeated(reference: str) -> None:
    with pytest.raises(TransportError) as caught:
        parse(reference)
    assert "hush" not in str(caught.value)


# Origins


@pytest.mark.parametrize(
    "url",
    [
        "ftp://registry.test/",
        "registry.test/web",
        "https:///web",
        "https://me:hush@registry.test/",
        "https://registry.test:99999/",
        "https://registry.test/a b",
        "https://registry.test\\@evil.test/",
        "https://[::1/",
        "javascript:alert(1)",
        "",
    ],
)
def test_urls_that_cannot_be_followed(url: str) -> None:
    with pytest.raises(FailedError) as caught:
        Origin.of(url)
    assert "hush" not in str(caught.value)


def test_origins_show_no_usual_port() -> None:
    assert "https://registry.test" == str(Origin.of("https://registry.test:443/x?y"))
    assert "http://[::1]:81" == str(Origin.of("http://[::1]:81/x?y"))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["registry.test", "10.0.0.1", "localhost.test", "127.test", ""])
def test_no_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "2852039166", "0xa9fea9fe"]
)
def test_link_local_in_any_spelling(host: str) -> None:
    assert is_link_local(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "127.0.0.1", "::1", "a" * 70])
def test_not_link_local(host: str) -> None:
    assert not is_link_local(host)


def trust(home: str = "registry.test", registries: Registries | None = None) -> Trust:
    return Trust(registries or Registries(), Origin.of(f"https://{home}"))


@pytest.mark.parametrize(
    ("home", "target"),
    [
        ("registry.test", "http://registry.test/x"),
        ("registry.test", "http://other.test/x"),
        ("registry.test", "http://127.0.0.1/x"),
        ("registry.test", "https://169.254.169.254/latest"),
        ("127.0.0.1:5000", "http://registry.test/x"),
        ("127.0.0.1:5000", "http://169.254.169.254/latest"),
        ("registry.test", "file:///etc/passwd"),
        ("registry.test", "//u:hush@other.test/x"),
    ],
)
def test_targets_that_are_not_followed(home: str, target: str) -> None:
    with pytest.raises(FailedError) as caught:
        trust(home).target(f"https://{home}/v2/", target)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("home", "target", "url"),
    [
        ("registry.test", "/v2/x", "https://registry.test/v2/x"),
        ("registry.test", "https://93.184.216.34/x?s=1", "https://93.184.216.34/x?s=1"),
        ("127.0.0.1:5000", "http://127.0.0.2:1/x", "http://127.0.0.2:1/x"),
    ],
)
def test_targets_that_are_followed(home: str, target: str, url: str) -> None:
    assert url == trust(home).target(f"https://{home}/v2/", target)


def test_only_what_the_user_names_may_be_plain() -> None:
    plain = Origin.of("http://registry.test:5000/")
    assert not trust().may_be_plain(plain)
    assert trust(registries=Registries(insecure=("registry.test",))).may_be_plain(plain)
    assert trust(registries=Registries(insecure=("registry.test:5000",))).may_be_plain(plain)
    assert not trust(registries=Registries(insecure=("registry.test:5001",))).may_be_plain(plain)
    assert trust(registries=Registries(tls_verify=False)).may_be_plain(plain)
    assert not trust("other.test", Registries(tls_verify=False)).may_be_plain(plain)
    listed = Registries(insecure=("registry.test:5001",))
    assert trust("registry.test:5001", listed).may_be_plain(plain)
    assert not trust("registry.test:5002", listed).may_be_plain(plain)
