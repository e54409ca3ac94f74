"""The verbs of the distribution-spec, against a registry in memory that misbehaves when told."""

from __future__ import annotations

import json
import random
import socket
from typing import Any

import pytest
from attrs import evolve

from immutable.config import Registries
from immutable.errors import BlobMissing, DigestMismatch, ImageError, ImmutableError, RegistryError
from immutable.oci import documents as oci
from immutable.oci.canonical import encode
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Manifest
from immutable.transports.registry import lists
from immutable.transports.registry.client import Client
from tests.support.images import MemoryTransport
from tests.support.registry import Answer, FakeRegistry, connected, described, holding

SMALL, LARGE = random.Random(1).randbytes(5000), random.Random(2).randbytes((5 << 20) + 7)


def uploaded(fake: FakeRegistry, data: bytes, **options: Any) -> list[tuple[str, str]]:
    """Upload `data`; return the methods and paths of what that took."""
    source = MemoryTransport()
    blob = source.add(data, oci.LAYER)
    source.add_manifest(Manifest(blob, ()))
    told: list[int] = []
    with connected(fake) as client, source.open() as opened:
        begun = len(fake.asked)
        client.upload(opened, blob, told.append, **options)
    assert data == fake.repository("web").blobs[blob.digest]
    assert len(data) == sum(told)
    return [
        (asked.method, asked.path.partition("?")[0]) for asked in fake.asked[begun:]
        if asked.path != "/v2/"
    ]  # fmt: skip


# Uploads


def test_a_small_blob_takes_two_requests() -> None:
    assert ["POST", "PUT"] == [method for method, _ in uploaded(FakeRegistry(), SMALL)]


def test_an_empty_blob() -> None:
    assert ["POST", "PUT"] == [method for method, _ in uploaded(FakeRegistry(), b"")]


def test_a_large_blob_is_one_stream() -> None:
    assert ["POST", "PATCH", "PUT"] == [method for method, _ in uploaded(FakeRegistry(), LARGE)]


def test_a_large_blob_in_chunks() -> None:
    methods = [method for method, _ in uploaded(FakeRegistry(), LARGE, chunk=2 << 20)]
    assert ["POST", "PATCH", "PATCH", "PATCH", "PUT"] == methods


def test_chunks_are_as_large_as_the_registry_wants_them_at_least() -> None:
    fake = FakeRegistry()
    headers = {"Location": "/v2/web/blobs/uploads/x", "OCI-Chunk-Min-Length": str(4 << 20)}
    fake._sessions["x"] = b""
    fake.plan("POST", "uploads", Answer(202, headers))
    methods = [method for method, _ in uploaded(fake, LARGE, chunk=1 << 20)]
    assert ["POST", "PATCH", "PATCH", "PUT"] == methods


def test_a_registry_that_takes_no_large_body_gets_chunks() -> None:
    fake = FakeRegistry()
    fake.plan("PATCH", "", Answer(413))
    methods = [method for method, _ in uploaded(fake, LARGE)]
    assert ["POST", "PATCH", "GET", "PATCH", "PATCH", "PUT"] == methods


def test_a_registry_that_took_a_part_gets_the_rest() -> None:
    fake = FakeRegistry()

    def half(asked: Any) -> Answer:
        session = asked.path.rpartition("/")[2]
        fake._sessions[session] += asked.body[: 3 << 20]
        return Answer(202, fake._progress("web", session))

    fake.plan("PATCH", "", half)
    assert ["POST", "PATCH", "PATCH", "PUT"] == [method for method, _ in uploaded(fake, LARGE)]


def test_a_registry_that_has_more_than_was_sent_begins_anew() -> None:
    fake = FakeRegistry()
    fake.plan("PATCH", "", Answer(202, {"Range": f"0-{len(LARGE) + 5}"}))
    assert 2 == [method for method, _ in uploaded(fake, LARGE)].count("PATCH")


