"""What an image in a store may be called, and the errors for names that it has not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from immutable.errors import ImageNotFound, StoreError
from immutable.oci.tags import checked_version
from immutable.reference.grammar import is_repository


def check_name(name: str) -> None:
    """Raise StoreError unless `name` can be an image's name."""
    if not is_repository(name):
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
