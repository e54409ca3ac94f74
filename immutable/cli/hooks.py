"""What Python and its libraries print by themselves: redacted, as our own messages are.

These are warnings, the log of libraries where nobody else takes it, and the tracebacks of what
fails in a thread, in a finaliser, or where nothing is left to catch it.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Final

from immutable.cli import output
from immutable.redact import redact

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_FORMAT: Final = warnings.formatwarning


class _Handler(logging.Handler):
    """Tells what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        output.tell(self.format(record))


def install() -> None:
    """Put our hooks in the place of Python's, for as long as the process lives.

    What fails while it ends is shown too. Hooks that a program set for itself stay.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _failed
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _ignored
    if warnings.formatwarning is _FORMAT:
        warnings.formatwarning = _warning
    logging.lastResort = _Handler(logging.WARNING)


def _uncaught(
    _kind: type[BaseException], error: BaseException, _trace: TracebackType | None
) -> None:
    output.tell(_traced(error))


def _failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return
    name = args.thread.name if args.thread is not None else "without a name"
    output.tell(f"Exception in thread {name}:\n{_traced(args.exc_value)}")


def _ignored(args: UnraisableHookArgs) -> None:
    what = args.err_msg or "Exception ignored in"
    told = args.exc_type.__name__ if args.exc_value is None else _traced(args.exc_value)
    output.tell(f"{what} {type(args.object).__name__}:\n{told}")


def _warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    return output.shown(redact(_FORMAT(message, category, filename, lineno, line)))


def _traced(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip("\n")
