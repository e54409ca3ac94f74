"""Canonical JSON: equal values, equal bytes; and a reader that takes nothing twice."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.oci import canonical
from immutable.oci.digest import Digest
from tests.support import strategies


def test_the_bytes() -> None:
    value: dict[str, Any] = {"b": [True, None, -1, 2**70], "a": {"é": "\u2028\x07\x7f😀"}, "B": ()}
    encoded = canonical.encode(value)
    assert (
        '{"B":[],"a":{"é":"\u2028\\u0007\x7f😀"},"b":[true,null,-1,1180591620717411303424]}'
        == encoded.decode()
    )
    assert "f2f2cf885778660d" == Digest.of(encoded).hex[:16]


@given(strategies.json_values)
def test_what_is_encoded_is_decoded(value: Any) -> None:
    encoded = canonical.encode(value)
    assert value == canonical.decode(encoded) == json.loads(encoded)
    assert encoded == canonical.encode(canonical.decode(encoded))


@given(st.dictionaries(strategies.text, strategies.json_values), st.randoms())
def test_the_order_of_keys_is_no_part_of_a_value(value: dict[str, Any], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert canonical.encode(value) == canonical.encode({key: value[key] for key in keys})


@given(strategies.json_values)
def test_freezing_keeps_the_value(value: Any) -> None:
    frozen = canonical.freeze(value)
    assert value == canonical.thaw(frozen)
    assert canonical.encode(value) == canonical.encode(frozen)


def test_frozen_is_deeply_frozen() -> None:
    given: dict[str, Any] = {"a": [{"b": []}]}
    frozen = canonical.freeze(given)
    given["a"].append({})
    assert isinstance(frozen, canonical.Frozen)
    assert {"a": ({"b": ()},)} == dict(frozen)


@pytest.mark.parametrize(
    "value", [1.0, {1: 2}, {"a": {2}}, b"x", object(), [float("nan")], {None: 1}]
)
def test_what_has_no_one_encoding_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"no canonical encoding|a key must be a string"):
        canonical.encode(value)


def test_deep_nesting_is_refused() -> None:
    value: Any = []
    for _ in range(200):
        value = [value]
    with pytest.raises(TypeError, match="nested too deeply"):
        canonical.encode(value)


def test_text_that_utf8_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        canonical.encode("\ud800")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Expecting value"),
        (b"{} {}", "Extra data"),
        (b'{"a":1,"a":1}', "duplicate key 'a'"),
        (b'[{"x":{"a":1,"b":2,"a":3}}]', "duplicate key 'a'"),
        (b'{"a":1,"\\u0061":1}', "duplicate key 'a'"),
        (b"NaN", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"1e999", "1e999 is beyond every float"),
        (b"9" * 5000, "an integer of 5000 digits"),
        (b"\xef\xbb\xbf{}", "starts with a byte-order mark"),
        (b'"\xff"', "not UTF-8: byte 1 is 0xff"),
        ('"x"'.encode("utf-16"), "not UTF-8: byte 0 is 0xff"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'["\\ud800"]', "half a surrogate pair"),
        (b'{"\\udc00":1}', "half a surrogate pair"),
        (b'{"a":{"b":"x\\uDBFFy"}}', "half a surrogate pair"),
    ],
)
def test_what_is_read_strictly(data: bytes, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        canonical.decode(data)
    assert message in str(caught.value)


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert "😀" == canonical.decode(b'"\\ud83d\\ude00"')


@given(st.binary())
def test_bytes_give_a_value_or_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        canonical.decode(data)
