"""Images to and from a registry in memory: what is sent, in which order, and what is not."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import pytest
from attrs import define, evolve, field, frozen

from immutable.config import Registries
from immutable.errors import DigestMismatch, ImageError, RegistryError, TransportError
from immutable.oci import documents as oci
from immutable.oci.canonical import encode
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Index
from immutable.progress import Progress
from immutable.reference.registry import RegistryName
from immutable.transports import copy
from immutable.transports.base import Called, GatheredImage
from immutable.transports.registry.transport import RegistryImage
from tests.support.images import ARM64, MemoryTransport, image, index
from tests.support.progress import Notes
from tests.support.registry import Answer, Asked, FakeRegistry

LARGE: dict[str, Any] = {"kinds": (oci.LAYER,) * 2, "size": 800_000}


def place(host: str, repository: str = "web", tag: str = "1", **more: Any) -> RegistryImage:
    digest = more.pop("digest", None)
    name = RegistryName(host, repository, tag, digest)
    return RegistryImage(name, Registries(), sleep=lambda _: None, **more)


def methods(fake: FakeRegistry, begun: int = 0) -> list[str]:
    return [asked.method for asked in fake.asked[begun:] if asked.path != "/v2/"]


# Order


@pytest.mark.parametrize("make", [image, index])
def test_there_and_back(make: Any, fake: FakeRegistry, host: str) -> None:
    source, there = make(), MemoryTransport()
    assert source.root == copy(source, place(host))
    assert source.root == copy(place(host), there)
    assert source.blobs == there.blobs


def test_the_tag_comes_last_and_each_thing_after_what_it_refers_to(
    fake: FakeRegistry, host: str
) -> None:
    source = index()
    copy(source, place(host))
    assert source.root is not None
    puts = [a.path.rpartition("/")[2] for a in fake.asked if a.method == "PUT"]
    manifests = [put for put in puts if "digest=" not in put]
    assert puts[-len(manifests) :] == manifests
    assert ["1", str(source.root.digest)] == manifests[:-3:-1]
    assert 5 == len(manifests)


def test_what_is_there_is_not_sent_again(fake: FakeRegistry, host: str) -> None:
    source = image()
    copy(source, place(host))
    begun = len(fake.asked)
    copy(source, place(host))
    assert {"HEAD", "PUT"} == {*methods(fake, begun)}
    assert 1 == methods(fake, begun).count("PUT")  # its manifest; the tag is there already


def test_one_platform_of_an_index(fake: FakeRegistry, host: str) -> None:
    copy(index(), place(host))
    there = MemoryTransport()
    copy(place(host), there, platform=ARM64)
    assert ARM64 == oci.decode_config(there.config, "test").platform


def test_an_image_of_dockers_media_types_stays_as_it_is(fake: FakeRegistry, host: str) -> None:
    source = image(kinds=(oci.LAYER_GZIP,))
    manifest = source.manifest
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    layers = [
        evolve(one, media_type="application/vnd.docker.image.rootfs.diff.tar.gzip")
        for one in manifest.layers
    ]
    config = evolve(manifest.config, media_type="application/vnd.docker.container.image.v1+json")
    source.add_manifest(evolve(manifest, media_type=docker, layers=tuple(layers), config=config))
    copy(source, place(host))
    there = MemoryTransport()
    assert source.root == copy(place(host), there)
    assert docker == there.manifest.media_type


# Names


@pytest.mark.parametrize("source", [True, False])
def test_no_tag_is_assumed(host: str, source: bool) -> None:
    nameless = place(host, tag="")
    with pytest.raises(TransportError, match=r"say which: .*:TAG or .*@sha256"):
        copy(nameless if source else image(), MemoryTransport() if source else nameless)


def test_by_digest_alone(fake: FakeRegistry, host: str) -> None:
    source, there = image(), MemoryTransport()
    assert source.root is not None
    copy(source, place(host, tag="", digest=source.root.digest))
    assert {} == fake.repository("web").tags
    copy(place(host, tag="", digest=source.root.digest), there)
    assert source.blobs == there.blobs


def test_another_digest_than_the_reference_says(fake: FakeRegistry, host: str) -> None:
    other = Digest.of(b"other")
    with pytest.raises(TransportError, match=f"expected that digest, found {image().root.digest}"):  # type: ignore[union-attr]
        copy(image(), place(host, digest=other))
    assert {} == fake.repositories


def test_an_image_that_is_not_there(host: str) -> None:
    with pytest.raises(TransportError, match="web:1: there is no such image"):
        copy(place(host), MemoryTransport())


# Mounting


def test_blobs_of_the_same_registry_are_mounted(fake: FakeRegistry, host: str) -> None:
    source = image(**LARGE)
    copy(source, place(host, "from"))
    begun = len(fake.asked)
    copy(place(host, "from"), place(host, "to"))
    assert "PATCH" not in methods(fake, begun)
    assert not [a for a in fake.asked[begun:] if a.method == "GET" and "/blobs/" in a.path]
    assert fake.repository("from").blobs == fake.repository("to").blobs


def test_the_layers_of_a_named_base_are_mounted(fake: FakeRegistry, host: str) -> None:
    base = image(**LARGE)
    copy(base, place(host, "base"))
    source = MemoryTransport(base.blobs)
    source.add_manifest(evolve(base.manifest, annotations={oci.BASE_NAME: f"{host}/base:1"}))
    begun = len(fake.asked)
    copy(source, place(host))
    assert "PATCH" not in methods(fake, begun)


def test_blobs_that_the_caller_knows_elsewhere_are_mounted(fake: FakeRegistry, host: str) -> None:
    source = image(**LARGE)
    copy(source, place(host, "other"))
    known = {layer.digest: "other" for layer in source.manifest.layers}
    begun = len(fake.asked)
    copy(source, place(host, known=known))
    assert "PATCH" not in methods(fake, begun)


# Failures


def test_a_registry_that_lost_blobs_it_said_to_have_gets_them_again(
    fake: FakeRegistry, host: str
) -> None:
    source = image()
    for _ in range(4):
        fake.plan("HEAD", "/blobs/", Answer(200))
    copy(source, place(host))
    there = MemoryTransport()
    copy(place(host), there)
    assert source.blobs == there.blobs


def test_it_gets_them_again_but_once(fake: FakeRegistry, host: str) -> None:
    lost = encode({"errors": ({"code": "MANIFEST_BLOB_UNKNOWN", "message": "no"},)})
    for _ in range(9):
        fake.plan("PUT", "/manifests/", Answer(404, {}, lost))
    with pytest.raises(RegistryError, match="MANIFEST_BLOB_UNKNOWN"):
        copy(image(), place(host))
    assert 2 == len([a for a in fake.asked if a.method == "PUT" and "/manifests/" in a.path])
    assert {} == fake.repository("web").tags


@pytest.mark.parametrize("kind", [oci.LAYER, oci.LAYER_GZIP])
def test_a_damaged_source_names_nothing(fake: FakeRegistry, host: str, kind: str) -> None:
    source = image(kinds=(kind,), size=800_000)
    digest = source.manifest.layers[0].digest
    source.blobs[digest] = source.blobs[digest][:-1] + b"?"
    with pytest.raises(DigestMismatch, match=str(digest)):
        copy(source, place(host))
    assert {} == fake.repository("web").tags
    assert {} == fake.repository("web").manifests
    assert digest not in fake.repository("web").blobs


def test_wrong_bytes_from_a_registry_are_fetched_again_once(fake: FakeRegistry, host: str) -> None:
    source, there = image(**LARGE), MemoryTransport()
    copy(source, place(host))
    digest = source.manifest.layers[0].digest
    wrong = source.blobs[digest][:-1] + b"?"
    fake.plan("GET", digest.hex, Answer(200, {}, wrong))
    copy(place(host), there)
    assert source.blobs == there.blobs
    fake.repository("web").blobs[digest] = wrong
    with pytest.raises(DigestMismatch):
        copy(place(host), MemoryTransport())


def test_an_index_within_itself_or_another(fake: FakeRegistry, host: str) -> None:
    copy(index(), place(host))
    inner = fake.repository("web").tags["1"]
    data = fake.repository("web").manifests[inner][1]
    outer = Index((Descriptor(oci.INDEX, inner, len(data)),)).encode()
    fake.put("web", outer, oci.INDEX, "2")
    with pytest.raises(ImageError, match="expected manifests only"):
        copy(place(host, tag="2"), MemoryTransport())


def test_an_index_that_the_registry_says_to_hold_itself(fake: FakeRegistry, host: str) -> None:
    itself = Digest.of(b"nobody can know")
    data = Index((Descriptor(oci.INDEX, itself, 300),)).encode()
    fake.repository("web").tags["1"] = itself
    fake.repository("web").manifests[itself] = (oci.INDEX, data)
    fake.plan("GET", "manifests/1", Answer(200, {"Content-Type": oci.INDEX}, data))
    with pytest.raises(ImageError, match="expected manifests only"):
        copy(place(host), MemoryTransport())
    assert 1 == len([asked for asked in fake.asked if "manifests" in asked.path])


def test_an_entry_of_another_type_than_its_index_says(fake: FakeRegistry, host: str) -> None:
    source = image()
    copy(source, place(host))
    assert source.root is not None
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    outer = Index((evolve(source.root, media_type=docker),)).encode()
    fake.put("web", outer, oci.INDEX, "2")
    with pytest.raises(ImageError, match="the registry says"):
        copy(place(host, tag="2"), MemoryTransport())


def test_a_layer_of_a_huge_size_is_refused_before_it_is_read(fake: FakeRegistry, host: str) -> None:
    source = image()
    manifest = source.manifest
    copy(source, place(host))
    layers = (evolve(manifest.layers[0], size=1 << 62), *manifest.layers[1:])
    fake.put("web", evolve(manifest, layers=layers).encode(), oci.MANIFEST, "2")
    del fake.asked[:]
    with pytest.raises(ImageError, match=f"expected {1 << 62} bytes, the registry offers"):
        copy(place(host, tag="2"), MemoryTransport())
    path = f"/v2/web/blobs/{layers[0].digest}"
    assert 2 == len([asked for asked in fake.asked if asked.path == path])


# Progress, threads, memory


@pytest.mark.parametrize("broken", [False, True])
def test_progress_is_every_byte_once(fake: FakeRegistry, host: str, broken: bool) -> None:
    source, watching = image(**LARGE), Notes()
    if broken:
        fake.plan("PATCH", "", Answer(503))
        fake.plan("PUT", "uploads", Answer(400, {}, b'{"errors":[{"code":"DIGEST_INVALID"}]}'))
    copy(source, place(host), progress=watching)
    manifest = source.manifest
    expected = sum(blob.size for blob in (manifest.config, *manifest.layers))
    assert (expected, expected) == (watching.total, sum(watching.steps))
    again = Notes()
    copy(source, place(host), progress=again)
    assert (expected, expected) == (again.total, sum(again.steps))


@frozen
class Opened:
    """A source that calls `at` before it gives a blob."""

    source: MemoryTransport
    at: Callable[[Descriptor], object]
    where: str = "opened"

    @property
    def root(self) -> Descriptor:
        assert self.source.root is not None
        return self.source.root

    def open(self, descriptor: Descriptor) -> BinaryIO:
        if descriptor != self.root:
            self.at(descriptor)
        return io.BytesIO(self.source.blobs[descriptor.digest])


@frozen
class Opening:
    """A transport of an `Opened` source."""

    opened: Opened

    @contextmanager
    def open(self) -> Iterator[Opened]:
        yield self.opened

    def called(self) -> Called:
        return Called()

    def takes(self) -> None: ...

    def receive(self, image: GatheredImage, progress: Progress) -> None: ...


def test_blobs_go_side_by_side(fake: FakeRegistry, host: str) -> None:
    barrier = threading.Barrier(4)
    source = image(kinds=(oci.LAYER,) * 3)
    copy(Opening(Opened(source, lambda _: barrier.wait(10))), place(host))
    assert source.blobs.keys() == {*fake.repository("web").blobs, *fake.repository("web").manifests}


@define
class Meeting(MemoryTransport):
    """A destination that takes no blob before it is offered four."""

    barrier: threading.Barrier = field(factory=lambda: threading.Barrier(4))

    def has(self, descriptor: Descriptor) -> bool:
        self.barrier.wait(10)
        return super().has(descriptor)


def test_blobs_are_pulled_side_by_side(host: str) -> None:
    source, there = image(kinds=(oci.LAYER,) * 3), Meeting()
    copy(source, place(host))
    copy(place(host), there)
    assert source.blobs == there.blobs


def test_a_failed_pull_ends_the_threads_beside_it(fake: FakeRegistry, host: str) -> None:
    source = image(kinds=(oci.LAYER,) * 3)
    copy(source, place(host))
    one, two, _ = source.manifest.layers
    waiting = threading.Event()

    def hang(_: Asked) -> Answer:
        fake._lock.release()
        waiting.set()
        ended.wait(30)
        fake._lock.acquire()
        return Answer(500)

    def refuse(_: Asked) -> Answer:
        fake._lock.release()
        waiting.wait(30)
        fake._lock.acquire()
        return Answer(403)

    ended = threading.Event()
    fake.plan("GET", str(one.digest), hang)
    fake.plan("GET", str(two.digest), refuse)
    try:
        with pytest.raises(RegistryError, match="answered 403"):
            copy(place(host), MemoryTransport())
        workers = [thread for thread in threading.enumerate() if "(worker)" in thread.name]
        assert [] == workers
    finally:
        ended.set()


def test_without_tls_no_certificates_are_loaded(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **settings: object) -> None:
        raise AssertionError

    monkeypatch.setattr("ssl.create_default_context", refuse)
    copy(image(), place(host))


def test_an_interrupt_ends_threads_that_wait_for_an_answer(fake: FakeRegistry, host: str) -> None:
    waiting, never = threading.Event(), threading.Event()
    source = image(kinds=(oci.LAYER,) * 2, size=800_000)
    slow = source.manifest.layers[0].digest

    def hang(_: Asked) -> Answer:
        fake._lock.release()
        waiting.set()
        never.wait(30)
        fake._lock.acquire()
        return Answer(202)

    def interrupt(blob: Descriptor) -> None:
        if blob.digest == slow:
            fake.plan("PATCH", "", hang)
        else:
            assert waiting.wait(30)
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            copy(Opening(Opened(source, interrupt)), place(host))
        workers = [thread for thread in threading.enumerate() if "(worker)" in thread.name]
        assert [] == workers
    finally:
        never.set()
    assert {} == fake.repository("web").tags
