"""The npm layer of several hundred packages, fetched already, against npm ci and docker build.

Needs npm with a registry, and a Docker engine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.contest import Contestant, empty, hold, workplace

_WANTED = {
    "dependencies": {"express": "4", "webpack": "5", "webpack-cli": "5", "eslint": "9"},
    "devDependencies": {"jest": "29", "typescript": "5", "@babel/preset-env": "7"},
}
_SPEC = """
spec-version = 1
[image]
name = "bench/npm"
platforms = ["linux/amd64"]
[[layer]]
name = "dependencies"
kind = "npm"
lockfile = "app/package-lock.json"
target = "/app"
"""
_IMAGE = "immutable-bench-npm"


def main() -> None:
    """Make a lockfile and fetch once, then hold the contest without the network."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    with workplace() as work:
        app = work / "app"
        app.mkdir()
        (app / "package.json").write_text(json.dumps({"name": "bench", **_WANTED}))
        run(app, "npm", "install", "--package-lock-only", "--cache", str(work / "cache"))
        packages = json.loads((app / "package-lock.json").read_text())["packages"]
        hold(
            f"A node_modules of {len(packages) - 1} packages, fetched already",
            [ours(work), theirs(work)],
            given.rounds,
        )
    subprocess.run(["docker", "rmi", "--force", _IMAGE], capture_output=True, check=False)


def ours(work: Path) -> Contestant:
    """`immutable build` with the packages in the store and no layer built."""
    fetched, store, spec = work / "fetched", work / "store", work / "web.toml"
    spec.write_text(_SPEC)
    immutable = [sys.executable, "-m", "immutable", "--store"]
    run(work, *immutable, str(fetched), "lock", str(spec))
    sources = work / "sources.py"
    sources.write_text(_SOURCES)

    def prepare() -> None:
        empty(store)
        run(work, sys.executable, str(sources), str(spec), str(fetched), str(store))

    command = [*immutable, str(store), "build", str(spec), "--offline"]
    return Contestant("immutable build", command, prepare)


# Gives a new store the packages and nothing else.
_SOURCES = """
import sys
from pathlib import Path
import immutable
from immutable.plan import load_lock

spec, fetched, store = sys.argv[1:]
lock = load_lock(immutable.load(spec))
with immutable.Store.open(Path(fetched)) as old, immutable.Store.open(Path(store)) as new:
    for digest in {pin.sha256 for layer in lock.layer for pin in layer.pin}:
        new.put_blob(old.read_blob(digest, limit=1 << 30))
"""


def theirs(work: Path) -> Contestant:
    """`npm ci` from npm's cache, and `docker build` of an image that holds what it made."""
    app, cache = work / "app", work / "cache"
    (work / "Dockerfile").write_text("FROM scratch\nCOPY app/node_modules /app/node_modules\n")
    (work / ".dockerignore").write_text("*\n!app\n")
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(cache)]
    run(app, *install)
    steps = f"cd {app} && {' '.join(install)} --offline && "
    steps += f"docker build --no-cache --quiet --tag {_IMAGE} {work}"

    def prepare() -> None:
        empty(app / "node_modules")

    return Contestant("npm ci --offline, docker build", ["sh", "-c", steps], prepare, needs="npm")


def run(folder: Path, *command: str) -> None:
    """Run a command that is not timed."""
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


if __name__ == "__main__":
    main()
