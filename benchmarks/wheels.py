"""The wheels layer of some dozens of packages, fetched already, against pip and docker build.

Needs pip with an index, and a Docker engine.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

from packaging.utils import parse_wheel_filename

from benchmarks.contest import Contestant, empty, hold, workplace
from benchmarks.fetched import ours, run

_WANTED = (
    *("aiohttp", "boto3", "cryptography", "django", "fastapi", "jupyterlab", "lxml", "numpy"),
    *("pandas", "pillow", "pydantic", "requests", "sqlalchemy", "uvicorn"),
)
_TAGS = [
    *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
    *(f"--platform=manylinux_2_{minor}_x86_64" for minor in range(36, 16, -1)),
]
_SPEC = """
spec-version = 1
[image]
name = "bench/wheels"
platforms = ["linux/amd64"]
[[layer]]
name = "dependencies"
kind = "wheels"
lockfile = "requirements.txt"
python = "3.11"
target = "/app/lib"
"""
_IMAGE = "immutable-bench-wheels"
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def main() -> None:
    """Fetch once, then hold the contest without the network."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    with workplace() as work:
        wheels, requirements = work / "wheels", work / "requirements.txt"
        only = "--only-binary=:all:"
        run(work, *_PIP, "download", only, *_TAGS, "--dest", str(wheels), *_WANTED)
        files = sorted(wheels.iterdir())
        requirements.write_text("".join(map(_line, files)))
        size = sum(path.stat().st_size for path in files) >> 20
        hold(
            f"{len(files)} wheels of {size} MiB, linux/amd64, fetched already",
            [ours(work, _SPEC), theirs(work, "--no-compile"), theirs(work)],
            given.rounds,
        )
    subprocess.run(["docker", "rmi", "--force", _IMAGE], capture_output=True, check=False)


def _line(path: Path) -> str:
    name, version, _, _ = parse_wheel_filename(path.name)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def theirs(work: Path, *how: str) -> Contestant:
    """`pip install` from the folder of wheels, and `docker build` of an image with the result."""
    app = work / "app"
    (work / "Dockerfile").write_text("FROM scratch\nCOPY app /app/lib\n")
    (work / ".dockerignore").write_text("*\n!app\n")
    given = ["--no-index", "--no-deps", "--only-binary=:all:", "--require-hashes", "--quiet", *how]
    install = [*_PIP, "install", *given, "--find-links", str(work / "wheels"), *_TAGS]
    steps = " ".join([*install, "--target", str(app), "-r", str(work / "requirements.txt")])
    steps += f" && docker build --no-cache --quiet --tag {_IMAGE} {work}"
    name = " ".join(["pip install", *how]) + ", docker build"
    return Contestant(name, ["sh", "-c", steps], lambda: empty(app), needs="docker")


if __name__ == "__main__":
    main()
