"""A registry in memory, for what the commands say of it."""

from collections.abc import Iterator

import pytest

from tests.support.registry import FakeRegistry


@pytest.fixture
def fake() -> FakeRegistry:
    """A registry without images."""
    return FakeRegistry()


@pytest.fixture
def host(fake: FakeRegistry) -> Iterator[str]:
    """Its host and port, while it serves."""
    with fake.serve() as served:
        yield served
