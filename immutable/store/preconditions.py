"""What may be asked of a store, on disk or in memory: checked before anything is changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from immutable.errors import StoreError
from immutable.reference.store import Reference
from immutable.store.base import AbstractStore, Generation, in_utc
from immutable.store.names import check_name, check_tag, no_such_generation


def check_commit(name: str, tags: Sequence[str], created: datetime) -> None:
    """Raise StoreError or ValueError for what cannot be committed."""
    check_name(name)
    for tag in tags:
        check_tag(tag)
    in_utc(created)


def check_forget(
    name: str, generations: Sequence[Generation], numbers: Iterable[int]
) -> frozenset[int]:
    """Return the numbers; raise StoreError or ImageNotFound for what cannot be forgotten."""
    known = {generation.number: generation for generation in generations}
    wanted = frozenset(numbers)
    for number in sorted(wanted):
        if number not in known:
            raise no_such_generation(name, number, known)
        if known[number].current:
            raise StoreError(f"{name}@{number}: it is current; make another one current first")
        if known[number].pinned:
            raise StoreError(f"{name}@{number}: it is pinned; let go of it first")
    return wanted


def dropped_names(store: AbstractStore, forgotten: Mapping[str, Collection[int]]) -> frozenset[str]:
    """Return the names in `index.json` that would be gone with the generations.

    Raises as `forget` does.
    """
    names = set()
    for name, numbers in forgotten.items():
        generations = store.generations(name)
        gone = check_forget(name, generations, numbers)
        left = {each.descriptor.digest for each in generations if each.number not in gone}
        for generation in generations:
            if generation.number in gone:
                names.add(str(Reference(name, number=generation.number)))
                if generation.descriptor.digest not in left:
                    names.update(str(Reference(name, tag=tag)) for tag in generation.tags)
    return frozenset(names)


def check_sweep(
    max_size: int | None, forgotten: Mapping[str, Collection[int]], *, dry_run: bool
) -> None:
    """Raise ValueError for what cannot be swept."""
    if max_size is not None and max_size < 0:
        raise ValueError(f"max_size: expected a number of bytes, found {max_size}")
    if forgotten and not dry_run:
        raise ValueError("forgotten: only a dry run takes generations as forgotten")
