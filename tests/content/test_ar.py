from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.content.archives.ar import read
from immutable.errors import ArchiveError
from tests.support.archives import ar, ar_member


def listed(data: bytes) -> list[tuple[str, bytes]]:
    return [(one.name, one.stream.read()) for one in read(io.BytesIO(data), name="a.deb")]


def refused(data: bytes, *parts: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        listed(data)
    message = str(caught.value)
    assert message.startswith("a.deb: ")
    for part in parts:
        assert part in message


def test_members_in_their_order() -> None:
    data = ar([(b"b", b"odd"), (b"a/", b"even"), (b"empty", b"")])
    assert [("b", b"odd"), ("a", b"even"), ("empty", b"")] == listed(data)


def test_an_archive_without_members() -> None:
    assert [] == listed(b"!<arch>\n")


def test_unread_content_is_passed_over() -> None:
    data = ar([(b"a", b"x" * 1001), (b"b", b"y")])
    assert ["a", "b"] == [one.name for one in read(io.BytesIO(data), name="a.deb")]


@given(
    st.dictionaries(st.from_regex(r"[a-z.-]{1,16}", fullmatch=True), st.binary(max_size=99)),
)
def test_round_trip(members: dict[str, bytes]) -> None:
    data = ar((name.encode(), content) for name, content in members.items())
    assert listed(data) == list(members.items())


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"", ["expected an ar archive"]),
        (b"!<thin>\n", ["expected an ar archive"]),
        (ar([(b"a", b"1"), (b"a", b"2")]), ["a: a second member"]),
        (ar([(b"a", b"1"), (b"a/", b"2")]), ["a: a second member"]),
        (b"!<arch>\n" + ar_member(b"a", b"12", end=b"`!"), ["expected an ar header"]),
        (b"!<arch>\n" + ar_member(b"a", b"12", size=b"x"), ["a: size", "b'x  "]),
        (b"!<arch>\n" + ar_member(b"a", b"12", size=b""), ["a: size"]),
        (b"!<arch>\n" + ar_member(b"a", b"12", size=b"-2"), ["a: size"]),
        (b"!<arch>\n" + ar_member(b"a", b"12", size=b"1_0"), ["a: size"]),
        (b"!<arch>\n" + ar_member(b"a", b"12", size=b"9999999999"), ["a: truncated", "found 2"]),
        (b"!<arch>\n" + ar_member(b"a", b"12", size=b"1"), ["a: expected a newline"]),
        (ar([(b"a", b"1")])[:-1], ["a: expected a newline"]),
        (ar([(b"a", b"1")])[:-1] + b"\0", ["a: expected a newline"]),
        (ar([(b"a", b"12")]) + b"\n", ["truncated", "header"]),
        (ar([(b"a", b"12")])[:40], ["truncated", "header"]),
        (ar([(b"a", b"12")])[:-1], ["a: truncated"]),
        (ar([(b"", b"12")]), ["name"]),
        (ar([(b"//", b"12")]), ["name"]),
        (ar([(b"../a", b"12")]), ["name"]),
        (ar([(b"a\0", b"12")]), ["name"]),
        (ar([(b"\xff", b"12")]), ["name"]),
        (ar([(b"a", b"1")]).replace(b"100644", b"10x644"), ["a: mode"]),
    ],
)
def test_refused(data: bytes, parts: list[str]) -> None:
    refused(data, *parts)
