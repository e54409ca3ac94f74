"""What some tests need of the machine; as marks: ``@needs.tool("skopeo")``.

Without it a test is skipped with the reason. With ``IMMUTABLE_CI`` set it is run all the same,
and fails by the lack: a CI that skips in silence tests nothing.
"""

from __future__ import annotations

import functools
import gc
import os
import shutil
import warnings

import pytest

from immutable.config import Config
from immutable.errors import ImmutableError


def network() -> pytest.MarkDecorator:
    """A mirror of Debian's packages, as this machine is configured."""
    return _need(_network_lack())


def registry() -> pytest.MarkDecorator:
    """npm, and a registry of its packages, as this machine is configured."""
    return _need(_registry_lack() if shutil.which("npm") else "npm is not installed")


def engine() -> pytest.MarkDecorator:
    """A Docker engine that answers."""
    return _need(_engine_lack())


def tool(name: str) -> pytest.MarkDecorator:
    """A program on the path."""
    return _need("" if shutil.which(name) else f"{name} is not installed")


def root() -> pytest.MarkDecorator:
    """The rights of root."""
    return _need("" if os.geteuid() == 0 else "not root")


def overlay() -> pytest.MarkDecorator:
    """The kernel's overlayfs, and the rights to mount it."""
    from tests.support.overlay import lack

    return _need(lack())


def memory() -> pytest.MarkDecorator:
    """A file system in memory, with room for an image with a compiler."""
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return _need("/dev/shm is not there")
    enough = found.f_bavail * found.f_frsize >= 1 << 30
    return _need("" if enough else "/dev/shm has less than 1 GiB free")


def nothing_may_skip() -> bool:
    """Whether this is CI, which has to have everything."""
    return os.environ.get("IMMUTABLE_CI", "") not in ("", "0")


def _need(lack: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(bool(lack) and not nothing_may_skip(), reason=lack or "met")


@functools.cache
def _network_lack() -> str:
    import requests

    try:
        mirrors = Config.load().mirrors_of("debian", "bookworm")
        url = f"{mirrors.urls[0]}/dists/bookworm/InRelease"
        answer = requests.head(url, timeout=5, allow_redirects=True)
    except ImmutableError as error:
        return f"no mirror is configured: {error}"
    except requests.RequestException as error:
        return f"the configured mirror cannot be reached: {type(error).__name__}"
    return "" if answer.ok else f"the configured mirror answers {answer.status_code}"


@functools.cache
def _registry_lack() -> str:
    import requests

    from immutable.sources.npm.registry import registries

    config = Config.load()
    try:
        url = registries("express", config)[0]
        answer = requests.head(f"{url}/express", timeout=5, verify=config.npm.cafile or True)
    except ImmutableError as error:
        return f"no registry is configured: {error}"
    except requests.RequestException as error:
        return f"the configured registry cannot be reached: {type(error).__name__}"
    return "" if answer.ok else f"the configured registry answers {answer.status_code}"


@functools.cache
def _engine_lack() -> str:
    lack = _asked_engine()
    with warnings.catch_warnings():
        # Where there is none, docker's client leaves its socket to the collector, which would
        # warn of it in the middle of whatever test runs then.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    return lack


def _asked_engine() -> str:
    import docker

    try:
        client = docker.from_env(timeout=5)
        try:
            client.ping()
        finally:
            client.close()
    except (docker.errors.DockerException, OSError) as error:
        return f"no Docker engine answers: {type(error).__name__}"
    return ""
