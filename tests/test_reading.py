"""Files that a user names: what is no regular file is refused at once, others are read whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from immutable.build import loading
from immutable.builders.npm import project
from immutable.config import Keyring, _read_user_file
from immutable.config.apt import read_apt_sources
from immutable.config.keys import read_keys
from immutable.config.registries import RegistryTable, read_registries
from immutable.errors import ImmutableError
from immutable.lifecycle.prune import read_policy
from immutable.reading import Window, read_file
from immutable.sources.debian import release
from immutable.transports.registry import connections
from tests.support.hanging import at_once

NOW = datetime(2024, 1, 1, tzinfo=UTC)
READERS: dict[str, Callable[[Path], object]] = {
    "a spec": loading.load,
    "a policy": read_policy,
    "an npm lockfile": project.read_file,
    "a requirements file": lambda path: loading.reader(path.parent)(path.name),
    "a user file": _read_user_file,
    "a key": lambda path: read_keys({"IMMUTABLE_SECRET_KEY_FILE": str(path)}, path.parent)._own(),
    "trusted keys": lambda path: list(
        read_keys({}, path.rename(path.with_name("trusted-keys")).parent)._listed()
    ),
    "a keyring": lambda path: release.load_keys(Keyring("it", (path,)), NOW),
    "an authority": lambda path: connections._context((path,)),
}
WORDS = "expected a regular file, found a FIFO"


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "web.toml"
    os.mkfifo(path, 0o600)
    return path


@pytest.mark.parametrize("what", READERS)
def test_a_fifo_in_the_place_of_a_file_is_refused_at_once(fifo: Path, what: str) -> None:
    with at_once(), pytest.raises(ImmutableError, match=WORDS):
        READERS[what](fifo)


def test_a_fifo_in_the_place_of_a_lock_is_refused_at_once(tmp_path: Path) -> None:
    spec = tmp_path / "web.toml"
    spec.write_text('spec-version = 1\n[image]\nname = "web"\n')
    os.mkfifo(tmp_path / "web.lock.toml")

    with at_once(), pytest.raises(ImmutableError, match=r"web\.lock\.toml: " + WORDS):
        loading.load_lock(loading.load(spec))


def test_a_fifo_in_the_place_of_logins_is_their_fault(fifo: Path) -> None:
    with at_once():
        (found,) = read_registries({"REGISTRY_AUTH_FILE": str(fifo)}, RegistryTable()).auth_files

    assert f"cannot be read: {WORDS}" == found.fault


def test_a_fifo_among_apt_s_sources_says_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sources.list")

    with at_once():
        assert [] == list(read_apt_sources(tmp_path))


@pytest.mark.parametrize(
    ("path", "words"), [("/dev/zero", "found a device"), ("/", "Is a directory")]
)
def test_devices_and_folders_are_refused(path: str, words: str) -> None:
    with at_once(), pytest.raises(OSError, match=words):
        read_file(path, 10)


def test_a_file_of_proc_is_read_to_its_end() -> None:
    assert Path("/proc/version").read_bytes() == read_file("/proc/version", 1 << 20)


def test_more_than_the_budget_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(10))

    assert bytes(10) == read_file(path, 10)
    with pytest.raises(OSError, match="larger than 9 bytes"):
        read_file(path, 9)


def test_a_spec_may_come_through_a_pipe_of_the_shell() -> None:
    reading, writing = os.pipe()
    os.write(writing, b'spec-version = 1\n[image]\nname = "web"\n')
    os.close(writing)
    try:
        with at_once():
            assert "web" == loading.load(f"/dev/fd/{reading}").image.name
    finally:
        os.close(reading)


def test_a_window_shows_its_part_and_leaves_the_file_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        window = Window(file.fileno(), 2, 5)
        buffer = bytearray(3)
        assert [3, 2, 0] == [window.readinto(buffer) for _ in range(3)]
        assert b"23456" == Window(file.fileno(), 2, 5).read()
        assert b"89" == Window(file.fileno(), 8, 5).read()  # the file ends before the window
        assert 0 == os.lseek(file.fileno(), 0, os.SEEK_CUR)
