"""zot: the ``retention`` section of its configuration's ``storage``.

The first policy whose globs match a repository is its only one, so a policy also keeps what any
rule keeps that may speak about one of its repositories, and a last one keeps the rest. zot judges
tags one by one, where the policy keeps an image with all its tags; and without a policy it deletes
what is untagged.

https://zotregistry.dev/latest/articles/retention/
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from attrs import evolve

from immutable.lifecycle.exports.common import (
    Export,
    Keeps,
    Wish,
    budget,
    doublestar,
    glob_of,
    may_overlap,
    show_set,
    tokens,
)
from immutable.lifecycle.retention.policy import EVERY_IMAGE, Policy, Rule, show_age
from immutable.lifecycle.retention.tags import Selector

_COMPANIONS: Final = r"^sha256-[0-9a-f]{64}.*$"  # signatures and the like
_DELAY: Final = timedelta(days=1)  # zot's own
_MAX_COUNT: Final = 2**31 - 1


def export(policy: Policy, *, tags_per_image: int = 10) -> Export:
    """Return ``{"retention": …}`` for zot's ``storage``, and what zot cannot be told.

    `tags_per_image` is how many tags an image has at most. If that is more than 1, counts are
    larger by as much, and ``keep-tags`` cannot be told: it would take an image's other tags away.
    """
    cannot: list[str] = []
    policies: dict[tuple[str, ...], dict[str, Any]] = {}
    delay = _DELAY
    for number, rule in enumerate(policy.rules, 1):
        if rule.images in policies:
            continue
        wish = _wish(policy, number, rule, cannot)
        notes: list[str] = []
        made = {"deleteReferrers": False, **_section(wish, tags_per_image, notes)}
        cannot += [f"{wish.label}: {note}" for note in notes]
        policies[rule.images] = {"repositories": _globs(rule.images), **made}
        if made["deleteUntagged"] and wish.untagged is not None:
            delay = max(delay, wish.untagged.within or delay)
    if EVERY_IMAGE not in policies:
        rest = {"repositories": ["**"], "deleteReferrers": False, "deleteUntagged": False}
        policies[EVERY_IMAGE] = rest
    if any(made["deleteUntagged"] for made in policies.values()):
        cannot.append(f"delete-untagged-after: zot has one delay for all: {show_age(delay)}")
    document = {"dryRun": False, "delay": _go(delay), "policies": list(policies.values())}
    return Export({"retention": document}, (*dict.fromkeys(cannot), *budget(policy)))


def _globs(images: tuple[str, ...]) -> list[str]:
    return [doublestar(pattern) for pattern in images]


def _wish(policy: Policy, number: int, rule: Rule, cannot: list[str]) -> Wish:
    """Return what is kept of the images of `rule`, by it or another rule.

    Some of them no other rule speaks about: of what `rule` says nothing of, all stays.
    """
    own = wish = Wish.of(number, rule)
    for other, also in enumerate(policy.rules, 1):
        if other != number and may_overlap(rule.images, also.images):
            wish |= Wish.of(other, also)
            if also.images != rule.images:
                cannot.append(f"rule {number}: zot keeps its images by rule {other} too")
    cannot.extend(wish.cannot)
    return evolve(
        wish,
        tagged=None if own.tagged is None else wish.tagged,
        untagged=None if own.untagged is None else wish.untagged,
    )


def _section(wish: Wish, tags_per_image: int, cannot: list[str]) -> dict[str, Any]:
    """Return what one policy does: ``deleteUntagged`` and ``keepTags``, without which tags stay."""
    if wish.cannot:
        return {"deleteUntagged": False}
    section: dict[str, Any] = {"deleteUntagged": wish.untagged is not None}
    if wish.untagged is not None and wish.untagged.last is not None:
        cannot.append(f"keep-last {wish.untagged.last}: not for untagged images: all of them stay")
        section["deleteUntagged"] = False
    if wish.tagged is None:
        return section
    if wish.tagged.tags and tags_per_image > 1:
        cannot.append(
            "keep-tags: zot would take away the other tags of what it keeps; all tagged images "
            "stay (tags_per_image = 1 says that there are none)"
        )
        return section
    return section | {"keepTags": [*_kept_tags(wish.tagged, tags_per_image, cannot)]}


def _kept_tags(keeps: Keeps, tags_per_image: int, cannot: list[str]) -> Iterator[dict[str, Any]]:
    # The first whose patterns match a tag is its only one.
    yield {"patterns": [*dict.fromkeys([_COMPANIONS, *(_regex(s) for s in keeps.tags)])]}
    entry: dict[str, Any] = {"patterns": [".*"]}
    if keeps.last is not None:
        count = min(keeps.last * tags_per_image, _MAX_COUNT)
        entry["mostRecentlyPushedCount"] = count
        if tags_per_image > 1:
            cannot.append(f"keep-last {keeps.last}: zot counts tags: keeps the {count} last")
    if keeps.within is not None:
        entry["pushedWithin"] = _go(keeps.within)
    if len(entry) > 1:
        yield entry


def _go(age: timedelta) -> str:
    """Return `age` as Go's time.ParseDuration reads it, which knows no days."""
    hours, rest = divmod(age, timedelta(hours=1))
    return f"{math.ceil(age.total_seconds())}s" if rest else f"{hours}h"


def _regex(selector: Selector) -> str:
    """Return an RE2 expression for all that `selector` keeps."""
    pieces = []
    for token in tokens(glob_of(selector)):
        if token.kind == "literal":
            pieces.append(
                token.text if token.text.isalnum() or token.text in "_-" else f"\\{token.text}"
            )
        else:
            pieces.append({"any": ".*", "one": "."}.get(token.kind) or show_set(token))
    return f"^{''.join(pieces)}$"
