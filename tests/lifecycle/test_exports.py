"""Exports: documents that hold to the published vocabularies, and never delete more.

The second is shown by small models of how each registry reads its document: Amazon's user guide
("How lifecycle policies work"), zot's article on retention, Harbor's on tag retention rules.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.content.globs import compile_globs
from immutable.lifecycle.exports import Export, ecr, harbor, zot
from immutable.lifecycle.exports.common import doublestar, may_overlap
from immutable.lifecycle.retention import Condition, Deployed, Item, Policy, Rule, decide
from immutable.oci import canonical
from immutable.oci.digest import Digest
from tests.support.strategies import NAMES, NOW, SELECTORS, TAGS, images, policies, spans

CASES = pytest.mark.parametrize

# What a registry can be told: rules without files, all and not.
simple = st.builds(
    lambda given, images, untagged: Rule(**given, images=images, delete_untagged_after=untagged),
    st.fixed_dictionaries(
        {
            "keep_last": st.none() | st.integers(1, 3),
            "keep_within": st.none() | spans | st.just(timedelta(hours=36)),
            "keep_tags": st.lists(st.sampled_from((*SELECTORS, "[mv]*")), max_size=2),
            "any_": st.sampled_from(((), (), (Condition(keep_last=2),))),
        }
    ).filter(lambda given: any(given.values())),
    images,
    st.none() | spans,
) | st.builds(lambda age, images: Rule(delete_untagged_after=age, images=images), spans, images)
simple_policies = st.lists(simple, max_size=3).map(Policy)


@st.composite
def pushed(draw: st.DrawFn, tags_each: int = 3) -> list[Item]:
    """What a registry holds: no two pushed at once, each tag of a name once."""
    found: list[Item] = []
    for number, age in enumerate(draw(st.lists(st.integers(0, 900), unique=True, max_size=9))):
        name = draw(st.sampled_from(NAMES))
        used = {tag for item in found if item.name == name for tag in item.tags}
        tags = draw(st.sets(st.sampled_from(TAGS), max_size=tags_each)) - used
        created = NOW - timedelta(hours=age + 1)
        found.append(Item(name=name, digest=Digest.of(b"%d" % number), created=created, tags=tags))
    return found


def kept(policy: Policy, found: Iterable[Item]) -> set[Item]:
    return {made.item for made in decide(policy, found, NOW, Deployed()) if made.keep}


def plain(export: Export) -> Any:
    return json.loads(canonical.encode(canonical.thaw(export.document)))


def age(item: Item) -> timedelta:
    assert item.created is not None
    return NOW - item.created


def newest_first(found: Iterable[Item]) -> list[Item]:
    return sorted(found, key=age)


def named(found: Iterable[Item], name: str) -> list[Item]:
    return [item for item in found if item.name == name]


# Amazon ECR


def ecr_keeps(document: Any, found: list[Item]) -> set[Item]:
    """What a lifecycle policy leaves of one repository."""
    claimed: set[Item] = set()
    expired: set[Item] = set()
    for rule in sorted(document["rules"], key=lambda rule: rule["rulePriority"]):
        chosen = rule["selection"]
        matched = [item for item in newest_first(found) if _selected(item, chosen)]
        if chosen["countType"] == "imageCountMoreThan":
            going = set(matched[chosen["countNumber"] :])
        else:
            limit = timedelta(days=chosen["countNumber"])
            going = {item for item in matched if age(item) > limit}
        expired |= going - claimed
        claimed |= set(matched)
    return set(found) - expired


def _selected(item: Item, chosen: Mapping[str, Any]) -> bool:
    if chosen["tagStatus"] == "untagged":
        return not item.tags
    return all(
        any(fnmatch.fnmatchcase(tag, pattern) for tag in item.tags)
        for pattern in chosen["tagPatternList"]
    )


def check_ecr(document: Any) -> None:
    """Hold a document to "Lifecycle policy properties in Amazon ECR"."""
    assert ["rules"] == list(document)
    priorities = [rule["rulePriority"] for rule in document["rules"]]
    assert len(set(priorities)) == len(priorities) <= 50
    assert len({json.dumps(rule["selection"]) for rule in document["rules"]}) == len(priorities)
    assert sum(rule["selection"]["tagStatus"] == "untagged" for rule in document["rules"]) <= 1
    for rule in document["rules"]:
        assert {"rulePriority", "selection", "action"} == set(rule)
        assert {"type": "expire"} == rule["action"]
        chosen = dict(rule["selection"])
        assert chosen.pop("countNumber") > 0
        if chosen.pop("countType") == "sinceImagePushed":
            assert "days" == chosen.pop("countUnit")
        if chosen["tagStatus"] == "tagged":
            (pattern,) = chosen.pop("tagPatternList")
            assert pattern.count("*") <= 4
            assert re.fullmatch(r"[A-Za-z0-9*._-]{1,128}", pattern)
        assert {"tagStatus"} == set(chosen)
        assert chosen["tagStatus"] in ("tagged", "untagged")


def test_ecr_says_what_it_can() -> None:
    policy = Policy(images=["shop/*"], keep_tags=["v*", "r?-[0-9]"], keep_last=5)
    made = ecr.export(policy, "shop/web", places=1)
    never = {"countType": "imageCountMoreThan", "countNumber": 1_000_000, "tagStatus": "tagged"}
    assert [
        never | {"tagPatternList": ["sha256-*"]},
        never | {"tagPatternList": ["v*"]},
        never | {"tagPatternList": ["r*-*"]},
        never | {"tagPatternList": ["*"], "countNumber": 5},
    ] == [rule["selection"] for rule in plain(made)["rules"]]
    assert (
        "rule 1: keep-last 5: not for untagged images: all of them stay",
        "rule 1: keep-tags r?-[0-9]: keeps r*-*",
    ) == made.cannot
    assert 20 == plain(ecr.export(policy, "shop/web"))["rules"][-1]["selection"]["countNumber"]


def test_ecr_expires_by_age_in_whole_days() -> None:
    policy = Policy(keep_within="36h", delete_untagged_after="7d")
    made = ecr.export(policy, "a")
    by_status = [
        (rule["selection"]["tagStatus"], rule["selection"]["countNumber"])
        for rule in plain(made)["rules"]
    ]
    assert [("untagged", 7), ("tagged", 1_000_000), ("tagged", 2)] == by_status
    assert "rule 1: 1d12h: counted in whole days: 2" in made.cannot


@CASES(
    ("policy", "fault"),
    [
        (Policy(keep_last=5, keep_within="30d"), "one of them is enough to expire in ECR"),
        (Policy(keep_deployed=["a"], keep_last=1), "rule 1: keep-deployed a: no registry sees"),
        (Policy(not_=Condition(keep_tags="a")), "rule 1: not: "),
        (Policy(keep_tags=["v*", "newest 2"], keep_last=1), "rule 1: keep-tags newest 2: no reg"),
        (Policy(any_=[Condition(keep_tags=">=1.2")]), "rule 1: keep-tags >=1.2: no registry"),
        (Policy(all_=[Condition(keep_last=1), Condition(keep_within="1d")]), "rule 1: all: "),
        (Policy(keep_tags=["v*"], max_size=1), "store.max-size: "),
    ],
)
def test_ecr_tells_what_it_cannot_say(policy: Policy, fault: str) -> None:
    made = ecr.export(policy, "a")
    assert any(fault in line for line in made.cannot)
    if policy.max_size is None:
        assert made.document is None


@CASES(
    ("conditions", "untagged", "patterns", "last"),
    [
        ({"keep_last": 5}, None, [], ("imageCountMoreThan", 20)),
        ({"keep_within": "30d"}, 30, [], ("sinceImagePushed", 30)),
        ({"delete_untagged_after": "7d"}, 7, None, None),
        ({"keep_tags": ["v*"], "keep_last": 5}, None, ["v*"], ("imageCountMoreThan", 20)),
        ({"keep_tags": ["v*"], "keep_within": "2w"}, 14, ["v*"], ("sinceImagePushed", 14)),
        ({"keep_tags": ["v*"]}, 1, ["v*"], ("sinceImagePushed", 1)),
        (
            {"keep_last": 3, "delete_untagged_after": "1d"},
            *(None, [], ("imageCountMoreThan", 12)),
        ),
        (
            {"keep_within": "30d", "delete_untagged_after": "12h"},
            *(1, [], ("sinceImagePushed", 30)),
        ),
        (
            {"any_": [Condition(keep_last=2), Condition(keep_tags=["v*"])]},
            *(None, ["v*"], ("imageCountMoreThan", 8)),
        ),
    ],
)
def test_ecr_can_be_told_of_plain_policies(
    conditions: dict[str, Any],
    untagged: int | None,
    patterns: list[str] | None,
    last: tuple[str, int] | None,
) -> None:
    document = plain(ecr.export(Policy(**conditions), "shop/web"))
    check_ecr(document)
    chosen = [rule["selection"] for rule in document["rules"]]
    assert [untagged] * (untagged is not None) == [
        one["countNumber"] for one in chosen if one["tagStatus"] == "untagged"
    ]
    tagged = [one for one in chosen if one["tagStatus"] == "tagged"]
    expected = [] if patterns is None else ["sha256-*", *patterns, "*"]
    assert expected == [pattern for one in tagged for pattern in one["tagPatternList"]]
    if last is not None:
        assert last == (tagged[-1]["countType"], tagged[-1]["countNumber"])


def test_ecr_has_nothing_for_a_repository_that_no_rule_speaks_about() -> None:
    assert Export(None) == ecr.export(Policy(images=["shop/*"], keep_last=1), "other")


@CASES(
    ("glob", "pattern"),
    [("a?b", "a*b"), ("a**b*", "a*b*"), ("*a*b*c*d*e", "*a*b*c*"), ("x", "x"), ("?[0-9]", "*")],
)
def test_ecr_widens_globs(glob: str, pattern: str) -> None:
    if "**" in glob:
        glob = glob.replace("**", "*?*")
    assert pattern == ecr._starred(glob)


@given(simple_policies | policies, pushed())
def test_ecr_never_deletes_more(policy: Policy, found: list[Item]) -> None:
    for name in NAMES:
        made = ecr.export(policy, name, places=1)
        if made.document is not None:
            check_ecr(plain(made))
            mine = named(found, name)
            assert kept(policy, mine) <= ecr_keeps(plain(made), mine)


# zot


def zot_keeps(document: Any, found: list[Item]) -> set[tuple[Item, str]]:
    """What zot leaves, tag by tag; an untagged image has the tag ''."""
    section = document["retention"]
    left: set[tuple[Item, str]] = set()
    for name in {item.name for item in found}:
        policy = next(p for p in section["policies"] if _speaks(p["repositories"], name))
        mine = newest_first(named(found, name))
        delay = _go(section["delay"])
        left |= {
            (item, "")
            for item in mine
            if not item.tags and (not policy["deleteUntagged"] or age(item) < delay)
        }
        tags = [(item, tag) for item in mine for tag in item.tags]
        if "keepTags" not in policy:
            left.update(tags)
            continue
        for number, entry in enumerate(policy["keepTags"]):
            taken = [key for key in tags if number == _first(policy["keepTags"], key[1])]
            left.update(_zot_entry(entry, taken))
    return left


def _first(entries: list[Any], tag: str) -> int | None:
    """The first entry whose patterns, unanchored as Go matches them, match the tag."""
    numbered = enumerate(entries)
    return next((n for n, e in numbered if any(re.search(p, tag) for p in e["patterns"])), None)


def _zot_entry(entry: Any, taken: list[tuple[Item, str]]) -> Iterable[tuple[Item, str]]:
    if set(entry) == {"patterns"}:
        yield from taken
    if "mostRecentlyPushedCount" in entry:
        yield from taken[: entry["mostRecentlyPushedCount"]]
    if "pushedWithin" in entry:
        yield from (key for key in taken if age(key[0]) <= _go(entry["pushedWithin"]))


def _speaks(globs: list[str], name: str) -> bool:
    return any(compile_globs([glob], whole=True)(name.encode()) for glob in globs)


def _go(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+)([hs])", text)
    assert match is not None
    return timedelta(hours=int(match[1])) if match[2] == "h" else timedelta(seconds=int(match[1]))


def check_zot(document: Any) -> None:
    """Hold a document to the attributes of zot's article on retention."""
    assert ["retention"] == list(document)
    section = document["retention"]
    assert {"dryRun", "delay", "policies"} == set(section)
    assert section["dryRun"] is False
    _go(section["delay"])
    for policy in section["policies"]:
        assert {"repositories", "deleteReferrers", "deleteUntagged"} == set(policy) - {"keepTags"}
        assert policy["repositories"]
        assert policy["deleteReferrers"] is False
        for entry in policy.get("keepTags", ()):
            assert entry["patterns"]
            known = {"patterns", "mostRecentlyPushedCount", "pushedWithin"}
            assert set(entry) <= known
            assert entry.get("mostRecentlyPushedCount", 1) > 0
            for pattern in entry["patterns"]:
                re.compile(pattern)
    assert section["policies"][-1]["repositories"] == ["**"] or any(
        "**" in policy["repositories"] for policy in section["policies"]
    )


