"""The verb `lock`: pins what is asked for, and changes only what must change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from immutable import check, lock
from immutable.build.lock import Change
from immutable.errors import (
    FetchError,
    LockError,
    LockMissing,
    LockStale,
    SpecError,
    StoreError,
)
from immutable.store import MemoryStore
from tests.support import kinds
from tests.support.archives import END, member
from tests.support.specs import CONFIG, build, layer, write
from tests.support.web import WebServer

ONE, TWO = member(b"one", b"1") + END, member(b"two", b"2") + END


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def web(tmp_path: Path) -> WebServer:
    server = WebServer(tmp_path / "web")
    server.folder.mkdir()
    (server.folder / "one.tar").write_bytes(ONE)
    (server.folder / "two.tar").write_bytes(TWO)
    return server


@pytest.fixture
def url(web: WebServer) -> Iterator[str]:
    with web.serve() as base:
        yield base


def both(url: str) -> str:
    return layer("archive", "one", url=f"{url}/one.tar") + layer(
        "archive", "two", url=f"{url}/two.tar"
    )


def test_what_is_asked_for_is_pinned_and_told(tmp_path: Path, url: str, store: MemoryStore) -> None:
    locked = lock(write(tmp_path, both(url)), store, config=CONFIG)

    assert locked.written
    assert tmp_path / "web.lock.toml" == locked.path
    assert ["one", "two"] == [entry.name for entry in locked.lock.layer]
    assert [("one", "one.tar", ""), ("two", "two.tar", "")] == [
        (change.layer, change.name, change.old) for change in locked.changes
    ]
    assert "127.0.0.1" not in locked.path.read_text().replace(url, "")


def test_a_second_lock_asks_nobody_and_writes_nothing(
    tmp_path: Path, web: WebServer, url: str, store: MemoryStore
) -> None:
    spec = write(tmp_path, both(url))
    first = lock(spec, store, config=CONFIG)
    web.requests.clear()
    before = first.path.stat()

    second = lock(spec, store, config=CONFIG)

    assert [] == web.requests
    assert (first.lock, (), False) == (second.lock, second.changes, second.written)
    assert before == first.path.stat()


def test_only_the_layer_that_changed_is_resolved(
    tmp_path: Path, web: WebServer, url: str, store: MemoryStore
) -> None:
    first = lock(write(tmp_path, both(url)), store, config=CONFIG)
    (web.folder / "one.tar").write_bytes(TWO)  # must not be noticed
    (web.folder / "new.tar").write_bytes(ONE)
    web.requests.clear()

    second = lock(write(tmp_path, both(url).replace("two.tar", "new.tar")), store, config=CONFIG)

    assert ["/new.tar"] == web.requests
    assert first.lock.layer[0] == second.lock.layer[0]
    assert (
        Change("two", "new.tar", "", "", second.lock.layer[1].pin[0].sha256.short),
        Change("two", "two.tar", "", first.lock.layer[1].pin[0].sha256.short, ""),
    ) == second.changes


def test_a_layer_on_a_changed_one_of_its_kind_keeps_its_pin(
    tmp_path: Path, web: WebServer, url: str, store: MemoryStore
) -> None:
    first = lock(write(tmp_path, both(url)), store, config=CONFIG)
    (web.folder / "two.tar").write_bytes(b"moved on")
    (web.folder / "new.tar").write_bytes(ONE)

    second = lock(write(tmp_path, both(url).replace("one.tar", "new.tar")), store, config=CONFIG)

    assert first.lock.layer[1] == second.lock.layer[1]


def test_a_layer_is_resolved_again_where_its_ground_has_changed(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*texts: str) -> list[str]:
        layers = (layer("test-asking", f"n{n}", text=text) for n, text in enumerate(texts))
        found = lock(write(tmp_path, "".join(layers)), store, config=CONFIG).lock
        return [entry.pin[0].version for entry in found.layer]

    with kinds.registered(tmp_path / "site", monkeypatch):
        assert ["", "a"] == locked("a", "b")
        assert ["", "c"] == locked("c", "b")
        assert ["", "c", "c+b"] == locked("c", "b", "d")
        assert [""] == locked("c")


def test_upgrade_takes_what_is_there_now(
    tmp_path: Path, web: WebServer, url: str, store: MemoryStore
) -> None:
    spec = write(tmp_path, both(url))
    old = lock(spec, store, config=CONFIG).lock
    (web.folder / "one.tar").write_bytes(TWO)
    (web.folder / "two.tar").write_bytes(ONE)

    one = lock(spec, store, config=CONFIG, upgrade=["one"])
    assert (True, False) == tuple(
        new != was for new, was in zip(one.lock.layer, old.layer, strict=True)
    )

    everything = lock(spec, store, config=CONFIG, upgrade=True)
    assert {"one", "two"} >= {change.layer for change in everything.changes} == {"two"}


def test_an_unknown_layer_to_upgrade_is_named(tmp_path: Path, url: str, store: MemoryStore) -> None:
    spec = write(tmp_path, both(url))

    with pytest.raises(SpecError, match="no layer 'ones' takes from outside; did you mean 'one'"):
        lock(spec, store, config=CONFIG, upgrade=["ones"])


def test_another_platform_keeps_the_pins(
    tmp_path: Path, web: WebServer, url: str, store: MemoryStore
) -> None:
    free = "# whatever the machine's platforms are"
    spec = write(tmp_path, both(url), image=free)
    first = lock(spec, store, config=CONFIG)
    web.requests.clear()

    second = lock(spec, store, config=evolve(CONFIG, machine="aarch64"))

    assert [] == web.requests
    assert ["linux/amd64", "linux/arm64"] == [str(p) for p in second.lock.layer[0].platforms]
    assert first.lock.layer[0].pin == second.lock.layer[0].pin
    assert () == check(spec, config=CONFIG) == check(spec, config=evolve(CONFIG, machine="arm64"))


def test_a_spec_that_asks_for_nothing_gets_no_lock(tmp_path: Path, store: MemoryStore) -> None:
    locked = lock(write(tmp_path, ""), store, config=CONFIG)

    assert not locked.written
    assert not locked.path.exists()


def test_what_is_no_longer_asked_for_leaves_the_lock(
    tmp_path: Path, url: str, store: MemoryStore
) -> None:
    lock(write(tmp_path, both(url)), store, config=CONFIG)
    spec = write(tmp_path, "")
    assert 2 == len(check(spec, config=CONFIG))

    locked = lock(spec, store, config=CONFIG)

    assert locked.written
    assert () == locked.lock.layer
    assert () == check(spec, config=CONFIG)
    assert build(spec, store)


def test_a_refused_lock_leaves_the_old_one(
    tmp_path: Path, web: WebServer, url: str, store: MemoryStore
) -> None:
    path = lock(write(tmp_path, both(url)), store, config=CONFIG).path
    before = path.read_bytes()
    spec = write(tmp_path, both(url).replace("two.tar", "none.tar"))

    with pytest.raises(FetchError, match=r"none\.tar: cannot be fetched\n.*404"):
        lock(spec, store, config=CONFIG)

    assert before == path.read_bytes()
    assert {"web.toml", "web.lock.toml", "web"} == {item.name for item in tmp_path.iterdir()}


def test_a_lock_that_cannot_be_written_is_named(
    tmp_path: Path, url: str, store: MemoryStore
) -> None:
    spec = write(tmp_path, both(url))
    (tmp_path / "web.lock.toml").mkdir()

    with pytest.raises((SpecError, LockError, StoreError), match=r"web\.lock\.toml"):
        lock(spec, store, config=CONFIG)


# lock --check


def test_check_says_what_is_stale(tmp_path: Path, url: str, store: MemoryStore) -> None:
    spec = write(tmp_path, both(url))
    assert (f"{tmp_path}/web.lock.toml: there is no lock",) == check(spec, config=CONFIG)

    lock(spec, store, config=CONFIG)
    assert () == check(spec, config=CONFIG)

    write(tmp_path, both(url).replace("two.tar", "new.tar"))
    (reason,) = check(spec, config=CONFIG)
    assert reason.startswith('layer "two" ')


@pytest.mark.parametrize("change", ["crlf", "comment", "blank lines"])
def test_how_a_lock_is_written_does_not_count(
    tmp_path: Path, url: str, store: MemoryStore, change: str
) -> None:
    spec = write(tmp_path, both(url))
    path = lock(spec, store, config=CONFIG).path
    text = path.read_text()
    match change:
        case "crlf":
            text = text.replace("\n", "\r\n")
        case "comment":
            text = "# hands off\n" + text
        case "blank lines":
            text = text.replace("\n", "\n\n")
    path.write_bytes(text.encode())

    assert () == check(spec, config=CONFIG)
    assert build(spec, store)
    assert not lock(spec, store, config=CONFIG).written


def test_a_truncated_lock_is_refused(tmp_path: Path, url: str, store: MemoryStore) -> None:
    spec = write(tmp_path, both(url))
    path = lock(spec, store, config=CONFIG).path
    path.write_bytes(path.read_bytes()[:-40])

    for attempt in (
        lambda: check(spec, config=CONFIG),
        lambda: lock(spec, store, config=CONFIG),
        lambda: build(spec, store),
    ):
        with pytest.raises(LockError, match=r"web\.lock\.toml"):
            attempt()


def test_what_specs_beneath_hold_counts_as_there(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asking(text: str) -> str:
        return layer("test-asking", text, text=text) if text else ""

    def write_all(lowest: str, middle: str) -> list[Path]:
        on_lowest = layer("image", "image", from_="lowest.toml")
        on_middle = layer("image", "image", from_="middle.toml")
        return [
            write(tmp_path, asking(lowest), "lowest.toml"),
            write(tmp_path, on_lowest + asking(middle), "middle.toml"),
            write(tmp_path, on_middle + asking("top"), "top.toml"),
        ]

    def locked(*paths: Path) -> list[str]:
        found = [lock(path, store, config=CONFIG).lock for path in paths]
        return [entry.pin[0].version for one in found for entry in one.layer]

    with kinds.registered(tmp_path / "site", monkeypatch):
        paths = write_all("a", "b")
        with pytest.raises(LockMissing, match=r"lowest\.lock\.toml: there is no lock"):
            lock(paths[2], store, config=CONFIG)
        assert ["", "a", "a+b"] == locked(*paths)
        assert not lock(paths[2], store, config=CONFIG).written
        assert () == check(paths[2], config=CONFIG)

        paths = write_all("c", "b")
        assert [""] == locked(paths[0])
        (reason,) = check(paths[2], config=CONFIG)
        assert 'layer "top" has beneath = "' in reason
        with pytest.raises(LockStale, match=r"top\.lock\.toml: stale: layer \"top\" has beneath"):
            build(paths[2], store)
        assert ["c", "c+b"] == locked(*paths[1:])
        assert build(paths[2], store)

        assert [""] == locked(write_all("", "b")[1])


def test_circles_of_specs_are_refused(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kinds.registered(tmp_path / "site", monkeypatch):
        text = layer("test-asking", text="a")
        write(tmp_path, layer("image", "image", from_="web.toml") + text, "base.toml")
        (tmp_path / "base.lock.toml").write_text("lock-version = 1\n")
        spec = write(tmp_path, layer("image", "image", from_="base.toml") + text)
        with pytest.raises(SpecError, match=r"in a circle: web\.toml → base\.toml → web\.toml"):
            lock(spec, store, config=CONFIG)
