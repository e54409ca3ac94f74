"""Our own contestant where everything is fetched already, for layers of packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.contest import Contestant, empty


def ours(work: Path, text: str) -> Contestant:
    """`immutable build` of the spec `text`, with its sources in the store and no layer built."""
    fetched, store, spec = work / "fetched", work / "store", work / "web.toml"
    spec.write_text(text)
    immutable = [sys.executable, "-m", "immutable", "--store"]
    run(work, *immutable, str(fetched), "lock", str(spec))
    sources = work / "sources.py"
    sources.write_text(_SOURCES)

    def prepare() -> None:
        empty(store)
        run(work, sys.executable, str(sources), str(spec), str(fetched), str(store))

    command = [*immutable, str(store), "build", str(spec), "--offline"]
    return Contestant("immutable build", command, prepare)


# Gives a new store what the lock names and nothing else.
_SOURCES = """
import sys
from pathlib import Path
import immutable
from immutable.build.loading import load_lock

spec, fetched, store = sys.argv[1:]
lock = load_lock(immutable.load(spec))
with immutable.Store.open(Path(fetched)) as old, immutable.Store.open(Path(store)) as new:
    for digest in {pin.sha256 for layer in lock.layer for pin in layer.pin}:
        new.put_blob(old.read_blob(digest, limit=1 << 30))
"""


def run(folder: Path, *command: str) -> None:
    """Run a command that is not timed."""
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
