"""Derivations: what is part of an identity and what is not; and the graph of them."""

from __future__ import annotations

import datetime
import pickle
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given

from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.spec.derivation import Derivation, Job, Part, Snapshot
from immutable.spec.lock import IndexPin, Pin
from tests.support import strategies

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
PIN = Pin("a", "1", "amd64", "pool/a.deb", 3, Digest.of(b"a"))

ONE = Derivation(
    kind="debian",
    version=1,
    mtime=0,
    options={"exclude": ["/usr/share/doc/**"], "merged-usr": True},
    sources=(Digest.of(b"one"), Digest.of(b"two")),
    platform=AMD64,
)
JOB = Job(ONE, "runtime")


def test_the_exact_identity() -> None:
    assert {
        "kind": "debian",
        "version": 1,
        "mtime": 0,
        "options": {"exclude": ("/usr/share/doc/**",), "merged-usr": True},
        "sources": [str(Digest.of(b"one")), str(Digest.of(b"two"))],
        "platform": "linux/amd64",
    } == ONE.plain()
    assert "17af1adbdeb5" == ONE.digest.short


# The style guide has it so: "Display text is no part of an identity".


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"pins": (PIN,)},
        {"index": (IndexPin("bookworm", datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)),)},
        {"snapshot": Snapshot(Digest.of(b"x"), object())},
        {"compression": "zstd"},
    ],
)
def test_what_is_no_part_of_an_identity(changes: dict[str, Any]) -> None:
    other = evolve(JOB, **changes)
    assert JOB == other
    assert (JOB.digest, hash(JOB)) == (other.digest, hash(other))


def test_the_order_of_options_is_no_part_of_an_identity() -> None:
    other = evolve(ONE, options={"merged-usr": True, "exclude": ("/usr/share/doc/**",)})
    assert ONE == other
    assert (ONE.digest, hash(ONE)) == (other.digest, hash(other))


@pytest.mark.parametrize("made", [ONE, evolve(ONE, platform=None, part=Part(1, 2, (0, 1)))])
def test_a_derivation_goes_as_json_and_pickled(made: Derivation) -> None:
    for there in (Derivation.decode(made.encode()), pickle.loads(pickle.dumps(made))):
        assert made == there
        assert made.plain() == there.plain()
        assert made.whole == there.whole


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"null", ONE.encode() + b" ", ONE.encode().replace(b"sha", b"shb")]
)
def test_what_is_no_derivation(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Derivation.decode(data)


def test_a_job_goes_pickled_with_what_it_takes() -> None:
    made = Job(ONE, "runtime", (PIN,), snapshot=Snapshot(Digest.of(b"x"), b"data"))
    there = pickle.loads(pickle.dumps(made))
    assert made == there
    assert (made.name, made.pins, b"data") == (there.name, there.pins, there.snapshot.data)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "files"},
        {"version": 2},
        {"mtime": 1},
        {"options": {}},
        {"options": {"exclude": ["/usr/share/doc/**"], "merged-usr": 1}},
        {"options": {"exclude": ["/usr/share/doc/**"], "merged-usr": "true"}},
        {"sources": ONE.sources[::-1]},
        {"sources": ONE.sources[:1]},
        {"replace": True},
        {"platform": ARM64},
        {"platform": None},
    ],
)
def test_what_is_part_of_an_identity(changes: dict[str, Any]) -> None:
    other = evolve(ONE, **changes)
    assert ONE != other
    assert ONE.digest != other.digest


def test_options_are_frozen() -> None:
    options = {"a": [1]}
    made = Derivation("files", 1, 0, options)
    options["a"].append(2)
    assert {"a": (1,)} == dict(made.options)
    with pytest.raises(TypeError):
        made.options["b"] = 1  # type: ignore[index]


def test_options_that_have_no_one_encoding_are_refused() -> None:
    with pytest.raises(TypeError, match="float has no canonical encoding"):
        Derivation("files", 1, 0, {"a": 1.0})


@given(strategies.json_values, strategies.json_values)
def test_derivations_are_equal_when_their_digests_are(one: Any, other: Any) -> None:
    left, right = Derivation("x", 1, 0, {"o": one}), Derivation("x", 1, 0, {"o": other})
    assert (left == right) == (left.digest == right.digest)
