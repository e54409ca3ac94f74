"""How much of an image two builds share, before and after packages change, with layers = 12.

Not a matter of time: it prints shares of compressed bytes. Takes the python spec as it is
committed and updates one source package after the other to what the suite's security pocket has
now, then all of them at once. Needs a mirror of Debian's packages.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from attrs import evolve

import immutable
from immutable.build.results import BuiltPlatform
from immutable.spec.lock import Lock, LockedLayer, Pin, dumps
from immutable.store import AbstractStore, Store

_SPEC = Path(__file__).parent.parent / "specs" / "python.toml"
_LAYERS = 12

Newer = Mapping[tuple[str, str], Pin]


def main() -> None:
    """Print a line for each source package that has an update."""
    with tempfile.TemporaryDirectory(prefix="immutable-bench-") as folder:
        work = Path(folder)
        with Store.open(work / "store") as store:
            _compare(work, store)


def _compare(work: Path, store: AbstractStore) -> None:
    text = _SPEC.read_text().replace("packages =", f"layers = {_LAYERS}\npackages =")
    spec, later = work / "python.toml", work / "later.toml"
    spec.write_text(text)
    later.write_text(text.replace("pockets = []", 'pockets = ["updates", "security"]'))
    (before,) = immutable.lock(spec, store).lock.layer
    (after,) = immutable.lock(later, store).lock.layer
    newer = {(pin.name, pin.architecture): pin for pin in after.pin}
    old = immutable.build(spec, store).platforms[0]
    moved = {_source(pin): pin for pin in before.pin if _next(pin, newer).version != pin.version}
    groups = {source: [source] for source in sorted(moved)} | {"all of these": [*moved]}
    for name, sources in groups.items():
        pins = _updated(before, newer, sources)
        lock = Lock(layer=(evolve(before, pin=pins, index=after.index),))
        (work / "python.lock.toml").write_text(dumps(lock))
        new = immutable.build(spec, store).platforms[0]
        print(f"{name:20} {_shared(old, new):6.1%} shared")


def _updated(layer: LockedLayer, newer: Newer, sources: Collection[str]) -> tuple[Pin, ...]:
    return tuple(
        evolve(_next(pin, newer), part=pin.part) if _source(pin) in sources else pin
        for pin in layer.pin
    )


def _next(pin: Pin, newer: Newer) -> Pin:
    return newer.get((pin.name, pin.architecture), pin)


def _source(pin: Pin) -> str:
    return pin.path.split("/")[-2]


def _shared(old: BuiltPlatform, new: BuiltPlatform) -> float:
    there = {layer.blob.digest for layer in old.layers}
    sizes = [(layer.blob.size, layer.blob.digest in there) for layer in new.layers]
    return sum(size for size, known in sizes if known) / sum(size for size, _ in sizes)


if __name__ == "__main__":
    main()
