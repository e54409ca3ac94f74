"""The digests of the specs we ship, on each Python that this machine has.

As a program: ``python -m tests.long.pythons [COMMAND...]`` builds every spec with each Python
and fails unless all digests are the golden ones. With a command, say ``-m pytest``, it runs
that with each Python instead, in an environment with what the tests need.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.support.shipped import DIGESTS, SPECS

ROOT: Final = Path(__file__).parents[2]
OLDEST: Final = (3, 11)
NEWEST: Final = (3, 15)
_ABOUT: Final = "import sys; print(*sys.version_info[:2]); print(sys.version.split()[0])"


@frozen
class Python:
    """An interpreter that we support."""

    version: str
    path: Path

    def prepare(self, folder: Path, extra: str = "") -> Path:
        """Install the checkout, with an extra, into an environment at `folder`; return its Python.

        Raises CalledProcessError when that fails.
        """
        subprocess.run([self.path, "-m", "venv", folder], check=True)
        python = folder / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", "-e", f"{ROOT}{extra}"], check=True)
        return python


def candidates() -> list[Path]:
    """Return where interpreters may be: on PATH, Debian's own, and pyenv's."""
    names = [f"python{OLDEST[0]}.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
    found = [shutil.which(name) for name in names]
    paths = [Path(path) for path in found if path is not None]
    paths.append(Path("/usr/bin/python3"))
    if shutil.which("pyenv") is not None:
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True)
        paths += sorted(Path(root.stdout.strip()).glob("versions/*/bin/python"))
    return paths


def pythons(paths: Sequence[Path]) -> list[Python]:
    """Return the interpreters among `paths` that we support, one a version, oldest first.

    What does not start is left out: a shim may stand for a version that is not there.
    """
    found: dict[tuple[int, ...], Python] = {}
    for path in paths:
        try:
            asked = subprocess.run([path, "-c", _ABOUT], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        numbers, version = asked.stdout.splitlines()
        release = tuple(int(number) for number in numbers.split())
        if release >= OLDEST:
            found.setdefault(release, Python(version, path))
    return [found[release] for release in sorted(found)]


def digests(python: Path, scratch: Path) -> dict[str, str]:
    """Return the digest of each spec, built with `python` into a store of its own."""
    specs = [str(SPECS / f"{name}.toml") for name in DIGESTS]
    built = subprocess.run(
        [python, "-m", "immutable", "--store", scratch, "--quiet", "build", "--json", *specs],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    images = json.loads(built.stdout)
    return {name: image["digest"] for name, image in zip(DIGESTS, images, strict=True)}


def differences(found: dict[str, str], golden: dict[str, str]) -> list[str]:
    """Return a line for each digest that is not the golden one."""
    return [
        f"{name}: expected {golden.get(name)}, found {found.get(name)}"
        for name in sorted({*golden, *found})
        if golden.get(name) != found.get(name)
    ]


def compare(found: Sequence[Python]) -> bool:
    """Build the specs with each Python and print a line for each; return whether all agree."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        # One after the other: each installation writes the checkout's metadata.
        ready = [python.prepare(Path(folder, python.version)) for python in found]
        stores = [Path(folder, f"store-{python.version}") for python in found]
        wrong = [differences(one, DIGESTS) for one in pool.map(digests, ready, stores)]
    for python, lines in zip(found, wrong, strict=True):
        said = "; ".join(lines) or f"{len(DIGESTS)} specs have their golden digests"
        sys.stdout.write(f"python {python.version}: {said}\n")
    return not any(wrong)


def run(found: Sequence[Python], command: Sequence[str]) -> bool:
    """Run `command` with each Python, and print how it ended; return whether all did well."""
    well = True
    for python in found:
        with tempfile.TemporaryDirectory() as folder:
            ready = python.prepare(Path(folder, "venv"), "[test]")
            status = subprocess.run([ready, *command], cwd=ROOT, check=False).returncode
        sys.stdout.write(f"python {python.version}: status {status}\n")
        sys.stdout.flush()
        well = well and status == 0
    return well


def main() -> None:
    """Compare digests, or run the command that was given."""
    found = pythons(candidates())
    if not found:
        sys.exit("pythons: expected Python 3.11 or newer, found none; install python3-venv")
    command = sys.argv[1:]
    if not (run(found, command) if command else compare(found)):
        sys.exit(1)


if __name__ == "__main__":
    main()
