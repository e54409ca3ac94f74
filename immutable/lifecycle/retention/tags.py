"""Which tags keep an image: the words of ``keep-tags``.

============================================  ===================================================
``v*``, ``release-?``, ``[0-9]*``             tags that match a glob (see `globs`)
``>=1.2 <2``, ``^1.4``, ``=2.0 || >=3``       tags that hold versions in a range (see `semver`)
``newest 3``                                  the 3 newest versions of each family (see `versions`)
``newest 3 of each minor``                    of each minor version; also ``major`` and ``patch``
``newest 3 of each minor in >=1.2``           among those of a range
``newest 3 in v*``                            among those that match a glob
============================================  ===================================================

Tags hold no blank and none of ``< > = ^ ~ |``, so no word can be meant for another. Newest is by
precedence, not by time, and among tags of one family: ``v1.2``, ``1.2`` and ``1.2-alpine`` are of
three. A release takes its place among releases only, so pre-releases never push it out; a
pre-release takes its among all. Versions of equal precedence share one place.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, Protocol

from attrs import field, frozen

from immutable.content import globs
from immutable.lifecycle.retention import versions
from immutable.lifecycle.retention.semver import Range, Version
from immutable.redact import quoted
from immutable.spec.toml import FaultError

_NEWEST: Final = re.compile(
    r"newest\s+([1-9][0-9]{0,8})(?:\s+of\s+each\s+(major|minor|patch))?(?:\s+in\s+(\S.*))?"
)
_RANGE_STARTS: Final = tuple("<>=^~|")
_IN_NO_TAG: Final = re.compile(r"[^A-Za-z0-9_.*?!^\\\[\]-]")
_PARTS: Final = {"": 0, "major": 1, "minor": 2, "patch": 3}


class Selector(Protocol):
    """Chooses among the tags of one image. `str` gives it as it is written."""

    def choose(self, tags: frozenset[str]) -> frozenset[str]:
        """Return those of `tags`, all that the image has, that keep what they stand on."""


@frozen
class Glob:
    """Tags that match `pattern`."""

    pattern: str

    def choose(self, tags: frozenset[str]) -> frozenset[str]:
        """Return the tags that match."""
        match = globs.compile_globs([self.pattern])
        return frozenset(tag for tag in tags if match(tag.encode()))

    def __str__(self) -> str:
        return self.pattern


@frozen
class InRange:
    """Tags that hold versions in `range`, which is written `text`."""

    text: str
    range: Range = field(repr=False)

    def choose(self, tags: frozenset[str]) -> frozenset[str]:
        """Return the tags that hold versions in the range."""
        return frozenset(tag for tag, version in versions.held(tags) if version in self.range)

    def __str__(self) -> str:
        return self.text


@frozen
class Newest:
    """The newest `count` versions of each family, or of `each` of its majors, minors or patches.

    Only those that `inner` has, if there is one.
    """

    text: str
    count: int
    each: str = ""
    inner: Selector | None = None

    def choose(self, tags: frozenset[str]) -> frozenset[str]:
        """Return the tags whose versions are among the newest."""
        chosen = tags if self.inner is None else self.inner.choose(tags)
        series: dict[tuple[object, ...], list[tuple[str, Version]]] = defaultdict(list)
        for tag, version in versions.held(tags):
            if tag in chosen:
                series[version.family, version.first(_PARTS[self.each])].append((tag, version))
        return frozenset(tag for members in series.values() for tag in self._newest(members))

    def _newest(self, members: Iterable[tuple[str, Version]]) -> Iterable[str]:
        found = {version.precedence: version for _, version in members}
        every = sorted(found)
        releases = sorted(key for key, version in found.items() if not version.prerelease)
        for tag, version in members:
            rivals = every if version.prerelease else releases
            newer = len(rivals) - bisect_right(rivals, version.precedence)
            if newer < self.count:
                yield tag

    def __str__(self) -> str:
        return self.text


def by_versions(selector: Selector) -> bool:
    """Whether `selector` asks for versions, so that where there are none it says nothing."""
    return isinstance(selector, InRange | Newest)


def parse(text: str) -> Selector:
    """Return the selector that `text` writes; raise FaultError, saying what is wrong."""
    text = text.strip()
    if text == "newest" or text.startswith("newest "):
        match = _NEWEST.fullmatch(text)
        if match is None:
            raise FaultError(
                f'expected "newest 3", "newest 3 of each minor" or "newest 3 of each minor in '
                f'>=1.2", found {quoted(text)}'
            )
        return Newest(text, int(match[1]), match[2] or "", _plain(match[3]) if match[3] else None)
    return _plain(text)


def _plain(text: str) -> Selector:
    odd = _IN_NO_TAG.search(text)
    try:
        if text.startswith(_RANGE_STARTS):
            return InRange(text, Range.parse(text))
        globs.check(text)
    except ValueError as error:
        raise FaultError(str(error)) from None
    if odd is not None:
        raise FaultError(f"{quoted(text)}: no tag has {odd[0]!r} in it")
    return Glob(text)
