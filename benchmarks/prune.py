"""Pruning a store of many generations: time and peak memory over a curve of sizes.

Each generation has eight layers of its own beside its config and manifest: ten blobs. All but the
last hundred generations expire. A store is made anew for each size, by writing the layout as other
tools would; the database is then made from it, which is not timed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.contest import workplace
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, ImageConfig, Index, Manifest
from immutable.oci.platforms import Platform
from immutable.store import Store

_KEPT = 100
_LAYERS = 8
_TIME = "2024-01-01T00:00:00Z"
_CREATED = "org.opencontainers.image.created"
_PRUNE = """
import resource, sys, time
from pathlib import Path
from immutable.config import Config
from immutable.lifecycle.prune import prune
from immutable.lifecycle.retention import Policy
from immutable.store import Store
with Store.open(Path(sys.argv[1])) as store:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    done = prune(store, Policy(keep_last=int(sys.argv[2])), config=Config.load())
    spent = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(len(done.expired), spent, before >> 10, peak >> 10, store.info().blobs)
"""


def main() -> None:
    """Print a line for each size."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 5000, 10_000])
    given = options.parse_args()
    print("generations    blobs   expired   seconds  peak memory  of it before")
    for size in given.sizes:
        with workplace() as work:
            root = work / "store"
            blobs = _make(root, size)
            done = subprocess.run(
                [sys.executable, "-c", _PRUNE, str(root), str(_KEPT)],
                capture_output=True,
                text=True,
                check=True,
            )
            expired, spent, before, peak, left = done.stdout.split()
            assert int(left) == _KEPT * (_LAYERS + 2)
            memory = f"{peak:>8} MiB {before:>9} MiB"
            print(f"{size:11} {blobs:8} {expired:>9} {float(spent):9.2f} {memory}")


def _make(root: Path, generations: int) -> int:
    """Make a store with so many generations of one image; return how many blobs it has."""
    with Store.open(root):
        pass
    (root / "immutable.db").unlink()
    folder = root / "blobs" / "sha256"
    named = []
    for number in range(1, generations + 1):
        layers = [_blob(folder, f"layer {number} {n}".encode(), oci.LAYER) for n in range(_LAYERS)]
        config = ImageConfig(Platform("linux", "amd64"), _TIME, tuple(d.digest for d in layers))
        described = _blob(folder, config.encode(), oci.CONFIG)
        manifest = Manifest(described, tuple(layers)).encode()
        root_ = _blob(folder, manifest, oci.MANIFEST)
        name = f"bench/web@{number}"
        named.append(root_.annotated(**{oci.REF_NAME: name, _CREATED: _TIME}))
    named.append(root_.annotated(**{oci.REF_NAME: "bench/web"}))
    (root / "index.json").write_bytes(Index(tuple(named)).encode())
    with Store.open(root) as store:
        return store.info().blobs


def _blob(folder: Path, data: bytes, media_type: str) -> Descriptor:
    digest = Digest.of(data)
    (folder / digest.hex).write_bytes(data)
    return Descriptor(media_type, digest, len(data))


if __name__ == "__main__":
    main()
