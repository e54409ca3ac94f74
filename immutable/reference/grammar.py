"""What a repository's name is made of: distribution-spec 1.1, "Pulling manifests", <name>."""

from __future__ import annotations

import re
from typing import Final

_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY: Final = rf"{_PART}(?:/{_PART})*"
LONGEST: Final = 255  # characters of host and repository, as distribution/reference has it
_REPOSITORY: Final = re.compile(REPOSITORY, re.ASCII)


def is_repository(text: str) -> bool:
    """Whether `text` can name a repository, or an image in a store: ``shop/web``."""
    return _REPOSITORY.fullmatch(text) is not None