def test_a_registry_that_never_moves_is_given_up() -> None:
    fake = FakeRegistry()
    for _ in range(20):
        fake.plan("PATCH", "", Answer(202, {"Range": "0-0"}))
    with pytest.raises(RegistryError, match="answered 400 DIGEST_INVALID"):
        uploaded(fake, LARGE)


def test_a_mount_is_all_it_takes() -> None:
    fake = FakeRegistry()
    fake.repository("base").blobs[Digest.of(LARGE)] = LARGE
    assert ["POST"] == [method for method, _ in uploaded(fake, LARGE, mount="base")]


def test_a_mount_that_became_a_session_is_used() -> None:
    methods = [method for method, _ in uploaded(FakeRegistry(), LARGE, mount="base")]
    assert ["POST", "PATCH", "PUT"] == methods


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_a_refused_mount_is_an_upload(status: int) -> None:
    fake = FakeRegistry()
    fake.plan("POST", "mount", Answer(status))
    methods = [method for method, _ in uploaded(fake, SMALL, mount="base")]
    assert ["POST", "POST", "PUT"] == methods


def test_an_upload_without_a_location_is_refused() -> None:
    fake = FakeRegistry()
    fake.plan("POST", "", Answer(202))
    with pytest.raises(RegistryError, match="the answer 202 has no Location"):
        uploaded(fake, SMALL)


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/x", "http://registry.test/x", "ftp://x", "http://u:p@h/"]
)
def test_a_location_that_is_not_followed(location: str) -> None:
    fake = FakeRegistry()
    fake.plan("POST", "", Answer(202, {"Location": location}))
    with pytest.raises(RegistryError, match="Location: "):
        uploaded(fake, SMALL)


def test_the_state_in_a_location_is_kept() -> None:
    fake = FakeRegistry()
    fake._sessions["x"] = b""
    fake.plan("POST", "", Answer(202, {"Location": "/v2/web/blobs/uploads/x?_state=a%2Fb"}))
    uploaded(fake, SMALL)
    assert f"?_state=a%2Fb&digest=sha256%3A{Digest.of(SMALL).hex}" in fake.asked[-1].path


class Spoilt(MemoryTransport):
    """A source whose blobs are damaged."""

    def add(self, data: bytes, media_type: str) -> Descriptor:
        descriptor = super().add(data, media_type)
        self.blobs[descriptor.digest] = data[:-1] + b"?"
        return descriptor


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_wrong_bytes_of_the_source_get_nowhere(data: bytes) -> None:
    fake, source = FakeRegistry(), Spoilt()
    blob = source.root = source.add(data, oci.LAYER)
    with connected(fake) as client, source.open() as opened, pytest.raises(DigestMismatch):
        client.upload(opened, blob)
    assert {} == fake.repository("web").blobs
    assert {} == fake._sessions  # it was told to forget what it had


def test_a_disk_that_fails_is_not_tried_again() -> None:
    class Source:
        where, root = "disk", described(LARGE)

        def open(self, descriptor: Descriptor) -> Any:
            raise PermissionError(13, "no")

    fake = FakeRegistry()
    with connected(fake) as client, pytest.raises(PermissionError):
        client.upload(Source(), described(LARGE))
    assert 1 == [asked.method for asked in fake.asked].count("POST")


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_size_that_is_not_that_of_the_bytes_gets_nowhere(data: bytes) -> None:
    fake, source = FakeRegistry(), MemoryTransport()
    blob = source.root = evolve(source.add(data, oci.LAYER), size=len(data) + 1)
    with connected(fake) as client, source.open() as opened, pytest.raises(ImageError):
        client.upload(opened, blob)
    assert {} == fake.repository("web").blobs


# Downloads


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_a_blob_comes_whole(data: bytes) -> None:
    with connected(holding(data)) as client, client.open_blob(described(data)) as stream:
        assert data == stream.read()


