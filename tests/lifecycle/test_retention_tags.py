"""The words of keep-tags: globs, ranges and the newest of a series."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.lifecycle.retention import versions
from immutable.lifecycle.retention.tags import parse
from immutable.spec.toml import FaultError

VERSIONS = ("1.2.0", "v1.2.1", "1.2.2", "1.3.0-rc.1", "1.3.0-rc.2", "1.3.0", "2.0.0-rc.1")
TAGS = frozenset((*VERSIONS, "latest", "main", "1.2", "v1", "pr-7"))
some_tags = st.frozensets(
    st.builds(
        "{}.{}.{}{}".format,
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(0, 4),
        st.sampled_from(("", "", "-rc.1", "-rc.2")),
    ),
    max_size=12,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v*", "v1 v1.2.1"),
        ("main", "main"),
        ("pr-[0-9]", "pr-7"),
        ("?atest", "latest"),
        (">=1.2 <1.3", "1.2 1.2.0 1.2.2 1.3.0-rc.1 1.3.0-rc.2 v1.2.1"),
        ("newest 1", "1.3.0 2.0.0-rc.1 pr-7 v1 v1.2.1"),
        ("newest 1 of each minor", "1.2.2 1.3.0 2.0.0-rc.1 pr-7 v1 v1.2.1"),
        ("newest 2 of each minor", "1.2 1.2.0 1.2.2 1.3.0 1.3.0-rc.2 2.0.0-rc.1 pr-7 v1 v1.2.1"),
        ("newest 1 of each major", "1.3.0 2.0.0-rc.1 pr-7 v1 v1.2.1"),
        ("newest 1 of each patch", "1.2 1.2.0 1.2.2 1.3.0 2.0.0-rc.1 pr-7 v1 v1.2.1"),
        ("newest 1 in <1.3.0-0", "1.2.2 v1 v1.2.1"),
        ("newest 2 of each minor in 1.3*", "1.3.0 1.3.0-rc.2"),
    ],
)
def test_a_selector_chooses_as_its_words_say(text: str, expected: str) -> None:
    selector = parse(text)
    assert expected.split() == sorted(selector.choose(TAGS))
    assert text == str(selector)


def test_a_pre_release_never_pushes_a_release_out() -> None:
    tags = frozenset({"1.2.2", "1.2.3-rc.1", "1.2.3-rc.2", "1.2.3-rc.3"})
    assert {"1.2.2", "1.2.3-rc.3"} == parse("newest 1 of each minor").choose(tags)


def test_tags_of_one_version_share_a_place() -> None:
    tags = frozenset({"v1.0.1", "1.0.1", "1.0.1_build2", "1.0.0"})
    assert tags - {"1.0.0"} == parse("newest 1").choose(tags)


@given(some_tags, st.integers(1, 4), st.sampled_from(("", "major", "minor", "patch")))
def test_newest_has_so_many_releases_of_each_series(
    tags: frozenset[str], count: int, each: str
) -> None:
    chosen = parse(f"newest {count} of each {each}" if each else f"newest {count}").choose(tags)
    assert chosen <= tags
    parts = ("", "major", "minor", "patch").index(each)
    series: dict[tuple[object, ...], list[str]] = {}
    for tag in tags:
        version = versions.parse(tag)
        if version is not None and not version.prerelease:
            series.setdefault(version.first(parts), []).append(tag)
    for members in series.values():
        assert min(count, len(members)) == len(chosen.intersection(members))


@given(some_tags, st.integers(1, 4))
def test_a_larger_number_chooses_no_less(tags: frozenset[str], count: int) -> None:
    fewer, more = (parse(f"newest {n} of each minor").choose(tags) for n in (count, count + 1))
    assert fewer <= more


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "expected a pattern"),
        ("a b", "no tag has ' ' in it"),
        ("a/b", "no tag has '/' in it"),
        ("[a", "without ]"),
        ("newest", 'expected "newest 3"'),
        ("newest 0", 'expected "newest 3"'),
        ("newest 3 of each week", 'expected "newest 3"'),
        ("newest 3 in newest 2", "no tag has ' ' in it"),
        (">=1.x", "expected a version"),
        ("|| 1", "expected a range"),
    ],
)
def test_a_word_that_cannot_be_understood_is_refused(text: str, fault: str) -> None:
    with pytest.raises(FaultError) as caught:
        parse(text)
    assert fault in str(caught.value)
