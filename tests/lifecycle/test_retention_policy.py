"""The policy's file: read strictly, with every fault at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from immutable.errors import SpecError
from immutable.lifecycle.retention import Condition, Policy, Rule, parse, parse_age, parse_size
from immutable.lifecycle.retention.policy import show_age

WHOLE = b"""
[[rule]]
images = ["shop/*"]
keep-last = 5
keep-within = "30d"
keep-tags = ["v*", ">=1.2 <2", "newest 3 of each minor"]
keep-deployed = ["deploy/**/*.yaml"]
delete-untagged-after = "7d"

[[rule]]
images = ["ci/**"]
all = [{ keep-last = 20 }, { keep-within = "14d" }, { not = { keep-tags = ["pr-*"] } }]

[store]
max-size = "20 GiB"
"""


def faults(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(text.encode(), "prune.toml")
    return list(caught.value.faults)


def test_a_policy_is_read_whole() -> None:
    not_pr = Condition(not_=Condition(keep_tags=("pr-*",)))
    expected = Policy(
        [
            Rule(
                images=("shop/*",),
                keep_last=5,
                keep_within=timedelta(days=30),
                keep_tags=("v*", ">=1.2 <2", "newest 3 of each minor"),
                keep_deployed=("deploy/**/*.yaml",),
                delete_untagged_after="7d",
            ),
            Rule(
                images=("ci/**",),
                all_=(Condition(keep_last=20), Condition(keep_within="14d"), not_pr),
            ),
        ],
        max_size=20 << 30,
    )
    assert expected == parse(WHOLE)
    assert ("deploy/**/*.yaml",) == expected.deployed_files()
    assert hash(expected) == hash(parse(WHOLE))


def test_an_empty_document_is_a_policy_without_rules() -> None:
    assert Policy() == parse(b"")


def test_conditions_given_to_a_policy_are_one_rule_for_every_image() -> None:
    assert Policy([Rule(images=("**",), keep_last=3)]) == Policy(keep_last=3)
    assert Policy(keep_tags=["v*"]) == Policy(keep_tags="v*")


def test_deployed_files_are_found_at_any_depth() -> None:
    deep = Condition(all_=(Condition(keep_last=1), Condition(keep_deployed=("b", "a"))))
    assert ("a", "b") == Policy([Rule(keep_deployed=("a",), any_=(deep,))]).deployed_files()


def test_every_fault_is_told_at_once_with_its_path() -> None:
    found = faults(
        """
        [[rule]]
        imgaes = ["shop/*"]
        keep-last = 0
        keep-within = "30 days"
        keep-tags = ["v*", ">=1.2 <x", 3]
        delete-untagged-after = 7
        any = []
        [[rule]]
        not = { keep-last = 3 }
        [[rule]]
        images = ["a"]
        [[rule]]
        all = [{}, { keep-last = true }]
        [[rule]]
        images = []
        keep-last = 1
        [store]
        max-size = "20 Gi"
        """
    )
    assert [
        "rule[0].any: expected at least one, found none; leave it out instead",
        "rule[0].delete-untagged-after: expected a string, found the integer 7",
        "rule[0].imgaes: unknown key; did you mean 'images'?",
        "rule[0].keep-last: expected a number from 1 to 2147483647, found the integer 0",
        "rule[0].keep-tags[1]: expected a version like 1.2 or 1.2.3-rc.1, found 'x'",
        "rule[0].keep-tags[2]: expected a string, found the integer 3",
        'rule[0].keep-within: expected a time span like "30d" or "12h", found \'30 days\'',
        "rule[1].not: keep-last: would let new images go first",
        "rule[2]: expected a condition, such as keep-last",
        "rule[3].all[0]: expected a condition, such as keep-last",
        "rule[3].all[1].keep-last: expected a number from 1 to 2147483647, found the boolean true",
        "rule[4].images: expected at least one glob",
        "rule[4].images: expected at least one, found none; leave it out instead",
        'store.max-size: expected a size like "20 GiB" or "500 MB", found \'20 Gi\'',
    ] == sorted(found)


@pytest.mark.parametrize(
    "inner",
    ["keep-last = 1", 'keep-within = "1d"', 'keep-deployed = ["a"]', 'keep-tags = ["newest 1"]'],
)
def test_what_would_let_new_or_deployed_images_go_cannot_be_turned_round(inner: str) -> None:
    for text in (f"not = {{ {inner} }}", f"not = {{ all = [{{ any = [{{ {inner} }}] }}] }}"):
        assert "would let new images go first" in faults(f"[[rule]]\n{text}")[0]


def test_conditions_stand_within_one_another_only_so_deep() -> None:
    for depth, fine in ((7, True), (8, False), (40, False)):
        text = "[[rule]]\n" + "any = [{" * depth + "keep-last = 1" + "}]" * depth
        if fine:
            assert depth + 1 == parse(text.encode()).rules[0].depth
        else:
            assert [True] == ["rule[0]" in fault and "nested" in fault for fault in faults(text)]


@pytest.mark.parametrize("data", [b"\xff", b"\xef\xbb\xbf", b"[" * 5000, b"rule = 1", b"x = nan"])
def test_what_is_no_policy_is_refused(data: bytes) -> None:
    with pytest.raises(SpecError):
        parse(data)


def test_a_rule_made_in_code_is_held_to_the_same() -> None:
    cases: list[dict[str, Any]] = [
        {},
        {"keep_last": 0},
        {"keep_within": timedelta(0)},
        {"keep_tags": "a b"},
        {"keep_last": 1, "images": ()},
        {"keep_last": 1, "images": "../x"},
    ]
    for wrong in cases:
        with pytest.raises(ValueError, match=r"expected|no tag|leaves"):
            Rule(**wrong)
    turned = Condition(keep_last=1)
    with pytest.raises(ValueError, match="new images"):
        Rule(not_=turned)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30d", 30 * 86400), ("12h", 43200), ("1w2d3h4m5s", 788645), ("90m", 5400), ("1s", 1)],
)
def test_a_time_span_is_read(text: str, seconds: int) -> None:
    assert timedelta(seconds=seconds) == parse_age(text)
    assert timedelta(seconds=seconds) == parse_age(show_age(parse_age(text)))


@pytest.mark.parametrize("text", ["", "0d", "30", "d", "1h1d", "-1d", "1.5d", "999999w", "٣d"])
def test_a_wrong_time_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time span"):
        parse_age(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20 GiB", 20 << 30), ("1.5 KiB", 1536), ("500MB", 500_000_000), ("0 B", 0), ("1kB", 1000)],
)
def test_a_size_is_read(text: str, expected: int) -> None:
    assert expected == parse_size(text)


@pytest.mark.parametrize("text", ["", "20", "20 Gi", "iB", "1 iB", "-1 B", "1e3 B", "1 gib"])
def test_a_wrong_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)