def test_a_blob_that_is_not_there() -> None:
    with connected(FakeRegistry()) as client:
        assert not client.has_blob(described(SMALL))
        with pytest.raises(BlobMissing, match="answered 404 BLOB_UNKNOWN: no"):
            client.open_blob(described(SMALL))


def test_a_blob_of_another_size_is_not_the_one() -> None:
    fake = holding(SMALL)
    fake.plan("HEAD", "", Answer(200, {"Content-Length": "7"}))
    with connected(fake) as client:
        assert not client.has_blob(described(SMALL))
        assert client.has_blob(described(SMALL))


def test_wrong_bytes_of_a_small_blob_are_asked_for_again_once() -> None:
    fake = holding(SMALL)
    fake.plan("GET", "/blobs/", Answer(200, {}, SMALL[:-1] + b"?"))
    with connected(fake) as client:
        assert SMALL == client.read_blob(described(SMALL))
        for _ in range(2):
            fake.plan("GET", "/blobs/", Answer(200, {}, SMALL[:-1] + b"?"))
        with pytest.raises(DigestMismatch):
            client.read_blob(described(SMALL))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(206, {"Content-Range": f"bytes 0-{len(LARGE) - 1}/{len(LARGE)}"}, LARGE),
        Answer(206, {"Content-Range": f"bytes 7-{len(LARGE)}/{len(LARGE)}"}, LARGE[7:]),
        Answer(206, {"Content-Range": "bytes */5"}, b"x"),
        Answer(206, {"Content-Range": "nonsense"}, b"x"),
        Answer(206, {}, b"x"),
        Answer(200, {}, LARGE),
        Answer(416, {}, b""),
        Answer(503, {}, b""),
    ],
)
def test_a_broken_download_survives_any_answer_to_a_range(answer: Answer) -> None:
    fake = holding(LARGE)
    fake.plan("GET", "/blobs/", Answer(200, {"Content-Length": str(len(LARGE))}, LARGE[: 2 << 20]))
    fake.plan("GET", "/blobs/", answer)
    with connected(fake) as client, client.open_blob(described(LARGE)) as stream:
        assert Digest.of(LARGE) == Digest.of(stream.read())


def test_a_download_that_always_breaks_is_asked_for_six_times() -> None:
    fake = holding(LARGE)
    for length in range(1, 20):
        headers = {"Content-Length": str(len(LARGE))}
        fake.plan("GET", "/blobs/", Answer(200, headers, LARGE[:length]))
    with (
        connected(fake) as client,
        client.open_blob(described(LARGE)) as stream,
        pytest.raises(RegistryError),
    ):
        stream.read()
    assert 6 == len([asked for asked in fake.asked if "/blobs/" in asked.path])


# Manifests

CONFIG = described(b"{}", oci.CONFIG)
MANIFEST = Manifest(CONFIG, (described(SMALL),)).encode()


def test_manifests_by_tag_and_by_digest() -> None:
    fake = holding(SMALL, b"{}")
    manifest = described(MANIFEST, oci.MANIFEST)
    with connected(fake) as client:
        assert None is client.head_manifest("1")
        assert not client.put_manifest(manifest, MANIFEST)
        assert not client.put_manifest(manifest, MANIFEST, "1")
        assert manifest.digest == client.head_manifest("1")
        assert (manifest, MANIFEST) == client.manifest("1")
        assert (manifest, MANIFEST) == client.manifest(manifest.digest)
        client.delete_manifest("1")
        assert None is client.head_manifest("1")
        client.delete_manifest(manifest.digest)
        with pytest.raises(RegistryError, match="answered 404 MANIFEST_UNKNOWN") as caught:
            client.delete_manifest(manifest.digest)
        assert (404, frozenset({"MANIFEST_UNKNOWN"})) == (caught.value.status, caught.value.codes)
        client.delete_blob(Digest.of(SMALL))
        with pytest.raises(BlobMissing):
            client.delete_blob(Digest.of(SMALL))


