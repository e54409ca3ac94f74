"""Results in order, from several threads."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from immutable.store.ordered import in_order


def test_results_come_in_the_order_of_the_items() -> None:
    second = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second.wait(60)  # so the first is done last
        elif number == 1:
            second.set()
        return number * number

    with ThreadPoolExecutor(2) as pool:
        assert [0, 1, 4, 9, 16] == list(in_order(work, range(5), pool, 3))


def test_no_more_items_are_taken_than_the_window_holds() -> None:
    items = itertools.count()
    with ThreadPoolExecutor(2) as pool:
        found = cast("Generator[str]", in_order(str, items, pool, 4))
        assert ["0", "1"] == [next(found), next(found)]
        found.close()
    assert 5 == next(items)


def test_what_has_not_begun_is_called_off_at_the_first_failure() -> None:
    begun: list[int] = []
    all_wait, called_off = threading.Event(), threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            assert all_wait.wait(60)
            raise ValueError("no")
        assert called_off.wait(60)  # keeps the only thread until the rest is called off

    def items() -> Generator[int]:
        yield from range(4)
        all_wait.set()
        yield 4

    with ThreadPoolExecutor(1) as pool:
        found = in_order(work, items(), pool, 5)
        with pytest.raises(ValueError, match="no"):
            next(found)
        called_off.set()
    assert [0] == [number for number in begun if number != 1]  # the second may have begun
