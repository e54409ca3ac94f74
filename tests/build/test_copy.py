"""The library's `copy`: of built images and of references, to registries and elsewhere."""

from pathlib import Path

import pytest

import immutable
from immutable.config import Registries
from immutable.errors import TagTaken, TransportError
from immutable.store import MemoryStore
from tests.support.command import HELLO
from tests.support.registry import FakeRegistry


def built(folder: Path, text: str = "hello", *tags: str) -> immutable.Image:
    spec = folder / "hello.toml"
    quoted = ", ".join(f'"{tag}"' for tag in tags)
    spec.write_text(HELLO.format(name="web", platforms='"linux/amd64"', tags=quoted, text=text))
    return immutable.build(spec, MemoryStore())


def test_a_built_image_keeps_its_name_and_all_its_tags(
    tmp_path: Path, fake: FakeRegistry, host: str
) -> None:
    image = built(tmp_path, "hello", "1.0", "1")
    root = immutable.copy(image, f"docker://{host}", registries=Registries())
    assert image.digest == root.digest
    assert {"1.0": image.digest, "1": image.digest} == fake.repository("web").tags
    immutable.copy(image, f"oci:{tmp_path}/out")
    assert image.digest == immutable.copy(f"oci:{tmp_path}/out:web:1.0", f"oci:{tmp_path}/b").digest


def test_a_registrys_tag_moves_only_if_it_is_asked_to(
    tmp_path: Path, fake: FakeRegistry, host: str
) -> None:
    old, new = built(tmp_path, "hello", "1"), built(tmp_path, "changed", "1")
    place = f"docker://{host}/web:1"
    immutable.copy(old, place, registries=Registries())
    with pytest.raises(TagTaken) as caught:
        immutable.copy(new, place, registries=Registries())
    assert (old.digest, new.digest) == (caught.value.holds, caught.value.wanted)
    assert place == caught.value.reference
    assert {"1": old.digest} == fake.repository("web").tags
    immutable.copy(new, place, registries=Registries(), replace_tag=True)
    assert {"1": new.digest} == fake.repository("web").tags


def test_a_stores_tag_moves_only_if_it_is_asked_to(tmp_path: Path) -> None:
    old, new = built(tmp_path, "hello"), built(tmp_path, "changed")
    store = MemoryStore()
    for image in (old, new):
        immutable.copy(image, f"oci:{tmp_path}/out:{image.digest.hex}")
    source = f"oci:{tmp_path}/out"
    immutable.copy(f"{source}:{old.digest.hex}", "web:1", store=store)
    with pytest.raises(TagTaken, match=f"store:web:1: the tag is on {old.digest}"):
        immutable.copy(f"{source}:{new.digest.hex}", "web:1", store=store)
    assert 1 == len(store.generations("web"))
    immutable.copy(f"{source}:{new.digest.hex}", "web:1", store=store, replace_tag=True)
    assert new.digest == store.resolve("web:1").digest


def test_latest_can_be_read_and_not_written(tmp_path: Path, fake: FakeRegistry, host: str) -> None:
    image = built(tmp_path, "hello", "1")
    immutable.copy(image, f"docker://{host}/web", registries=Registries())
    fake.repository("web").tags["latest"] = image.digest
    latest = f"docker://{host}/web:latest"
    for place in (latest, f"oci:{tmp_path}/out:latest", "docker-daemon:web:latest", "web:latest"):
        with pytest.raises(TransportError, match="latest names no version"):
            immutable.copy(f"docker://{host}/web:1", place, registries=Registries())
    root = immutable.copy(latest, f"oci:{tmp_path}/out", registries=Registries())
    assert image.digest == root.digest
