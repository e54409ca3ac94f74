"""Wheels: which ones a language's own lock names for an image, and having them through pip."""

from __future__ import annotations

from immutable.sources.pypi.choice import Choice, Locked
from immutable.sources.pypi.environment import Environment, check_libc, check_python
from immutable.sources.pypi.pip import Asked, Fetched, Pip, download
from immutable.sources.pypi.pylock import Pylock
from immutable.sources.pypi.requirements import Requirements

__all__ = [
    "Asked",
    "Choice",
    "Environment",
    "Fetched",
    "Locked",
    "Pip",
    "check_libc",
    "check_python",
    "download",
    "read",
]


def read(data: bytes, where: str) -> Locked:
    """Return the ``pylock.toml`` (by its ending) or the requirements file in `data`.

    `where` names the file in messages. Raises LockError for one that cannot be used.
    """
    return Pylock(data, where) if where.endswith(".toml") else Requirements(data, where)
