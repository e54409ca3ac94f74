"""Ctrl-C and SIGTERM: end the work in order, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR: Final = "\x1b[?25h"


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
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int) -> None:
    with suppress(OSError, AttributeError):
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), _SHOW_CURSOR.encode())
    os._exit(128 + number)
