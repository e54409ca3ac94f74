"""Locks: what `lock` resolved and pinned. They say what, never where.

A lock is compared by its parsed values, never by its bytes: line ends, comments and key
order are free. It holds the sha256 of those values, so one that was cut short or changed by
hand does not pass for what `lock` resolved.
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import tomli_w
from attrs import Factory, field, frozen

from immutable.errors import LockError, SpecError
from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.spec import toml
from immutable.spec.types import MOST_LAYERS

VERSION: Final = 1

_SEAL: Final = "content-sha256"
# RFC 3986, 3.1: what begins a URL.
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@frozen
class Pin:
    """One outside input, known to the last byte.

    `path` is relative to whatever mirror holds it; `suite` says which suite's mirror that is,
    where the kind has suites; `why` is ``("asked for",)`` or the names of what needs it;
    `platforms` are those it is for, sorted, or empty when it is for all. `part` is which of the
    layers that it is spread over has it, counted from 0; None where it is one layer.
    """

    name: str
    version: str
    architecture: str
    path: str
    size: int
    sha256: Digest
    why: tuple[str, ...] = ()
    suite: str = ""
    platforms: tuple[Platform, ...] = ()
    part: int | None = None


@frozen
class IndexPin:
    """The date of the index that a suite's pins were taken from, for snapshot mirrors."""

    suite: str
    date: datetime.datetime


@frozen
class LockedLayer:
    """The answer to one layer's request.

    `request` is the part of the spec that is answered here, as plain TOML values;
    `platforms` are those it was answered for; `pins` stand in the order in which the layer
    takes them.
    """

    name: str
    kind: str
    request: Mapping[str, Any] = field(converter=canonical.freeze)
    platforms: tuple[Platform, ...] = ()
    index: tuple[IndexPin, ...] = ()
    pin: tuple[Pin, ...] = ()

    def pins_for(self, platform: Platform) -> tuple[Pin, ...]:
        """Return the pins that `platform` needs, in the lock's order."""
        return tuple(pin for pin in self.pin if not pin.platforms or platform in pin.platforms)


@frozen
class Lock:
    """A whole lock file: one entry for each layer that takes something from outside."""

    lock_version: int = VERSION
    layer: tuple[LockedLayer, ...] = Factory(tuple)

    def find(self, name: str) -> LockedLayer | None:
        """Return the entry of the layer called `name`, or None."""
        return next((layer for layer in self.layer if layer.name == name), None)


def parse(data: bytes, where: str) -> Lock:
    """Return the lock in the TOML document `data`; `where` names it in errors.

    Raises LockError with every fault found: another version, unknown keys, values of the
    wrong type, digests that are none, paths that leave the mirror, duplicates; and a content
    that is not the one `dumps` wrote.
    """
    try:
        document = toml.read_toml(data, where)
        _check_version(document, where)
        seal = document.pop(_SEAL, None)
        lock = toml.build(document, Lock, where)
    except SpecError as error:
        raise LockError(str(error)) from None
    faults = [*_faults(lock)]
    if not faults and seal is not None and seal != _seal(lock):
        faults.append(
            f"{_SEAL}: the lock was changed by hand or cut short; restore it, or delete it and "
            "lock again, or remove this line to keep the change"
        )
    if faults:
        raise LockError("\n".join(f"{where}: {fault}" for fault in faults))
    return lock


def dumps(lock: Lock) -> str:
    """Return the TOML document of `lock`; equal locks have equal documents."""
    # The version stands last of the two: a file cut short before it is no lock.
    document = {_SEAL: _seal(lock), "lock-version": lock.lock_version, "layer": _plain(lock)}
    return (
        "# Written by `immutable lock`; pins every outside input by sha256.\n"
        f"{tomli_w.dumps(document)}"
    )


def stale(
    lock: Lock, requests: Mapping[str, tuple[str, Mapping[str, Any]]], platforms: Iterable[Platform]
) -> tuple[str, ...]:
    """Say, one line each, in what `lock` no longer answers `requests` (name → kind, request)."""
    reasons = []
    wanted = frozenset(platforms)
    for name, (kind, request) in requests.items():
        entry = lock.find(name)
        if entry is None or entry.kind != kind:
            reasons.append(f'layer "{name}" is not in the lock')
            continue
        missing = sorted(wanted - set(entry.platforms))
        if missing:
            reasons.append(f'layer "{name}" is not locked for {", ".join(map(str, missing))}')
        reasons.extend(_differences(name, canonical.freeze(request), entry.request))
    reasons.extend(
        f'layer "{entry.name}" is in the lock but takes nothing from outside in the spec'
        for entry in lock.layer
        if entry.name not in requests
    )
    return tuple(reasons)


