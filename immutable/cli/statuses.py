"""Exit statuses of commands; `immutable.cli` says what each means."""

from __future__ import annotations

from typing import Final

REFUSED: Final = 1
FOUND: Final = 3
