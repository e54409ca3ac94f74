"""What a build gives, as a value."""

from pathlib import Path

import pytest

import immutable
from immutable.store import MemoryStore
from immutable.transports.store import StoreSource
from immutable.transports.tree import gather, total_size
from tests.support import specs
from tests.support.specs import CONFIG


@pytest.mark.parametrize("platforms", ['"linux/amd64"', '"linux/amd64", "linux/arm64"'])
def test_the_size_of_an_image_is_that_of_its_blobs_each_once(
    tmp_path: Path, platforms: str
) -> None:
    layer = specs.layer("files", "motd", entries=[{"path": "/etc/motd", "text": "hello"}])
    path = specs.write(tmp_path, layer, image=f"platforms = [{platforms}]")
    with MemoryStore() as store:
        image = immutable.build(path, store, config=CONFIG)
        stored = gather(StoreSource(image.name, image.descriptor, store))
        assert total_size(stored) == image.size
