"""Trying again, and doing several things at a time that can all be given up at once."""

from __future__ import annotations

import contextlib
import copy
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Self, TypeVar

from immutable.redact import redact

T = TypeVar("T")
Item = TypeVar("Item")

ATTEMPTS = 4  # per URL
MOST_ATTEMPTS = 6  # of one request to a registry, or one blob
LONGEST_DELAY = 20.0  # seconds between two attempts
# Statuses after which the same request may do better (RFC 9110, 15.5.9 and 15.6; RFC 6585, 4;
# RFC 8470, 5.2).
TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_PARTING = 1.0  # seconds for all threads together to end in, once the work is given up


class FailedError(Exception):
    """One attempt that failed: why, whether the file is just not there, when to try again."""

    def __init__(
        self, reason: str, *, again: bool = False, absent: bool = False, after: float = 0.0
    ) -> None:
        super().__init__(redact(reason))
        self.again, self.absent, self.after = again, absent, after


class HaltedError(Exception):
    """The work is being given up; nobody waits for the answer."""


class Run:
    """One piece of work that can be given up from another thread."""

    def __init__(self, sleep: Callable[[float], object] | None = None) -> None:
        self._halt = threading.Event()
        self._sleep = sleep
        self._live: set[object] = set()
        self._lock = threading.Lock()

    def waiting_by(self, sleep: Callable[[float], object] | None) -> Self:
        """Return the same piece of work, which leaves its waiting to `sleep`, if given."""
        other = copy.copy(self)
        other._sleep = sleep or self._sleep
        return other

    def check(self) -> None:
        """Raise HaltedError once the work is being given up."""
        if self._halt.is_set():
            raise HaltedError

    def wait(self, seconds: float) -> None:
        """Wait, or raise HaltedError when the work is given up before or meanwhile."""
        self.check()
        if self._sleep is None:
            self._halt.wait(seconds)
        else:
            self._sleep(seconds)
        self.check()

    def halt(self) -> None:
        """Give up: wake every thread that waits for a body or for its next attempt."""
        self._halt.set()
        with self._lock:
            for raw in self._live:
                _shut(raw)

    @contextmanager
    def interruptible(self, raw: object) -> Iterator[None]:
        """Have `halt` end the reading of `raw`, a response's body."""
        with self._lock:
            self._live.add(raw)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._live.discard(raw)


def in_threads(
    work: Callable[[Item, Run], None], items: Sequence[Item], threads: int, run: Run
) -> None:
    """Do `work` for every item; the first failure, or an interrupt here, ends all of it."""
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)

    def worker() -> None:
        outcome: BaseException | None = None
        try:
            while True:
                run.check()
                work(waiting.get_nowait(), run)
        except (queue.Empty, HaltedError):
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            outcome = error
        done.put(outcome)

    # Daemons: one that waits for a server's first word cannot be woken, and holds nothing.
    pool = [threading.Thread(target=worker, daemon=True) for _ in range(threads)]
    try:
        for thread in pool:
            thread.start()
        for _ in pool:
            outcome = done.get()
            if outcome is not None:
                raise outcome
    finally:
        run.halt()
        deadline = time.monotonic() + _PARTING
        for thread in pool:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))


def attempts(attempt: Callable[[], T], run: Run, most: int = ATTEMPTS) -> T:
    """Call `attempt` until it succeeds, fails for good, or has failed `most` times."""
    for number in range(1, most + 1):
        run.check()
        try:
            return attempt()
        except FailedError as failed:
            if not failed.again or number == most:
                raise
            run.wait(delay(number, failed.after))
    raise AssertionError("unreachable")


def delay(number: int, after: float) -> float:
    """Return the seconds to wait after the attempt `number`; `after` is what was asked for."""
    # Spread out, or all machines that a mirror refused come back at once.
    seconds = 2.0 ** (number - 1) * random.uniform(0.5, 1.0)  # noqa: S311
    return min(max(seconds, after), LONGEST_DELAY)


def _shut(raw: object) -> None:
    """Stop a response from being read, waking whoever reads it."""
    shutdown = getattr(raw, "shutdown", None)  # urllib3 ≥ 2.3
    if shutdown is not None:
        with contextlib.suppress(OSError, ValueError):
            shutdown()
