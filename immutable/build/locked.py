"""What a spec asks of its lock, and whether the lock answers it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from immutable.build.instantiate import requests
from immutable.build.loading import load, load_lock, lock_path, reader
from immutable.builders.registry import builders
from immutable.config import Config
from immutable.errors import LockMissing, LockStale, SpecError
from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.spec.document import Spec
from immutable.spec.lock import Lock, LockedLayer, stale

_MOST_BASES: Final = 32  # specs that build on each other


def platforms_of(spec: Spec, config: Config) -> tuple[Platform, ...]:
    """Return the spec's platforms, or this machine's where it names none."""
    if spec.image.platforms:
        return spec.image.platforms
    try:
        return (Platform.of_machine(config.machine),)
    except ValueError as error:
        raise SpecError(spec.where, [f"image.platforms: is required here: {error}"]) from None


def requests_of(spec: Spec) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return what `spec` asks of its lock: layer name → (kind, request).

    A layer whose kind base specs have too is resolved upon theirs: the digest of what those are
    locked to is then in the request, as ``beneath``. Raises LockMissing when a base spec has no
    lock, and SpecError for specs that build on each other in a circle.
    """
    asked = requests(spec, builders(), reader(Path(spec.where).parent))
    grounds: dict[str, list[LockedLayer]] = {}
    for one in locked_bases(spec) if asked else ():
        grounds.setdefault(one.kind, []).append(one)
    return {
        name: (kind, {**request, "beneath": _digest(grounds[kind])})
        if kind in grounds
        else (kind, request)
        for name, (kind, request) in asked.items()
    }


def locked_bases(spec: Spec, _dependents: tuple[Path, ...] = ()) -> tuple[LockedLayer, ...]:
    """Return what the specs that `spec` builds upon are locked to, bottom first."""
    for layer in spec.layer[:1]:
        kind = builders()[layer.kind]
        place = kind.base_spec(layer.options) if kind.as_is else None
        if place is None:
            continue
        path = Path(spec.where).parent / place
        dependents = checked_dependents(spec, path, _dependents)
        base = load(path)
        lower = locked_bases(base, dependents)
        asked = requests(base, builders(), reader(Path(base.where).parent))
        locked = load_lock(base) or _no_lock(base, asked)
        return (*lower, *(one for one in locked.layer if one.name in asked))
    return ()


def usable_lock(spec: Spec, platforms: Sequence[Platform]) -> Lock:
    """Return the spec's lock; raise LockMissing and LockStale, naming the command to run."""
    asked = requests_of(spec)
    locked = load_lock(spec)
    if locked is None:
        return _no_lock(spec, asked)
    reasons = stale(locked, asked, platforms)
    if reasons:
        where = lock_path(spec)
        lines = "\n".join(f"{where}: stale: {reason}" for reason in reasons)
        raise LockStale(f"{lines}; {spec.to_lock}")
    return locked


def _no_lock(spec: Spec, requests: Iterable[str]) -> Lock:
    """Return an empty lock; raise LockMissing if there are `requests`, by layer, to answer."""
    if names := ", ".join(sorted(requests)):
        raise LockMissing(
            f"{lock_path(spec)}: there is no lock, and {spec.where} takes "
            f"{names} from outside; {spec.to_lock}"
        )
    return Lock()


def checked_dependents(spec: Spec, path: Path, dependents: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the specs that stand on the one at `path`, topmost first."""
    if path.with_suffix(".lock.toml").resolve() == lock_path(spec).resolve() and not spec.in_file:
        raise SpecError(
            spec.where,
            [f"expected a lock of its own, found that of {path.name}; call the image otherwise"],
        )
    chain = (*dependents, Path(spec.where).resolve())
    names = " → ".join(one.name for one in (*chain, path))
    if path.resolve() in chain:
        raise SpecError(spec.where, [f"specs build on each other in a circle: {names}"])
    if len(chain) > _MOST_BASES:
        raise SpecError(spec.where, [f"more than {_MOST_BASES} specs on each other: {names}"])
    return chain


def _digest(ground: Iterable[LockedLayer]) -> str:
    """Return the digest of what is pinned in `ground`; not of why, or of where it was found."""
    pins: list[canonical.JSON] = [
        [pin.name, pin.version, pin.architecture, pin.sha256.hex, list(map(str, pin.platforms))]
        for one in ground
        for pin in one.pin
    ]
    return Digest.of(canonical.encode(pins)).hex
