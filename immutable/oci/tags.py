"""Tags: what can be one, and that each names one version (distribution-spec 1.1, "Pull")."""

from __future__ import annotations

import re
from typing import Final

from immutable.redact import quoted

LATEST: Final = "latest"  # may be read where others wrote it, and is never written
NO_VERSION: Final = "latest names no version; tags are for versions"

_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)


def is_tag(text: str) -> bool:
    """Whether `text` can be a tag, if only one that others wrote."""
    return _TAG.fullmatch(text) is not None


def checked_version(text: str) -> str:
    """Return `text` if it can be a tag of ours; raise ValueError otherwise."""
    if text == LATEST:
        raise ValueError(NO_VERSION)
    if not is_tag(text):
        raise ValueError(
            f"{quoted(text, 140)}: expected a tag of at most 128 of a-z A-Z 0-9 _ . - that starts "
            "with neither . nor -"
        )
    return text
