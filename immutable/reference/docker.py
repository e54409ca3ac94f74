"""Names as Docker writes them: ``[HOST[:PORT]/]PATH:TAG`` (distribution/reference)."""

from __future__ import annotations

import re
from typing import Final, Self

from attrs import frozen

from immutable.oci.tags import is_tag
from immutable.reference.grammar import REPOSITORY

_HOST: Final = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?"
_REPOSITORY: Final = re.compile(rf"{_HOST}{REPOSITORY}", re.ASCII)
# What tells a host from the first part of a path: a dot, a port, or being this very machine.
_PREFIX: Final = re.compile(r"(?:[^/]*[.:][^/]*|localhost)/(?:library/)?")


@frozen
class DockerName:
    """A repository and a tag; there is no tag by default, least of all ``latest``."""

    repository: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name that `text` writes; raise ValueError."""
        repository, colon, tag = text.rpartition(":")
        if not colon or "/" in tag:
            raise ValueError(f"{text!r}: expected NAME:TAG; say which tag, none is assumed")
        if not _REPOSITORY.fullmatch(repository) or not is_tag(tag):
            raise ValueError(f"{text!r}: expected [HOST[:PORT]/]NAME:TAG, NAME in lower case")
        return cls(repository, tag)

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"

    def is_meant_by(self, text: str) -> bool:
        """Tell whether `text` is this name, but for a registry that only one of them names.

        Tools put their default registry, and its default folder, before short names.
        """
        one, other = sorted((str(self), text), key=len)
        return one == other or (
            other.endswith(f"/{one}") and bool(_PREFIX.fullmatch(other[: -len(one)]))
        )
