"""The verb `lock`: resolve what a spec asks for and pin it, changing only what must change."""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from immutable import reading
from immutable.build.instantiate import parts_of
from immutable.build.loading import load_lock, lock_path, reader, spec_of
from immutable.build.locked import locked_bases, platforms_of, requests_of
from immutable.builders.base import Foundation, LockScope, Scope
from immutable.builders.registry import builders
from immutable.config import Config
from immutable.errors import LockError, SpecError
from immutable.net.fetch import Fetcher
from immutable.oci.platforms import Platform
from immutable.progress import SILENT, Progress
from immutable.spec.document import Layer, Spec
from immutable.spec.lock import Lock, LockedLayer, Pin, dumps
from immutable.spec.lock import stale as stale_because
from immutable.spec.splitting import divided
from immutable.spec.toml import nearest
from immutable.store import AbstractStore, files

Requests = Mapping[str, tuple[str, Mapping[str, Any]]]  # layer → kind, request


@frozen
class Change:
    """One pin that a new lock has otherwise: added (no `old`), removed (no `new`), or moved."""

    layer: str
    name: str
    architecture: str
    old: str
    new: str


@frozen
class Locked:
    """What `lock` found: the lock, where it belongs, and in what it differs from the old one."""

    path: Path
    lock: Lock
    changes: tuple[Change, ...] = ()
    stale: tuple[str, ...] = ()
    written: bool = field(default=False)


def locked_document(locked: Locked) -> dict[str, Any]:
    """Return the JSON document of what `lock` did.

    It has path (the lock file's), written (whether it changed) and changes: of each pin, layer,
    name, architecture, old and new. One that was added has null for old, one that went for new.
    """
    return {
        "path": str(locked.path),
        "written": locked.written,
        "changes": [
            {
                "layer": change.layer,
                "name": change.name,
                "architecture": change.architecture,
                "old": change.old or None,
                "new": change.new or None,
            }
            for change in locked.changes
        ],
    }


def stale_document(path: Path, reasons: Sequence[str]) -> dict[str, Any]:
    """Return the JSON document of what `check` found of the lock file `path`.

    It has path, and stale: the reasons why the lock is, a line each; none when it is good.
    """
    return {"path": str(path), "stale": [*reasons]}


def check(
    spec: Spec | str | Path,
    *,
    folder: str | Path | None = None,
    config: Config | None = None,
) -> tuple[str, ...]:
    """Return, a line each, why the spec's lock is stale; nothing when it is good.

    `folder` is as for `build`. Raises LockError for a damaged lock. Resolves nothing and needs no
    network.
    """
    config = config or Config.load()
    spec = spec_of(spec, folder)
    requests = requests_of(spec)
    locked = load_lock(spec)
    if locked is None:
        return (f"{lock_path(spec)}: there is no lock",) if requests else ()
    return stale_because(locked, requests, platforms_of(spec, config))


def lock(
    spec: Spec | str | Path,
    store: AbstractStore,
    *,
    folder: str | Path | None = None,
    config: Config | None = None,
    upgrade: bool | Collection[str] = False,
    now: datetime.datetime | None = None,
    progress: Progress = SILENT,
) -> Locked:
    """Resolve what `spec` takes from outside and write its lock file.

    Layers whose request has not changed keep their pins, and need no network, unless they stand
    on a changed one of their kind; of the others, pins that still fit stay. `upgrade` takes the
    newest of everything, or of the layers it names. `folder` is as for `build`. Raises
    ImmutableError; the old lock file then stays as it was.
    """
    config = config or Config.load()
    spec = spec_of(spec, folder)
    old = load_lock(spec) or Lock()
    requests = requests_of(spec)
    upgraded = _upgraded(spec, upgrade, requests)
    folder, platforms = Path(spec.where).parent, platforms_of(spec, config)
    scope = Scope(folder, platforms, config, store, progress, _no_foundation)
    bases = locked_bases(spec) if requests else ()
    entries: list[LockedLayer] = []
    with Fetcher(config) as fetcher:
        for layer in spec.layer:
            if layer.name not in requests:
                continue
            previous = _previous(layer, old)
            given = LockScope(
                spec=spec,
                platforms=_platforms(spec, scope.platforms, previous),
                previous=previous,
                upgrade=layer.name in upgraded,
                now=now or datetime.datetime.now(datetime.UTC),
                lower=(*bases, *entries),
                fetcher=fetcher,
                scope=scope,
                read=reader(folder),
            )
            entries.append(_answer(layer, given, entries, old, requests))
    new = Lock(layer=tuple(entries))
    path = lock_path(spec)
    written = new != old or (bool(requests) and not path.exists())
    if written:
        _write(path, dumps(new).encode())
    return Locked(path, new, _changes(old, new), written=written)