def test_zot_says_what_it_can() -> None:
    policy = Policy(
        [
            Rule(images=["shop/*"], keep_last=5, keep_within="30d", keep_tags=["v*", "a.[!b]"]),
            Rule(images=["ci/**"], keep_within="90m", delete_untagged_after="7d"),
        ]
    )
    made = zot.export(policy, tags_per_image=1)
    companions = "^sha256-[0-9a-f]{64}.*$"
    expected = {
        "dryRun": False,
        "delay": "168h",
        "policies": [
            {
                "repositories": ["shop/*"],
                "deleteReferrers": False,
                "deleteUntagged": False,
                "keepTags": [
                    {"patterns": [companions, "^v.*$", r"^a\.[^b]$"]},
                    {
                        "patterns": [".*"],
                        "mostRecentlyPushedCount": 5,
                        "pushedWithin": "720h",
                    },
                ],
            },
            {
                "repositories": ["ci/**/*"],
                "deleteReferrers": False,
                "deleteUntagged": True,
                "keepTags": [
                    {"patterns": [companions]},
                    {"patterns": [".*"], "pushedWithin": "5400s"},
                ],
            },
            {"repositories": ["**"], "deleteReferrers": False, "deleteUntagged": False},
        ],
    }
    assert {"retention": expected} == plain(made)
    assert (
        "rule 1: keep-last 5: not for untagged images: all of them stay",
        "delete-untagged-after: zot has one delay for all: 7d",
    ) == made.cannot


