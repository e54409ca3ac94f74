"""How long work tells whoever watches: a protocol that the command line draws, and silence.

Pure: nothing here prints. The library's default is `SILENT`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol


class Progress(Protocol):
    """A watcher of long work; may be called from any thread."""

    def task(
        self, label: str, total: int | None = None, *, unit: str = "B"
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Begin a task of `total` units; the callable is given each further amount done.

        `unit` is ``"B"`` for bytes or a plural noun (``"packages"``).
        """

    def note(self, text: str) -> None:
        """Tell something that is worth knowing and needs no action."""

    def warn(self, text: str) -> None:
        """Tell something that is probably not as wanted."""


class HighWaterMark:
    """Tells `advance` how far one piece of work came; what a second try repeats counts once."""

    def __init__(self, advance: Callable[[int], object]) -> None:
        self._advance = advance
        self._highest = 0

    def reach(self, amount: int) -> None:
        """Tell of what lies beyond the highest `amount` so far, counted from the work's start."""
        further = amount - self._highest
        if further > 0:
            self._highest = amount
            self._advance(further)


class _Silent:
    @contextmanager
    def task(
        self,
        label: str,  # noqa: ARG002
        total: int | None = None,  # noqa: ARG002
        *,
        unit: str = "B",  # noqa: ARG002
    ) -> Iterator[Callable[[int], None]]:
        yield _ignore

    def note(self, text: str) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Say nothing."""


def _ignore(_amount: int) -> None:
    pass


SILENT: Final[Progress] = _Silent()
