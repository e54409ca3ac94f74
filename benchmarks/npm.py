"""The npm layer of several hundred packages, fetched already, against npm ci and docker build.

Needs npm with a registry, and a Docker engine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from benchmarks.contest import Contestant, empty, hold, workplace
from benchmarks.fetched import ours, run

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
            [ours(work, _SPEC), theirs(work)],
            given.rounds,
        )
    subprocess.run(["docker", "rmi", "--force", _IMAGE], capture_output=True, check=False)


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


if __name__ == "__main__":
    main()
