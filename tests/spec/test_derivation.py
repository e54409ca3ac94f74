"""Derivations: what is part of an identity and what is not; and the graph of them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given

from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.spec import document as specs
from immutable.spec.derivation import (
    Derivation,
    Facts,
    Graph,
    Kind,
    Read,
    Snapshot,
    instantiate,
    requests,
)
from immutable.spec.document import Layer, Spec
from immutable.spec.lock import IndexPin, Lock, LockedLayer, Pin
from tests.support import strategies

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
PIN = Pin("a", "1", "amd64", "pool/a.deb", 3, Digest.of(b"a"))

ONE = Derivation(
    kind="debian",
    version=1,
    mtime=0,
    options={"exclude": ["/usr/share/doc/**"], "merged-usr": True},
    sources=(Digest.of(b"one"), Digest.of(b"two")),
    inputs=(Digest.of(b"below"),),
    platform=AMD64,
    name="runtime",
)


def test_the_exact_identity() -> None:
    assert {
        "kind": "debian",
        "version": 1,
        "mtime": 0,
        "options": {"exclude": ("/usr/share/doc/**",), "merged-usr": True},
        "sources": [str(Digest.of(b"one")), str(Digest.of(b"two"))],
        "inputs": [str(Digest.of(b"below"))],
        "platform": "linux/amd64",
    } == ONE.plain()
    assert "3de4ef2ecb88" == ONE.digest.short


# The style guide has it so: "Display text is no part of an identity".


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"pins": (PIN,)},
        {"index": (IndexPin("bookworm", datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)),)},
        {"snapshot": Snapshot(Digest.of(b"x"), object())},
        {"compression": "zstd"},
        {"options": {"merged-usr": True, "exclude": ("/usr/share/doc/**",)}},
    ],
)
def test_what_is_no_part_of_an_identity(changes: dict[str, Any]) -> None:
    other = evolve(ONE, **changes)
    assert ONE == other
    assert (ONE.digest, hash(ONE)) == (other.digest, hash(other))


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
        {"inputs": ()},
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


# Instantiating


class Plain:
    """A kind whose output is the same for all platforms."""

    def request(self, options: Any, read: Read) -> Mapping[str, Any] | None:
        return None

    def derive(self, facts: Facts) -> tuple[Derivation, ...]:
        digest = "" if facts.snapshot is None else str(facts.snapshot.digest)
        return (
            Derivation(
                "plain", 1, facts.mtime, {"tree": digest}, name=facts.layer.name,
                snapshot=facts.snapshot,
            ),
        )  # fmt: skip


class Packages:
    """A kind whose output depends on the platform and on what lies below."""

    def request(self, options: Any, read: Read) -> Mapping[str, Any] | None:
        return {"packages": options}

    def derive(self, facts: Facts) -> tuple[Derivation, ...]:
        return (
            Derivation(
                "packages",
                1,
                facts.mtime,
                {},
                tuple(pin.sha256 for pin in facts.pins),
                tuple(below.digest for below in facts.below),
                facts.platform,
                facts.layer.name,
                facts.pins,
                facts.index,
            ),
        )


class Several:
    """A kind that becomes several layers, as an image does."""

    def request(self, options: Any, read: Read) -> Mapping[str, Any] | None:
        return None

    def derive(self, facts: Facts) -> tuple[Derivation, ...]:
        return tuple(Derivation("several", 1, 0, {"number": number}) for number in range(2))


class Accounts:
    def request(self, options: Any, read: Read) -> Mapping[str, Any] | None:
        return None

    def derive(self, facts: Facts) -> tuple[Derivation, ...]:
        below = tuple(layer.digest for layer in facts.below)
        return (Derivation("users", 1, facts.mtime, {}, (), below, name=facts.layer.name),)


KINDS: dict[str, Kind] = {"plain": Plain(), "packages": Packages(), "several": Several()}


def spec(*layers: tuple[str, str], users: bool = False) -> Spec:
    return Spec(
        specs.SpecVersion(1),
        specs.Image(specs.ImageName("web")),
        tuple(Layer(specs.LayerName(name), kind, (name,)) for name, kind in layers),
        (specs.User(specs.AccountName("node"), specs.AccountID(1)),) if users else (),
    )


def graph(made: Spec, lock: Lock | None = None, **snapshots: Snapshot) -> Graph:
    return instantiate(
        made,
        lock or Lock(),
        KINDS,
        platforms=(AMD64, ARM64),
        mtime=7,
        snapshots=snapshots,
        accounts=Accounts(),
    )


def unread(path: str) -> bytes:
    raise AssertionError(f"{path}: no kind here reads one")


def test_what_a_spec_asks_of_a_lock() -> None:
    made = spec(("a", "plain"), ("b", "packages"), ("c", "packages"))
    assert {
        "b": ("packages", {"packages": ("b",)}),
        "c": ("packages", {"packages": ("c",)}),
    } == requests(made, KINDS, unread)


def test_a_layer_that_no_platform_changes_is_there_once() -> None:
    made = graph(spec(("app", "plain")), app=Snapshot(Digest.of(b"tree")))
    assert [(AMD64, 1), (ARM64, 1)] == [(p, len(layers)) for p, layers in made.platforms]
    assert made.layers(AMD64) == made.layers(ARM64)
    (only,) = made
    assert ("app", 7) == (only.name, only.mtime)


def test_pins_are_those_of_the_platform_in_the_lock_s_order() -> None:
    pins = (
        evolve(PIN, name="z", sha256=Digest.of(b"z")),
        evolve(PIN, name="b", sha256=Digest.of(b"b"), platforms=(ARM64,)),
        evolve(PIN, name="a", platforms=(AMD64,)),
    )
    lock = Lock(layer=(LockedLayer("run", "packages", {}, (AMD64, ARM64), (), pins),))
    made = graph(spec(("run", "packages")), lock)
    assert [["z", "a"], ["z", "b"]] == [
        [pin.name for layer in made.layers(platform) for pin in layer.pins]
        for platform in (AMD64, ARM64)
    ]
    assert 2 == len(list(made))


def test_each_derivation_comes_once_and_after_what_it_reads() -> None:
    made = graph(
        spec(("base", "several"), ("app", "plain"), ("run", "packages"), users=True),
    )
    order = list(made)
    assert ["", "", "app", "run", "users", "run", "users"] == [one.name for one in order]
    seen: set[Digest] = set()
    for derivation in order:
        assert seen >= set(derivation.inputs)
        assert derivation.digest not in seen
        seen.add(derivation.digest)
    assert 5 == len(made.layers(ARM64))


def test_users_are_the_last_layer_and_only_where_there_are_some() -> None:
    assert ["app", "users"] == [one.name for one in graph(spec(("app", "plain"), users=True))]
    assert ["app"] == [one.name for one in graph(spec(("app", "plain")))]
    assert [] == list(graph(spec()))
