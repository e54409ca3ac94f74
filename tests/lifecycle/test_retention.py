"""Decisions: what each condition keeps, what no rule may touch, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from immutable.lifecycle.retention import (
    Cache,
    Condition,
    Decision,
    Deployed,
    Item,
    Mention,
    Policy,
    Rule,
    decide,
    evict,
)
from immutable.oci.digest import Digest
from tests.support.strategies import NOW, items, policies, spans

NOTHING = Deployed()


def digest(text: object) -> Digest:
    return Digest.of(str(text).encode())


def item(number: int, /, *, name: str = "shop/web", age: float | None = None, **more: Any) -> Item:
    """Generation `number`; the higher, the younger, unless `age` says so, in days."""
    created = NOW - timedelta(days=100 - number if age is None else age)
    given: dict[str, Any] = {"digest": digest(number), "number": number, "created": created}
    return Item(name=name, **(given | more))


def reasons(
    policy: Policy, found: Iterable[Item], deployed: Deployed | None = NOTHING
) -> dict[str, str]:
    return {str(made.item): made.reason for made in decide(policy, found, NOW, deployed)}


def kept(
    policy: Policy,
    found: Iterable[Item],
    now: datetime = NOW,
    deployed: Deployed | None = NOTHING,
) -> set[Item]:
    return {made.item for made in decide(policy, found, now, deployed) if made.keep}


def numbers(found: Iterable[Item]) -> list[int]:
    return sorted(made.number or 0 for made in found)


# What each condition keeps


def test_the_last_are_kept_by_number() -> None:
    found = [item(n) for n in (3, 1, 2)]
    assert {
        "shop/web@1": "expired: rule 1: not among the last 2 (is 3rd)",
        "shop/web@2": "kept: rule 1, keep-last 2 (is 2nd)",
        "shop/web@3": "kept: rule 1, keep-last 2 (is 1st)",
    } == reasons(Policy(keep_last=2), found)


def test_after_a_rollback_nothing_newer_goes_for_being_newer() -> None:
    found = [item(n, current=n == 1) for n in range(1, 6)]
    assert [1, 4, 5] == numbers(kept(Policy(keep_last=2), found))
    assert "kept: current generation" == reasons(Policy(keep_last=2), found)["shop/web@1"]


def test_without_numbers_the_last_are_kept_by_time_and_equal_times_share_a_place() -> None:
    found = [item(n, number=None, age=age) for n, age in enumerate((1, 2, 2, 3))]
    made = {d.item.digest: d.reason for d in decide(Policy(keep_last=2), found, NOW)}
    assert "kept: rule 1, keep-last 2 (is 2nd)" == made[digest(1)] == made[digest(2)]
    assert "expired: rule 1: not among the last 2 (is 4th)" == made[digest(3)]


@pytest.mark.parametrize(
    "created", [None, datetime(1970, 1, 1, tzinfo=UTC), datetime(1980, 1, 1, tzinfo=UTC)]
)
def test_what_has_no_known_time_is_young_and_takes_no_place(created: datetime | None) -> None:
    unknown = [item(n, number=None, created=created) for n in (1, 2, 3)]
    known = [item(n, number=None) for n in (7, 8)]
    assert {*unknown, known[1]} == kept(Policy(keep_last=1), unknown + known)
    assert {*unknown} == kept(Policy(keep_within="1d"), unknown + known)
    assert {*unknown} == kept(Policy(delete_untagged_after="1d"), unknown + known)


def test_equal_digests_are_one_image() -> None:
    again = [item(1), item(2), item(3, digest=digest(1)), item(4)]
    assert [1, 3, 4] == numbers(kept(Policy(keep_last=2), again))
    tagged = [item(1, tags=["v1"]), item(2, digest=digest(1)), item(3)]
    assert [1, 2] == numbers(kept(Policy(keep_tags="v*"), tagged))


def test_what_is_young_is_kept_and_the_future_is_young() -> None:
    policy = Policy(keep_within="30d")
    found = [item(n, age=age) for n, age in ((1, 31), (2, 30), (3, 0), (4, -400))]
    assert {
        "shop/web@1": "expired: rule 1: older than 30d",
        "shop/web@2": "kept: rule 1, keep-within 30d (is 30d old)",
        "shop/web@3": "kept: rule 1, keep-within 30d (is 0s old)",
        "shop/web@4": "kept: rule 1, keep-within 30d (is 0s old)",
    } == reasons(policy, found)


def test_tags_keep_their_image() -> None:
    policy = Policy(keep_tags=["v*", "newest 1 of each minor"])
    found = [
        item(1, tags=["main", "v1.4.0"]),
        item(2, tags=["1.4.1"]),
        item(3, tags=["1.4.0"]),
        item(4),
    ]
    words = "v*, newest 1 of each minor"
    assert {
        "shop/web@1": "kept: rule 1, keep-tags v*: v1.4.0",
        "shop/web@2": "kept: rule 1, keep-tags newest 1 of each minor: 1.4.1",
        "shop/web@3": f"expired: rule 1: no tag of {words}",
        "shop/web@4": "expired: rule 1: no tag",
    } == reasons(policy, found)


def test_a_series_is_that_of_one_name() -> None:
    found = [item(n, name=name, tags=[f"1.{n}.0"]) for name in ("a", "b") for n in (1, 2)]
    assert {("a", 2), ("b", 2)} == {
        (made.name, made.number) for made in kept(Policy(keep_tags="newest 1"), found)
    }


@pytest.mark.parametrize("word", ["newest 1", ">=1.2", "newest 1 of each minor in 1.*"])
def test_where_no_tag_holds_a_version_a_rule_about_versions_keeps_everything(word: str) -> None:
    found = [item(1, tags=["main"]), item(2, tags=["sha-1234567"]), item(3)]
    for policy in (
        Policy(keep_tags=word),
        Policy(keep_tags=word, keep_last=1, delete_untagged_after="1d"),
        Policy(any_=[Condition(all_=[Condition(keep_tags=word), Condition(keep_last=1)])]),
    ):
        assert {"kept: rule 1, which asks for versions: no tag of shop/web holds one"} == set(
            reasons(policy, found).values()
        )
    with_one = [*found, item(4, tags=["1.20"])]
    assert [4] == numbers(kept(Policy(keep_tags=word), with_one))
    assert [] == numbers(kept(Policy(keep_tags="v*"), found))


def test_what_is_deployed_is_kept() -> None:
    policy = Policy(keep_deployed=["deploy/*.yaml"])
    text = f"image: registry.test:5000/shop/web:1.4.0\nother: x@{digest(2)}\nindex: {digest('c')}"
    found = [
        item(1, tags=["1.4.0"]),
        item(2),
        item(3, children=[digest("c")]),
        item(4, aliases=[digest(2)]),
        item(5, tags=["1.4.1"]),
        item(6, name="shop/api", tags=["1.4.0"]),
    ]
    deployed = Deployed([Mention.of(text, "deploy/web.yaml")])
    assert [1, 2, 3, 4] == numbers(kept(policy, found, deployed=deployed))
    said = reasons(policy, found, deployed)
    assert "kept: rule 1, keep-deployed: mentioned in deploy/web.yaml" == said["shop/web@1"]
    assert "expired: rule 1: not deployed" == said["shop/web@5"]


def test_a_policy_that_needs_what_is_deployed_must_be_given_it() -> None:
    with pytest.raises(ValueError, match="deployed"):
        decide(Policy(keep_deployed=["a"]), [], NOW)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        decide(Policy(), [], datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="offset"):
        Item(name="a", digest=digest(1), created=datetime(2026, 1, 1))  # noqa: DTZ001


def test_untagged_images_have_an_age_of_their_own() -> None:
    alone = Policy(delete_untagged_after="7d")
    found = [item(1, age=8), item(2, age=7), item(3, age=90, tags=["x"])]
    assert {
        "shop/web@1": "expired: rule 1: untagged and older than 7d",
        "shop/web@2": "kept: rule 1, delete-untagged-after 7d (is 7d old)",
        "shop/web@3": "kept: no rule speaks about it",
    } == reasons(alone, found)
    both = Policy(keep_within="30d", delete_untagged_after="7d")
    found = [item(1, age=8), item(2, age=7), item(3, age=8, tags=["x"]), item(4, age=31, tags="y")]
    assert [2, 3] == numbers(kept(both, found))


def test_the_last_are_kept_untagged_or_not() -> None:
    # A moved tag leaves the generations behind it untagged, and a rollback needs them.
    found = [item(n, age=90 - n, tags=["main"] if n == 5 else []) for n in range(1, 6)]
    policy = Policy(keep_last=3, delete_untagged_after="7d")
    assert [3, 4, 5] == numbers(kept(policy, found))


# How conditions and rules go together


def test_conditions_of_one_rule_are_or_ed() -> None:
    policy = Policy(keep_last=1, keep_within="5d", keep_tags="v*")
    found = [item(1, age=50), item(2, age=40, tags=["v1"]), item(3, age=4), item(4, age=30)]
    assert [2, 3, 4] == numbers(kept(policy, found))
    assert (
        "expired: rule 1: no tag, not among the last 1 (is 4th), older than 5d"
        == reasons(policy, found)["shop/web@1"]
    )


def test_all_any_and_not() -> None:
    not_pr = Condition(not_=Condition(keep_tags="pr-*"))
    policy = Policy([Rule(all_=[Condition(keep_last=3), not_pr])])
    found = [item(1, tags=["v1"]), item(2, tags=["v2"]), item(3, tags=["pr-7"]), item(4)]
    assert {
        "shop/web@1": "expired: rule 1: not among the last 3 (is 4th)",
        "shop/web@2": "kept: rule 1, keep-last 3 (is 3rd) and not: no tag of pr-*",
        "shop/web@3": "expired: rule 1: not: keep-tags pr-*: pr-7",
        "shop/web@4": "kept: rule 1, keep-last 3 (is 1st) and not: no tag",
    } == reasons(policy, found)
    either = Policy(any_=[Condition(keep_last=1), Condition(keep_tags="v1")])
    assert [1, 4] == numbers(kept(either, found))


def test_of_several_rules_any_keeps() -> None:
    policy = Policy(
        [
            Rule(keep_last=1),
            Rule(images=["shop/*"], keep_tags="v*"),
            Rule(images=["x"], keep_last=9),
        ]
    )
    found = [item(1, tags=["v1"]), item(2), item(3), item(1, name="a"), item(2, name="a")]
    assert {
        "a@1": "expired: rule 1: not among the last 1 (is 2nd)",
        "a@2": "kept: rule 1, keep-last 1 (is 1st)",
        "shop/web@1": "kept: rule 2, keep-tags v*: v1",
        "shop/web@2": "expired: rule 1: not among the last 1 (is 2nd); rule 2: no tag",
        "shop/web@3": "kept: rule 1, keep-last 1 (is 1st)",
    } == reasons(policy, found)
    assert [1, 2] == [d.rule for d in decide(policy, found, NOW) if d.item.number == 1]


@pytest.mark.parametrize(
    ("glob", "name", "spoken"),
    [
        ("shop/*", "shop/web", True),
        ("shop/*", "shop/web/a", False),
        ("shop", "shop/web", False),
        ("shop/**", "shop/web/a", True),
        ("shop/**", "shop", False),
        ("**", "shop", True),
        ("**/web", "a/b/web", True),
        ("**/web", "a/web/b", False),
    ],
)
def test_a_rule_speaks_about_whole_names(glob: str, name: str, spoken: bool) -> None:
    found = [item(1, name=name), item(2, name=name)]
    assert spoken == (kept(Policy(images=[glob], keep_last=1), found) != set(found))


# Indexes and referrers


def image_index(number: int, *, age: float, tags: Iterable[str] = ()) -> list[Item]:
    """An index with two children and a signature, all as a registry lists them."""
    children = [digest(f"{number}-{machine}") for machine in ("amd64", "arm64")]
    shared: Mapping[str, Any] = {"number": None, "age": age}
    return [
        item(number, tags=tags, children=children, **shared),
        *(item(number, digest=child, **shared) for child in children),
        item(number, digest=digest(f"{number}-sig"), subject=digest(number), **shared),
        item(
            number,
            digest=digest(f"{number}-cosign"),
            tags=[f"sha256-{digest(number).hex}.sig"],
            **shared,
        ),
    ]


def test_children_and_referrers_share_the_fate_of_their_image_and_take_no_place() -> None:
    images = [image_index(n, age=50 - n) for n in (1, 2, 3)]
    found = [part for image in images for part in image]
    for policy in (Policy(keep_last=2), Policy(keep_within="48d", delete_untagged_after="48d")):
        assert {*images[1], *images[2]} == kept(policy, found)
    said = {d.item.digest: d.reason for d in decide(Policy(keep_last=2), found, NOW)}
    name = f"shop/web@{digest(3)}"
    assert f"kept: child of {name}, which is kept" == said[digest("3-arm64")]
    assert f"kept: referrer of {name}, which is kept" == said[digest("3-sig")]
    assert f"kept: referrer of {name}, which is kept" == said[digest("3-cosign")]
    gone = f"expired: child of shop/web@{digest(1)}, which expires"
    assert gone == said[digest("1-arm64")]


def test_a_tagged_child_stands_for_itself_but_never_goes_before_its_index() -> None:
    child = item(1, tags=["arm"], number=None, age=40)
    old = item(2, children=[child.digest], number=None, age=50)
    assert {child} == kept(Policy(keep_within="45d"), [child, old])
    tagged = evolve(old, tags=["web"])
    assert {child, tagged} == kept(Policy(keep_tags="web"), [child, tagged])


def test_a_pinned_child_is_kept_without_its_index() -> None:
    index, child, *rest = image_index(1, age=50)
    pinned = evolve(child, pinned=True)
    newer = item(2, number=None, age=1)
    assert {pinned, newer} == kept(Policy(keep_last=1), [index, pinned, *rest, newer])


def test_a_referrer_whose_image_is_gone_is_judged_but_takes_no_place() -> None:
    found = [item(n, number=None) for n in (1, 2)]
    orphans = [
        item(8, number=None, subject=digest("gone")),
        item(9, number=None, tags=[f"sha256-{digest('gone').hex}.att"]),
    ]
    assert {*found, *orphans} == kept(Policy(keep_last=2), found + orphans)
    assert {found[1], *orphans} == kept(Policy(keep_last=1), found + orphans)
    assert {orphans[1]} == kept(Policy(keep_tags="sha256-*"), found + orphans)


def test_what_lists_itself_or_its_parent_ends_all_the_same() -> None:
    one = item(1, number=None, children=[digest(2), digest(1)])
    two = item(2, number=None, children=[digest(1)], subject=digest(2))
    assert {one, two} == kept(Policy(keep_last=2), [one, two])
    assert set() == kept(Policy(keep_within="1d"), [one, two])


# What holds for every policy


@given(policies, items())
def test_there_is_one_decision_for_each_item_and_their_order_is_irrelevant(
    policy: Policy, found: list[Item]
) -> None:
    made = decide(policy, found, NOW, NOTHING)
    assert sorted(map(repr, found)) == sorted(repr(decision.item) for decision in made)
    assert made == decide(policy, found[::-1], NOW, NOTHING)
    assert made == decide(policy, sorted(found, key=lambda one: one.digest), NOW, NOTHING)
    assert all(d.reason.startswith("kept: " if d.keep else "expired: ") for d in made)


@given(policies, items(), st.integers(0, 100))
def test_a_clock_that_jumped_back_keeps_no_less(
    policy: Policy, found: list[Item], days: int
) -> None:
    earlier = NOW - timedelta(days=days)
    assert kept(policy, found, NOW) <= kept(policy, found, earlier)


@given(policies, items())
def test_what_is_current_or_pinned_never_goes(policy: Policy, found: list[Item]) -> None:
    safe = {one for one in found if one.current or one.pinned}
    assert safe <= kept(policy, found)


@given(policies, items())
def test_what_belongs_to_a_kept_image_never_goes(policy: Policy, found: list[Item]) -> None:
    live = {(one.name, one.digest) for one in kept(policy, found)}
    for one in found:
        if any((one.name, child) == key for key in live for child in _parts(one, found, key)):
            assert (one.name, one.digest) in live


def _parts(one: Item, found: Iterable[Item], key: tuple[str, Digest]) -> list[Digest]:
    """The digest of `key` if `one` is a child or a referrer of it."""
    name, digest_ = key
    owners = [other for other in found if (other.name, other.digest) == key]
    child = any(one.digest in owner.children for owner in owners)
    return [digest_] if one.name == name and (child or one.subject == digest_) else []


@given(policies, items())
def test_what_no_rule_speaks_about_is_kept(policy: Policy, found: list[Item]) -> None:
    foreign = [evolve(one, name=f"elsewhere/{one.name}/x") for one in found]
    narrow = Policy([rule for rule in policy.rules if "**" not in rule.images])
    assert set(foreign) == kept(narrow, foreign)
    assert set(found) == kept(Policy(), found)


@given(
    policies.filter(lambda policy: bool(policy.rules)),
    items(),
    st.one_of(
        st.builds(lambda n: {"keep_last": n}, st.integers(1, 9)),
        st.builds(lambda age: {"keep_within": age}, spans),
        st.just({"keep_tags": ("main",)}),
        st.just({"any_": (Condition(keep_last=2),)}),
    ),
)
def test_one_more_condition_keeps_no_less(
    policy: Policy, found: list[Item], more: dict[str, Any]
) -> None:
    rule, *rest = policy.rules
    for key, value in more.items():
        present = getattr(rule, key)
        if isinstance(value, tuple):
            more[key] = (*present, *value)
        elif present is not None:
            more[key] = max(present, value)
    wider = Policy([evolve(rule, **more), *rest])
    assert kept(policy, found) <= kept(wider, found)


@given(policies, items(), st.data())
def test_one_more_mention_keeps_no_less(
    policy: Policy, found: list[Item], data: st.DataObject
) -> None:
    some = data.draw(st.sets(st.sampled_from(found or [item(1)])))
    deployed = Deployed([Mention.of(" ".join(str(one.digest) for one in some), "x")])
    assert kept(policy, found) <= kept(policy, found, deployed=deployed)


def test_many_items_are_decided_in_time() -> None:
    found = [item(n, name=f"a/{n % 7}", age=n / 100, tags=[f"1.{n}.0"]) for n in range(20_000)]
    policy = Policy(keep_last=5, keep_tags=["newest 3 of each minor in >1.50", "v*"])
    assert 20_000 == len(decide(policy, found, NOW))


def test_a_decision_is_a_value() -> None:
    (made,) = decide(Policy(), [item(1)], NOW)
    assert Decision(item(1), True, None, "kept: no rule speaks about it") == made


# Mentions


@pytest.mark.parametrize(
    "text",
    [
        "image: shop/web:1.4.0",
        "image: registry.test/shop/web:1.4.0",
        "image: registry.test:5000/shop/web:1.4.0@sha256:0",
        "# was shop/web:1.4.0.",
        "repository: shop/web\ntag: '1.4.0'",
        '{"image":"registry.test\\/shop\\/web:1.4.0"}',
        '"containers:\\nshop/web:1.4.0\\n"',
        'image = "${var.registry}/shop/web:${var.tag}" # 1.4.0',
        "name: web\nnewTag: 1.4.0",
    ],
)
def test_a_tag_is_found_in_text(text: str) -> None:
    deployed = Deployed([Mention.of(text, "x")])
    found = [item(1, tags=["1.4.0"]), item(2, tags=["1.4.1"])]
    assert [1] == numbers(kept(Policy(keep_deployed=["x"]), found, deployed=deployed))


@pytest.mark.parametrize(
    ("name", "mentioned"),
    [
        ("shop/web", True),
        ("registry.test:5000/shop/web", True),
        ("other/shop/web", True),
        ("web", True),
        ("other/web", False),
        ("shop/webs", False),
        ("ashop/web", False),
    ],
)
def test_a_name_is_known_with_and_without_its_registry(name: str, mentioned: bool) -> None:
    deployed = Deployed([Mention.of("image: shop/web:1", "x")])
    found = [item(1, name=name, tags=["1"])]
    assert mentioned == bool(kept(Policy(keep_deployed=["x"]), found, deployed=deployed))


def test_digests_are_found_however_they_are_written() -> None:
    plain = digest(1)
    for text in (f"{plain}", f"a@{plain}", plain.hex, plain.hex.upper(), f"sha256-{plain.hex}.sig"):
        assert {plain} == Mention.of(text, "x").digests
    assert set() == Mention.of(plain.hex + "0", "x").digests


def test_an_image_named_without_a_tag_is_its_latest() -> None:
    deployed = Deployed([Mention.of("image: shop/web", "x")])
    found = [item(1, tags=["latest"]), item(2, tags=["1"])]
    assert [1] == numbers(kept(Policy(keep_deployed=["x"]), found, deployed=deployed))


# Caches


def cache(key: int, size: int, age: int | None) -> Cache:
    return Cache(digest(key), size, None if age is None else NOW - timedelta(days=age))


def test_the_longest_unused_caches_go_first_and_no_more_than_needed() -> None:
    caches = [cache(1, 10, 1), cache(2, 10, 9), cache(3, 10, None), cache(4, 0, 99)]
    by_key = {digest(n): n for n in range(5)}
    for used, expected in ((50, []), (51, [3]), (60, [3]), (61, [3, 2]), (999, [3, 2, 1])):
        assert expected == [by_key[c.digest] for c in evict(caches, 50, used)]


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 9), st.none() | st.integers(0, 9))),
    st.integers(0, 200),
    st.integers(0, 200),
)
def test_eviction_ends_within_the_budget_or_with_no_cache_left(
    rows: list[tuple[int, int, int | None]], budget: int, images: int
) -> None:
    caches = [cache(*row) for row in rows]
    used = images + sum(each.size for each in caches)
    gone = evict(caches, budget, used)
    left = used - sum(each.size for each in gone)
    assert left <= budget or left == images
    if gone:
        assert left + gone[-1].size > budget
    assert gone == evict(caches[::-1], budget, used)
