"""Spec and lock to the graph of derivations. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from immutable.builders.base import Builder, Facts, Read
from immutable.oci.platforms import Platform
from immutable.spec.derivation import Graph, Job, Part, Snapshot
from immutable.spec.document import Layer, LayerName, Spec
from immutable.spec.lock import Lock

_USERS: Final = "users"  # the kind, and the name, of the layer that adds accounts


def divide(whole: Job, *, loose: bool) -> tuple[Job, ...]:
    """Return the parts of a layer, bottom first, as its pins say; itself if they say nothing.

    Parts that have none of its pins are left out; with `loose` there is one more on top.
    """
    given = [pin.part for pin in whole.pins if pin.part is not None]
    if not given or len(given) < len(whole.derivation.sources):
        return (whole,)
    numbers = sorted(set(given))
    of = tuple(map(numbers.index, given))
    count = len(numbers) + loose
    return tuple(whole.parted(Part(number, count, of)) for number in range(count))


def requests(
    spec: Spec, kinds: Mapping[str, Builder], read: Read
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return what `spec` asks of a lock: layer name → (kind, request).

    `read` is for kinds whose request is in a file of its own.
    """
    asked: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for layer in spec.layer:
        request = kinds[layer.kind].request(layer.options, read)
        if request is not None:
            parts = parts_of(layer, kinds[layer.kind])
            spread = {} if parts is None else {"layers": parts}
            asked[str(layer.name)] = (layer.kind, {**request, **spread})
    return asked


def parts_of(layer: Layer, kind: Builder) -> int | None:
    """Return over how many layers at most `layer` is spread; None if it is one."""
    if not kind.divisible or layer.options.layers in (None, 1):
        return None
    most: int = layer.options.layers
    return most


def instantiate(
    spec: Spec,
    lock: Lock,
    kinds: Mapping[str, Builder],
    *,
    platforms: tuple[Platform, ...],
    mtime: int,
    snapshots: Mapping[str, Snapshot],
) -> Graph:
    """Return the derivations of `spec` under `lock`, for each of `platforms`.

    `snapshots` holds, by layer name, what layers take from this machine; `mtime` is in seconds
    since the epoch. The kind ``users`` makes the last layer, which adds the spec's accounts.
    """
    platform_layers = []
    for platform in platforms:
        lower: tuple[Job, ...] = ()
        for layer in spec.layer:
            locked = lock.find(layer.name)
            pins = locked.pins_for(platform) if locked else ()
            snapshot = snapshots.get(layer.name)
            index = locked.index if locked else ()
            facts = Facts(layer, spec, platform, mtime, pins, index, snapshot, bool(lower))
            kind = kinds[layer.kind]
            made = kind.derive(facts)
            if kind.divisible:
                made = tuple(one for whole in made for one in divide(whole, loose=kind.loose))
            lower += made
        if spec.user or spec.group:
            last = Layer(LayerName(_USERS), _USERS, None)
            facts = Facts(last, spec, platform, mtime)
            lower += kinds[_USERS].derive(facts)
        platform_layers.append((platform, lower))
    return Graph(tuple(platform_layers))
