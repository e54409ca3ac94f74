"""Policies: which images are kept, as a person writes it, parsed once into frozen values.

::

    [[rule]]
    images = ["shop/*"]                      # globs of whole names; left out: every image
    keep-last = 5
    keep-within = "30d"
    keep-tags = ["v*", ">=1.2 <2", "newest 3 of each minor"]     # see `tags`
    keep-deployed = ["deploy/**/*.yaml"]     # files beside the policy's, see `deployed`
    delete-untagged-after = "7d"

    [[rule]]
    images = ["ci/**"]
    all = [{ keep-last = 20 }, { keep-within = "14d" }, { not = { keep-tags = ["pr-*"] } }]

    [store]
    max-size = "20 GiB"

What the words mean:

- A rule *speaks about* the images that one of its globs matches. What no rule speaks about is
  kept. Of several rules that speak about one image, any that keeps it, keeps it.
- The conditions of one table are or-ed: any that keeps, keeps, and what none keeps expires. So it
  is within ``any``, ``all`` and ``not`` too: ``any = [...]`` keeps what one of its tables keeps,
  ``all = [...]`` what each of them keeps, ``not = {...}`` what its table does not keep.
- ``keep-last = N`` keeps the last N images of one name: by generation number where there is one,
  so that a rollback changes no order, else by time. Equal digests are one image and images of one
  time share a place. The parts of an index and referrers such as signatures take no place.
- ``keep-within`` keeps what is at most so old. A time in the future is age 0, and an unknown age
  is young, so that a clock that jumps back keeps more.
- ``keep-tags`` keeps what has one of the tags, with all its other tags. A rule that asks for
  versions anywhere keeps everything of a name none of whose tags holds a version.
- ``keep-deployed`` keeps what any of the policy's deployed files mentions.
- ``delete-untagged-after`` gives images without a tag an age of their own: for them it stands in
  the place of the rule's ``keep-within``. A rule with nothing else speaks about them only.

``not`` takes only conditions on tags, and not the newest of them: turned round, a time or a place
would let an image go for being new, and ``keep-deployed`` would let go of what runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from fractions import Fraction
from typing import Any, Final, NewType

from attrs import Factory, field, frozen
from cattrs.errors import ClassValidationError

from immutable.content import globs
from immutable.errors import SpecError
from immutable.lifecycle.retention import tags
from immutable.lifecycle.retention.tags import Newest, Selector
from immutable.redact import quoted
from immutable.spec import toml
from immutable.spec.toml import FaultError

Age = NewType("Age", timedelta)  # written "30d", "12h", "1w2d"
Count = NewType("Count", int)
Bytes = NewType("Bytes", int)  # written "20 GiB"
Pattern = NewType("Pattern", str)  # a glob of `globs`

EVERY_IMAGE: Final = (Pattern("**"),)
MAX_DEPTH: Final = 8  # tables of conditions within one another

_AGE: Final = re.compile(
    r"(?:(\d{1,6})w)?(?:(\d{1,6})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII
)
_OLDEST: Final = timedelta(days=365_000)
_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)\s*([kKMGT]?i?B)", re.ASCII)
_UNITS: Final = {
    "B": 1,
    **{f"{letter}iB": 1 << 10 * n for n, letter in enumerate("KMGT", 1)},
    **{f"{letter}B": 1000**n for n, letter in enumerate("kMGT", 1)},
}


def parse_age(value: str | timedelta) -> Age:
    """Return the time span written ``30d``, ``12h`` or ``1w2d``; raise FaultError.

    The units are w, d, h, m (minutes) and s, in this order.
    """
    if isinstance(value, str):
        match = _AGE.fullmatch(value)
        if not match or not value:
            raise FaultError(f'expected a time span like "30d" or "12h", found {quoted(value)}')
        weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        age = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    else:
        age = value
    if not timedelta(0) < age <= _OLDEST:
        raise FaultError(f"expected a time span above 0 and up to 365000d, found {value!s}")
    return Age(age)


def show_age(age: timedelta) -> str:
    """Return how `age` is written, in whole seconds: ``30d``, ``1d12h``."""
    seconds = age // timedelta(seconds=1)
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> Bytes:
    """Return the bytes that ``20 GiB``, ``1.5GB`` or ``4096 B`` means; raise FaultError."""
    match = _SIZE.fullmatch(text)
    if not match or match[2] not in _UNITS:
        raise FaultError(f'expected a size like "20 GiB" or "500 MB", found {quoted(text)}')
    return Bytes(math.floor(Fraction(match[1]) * _UNITS[match[2]]))


def _count(value: object) -> Count:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
        raise FaultError(f"expected a number from 1 to 2147483647, found {toml.found(value)}")
    return Count(value)


def _some_count(value: int | None) -> Count | None:
    return None if value is None else _count(value)


def _some_age(value: str | timedelta | None) -> Age | None:
    return None if value is None else parse_age(value)


def _pattern(text: str) -> Pattern:
    try:
        globs.check(text)
    except ValueError as error:
        raise FaultError(str(error)) from None
    return Pattern(text)


def _patterns(values: Iterable[str]) -> tuple[Pattern, ...]:
    return tuple(_pattern(value) for value in _each(values))


def _selectors(values: Iterable[str | Selector]) -> tuple[Selector, ...]:
    return tuple(tags.parse(v) if isinstance(v, str) else v for v in _each(values))


def _each(values: Iterable[Any]) -> Iterable[Any]:
    return (values,) if isinstance(values, str) else values


def _conditions(values: Iterable[Condition]) -> tuple[Condition, ...]:
    return tuple(values)


@frozen(kw_only=True)
class Condition:
    """One table of conditions: it keeps what any of them keeps.

    Ages and tags may be given as they are written. Raises ValueError for what a policy's file
    could not say.
    """

    keep_last: Count | None = field(default=None, converter=_some_count)
    keep_within: Age | None = field(default=None, converter=_some_age)
    keep_tags: tuple[Selector, ...] = field(default=(), converter=_selectors)
    keep_deployed: tuple[Pattern, ...] = field(default=(), converter=_patterns)
    any_: tuple[Condition, ...] = field(default=(), converter=_conditions)
    all_: tuple[Condition, ...] = field(default=(), converter=_conditions)
    not_: Condition | None = field(default=None)

    def __attrs_post_init__(self) -> None:
        if self.depth > MAX_DEPTH:
            raise FaultError(f"conditions nested more than {MAX_DEPTH} deep")
        if not self.keeps and type(self) is Condition:
            raise FaultError("expected a condition, such as keep-last")
        words = () if self.not_ is None else tuple(_not_to_be_turned_round(self.not_))
        if words:
            raise FaultError(f"{words[0]}: would let new images go first", key="not")

    @property
    def keeps(self) -> bool:
        """Whether there is any condition that keeps something."""
        return (
            self.keep_last is not None
            or self.keep_within is not None
            or self.not_ is not None
            or any((self.keep_tags, self.keep_deployed, self.any_, self.all_))
        )

    @property
    def depth(self) -> int:
        """How many tables stand within one another, this one included."""
        return 1 + max((inner.depth for inner in self.inner()), default=0)

    def inner(self) -> tuple[Condition, ...]:
        """Return the tables that stand directly in this one."""
        return (*self.any_, *self.all_, *(() if self.not_ is None else (self.not_,)))

    @property
    def by_versions(self) -> bool:
        """Whether a ``keep-tags`` asks for versions, at any depth."""
        return any(map(tags.by_versions, self.keep_tags)) or any(
            inner.by_versions for inner in self.inner()
        )

    def deployed_files(self) -> Iterator[Pattern]:
        """Yield the globs of every ``keep-deployed``, at any depth."""
        yield from self.keep_deployed
        for inner in self.inner():
            yield from inner.deployed_files()


def _not_to_be_turned_round(condition: Condition) -> Iterator[str]:
    """Yield the words in `condition` that must not stand below a ``not``."""
    if condition.keep_last is not None:
        yield "keep-last"
    if condition.keep_within is not None:
        yield "keep-within"
    if condition.keep_deployed:
        yield "keep-deployed"
    yield from (f'"{word}"' for word in condition.keep_tags if isinstance(word, Newest))
    for inner in condition.inner():
        yield from _not_to_be_turned_round(inner)


@frozen(kw_only=True)
class Rule(Condition):
    """One ``[[rule]]``: conditions, and the images that they are for."""

    images: tuple[Pattern, ...] = field(default=EVERY_IMAGE, converter=_patterns)
    delete_untagged_after: Age | None = field(default=None, converter=_some_age)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not self.images:
            raise FaultError("expected at least one glob", key="images")
        if not self.keeps and self.delete_untagged_after is None:
            raise FaultError("expected a condition, such as keep-last")


@frozen(init=False)
class Policy:
    """What is kept: `rules`, and how many bytes a store may take (None: any number).

    ``Policy(keep_last=3)`` is one rule for every image; all that a Rule takes may be given so.
    """

    rules: tuple[Rule, ...] = ()
    max_size: int | None = None

    def __init__(
        self, rules: Iterable[Rule] = (), *, max_size: int | None = None, **conditions: Any
    ) -> None:
        own = (Rule(**conditions),) if conditions else ()
        self.__attrs_init__((*rules, *own), max_size)

    def deployed_files(self) -> tuple[str, ...]:
        """Return the globs of all files that say what is deployed, each once, in their order."""
        return tuple(dict.fromkeys(glob for rule in self.rules for glob in rule.deployed_files()))


@frozen
class _Store:
    max_size: Bytes | None = None


@frozen
class _Document:
    rule: tuple[Rule, ...] = ()
    store: _Store = Factory(_Store)


def parse(data: bytes, where: str = "policy") -> Policy:
    """Return the policy in the TOML document `data`; `where` names the file in messages.

    Raises SpecError with every fault, each with its path and, for a misspelt key, the nearest
    known one. An empty document keeps everything.
    """
    document = toml.read_toml(data, where)
    faults = [*_empty_arrays(document, "")]
    made = toml.converter()
    made.register_structure_hook(Age, toml.parsed(parse_age))
    made.register_structure_hook(Bytes, toml.parsed(parse_size))
    made.register_structure_hook(Pattern, toml.parsed(_pattern))
    made.register_structure_hook(Selector, toml.parsed(tags.parse))
    made.register_structure_hook(Count, lambda value, _: _count(value))
    try:
        parsed = made.structure(document, _Document)
    except ClassValidationError as error:
        faults += toml.faults(error)
        raise SpecError(where, faults) from None
    if faults:
        raise SpecError(where, faults)
    return Policy(parsed.rule, max_size=parsed.store.max_size)


def _empty_arrays(value: Any, path: str) -> Iterator[str]:
    # Nothing in an array reads like no condition, and would be kept by none.
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _empty_arrays(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        if not value:
            yield f"{path}: expected at least one, found none; leave it out instead"
        for number, item in enumerate(value):
            yield from _empty_arrays(item, f"{path}[{number}]")
