"""Which of a layer's parts each package or file goes to.

A layer of packages can become several, so that an update of one package touches one small layer
and images share the others: what changes together, and the large, apart. The lock records the
assignment, and it stays: what a layer holds changes with the package, not with the sizes of others.

A layer of files has no lock. There the names in its topmost directory decide, each by itself.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import evolve, frozen

from immutable.spec.lock import LockedLayer, Pin

Origin = Callable[[Pin], str]


@frozen
class SizedPackage:
    """A package to be assigned: its name, what it is made from with others, its size in bytes."""

    name: str
    origin: str
    size: int


def divided(
    locked: LockedLayer, most: int, origin: Origin, before: LockedLayer | None
) -> LockedLayer:
    """Return `locked` with each pin assigned to one of `most` parts, as `before` had it.

    A name goes to one part on all platforms and in all its versions. `before` is the layer's
    previous entry, divided into as many parts, or None.
    """
    previous = {} if before is None else {pin.name: pin.part for pin in before.pin}
    known = {name: part for name, part in previous.items() if part is not None and part < most}
    parts = assign(_packages(locked, origin), most, known)
    return evolve(locked, pin=tuple(evolve(pin, part=parts[pin.name]) for pin in locked.pin))


def assign(
    packages: Sequence[SizedPackage], most: int, before: Mapping[str, int]
) -> dict[str, int]:
    """Return the part, from 0 to below `most`, of each package by its name.

    What has a part in `before` keeps it. Of others, when there is no `before`, the largest stand
    alone: each that is no smaller than what a part would hold if the rest were spread evenly.
    What is left is spread by origin, always onto the smallest part. A package that comes later
    goes to the part of its origin, else to one that is not used yet, else to the smallest.
    """
    known = {one.name: before[one.name] for one in packages if one.name in before}
    rest = sorted((p for p in packages if p.name not in known), key=_largest_first)
    if known:
        return known | _joined(rest, packages, known, most)
    alone = _alone(rest, most)
    found = {one.name: part for part, one in enumerate(rest[:alone])}
    return found | _spread(rest[alone:], range(alone, most))


def part_of(name: bytes, most: int) -> int:
    """Return the part, from 0 to below `most`, of all that is in the top directory `name`.

    It depends on nothing else. With one part more, one name in `most` + 1 goes to that one, and
    the others stay: the jump consistent hash of Lamping and Veach, 2014, in whole numbers.
    """
    key = int.from_bytes(hashlib.sha256(name).digest()[:8], "big")
    found = after = 0
    while after < most:
        found = after
        key = (key * 2862933555777941757 + 1) % (1 << 64)
        after = ((found + 1) << 31) // ((key >> 33) + 1)
    return found


def part_below(top: bytes, path: bytes, most: int) -> int:
    """Return the part of what is at `path`: by the first name in `top`, else by its first of all.

    So all that is in a directory is in one part, but for `top` and what that lies in.
    """
    inside = top + b"/" if top else b""
    return part_of(path.removeprefix(inside).partition(b"/")[0], most)


def _packages(locked: LockedLayer, origin: Origin) -> tuple[SizedPackage, ...]:
    """Return what is pinned, by name; where platforms differ in size, the largest counts."""
    sizes: dict[str, int] = defaultdict(int)
    for platform in locked.platforms:
        here: dict[str, int] = defaultdict(int)
        for pin in locked.pins_for(platform):
            here[pin.name] += pin.size
        for name, size in here.items():
            sizes[name] = max(sizes[name], size)
    # The first pin of a name speaks for all.
    origins = {pin.name: origin(pin) for pin in reversed(locked.pin)}
    return tuple(SizedPackage(name, origins[name], sizes[name]) for name in sorted(origins))


def _largest_first(package: SizedPackage) -> tuple[int, str]:
    return -package.size, package.name


def _alone(packages: Sequence[SizedPackage], most: int) -> int:
    """Return how many of `packages`, largest first, get a part of their own."""
    left = sum(one.size for one in packages)
    for count, package in enumerate(packages):
        free = most - count
        if free == 1 or package.size * free < left:
            return count
        left -= package.size
    return len(packages)


def _spread(packages: Iterable[SizedPackage], parts: Iterable[int]) -> dict[str, int]:
    """Return a part for each package: origins whole, the largest first, onto the smallest part."""
    origins: dict[str, list[SizedPackage]] = defaultdict(list)
    for one in packages:
        origins[one.origin].append(one)
    heap = [(0, part) for part in parts]
    found: dict[str, int] = {}
    ordered = sorted(origins.items(), key=lambda item: (-_bytes(item[1]), item[0]))
    for _, members in ordered:
        size, part = heapq.heappop(heap)
        found.update((one.name, part) for one in members)
        heapq.heappush(heap, (size + _bytes(members), part))
    return found


def _joined(
    new: Iterable[SizedPackage],
    packages: Iterable[SizedPackage],
    known: Mapping[str, int],
    most: int,
) -> dict[str, int]:
    """Return a part for each of the `new` among `packages`, the others of which are `known`."""
    sizes = dict.fromkeys(range(most), 0)
    homes: dict[str, int] = {}
    for one in packages:
        if one.name in known:
            sizes[known[one.name]] += one.size
            homes.setdefault(one.origin, known[one.name])
    found = {}
    for one in new:
        smallest = min(sizes, key=lambda part: (sizes[part], part))
        part = homes.setdefault(one.origin, smallest)
        sizes[part] += one.size
        found[one.name] = part
    return found


def _bytes(packages: Iterable[SizedPackage]) -> int:
    return sum(one.size for one in packages)