def test_a_tag_that_is_not_there_is_asked_for_once() -> None:
    fake = FakeRegistry()
    with connected(fake) as client:
        assert None is client.head_manifest("1")
    assert ["HEAD"] == [asked.method for asked in fake.asked if "manifests" in asked.path]


def test_a_head_that_names_no_digest_is_followed_by_a_look() -> None:
    fake = FakeRegistry()
    digest = fake.put("web", MANIFEST, oci.MANIFEST, "1")
    fake.plan("HEAD", "", Answer(200))
    with connected(fake) as client:
        assert digest == client.head_manifest("1")


def test_a_registry_that_makes_another_manifest_of_ours() -> None:
    fake = FakeRegistry()
    other = f"sha256:{'a' * 64}"
    fake.plan("PUT", "", Answer(201, {"Docker-Content-Digest": other}))
    with connected(fake) as client, pytest.raises(RegistryError, match=f"made {other} of"):
        client.put_manifest(described(MANIFEST, oci.MANIFEST), MANIFEST, "1")


def plain(**changes: Any) -> bytes:
    return encode({**json.loads(MANIFEST), **changes})


LAYER = described(SMALL).plain()
FOREIGN = {**LAYER, "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}


@pytest.mark.parametrize(
    ("data", "media_type", "message"),
    [
        (MANIFEST, oci.INDEX, "layers: has no place"),
        (MANIFEST, "application/vnd.docker.distribution.manifest.v2+json", "mediaType says"),
        (MANIFEST, "text/html", "Content-Type: expected a manifest or an index"),
        (MANIFEST, "", "Content-Type: expected a manifest or an index"),
        (MANIFEST, "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 2"),
        (plain(manifests=()), oci.MANIFEST, "manifests: has no place"),
        (b'{"schemaVersion":2,"schemaVersion":2}', oci.MANIFEST, "duplicate key"),
        (MANIFEST[:-7], oci.MANIFEST, "not JSON"),
        (b"", oci.MANIFEST, "not JSON"),
        (b"[" * 100_000, oci.MANIFEST, "nested too deeply"),
        (plain(layers=({**LAYER, "size": -1},)), oci.MANIFEST, "out of range"),
        (plain(layers=({**LAYER, "size": 1 << 64},)), oci.MANIFEST, "out of range"),
        (plain(layers=({**LAYER, "digest": "sha256:../.."},)), oci.MANIFEST, "64 hex digits"),
        (
            plain(layers=({**LAYER, "urls": ("https://elsewhere.test/x",)},)),
            oci.MANIFEST,
            "layers[0].urls: found",
        ),
        (plain(layers=(FOREIGN,)), oci.MANIFEST, "a layer that no registry may hold"),
    ],
)
def test_manifests_that_are_refused(data: bytes, media_type: str, message: str) -> None:
    fake = FakeRegistry()
    fake.put("web", data, media_type, "1")
    with connected(fake) as client, pytest.raises(ImageError) as caught:
        client.manifest("1")
    assert message in str(caught.value)
    assert "docker://127.0.0.1" in str(caught.value)


def test_a_manifest_too_large_to_read() -> None:
    fake = FakeRegistry()
    fake.put("web", bytes(5 << 20), oci.MANIFEST, "1")
    with connected(fake) as client, pytest.raises(RegistryError, match="at most 4194304 bytes"):
        client.manifest("1")


def test_a_manifest_of_another_digest_than_asked_for() -> None:
    fake = FakeRegistry()
    digest = fake.put("web", MANIFEST, oci.MANIFEST, "1")
    for _ in range(2):
        fake.plan("GET", "manifests", Answer(200, {"Content-Type": oci.MANIFEST}, plain()))
    with connected(fake) as client, pytest.raises(DigestMismatch):
        client.manifest(Digest.of(b"another"))
    assert digest


@pytest.mark.parametrize("digest", ["sha256:../..", "sha256:AA"])
def test_a_registry_that_names_no_digest_but_nonsense(digest: str) -> None:
    fake = FakeRegistry()
    headers = {"Content-Type": oci.MANIFEST, "Docker-Content-Digest": digest}
    fake.plan("GET", "manifests", Answer(200, headers, MANIFEST))
    with connected(fake) as client, pytest.raises(RegistryError, match="Docker-Content-Digest"):
        client.manifest("1")


def test_what_a_registry_says_is_shown_fit_for_a_terminal() -> None:
    fake = FakeRegistry()
    body = encode(
        {"errors": [{"code": "DENIED", "message": "no\x1b[2J\r\n\u202ethere" + "x" * 999}]}
    )
    fake.plan("GET", "manifests", Answer(403, {}, body))
    with connected(fake) as client, pytest.raises(RegistryError) as caught:
        client.manifest("1")
    message = str(caught.value)
    assert "answered 403 DENIED: no [2J there" in message
    assert message.isprintable()
    assert 400 > len(message)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"errors":{}}', b'{"errors":[1]}', b"\xff"])
