"""How images are called in a store: ``name``, ``name:tag``, ``name@number``, ``name@digest``.

All of them are also what `index.json` says in ``org.opencontainers.image.ref.name``, so other
tools read them: ``skopeo inspect oci:STORE:shop/web@3``.
"""

from __future__ import annotations

import re
from typing import Final, Self

from attrs import frozen

from immutable.oci.digest import Digest
from immutable.oci.tags import is_tag
from immutable.reference.grammar import is_repository

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


@frozen
class Reference:
    """A reference taken apart: at most one of `tag`, `number` and `digest` is set."""

    name: str
    tag: str | None = None
    number: int | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the reference that `text` writes, or None if it writes none."""
        name, at, version = text.partition("@")
        if at and _NUMBER.fullmatch(version):
            result = cls(name, number=int(version))
        elif at:
            try:
                result = cls(name, digest=Digest.parse(version))
            except ValueError:
                return None
        else:
            name, colon, tag = text.partition(":")
            if colon and not is_tag(tag):
                return None
            result = cls(name, tag=tag if colon else None)
        return result if is_repository(name) else None

    def __str__(self) -> str:
        if self.tag is not None:
            return f"{self.name}:{self.tag}"
        version = self.number if self.number is not None else self.digest
        return self.name if version is None else f"{self.name}@{version}"
