"""Digests: one algorithm, one spelling."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.oci.digest import Digest

HEX = "0123456789abcdef" * 4
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_it_is_written_as_oci_writes_it() -> None:
    digest = Digest.of(b"")
    assert (f"sha256:{EMPTY}", EMPTY, EMPTY[:12]) == (str(digest), digest.hex, digest.short)
    assert f"Digest('{EMPTY}')" == repr(digest)


@given(st.binary())
def test_it_is_the_sha256_of_the_bytes(data: bytes) -> None:
    expected = hashlib.sha256(data).hexdigest()
    assert expected == Digest.of(data).hex == Digest.of(memoryview(bytearray(data))).hex


@given(st.binary())
def test_what_is_written_is_read(data: bytes) -> None:
    digest = Digest.of(data)
    assert digest == Digest.parse(str(digest))
    assert hash(digest) == hash(Digest.parse(str(digest)))


def test_they_sort_by_their_digits() -> None:
    low, high = Digest("0" * 64), Digest("f" * 64)
    assert [low, high] == sorted([high, low])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected 64 hex digits, found ''"),
        (HEX[1:], "expected 64 hex digits, found 63"),
        (HEX + "0", "expected 64 hex digits, found 65"),
        (HEX.upper(), f"expected lower-case hex digits, found '{HEX.upper()}'"),
        ("g" * 64, f"expected 64 hex digits, found '{'g' * 64}'"),
        (HEX[1:] + "\n", "expected 64 hex digits, found '1234"),
        ("\uff10" * 64, "expected 64 hex digits, found '\uff10"),  # digits, but no ASCII
        (f"sha256:{HEX}", "expected 64 hex digits, found 'sha256:0"),
        (f"sha512:{HEX}", "expected 64 hex digits, found 'sha512:0"),
        ("../../etc/passwd", "expected 64 hex digits, found '../../etc/passwd'"),
    ],
)
def test_other_digits_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        Digest(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEX, f"expected sha256:<64 hex digits>, found '{HEX}'"),
        (f"sha512:{HEX}", f"expected sha256:<64 hex digits>, found 'sha512:{HEX}'"),
        (f"SHA256:{HEX}", f"expected sha256:<64 hex digits>, found 'SHA256:{HEX}'"),
        ("", "expected sha256:<64 hex digits>, found ''"),
        ("sha256:../..", "expected 64 hex digits, found '../..'"),
        ("sha256:", "expected 64 hex digits, found ''"),
    ],
)
def test_other_spellings_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        Digest.parse(text)
    assert message == str(caught.value)
