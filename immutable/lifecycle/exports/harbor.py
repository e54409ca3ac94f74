"""Harbor: the tag retention policy of one project.

Its rules say what to retain, or-ed, of the repositories that they are for; it judges artifacts
with all their tags, and counts neither the children of indexes nor signatures. Times are of
pushes, in whole days.

https://goharbor.io/docs/latest/working-with-projects/working-with-images/create-tag-retention-rules/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from immutable.content.globs import compile_globs
from immutable.lifecycle.exports.common import (
    Export,
    Keeps,
    Wish,
    budget,
    components,
    days,
    doublestar,
    glob_of,
    rounded,
)
from immutable.lifecycle.retention.policy import Policy, Rule
from immutable.oci import canonical

_MAX_COUNT: Final = 2**15 - 2
_EVERY: Final = "**"
_NO_TAG: Final = "-"  # no tag may start with it


def export(policy: Policy, project: str, project_id: int) -> Export:
    """Return the retention policy of the project called `project`, and what it cannot be told.

    An image's name begins with that of its project; `project_id` is Harbor's number for it. The
    policy is run by hand until a schedule is set.
    """
    cannot: list[str] = []
    rules: list[dict[str, Any]] = []
    for number, rule in enumerate(policy.rules, 1):
        repositories = _repositories(rule, project)
        if repositories is None:
            continue
        for template, selector in _retained(number, rule, cannot):
            rules.append(_rule(len(rules) + 1, repositories, template, selector))
    document = {
        "algorithm": "or",
        "rules": rules,
        "trigger": {"kind": "Schedule", "settings": {"cron": ""}},
        "scope": {"level": "project", "ref": project_id},
    }
    return Export(document if rules else None, (*dict.fromkeys(cannot), *budget(policy)))


def _rule(
    number: int, repositories: str, template: tuple[str, int | None], selector: tuple[str, bool]
) -> dict[str, Any]:
    name, value = template
    pattern, untagged = selector
    return {
        "id": number,
        "priority": number,
        "disabled": False,
        "action": "retain",
        "template": name,
        "params": {} if value is None else {name: value},
        "tag_selectors": [
            {
                "kind": "doublestar",
                "decoration": "matches",
                "pattern": pattern,
                "extras": canonical.encode({"untagged": untagged}).decode(),
            }
        ],
        "scope_selectors": {
            "repository": [
                {"kind": "doublestar", "decoration": "repoMatches", "pattern": repositories}
            ]
        },
    }


def _retained(
    number: int, rule: Rule, cannot: list[str]
) -> Iterator[tuple[tuple[str, int | None], tuple[str, bool]]]:
    """Yield what Harbor's rules for `rule` retain: (template, its value), (pattern, untagged)."""
    wish = Wish.of(number, rule)
    cannot.extend(wish.cannot)
    always = ("always", None)
    if wish.cannot:
        yield always, (_EVERY, True)
        return
    tagged, untagged = wish.tagged, wish.untagged or Keeps()
    if tagged is None:
        yield always, (_EVERY, False)
        tagged = Keeps()
    for selector in tagged.tags:
        yield always, (doublestar(glob_of(selector)), False)
    if untagged.last is not None:
        # It counts tagged and untagged ones together, as the policy does.
        within_reach = untagged.last <= _MAX_COUNT
        if not within_reach:
            cannot.append(f"rule {number}: keep-last {untagged.last}: too many; all images stay")
        yield ("latestPushedK", untagged.last) if within_reach else always, (_EVERY, True)
    for age, pattern in ((tagged.within, _EVERY), (untagged.within, _NO_TAG)):
        if age is not None:
            cannot.extend(f"rule {number}: {line}" for line in rounded(age))
            yield ("nDaysSinceLastPush", days(age)), (pattern, pattern == _NO_TAG)


def _repositories(rule: Rule, project: str) -> str | None:
    """Return a pattern for those of the project's repositories that `rule` speaks about."""
    found = dict.fromkeys(
        doublestar(rest) for pattern in rule.images for rest in _below(components(pattern), project)
    )
    if not found:
        return None
    return next(iter(found)) if len(found) == 1 else "{" + ",".join(found) + "}"


def _below(names: list[str], project: str) -> Iterator[str]:
    """Yield globs for what may follow the project's name in what the glob of `names` matches."""
    first, *rest = names
    if first == "**":
        yield "/".join(names)
        yield from _below(rest, project) if rest else ()
    elif rest and compile_globs([first], whole=True)(project.encode()):
        yield "/".join(rest)
