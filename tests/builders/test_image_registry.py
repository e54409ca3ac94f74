"""Layers of kind ``image`` upon an image in a registry."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import evolve

from immutable import lock
from immutable.build.lock import check
from immutable.build.verify import verify
from immutable.errors import (
    DigestMismatch,
    ImageError,
    LockMissing,
    LockStale,
    SourceError,
    TransportError,
)
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.reference.registry import RegistryName
from immutable.store import MemoryStore, Store
from immutable.transports import copy
from immutable.transports.registry.transport import RegistryImage
from immutable.transports.store import StoreImage
from tests.support import distribution, needs
from tests.support.command import PATIENCE, Shell
from tests.support.faults import Faults
from tests.support.images import MemoryTransport, image, index
from tests.support.registry import Answer, Asked, FakeRegistry
from tests.support.specs import AMD64, CONFIG, State, build, layer, write

APP = layer("files", "app", entries=[{"path": "/app", "text": "app"}])
BOTH = 'platforms = ["linux/amd64", "linux/arm64"]'


class Gate(FakeRegistry):
    """A registry that calls `passing` with each request before it answers."""

    passing: Callable[[Asked], object] = staticmethod(lambda _: None)

    def answer(self, asked: Asked) -> Answer:
        self.passing(asked)
        return super().answer(asked)


@pytest.fixture
def fake() -> Iterator[Gate]:
    registry = Gate()
    with registry.serve():
        yield registry


def place(host: str, repository: str = "team/base", tag: str = "1") -> RegistryImage:
    return RegistryImage(RegistryName(host, repository, tag), CONFIG.registries)


def on(host: str, reference: str = "team/base:1") -> str:
    return layer("image", "base", from_=f"{host}/{reference}") + APP


def publish(fake: Gate, source: MemoryTransport, tag: str = "1") -> Digest:
    """Put an image there under `tag`, whatever had that before."""
    fake.repository("team/base").tags.pop(tag, None)
    copy(source, place(fake.host, tag=tag))
    assert source.root is not None
    fake.asked.clear()
    return source.root.digest


def gets(fake: Gate) -> list[str]:
    """Return what was asked for: kind and reference."""
    return [
        "/".join(a.path.split("/")[-2:])
        for a in fake.asked
        if a.method in ("GET", "HEAD") and a.path != "/v2/"
    ]


# The lock


def test_the_lock_says_what_and_never_where(tmp_path: Path, fake: Gate, store: MemoryStore) -> None:
    digest = publish(fake, index())
    spec = write(tmp_path, on(fake.host), image=BOTH)
    with pytest.raises(LockMissing, match="takes base from outside; run `immutable lock"):
        build(spec, store)

    locked = lock(spec, store, config=CONFIG)

    answer = locked.lock.layer[0]
    assert {"from": "team/base:1"} == dict(answer.request)
    root = fake.repositories["team/base"].manifests[digest][1]
    pin = answer.pin[0]
    assert ("team/base:1", "", len(root), digest) == (pin.name, pin.path, pin.size, pin.sha256)
    assert "127.0.0" not in locked.path.read_text()


def test_another_host_leaves_the_lock_fresh(tmp_path: Path, fake: Gate, store: MemoryStore) -> None:
    publish(fake, image())
    lock(write(tmp_path, on(fake.host)), store, config=CONFIG)
    first = build(tmp_path / "web.toml", store)

    moved = write(tmp_path, on(fake.elsewhere))

    assert () == check(moved, config=CONFIG)
    other = build(moved, MemoryStore())
    assert [a.blob for a in first.layers] == [b.blob for b in other.layers]
    assert {"127.0.0.2"} == {a.host for a in fake.asked if "/blobs/" in a.path} - {"127.0.0.1"}


@pytest.mark.parametrize("reference", ["team/base:2", "other/base:1"])
def test_another_name_makes_it_stale(
    tmp_path: Path, fake: Gate, store: MemoryStore, reference: str
) -> None:
    publish(fake, image())
    lock(write(tmp_path, on(fake.host)), store, config=CONFIG)

    with pytest.raises(LockStale, match=f'from = "{reference}", the lock has "team/base:1"'):
        build(write(tmp_path, on(fake.host, reference)), store)


def test_a_tag_that_moves_changes_nothing_before_an_upgrade(
    tmp_path: Path, fake: Gate, store: MemoryStore
) -> None:
    old = publish(fake, image(1))
    spec = write(tmp_path, on(fake.host))
    lock(spec, store, config=CONFIG)
    first = build(spec, store)
    new = publish(fake, image(2))

    assert first.digest == build(spec, MemoryStore()).digest
    assert "manifests/1" not in gets(fake)
    assert not lock(spec, store, config=CONFIG).written

    (change,) = lock(spec, store, config=CONFIG, upgrade=True).changes
    assert ("base", "team/base:1", old.short, new.short) == (
        change.layer,
        change.name,
        change.old,
        change.new,
    )
    assert first.digest != build(spec, store).digest


def test_an_upgrade_says_what_moved(shell: Shell, fake: Gate) -> None:
    old = publish(fake, image(1))
    write(shell.folder, on(fake.host))
    assert 0 == shell.run("lock", "web.toml").status
    new = publish(fake, image(2))

    done = shell.run("lock", "web.toml", "--upgrade")

    assert re.search(rf"^  base  team/base:1 +{old.short} → {new.short}$", done.out, re.MULTILINE)
    assert "web.lock.toml: up to date\n" == shell.run("lock", "web.toml", "--upgrade").out


@pytest.mark.parametrize("tag", ["", ":1"])
def test_a_digest_in_the_spec_is_what_is_locked(
    tmp_path: Path, fake: Gate, store: MemoryStore, tag: str
) -> None:
    digest = publish(fake, image(1))
    publish(fake, image(2))
    spec = write(tmp_path, on(fake.host, f"team/base{tag}@{digest}"))

    pin = lock(spec, store, config=CONFIG).lock.layer[0].pin[0]

    assert (f"team/base{tag}", digest) == (pin.name, pin.sha256)
    assert pin.size
    name = dict(build(spec, store).manifest.annotations)[oci.BASE_NAME]
    assert f"{fake.host}/team/base{tag or f'@{digest}'}" == name


@pytest.mark.parametrize("reference", ["team/base:2", f"team/base:1@{Digest.of(b'')}"])
def test_what_is_not_there_is_not_locked(
    tmp_path: Path, fake: Gate, store: MemoryStore, reference: str
) -> None:
    publish(fake, image())
    spec = write(tmp_path, on(fake.host, reference))

    with pytest.raises(TransportError, match=f"docker://.*/{reference}: there is no such image"):
        lock(spec, store, config=CONFIG)

    assert not (tmp_path / "web.lock.toml").exists()


def test_a_platform_that_is_not_there_is_not_locked(
    tmp_path: Path, fake: Gate, store: MemoryStore
) -> None:
    publish(fake, index(platforms=[Platform("linux", "s390x")]))

    with pytest.raises(TransportError, match="nothing for linux/amd64; there is linux/s390x"):
        lock(write(tmp_path, on(fake.host)), store, config=CONFIG)


def test_a_registry_that_fails_for_a_while_drops_no_platform(
    tmp_path: Path, fake: Gate, store: MemoryStore
) -> None:
    publish(fake, index())
    spec = write(tmp_path, on(fake.host), image="# whatever the machine's platforms are")
    lock(spec, store, config=evolve(CONFIG, machine="aarch64"))
    fake.plan("GET", "manifests/sha256:", Answer())
    fake.plan("GET", "manifests/sha256:", Answer(403))

    with pytest.raises(TransportError, match="403"):
        lock(spec, MemoryStore(), config=CONFIG, upgrade=True)


def test_layers_that_are_elsewhere_are_refused(
    tmp_path: Path, fake: Gate, store: MemoryStore
) -> None:
    source = image()
    publish(fake, source)
    document = json.loads(source.manifest.encode())
    document["layers"][0]["urls"] = ["https://elsewhere.test/layer"]
    fake.put("team/base", canonical.encode(document), oci.MANIFEST, "1")

    with pytest.raises(ImageError, match=r"layers\[0\]\.urls: found .*elsewhere"):
        lock(write(tmp_path, on(fake.host)), store, config=CONFIG)


def test_an_index_in_an_index_is_refused(tmp_path: Path, fake: Gate, store: MemoryStore) -> None:
    source = index()
    publish(fake, source)
    assert source.root is not None
    outer = oci.Index((evolve(source.root, platform=AMD64),)).encode()
    fake.put("team/base", outer, oci.INDEX, "1")

    with pytest.raises(ImageError, match=f"holds the index {source.root.digest}"):
        lock(write(tmp_path, on(fake.host)), store, config=CONFIG)


# The build


def test_the_layers_are_taken_as_they_are(tmp_path: Path, fake: Gate, store: MemoryStore) -> None:
    source = image()
    digest = publish(fake, source)
    spec = write(tmp_path, on(fake.host))
    lock(spec, store, config=CONFIG)

    built = build(spec, store)

    base = source.manifest.layers
    assert base == built.manifest.layers[:3]
    assert source.diff_ids == built.config.diff_ids[:3]
    for blob in base:
        assert source.blobs[blob.digest] == store.read_blob(blob.digest)
    assert {
        oci.BASE_NAME: f"{fake.host}/team/base:1",
        oci.BASE_DIGEST: str(digest),
    } == dict(built.manifest.annotations)
    assert [True] * 4 == [one.cached for one in build(spec, store).layers]


def test_of_an_index_only_the_platforms_own_is_fetched(
    tmp_path: Path, fake: Gate, store: MemoryStore
) -> None:
    source = index()
    publish(fake, source)
    assert source.root is not None
    amd64 = oci.decode_index(source.blobs[source.root.digest], "test").manifests[0]
    spec = write(tmp_path, on(fake.host))
    lock(spec, store, config=CONFIG)

    built = build(spec, store)

    manifest = oci.decode_manifest(source.blobs[amd64.digest], "test")
    blobs = [manifest.config, *manifest.layers]
    assert {
        "manifests/1",
        f"manifests/{amd64.digest}",
        *(f"blobs/{blob.digest}" for blob in blobs),
    } == {*gets(fake)}
    assert len(gets(fake)) == len({*gets(fake)})
    assert str(amd64.digest) == dict(built.manifest.annotations)[oci.BASE_DIGEST]


def test_two_platforms(tmp_path: Path, fake: Gate, store: MemoryStore) -> None:
    publish(fake, index())
    spec = write(tmp_path, on(fake.host), image=BOTH)
    lock(spec, store, config=CONFIG)

    one, other = build(spec, store).platforms

    assert one.layers[0].blob != other.layers[0].blob
    assert one.layers[-1].blob == other.layers[-1].blob


def test_what_was_fetched_needs_no_network_any_more(
    tmp_path: Path, fake: Gate, store: MemoryStore
) -> None:
    publish(fake, index())
    spec = write(tmp_path, on(fake.host), image=BOTH)
    lock(spec, store, config=CONFIG)
    with pytest.raises(SourceError, match=r"offline, and .*: 127\.0\.0\.1:\d+/team/base:1 layer"):
        build(spec, store, offline=True)
    first = build(spec, store)
    fake.asked.clear()

    write(tmp_path, on(fake.host) + layer("files", "more", entries=[]), image=BOTH)
    assert first.digest != build(spec, store, offline=True).digest
    write(tmp_path, layer("image", "top", from_="web.toml"), "top.toml", image=BOTH)
    assert build(tmp_path / "top.toml", store, offline=True)
    assert [] == fake.asked


def test_offline_without_the_manifest(tmp_path: Path, fake: Gate, store: MemoryStore) -> None:
    digest = publish(fake, image())
    spec = write(tmp_path, on(fake.host))
    lock(spec, store, config=CONFIG)
    write(tmp_path, layer("image", "top", from_="web.toml"), "top.toml")

    for name in ("web.toml", "top.toml"):
        with pytest.raises(SourceError, match=f"team/base:1: offline, and {digest} is not in"):
            build(tmp_path / name, MemoryStore(), offline=True)


def test_verify_fetches_nothing_twice(tmp_path: Path, fake: Gate) -> None:
    publish(fake, index())
    spec = write(tmp_path, on(fake.host))
    with Store.open(tmp_path / "store") as store:
        lock(spec, store, config=CONFIG)
        build(spec, store)
        fake.asked.clear()

        assert () == verify(spec, store, config=CONFIG)[1]
    assert [] == fake.asked


def test_layers_are_fetched_side_by_side(tmp_path: Path, fake: Gate, store: MemoryStore) -> None:
    source = image(size=1 << 20)
    publish(fake, source)
    spec = write(tmp_path, on(fake.host))
    lock(spec, store, config=CONFIG)
    layers = {str(blob.digest) for blob in source.manifest.layers}
    all_at_once = threading.Barrier(3, timeout=PATIENCE)

    def meet(asked: Asked) -> None:
        if asked.path.rpartition("/")[2] in layers:
            all_at_once.wait()

    fake.passing = meet
    assert build(spec, store)


@pytest.mark.parametrize("size", [3000, 1 << 20], ids=["small", "large"])
def test_wrong_bytes_are_asked_for_again_and_never_kept(
    tmp_path: Path, fake: Gate, size: int
) -> None:
    source = image(kinds=(oci.LAYER_GZIP,), size=size)
    publish(fake, source)
    (blob,) = source.manifest.layers
    data = bytearray(source.blobs[blob.digest])
    data[len(data) // 2] ^= 1
    spec = write(tmp_path, on(fake.host))
    with Store.open(tmp_path / "store") as store:
        lock(spec, store, config=CONFIG)
        before = State.of(store)
        for _ in range(4):
            fake.plan("GET", str(blob.digest), Answer(body=bytes(data)))
        with pytest.raises(DigestMismatch, match=f"{blob.digest}.* found"):
            build(spec, store)
        assert before == State.of(store)

        fake._planned.clear()
        fake.plan("GET", str(blob.digest), Answer(body=bytes(data)))
        assert blob == build(spec, store).layers[0].blob


def test_a_diff_id_that_does_not_hold_is_refused(tmp_path: Path, fake: Gate) -> None:
    source = image(kinds=(oci.LAYER_GZIP,))
    config = json.loads(source.config)
    config["rootfs"]["diff_ids"] = [str(Digest.of(b"other"))]
    made = source.add(canonical.encode(config), oci.CONFIG)
    source.add_manifest(evolve(source.manifest, config=made))
    publish(fake, source)
    spec = write(tmp_path, on(fake.host))
    with Store.open(tmp_path / "store") as store:
        lock(spec, store, config=CONFIG)
        before = State.of(store)

        with pytest.raises(DigestMismatch, match="diffID: expected"):
            build(spec, store)

        assert before == State.of(store)


@pytest.mark.parametrize("verb", ["lock", "build"])
def test_an_interrupt_ends_it_at_once(shell: Shell, fake: Gate, verb: str) -> None:
    source = image(size=1 << 20)
    publish(fake, source)
    write(shell.folder, on(fake.host))
    if verb == "build":
        assert 0 == shell.run("lock", "web.toml").status
    asked, release = threading.Event(), threading.Event()
    stuck = "manifests/1" if verb == "lock" else str(source.manifest.layers[0].digest)

    def wait(request: Asked) -> None:
        if request.path.endswith(stuck):
            asked.set()
            release.wait(PATIENCE)

    fake.passing = wait
    try:
        with shell.start(verb, "web.toml") as process:
            assert asked.wait(PATIENCE)
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=10.0)
    finally:
        release.set()
    assert (130, "", "interrupted\n") == (process.returncode, out, err)
    assert [] == shell.drafts()


# Pushing


def uploads(requests: list[tuple[str, str]], digest: Digest) -> list[str]:
    """Return how a blob was brought: ``mounted`` or ``sent``, for each time."""
    mounted = ["mounted" for method, path in requests if f"mount={_quoted(digest)}" in path]
    sent = ["sent" for method, path in requests if f"digest={_quoted(digest)}" in path]
    return [*mounted, *sent]


def _quoted(digest: Digest) -> str:
    return str(digest).replace(":", "%3A")


@pytest.mark.tools
@needs.tool("docker-registry")
def test_a_push_sends_the_images_own_layers_only(tmp_path: Path, store: MemoryStore) -> None:
    source = index(size=400_000)
    (tmp_path / "registry").mkdir()
    with distribution.serve(tmp_path / "registry") as registry:
        proxy = Faults(registry.port)
        with proxy.serve() as host:
            copy(source, place(host))
            proxy.seen.clear()
            spec = write(tmp_path, on(host), image=BOTH)
            lock(spec, store, config=CONFIG)
            built = build(spec, store)
            copy(StoreImage("test/web", store), place(host, "team/web"))
            requests = [(seen.method, seen.path) for seen in proxy.seen]
            there = MemoryTransport()
            copy(place(registry.host, "team/web"), there)

    for one in built.platforms:
        *base, own = one.layers
        assert 3 == len(base)
        for taken in base:
            assert ["mounted"] == uploads(requests, taken.blob.digest)
        # A mount is tried for each; this one becomes the upload.
        assert ["mounted", "sent"] == uploads(requests, own.blob.digest)[-2:]
        assert "sent" in uploads(requests, one.manifest.config.digest)
    assert 3 == sum(method == "PUT" and "/uploads/" in path for method, path in requests)
    assert built.digest in there.blobs
    pulled = [path for method, path in requests if method == "GET" and "/blobs/" in path]
    assert len({*pulled}) == len(pulled)
