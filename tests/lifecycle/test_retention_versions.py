"""What versions tags hold: every shape that people write, in families."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.lifecycle.retention.tags import parse as selector
from immutable.lifecycle.retention.versions import held, parse

CASES = pytest.mark.parametrize


@CASES(
    ("ordered", "expected"),
    [
        ("1.20 1.21 1.22", "1.22"),
        ("1.9 1.10", "1.10"),
        ("1 2 3 10", "10"),
        ("2023.12.31 2024.01.15 2024.2.1", "2024.2.1"),
        ("2023-12-31 2024-01-15", "2024-01-15"),
        ("20231231 20240115", "20240115"),
        ("20240115-0930 20240115-1030", "20240115-1030"),
        ("20240115T0930 20240115T1030", "20240115T1030"),
        ("release-0.9.0 release-1.0.0 release-1.10.0", "release-1.10.0"),
        ("1.2.3.4 1.2.3.10", "1.2.3.10"),
        ("1.2.3 1.2.3.1", "1.2.3.1"),
        ("3.9-alpine 3.18-alpine 3.19-alpine", "3.19-alpine"),
        ("1.9.0-alpine 1.10.0-alpine", "1.10.0-alpine"),
        ("1.08.0 1.9.0 1.10.0", "1.10.0"),
        ("v1 v2 v10", "v10"),
        ("v1.9 v1.10", "v1.10"),
        ("go1.9 go1.21", "go1.21"),
        ("1.20-2 1.20-10", "1.20-10"),
        ("node18-1.4.0 node18-1.10.0", "node18-1.10.0"),
        ("1.0.0-rc.1-slim 1.0.0-slim", "1.0.0-slim"),
        ("1.22rc1 1.22rc2 1.22", "1.22"),
        ("1.22rc2 1.22rc10", "1.22rc10"),
        ("1.0.0-rc.1 1.0.0-rc.2", "1.0.0-rc.2"),
        ("1.2.3-5-gabc1234 1.2.3", "1.2.3"),
    ],
)
def test_the_newest_is_kept_whatever_the_shape(ordered: str, expected: str) -> None:
    assert {expected} == selector("newest 1").choose(frozenset(ordered.split()))
    two = selector("newest 2").choose(frozenset(ordered.split()))
    assert expected in two


@CASES(
    "tags",
    [
        "1.20 v1.20 release-1.19 1.18-alpine 1.17-slim",
        "1.4.0 1.3.0-alpine",
        "1.4.0 57",
        "1.4.0 20240115",
        "1.4.0 2024.01.15",
        "1.4.0 2024-01-15",
        "node18-1.4.0 node20-1.3.0",
        "1.20 1.20.0",
        "1.20_alpine 1.21",
        "20240115-abc1234 20240115-def5678",
    ],
)
def test_other_families_never_push_a_version_out(tags: str) -> None:
    assert {*tags.split()} == selector("newest 1").choose(frozenset(tags.split()))


def test_each_family_has_its_newest() -> None:
    tags = frozenset(["1.20", "1.21", "1.20-alpine", "1.21-alpine", "v0.8", "v0.9", "r-1", "r-2"])
    expected = {"1.21", "1.21-alpine", "v0.9", "r-2"}
    assert expected == selector("newest 1").choose(tags)


def test_a_series_counts_the_numbers_that_are_left_out_as_0() -> None:
    tags = frozenset(["1.0", "1.1", "1.1.3", "2.0", "2.0.1"])
    assert {"1.0", "1.1.3", "2.0.1"} == selector("newest 1 of each minor").choose(tags)
    assert {"1.1.3", "2.0.1"} == selector("newest 1 of each major").choose(tags)


@CASES(
    "tag",
    [
        *("", "main", "latest", "abc1234", "sha-abc1234", "sha-1234567", "git-1234567"),
        *("latest-arm64", "linux-amd64", "1b2c3d", f"sha256-{'1' * 64}", f"sha256-{'a1' * 32}.sig"),
    ],
)
def test_what_is_no_version_is_none(tag: str) -> None:
    assert parse(tag) is None


def test_digests_of_only_digits_are_told_by_those_beside_them() -> None:
    assert [] == [*held(["1234567", "abc1234", "main-1234567", "main-1234abc"])]
    assert ["1234567"] == [tag for tag, _ in held(["1234567", "main"])]


def test_a_hostile_tag_is_no_version_at_once() -> None:
    for tag in ("1.2.3-" + "1" * 100_000, "1." * 100_000, "-" * 100_000 + "1"):
        assert parse(tag) is None


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True))
def test_every_tag_can_be_read(tag: str) -> None:
    version = parse(tag)
    assert version is None or version.precedence == version.precedence
    assert {tag} == {*selector("newest 1").choose(frozenset({tag}))} or version is None
