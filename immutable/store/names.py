"""How images are called in a store: ``name``, ``name:tag``, ``name@number``, ``name@digest``.

All of them are also what `index.json` says in ``org.opencontainers.image.ref.name``, so other
tools read them: ``skopeo inspect oci:STORE:shop/web@3``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final, Self

from attrs import frozen

from immutable.errors import ImageNotFound, StoreError
from immutable.oci.digest import Digest
from immutable.oci.tags import checked_version, is_tag

# OCI distribution-spec, "Pulling manifests": <name>.
_NAME: Final = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII
)
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
        return result if is_name(name) else None

    def __str__(self) -> str:
        if self.tag is not None:
            return f"{self.name}:{self.tag}"
        version = self.number if self.number is not None else self.digest
        return self.name if version is None else f"{self.name}@{version}"


def is_name(text: str) -> bool:
    """Whether `text` can be an image's name."""
    return _NAME.fullmatch(text) is not None


def check_name(name: str) -> None:
    """Raise StoreError unless `name` can be an image's name."""
    if not is_name(name):
        raise StoreError(
            f"{name!r}: expected an image name: parts of a-z, 0-9 and single . _ - between them, "
            "joined by /"
        )


def check_tag(tag: str) -> None:
    """Raise StoreError unless `tag` can be an image's tag; `latest`, for one, cannot."""
    try:
        checked_version(tag)
    except ValueError as error:
        raise StoreError(str(error)) from None


def no_such_tag(name: str, tag: str, known: Iterable[str]) -> ImageNotFound:
    """Return the error for a tag that the image `name` has not, with those that it has."""
    there = ", ".join(sorted(known)) or "none"
    return ImageNotFound(f"{name}:{tag}: no such tag; {name} has {there}")


def no_such_generation(name: str, number: int, known: Iterable[int]) -> ImageNotFound:
    """Return the error for a number that the image `name` has not, with those that it has."""
    there = ", ".join(map(str, known))
    return ImageNotFound(f"{name}@{number}: no such generation; there is {there}")


def not_found(wanted: str, known: Iterable[str], kind: str = "image") -> ImageNotFound:
    """Return the error for `wanted`, with the nearest of the `known` names or a few of them."""
    names = sorted(known)
    near = difflib.get_close_matches(wanted, names, n=1)
    if near:
        hint = f"did you mean {near[0]}?"
    elif names:
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        hint = f"there is {', '.join(names[:8])}{more}"
    else:
        hint = "there is none"
    return ImageNotFound(f"{wanted}: no such {kind} in the store; {hint}")
