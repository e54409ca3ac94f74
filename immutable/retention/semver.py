"""Versions and ranges of them: Semantic Versioning 2.0.0, https://semver.org/spec/v2.0.0.html.

A tag writes a version as ``1.4.0`` or ``v1.4.0``. Tags cannot hold ``+``, so ``_`` stands for it,
as Helm writes charts: ``1.4.0_build5`` has the build metadata ``build5``.

A range is comparators apart by blanks or commas, all of which must hold, or several such lists
with ``||`` between them::

    >=1.2 <2        ^1.4        ~1.4.2        =1.4        >=1.2, <2 || ^3.1

``^`` allows what changes nothing left of the first part that is not 0, ``~`` what changes the
patch (or, of ``~1``, the minor). Parts left out are 0 in ``>=`` and ``<`` and stand for all of
theirs in ``=``, ``>`` and ``<=``. Ranges know nothing but precedence (section 11): ``<2`` holds
``2.0.0-rc.1``, which comes before ``2.0.0``.
"""

from __future__ import annotations

import re
from typing import Final, Self, TypeAlias

from attrs import frozen

from immutable.redact import quoted

_NUMBER: Final = r"(?:0|[1-9][0-9]*)"
_IDENTIFIER: Final = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_TAIL: Final = (
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:[+_]([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_VERSION: Final = re.compile(rf"[vV]?({_NUMBER})\.({_NUMBER})\.({_NUMBER}){_TAIL}", re.ASCII)
_PARTIAL: Final = re.compile(
    rf"[vV]?({_NUMBER})(?:\.({_NUMBER})(?:\.({_NUMBER}){_TAIL})?)?", re.ASCII
)
_COMPARATOR: Final = re.compile(r"[\s,]*(>=|<=|>|<|=|\^|~)\s*([^\s,<>=^~|]+)[\s,]*")
_LONGEST: Final = 512  # characters; far above any honest range

# Identifiers compare as these do: numbers before words, fewer before more.
_Identifiers: TypeAlias = tuple[tuple[bool, int, str], ...]
Precedence: TypeAlias = tuple[int, int, int, bool, _Identifiers]


@frozen
class Version:
    """A version; `prerelease` and `build` as written, without ``-`` and ``+``."""

    major: int
    minor: int
    patch: int
    prerelease: str = ""
    build: str = ""

    @classmethod
    def parse(cls, tag: str) -> Self | None:
        """Return the version that `tag` writes, or None if it writes none."""
        match = _VERSION.fullmatch(tag) if len(tag) <= _LONGEST else None
        if match is None:
            return None
        major, minor, patch, prerelease, build = match.groups()
        return cls(int(major), int(minor), int(patch), prerelease or "", build or "")

    @property
    def precedence(self) -> Precedence:
        """What two versions compare by (section 11); build metadata does not count."""
        found = self.prerelease.split(".") if self.prerelease else []
        identifiers = tuple(
            (False, int(part), "") if part.isdecimal() else (True, 0, part) for part in found
        )
        return self.major, self.minor, self.patch, not found, identifiers


@frozen
class Range:
    """What any of `alternatives` holds: (from, to) pairs of precedences, `to` not included.

    None stands for no end; ``(…, True)`` as the last part of a bound for just after it.
    """

    alternatives: tuple[tuple[_Bound | None, _Bound | None], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the range that `text` writes; raise ValueError, saying what is wrong."""
        if len(text) > _LONGEST:
            raise ValueError(f"expected a range of at most {_LONGEST} characters")
        return cls(tuple(_interval(part, text) for part in text.split("||")))

    def __contains__(self, version: Version) -> bool:
        place = (version.precedence, False)
        return any(
            (least is None or least <= place) and (end is None or place < end)
            for least, end in self.alternatives
        )


_Bound: TypeAlias = tuple[Precedence, bool]


def _interval(part: str, text: str) -> tuple[_Bound | None, _Bound | None]:
    least: _Bound | None = None
    end: _Bound | None = None
    position = 0
    while position < len(part) or position == 0:
        match = _COMPARATOR.match(part, position)
        if match is None:
            raise ValueError(f'expected a range like ">=1.2 <2", found {quoted(text)}')
        low, high = _bounds(match[1], match[2])
        least = low if least is None or (low is not None and low > least) else least
        end = high if end is None or (high is not None and high < end) else end
        position = match.end()
    return least, end


def _bounds(operator: str, text: str) -> tuple[_Bound | None, _Bound | None]:
    match = _PARTIAL.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a version like 1.2 or 1.2.3-rc.1, found {quoted(text)}")
    given = tuple(int(part) for part in match.groups()[:3] if part is not None)
    major, minor, patch = (*given, 0, 0)[:3]
    first = Version(major, minor, patch, match[4] or "")
    at = (first.precedence, False)
    # What the version as written stands for ends here.
    after = (first.precedence, True) if len(given) == 3 else _next(given, len(given) - 1)
    if operator == "^":
        return at, _next(given, next((n for n, part in enumerate(given) if part), len(given) - 1))
    if operator == "~":
        return at, _next(given, min(1, len(given) - 1))
    return {
        ">=": (at, None),
        ">": (after, None),
        "<": (None, at),
        "<=": (None, after),
        "=": (at, after),
    }[operator]


def _next(given: tuple[int, ...], place: int) -> _Bound:
    """Return the first release with a greater part at `place`."""
    major, minor, patch = (*given[:place], given[place] + 1, 0, 0)[:3]
    return Version(major, minor, patch).precedence, False