def _differences(name: str, now: Mapping[str, Any], then: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*now, *then}):
        new, old = now.get(key), then.get(key)
        if _shown(new) == _shown(old):
            continue
        if isinstance(new, tuple) and isinstance(old, tuple):
            asked, held = Counter(map(_word, new)), Counter(map(_word, old))
            if added := ", ".join((asked - held).elements()):
                yield f'layer "{name}" asks for {added}, which the lock does not hold ({key})'
            if gone := ", ".join((held - asked).elements()):
                yield f'layer "{name}" no longer asks for {gone} ({key})'
            if not added and not gone:
                yield f'layer "{name}" has another order of {key}'
        else:
            yield f'layer "{name}" has {key} = {_shown(new)}, the lock has {_shown(old)}'


def _word(item: Any) -> str:
    return item if isinstance(item, str) else _shown(item)


def _shown(value: Any) -> str:
    """Return how a message writes a value of a request; other values are written otherwise."""
    if value is None:
        return "nothing"
    return canonical.encode(_jsonable(value)).decode()


def _jsonable(value: Any) -> Any:
    """Return `value` with what only TOML has, times and floats, as text."""
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return repr(value) if isinstance(value, float) else value


def _seal(lock: Lock) -> str:
    return Digest.of(canonical.encode(_jsonable(_plain(lock)))).hex


def _check_version(document: Mapping[str, Any], where: str) -> None:
    version = document.get("lock-version")
    if type(version) is int and version == VERSION:
        return
    found = "nothing" if version is None else toml.found(version)
    newer = type(version) is int and version > VERSION
    hint = "; it was written by a newer immutable" if newer else ""
    raise LockError(f"{where}: lock-version: expected {VERSION}, found {found}{hint}")


def _faults(lock: Lock) -> Iterator[str]:
    seen: set[str] = set()
    for number, layer in enumerate(lock.layer):
        folded = toml.folded(layer.name)
        if folded in seen:
            yield f"layer[{number}].name: a second layer {layer.name!r}"
        seen.add(folded)
        taken: set[tuple[str, str, str, Platform | None]] = set()
        for index, pin in enumerate(layer.pin):
            where = f"layer[{number}].pin[{index}]"
            if pin.size < 0:
                yield f"{where}.size: expected a size in bytes, found {pin.size}"
            if pin.part is not None and not 0 <= pin.part < MOST_LAYERS:
                yield f"{where}.part: expected 0 to {MOST_LAYERS - 1}, found {pin.part}"
            if pin.path.startswith("/") or _SCHEME.match(pin.path) or not pin.path.isprintable():
                yield f"{where}.path: expected a path relative to a mirror, found {pin.path!r}"
            if ".." in pin.path.replace("\\", "/").split("/"):
                yield f"{where}.path: leaves the mirror: {pin.path!r}"
            for platform in pin.platforms or (None,):
                key = (pin.name, pin.architecture, pin.path, platform)
                if key in taken:
                    yield f"{where}: a second pin of {pin.name!r}"
                taken.add(key)


def _plain(lock: Lock) -> list[dict[str, Any]]:
    return [_plain_layer(layer) for layer in lock.layer]


def _plain_layer(layer: LockedLayer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "platforms": [str(platform) for platform in layer.platforms],
        "request": canonical.thaw(layer.request),
        "index": [{"suite": index.suite, "date": index.date} for index in layer.index],
        "pin": [
            {
                "name": pin.name,
                "version": pin.version,
                "architecture": pin.architecture,
                **({"suite": pin.suite} if pin.suite else {}),
                "path": pin.path,
                "size": pin.size,
                "sha256": pin.sha256.hex,
                **({"why": list(pin.why)} if pin.why else {}),
                **({"platforms": [str(p) for p in pin.platforms]} if pin.platforms else {}),
                **({} if pin.part is None else {"part": pin.part}),
            }
            for pin in layer.pin
        ],
    }
