"""The promise of ``npm`` layers, held against npm itself on a lockfile of hundreds of packages."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

import immutable
from immutable.config import Config
from immutable.content.entries import Entry, EntryKind
from tests.support import needs
from tests.support.npm import integrity, tarball
from tests.support.specs import contents, fill, layer, write

Flags = Sequence[str]
HOSTLESS = "--omit-lockfile-registry-resolved"
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
        "npm": "10",
        "other-name": "npm:lodash@4",
        "react": "18",
    },
    "devDependencies": {"jest": "29", "nodemon": "3", "typescript": "5"},
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
    npm(work / "app", work / "cache", "install", "--package-lock-only", HOSTLESS)
    return work


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[immutable.Store]:
    with immutable.Store.open(tmp_path_factory.mktemp("store")) as opened:
        yield opened


@pytest.mark.parametrize("omit", [[], ["dev"]], ids=["all", "production"])
def test_node_modules_equals_npm_s(work: Path, store: immutable.Store, omit: list[str]) -> None:
    listed = json.loads((work / "app" / "package-lock.json").read_text())["packages"]
    assert 500 < len(listed)
    assert_equal(work, store, "packages/one/node_modules", omit=omit)


def assert_equal(
    work: Path, store: immutable.Store, *folders: str, omit: Sequence[str] = (), flags: Flags = ()
) -> None:
    """Assert that we lay out ``app``, here and in `folders`, as ``npm ci`` does."""
    app = work / "app"
    spec = layer("npm", "dependencies", lockfile="app/package-lock.json", target="/app", omit=omit)
    path = write(work, spec, image=f'platforms = ["linux/{_architecture()}"]')
    immutable.lock(path, store)
    image = immutable.build(path, store)

    left_out = (f"--omit={kind}" for kind in omit)
    npm(app, work / "cache", "ci", "--ignore-scripts", HOSTLESS, *left_out, *flags)

    expected = dict(on_disk(app, "node_modules", *folders))
    found = dict(in_layer(contents(store, image.layers[0])))
    assert expected.keys() == found.keys()
    differing = {
        path: (expected[path], found[path]) for path in expected if expected[path] != found[path]
    }
    assert {} == differing


@frozen
class Shape:
    """A project, with what npm is told when it writes the lockfile and installs."""

    project: Mapping[str, Any]
    files: Mapping[str, str | bytes] = {}
    lock: Flags = ()
    flags: Flags = ()
    omits: Sequence[Sequence[str]] = ((),)
    folders: Sequence[str] = ()
    more: Mapping[str, Any] = {}


def manifest(name: str, **more: Any) -> str:
    return json.dumps({"name": name, "version": "1.0.0", **more})


BUNDLE = tarball(
    {
        "package.json": manifest("@s/bundle", dependencies={"b": "1"}, bundleDependencies=["b"]),
        "node_modules/b/package.json": manifest("b", bin="b.js", dependencies={"c": "1"}),
        "node_modules/b/b.js": "#!/usr/bin/env node\r\n",
        "node_modules/c/package.json": manifest("c"),
        "node_modules/no-package/file": "x",
        "node_modules/.bin/b": "no link",
    }
)
# One that no package asks for, as lockfiles keep them when a workspace is taken away.
STRAY = {"version": "1.0.0", "extraneous": True, "integrity": integrity(b"nobody has this")}
SHAPES = {
    "version 2 and overrides": Shape(
        {
            "dependencies": {"debug": "3", "send": "0.18"},
            "devDependencies": {"nopt": "7"},
            "overrides": {"ms": "2.1.3", "send": {"mime": "1.4.1"}},
        },
        lock=["--lockfile-version", "2"],
        omits=[[], ["dev"]],
    ),
    "peers that conflict": Shape(
        {"dependencies": {"react": "18", "react-dom": "17.0.2"}, "peerDependencies": {"ms": "2"}},
        lock=["--legacy-peer-deps"],
        flags=["--legacy-peer-deps"],
    ),
    "peers left out": Shape(
        {"dependencies": {"use-sync-external-store": "1"}, "peerDependencies": {"ms": "2"}},
        omits=[["peer"], ["peer", "dev", "optional"]],
    ),
    "platforms": Shape(
        {"dependencies": {"esbuild": "0.21", "chokidar": "3"}},
        omits=[[], ["optional"]],
    ),
    "bundled by the project": Shape(
        {"dependencies": {"debug": "3", "chalk": "4"}, "bundleDependencies": ["chalk"]},
    ),
    "archives, folders and itself": Shape(
        {
            "dependencies": {
                "@s/bundle": "file:vendor/bundle.tgz",
                "lib": "file:lib",
                "self": "file:.",
                "ms": "2.1.3",
            },
            "devDependencies": {"dev-lib": "file:dev-lib"},
        },
        {
            "vendor/bundle.tgz": BUNDLE,
            "lib/package.json": manifest("lib", bin="x.js", dependencies={"ms": "2.0.0"}),
            "lib/x.js": "#!/usr/bin/env node\n",
            "dev-lib/package.json": manifest("dev-lib", dependencies={"ms": "2.1.2"}),
        },
        omits=[[], ["dev"]],
        folders=["lib/node_modules", "dev-lib/node_modules"],
    ),
    "strays": Shape(
        {"workspaces": ["packages/{one,two}"], "dependencies": {"ms": "2.1.3"}},
        {"packages/one/package.json": manifest("@s/one", dependencies={"ms": "2.0.0"})},
        folders=["packages/one/node_modules"],
        more={
            "node_modules/stray": STRAY,
            "packages/two": {"name": "two", "extraneous": True},
        },
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_lockfiles_of_every_shape(
    tmp_path: Path, work: Path, store: immutable.Store, name: str
) -> None:
    shape = SHAPES[name]
    app = tmp_path / "app"
    fill(app, {"package.json": manifest("app", **shape.project), **shape.files})
    (tmp_path / "cache").symlink_to(work / "cache")
    npm(app, work / "cache", "install", "--package-lock-only", HOSTLESS, *shape.lock)
    lockfile = app / "package-lock.json"
    document = json.loads(lockfile.read_text())
    document["packages"] |= shape.more
    lockfile.write_text(json.dumps(document, indent=2) + "\n")
    for omit in shape.omits:
        assert_equal(tmp_path, store, *shape.folders, omit=omit, flags=shape.flags)


def _architecture() -> str:
    from immutable.oci.platforms import Platform

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
        if entry.kind is EntryKind.SYMLINK:
            yield name, ("link", entry.target.decode())
        elif entry.kind is EntryKind.DIRECTORY:
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
        if entry.kind is EntryKind.FILE and entry.content is not None:
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
        if entry.kind is EntryKind.DIRECTORY:
            place.mkdir(parents=True)
        elif entry.kind is EntryKind.SYMLINK:
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
