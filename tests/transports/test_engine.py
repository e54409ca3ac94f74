"""Images in a Docker engine: ``docker-daemon:``."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from immutable.errors import DigestMismatch, TransportError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Manifest
from immutable.oci.platforms import Platform
from immutable.reference.docker import DockerName
from immutable.store import MemoryStore
from immutable.transports import copy
from immutable.transports.docker_daemon import DockerDaemon
from tests.support import needs
from tests.support.engine import FakeEngine
from tests.support.images import MemoryTransport, fetched, image, index

NAME = DockerName.parse("shop/web:1.4.0")

# A real engine


@pytest.mark.engine
@needs.engine()
def test_all_the_way_round(tmp_path: Path, engine: Any, repository: str) -> None:
    source = image(11)
    copy(source, f"oci:{tmp_path / 'layout'}")
    copy(f"oci:{tmp_path / 'layout'}", f"oci-archive:{tmp_path / 'oci.tar'}")
    copy(f"oci-archive:{tmp_path / 'oci.tar'}", f"docker-archive:{tmp_path / 'docker.tar'}")
    copy(f"docker-archive:{tmp_path / 'docker.tar'}", f"docker-daemon:{repository}:1")
    assert str(Digest.of(source.config)) == engine.images.get(f"{repository}:1").id
    with MemoryStore() as store:
        copy(f"docker-daemon:{repository}:1", "back", store=store)
        back = MemoryTransport()
        copy("back", back, store=store)
    assert source.config == back.config
    assert list(source.diff_ids) == [layer.digest for layer in back.manifest.layers]
    assert fetched(f"docker-archive:{tmp_path / 'docker.tar'}").blobs == back.blobs


@pytest.mark.engine
@needs.engine()
def test_the_engines_platform_of_an_index(engine: Any, repository: str) -> None:
    copy(index(12), f"docker-daemon:{repository}:1")
    assert engine.version()["Arch"] == engine.images.get(f"{repository}:1").attrs["Architecture"]


@pytest.mark.engine
@needs.engine()
def test_an_image_that_the_engine_has_is_only_named(engine: Any, repository: str) -> None:
    source = image(13)
    copy(source, f"docker-daemon:{repository}:1")
    for layer in source.manifest.layers:
        del source.blobs[layer.digest]
    copy(source, f"docker-daemon:{repository}:2")
    tags = [f"{repository}:1", f"{repository}:2"]
    assert tags == sorted(engine.images.get(f"{repository}:1").tags)


@pytest.mark.engine
@needs.engine()
def test_layers_that_the_engine_has_are_not_sent(engine: Any, repository: str) -> None:
    source = image(14)
    copy(source, f"docker-daemon:{repository}:1")
    upper = image(15, kinds=(oci.LAYER_GZIP,))
    config = json.loads(source.config)
    config["rootfs"]["diff_ids"].append(str(upper.diff_ids[0]))
    del config["history"]
    layers = (*source.manifest.layers, *upper.manifest.layers)
    described = upper.add(json.dumps(config).encode(), oci.CONFIG)
    upper.add_manifest(Manifest(described, layers))  # whose lower layers are not in `upper`
    copy(upper, f"docker-daemon:{repository}:2")
    assert str(described.digest) == engine.images.get(f"{repository}:2").id


@pytest.mark.engine
@needs.engine()
def test_wrong_bytes_are_not_loaded(engine: Any, repository: str) -> None:
    source = image(16)
    digest = source.manifest.layers[-1].digest
    source.blobs[digest] = source.blobs[digest][:-1] + b"?"
    with pytest.raises(DigestMismatch):
        copy(source, f"docker-daemon:{repository}:1")
    assert [] == engine.images.list(repository)


@pytest.mark.engine
@needs.engine()
def test_layers_of_other_diff_ids_are_refused_by_the_engine(engine: Any, repository: str) -> None:
    source = image(17, kinds=(oci.LAYER, oci.LAYER))
    source.add_manifest(evolve(source.manifest, layers=source.manifest.layers[::-1]))
    with pytest.raises(TransportError, match="the engine refused the image: invalid diffID"):
        copy(source, f"docker-daemon:{repository}:1")
    assert [] == engine.images.list(repository)


@pytest.mark.engine
@needs.engine()
def test_an_image_that_the_engine_has_not() -> None:
    with pytest.raises(TransportError, match="the engine has no such image"):
        fetched("docker-daemon:immutable-test/nothing:1")


# Engines that are none


def test_no_engine() -> None:
    with FakeEngine().serve() as host:
        pass
    with pytest.raises(TransportError, match=r"no Docker engine answers: .*set DOCKER_HOST"):
        copy(image(), DockerDaemon(NAME, host))


def send(fake: FakeEngine, source: MemoryTransport | None = None) -> None:
    with fake.serve() as host:
        copy(source or image(), DockerDaemon(NAME, host))


def test_what_the_engine_says_against_an_image() -> None:
    fake = FakeEngine(replies=[(200, [{"stream": "Loading"}, {"error": "no space left"}])])
    with pytest.raises(TransportError, match="the engine refused the image: no space left"):
        send(fake)


def test_an_engine_that_fails() -> None:
    fake = FakeEngine(replies=[(500, [{"message": "out of order"}])])
    with pytest.raises(TransportError, match="out of order"):
        send(fake)


def test_an_engine_that_then_has_another_image() -> None:
    fake = FakeEngine(images={"sha256:other": []}, tags={str(NAME): "sha256:other"})
    fake.replies.append((200, []))
    with pytest.raises(
        TransportError, match=r"expected the image ID sha256:.*, found sha256:other"
    ):
        send(fake)


def test_an_engine_of_an_unknown_platform() -> None:
    with pytest.raises(TransportError, match=r"the engine's platform: .*found 'linux/vax'"):
        send(FakeEngine(architecture="vax"))


def test_the_platform_of_the_engine_counts() -> None:
    source = index(platforms=(Platform("linux", "s390x"), Platform("linux", "riscv64")))
    fake = FakeEngine(architecture="riscv64", replies=[(200, [])])
    fake.images["sha256:other"] = []
    fake.tags[str(NAME)] = "sha256:other"
    with pytest.raises(TransportError, match="expected the image ID"):
        send(fake, source)
    archive = tarfile.open(fileobj=io.BytesIO(fake.loads[0]))  # noqa: SIM115 - in memory
    assert any(member.name.endswith(".json") for member in archive)


def layers_sent(load: bytes) -> int:
    with tarfile.open(fileobj=io.BytesIO(load)) as archive:
        return sum(name.endswith(".tar") for name in archive.getnames())


def test_layers_that_are_gone_after_all_are_sent_then() -> None:
    source = image()
    lower = [str(diff_id) for diff_id in source.diff_ids[:2]]
    fake = FakeEngine(images={"sha256:lower": [*lower, "sha256:another"], "sha256:new": []})
    fake.replies = [(200, [{"error": "no such file"}]), (200, [{"error": "still not"}])]
    with pytest.raises(TransportError, match="still not"):
        send(fake, source)
    assert [1, 3] == [layers_sent(load) for load in fake.loads]


def test_an_engine_on_containerd_gets_all_and_has_other_ids() -> None:
    source = image()
    layers = [str(diff_id) for diff_id in source.diff_ids]
    fake = FakeEngine(images={"sha256:manifest": layers}, tags={str(NAME): "sha256:manifest"})
    fake.driver = "io.containerd.snapshotter.v1"
    fake.replies = [(200, [])]
    send(fake, source)
    assert [3] == [layers_sent(load) for load in fake.loads]
