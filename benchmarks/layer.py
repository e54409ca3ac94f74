"""A tree of 60,000 files and 800 MB into one layer: immutable, umoci insert, docker build."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.contest import Contestant, empty, hold, workplace
from benchmarks.trees import make_tree


def main() -> None:
    """Make the tree, hold the contest, print the blobs' sizes."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--files", type=int, default=60_000)
    options.add_argument("--size", type=int, default=800_000_000, help="bytes")
    given = options.parse_args()
    with workplace() as work:
        tree = work / "context" / "tree"
        make_tree(tree, files=given.files, size=given.size)
        hold(
            f"{given.files} files, {given.size / 1e6:.0f} MB into a layer",
            [ours(work, tree), umoci(work, tree), docker(work)],
            given.rounds,
        )
        for name in ("store", "umoci"):
            size = sum(path.stat().st_size for path in work.glob(f"{name}/blobs/sha256/*"))
            print(f"  {name + ' blobs':<34} {size / 1e6:8.1f} MB")


def ours(work: Path, tree: Path) -> Contestant:
    """`immutable build` into an empty store."""
    spec = work / "tree.toml"
    spec.write_text(
        'spec-version = 1\n[image]\nname = "bench/tree"\n'
        f'[[layer]]\nname = "tree"\nkind = "files"\nsource = "{tree}"\ntarget = "/app"\n'
    )
    store = work / "store"
    command = [sys.executable, "-m", "immutable", "--store", str(store), "build", str(spec)]
    return Contestant("immutable build", command, prepare=lambda: empty(store))


def umoci(work: Path, tree: Path) -> Contestant:
    """`umoci insert` into an image without layers."""
    layout = work / "umoci"

    def prepare() -> None:
        empty(layout)
        subprocess.run(["umoci", "init", "--layout", str(layout)], check=True)
        subprocess.run(["umoci", "new", "--image", f"{layout}:tree"], check=True)

    command = ["umoci", "insert", "--image", f"{layout}:tree", str(tree), "/app"]
    return Contestant("umoci insert", command, prepare, needs="umoci")


def docker(work: Path) -> Contestant:
    """`docker build` of FROM scratch and one COPY, with nothing cached."""
    context = work / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY tree /app\n")
    command = ["docker", "build", "--no-cache", "--quiet", "--force-rm", str(context)]
    return Contestant("docker build", command, environment={"DOCKER_BUILDKIT": "0"}, needs="docker")


if __name__ == "__main__":
    main()
