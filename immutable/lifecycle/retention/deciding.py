"""A policy and items to one decision for each: pure, whatever the order of the items.

Items of one name and digest are one image and share its fate. What is current or pinned, the
children of what is kept and the referrers of what is kept are always kept; an untagged child or a
referrer has no other fate than theirs that it belongs to. All the rest is for the rules to say.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from attrs import evolve, frozen

from immutable.content.globs import compile_globs
from immutable.lifecycle.retention import versions
from immutable.lifecycle.retention.items import Decision, Deployed, Item, Lookup
from immutable.lifecycle.retention.policy import Condition, Policy, Rule, show_age
from immutable.lifecycle.retention.tags import Selector
from immutable.oci.digest import Digest

_NO_RULE: Final = "no rule speaks about it"

_Rules: TypeAlias = Sequence[tuple[int, Rule]]


def decide(
    policy: Policy, items: Iterable[Item], now: datetime, deployed: Deployed | None = None
) -> tuple[Decision, ...]:
    """Return one decision for each of `items`, by name and from old to new.

    `deployed` is what the policy's deployed files mention, all together. Raises ValueError if
    the policy asks for them and there is none, and for a `now` without a time zone.
    """
    if now.tzinfo is None:
        raise ValueError("now: expected a time with its offset from UTC")
    if deployed is None and policy.deployed_files():
        raise ValueError("the policy keeps what is deployed: expected what its files mention")
    lookup = Lookup(deployed or Deployed())
    rules = [
        (number, rule, compile_globs(rule.images, whole=True))
        for number, rule in enumerate(policy.rules, 1)
    ]
    by_name: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_name[item.name].append(item)
    decisions: list[Decision] = []
    for name in sorted(by_name):
        speaking = [(number, rule) for number, rule, match in rules if match(name.encode())]
        fates = _fates(_Image(by_name[name], now, lookup), speaking)
        ordered = sorted(by_name[name], key=_place)
        decisions += [_decision(item, fates[item.digest]) for item in ordered]
    return tuple(decisions)


@frozen
class _Fate:
    keep: bool
    reason: str
    rule: int | None = None


@frozen
class _Verdict:
    """What one condition makes of an item: `why` says it for people."""

    keep: bool
    why: str


def _decision(item: Item, fate: _Fate) -> Decision:
    word = "kept" if fate.keep else "expired"
    return Decision(item, fate.keep, fate.rule, f"{word}: {fate.reason}")


def _place(item: Item) -> tuple[int, float, str, str]:
    made = item.created.timestamp() if item.created is not None else 0.0
    return item.number or 0, made, str(item.digest), repr(item)


class _Image:
    """All items of one name, merged by digest, and what the rules ask about them together."""

    def __init__(self, items: Iterable[Item], now: datetime, lookup: Lookup) -> None:
        self._moment = now
        self.lookup = lookup
        groups: dict[Digest, list[Item]] = defaultdict(list)
        for item in items:
            groups[item.digest].append(item)
        self.items = {digest: _merged(group) for digest, group in sorted(groups.items())}
        self.wholes = _wholes(self.items)
        counted = [
            item for digest, item in self.wholes.items() if self.items[digest].refers_to is None
        ]
        self._numbered = all(item.number is not None for item in counted)
        times = [self._time(item) for item in counted]
        self._times = sorted(time for time in times if time is not None)
        self._tags = frozenset(tag for item in self.items.values() for tag in item.tags)
        self.has_versions = any(True for _ in versions.held(self._tags))
        self._chosen: dict[Selector, frozenset[str]] = {}

    def rank(self, item: Item) -> int:
        """Return the item's place, 1 for the newest: one more than there surely are newer."""
        time = self._time(item)
        return 1 if time is None else len(self._times) - bisect_right(self._times, time) + 1

    def _time(self, item: Item) -> Any:
        return item.number if self._numbered else item.known_since

    def age(self, item: Item) -> timedelta | None:
        """Return how old it is, at least 0, or None where nobody knows."""
        since = item.known_since
        return None if since is None else max(self._moment - since, timedelta(0))

    def chosen(self, selector: Selector) -> frozenset[str]:
        """Return those of the image's tags that `selector` keeps."""
        if selector not in self._chosen:
            self._chosen[selector] = selector.choose(self._tags)
        return self._chosen[selector]