def test_a_refusal_need_not_be_what_the_standard_says(body: bytes) -> None:
    fake = FakeRegistry()
    fake.plan("GET", "manifests", Answer(400, {}, body))
    with connected(fake) as client, pytest.raises(RegistryError, match="answered 400 Bad Request"):
        client.manifest("1")


# Redirects


def test_a_redirect_is_followed() -> None:
    fake = holding(SMALL)
    with connected(fake) as client:
        there = f"http://{fake.elsewhere}/v2/web/blobs/{Digest.of(SMALL)}"
        fake.plan("GET", "/blobs/", Answer(307, {"Location": there}))
        assert SMALL == client.read_blob(described(SMALL))


def test_a_circle_of_redirects_ends() -> None:
    fake = holding(SMALL)
    for _ in range(50):
        fake.plan("GET", "/blobs/", Answer(302, {"Location": "?"}))
    with connected(fake) as client, pytest.raises(RegistryError, match="sent on more than"):
        client.read_blob(described(SMALL))
    assert 10 > len(fake.asked)


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/", "http://registry.test/", "file:/x"]
)
def test_a_redirect_that_is_not_followed(location: str) -> None:
    fake = holding(SMALL)
    fake.plan("GET", "/blobs/", Answer(302, {"Location": location}))
    with connected(fake) as client, pytest.raises(RegistryError, match="Location: "):
        client.read_blob(described(SMALL))


# Lists


def test_tags_and_repositories_page_by_page() -> None:
    fake = FakeRegistry(page=2)
    for tag in ("1", "2", "3", "4", "5"):
        fake.put("web", MANIFEST, oci.MANIFEST, tag)
    fake.repository("api")
    with connected(fake) as client:
        assert ["1", "2", "3", "4", "5"] == [*lists.tags(client)]
        assert ["api", "web"] == [*lists.catalog(client)]


@pytest.mark.parametrize(("tags", "expected"), [(b"null", []), (b"[]", []), (b'["1"]', ["1"])])
def test_a_list_of_tags(tags: bytes, expected: list[str]) -> None:
    fake = FakeRegistry()
    fake.plan("GET", "tags", Answer(200, {}, b'{"name":"web","tags":%s}' % tags))
    with connected(fake) as client:
        assert expected == [*lists.tags(client)]


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"tags":[1]}', b'{"tags":["\\u001b"]}', b"x"])
def test_a_list_of_tags_that_is_none(body: bytes) -> None:
    fake = FakeRegistry()
    fake.plan("GET", "tags", Answer(200, {}, body))
    with connected(fake) as client, pytest.raises(RegistryError, match="tags"):
        [*lists.tags(client)]


def test_a_list_that_leads_back_to_itself() -> None:
    fake = FakeRegistry()
    for _ in range(9):
        fake.plan("GET", "tags", Answer(200, {"Link": '<?n=1>; rel="next"'}, b'{"tags":["1"]}'))
    with connected(fake) as client, pytest.raises(RegistryError, match="leads back to itself"):
        [*lists.tags(client)]


