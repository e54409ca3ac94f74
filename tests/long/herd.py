"""Processes that build, prune and export in one store, all at once.

As a program: ``python -m tests.long.herd STORE TURNS``, with eight builders, two pruners and
an exporter.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from immutable.errors import ImageNotFound, StoreError
from immutable.store import Store
from immutable.store.check import check
from tests.support.stores import image

_NAMES = ("web", "api")


def run(root: Path, roles: Mapping[str, int], turns: int) -> None:
    """Let so many processes of each role take their turns; fail unless all of them do well."""
    Store.open(root).close()
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    names = [role for role, count in roles.items() for _ in range(count)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.long.herd", str(root), str(turns), role, str(number)],
            env={**os.environ, "PYTHONPATH": paths},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, role in enumerate(names)
    ]
    ended = [(worker.communicate()[1], worker.returncode) for worker in workers]
    assert [("", 0)] * len(workers) == ended


def build(store: Store, rng: random.Random) -> None:
    """Build an image, and read all of it before the lease ends."""
    texts = [b"%d" % rng.randrange(6) for _ in range(2)]
    with store.lease():
        found = image(store, rng.choice(_NAMES), *texts)
        closure = store.closure(found)
        for digest in closure:
            store.read_blob(digest)
        assert 2 + len({*texts}) == len(closure)


def prune(store: Store, rng: random.Random) -> None:
    """Forget every generation but the current ones, and sweep."""
    for one in store.images():
        numbers = [each.number for each in store.generations(one.name) if not each.current]
        try:
            store.forget(one.name, numbers)
        except ImageNotFound:
            pass  # another pruner was first
        except StoreError as error:
            assert "it is current" in str(error), error  # noqa: PT017 - it came back meanwhile
    store.sweep(caches=rng.random() < 0.5, max_size=0)


def export(store: Store, rng: random.Random) -> None:
    """Read all of an image under a lease."""
    with store.lease():
        try:
            found = store.resolve(rng.choice(_NAMES))
        except ImageNotFound:
            return  # not built yet
        closure = store.closure(found)
        for digest in closure:
            store.read_blob(digest)
        assert 3 <= len(closure)


def _work(root: Path, turns: int, role: str, seed: int) -> None:
    rng = random.Random(seed)
    with Store.open(root) as store:
        for _ in range(turns):
            {"build": build, "prune": prune, "export": export}[role](store, rng)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        _work(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        run(Path(sys.argv[1]), {"build": 8, "prune": 2, "export": 1}, int(sys.argv[2]))
        assert () == check(Path(sys.argv[1]))
