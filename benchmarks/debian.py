"""The python image from its lock, packages fetched already, against mmdebstrap's minbase.

Needs a Debian mirror, root (for mmdebstrap's chroot), and bookworm's keyring.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.contest import Contestant, empty, hold, workplace

_SPEC = Path(__file__).parent.parent / "specs" / "python.toml"


def main() -> None:
    """Fetch once, then hold the contest without the network."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    with workplace() as work:
        hold(
            "Debian's Python from its lock, linux/amd64, packages fetched already",
            [ours(work), mmdebstrap(work)],
            given.rounds,
        )


def ours(work: Path) -> Contestant:
    """`immutable build` with the packages in the store and no layer built."""
    fetched, store = work / "fetched", work / "store"
    build = [sys.executable, "-m", "immutable", "--store"]
    rest = ["build", str(_SPEC), "--platform", "linux/amd64"]
    subprocess.run([*build, str(fetched), *rest], check=True, capture_output=True)
    sources = work / "sources.py"
    sources.write_text(_SOURCES)

    def prepare() -> None:
        empty(store)
        subprocess.run(
            [sys.executable, str(sources), str(_SPEC), str(fetched), str(store)], check=True
        )

    return Contestant("immutable build", [*build, str(store), *rest, "--offline"], prepare)


# Gives a new store the packages and nothing else.
_SOURCES = """
import sys
from pathlib import Path
import immutable
from immutable.build.loading import load_lock

spec, fetched, store = sys.argv[1:]
lock = load_lock(immutable.load(spec))
with immutable.Store.open(Path(fetched)) as old, immutable.Store.open(Path(store)) as new:
    for digest in {pin.sha256 for layer in lock.layer for pin in layer.pin}:
        if old.has_blob(digest):
            new.put_blob(old.read_blob(digest, limit=1 << 30))
"""


def mmdebstrap(work: Path) -> Contestant:
    """`mmdebstrap --variant=minbase` to a tar, its packages in a cache that apt reads."""
    cache, out = work / "cache", work / "minbase.tar"
    archives = "/var/cache/apt/archives"
    cache.mkdir()
    command = [
        "mmdebstrap",
        "--variant=minbase",
        "--mode=root",
        "--architectures=amd64",
        "--aptopt=APT::Keep-Downloaded-Packages true",
        "--skip=essential/unlink",
        f"--setup-hook=mkdir -p $1{archives} && cp -a {cache}/. $1{archives}/",
        f"--customize-hook=cp -a $1{archives}/. {cache}/",
        "bookworm",
        str(out),
    ]
    return Contestant("mmdebstrap --variant=minbase", command, needs="mmdebstrap")


if __name__ == "__main__":
    main()
