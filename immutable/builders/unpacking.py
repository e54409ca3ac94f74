"""Unpacking several archives at a time, each into a scratch file that no other thread writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import BinaryIO, TypeVar

from immutable.builders.base import Inputs
from immutable.store.ordered import in_order

Item = TypeVar("Item")
Result = TypeVar("Result")


def unpack_each(
    work: Callable[[Item, BinaryIO], Result], items: Sequence[Item], inputs: Inputs
) -> list[Result]:
    """Return ``work(item, scratch)`` for each item, in order; the first failure ends all.

    There are as many threads as the machine is set to have jobs, as decompressing works without
    the interpreter's lock.
    """
    jobs = max(1, min(inputs.config.jobs, len(items)))
    scratches: SimpleQueue[BinaryIO] = SimpleQueue()
    for _ in range(jobs):
        scratches.put(inputs.scratch())

    def with_scratch(item: Item) -> Result:
        scratch = scratches.get()
        try:
            return work(item, scratch)
        finally:
            scratches.put(scratch)

    if jobs == 1:
        return [with_scratch(item) for item in items]
    with ThreadPoolExecutor(jobs, "unpack") as pool:
        return list(in_order(with_scratch, items, pool, len(items)))
