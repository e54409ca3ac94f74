"""Specs made in Python, in a folder: built, locked and verified like those in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import immutable
from immutable import (
    Archive,
    ContainerConfig,
    Files,
    FromImage,
    InlineEntry,
    OtherLayer,
    Spec,
    User,
)
from immutable.build.loading import lock_path
from immutable.errors import LockMissing, LockStale, SpecError
from immutable.oci.digest import Digest
from immutable.spec.lock import Lock, dumps
from immutable.store import MemoryStore
from immutable.testing import assert_reproducible
from tests.support import kinds
from tests.support.archives import END, member
from tests.support.everything import TOOL, everything
from tests.support.specs import CONFIG, build, contents, fill, layer, text, write
from tests.support.web import WebServer

AMD64 = ["linux/amd64"]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def web(*layers: Any, **tables: Any) -> Spec:
    return Spec("shop/web", layers=layers, platforms=AMD64, **tables)


def built(spec: Spec, store: MemoryStore, **options: Any) -> immutable.Image:
    return immutable.build(spec, store, config=CONFIG, **options)


def test_a_spec_in_python_gives_the_digest_that_its_toml_gives(
    tmp_path: Path, store: MemoryStore
) -> None:
    in_toml = build(everything(tmp_path), store)
    spec = Spec(
        "test/web",
        platforms=AMD64,
        layers=[
            Archive("tool", path="tool.tar", sha256=Digest.of(TOOL).hex, target="/opt", strip=1),
            Files(
                "settings",
                entries=[
                    InlineEntry("/etc/motd", text="hello\n"),
                    InlineEntry("/data", directory=True, owner="nodejs", mode="0750"),
                    InlineEntry("/etc/localtime", link="/usr/share/zoneinfo/UTC"),
                ],
            ),
            Files("app", source="app", target="/app", owner="nodejs"),
        ],
        users=[User("nodejs", 1001)],
        config=ContainerConfig(
            user="nodejs",
            workdir="/app",
            env={"NODE_ENV": "production"},
            expose=["3000/tcp"],
            volumes=["/data"],
            cmd=["node", "server.js"],
            labels={"a": "b"},
            stop_signal="SIGTERM",
            healthcheck=immutable.Healthcheck(cmd=["node", "health.js"], interval="30s"),
        ),
    )
    assert in_toml.digest == built(spec, MemoryStore(), folder=tmp_path).digest
    dumped = tmp_path / "dumped.toml"
    dumped.write_text(spec.dumps())
    assert in_toml.digest == build(dumped, MemoryStore()).digest


def test_without_a_folder_files_are_looked_for_in_the_working_folder(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "app", {"a": "1"})
    monkeypatch.chdir(tmp_path)
    assert built(web(Files("app", source="app")), store).digest


def test_a_spec_in_a_file_has_a_folder_already(tmp_path: Path, store: MemoryStore) -> None:
    path = write(tmp_path, layer("files", entries=[{"path": "/a", "text": "1"}]))
    for spec in (path, immutable.load(path)):
        with pytest.raises(SpecError) as caught:
            build(spec, store, folder=tmp_path)  # type: ignore[arg-type]
        expected = f"folder: expected none, as the spec stands in a file, found {str(tmp_path)!r}"
        assert (expected,) == caught.value.faults


def test_what_stands_where_a_file_of_the_spec_would_is_taken_into_the_image(
    tmp_path: Path, store: MemoryStore
) -> None:
    fill(tmp_path, {"web": "1", "web.toml": "2", "web.lock.toml": dumps(Lock())})
    (found,) = built(web(Files("all", source=".")), store, folder=tmp_path).layers
    files = contents(store, found)
    assert ["1", "2"] == [text(files[name]) for name in ("web", "web.toml")]
    assert "web.lock.toml" not in files


@pytest.mark.parametrize(
    ("name", "expected"), [("shop/web", "web.lock.toml"), ("web-1.2", "web-1.2.lock.toml")]
)
def test_a_lock_is_named_by_the_image(name: str, expected: str) -> None:
    assert Path(expected) == lock_path(Spec(name))


def test_a_spec_in_python_is_locked_and_verified_in_its_folder(
    tmp_path: Path, store: MemoryStore
) -> None:
    folder, server = tmp_path / "shop", WebServer(tmp_path / "web")
    folder.mkdir()
    fill(server.folder, {"one.tar": member(b"one", b"1") + END})
    with server.serve() as url:
        spec = web(Archive("one", url=f"{url}/one.tar"))
        path = folder / "web.lock.toml"
        asked = {"folder": folder, "config": CONFIG}

        assert (f"{path}: there is no lock",) == immutable.check(spec, folder=folder, config=CONFIG)
        with pytest.raises(LockMissing) as caught:
            built(spec, store, folder=folder)
        expected = (
            f"{path}: there is no lock, and {folder / 'web'} takes one from outside; "
            "call `immutable.lock`"
        )
        assert expected == str(caught.value)

        locked = immutable.lock(spec, store, folder=folder, config=CONFIG)
        assert (path, True) == (locked.path, path.exists())
        assert () == immutable.check(spec, folder=folder, config=CONFIG)
        image, found = immutable.verify(spec, store, folder=folder, config=CONFIG)
        assert () == found
        again = assert_reproducible(spec, store=store, **asked)  # type: ignore[arg-type]
        assert image.digest == again.digest

        with pytest.raises(LockStale, match=r"; call `immutable\.lock`$"):
            built(web(Archive("one", url=f"{url}/two.tar")), store, folder=folder)


def test_a_relative_folder_is_that_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "shop/app", {"a": "1"})
    monkeypatch.chdir(tmp_path)
    assert assert_reproducible(web(Files("app", source="app")), folder="shop", config=CONFIG)


@pytest.mark.parametrize("tables", [{"created": "git"}, {"tags": ["{git.sha}"]}])
def test_git_does_not_speak_for_what_stands_in_no_file(
    tmp_path: Path, store: MemoryStore, tables: dict[str, Any]
) -> None:
    with pytest.raises(SpecError, match="git: expected a spec in a file"):
        built(web(**tables), store, folder=tmp_path)


def test_a_spec_in_python_builds_upon_one_in_a_file(tmp_path: Path, store: MemoryStore) -> None:
    write(tmp_path, layer("files", entries=[{"path": "/a", "text": "1"}]), "base.toml")
    spec = web(FromImage("base", "base.toml"), Files("app", entries=[InlineEntry("/b", text="2")]))
    assert 2 == len(built(spec, store, folder=tmp_path).layers)


def test_a_base_spec_never_has_the_same_lock(tmp_path: Path, store: MemoryStore) -> None:
    write(tmp_path, layer("files", entries=[{"path": "/a", "text": "1"}]), "web.toml")
    with pytest.raises(SpecError) as caught:
        built(web(FromImage("base", "web.toml")), store, folder=tmp_path)
    expected = "expected a lock of its own, found that of web.toml; call the image otherwise"
    assert (expected,) == caught.value.faults


def test_a_kind_of_another_package_is_written_like_ours(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kinds.registered(tmp_path / "site", monkeypatch):
        path = write(tmp_path, layer("test-plain", text="hello"))
        expected = build(path, store).digest
        for written in (kinds.WrittenPlain("app", text="hello"), named("app", text="hello")):
            spec = Spec("test/web", platforms=AMD64, layers=[written])
            assert immutable.load(path) == spec
            assert expected == built(spec, store).digest


def named(name: str, **options: str) -> OtherLayer:
    return OtherLayer(name, "test-plain", **options)


def test_options_of_another_kind_that_cannot_be_written_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kinds.registered(tmp_path / "site", monkeypatch):
        good = OtherLayer("good", "test-shouting", text="a", table={"b": {"c": [1]}})
        (tmp_path / "good.toml").write_text(Spec("web", layers=[good]).dumps())
        assert Spec("web", layers=[good]) == immutable.load(tmp_path / "good.toml")
        faults = [unwritten(key, value) for key, value in (("number", "7"), ("stars", "*"))]
    told = "the kind 'test-shouting' does not say how its options are written, see "
    told += "`immutable.spec.toml.parsed_by`"
    assert [
        f'layer "bad": number: expected a string, found the integer 7; {told}',
        f'layer "bad": comes back from TOML as something else; {told}',
    ] == faults


def unwritten(key: str, value: str) -> str:
    spec = Spec("web", layers=[OtherLayer("bad", "test-shouting", **{key: value})])
    with pytest.raises(SpecError) as caught:
        spec.dumps()
    (fault,) = caught.value.faults
    return fault
