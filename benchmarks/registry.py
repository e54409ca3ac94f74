"""An image of 250 MB to a registry on this machine and back, against skopeo; and peak memory.

Needs docker-registry, the distribution project's registry, and skopeo.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path

from benchmarks.contest import Contestant, empty, hold, workplace
from tests.support import distribution

_LAYERS = (120, 64, 40, 16, 8, 1, 1)  # MB each, which do not compress
_PIECE = 1 << 20
_IMMUTABLE = [sys.executable, "-m", "immutable"]
_SKOPEO = ["skopeo", "--insecure-policy", "copy", "--all", "--quiet"]


def main() -> None:
    """Build the image once, hold the three contests, and print the peaks of one large blob."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--large", type=int, default=2000, help="MB of the blob in the large push")
    given = options.parse_args()
    with workplace() as work:
        image = build(work, "image", _LAYERS)
        (work / "registry").mkdir()
        with distribution.serve(work / "registry") as registry:
            place = f"docker://{registry.host}"
            hold("Pushing 250 MB into an empty registry", pushing(work, image, place), given.rounds)
            hold("Pushing it again unchanged", pushing_again(image, place), given.rounds)
            hold("Pulling it into a new layout", pulling(work, image, place), given.rounds)
            large = build(work, "large", (given.large,))
            empty(work / "image")
            there = f"{place}/large:1"
            print()
            report("push", given.large, ours(large, there))
            report("pull", given.large, ours(there, f"oci:{work / 'back'}:1"))


def pushing(work: Path, image: str, place: str) -> list[Contestant]:
    """Both push into a registry that holds nothing, so that nobody can mount what is there."""

    def prepare() -> None:
        empty(work / "registry" / "blobs")

    return [
        Contestant("immutable copy", ours(image, f"{place}/ours:1"), prepare),
        Contestant("skopeo copy", theirs(image, f"{place}/theirs:1"), prepare, needs="skopeo"),
    ]


def pushing_again(image: str, place: str) -> list[Contestant]:
    """Both push what they pushed before; the round to warm up is the first time."""
    return [
        Contestant("immutable copy", ours(image, f"{place}/ours:1")),
        Contestant("skopeo copy", theirs(image, f"{place}/theirs:1"), needs="skopeo"),
    ]


def pulling(work: Path, image: str, place: str) -> list[Contestant]:
    """Both pull the same image."""
    run(*ours(image, f"{place}/pulled:1"))
    source, layout = f"{place}/pulled:1", work / "pulled"

    def prepare() -> None:
        empty(layout)

    return [
        Contestant("immutable copy", ours(source, f"oci:{layout}:1"), prepare),
        Contestant("skopeo copy", theirs(source, f"oci:{layout}:1"), prepare, needs="skopeo"),
    ]


def report(what: str, size: int, command: list[str]) -> None:
    """Print the most memory that it takes to move one blob of `size` MB."""
    done = run(sys.executable, "-c", _MEASURE, *command)
    peak = int(done.stdout) / 1024
    print(f"  a {what} of one blob of {size} MB: peak {peak:.1f} MiB of 143.1 (150 MB)")


_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def ours(source: str, destination: str) -> list[str]:
    """Return our command for a copy."""
    return [*_IMMUTABLE, "copy", source, destination]


def theirs(source: str, destination: str) -> list[str]:
    """Return skopeo's command for a copy; of a registry on this machine, without TLS."""
    return [*_SKOPEO, "--src-tls-verify=false", "--dest-tls-verify=false", source, destination]


def build(work: Path, name: str, layers: tuple[int, ...]) -> str:
    """Build an image with a layer for each of the sizes in MB; return where it is."""
    spec = [f'spec-version = 1\n[image]\nname = "bench/{name}"\n']
    for number, size in enumerate(layers):
        file = work / f"{name}-{number}"
        noise(file, size * 1_000_000, seed=number)
        layer = f'name = "layer-{number}"\nkind = "files"\nsource = "{file.name}"'
        spec.append(f'[[layer]]\n{layer}\ntarget = "/data/{number}"\n')
    path = work / f"{name}.toml"
    path.write_text("".join(spec))
    store = str(work / f"{name}-store")
    run(*_IMMUTABLE, "--store", store, "build", str(path), "-o", f"oci:{work / name}:1")
    empty(Path(store))
    for number in range(len(layers)):
        (work / f"{name}-{number}").unlink()
    return f"oci:{work / name}:1"


def noise(path: Path, size: int, seed: int) -> None:
    """Write a file that no encoder makes smaller."""
    generator = random.Random(seed)
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(generator.randbytes(min(_PIECE, size - file.tell())))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that is not timed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    return done


if __name__ == "__main__":
    main()