def _previous(layer: Layer, old: Lock) -> LockedLayer | None:
    previous = old.find(layer.name)
    return previous if previous is not None and previous.kind == layer.kind else None


def _platforms(
    spec: Spec, wanted: tuple[Platform, ...], previous: LockedLayer | None
) -> tuple[Platform, ...]:
    """Return what to lock for: where the spec leaves it to the machine, for others' too."""
    if spec.image.platforms or previous is None:
        return wanted
    return tuple(sorted({*wanted, *previous.platforms}))


def _answer(
    layer: Layer, given: LockScope, answered: Sequence[LockedLayer], old: Lock, requests: Requests
) -> LockedLayer:
    """Return what the old lock has for `layer` if that is still good, else a new answer.

    It is not good where a lower layer of its kind got another answer: what that one holds
    counted as there. The answers of the spec's own layers are `answered`; those of base specs
    are in the request.
    """
    previous = given.previous
    if previous is not None and not given.upgrade:
        only = {str(layer.name): requests[layer.name]}
        ground = _of_kind(layer.kind, old.layer[: old.layer.index(previous)])
        stale = stale_because(Lock(layer=(previous,)), only, given.scope.platforms)
        if not stale and _of_kind(layer.kind, answered) == ground:
            return previous
    kind = builders()[layer.kind]
    answer = evolve(kind.lock(layer, given), request=requests[layer.name][1])
    most = parts_of(layer, kind)
    if most is None or not kind.divisible:
        return answer
    same = previous is not None and previous.request.get("layers") == most
    room = max(1, most - kind.loose)
    return divided(answer, room, kind.origin, previous if same else None)


def _of_kind(kind: str, layers: Sequence[LockedLayer]) -> list[LockedLayer]:
    return [layer for layer in layers if layer.kind == kind]


def _upgraded(
    spec: Spec, upgrade: bool | Collection[str], requests: Mapping[str, object]
) -> frozenset[str]:
    if isinstance(upgrade, bool):
        return frozenset(requests) if upgrade else frozenset()
    unknown = [name for name in upgrade if name not in requests]
    if unknown:
        raise SpecError(
            spec.where,
            [f"no layer {name!r} takes from outside{nearest(name, requests)}" for name in unknown],
        )
    return frozenset(upgrade)


def _changes(old: Lock, new: Lock) -> tuple[Change, ...]:
    before, after = _versions(old), _versions(new)
    return tuple(
        Change(*key, before.get(key, ""), after.get(key, ""))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    )


def _versions(lock: Lock) -> dict[tuple[str, str, str], str]:
    return {
        (layer.name, pin.name, pin.architecture): _version(pin)
        for layer in lock.layer
        for pin in layer.pin
    }


def _version(pin: Pin) -> str:
    return pin.version or pin.sha256.short


def _write(path: Path, data: bytes) -> None:
    """Replace the file at once; a reader sees the old lock or the new one.

    Raises LockError for one that is too large to be read again, and StoreError where the disk
    refuses; the old lock is then as it was.
    """
    if len(data) > reading.MAX_WRITTEN:
        raise LockError(
            f"{path}: expected at most {reading.MAX_WRITTEN} bytes, as a lock is read, found "
            f"{len(data)} for what the spec asks; spread its layers over several specs"
        )
    with (
        files.explained(path),
        tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file,
    ):
        draft = Path(file.name)
        try:
            file.write(data)
            file.flush()
            draft.chmod(0o644)
            os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def _no_foundation(path: Path) -> Mapping[Platform, Foundation]:
    raise AssertionError(f"{path}: nothing is planned while locking")
