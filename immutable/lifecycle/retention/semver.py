"""Precedence of versions and ranges of them: Semantic Versioning 2.0.0, and more or fewer numbers.

https://semver.org/spec/v2.0.0.html. How tags write versions is the business of `versions`.

A range is comparators apart by blanks or commas, all of which must hold, or several such lists
with ``||`` between them::

    >=1.2 <2        ^1.4        ~1.4.2        =1.4        >=1.2, <2 || ^3.1        >=2024.01

``^`` allows what changes nothing left of the first part that is not 0, ``~`` what changes the
patch (or, of ``~1``, the minor). Numbers left out are 0 in ``>=`` and ``<``; of a version of one
or two they stand for all of theirs in ``=``, ``>`` and ``<=``. Ranges know nothing but precedence
(section 11): ``<2`` holds ``2.0.0-rc.1``, which comes before ``2.0.0``.
"""

from __future__ import annotations

import re
from typing import Final, Self, TypeAlias

from attrs import frozen

from immutable.redact import quoted

_OPERAND: Final = re.compile(
    r"[vV]?([0-9]+(?:\.[0-9]+)*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
    r"(?:[+_][0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
# The digest of a commit: it tells nothing of what came before it.
_DIGEST: Final = re.compile(r"(?:[0-9]+-)?g?(?=[0-9a-f]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{7,64}")
_COMPARATOR: Final = re.compile(r"[\s,]*(>=|<=|>|<|=|\^|~)\s*([^\s,<>=^~|]+)[\s,]*")
LONGEST: Final = 512  # characters; far above any honest range

# Identifiers compare as these do: numbers before words, fewer before more.
_Identifiers: TypeAlias = tuple[tuple[bool, int, str], ...]
Precedence: TypeAlias = tuple[tuple[int, ...], bool, _Identifiers]


@frozen
class Version:
    """A version: its numbers, `prerelease` and `build` as written, without ``-`` and ``+``.

    Versions of one `family` can be told older and newer; see `versions`.
    """

    numbers: tuple[int, ...]
    prerelease: str = ""
    build: str = ""
    family: tuple[str, ...] = ()

    def first(self, count: int) -> tuple[int, ...]:
        """Return its first `count` numbers; those left out are 0."""
        return (*self.numbers, *[0] * count)[:count]

    @property
    def precedence(self) -> Precedence:
        """What two versions compare by (section 11); build metadata does not count."""
        found = self.prerelease.split(".") if self.prerelease else []
        identifiers = tuple(
            (False, int(part), "") if part.isdecimal() else (True, 0, part)
            for part in found
            if not _DIGEST.fullmatch(part)
        )
        length = next((n for n in range(len(self.numbers), 0, -1) if self.numbers[n - 1]), 0)
        return self.numbers[:length], not found, identifiers


@frozen
class Range:
    """What any of `alternatives` holds: (from, to) pairs of precedences, `to` not included.

    None stands for no end; ``(…, True)`` as the last part of a bound for just after it.
    """

    alternatives: tuple[tuple[_Bound | None, _Bound | None], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the range that `text` writes; raise ValueError, saying what is wrong."""
        if len(text) > LONGEST:
            raise ValueError(f"expected a range of at most {LONGEST} characters")
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
    match = _OPERAND.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a version like 1.2 or 1.2.3-rc.1, found {quoted(text)}")
    given = tuple(int(part) for part in match[1].split("."))
    first = Version(given, match[2] or "")
    at = (first.precedence, False)
    # What the version as written stands for ends here.
    whole = len(given) > 2 or first.prerelease
    after = (first.precedence, True) if whole else _next(given, len(given) - 1)
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
    """Return the first release with a greater number at `place`."""
    return Version((*given[:place], given[place] + 1)).precedence, False
