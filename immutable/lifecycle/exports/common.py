"""What the exports share: a policy in the few words that registries know, and its globs in theirs.

An export may keep more than the policy does, never less: what it cannot say exactly it says more
widely, or not at all, and its report tells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from attrs import field, frozen

from immutable.lifecycle.retention.policy import Condition, Policy, Rule, show_age
from immutable.lifecycle.retention.tags import Glob, Selector, by_versions
from immutable.oci import canonical

_DAY: Final = timedelta(days=1)


@frozen
class Export:
    """A document for a registry, None if it needs none, and what it `cannot` say, line by line."""

    document: Mapping[str, Any] | None = field(converter=canonical.freeze)
    cannot: tuple[str, ...] = ()


def export_document(export: Export) -> dict[str, Any]:
    """Return the JSON document of an export.

    It has document, which is for the registry (None if it needs none), and cannot, a line each.
    """
    return {"document": canonical.thaw(export.document), "cannot": [*export.cannot]}


@frozen
class Keeps:
    """What of some images is kept: any of these; None and () keep nothing."""

    last: int | None = None
    within: timedelta | None = None
    tags: tuple[Selector, ...] = ()

    def __or__(self, other: Keeps) -> Keeps:
        return Keeps(
            max((n for n in (self.last, other.last) if n is not None), default=None),
            max((age for age in (self.within, other.within) if age is not None), default=None),
            tuple(dict.fromkeys((*self.tags, *other.tags))),
        )


@frozen
class Wish:
    """What rules keep of tagged and of untagged images; None where they do not speak of them.

    `rules` are their numbers; `cannot` says what no registry knows; then all must stay.
    """

    rules: tuple[int, ...] = ()
    tagged: Keeps | None = None
    untagged: Keeps | None = None
    cannot: tuple[str, ...] = ()

    @classmethod
    def of(cls, number: int, rule: Rule) -> Wish:
        """Return what rule `number` keeps."""
        inner = Keeps()
        for condition in _alternatives(rule):
            inner |= _plainly(condition)
        own = _plainly(rule)
        tagged = inner | own if rule.keeps else None
        untagged = tagged
        if rule.delete_untagged_after is not None:
            untagged = inner | Keeps(own.last, rule.delete_untagged_after)
        cannot = (line for c in (rule, *_alternatives(rule)) for line in _strange(number, c))
        return cls((number,), tagged, untagged, tuple(dict.fromkeys(cannot)))

    def __or__(self, other: Wish) -> Wish:
        return Wish(
            tuple(sorted({*self.rules, *other.rules})),
            _either(self.tagged, other.tagged),
            _either(self.untagged, other.untagged),
            tuple(dict.fromkeys((*self.cannot, *other.cannot))),
        )

    @property
    def label(self) -> str:
        """How a report calls its rules: ``rule 1``, ``rules 1, 2``."""
        return f"rule{'s' * (len(self.rules) > 1)} {', '.join(map(str, self.rules))}"


def _either(one: Keeps | None, other: Keeps | None) -> Keeps | None:
    if one is None or other is None:
        return one or other
    return one | other


def _plainly(condition: Condition) -> Keeps:
    return Keeps(condition.keep_last, condition.keep_within, condition.keep_tags)


def _alternatives(condition: Condition) -> Iterator[Condition]:
    """Yield the tables within `condition` each of which alone is enough to keep."""
    single = condition.all_ if len(condition.all_) == 1 else ()
    for inner in (*condition.any_, *single):
        yield inner
        yield from _alternatives(inner)


def _strange(number: int, condition: Condition) -> Iterator[str]:
    """Yield what of `condition` no registry can be told, and so keeps all its images."""
    for selector in filter(by_versions, condition.keep_tags):
        said = "no registry compares versions; its images all stay"
        yield f"rule {number}: keep-tags {selector}: {said}"
    for pattern in condition.keep_deployed:
        yield f"rule {number}: keep-deployed {pattern}: no registry sees files; its images all stay"
    if len(condition.all_) > 1:
        yield f"rule {number}: all: conditions can only be or-ed; its images all stay"
    if condition.not_ is not None:
        yield f"rule {number}: not: no condition can be turned round; its images all stay"


def budget(policy: Policy) -> tuple[str, ...]:
    """Return what is to say of the store's budget, which is no registry's."""
    return () if policy.max_size is None else ("store.max-size: only for a local store",)


def days(age: timedelta) -> int:
    """Return `age` in whole days, rounded up."""
    return math.ceil(age / _DAY)


def rounded(age: timedelta) -> Iterator[str]:
    """Yield what is to say of an `age` that is no whole number of days."""
    if age % _DAY:
        yield f"{show_age(age)}: counted in whole days: {days(age)}"


@frozen
class Token:
    """A piece of a glob: a ``literal``, ``any`` (``*``), ``one`` (``?``) or a ``set``.

    `text` is the literal; a set's `ranges` are (first, last), all but them if `negated`.
    """

    kind: str
    text: str = ""
    ranges: tuple[tuple[str, str], ...] = ()
    negated: bool = False


def tokens(name: str) -> Iterator[Token]:
    """Yield the pieces of a glob of one name, which `globs` takes."""
    position = 0
    while position < len(name):
        character = name[position]
        if character == "[":
            # As everywhere, a ] in the first place is one of the set.
            start = position + 1 + (name[position + 1] in "!^")
            end = name.index("]", start + 1)
            yield _set(name[start:end], negated=start > position + 1)
            position = end
        elif character == "*":
            yield Token("any")
        elif character == "?":
            yield Token("one")
        else:
            position += character == "\\"
            yield Token("literal", name[position])
        position += 1


def _set(inner: str, *, negated: bool) -> Token:
    ranges = []
    index = 0
    while index < len(inner):
        step = 2 if inner[index + 1 : index + 2] == "-" and index + 2 < len(inner) else 0
        ranges.append((inner[index], inner[index + step]))
        index += step + 1
    return Token("set", ranges=tuple(ranges), negated=negated)


def show_set(token: Token) -> str:
    """Return a set as RE2 and doublestar both read it."""
    parts = (
        _escaped(low) if low == high else f"{_escaped(low)}-{_escaped(high)}"
        for low, high in token.ranges
    )
    return f"[{'^' if token.negated else ''}{''.join(parts)}]"


def _escaped(character: str) -> str:
    return character if character.isalnum() else f"\\{character}"


def doublestar(pattern: str) -> str:
    """Return a glob of `globs` for whole names as bmatcuk/doublestar reads it.

    There ``{a,b}`` is a choice, and a last ``**`` may stand for nothing.
    """
    names = components(pattern)
    if names[-1] == "**" and len(names) > 1:
        names.append("*")
    return "/".join(name if name == "**" else "".join(_star(name)) for name in names)


def _star(name: str) -> Iterator[str]:
    for token in tokens(name):
        if token.kind == "literal":
            special = not (token.text.isalnum() or token.text in "._-")
            yield f"\\{token.text}" if special else token.text
        else:
            yield {"any": "*", "one": "?"}.get(token.kind) or show_set(token)


def components(pattern: str) -> list[str]:
    """Return the names that a glob is made of."""
    return [name for name in pattern.split("/") if name not in ("", ".")]


def may_overlap(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether a glob of `one` and one of `other` may match the same name; True in doubt."""
    others = [components(pattern) for pattern in other]
    return any(_meet(components(mine), theirs) for mine in one for theirs in others)


def _meet(one: list[str], other: list[str]) -> bool:
    for mine, theirs in zip(one, other, strict=False):
        if "**" in (mine, theirs):
            return True
        first, second = _start(mine), _start(theirs)
        if (first, second) == (mine, theirs) and mine != theirs:
            return False
        if not first.startswith(second) and not second.startswith(first):
            return False
    longer = max(one, other, key=len)
    return len(one) == len(other) or "**" in longer[min(len(one), len(other)) :]


def _start(name: str) -> str:
    """Return what `name`, a glob, begins with before any wildcard."""
    end = next((n for n, character in enumerate(name) if character in "*?[\\"), len(name))
    return name[:end]


def glob_of(selector: Selector) -> str:
    """Return the glob that `selector` is; a wish without ``cannot`` has nothing else."""
    assert isinstance(selector, Glob)  # noqa: S101 - see `_strange`
    return selector.pattern
