"""Fixtures of the tests of stores: what holds of one holds of the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from immutable.store import AbstractStore, MemoryStore, Store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def disk(root: Path) -> Iterator[Store]:
    with Store.open(root) as store:
        yield store


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest) -> AbstractStore:
    if request.param == "memory":
        return MemoryStore()
    opened: Store = request.getfixturevalue("disk")
    return opened