def test_a_list_that_goes_on_elsewhere_is_not_followed() -> None:
    fake = FakeRegistry()
    with connected(fake) as client:
        link = f'<http://{fake.elsewhere}/v2/web/tags/list>; rel="next"'
        fake.plan("GET", "tags", Answer(200, {"Link": link}, b'{"tags":["1"]}'))
        with pytest.raises(RegistryError, match="found another host"):
            [*lists.tags(client)]
    assert {"127.0.0.1"} == {asked.host for asked in fake.asked}


# Referrers


def referring(subject: Descriptor, kind: str) -> bytes:
    empty = described(b"{}", "application/vnd.oci.empty.v1+json").plain()
    return encode(
        {
            "schemaVersion": 2,
            "mediaType": oci.MANIFEST,
            "artifactType": kind,
            "config": empty,
            "layers": (empty,),
            "subject": subject.plain(),
            "annotations": {"of": kind},
        }
    )


@pytest.mark.parametrize("api", [True, False])
def test_referrers_with_the_api_and_without(api: bool) -> None:
    fake = holding(b"{}", SMALL, referrers=api)
    subject = described(MANIFEST, oci.MANIFEST)
    kinds = ["application/a", "application/b"]
    with connected(fake) as client:
        assert () == lists.referrers(client, subject.digest)
        for kind in [*kinds, kinds[0]]:
            data = referring(subject, kind)
            lists.put_referrer(client, described(data, oci.MANIFEST), data)
        found = lists.referrers(client, subject.digest)
        assert kinds == [one.artifact_type for one in found]
        assert [Digest.of(referring(subject, kind)) for kind in kinds] == [
            one.descriptor.digest for one in found
        ]
        (one,) = lists.referrers(client, subject.digest, kinds[1])
        assert kinds[1] == one.artifact_type
    assert api == (f"sha256-{subject.digest.hex}" not in fake.repository("web").tags)


# Reaching it


def test_a_host_that_nobody_knows_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*args: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", nobody)
    naps: list[float] = []
    with (
        Client.connect("registry.test", "web", Registries(), sleep=naps.append) as client,
        pytest.raises(RegistryError, match="not known: there is no host of this name"),
    ):
        client.manifest("1")
    assert [] == naps


def test_a_registry_that_is_not_there() -> None:
    naps: list[float] = []
    with (
        Client.connect("127.0.0.1:9", "web", Registries(), sleep=naps.append) as client,
        pytest.raises(RegistryError, match="Connection refused"),
    ):
        client.manifest("1")
    assert 5 == len(naps)
    assert naps == sorted(naps) or max(naps) <= 20


def test_a_certificate_file_that_is_none(tmp_path: Any) -> None:
    with (
        Client.connect("h.test", "web", Registries(ca_files=(tmp_path / "none.pem",))) as client,
        pytest.raises(ImmutableError, match=r"none\.pem: cannot be read"),
    ):
        client.manifest("1")
    (tmp_path / "odd.pem").write_text("odd")
    with (
        Client.connect("h.test", "web", Registries(ca_files=(tmp_path / "odd.pem",))) as client,
        pytest.raises(ImmutableError, match=r"odd\.pem: expected certificates"),
    ):
        client.manifest("1")


def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with connected(holding(SMALL)) as client:
        assert client.has_blob(described(SMALL))


def test_a_proxy_stands_before_others(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRegistry()
    with fake.serve() as host:
        monkeypatch.setenv("http_proxy", f"http://{host}")
        monkeypatch.setenv("https_proxy", f"http://{host}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        registries = Registries(insecure=("registry.test",))
        nap = lambda _: None  # noqa: E731
        with Client.connect("registry.test", "web", registries, sleep=nap) as client:
            client.has_blob(described(SMALL))
    assert "http://registry.test/v2/" in [asked.path for asked in fake.asked]
