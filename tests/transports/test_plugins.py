"""Transports of other packages: named in an entry point, written as ours are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from immutable import copy
from immutable.errors import TransportError
from immutable.store import MemoryStore
from immutable.transports import destinations, parse, plugins
from tests.support.command import Shell
from tests.support.specs import build, fill, layer, write

SPEC = layer("files", entries=[{"path": "/etc/motd", "text": "hi"}])
# A whole transport in one file: `count:FILE` writes how many blobs it was given, and of what size.
MODULE = """
from immutable.errors import TransportError
from immutable.transports.base import Called


class Count:
    def __init__(self, path):
        self.path = path

    def __str__(self):
        return f"count:{self.path}"

    def called(self):
        return Called()

    def open(self):
        raise TransportError(f"{self}: a count holds no image")

    def takes(self):
        return None

    def receive(self, image, progress):
        sizes = [len(image.read(blob)) for blob in image.blobs]
        with open(self.path, "w") as file:
            file.write(f"{len(sizes)} {image.root.digest}")


def parse(rest, around):
    if not rest:
        raise ValueError("expected a path")
    return Count(rest)
"""
POINTS = """
[immutable.transports]
count = counting:parse
lost = counting:gone
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package with two transports, of which one cannot be loaded."""
    info = "counting-1.dist-info"
    fill(
        tmp_path / "site",
        {
            "counting.py": MODULE,
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: counting\nVersion: 1\n",
            f"{info}/entry_points.txt": POINTS,
        },
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    plugins.cache_clear()
    yield
    plugins.cache_clear()
    sys.modules.pop("counting", None)


def test_an_image_goes_there_as_to_ours(tmp_path: Path) -> None:
    store = MemoryStore()
    image = build(write(tmp_path, SPEC), store)
    file = tmp_path / "counted"
    copy(image, f"count:{file}", store=store)

    assert f"2 {image.digest}" == file.read_text()


def test_a_build_puts_it_out(shell: Shell) -> None:
    spec = write(shell.folder, SPEC)
    file = shell.folder / "counted"

    assert 0 == shell.run("build", spec, "-o", f"count:{file}").status
    assert file.read_text().startswith("2 sha256:")


def test_what_cannot_follow_its_colon_is_told_with_the_reference() -> None:
    with pytest.raises(TransportError, match=r"^count:: expected a path$"):
        parse("count:")


def test_one_that_cannot_be_loaded_is_told_by_name() -> None:
    with pytest.raises(TransportError, match=r"^transport lost: counting:gone cannot be loaded"):
        parse("lost:/x")


def test_what_reads_as_a_name_of_the_store_is_one() -> None:
    store = MemoryStore()

    assert "store:count:1" == str(parse("count:1", store=store))
    assert "count://1" == str(parse("count://1", store=store))


def test_an_unknown_one_is_refused_with_those_there_are() -> None:
    with pytest.raises(TransportError, match=r"there is .*store:, count:, lost:, docker://$"):
        parse("qqqqqq:/x")


@pytest.mark.parametrize("reference", ["count:/x", "count:"])
def test_they_count_as_transports(reference: str) -> None:
    assert destinations.has_transport(reference)
