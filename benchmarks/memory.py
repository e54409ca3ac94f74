"""Peak memory while a 2 GB file becomes a layer, and while a decompression bomb is read."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

from benchmarks.contest import workplace

_GIB = 1 << 30
_PIECE = 1 << 20


def main() -> None:
    """Build both in processes of their own and print their peaks, against 150 MB."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", type=int, default=2_000_000_000, help="the file's bytes")
    options.add_argument("--bomb", type=int, default=10 * _GIB, help="the bomb's bytes")
    given = options.parse_args()
    with workplace() as work:
        folder = work / "big"
        folder.mkdir()
        _noise(folder / "file", given.size)
        _report("a file of 2 GB", _build(work, 'kind = "files"\nsource = "big"'), refused=False)
        (folder / "file").unlink()
        digest = _bomb(work / "bomb.tar.gz", given.bomb)
        layer = f'kind = "archive"\npath = "bomb.tar.gz"\nsha256 = "{digest}"'
        _report("a bomb of 10 GiB of zeros", _build(work, layer), refused=True)


def _noise(path: Path, size: int) -> None:
    block = b"".join(n.to_bytes(4, "little") * (n % 7 + 1) for n in range(1 << 16))
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(block[: size - file.tell()])


def _bomb(path: Path, size: int) -> str:
    info = tarfile.TarInfo("zeros")
    info.size = size
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(info.tobuf())
        for _ in range(size // _PIECE):
            file.write(bytes(_PIECE))
        file.write(bytes(1024))
    with path.open("rb") as stored:
        return hashlib.file_digest(stored, "sha256").hexdigest()


def _build(work: Path, layer: str) -> subprocess.CompletedProcess[str]:
    spec = work / "spec.toml"
    spec.write_text(
        f'spec-version = 1\n[image]\nname = "bench/memory"\n[[layer]]\nname = "layer"\n{layer}\n'
    )
    command = [
        sys.executable,
        "-m",
        "immutable",
        "--store",
        str(work / "store"),
        "build",
        str(spec),
    ]
    return subprocess.run(
        [sys.executable, "-c", _MEASURE, *command], capture_output=True, text=True, check=False
    )


_MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.stderr)
"""


def _report(what: str, done: subprocess.CompletedProcess[str], *, refused: bool) -> None:
    status, peak, *said = done.stdout.split(maxsplit=2)
    outcome = "refused" if status == "1" else "built" if status == "0" else f"exit {status}"
    print(f"  {what:<28} peak {int(peak) / 1024:6.1f} MiB of 143.1 (150 MB), {outcome}")
    if (status == "1") != refused or status not in ("0", "1"):
        sys.exit(" ".join(said) or done.stderr)
    if refused:
        print(f"    {' '.join(said).strip()}")


if __name__ == "__main__":
    main()
