"""The verb `inspect`: what a program gets to know of an image."""

import json
from pathlib import Path

import pytest

import immutable
from immutable.errors import ImageNotFound
from immutable.explain.inspect import inspect, inspected_document
from immutable.oci.platforms import Platform
from immutable.store import MemoryStore
from immutable.transports import copy
from tests.support import specs
from tests.support.images import index
from tests.support.specs import CONFIG

BOTH = 'platforms = ["linux/amd64", "linux/arm64"]'
LAYER = specs.layer("files", "motd", entries=[{"path": "/etc/motd", "text": "hello"}])


def test_an_image_of_the_store_is_found_with_its_generation(tmp_path: Path) -> None:
    with MemoryStore() as store:
        image = immutable.build(specs.write(tmp_path, LAYER, image=BOTH), store, config=CONFIG)
        found = inspect("test/web", store)
    assert (image.descriptor, image.size, 1) == (
        found.root,
        found.size,
        found.generation and found.generation.number,
    )
    assert [(one.image.descriptor.digest, one.manifest, one.config) for one in image.platforms] == [
        (one.descriptor.digest, one.manifest, one.config) for one in found.platforms
    ]


def test_one_elsewhere_has_none(tmp_path: Path) -> None:
    place = f"oci:{tmp_path / 'out'}:x"
    with MemoryStore() as store:
        copy(index(1), place)
        found = inspect(place, store)
        document = inspected_document(found)
    assert (None, place) == (found.generation, document["name"])
    assert (None, None, []) == (document["generation"], document["created"], document["tags"])


def test_what_is_not_there_is_refused() -> None:
    with MemoryStore() as store, pytest.raises(ImageNotFound):
        inspect("nothing", store)


def test_its_config_is_the_stored_one(tmp_path: Path) -> None:
    with MemoryStore() as store:
        image = immutable.build(specs.write(tmp_path, LAYER), store, config=CONFIG)
        document = inspected_document(inspect("test/web", store))
        stored = json.loads(store.read_blob(image.manifest.config.digest))
    (platform,) = document["platforms"]
    assert (str(Platform("linux", "amd64")), stored) == (platform["platform"], platform["config"])
