"""Results in the order of what they are made from, while several threads make them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], pool: Executor, window: int
) -> Iterator[Result]:
    """Yield ``work(item)`` for each item, in order, at most `window` of them under way.

    So `items` may be endless. What has not begun is called off at the first failure, or when
    nobody asks for more.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
