"""The promise of ``npm`` layers, held against npm itself on a lockfile of hundreds of packages."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import immutable
from immutable.config import Config
from immutable.entries import Entry, Kind
from tests.support import needs
from tests.support.specs import contents, layer, write

pytestmark = [pytest.mark.network, needs.registry()]

# With bundled packages (npm), one for another system (fsevents, of jest), aliases, and workspaces
# with packages of their own.
PROJECT = {
    "name": "app",
    "version": "1.0.0",
    "workspaces": ["packages/*"],
    "dependencies": {
        "eslint": "9",
        "express": "4",
        "jest": "29",
        "npm": "10",
        "other-name": "npm:lodash@4",
        "react": "18",
        "webpack": "5",
        "webpack-cli": "5",
    },
    "devDependencies": {"nodemon": "3", "typescript": "5"},
}
WORKSPACE = {
    "name": "@app/one",
    "version": "1.0.0",
    "bin": "cli.js",
    "dependencies": {"debug": "3"},
}


def npm(folder: Path, cache: Path, *arguments: str) -> None:
    """Run npm with a usual umask, and nothing but its registry asked for."""
    quiet = ("--no-audit", "--no-fund", "--no-update-notifier", "--cache", str(cache))
    done = subprocess.run(
        ("npm", *arguments, *quiet),
        cwd=folder,
        umask=0o022,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert 0 == done.returncode, done.stderr


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its lockfile, and npm's cache beside it."""
    work = tmp_path_factory.mktemp("npm")
    one = work / "app" / "packages" / "one"
    one.mkdir(parents=True)
    (work / "app" / "package.json").write_text(json.dumps(PROJECT))
    (one / "package.json").write_text(json.dumps(WORKSPACE))
    (one / "cli.js").write_text("#!/usr/bin/env node\n")
    hostless = "--omit-lockfile-registry-resolved"
    npm(work / "app", work / "cache", "install", "--package-lock-only", hostless)
    return work


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[immutable.Store]:
    with immutable.Store.open(tmp_path_factory.mktemp("store")) as opened:
        yield opened


@pytest.mark.parametrize("omit", [[], ["dev"]], ids=["all", "production"])
def test_node_modules_equals_npm_s(work: Path, store: immutable.Store, omit: list[str]) -> None:
    app = work / "app"
    listed = json.loads((app / "package-lock.json").read_text())["packages"]
    assert 500 < len(listed)
    spec = layer("npm", "dependencies", lockfile="app/package-lock.json", target="/app", omit=omit)
    path = write(work, spec, image=f'platforms = ["linux/{_architecture()}"]')
    immutable.lock(path, store)
    image = immutable.build(path, store)

    npm(app, work / "cache", "ci", "--ignore-scripts", *(f"--omit={kind}" for kind in omit))

    expected = dict(on_disk(app, "node_modules", "packages/one/node_modules"))
    found = dict(in_layer(contents(store, image.layers[0])))
    assert expected.keys() == found.keys()
    differing = {
        path: (expected[path], found[path]) for path in expected if expected[path] != found[path]
    }
    assert {} == differing


def _architecture() -> str:
    from immutable.platforms import Platform

    return Platform.of_machine(Config.load().machine).architecture


def on_disk(root: Path, *folders: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield (path, what is there) of all that is in `folders`."""
    for folder in folders:
        yield folder, _described(root / folder)
        for above, names, files in os.walk(root / folder):
            for name in (*names, *files):
                path = Path(above, name)
                yield str(path.relative_to(root)), _described(path)


def _described(path: Path) -> tuple[Any, ...]:
    state = path.lstat()
    if stat.S_ISLNK(state.st_mode):
        return ("link", str(path.readlink()))
    mode = stat.S_IMODE(state.st_mode)
    if stat.S_ISDIR(state.st_mode):
        return ("directory", mode)
    return ("file", mode, hashlib.sha256(path.read_bytes()).hexdigest())


def in_layer(entries: Mapping[str, Entry]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield what `on_disk` does, of a layer."""
    for path, entry in entries.items():
        if "/node_modules" not in path:
            continue
        name = path.removeprefix("app/")
        if entry.kind is Kind.SYMLINK:
            yield name, ("link", entry.target.decode())
        elif entry.kind is Kind.DIRECTORY:
            yield name, ("directory", entry.mode)
        else:
            assert entry.content is not None
            data = b"".join(entry.content.read())
            yield name, ("file", entry.mode, hashlib.sha256(data).hexdigest())


def test_native_packages_are_of_the_image_s_architecture(
    tmp_path: Path, work: Path, store: immutable.Store
) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "package.json").write_text(json.dumps({"name": "app", "dependencies": {"rollup": "4"}}))
    npm(app, work / "cache", "install", "--package-lock-only")
    spec = layer("npm", "dependencies", lockfile="app/package-lock.json", target="/app")
    path = write(tmp_path, spec, image='platforms = ["linux/amd64", "linux/arm64"]')
    immutable.lock(path, store)

    image = immutable.build(path, store)

    # ELF, e_machine: 0x3e is x86-64, 0xb7 is AArch64.
    for built, machine in zip(image.platforms, (0x3E, 0xB7), strict=True):
        assert {machine} == set(_machines(contents(store, built.layers[0])))


def _machines(entries: Mapping[str, Entry]) -> Iterator[int]:
    for entry in entries.values():
        if entry.kind is Kind.FILE and entry.content is not None:
            head = b"".join(entry.content.read())[:20]
            if head.startswith(b"\x7fELF"):
                yield int.from_bytes(head[18:20], "little")


def test_npm_runs_what_we_lay_out(work: Path, store: immutable.Store, tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node is not None
    spec = layer("npm", "dependencies", lockfile="app/package-lock.json", target="/app")
    path = write(work, spec, "run.toml", image=f'platforms = ["linux/{_architecture()}"]')
    immutable.lock(path, store)
    entries = contents(store, immutable.build(path, store).layers[0])
    for name, entry in entries.items():
        place = tmp_path / name
        if entry.kind is Kind.DIRECTORY:
            place.mkdir(parents=True)
        elif entry.kind is Kind.SYMLINK:
            place.symlink_to(os.fsdecode(entry.target))
        elif entry.content is not None:
            place.write_bytes(b"".join(entry.content.read()))
            place.chmod(entry.mode)
    done = subprocess.run(
        (tmp_path / "app/node_modules/.bin/tsc", "--version"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("Version 5.")
    # npm takes the tree for its own: nothing is missing, nothing is too much.
    shutil.copytree(work / "app" / "packages", tmp_path / "app" / "packages", dirs_exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(work / "app" / name, tmp_path / "app")
    npm(tmp_path / "app", work / "cache", "ls", "--all")
