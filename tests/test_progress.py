"""Telling of long work: what is repeated counts once."""

from __future__ import annotations

from immutable.progress import HighWaterMark


def test_what_a_second_try_repeats_is_told_once() -> None:
    told: list[int] = []
    mark = HighWaterMark(told.append)
    for reached in (3, 5, 2, 5, 9):
        mark.reach(reached)
    assert [3, 2, 4] == told
