"""Fixtures of the tests of lifecycles: what holds of one store holds of the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from immutable.store import AbstractStore, MemoryStore, Store


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AbstractStore]:
    made = MemoryStore() if request.param == "memory" else Store.open(tmp_path / "store")
    with made:
        yield made
