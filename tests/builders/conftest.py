"""Fixtures of the tests of layer kinds."""

from __future__ import annotations

import pytest

from immutable.store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()
