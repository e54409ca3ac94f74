"""Relations between packages, as Debian Policy has them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.errors import ResolutionError
from immutable.sources.debian.relations import (
    Relation,
    parse_relations,
    parse_request,
    parse_version,
)


def test_groups_alternatives_versions_and_architectures_are_read() -> None:
    text = "libc6 (>= 2.36), default-mta | mail-transport-agent, python3:any (>= 3.9~), x,"

    assert (
        (Relation("libc6", ">=", "2.36"),),
        (Relation("default-mta"), Relation("mail-transport-agent")),
        (Relation("python3", ">=", "3.9~", "any"),),
    ) == parse_relations(text.replace(", x,", ","))


def test_nothing_is_no_relation() -> None:
    assert () == parse_relations("  ")


@pytest.mark.parametrize(
    "text", ["a b", "libx (2.0)", "libx (>= )", "libx (== 1)", "Libx y", "|libx", "ab (= 1 2)"]
)
def test_what_policy_does_not_allow_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a relation to a package, found"):
        parse_relations(text)


@pytest.mark.parametrize(
    ("relation", "accepted", "refused"),
    [
        ("libx (>= 1:2.0)", ["1:2.0", "2:0"], ["2.0", "1:2.0~rc1"]),
        ("libx (<= 2.0)", ["2.0", "2.0~"], ["2.0-1"]),
        ("libx (<< 2.0)", ["1.9"], ["2.0"]),
        ("libx (>> 2.0)", ["2.0+b1"], ["2.0"]),
        ("libx (= 2.0)", ["2.0", "0:2.0"], ["2.0-1"]),
        ("libx (< 2.0)", ["2.0", "1"], ["2.1"]),
        ("libx (> 2.0)", ["2.0", "3"], ["1.9"]),
        ("libx", ["0"], []),
    ],
)
def test_versions_compare_as_policy_has_it(
    relation: str, accepted: list[str], refused: list[str]
) -> None:
    ((parsed,),) = parse_relations(relation)

    assert [True] * len(accepted) == [parsed.accepts(version) for version in accepted]
    assert [False] * len(refused) == [parsed.accepts(version) for version in refused]


def test_what_is_provided_answers_a_version_only_with_one() -> None:
    bare, versioned = Relation("virtual"), Relation("virtual", ">=", "2")

    assert bare.accepts_provided(Relation("virtual"))
    assert bare.accepts_provided(Relation("virtual", "=", "1"))
    assert not versioned.accepts_provided(Relation("virtual"))
    assert not versioned.accepts_provided(Relation("virtual", "=", "1"))
    assert versioned.accepts_provided(Relation("virtual", "=", "2"))


@pytest.mark.parametrize("version", ["", "a b", "1:2:x ", "-1", "ä", "1\n", "1/2"])
def test_a_version_that_is_none_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match="expected a version"):
        parse_version(version)


def test_a_request_may_name_a_version() -> None:
    assert Relation("nginx") == parse_request("nginx")
    assert Relation("nginx", "=", "1:1.22.1-9+b1") == parse_request("nginx=1:1.22.1-9+b1")
    assert Relation("nginx", ">=", "1.22") == parse_request("nginx (>= 1.22)")


@pytest.mark.parametrize("text", ["", "nginx:arm64", "nginx/sid", "a | b", "Nginx", "nginx=", "-x"])
def test_other_requests_are_refused(text: str) -> None:
    with pytest.raises(ResolutionError, match="expected a package as name, name=version"):
        parse_request(text)


names = st.from_regex(r"[a-z][a-z0-9+.-]{1,8}", fullmatch=True)
versions = st.from_regex(r"([0-9]:)?[0-9][0-9a-z.+~]{0,5}(-[0-9])?", fullmatch=True)
relations = st.builds(
    lambda name, bound, arch: Relation(name, bound[0], bound[1], arch),
    names,
    st.just(("", "")) | st.tuples(st.sampled_from(["<<", "<=", "=", ">=", ">>"]), versions),
    st.sampled_from(["", "any", "native", "amd64"]),
)


@given(st.lists(st.lists(relations, min_size=1, max_size=3).map(tuple), max_size=4).map(tuple))
def test_what_is_written_is_read_back(groups: tuple[tuple[Relation, ...], ...]) -> None:
    text = ", ".join(" | ".join(map(str, group)) for group in groups)

    assert groups == parse_relations(text)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        again = ", ".join(" | ".join(map(str, group)) for group in parse_relations(text))
        assert parse_relations(text) == parse_relations(again)
