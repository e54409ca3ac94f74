"""What a WWW-Authenticate header says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.transports.registry.challenge import Challenge, parse

BEARER = Challenge(
    "bearer",
    (("realm", "https://auth.test/token"), ("service", "s"), ("scope", "repository:a:pull,push")),
)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ()),
        ("Basic", (Challenge("basic"),)),
        ('Basic realm="a, b"', (Challenge("basic", (("realm", "a, b"),)),)),
        (
            'Bearer realm="https://auth.test/token",service="s",scope="repository:a:pull,push"',
            (BEARER,),
        ),
        (
            'bEARER REALM = "https://auth.test/token" , service=s,scope="repository:a:pull,push"',
            (BEARER,),
        ),
        (
            'Basic realm="x", Bearer realm="y"',
            (Challenge("basic", (("realm", "x"),)), Challenge("bearer", (("realm", "y"),))),
        ),
        (
            'Negotiate, Basic realm="x"',
            (Challenge("negotiate"), Challenge("basic", (("realm", "x"),))),
        ),
        (
            'NTLM YWJj==, Basic realm="x"',
            (Challenge("ntlm"), Challenge("basic", (("realm", "x"),))),
        ),
        (r'Basic realm="a\"b"', (Challenge("basic", (("realm", 'a"b'),)),)),
        ('Bearer realm="a",realm="b"', (Challenge("bearer", (("realm", "a"),)),)),
        ('Bearer realm="never closed', (Challenge("bearer"),)),
        ('"', ()),
    ],
)
def test_challenges(header: str, expected: tuple[Challenge, ...]) -> None:
    found = parse(header)
    assert expected == found[: len(expected)]


@given(st.text(alphabet=st.sampled_from('aB=",\\ \t;:/~+'), max_size=200))
def test_whatever_is_written_is_read_to_an_end(header: str) -> None:
    parse(header)


def test_a_long_header_is_read_soon() -> None:
    assert 1 == len(parse("Bearer " + 'a="b",' * 100_000))
    parse('Bearer a="' + "\\" * 1_000_000)
