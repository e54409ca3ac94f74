"""A watcher of long work that takes down what it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define, field


def _nothing(_: object) -> None:
    pass


@define
class Notes:
    """A watcher that remembers what it was told, and how much of each task was done.

    `notes` has the warnings too. `total` is that of all tasks, `steps` each further amount done.
    `begins` is called with the label of each task that begins, `advances` with each step: what
    these raise or do, a watcher raises or does.
    """

    begins: Callable[[str], object] = _nothing
    advances: Callable[[int], object] = _nothing
    notes: list[str] = field(factory=list)
    warnings: list[str] = field(factory=list)
    tasks: dict[str, int] = field(factory=dict)
    total: int = 0
    steps: list[int] = field(factory=list)
    _lock: threading.Lock = field(factory=threading.Lock)

    @contextmanager
    def task(
        self, label: str, total: int | None = None, *, unit: str = "B"
    ) -> Iterator[Callable[[int], None]]:
        self.begins(label)
        with self._lock:
            self.tasks.setdefault(label, 0)
            self.total += total or 0

        def advance(amount: int) -> None:
            with self._lock:
                self.tasks[label] += amount
                self.steps.append(amount)
            self.advances(amount)

        yield advance

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.notes.append(text)
        self.warnings.append(text)
