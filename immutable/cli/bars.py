"""How long work is shown: bars by rich on a terminal, and nothing but notes elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from immutable.cli import output
from immutable.redact import redact

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import Task
    from rich.text import Text


class _StoppedError(Exception):
    """Ends a thread whose work nobody waits for any more."""


class Watcher:
    """Tells on stderr how work goes; the `Progress` of the command line.

    Once `stopping` is set, threads that report anything are ended by an exception.
    """

    def __init__(self, stopping: threading.Event, *, quiet: bool = False) -> None:
        self._stopping = stopping
        self._quiet = quiet
        self._lock = threading.Lock()
        self._bars: Bars | None = None
        self._told: set[str] = set()
        self._drawn = not quiet and sys.stderr is not None and sys.stderr.isatty()

    @contextmanager
    def task(
        self, label: str, total: int | None = None, *, unit: str = "B"
    ) -> Iterator[Callable[[int], None]]:
        """Show a bar for the block."""
        self._check()
        bars = self._started() if self._drawn else None
        if bars is None:
            yield lambda _amount: self._check()
            return
        bar = bars.add_task(output.shown(redact(label)), total=total, unit=unit)

        def advance(amount: int) -> None:
            self._check()
            if amount:
                bars.advance(bar, amount)

        try:
            yield advance
        finally:
            bars.remove_task(bar)

    def note(self, text: str) -> None:
        """Tell something worth knowing, once."""
        if not self._quiet:
            self._tell(text)

    def warn(self, text: str) -> None:
        """Tell something that is probably not as wanted, once."""
        self._tell(f"warning: {text}")

    def close(self) -> None:
        """Take the bars away."""
        with self._lock:
            bars, self._bars = self._bars, None
        if bars is not None:
            bars.stop()

    def _check(self) -> None:
        # The main thread was told by the signal itself, and is cleaning up.
        if self._stopping.is_set() and threading.current_thread() is not threading.main_thread():
            raise _StoppedError

    def _tell(self, text: str) -> None:
        with self._lock:
            if text in self._told:
                return
            self._told.add(text)
            bars = self._bars
        if bars is None:
            output.tell(text)
        else:
            bars.console.print(
                output.shown(redact(text)), markup=False, highlight=False, soft_wrap=True
            )

    def _started(self) -> Bars | None:
        """Return the bars, made for the first task: a build that finds all cached needs none."""
        with self._lock:
            if self._bars is None:
                self._bars = _bars()
                if self._bars is None:
                    self._drawn = False
                else:
                    self._bars.start()
            return self._bars


def _bars() -> Bars | None:
    """Return rich's bars on stderr; None for a terminal that cannot move its cursor."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

    class Amount(ProgressColumn):
        def render(self, task: Task) -> Text:
            return _amount(task)

    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        Amount(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _amount(task: Task) -> Text:
    """Return how much of a task is done, in its own unit, and how fast where that is bytes."""
    from rich.text import Text

    unit = task.fields["unit"]
    whole = None if task.total is None else int(task.total)
    done = int(task.completed)
    if unit != "B":
        return Text(f"{done} {unit}" if whole is None else f"{done}/{whole} {unit}")
    text = output.size(done) if whole is None else f"{output.size(done)} of {output.size(whole)}"
    return Text(f"{text}, {output.size(int(task.speed))}/s" if task.speed else text)
