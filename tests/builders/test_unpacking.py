"""Unpacking several archives at a time."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from immutable.builders.base import Inputs
from immutable.builders.unpacking import unpack_each
from immutable.config import Config
from immutable.progress import SILENT
from immutable.store import MemoryStore
from tests.support.beneath import Beneath


def inputs(jobs: int, scratch: Callable[[], BinaryIO] = io.BytesIO) -> Inputs:
    config = Config(Path("store"), Path("cache"), jobs=jobs)
    return Inputs(MemoryStore(), scratch, Beneath({}), SILENT, config)


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_two_threads_write_one_scratch_file(jobs: int) -> None:
    made: list[BinaryIO] = []
    used: set[int] = set()
    lock = threading.Lock()

    def scratch() -> BinaryIO:
        made.append(io.BytesIO())
        return made[-1]

    def work(item: int, file: BinaryIO) -> int:
        with lock:
            assert id(file) not in used
            used.add(id(file))
        file.write(b"%d" % item)
        with lock:
            used.remove(id(file))
        return -item

    assert [-item for item in range(50)] == unpack_each(work, range(50), inputs(jobs, scratch))
    assert jobs == len(made)