def test_zot_counts_tags_and_so_keeps_more_of_them() -> None:
    made = zot.export(Policy(keep_last=5))
    assert "rule 1: keep-last 5: zot counts tags: keeps the 50 last" in made.cannot
    assert "keepTags" not in plain(zot.export(Policy(keep_tags="v*")))["retention"]["policies"][0]


def test_zot_keeps_the_images_of_rules_that_overlap_by_both() -> None:
    rules = [Rule(images=["shop/*"], keep_last=1), Rule(images=["**"], keep_last=3)]
    made = zot.export(Policy(rules), tags_per_image=1)
    first = plain(made)["retention"]["policies"][0]
    assert 3 == first["keepTags"][1]["mostRecentlyPushedCount"]
    assert "rule 1: zot keeps its images by rule 2 too" in made.cannot


@given(simple_policies | policies, st.data())
def test_zot_never_deletes_more(policy: Policy, data: st.DataObject) -> None:
    tags_each = data.draw(st.sampled_from((1, 3)))
    found = data.draw(pushed(tags_each))
    made = zot.export(policy, tags_per_image=tags_each)
    check_zot(plain(made))
    wanted = {(item, tag) for item in kept(policy, found) for tag in item.tags or ("",)}
    assert wanted <= zot_keeps(plain(made), found)


