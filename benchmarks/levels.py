"""What each gzip level costs and saves on trees of code, Debian packages and wheels.

Compresses the very chunks that a layer of the tree has, level by level, beside zlib at its own
default. Then builds each tree whole, at some levels, beside umoci. Counts processor time alone,
of one core, so that other work on the machine matters little.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import define, evolve, field

from benchmarks.contest import Contestant, empty, workplace
from benchmarks.layer import umoci
from immutable import cli
from immutable.content import compression, tar
from immutable.content.compression import CHUNK, cut
from immutable.content.entries import Entry, arrange, directory, file, symlink
from immutable.oci.digest import Digest

_LEVELS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12)
_BASE = 4  # that sizes are compared with
_PACKAGES = [
    "coreutils",
    "git",
    "libc6",
    "libicu72",
    "libnode108",
    "libpython3.11-stdlib",
    "libssl3",
    "openssl",
    "perl-base",
    "python3.11-minimal",
]
_WHEELS = ["cryptography", "django", "numpy", "pydantic-core"]


@define
class Way:
    """A way to compress, and what it took of each chunk: the least of all rounds, in seconds."""

    name: str
    compress: Callable[[bytes], bytes]
    size: int = 0
    there: dict[int, float] = field(factory=dict)
    back: dict[int, float] = field(factory=dict)

    def run(self, number: int, chunk: bytes) -> None:
        """Compress a chunk and decompress it, as a pull does, by zlib."""
        began = time.thread_time()
        frame = self.compress(chunk)
        made = time.thread_time()
        if zlib.decompress(frame, wbits=31) != chunk:
            sys.exit(f"{self.name}: chunk {number} does not come back")
        done = time.thread_time()
        if number not in self.there:
            self.size += len(frame)
        self.there[number] = min(made - began, self.there.get(number, math.inf))
        self.back[number] = min(done - made, self.back.get(number, math.inf))


def main() -> None:
    """Take or make the trees; measure each."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folders", nargs="*", type=Path, help="trees; without any, it makes three")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--size", type=int, default=64_000_000, help="bytes of chunks of a tree")
    options.add_argument("--builds", type=int, nargs="*", default=[1, 2, 3, 4, 5, 6, 8])
    options.add_argument("--build-at", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.build_at is not None:
        sys.exit(_build_at(given.build_at, *given.folders))
    with workplace() as work:
        for tree in given.folders or _trees(work):
            curve(tree, given.size, given.rounds)
            builds(work, tree, given.builds, given.rounds)


def curve(tree: Path, size: int, rounds: int) -> None:
    """Print speed and size of each level on about `size` bytes of the tree's chunks."""
    chunks = _sample(tree, size)
    ways = [Way(f"libdeflate {level}", _libdeflate(level)) for level in _LEVELS]
    ways += [Way(f"zlib {level}", _zlib(level)) for level in (1, 6)]
    for _ in range(rounds):
        for number, chunk in enumerate(chunks):
            for way in ways:
                way.run(number, chunk)
    total = sum(map(len, chunks))
    base = next(way for way in ways if way.name == f"libdeflate {_BASE}")
    print(f"\n{tree.name}: {len(chunks)} chunks, {total / 1e6:.1f} MB, {rounds} rounds in turn")
    print("  way             MB/s      size  against 4  kB saved a ms   MB/s back")
    for before, way in zip([None, *ways], ways, strict=False):
        there, back = (total / 1e6 / sum(seconds.values()) for seconds in (way.there, way.back))
        more = f"{way.size / base.size - 1:+.1%}"
        gain = f"{_gain(before, way):.1f}" if before and way.name.startswith("lib") else ""
        share = f"{way.size / total:.2%}"
        print(f"  {way.name:<13} {there:6.0f}  {share:>8}  {more:>9}  {gain:>13}  {back:10.0f}")


def _gain(before: Way, way: Way) -> float:
    """Return how many kB a level saves for each further ms of a core that it takes.

    That is also how many MB/s a network may carry for the level to pay off with one transfer.
    """
    spent = sum(way.there.values()) - sum(before.there.values())
    return (before.size - way.size) / 1e6 / spent if spent > 0 else math.inf


def builds(work: Path, tree: Path, levels: Sequence[int], rounds: int) -> None:
    """Print what a whole build of the tree takes at each level, as its only layer."""
    spec, store = work / "tree.toml", work / "store"
    spec.write_text(
        'spec-version = 1\n[image]\nname = "bench/tree"\n[[layer]]\nname = "tree"\nkind = "files"\n'
        f'source = "{tree.resolve()}"\ntarget = "/app"\n'
    )
    own = [sys.executable, "-m", "benchmarks.levels", str(store), str(spec), "--build-at"]
    contestants = [
        (Contestant(f"build at {level}", [*own, str(level)], lambda: empty(store)), store)
        for level in levels
    ]
    contestants.append((umoci(work, tree), work / "umoci"))
    present = [(one, place) for one, place in contestants if not one.missing]
    seconds: dict[str, list[float]] = {one.name: [] for one, _ in present}
    sizes: dict[str, int] = {}
    for _ in range(rounds):
        for one, place in present:
            seconds[one.name].append(_spent(one))
            sizes[one.name] = max(blob.stat().st_size for blob in place.glob("blobs/sha256/*"))
    for name, spent in seconds.items():
        print(f"  {name:<13} {min(spent):6.2f} s of a core {sizes[name] / 1e6:8.1f} MB")


def _spent(one: Contestant) -> float:
    """Return how many seconds of a core a contestant took in user mode, preparations too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    one.run()
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def _build_at(level: int, store: Path, spec: Path) -> int:
    """Build in this process as the command line does, but with another gzip level."""
    known = compression._ENCODERS
    other = evolve(known["gzip"], level=level)
    known["gzip"] = evolve(other, fingerprint=Digest.of(other.frame(compression.probe())))
    return cli.main(["--store", str(store), "build", str(spec)])


def _libdeflate(level: int) -> Callable[[bytes], bytes]:
    chosen = evolve(compression.encoder("gzip"), level=level)
    return chosen.frame


def _zlib(level: int) -> Callable[[bytes], bytes]:
    return lambda chunk: zlib.compress(chunk, level, wbits=31)


def _sample(tree: Path, size: int) -> list[bytes]:
    """Return about `size` bytes of a layer's chunks, taken evenly from all of it."""
    chunks = list(map(bytes, tar.chunks(arrange([_entries(tree)], mtime=0), cut, CHUNK)))
    step = max(1, round(sum(map(len, chunks)) / size))
    return chunks[::step]


def _entries(tree: Path) -> Iterator[Entry]:
    for path in tree.rglob("*"):
        name = os.fsencode(path.relative_to(tree))
        if path.is_symlink():
            yield symlink(name, os.fsencode(path.readlink()))
        elif path.is_dir():
            yield directory(name)
        elif path.is_file():
            yield file(name, path.read_bytes())


def _trees(work: Path) -> Iterator[Path]:
    """Give code, packages and wheels, unpacked; those that this machine has or can fetch."""
    yield Path(sysconfig.get_path("stdlib"))
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        archives, tree = work / "archives", work / "packages"
        archives.mkdir()
        subprocess.run(["apt-get", "-qq", "download", *_PACKAGES], cwd=archives, check=True)
        for package in sorted(archives.glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", str(package), str(tree)], check=True)
        yield tree
    archives, tree = work / "downloads", work / "wheels"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "--dest", str(archives), *_WHEELS], check=True)
    for wheel in sorted(archives.glob("*.whl")):
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(tree)
    yield tree


if __name__ == "__main__":
    main()