def _merged(group: Sequence[Item]) -> Item:
    """Return what items of one digest are together: the newest, with all their tags."""
    if len(group) == 1:
        return group[0]
    newest = max(group, key=_place)
    unknown = any(item.known_since is None for item in group)
    numbers = [item.number for item in group if item.number is not None]
    return evolve(
        newest,
        number=max(numbers, default=None),
        created=None if unknown else max(item.created for item in group if item.created),
        tags=[tag for item in group for tag in item.tags],
        current=any(item.current for item in group),
        pinned=any(item.pinned for item in group),
        children=sorted({child for item in group for child in item.children}),
        aliases=sorted({alias for item in group for alias in item.aliases}),
        subject=next((item.subject for item in group if item.subject is not None), None),
    )


def _wholes(items: Mapping[Digest, Item]) -> dict[Digest, Item]:
    """Return what is no mere part: neither an untagged child nor a referrer of another item."""
    children = {child for item in items.values() for child in item.children if child != item.digest}
    wholes = {
        digest: item
        for digest, item in items.items()
        if item.own_tags
        or (digest not in children and (item.refers_to == digest or item.refers_to not in items))
    }
    # Digests allow no circle, but what a registry lists may: then nothing would speak for it.
    reached = _belonging(items, wholes)
    lost = items.keys() - wholes.keys() - reached.keys()
    return {digest: item for digest, item in items.items() if digest in wholes or digest in lost}


def _belonging(
    items: Mapping[Digest, Item], roots: Iterable[Digest]
) -> dict[Digest, tuple[str, Item]]:
    """Return what belongs to `roots`: children and referrers, theirs in turn; of what and how."""
    referrers: dict[Digest, list[Digest]] = defaultdict(list)
    for digest, item in items.items():
        if item.refers_to is not None:
            referrers[item.refers_to].append(digest)
    found: dict[Digest, tuple[str, Item]] = {}
    todo = sorted(roots)
    for digest in todo:  # grows meanwhile
        item = items[digest]
        for what, parts in (("child", item.children), ("referrer", referrers.get(digest, ()))):
            for part in parts:
                if part in items and part not in found and part != digest:
                    found[part] = (what, item)
                    todo.append(part)
    return found


def _fates(image: _Image, rules: _Rules) -> dict[Digest, _Fate]:
    fates: dict[Digest, _Fate] = {}
    for digest, item in image.items.items():
        if item.current or item.pinned:
            fates[digest] = _Fate(True, "current generation" if item.current else "pinned")
        elif digest in image.wholes:
            fates[digest] = _judged(image, item, rules)
    kept = [digest for digest, fate in fates.items() if fate.keep]
    for digest, (what, item) in _belonging(image.items, kept).items():
        if digest not in fates or not fates[digest].keep:
            fates[digest] = _Fate(True, f"{what} of {item}, which is kept")
    gone = [digest for digest, fate in fates.items() if not fate.keep]
    for digest, (what, item) in _belonging(image.items, gone).items():
        if digest not in fates:
            rule = fates[item.digest].rule
            fates[digest] = _Fate(False, f"{what} of {item}, which expires", rule)
    return fates


def _judged(image: _Image, item: Item, rules: _Rules) -> _Fate:
    """Return what the rules make of an item that stands for itself."""
    refused: list[tuple[int, str]] = []
    for number, rule in rules:
        verdict = _ruled(image, item, rule)
        if verdict is not None and verdict.keep:
            return _Fate(True, f"rule {number}, {verdict.why}", number)
        if verdict is not None:
            refused.append((number, verdict.why))
    if not refused:
        return _Fate(True, _NO_RULE)
    reasons = "; ".join(f"rule {number}: {why}" for number, why in refused)
    return _Fate(False, reasons, refused[0][0])