# Harbor


def harbor_keeps(document: Any, found: list[Item], project: str) -> set[Item]:
    """What Harbor leaves: what any rule retains, and all of repositories without a rule."""
    left: set[Item] = set()
    for name in {item.name for item in found}:
        folder, _, repository = name.partition("/")
        rules = [
            rule
            for rule in document["rules"]
            if folder == project
            and _matches(_only(rule["scope_selectors"]["repository"]), repository)
        ]
        mine = named(found, name)
        left.update(mine if not rules else ())
        for rule in rules:
            left.update(_retained(rule, mine))
    return left


def _retained(rule: Any, found: list[Item]) -> Iterable[Item]:
    selector = _only(rule["tag_selectors"])
    untagged = json.loads(selector["extras"])["untagged"]
    chosen = [
        item
        for item in newest_first(found)
        if (any(_matches(selector, tag) for tag in item.tags) if item.tags else untagged)
    ]
    value = rule["params"].get(rule["template"])
    evaluate: dict[str, Callable[[], list[Item]]] = {
        "always": lambda: chosen,
        "latestPushedK": lambda: chosen[:value],
        "nDaysSinceLastPush": lambda: [i for i in chosen if age(i) <= timedelta(days=value)],
    }
    return evaluate[rule["template"]]()


def _only(selectors: Any) -> Any:
    (selector,) = selectors
    return selector


