"""A root file system of 200,000 paths: how long it takes to make, keep and open, and a look-up."""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from immutable.build.contents import StoredRootfs, make
from immutable.build.pack import pack
from immutable.content import compression
from immutable.content.contents_format import dumps, loads
from immutable.content.entries import Entry, arrange, file, symlink
from immutable.content.rootfs import Rootfs
from immutable.oci.documents import Descriptor
from immutable.store import AbstractStore, Store

_LOOKS = 20_000


def main() -> None:
    """Make the layers once; then measure each step in a process of its own."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--paths", type=int, default=200_000)
    options.add_argument("--layers", type=int, default=6)
    options.add_argument("--step", choices=("make", "open"), help=argparse.SUPPRESS)
    options.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.step is not None:
        with Store.open(given.work / "store") as store:
            (_make if given.step == "make" else _open)(given.work, store)
        return
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        with Store.open(work / "store") as store:
            _put(work, store, given.paths, given.layers)
        print(f"{given.paths} paths in {given.layers} layers")
        for step in ("make", "open"):
            command = [sys.executable, "-m", "benchmarks.rootfs", "--step", step]
            subprocess.run([*command, "--work", str(work)], check=True)


def _put(work: Path, store: AbstractStore, paths: int, layers: int) -> None:
    """Put layers into the store: names as of packages, half of the files in shared folders."""
    chosen = compression.encoder("gzip")
    with ThreadPoolExecutor(2) as pool:
        for number in range(layers):
            entries = arrange([list(_entries(number, paths // layers))], mtime=0)
            _, blob = pack(entries, chosen, store, pool, jobs=2)
            with (work / "layers").open("a") as listing:
                listing.write(f"{blob.media_type} {blob.digest.hex} {blob.size}\n")


def _entries(layer: int, count: int) -> Iterator[Entry]:
    chance = random.Random(layer)
    for number in range(count):
        package, folder = number // 120, number // 15 % 8
        top = b"usr/lib" if number % 2 else b"app/node_modules"
        path = b"%b/package-%d/source-%d/file-%d-%d.js" % (top, package, folder, layer, number)
        if number % 20 == 0:
            yield symlink(path, b"file-%d-%d.js" % (layer, number + 1))
        else:
            data = chance.randbytes(chance.randrange(200))
            yield file(path, data, uid=number % 3, mode=0o755 if number % 7 == 0 else 0o644)


def _layers(work: Path) -> list[Descriptor]:
    from immutable.oci.digest import Digest

    lines = (work / "layers").read_text().splitlines()
    return [
        Descriptor(kind, Digest(digest), int(size)) for kind, digest, size in map(str.split, lines)
    ]


def _make(work: Path, store: AbstractStore) -> None:
    start = time.process_time()
    size = paths = 0
    for number, blob in enumerate(_layers(work)):
        contents = make(store, blob)
        data = dumps(contents)
        (work / f"contents-{number}").write_bytes(data)
        size += len(data)
        paths += len(contents)
    _say("contents from the blobs", time.process_time() - start, "s")
    print(f"  {'contents kept':<36} {size / 1e6:10.2f} MB, {size / paths:.0f} bytes a path")
    _peak()


def _open(work: Path, store: AbstractStore) -> None:
    before = _resident()
    start = time.process_time()
    blobs = _layers(work)
    contents = [
        loads((work / f"contents-{number}").read_bytes(), name="layer")
        for number in range(len(blobs))
    ]
    root = Rootfs(contents)
    _say("open", (time.process_time() - start) * 1e3, "ms")
    print(f"  {'memory, once open':<36} {_resident() - before:10.2f} MB more than before")
    start = time.process_time()
    paths = [found.path for found in root]
    took = time.process_time() - start
    _say(f"walk over {len(paths)} paths", took, f"s, {took / len(paths) * 1e6:.1f} µs a path")
    chance = random.Random(1)
    some = chance.choices(paths, k=_LOOKS)
    for what, look in (
        ("first", root.find),
        ("again", root.find),
        ("links followed", root.resolve),
    ):
        start = time.process_time()
        for path in some:
            look(path)
        _say(f"look-up, {what}", (time.process_time() - start) / _LOOKS * 1e6, "µs")
    start = time.process_time()
    for path in some:
        root.find(path + b"-")
    _say("look-up of what is not there", (time.process_time() - start) / _LOOKS * 1e6, "µs")
    del paths
    _read(StoredRootfs(store, tuple(blobs), root), some[:200])
    _peak()


def _read(root: StoredRootfs, some: list[bytes]) -> None:
    start = time.process_time()
    for path in some:
        root.read(path, limit=1 << 20)
    _say("one file's bytes", (time.process_time() - start) / len(some) * 1e3, "ms")


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _peak() -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(f"  {'peak memory of the process':<36} {peak:10.2f} MB")


def _say(what: str, value: float, unit: str) -> None:
    print(f"  {what:<36} {value:10.2f} {unit}")


if __name__ == "__main__":
    main()
