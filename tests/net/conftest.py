"""Fixtures of the tests of HTTP: a folder that is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.web import WebServer


@pytest.fixture
def web(tmp_path: Path) -> WebServer:
    (tmp_path / "web").mkdir()
    return WebServer(tmp_path / "web")


@pytest.fixture
def url(web: WebServer) -> Iterator[str]:
    with web.serve() as base:
        yield base
