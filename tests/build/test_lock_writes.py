"""How a lock file gets onto the disk: the new one whole, or the old one and an error."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from immutable import lock, reading
from immutable.errors import LockError, StoreError
from immutable.store import MemoryStore
from tests.support import kinds
from tests.support.command import Shell
from tests.support.disks import fill_up, mounted
from tests.support.specs import CONFIG, layer, write

# Below Python's buffer of a file and above it: the disk refuses the flush, or the write.
SMALL, LARGE = 1, 150

FILES: Final = {"web.toml", "web.lock.toml"}
CALLS: Final = {
    "chmod": ("chmod", "fchmod"),
    "fsync": ("fsync", "fdatasync"),
    "rename": ("rename", "replace", "link"),
}


@pytest.fixture(autouse=True)
def _kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Layer kinds whose pins ask nobody."""
    with kinds.registered(tmp_path / "site", monkeypatch):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "specs"
    path.mkdir()
    return path


def asking(folder: Path, text: str, layers: int = SMALL) -> Path:
    """Write a spec whose lock says `text` in each of its layers."""
    asked = (layer("test-asking", f"n{n}", text=f"{text}-{n}") for n in range(layers))
    return write(folder, "".join(asked))


def locked(spec: Path) -> bytes:
    """Lock `spec`; return the bytes of the lock file."""
    return lock(spec, MemoryStore(), config=CONFIG).path.read_bytes()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def failing(code: int) -> Callable[..., Any]:
    def call(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return call


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Have the kernel refuse what this process writes past `size` bytes of any file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("step", CALLS)
@pytest.mark.parametrize("there", [True, False])
def test_a_step_that_fails_is_an_error_and_leaves_the_old_lock(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, step: str, there: bool
) -> None:
    if there:
        old = locked(asking(folder, "old"))
    spec = asking(folder, "new")
    with monkeypatch.context() as patch:
        for name in CALLS[step]:
            patch.setattr(os, name, failing(code))
        with pytest.raises(StoreError, match=rf"web\.lock\.toml: {os.strerror(code)}"):
            locked(spec)
    if there:
        assert old == (folder / "web.lock.toml").read_bytes()
    assert (FILES if there else {"web.toml"}) == names(folder)
    assert b"new-0" in locked(spec)


def test_a_lock_that_could_not_be_read_again_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = locked(asking(folder, "old"))
    spec = asking(folder, "new", LARGE)
    monkeypatch.setattr(reading, "MAX_WRITTEN", len(old) + 100)
    with pytest.raises(LockError, match=r"web\.lock\.toml: expected at most \d+ bytes"):
        locked(spec)

    assert old == (folder / "web.lock.toml").read_bytes()
    assert FILES == names(folder)


@pytest.mark.parametrize("layers", [SMALL, LARGE])
@pytest.mark.parametrize("room", [0, 100])
def test_a_write_that_fails_is_an_error_and_leaves_the_old_lock(
    folder: Path, layers: int, room: int
) -> None:
    old = locked(asking(folder, "old"))
    spec = asking(folder, "new", layers)
    with (
        no_file_larger_than(room),
        pytest.raises(StoreError, match=r"web\.lock\.toml: File too large"),
    ):
        locked(spec)
    assert old == (folder / "web.lock.toml").read_bytes()
    assert FILES == names(folder)


@pytest.mark.parametrize("layers", [SMALL, LARGE])
def test_a_full_disk_is_an_error_and_leaves_the_old_lock(tmp_path: Path, layers: int) -> None:
    with mounted(tmp_path / "mount") as mount:
        old = locked(asking(mount, "old"))
        spec = asking(mount, "new", layers)
        filler = fill_up(mount)
        with pytest.raises(StoreError, match=r"web\.lock\.toml: No space left .*; make room"):
            locked(spec)
        assert old == (mount / "web.lock.toml").read_bytes()
        assert {*FILES, filler.name} == names(mount)


def test_a_command_that_could_not_write_the_lock_fails(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = asking(shell.folder, "old")
    assert 0 == shell.run("lock", spec).status
    old = (shell.folder / "web.lock.toml").read_bytes()
    asking(shell.folder, "new")
    for name in CALLS["rename"]:
        monkeypatch.setattr(os, name, failing(errno.EIO))

    done = shell.run("lock", spec)

    assert 0 < done.status
    assert "web.lock.toml: Input/output error" in done.err
    assert old == (shell.folder / "web.lock.toml").read_bytes()


@pytest.mark.parametrize("layers", [SMALL, LARGE])
def test_a_lock_is_on_the_disk_before_it_has_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, layers: int
) -> None:
    calls: list[tuple[str, int, int]] = []  # what, inode, bytes

    def noted(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(what: Any, *arguments: Any, **options: Any) -> Any:
            status = os.stat(what)  # noqa: PTH116 - a descriptor or a path
            calls.append((name, status.st_ino, status.st_size))
            return real(what, *arguments, **options)

        return call

    spec = asking(folder, "new", layers)
    with monkeypatch.context() as patch:
        for name in ("fsync", "replace", "rename"):
            patch.setattr(os, name, noted(name))
        data = locked(spec)

    status = (folder / "web.lock.toml").stat()
    assert [
        ("fsync", status.st_ino, len(data)),
        ("replace", status.st_ino, len(data)),
    ] == calls
    assert 0o644 == status.st_mode & 0o7777


@pytest.mark.parametrize("layers", [SMALL, LARGE])
def test_at_every_step_a_reader_sees_the_old_lock_or_the_new(
    folder: Path, monkeypatch: pytest.MonkeyPatch, layers: int
) -> None:
    path = folder / "web.lock.toml"
    seen: list[bytes] = []

    def watched(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            seen.append(path.read_bytes())
            try:
                return real(*arguments, **options)
            finally:
                seen.append(path.read_bytes())

        return call

    old = locked(asking(folder, "old", layers))
    spec = asking(folder, "new", layers)
    with path.open("rb") as reader, monkeypatch.context() as patch:
        for name in (name for names in CALLS.values() for name in names):
            patch.setattr(os, name, watched(name))
        new = locked(spec)
        assert old == reader.read()
    assert [old, new] == list(dict.fromkeys(seen))


def test_readers_beside_a_lock_see_the_old_or_the_new(folder: Path) -> None:
    texts = {text: locked(asking(folder, text, LARGE)) for text in ("old", "new")}
    path, seen, over = folder / "web.lock.toml", set[bytes](), threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.add(path.read_bytes())

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    try:
        for text in ("old", "new", "old"):
            assert texts[text] == locked(asking(folder, text, LARGE))
    finally:
        over.set()
        for thread in readers:
            thread.join()
    assert set(texts.values()) >= seen
