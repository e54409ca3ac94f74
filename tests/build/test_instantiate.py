"""Instantiating: what a spec asks of its lock, and the graph that both become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from immutable.build.instantiate import instantiate, requests
from immutable.builders.base import Builder, Facts, Read
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.spec import document as specs
from immutable.spec.derivation import Derivation, Graph, Job, Snapshot
from immutable.spec.document import Layer, Spec
from immutable.spec.lock import Lock, LockedLayer, Pin

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
PIN = Pin("a", "1", "amd64", "pool/a.deb", 3, Digest.of(b"a"))


class Plain(Builder):
    """A kind whose output is the same for all platforms."""

    def derive(self, facts: Facts) -> tuple[Job, ...]:
        digest = "" if facts.snapshot is None else str(facts.snapshot.digest)
        return (
            Job(
                Derivation("plain", 1, facts.mtime, {"tree": digest}),
                facts.layer.name,
                snapshot=facts.snapshot,
            ),
        )


class Packages(Builder):
    """A kind whose output depends on the platform."""

    def request(self, options: Any, read: Read) -> Mapping[str, Any] | None:
        return {"packages": options}

    def derive(self, facts: Facts) -> tuple[Job, ...]:
        return (
            Job(
                Derivation(
                    "packages",
                    1,
                    facts.mtime,
                    {},
                    tuple(pin.sha256 for pin in facts.pins),
                    facts.platform,
                ),
                facts.layer.name,
                facts.pins,
                facts.index,
            ),
        )


class Several(Builder):
    """A kind that becomes several layers, as an image does."""

    def derive(self, facts: Facts) -> tuple[Job, ...]:
        return tuple(Job(Derivation("several", 1, 0, {"number": n})) for n in range(2))


class Accounts(Builder):
    def derive(self, facts: Facts) -> tuple[Job, ...]:
        return (Job(Derivation("users", 1, facts.mtime, {}), facts.layer.name),)


KINDS: dict[str, Builder] = {
    "plain": Plain(),
    "packages": Packages(),
    "several": Several(),
    "users": Accounts(),
}


def spec(*layers: tuple[str, str], users: bool = False) -> Spec:
    tables = specs.SpecTables(
        specs.SpecVersion(1),
        specs.ImageTable(specs.ImageName("web")),
        tuple(Layer(specs.LayerName(name), kind, (name,)) for name, kind in layers),
        (specs.User(specs.AccountName("node"), specs.AccountID(1)),) if users else (),
    )
    return Spec.of(tables)


def graph(made: Spec, lock: Lock | None = None, **snapshots: Snapshot) -> Graph:
    return instantiate(
        made,
        lock or Lock(),
        KINDS,
        platforms=(AMD64, ARM64),
        mtime=7,
        snapshots=snapshots,
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
    assert ("app", 7) == (only.name, only.derivation.mtime)


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


def test_each_derivation_comes_once_and_after_those_beneath_it() -> None:
    made = graph(
        spec(("base", "several"), ("app", "plain"), ("run", "packages"), users=True),
    )
    order = list(made)
    assert ["", "", "app", "run", "users", "run"] == [one.name for one in order]
    assert 6 == len({one.digest for one in order})
    assert 5 == len(made.layers(ARM64))


def test_what_is_beneath_is_no_part_of_a_derivation() -> None:
    alone, upon = graph(spec(("app", "plain"))), graph(spec(("base", "several"), ("app", "plain")))
    assert alone.layers(AMD64)[-1] == upon.layers(AMD64)[-1]


def test_users_are_the_last_layer_and_only_where_there_are_some() -> None:
    assert ["app", "users"] == [one.name for one in graph(spec(("app", "plain"), users=True))]
    assert ["app"] == [one.name for one in graph(spec(("app", "plain")))]
    assert [] == list(graph(spec()))