def _matches(selector: Any, text: str) -> bool:
    pattern: str = selector["pattern"]
    inner = pattern[1:-1].split(",") if pattern.startswith("{") else [pattern]
    return _speaks(inner, text)


def check_harbor(document: Any) -> None:
    """Hold a document to the model of Harbor's API, RetentionPolicy."""
    assert {"algorithm", "rules", "trigger", "scope"} == set(document)
    assert "or" == document["algorithm"]
    assert {"kind": "Schedule", "settings": {"cron": ""}} == document["trigger"]
    assert {"level": "project", "ref": 7} == document["scope"]
    for rule in document["rules"]:
        assert {
            *("id", "priority", "disabled", "action", "template", "params"),
            *("tag_selectors", "scope_selectors"),
        } == set(rule)
        assert "retain" == rule["action"]
        assert rule["template"] in ("always", "latestPushedK", "nDaysSinceLastPush")
        expected = set() if rule["template"] == "always" else {rule["template"]}
        assert expected == set(rule["params"])
        assert all(0 < value < 2**15 - 1 for value in rule["params"].values())
        tags, (repository,) = rule["tag_selectors"], rule["scope_selectors"]["repository"]
        assert ("doublestar", "matches") == (tags[0]["kind"], tags[0]["decoration"])
        assert ("doublestar", "repoMatches") == (repository["kind"], repository["decoration"])
        assert tags[0]["pattern"]
        assert repository["pattern"]


def test_harbor_says_what_it_can() -> None:
    policy = Policy(
        images=["shop/*", "**/web"], keep_last=5, keep_tags=["v*"], delete_untagged_after="36h"
    )
    made = harbor.export(policy, "shop", 7)
    check_harbor(plain(made))
    assert [
        ("always", {}, "v*", '{"untagged":false}'),
        ("latestPushedK", {"latestPushedK": 5}, "**", '{"untagged":true}'),
        ("nDaysSinceLastPush", {"nDaysSinceLastPush": 2}, "-", '{"untagged":true}'),
    ] == [
        (
            r["template"],
            r["params"],
            r["tag_selectors"][0]["pattern"],
            r["tag_selectors"][0]["extras"],
        )
        for r in plain(made)["rules"]
    ]
    scope = plain(made)["rules"][0]["scope_selectors"]["repository"]
    assert "{*,**/web}" == scope[0]["pattern"]
    assert ("rule 1: 1d12h: counted in whole days: 2",) == made.cannot


def test_harbor_has_nothing_for_a_project_that_no_rule_speaks_about() -> None:
    assert Export(None) == harbor.export(Policy(images=["shop/*"], keep_last=1), "other", 7)


def test_harbor_keeps_all_that_it_cannot_judge() -> None:
    many = harbor.export(Policy(keep_last=99_999), "shop", 7)
    deployed = harbor.export(Policy(keep_deployed=["a"], keep_last=1), "shop", 7)
    for made in (many, deployed):
        assert ["always"] == [rule["template"] for rule in plain(made)["rules"]]
        assert made.cannot