def _ruled(image: _Image, item: Item, rule: Rule) -> _Verdict | None:
    """Return what `rule` makes of the item, or None if it does not speak about it."""
    if rule.by_versions and not image.has_versions:
        return _Verdict(True, f"which asks for versions: no tag of {item.name} holds one")
    limit = rule.delete_untagged_after
    if item.tags or limit is None:
        return _kept(image, item, rule) if rule.keeps else None
    # What has no tag has an age of its own.
    verdicts = [*_verdicts(image, item, rule, aged=False), _untagged(image, item, limit)]
    return _any(verdicts)


def _kept(image: _Image, item: Item, condition: Condition) -> _Verdict:
    return _any(_verdicts(image, item, condition))


def _any(verdicts: Iterable[_Verdict]) -> _Verdict:
    """Return the first that keeps, or why none does."""
    refused = []
    for verdict in verdicts:
        if verdict.keep:
            return verdict
        refused.append(verdict.why)
    return _Verdict(False, ", ".join(refused))


def _verdicts(
    image: _Image, item: Item, condition: Condition, *, aged: bool = True
) -> Iterator[_Verdict]:
    """Yield what each condition of the table makes of the item; keep-within only if `aged`."""
    if condition.keep_tags:
        yield _by_tags(image, item, condition.keep_tags)
    if condition.keep_last is not None:
        yield _by_rank(image.rank(item), condition.keep_last)
    if condition.keep_within is not None and aged:
        yield _by_age(image.age(item), condition.keep_within)
    if condition.keep_deployed:
        where = image.lookup.where(item)
        yield (
            _Verdict(False, "not deployed")
            if where is None
            else _Verdict(True, f"keep-deployed: mentioned in {where}")
        )
    if condition.any_:
        yield _any(_kept(image, item, inner) for inner in condition.any_)
    if condition.all_:
        yield _all(_kept(image, item, inner) for inner in condition.all_)
    if condition.not_ is not None:
        found = _kept(image, item, condition.not_)
        yield _Verdict(not found.keep, f"not: {found.why}")


def _all(verdicts: Iterable[_Verdict]) -> _Verdict:
    """Return the first that does not keep, or why all do."""
    reasons = []
    for verdict in verdicts:
        if not verdict.keep:
            return verdict
        reasons.append(verdict.why)
    return _Verdict(True, " and ".join(reasons))


def _by_tags(image: _Image, item: Item, selectors: Sequence[Selector]) -> _Verdict:
    for selector in selectors:
        chosen = image.chosen(selector)
        for tag in item.tags:
            if tag in chosen:
                return _Verdict(True, f"keep-tags {selector}: {tag}")
    words = ", ".join(str(selector) for selector in selectors)
    return _Verdict(False, f"no tag of {words}" if item.tags else "no tag")


def _by_rank(rank: int, last: int) -> _Verdict:
    if rank <= last:
        return _Verdict(True, f"keep-last {last} (is {_ordinal(rank)})")
    return _Verdict(False, f"not among the last {last} (is {_ordinal(rank)})")


def _by_age(age: timedelta | None, limit: timedelta) -> _Verdict:
    if age is None or age <= limit:
        return _Verdict(True, f"keep-within {show_age(limit)} ({_old(age)})")
    return _Verdict(False, f"older than {show_age(limit)}")


def _untagged(image: _Image, item: Item, limit: timedelta) -> _Verdict:
    age = image.age(item)
    if age is None or age <= limit:
        return _Verdict(True, f"delete-untagged-after {show_age(limit)} ({_old(age)})")
    return _Verdict(False, f"untagged and older than {show_age(limit)}")


def _old(age: timedelta | None) -> str:
    if age is None:
        return "its age is unknown"
    # Two units are enough for people.
    coarse = timedelta(days=age.days) if age.days else age - age % timedelta(minutes=1)
    return f"is {show_age(coarse)} old"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"
