"""Ctrl-C and SIGTERM: end the work in order, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR: Final = "\x1b[?25h"
# What wakes the main thread; nobody else sends it to us, and it is ignored by default.
_WAKE: Final = signal.SIGURG
_WAITS: Final = (0.01, 0.05, 0.2, 0.5, 1.0)  # seconds before each time that it is woken


class Interrupted(BaseException):
    """The signal `number` asked for an end.

    No KeyboardInterrupt, which click would take for itself.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


@contextmanager
def interruptible(stopping: threading.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the block by Interrupted, and set `stopping` for its threads.

    A second one does not wait for the cleaning up: it ends the process. What then remains is
    swept when the store is next opened. Signals that are ignored stay so (`nohup`, `&`).
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            _end(number)
        stopping.set()
        raise Interrupted(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (*_SIGNALS, _WAKE)}
    try:
        signal.signal(_WAKE, lambda _number, _frame: None)
        for number in _SIGNALS:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, stop)
        with _waking():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _waking() -> Iterator[None]:
    """Wake the main thread after each signal, until it must have noticed.

    Python only takes note of a signal, and calls its handler when the main thread comes to. One
    that comes just before that thread begins to wait for a lock does not end the waiting, nor does
    one that the system gives to another thread.
    """
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    before = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_wake, args=(told,), name="waking", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(tell)


def _wake(told: int) -> None:
    """Wake the main thread for each signal that `told` has the number of."""
    main = threading.main_thread().ident
    with open(told, "rb", buffering=0) as pipe:
        while numbers := pipe.read(64):
            if main is None or not {*numbers} & {*_SIGNALS}:
                continue
            for seconds in _WAITS:
                time.sleep(seconds)
                signal.pthread_kill(main, _WAKE)


def _end(number: int) -> None:
    with suppress(OSError, AttributeError):
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), _SHOW_CURSOR.encode())
    os._exit(128 + number)
