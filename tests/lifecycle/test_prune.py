"""Pruning a store: what a policy lets go of, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

import immutable
from immutable.errors import ImageNotFound, SpecError, StoreError, TransportError
from immutable.lifecycle.generations import rollback
from immutable.lifecycle.prune import Pruned, load_policy, plan, prune
from immutable.lifecycle.retention import Policy
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.store import AbstractStore, Store
from immutable.store.check import check
from immutable.store.memory import MemoryStore
from immutable.store.repair import repair
from immutable.transports import copy
from immutable.transports.store import StoreImage
from tests.support import specs
from tests.support.images import MemoryTransport
from tests.support.specs import CONFIG

LATER = datetime.now(UTC) + timedelta(days=365)


def build(
    folder: Path, store: AbstractStore, text: str, *tags: str, name: str = "web"
) -> immutable.Image:
    specs.fill(folder / name, {"app.txt": text * 1000})
    layers = specs.layer("files", "base", entries=[{"path": "/etc/motd", "text": "hello"}])
    layers += specs.layer("files", "app", source=name, target="/app")
    path = specs.write(folder, layers, f"{name}.toml")
    return immutable.build(path, store, config=CONFIG, tags=tags)


def numbers(store: AbstractStore, name: str = "test/web") -> list[int]:
    return [generation.number for generation in store.generations(name)]


def fates(done: Pruned) -> dict[str, bool]:
    return {str(decision.item): decision.keep for decision in done.decisions}


def test_what_expired_goes_with_the_layers_that_it_alone_had(
    tmp_path: Path, store: AbstractStore
) -> None:
    images = [build(tmp_path, store, text) for text in ("one", "two", "three")]
    before = store.info().bytes
    done = prune(store, Policy(keep_last=1), now=LATER, config=CONFIG)
    assert {"test/web@1": False, "test/web@2": False, "test/web@3": True} == fates(done)
    assert [3] == numbers(store)
    assert before - done.freed.total == store.info().bytes
    base, one = images[0].layers
    assert store.has_blob(base.blob.digest)
    assert not store.has_blob(one.blob.digest)
    # And what is kept is whole.
    again = build(tmp_path, store, "three")
    assert all(layer.cached for layer in again.layers)
    assert images[2].digest == again.digest


def test_each_freed_byte_is_said_once(tmp_path: Path, store: AbstractStore) -> None:
    one, _, _ = (build(tmp_path, store, text) for text in ("one", "two", "three"))
    done = prune(store, Policy(keep_last=1), now=LATER, dry_run=True, config=CONFIG)
    first = done.freed.items[0]
    own = one.layers[1].blob.size + one.manifest.config.size + one.descriptor.size
    assert own == first
    assert sum(done.freed.items) == done.freed.total


def test_a_dry_run_changes_nothing(tmp_path: Path, store: AbstractStore) -> None:
    for text in ("one", "two"):
        build(tmp_path, store, text)
    before = store.info(), store.references()
    dry = prune(store, Policy(keep_last=1), now=LATER, dry_run=True, config=CONFIG)
    assert before == (store.info(), store.references())
    assert dry.freed == prune(store, Policy(keep_last=1), now=LATER, config=CONFIG).freed


def test_without_a_policy_no_image_goes(tmp_path: Path, store: AbstractStore) -> None:
    image = build(tmp_path, store, "one")
    garbage = store.put_blob(b"nobody needs this")
    done = prune(store, Policy(), config=CONFIG)
    assert [True] == [decision.keep for decision in done.decisions]
    assert 17 == done.freed.total
    assert not store.has_blob(garbage)
    assert store.has_blob(image.layers[0].blob.digest)


def test_current_and_pinned_stay_whatever_the_policy(tmp_path: Path, store: AbstractStore) -> None:
    for text in ("one", "two", "three", "four"):
        build(tmp_path, store, text)
    rollback(store, "test/web", 2)
    store.pin("test/web", 1)
    done = prune(store, Policy(keep_within="1s"), now=LATER, config=CONFIG)
    assert [1, 2] == numbers(store)
    assert ["kept: pinned", "kept: current generation"] == [
        decision.reason for decision in done.decisions if decision.keep
    ]


def test_after_a_rollback_nothing_newer_goes_for_being_newer(
    tmp_path: Path, store: AbstractStore
) -> None:
    for text in ("one", "two", "three"):
        build(tmp_path, store, text)
    rollback(store, "test/web", 1)
    prune(store, Policy(keep_last=2), now=LATER, config=CONFIG)
    assert [1, 2, 3] == numbers(store)


def test_a_clock_that_jumped_back_keeps_more(tmp_path: Path, store: AbstractStore) -> None:
    for text in ("one", "two"):
        build(tmp_path, store, text)
    prune(store, Policy(keep_within="1d"), now=datetime(2000, 1, 1, tzinfo=UTC), config=CONFIG)
    assert [1, 2] == numbers(store)


def test_only_the_named_images(tmp_path: Path, store: AbstractStore) -> None:
    for name in ("web", "api"):
        for text in ("one", "two"):
            build(tmp_path, store, text, name=name)
    prune(store, Policy(keep_last=1), now=LATER, images=["test/api"], config=CONFIG)
    assert ([1, 2], [2]) == (numbers(store), numbers(store, "test/api"))
    with pytest.raises(ImageNotFound, match="test/nothing: no such image in store"):
        prune(store, Policy(keep_last=1), images=["test/nothing"], config=CONFIG)


def test_a_size_makes_caches_go_and_no_image(tmp_path: Path, store: AbstractStore) -> None:
    image = build(tmp_path, store, "one")
    store.put_blob(b"x")
    prune(store, Policy(max_size=1), config=CONFIG)
    assert [1] == numbers(store)
    assert all(store.has_blob(layer.blob.digest) for layer in image.layers)


def test_what_came_to_be_needed_since_the_plan_stays(tmp_path: Path, store: AbstractStore) -> None:
    images = [build(tmp_path, store, text) for text in ("one", "two", "three", "four", "five")]
    decided = plan(store, Policy(keep_last=1), now=LATER, config=CONFIG)
    rollback(store, "test/web", 1)
    store.pin("test/web", 2)
    store.tag("test/web", "released", images[2].digest)
    done = decided.carry_out()
    assert [1, 2, 3, 5] == numbers(store)
    assert ["test/web@4"] == [str(decision.item) for decision in done.expired]
    assert {"kept: since it was listed, it has come to be needed"} == {
        decision.reason for decision in done.decisions[:3]
    }
    assert 1 == len(done.freed.items)
    assert done.freed.items[0] > 0
    assert not store.has_blob(images[3].digest)


def test_what_another_pruner_forgot_is_gone(tmp_path: Path, store: AbstractStore) -> None:
    for name in ("web", "api"):
        for text in ("one", "two", "three"):
            build(tmp_path, store, text, name=name)
    decided = plan(store, Policy(keep_last=1), now=LATER, config=CONFIG)
    store.forget("test/api", [1])
    store.forget("test/web", [1, 2])
    assert 4 == len(decided.carry_out().expired)
    assert ([3], [3]) == (numbers(store), numbers(store, "test/api"))


def test_another_pruner_may_be_faster_at_any_moment(tmp_path: Path) -> None:
    class Raced(Store):
        def forget(self, name: str, numbers: Iterable[int]) -> None:
            wanted = [*numbers]
            super().forget(name, wanted[:1])  # the other one
            super().forget(name, wanted)

    with Raced.open(tmp_path / "store") as store:
        for text in ("one", "two", "three"):
            build(tmp_path, store, text)
        prune(store, Policy(keep_last=1), now=LATER, config=CONFIG)
        assert [3] == numbers(store)


def test_equal_builds_and_a_prune_at_once_all_succeed(tmp_path: Path) -> None:
    build(tmp_path, MemoryStore(), "same")
    spec, root = tmp_path / "web.toml", tmp_path / "store"
    Store.open(root).close()
    ended = threading.Event()

    def builder(_: int) -> set[Digest]:
        with Store.open(root) as store:
            return {immutable.build(spec, store, config=CONFIG).digest for _ in range(5)}

    def pruner() -> int:
        with Store.open(root) as store:
            for turn in count(1):
                prune(store, Policy(keep_last=1), now=LATER, caches=False, config=CONFIG)
                if ended.is_set():
                    return turn
        raise AssertionError

    with ThreadPoolExecutor(3) as pool:
        pruning = pool.submit(pruner)
        try:
            made = [*pool.map(builder, range(2))]
        finally:
            ended.set()
        assert pruning.result() > 0
    assert made[0] == made[1]
    assert 1 == len(made[0])
    assert () == check(root)
    with Store.open(root) as store:
        image_ = immutable.build(spec, store, config=CONFIG)
        assert made[0] == {image_.digest}
        assert [image_.generation.number] == numbers(store)


def test_what_is_being_pushed_stays_until_it_is(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with Store.open(root) as store, Store.open(root) as pruned:
        first, _ = (build(tmp_path, store, text) for text in ("one", "two"))
        pushed = StoreImage("test/web@1", store)

        class Slow(MemoryTransport):
            def has(self, descriptor: Descriptor) -> bool:
                prune(pruned, Policy(keep_last=1), now=LATER, caches=False, config=CONFIG)
                return super().has(descriptor)

        slow = Slow()
        copy(pushed, slow)
        assert [2] == numbers(store)
        assert first.digest in slow.blobs
        assert {layer.blob.digest for layer in first.layers} <= slow.blobs.keys()
        assert store.has_blob(first.digest)
        prune(pruned, Policy(), caches=False, config=CONFIG)
        assert not store.has_blob(first.digest)


def test_a_damaged_manifest_says_how_to_go_on(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with Store.open(root) as store:
        images = [build(tmp_path, store, text) for text in ("one", "two", "three")]
        path = store.blob_path(images[1].digest)
        path.chmod(0o600)
        path.write_bytes(b"{" + path.read_bytes()[1:].replace(b"2", b"3"))
        for dry_run in (True, False):
            with pytest.raises(StoreError, match=r"damaged.* run `immutable store check --repair`"):
                prune(store, Policy(keep_last=1), now=LATER, dry_run=dry_run, config=CONFIG)
    assert 3 == len(Store.open(root).generations("test/web"))
    repair(root, check(root))
    with Store.open(root) as store:
        prune(store, Policy(keep_last=1), now=LATER, config=CONFIG)
        assert [3] == numbers(store)
    assert () == check(root)


def test_without_its_caches_a_build_gives_the_same(tmp_path: Path, store: AbstractStore) -> None:
    first, second = (build(tmp_path, store, text) for text in ("one", "two"))
    prune(store, Policy(keep_last=1), now=LATER, caches=False, config=CONFIG)
    again = build(tmp_path, store, "one")
    assert (first.digest, 3) == (again.digest, again.generation.number)
    assert second.digest == build(tmp_path, store, "two").digest


def test_what_is_no_place(store: AbstractStore) -> None:
    del store
    for place, said in (("oci:x", "expected docker://"), ("docker://name", "write the registry")):
        with pytest.raises(TransportError, match=said):
            prune(place, Policy(), config=CONFIG)


# The policy's file


def test_deployed_files_are_looked_for_beside_the_policy(
    tmp_path: Path, store: AbstractStore
) -> None:
    images = [build(tmp_path, store, text) for text in ("one", "two", "three")]
    specs.fill(tmp_path / "deploy", {"web.yaml": f"image: test/web@{images[0].digest}\n"})
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nkeep-last = 1\nkeep-deployed = ["deploy/**/*.yaml"]\n')
    policy, deployed = load_policy(path)
    prune(store, policy, deployed=deployed, now=LATER, config=CONFIG)
    assert [1, 3] == numbers(store)


def test_a_policy_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        load_policy(tmp_path / "policy.toml")
    (tmp_path / "policy.toml").write_text("[[rule]]\nkeep-lost = 1\n")
    with pytest.raises(SpecError, match=r"did you mean .keep-last"):
        load_policy(tmp_path / "policy.toml")
    (tmp_path / "policy.toml").write_text('[[rule]]\nkeep-deployed = ["deploy/*.yaml"]\n')
    with pytest.raises(SpecError, match="matches no file"):
        load_policy(tmp_path / "policy.toml")
