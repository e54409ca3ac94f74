"""Semantic Versioning 2.0.0: precedence by its section 11, and ranges that know nothing else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.lifecycle.retention.semver import Range, Version
from immutable.lifecycle.retention.versions import parse

numbers = st.integers(0, 30)
identifiers = st.one_of(
    numbers.map(str), st.from_regex(r"[0-9]{0,2}[a-z][0-9a-z]{0,3}", fullmatch=True)
)
versions = st.builds(
    lambda numbers, more: Version(numbers, ".".join(more)),
    st.tuples(numbers, numbers, numbers),
    st.just([]) | st.lists(identifiers, max_size=2).map(lambda more: ["rc", *more]),
)


def written(version: Version) -> str:
    tail = f"-{version.prerelease}" if version.prerelease else ""
    return f"{'.'.join(map(str, version.numbers))}{tail}"


def parsed(text: str) -> Version:
    version = parse(text)
    assert version is not None
    return version


def test_precedence_is_as_section_11_orders_its_example() -> None:
    ordered = """
        1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11
        1.0.0-rc.1 1.0.0 2.0.0 2.1.0 2.1.1
    """
    precedences = [parsed(text).precedence for text in ordered.split()]
    assert all(one < other for one, other in pairwise(precedences))


@given(versions)
def test_a_version_reads_back(version: Version) -> None:
    read = parsed(written(version))
    assert (version.numbers, version.prerelease) == (read.numbers, read.prerelease)
    assert version.precedence == parsed(f"v{written(version)}").precedence


@given(versions, st.from_regex(r"[0-9A-Za-z-]{1,5}", fullmatch=True))
def test_build_metadata_does_not_count(version: Version, build: str) -> None:
    for sign in "+_":
        other = parsed(f"{written(version)}{sign}{build}")
        assert build == other.build
        assert version.precedence == other.precedence


@given(versions)
def test_a_pre_release_comes_before_its_release(version: Version) -> None:
    release = Version(version.numbers)
    assert (version.precedence < release.precedence) == bool(version.prerelease)


@given(versions, versions)
def test_comparators_are_precedence(one: Version, other: Version) -> None:
    a, b = one.precedence, other.precedence
    for operator, expected in (("<", a < b), ("<=", a <= b), (">", a > b), (">=", a >= b)):
        assert expected == (one in Range.parse(f"{operator}{written(other)}"))
    assert (a == b) == (one in Range.parse(f"={written(other)}"))


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=1.2 <2", "1.2.0 1.9.9 2.0.0-rc.1", "1.1.9 1.2.0-rc.1 2.0.0"),
        (">=1.2,<2", "1.2.0", "2.0.0"),
        (">= 1.2 , < 2", "1.2.0", "2.0.0"),
        (">1.2", "1.3.0", "1.2.0 1.2.9"),
        ("<=1.2", "1.2.9 0.1.0", "1.3.0"),
        ("=1.2", "1.2.0 1.2.7", "1.3.0 1.1.9"),
        ("^1.2.3", "1.2.3 1.9.0", "1.2.2 2.0.0"),
        ("^0.2.3", "0.2.3 0.2.9", "0.3.0 0.2.2"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("^0.0", "0.0.9", "0.1.0"),
        ("^0", "0.9.0", "1.0.0"),
        ("~1.2.3", "1.2.3 1.2.9", "1.3.0 1.2.2"),
        ("~1", "1.9.9", "2.0.0"),
        ("=1.0.0 || >=3", "1.0.0 3.0.0", "1.0.1 2.0.0"),
        (">1.0.0-rc.1 <=1.0.0", "1.0.0-rc.2 1.0.0", "1.0.0-rc.1 1.0.1"),
        (">=1.21", "1.21 1.22 2 1.21.0.1 1.21-alpine release-1.21", "1.20 1.20.9 1.21-rc.1"),
        ("=1.20", "1.20 1.20.0 1.20.7", "1.21 1.19"),
        (">=2024.01 <2024.02", "2024.01.15 2024.1", "2024.02.01 2023.12.31"),
        (">=1.2.3.4", "1.2.3.4 1.2.3.10 1.2.4", "1.2.3 1.2.3.3"),
        (">=1.2.3", "1.2.3.4", "1.2.2.9"),
        (">=1.22-rc.2", "1.22rc2 1.22rc10 1.22", "1.22rc1"),
        (">=2 <1", "", "0.1.0 1.0.0 2.0.0"),
    ],
)
def test_a_range_holds_what_it_says(text: str, inside: str, outside: str) -> None:
    held = Range.parse(text)
    assert inside.split() == [v for v in inside.split() if parsed(v) in held]
    assert [] == [v for v in outside.split() if parsed(v) in held]


@pytest.mark.parametrize(
    "text", ["", ">=", ">=x", "1.2", ">=1 || ", "|| >=1", ">=1.", ">=1..2", ">" * 600, ">=1 2"]
)
def test_a_range_that_cannot_be_understood_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        Range.parse(text)