@given(simple_policies | policies, pushed())
def test_harbor_never_deletes_more(policy: Policy, found: list[Item]) -> None:
    for project in ("shop", "ci"):
        mine = [item for item in found if item.name.startswith(f"{project}/")]
        made = harbor.export(policy, project, 7)
        if made.document is not None:
            check_harbor(plain(made))
            assert kept(policy, mine) <= harbor_keeps(plain(made), mine, project)


# What they share


@CASES("word", ["newest 1", ">=1.21", "newest 1 of each minor in 1.*"])
@CASES("tags", ["1.20 1.21 1.22", "3.18-alpine 3.19-alpine", "1 2 3", "main latest"])
def test_where_versions_are_asked_for_all_images_stay(word: str, tags: str) -> None:
    policy = Policy(keep_tags=[word], delete_untagged_after="1d")
    named_ = [*((tag,) for tag in tags.split()), ()]
    found = [
        Item(name="shop/web", digest=Digest.of(b"%d" % n), created=NOW - timedelta(n + 5), tags=t)
        for n, t in enumerate(named_)
    ]
    assert ecr.export(policy, "shop/web").document is None
    assert set(found) == harbor_keeps(plain(harbor.export(policy, "shop", 7)), found, "shop")
    left = zot_keeps(plain(zot.export(policy, tags_per_image=1)), found)
    assert set(found) == {item for item, _ in left}


@given(
    st.builds(lambda n: Policy(keep_last=n), st.integers(1, 3))
    | st.builds(lambda age: Policy(keep_within=age, delete_untagged_after=age), spans)
    | st.just(Policy(keep_tags=["v*"], keep_within="5d")),
    pushed(1),
)
def test_what_can_be_said_is_said_exactly(policy: Policy, found: list[Item]) -> None:
    tagged = [item for item in found if item.tags and item.name == "shop/web"]
    expected = kept(policy, tagged)
    assert expected == ecr_keeps(plain(ecr.export(policy, "shop/web", places=1)), tagged)
    assert expected == harbor_keeps(plain(harbor.export(policy, "shop", 7)), tagged, "shop")
    if not policy.rules[0].keep_tags:
        left = zot_keeps(plain(zot.export(policy, tags_per_image=1)), tagged)
        assert expected == {item for item, _ in left}


@CASES(
    ("glob", "expected"),
    [
        ("shop/*", "shop/*"),
        ("./shop//web", "shop/web"),
        ("shop/**", "shop/**/*"),
        ("**", "**"),
        ("**/web", "**/web"),
        ("a{b,c}", r"a\{b\,c\}"),
        ("[!a-c][]x]", r"[^a-c][\]x]"),
        (r"a\*b?", r"a\*b?"),
        ("[a-]", r"[a\-]"),
    ],
)
def test_globs_are_said_in_doublestar(glob: str, expected: str) -> None:
    assert expected == doublestar(glob)


@CASES(
    ("one", "other", "expected"),
    [
        ("shop/*", "shop/web", True),
        ("shop/*", "ci/*", False),
        ("shop/*", "shop/a/b", False),
        ("shop/**", "shop/a/b", True),
        ("shop/a", "shop/b", False),
        ("shop/a*", "shop/ab*", True),
        ("shop/a*", "shop/b*", False),
        ("**", "x", True),
        ("x/**", "y/**", False),
        ("x", "x/y", False),
    ],
)
def test_globs_that_may_meet_are_told(one: str, other: str, expected: bool) -> None:
    assert expected == may_overlap([one], [other])
    assert expected == may_overlap([other], [one])


globs = st.lists(
    st.sampled_from(("a", "b", "ab", "*", "a*", "?", "[ab]", "**")), min_size=1, max_size=3
).map("/".join)
names = st.lists(st.sampled_from(("a", "b", "ab", "ba")), min_size=1, max_size=4).map("/".join)


@given(globs, globs, names)
def test_globs_that_meet_in_a_name_are_never_called_apart(one: str, other: str, name: str) -> None:
    both = all(compile_globs([glob], whole=True)(name.encode()) for glob in (one, other))
    assert not both or may_overlap([one], [other])
