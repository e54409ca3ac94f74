"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from immutable.config import private
from tests.support import distribution, needs
from tests.support.command import Shell, environment
from tests.support.distribution import Distribution
from tests.support.registry import FakeRegistry

# A shell that starts a job in the background has it ignore interrupts, and all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
# With another umask others could write the settings and stores that tests make: they are refused.
os.umask(0o022)

# For .ci/full, which has time.
settings.register_profile("long", max_examples=2000)


@pytest.fixture
def shared_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this user's group be one that others are in."""
    monkeypatch.setattr(private, "_is_private_group", lambda _: False)


@pytest.fixture
def engine() -> Iterator[Any]:
    """A client of the Docker engine; tests that ask for it have the mark ``needs.engine()``."""
    import docker

    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture
def repository(engine: Any) -> Iterator[str]:
    """A repository in the engine whose images are gone after the test."""
    name = f"immutable-test/{secrets.token_hex(8)}"
    yield name
    for image in engine.images.list(name):
        engine.images.remove(image.id, force=True)


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """A user's shell in an empty folder."""
    environ = environment(tmp_path)
    for name in os.environ:
        if name.startswith(("IMMUTABLE_", "XDG_")) or name == "SOURCE_DATE_EPOCH":
            monkeypatch.delenv(name)
    for name in ("HOME", "IMMUTABLE_STORE"):
        monkeypatch.setenv(name, environ[name])
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Shell(folder, capsys, environ)


@pytest.fixture
def fake() -> FakeRegistry:
    """A registry in memory."""
    return FakeRegistry()


@pytest.fixture
def host(fake: FakeRegistry) -> Iterator[str]:
    """Where `fake` is served."""
    with fake.serve() as served:
        yield served


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    """A registry on disk, of another make, for all tests of a module."""
    with distribution.serve(tmp_path_factory.mktemp("registry")) as served:
        yield served


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that skipped anything, for whatever reason."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if needs.nothing_may_skip() and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
