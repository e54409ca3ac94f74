"""Forgetting, pinning, sweeping: what goes, what stays, and what happens meanwhile."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from immutable.config import Config
from immutable.errors import ImageNotFound, StoreError
from immutable.net.fetch import Fetcher, Wanted
from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.oci.documents import INDEX, LAYER, MANIFEST, REF_NAME, Descriptor, Index
from immutable.progress import SILENT
from immutable.store import AbstractStore, Chunk, Layout, MemoryStore, Store, Swept
from immutable.store.base import USE_RESOLUTION
from immutable.store.check import check
from immutable.store.closure import CachePolicy, Marker, Need, Role, references
from immutable.store.files import DRAFT
from immutable.store.gc import Sweep
from immutable.store.records import raw
from tests.long import herd
from tests.support import needs
from tests.support.disks import fill_up, mounted
from tests.support.stores import (
    CREATED,
    commit,
    image,
    index_names,
    layer,
    manifest,
)


class Clock:
    """The time, set by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def disk(root: Path, clock: Clock) -> Iterator[Store]:
    with Store.open(root, clock=clock) as store:
        yield store
    assert () == check(root)


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, clock: Clock) -> AbstractStore:
    if request.param == "memory":
        return MemoryStore(clock=clock)
    opened: Store = request.getfixturevalue("disk")
    return opened


def removed(swept: Swept) -> set[Digest]:
    return {digest for digest, _ in swept.blobs}


# Names


def test_a_generation_is_forgotten_with_the_tags_that_stand_on_it_alone(
    store: AbstractStore,
) -> None:
    one = image(store, "web", b"one", tags=["1.0", "old"])
    image(store, "web", b"two", tags=["2.0"])
    store.commit_generation("web", one, tags=["again"], created=CREATED)
    image(store, "web", b"three")
    store.forget("web", [2])
    assert {"web", "web@1", "web@3", "web@4", "web:1.0", "web:old", "web:again"} == set(
        store.references()
    )
    store.forget("web", [1])
    assert ("1.0", "again", "old") == store.generations("web")[0].tags
    store.forget("web", [3])
    assert {"web", "web@4"} == store.references().keys()


@pytest.mark.parametrize(
    ("numbers", "error", "message"),
    [
        ([3], StoreError, "web@3: it is current"),
        ([1], StoreError, "web@1: it is pinned"),
        ([2, 9], ImageNotFound, "web@9: no such generation; there is 1, 2, 3"),
        ([2, 1], StoreError, "web@1: it is pinned"),
    ],
)
def test_what_cannot_be_forgotten_forgets_nothing(
    store: AbstractStore, numbers: list[int], error: type[StoreError], message: str
) -> None:
    for text in (b"one", b"two", b"three"):
        image(store, "web", text)
    store.pin("web", 1)
    with pytest.raises(error, match=message):
        store.forget("web", numbers)
    with pytest.raises(ImageNotFound, match="api: no such image"):
        store.forget("api", [])
    assert [1, 2, 3] == [generation.number for generation in store.generations("web")]


def test_a_number_is_never_given_again(disk: Store, root: Path) -> None:
    for text in (b"one", b"two", b"three"):
        image(disk, "web", text)
    disk.set_current("web", 1)
    disk.forget("web", [2, 3])
    disk.close()
    (root / "immutable.db").unlink()
    with Store.open(root) as again:
        image(again, "web", b"four")
        assert [1, 4] == [generation.number for generation in again.generations("web")]


def test_which_is_current_outlives_the_database_though_two_are_the_same(
    disk: Store, root: Path
) -> None:
    one = image(disk, "web", b"one")
    image(disk, "web", b"two")
    disk.commit_generation("web", one, created=CREATED)
    disk.set_current("web", 1)
    disk.close()
    (root / "immutable.db").unlink()
    with Store.open(root) as again:
        assert [1] == [generation.number for generation in again.images()]


def test_a_pin_stays_until_it_is_let_go(disk: Store, root: Path) -> None:
    image(disk, "web", b"one")
    image(disk, "web", b"two")
    assert disk.pin("web", 1).pinned
    disk.close()
    for lost in (False, True):
        if lost:
            (root / "immutable.db").unlink()
        with Store.open(root) as again:
            assert [True, False] == [generation.pinned for generation in again.generations("web")]
    with Store.open(root) as again:
        assert not again.pin("web", 1, pinned=False).pinned
        again.forget("web", [1])
        with pytest.raises(ImageNotFound, match="web@1: no such generation; there is 2"):
            again.pin("web", 1)


def test_a_tag_is_taken_away(store: AbstractStore) -> None:
    image(store, "web", b"one", tags=["1.0", "2.0"])
    store.untag("web", "1.0")
    assert ("2.0",) == store.generations("web")[0].tags
    with pytest.raises(ImageNotFound, match=r"web:1\.0: no such tag; web has 2\.0"):
        store.untag("web", "1.0")
    with pytest.raises(ImageNotFound, match="api: no such image"):
        store.untag("api", "1.0")


def test_what_is_forgotten_goes_from_the_index_even_if_that_comes_late(
    disk: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image(disk, "web", b"one", tags=["1.0"])
    image(disk, "web", b"two")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(StoreError, match="Input/output error"):
            disk.forget("web", [1])
    disk.close()
    assert {"web", "web@1", "web:1.0", "web@2"} == index_names(root).keys()
    assert () == check(root)
    with Store.open(root) as again:
        assert {"web", "web@2"} == index_names(root).keys() == again.references().keys()


# What is swept


def test_only_what_nothing_needs_goes(store: AbstractStore) -> None:
    one = image(store, "web", b"shared", b"one", recorded=False)
    two = image(store, "web", b"shared", b"two", recorded=False)
    loose = store.put_blob(b"loose")
    expected = {loose, *store.closure(one)} - store.closure(two).keys()
    assert Swept(((loose, 5),), 0, 0, 0) == store.sweep(dry_run=True)
    assert expected == removed(store.sweep(dry_run=True, forgotten={"web": [1]}))
    assert store.has_blob(loose)
    store.forget("web", [1])
    before = store.info()
    swept = store.sweep()
    assert expected == removed(swept)
    assert (before.blobs - len(expected), before.bytes - swept.bytes) == (
        store.info().blobs,
        store.info().bytes,
    )
    assert 4 == len(expected)  # manifest, config and a layer, and the loose one
    assert (swept.chunks, 0) == (1, len(store.sweep().blobs))


def test_a_tag_and_a_pin_keep_what_they_stand_on(store: AbstractStore) -> None:
    one = image(store, "web", b"one", recorded=False)
    image(store, "web", b"two", recorded=False)
    store.tag("web", "stable", one.digest)
    assert set() == removed(store.sweep())
    assert store.closure(one).keys() <= removed(store.sweep(dry_run=True, forgotten={"web": [1]}))


def test_only_a_dry_run_takes_generations_as_forgotten(store: AbstractStore) -> None:
    image(store, "web", b"one")
    with pytest.raises(ValueError, match="only a dry run"):
        store.sweep(forgotten={"web": [1]})
    with pytest.raises(StoreError, match="web@1: it is current"):
        store.sweep(dry_run=True, forgotten={"web": [1]})
    with pytest.raises(ValueError, match="max_size"):
        store.sweep(max_size=-1)


def document(store: AbstractStore, **fields: Any) -> Descriptor:
    data = canonical.encode({"schemaVersion": 2, **fields})
    return Descriptor(MANIFEST, store.put_blob(data), len(data))


def leaf(store: AbstractStore, data: bytes) -> Descriptor:
    return Descriptor(LAYER, store.put_blob(data), len(data))


def test_referrers_of_what_is_live_are_live_with_what_they_refer_to(store: AbstractStore) -> None:
    live, dead = image(store, "web", b"one", recorded=False), manifest(store, "dead")
    paper = leaf(store, b"paper")
    signature = document(store, layers=[paper.plain()], subject=live.plain())
    seal = document(store, blobs=[leaf(store, b"seal").plain()], subject=signature.plain())
    forlorn = document(store, layers=[paper.plain()], subject=dead.plain())
    assert {dead.digest, forlorn.digest} == removed(store.sweep())
    assert store.has_blob(seal.digest)


def test_indexes_are_followed_however_deep(store: AbstractStore) -> None:
    bottom = image(store, "bottom", b"one", recorded=False)
    for depth in range(5):
        data = Index((bottom,), {"depth": str(depth)}).encode()
        bottom = Descriptor(INDEX, store.put_blob(data), len(data))
    store.commit_generation("top", bottom, created=CREATED)
    image(store, "bottom", b"two", recorded=False)
    store.forget("bottom", [1])
    assert set() == removed(store.sweep())
    assert 8 == len(store.closure(bottom))


def test_what_other_tools_name_is_kept(disk: Store, root: Path) -> None:
    theirs, config = manifest(disk, "theirs"), disk.put_blob(b"{}")
    unnamed = manifest(disk, "unnamed")
    entries = (theirs.annotated(**{REF_NAME: "tool:1"}), unnamed)
    Layout.open(root).update_index(lambda _: Index(entries))
    assert set() == removed(disk.sweep())
    Layout.open(root).update_index(lambda _: Index(entries[:1]))
    assert {unnamed.digest} == removed(disk.sweep())
    Layout.open(root).update_index(lambda _: Index(()))
    assert {theirs.digest, config} == removed(disk.sweep())


def test_a_document_that_is_read_in_two_ways_keeps_what_either_reads() -> None:
    first, second = Digest.of(b"1"), Digest.of(b"2")
    data = b'{"layers":[{"digest":"%s"}],"layers":[{"digest":"%s"}]}' % (
        str(first).encode(),
        str(second).encode(),
    )
    assert {first, second} == {need.digest for need in references(data)}
    for odd in (b"[]", b"3", b'{"layers":3,"config":[],"subject":{"digest":"sha512:0"}}'):
        assert () == references(odd)


@pytest.mark.parametrize("damage", [lambda _: b"", lambda data: data[:-1] + b" ", bytes.swapcase])
def test_what_a_damaged_manifest_needs_is_not_guessed(root: Path, damage: Any) -> None:
    with Store.open(root) as store:
        one = image(store, "web", b"one", recorded=False)
        path = store.blob_path(one.digest)
        path.write_bytes(damage(path.read_bytes()))
        blobs = store.info().blobs
        with pytest.raises(StoreError, match=f"{one.digest}: damaged.*store check --repair"):
            store.sweep()
        assert blobs == store.info().blobs


def test_what_a_damaged_index_names_is_not_guessed(root: Path) -> None:
    with Store.open(root) as store:
        loose = store.put_blob(b"loose")
        (root / "index.json").write_bytes(b"{")
        with pytest.raises(StoreError, match=r"not JSON.*store check --repair"):
            store.sweep()
        assert store.has_blob(loose)


# Caches


def test_caches_stay_or_go_as_asked(store: AbstractStore) -> None:
    one = image(store, "web", b"one")
    cached, source = layer(store, b"cached"), store.put_blob(b"source")
    store.record_sources([source, Digest.of(b"not there")])
    assert set() == removed(store.sweep())
    assert (2, 1) == (store.info().realisations, store.info().sources)
    gone = store.sweep(caches=False, dry_run=True)
    assert gone == store.sweep(caches=False)
    assert {cached.blob.digest, source} == removed(gone)
    assert (1, 1, 2) == (gone.realisations, gone.sources, gone.chunks)
    # What an image needs costs nothing more as a cache.
    info = store.info()
    assert (3, 1, 0, 1) == (len(store.closure(one)), info.realisations, info.sources, info.chunks)


def test_what_is_spent_is_no_cache_any_more(store: AbstractStore) -> None:
    one, two = image(store, "web", b"shared", b"one"), image(store, "web", b"shared", b"two")
    other = layer(store, b"other")
    closure = store.closure(one)
    own = closure.keys() - store.closure(two).keys()
    assert own == removed(store.sweep(dry_run=True, spent=closure, forgotten={"web": [1]}))
    store.forget("web", [1])
    assert own == removed(store.sweep(spent=closure))
    assert store.has_blob(other.blob.digest)


def test_what_is_fetched_is_a_source(store: AbstractStore, tmp_path: Path) -> None:
    bodies = [b"one", b"two"]
    wanted = []
    for body in bodies:
        path = tmp_path / body.decode()
        path.write_bytes(body)
        wanted.append(Wanted(path.name, Digest.of(body), len(body), (path.as_uri(),)))
    with Fetcher(Config.load(environ={"HOME": str(tmp_path)})) as fetcher:
        fetcher.fetch_all(wanted, store, SILENT)
        fetcher.fetch_unpinned([wanted[0].urls[0]], store, name="it", progress=SILENT)
    assert 2 == store.info().sources
    assert set() == removed(store.sweep())
    assert {one.digest for one in wanted} == removed(store.sweep(caches=False))


def test_the_reserve_grows_with_the_index_but_not_with_every_name(root: Path) -> None:
    sizes = []
    with Store.open(root) as store:
        one = manifest(store, "one")
    for count in (1, 2, 800):
        entries = [one.annotated(**{REF_NAME: f"tool:{number}"}) for number in range(count)]
        (root / "index.json").write_bytes(Index(tuple(entries)).encode())
        Store.open(root).close()
        sizes.append((root / "reserve").stat())
    assert sizes[0].st_ino == sizes[1].st_ino
    assert sizes[1].st_size < sizes[2].st_size
    assert sizes[2].st_size > 2 * (root / "index.json").stat().st_size


def test_the_least_recently_used_go_first(store: AbstractStore, clock: Clock) -> None:
    image(store, "web", b"one")
    live = store.info().bytes
    caches = []
    for number in range(4):
        clock.now += 2 * USE_RESOLUTION
        if number == 3:
            source = store.put_blob(bytes(1000))
            store.record_sources([source])
            caches.append(source)
        else:
            caches.append(layer(store, b"%d" % number, "none").blob.digest)
    clock.now += 2 * USE_RESOLUTION
    made = layer(MemoryStore(), b"0", "none")
    assert store.find_realisation(made.derivation, made.answers, made.encoder) is not None
    sizes = [store.blob_size(digest) for digest in caches]
    assert set() == removed(store.sweep(max_size=live + sum(sizes)))
    assert {caches[1]} == removed(store.sweep(max_size=live + sum(sizes) - 1))
    assert {caches[2], caches[3]} == removed(store.sweep(max_size=live + sizes[0]))
    assert {caches[0]} == removed(store.sweep(max_size=0))
    assert live == store.info().bytes


def test_a_clock_that_jumps_back_makes_nothing_older(store: AbstractStore, clock: Clock) -> None:
    for number in range(2):
        clock.now += 2 * USE_RESOLUTION
        layer(store, b"%d" % number, "none")
    clock.now -= 1000 * USE_RESOLUTION
    first, second = (layer(MemoryStore(), b"%d" % n, "none") for n in range(2))
    assert store.find_realisation(second.derivation, second.answers, second.encoder)
    store.record_realisation(second)
    store.record_sources([second.blob.digest])
    assert {first.blob.digest} == removed(store.sweep(max_size=second.blob.size))


def test_what_is_known_of_blobs_that_are_gone_goes(root: Path) -> None:
    with Store.open(root) as store:
        made = layer(store, b"one")
        store.record_sources([made.blob.digest])
        store.blob_path(made.blob.digest).unlink()
        kinds = [str(fault.kind) for fault in check(root)]
        assert ["realisation", "source", "chunks"] == kinds
        assert Swept((), 1, 1, 2) == store.sweep(dry_run=True) == store.sweep()
    assert () == check(root)


# Meanwhile


def test_a_lease_in_this_process_spares_what_it_found(store: AbstractStore) -> None:
    old, image_ = store.put_blob(b"old"), image(store, "web", b"one", recorded=False)
    image(store, "web", b"two", recorded=False)
    closure = set(store.closure(image_))
    with store.lease():
        assert store.has_blob(old)
        assert image_ == store.resolve("web@1")
        new = store.put_blob(b"new")
        store.forget("web", [1])
        assert set() == removed(store.sweep(caches=False))
    assert {old, new, *closure} == removed(store.sweep())


HOLDER = """
import sys
from pathlib import Path
from immutable.oci.digest import Digest
from immutable.store import Store
with Store.open(Path(sys.argv[1])) as store, store.lease():
    found = store.resolve("web@1")
    assert store.has_blob(Digest.of(b"old"))
    print("ready", flush=True)
    sys.stdin.readline()
    for digest in store.closure(found):
        store.read_blob(digest)
    store.read_blob(Digest.of(b"old"))
"""


@pytest.mark.parametrize("killed", [False, True])
def test_a_lease_in_another_process_spares_until_that_ends(disk: Store, killed: bool) -> None:
    one = image(disk, "web", b"one", recorded=False)
    image(disk, "web", b"two", recorded=False)
    old = disk.put_blob(b"old")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(disk.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert "ready\n" == other.stdout.readline()
        disk.forget("web", [1])
        assert set() == removed(disk.sweep())
        if killed:
            other.kill()
        else:
            other.communicate("go\n")
    assert (other.returncode == 0) != killed
    assert {old, *disk_closure(disk, one)} == removed(disk.sweep())
    assert [] == [*disk.root.glob("leases/*")]


def test_a_lease_left_under_the_number_of_a_living_process_is_none(disk: Store) -> None:
    """Locks say who lives: numbers of processes come again."""
    old = disk.put_blob(b"old")
    name = f"lease-{os.getpid()}"
    (disk.root / "leases" / name).touch()
    with disk._database.write() as connection:
        connection.execute("INSERT INTO lease (file, blob) VALUES (?, ?)", (name, raw(old)))
    assert {old} == removed(disk.sweep())
    assert [] == [*disk.root.glob("leases/*")]


def disk_closure(store: Store, root: Descriptor) -> set[Digest]:
    return set(store.closure(root))


def swept_after(store: Store, act: Any) -> set[Digest]:
    """What a sweep removes if `act` comes between its look and its removal."""
    sweep = Sweep(store._layout, store._database, store._leases)
    plan = sweep.plan(CachePolicy(caches=False))
    act()
    return removed(sweep.run(plan))


def test_what_is_leased_after_the_look_stays(disk: Store) -> None:
    one = image(disk, "web", b"one", recorded=False)
    image(disk, "web", b"two", recorded=False)
    disk.forget("web", [1])
    made, loose = layer(disk, b"cached"), disk.put_blob(b"loose")
    with Store.open(disk.root) as other, other.lease():

        def find() -> None:
            assert made == other.find_realisation(made.derivation, made.answers, made.encoder)
            assert one == other.resolve(str(one.digest))

        assert {loose} == swept_after(disk, find)
        assert made == other.find_realisation(made.derivation, made.answers, made.encoder)
        assert 3 == len(other.closure(one))


def test_what_is_named_after_the_look_stays(disk: Store) -> None:
    one = image(disk, "web", b"one", recorded=False)
    image(disk, "web", b"two", recorded=False)
    disk.forget("web", [1])
    two, _ = manifest(disk, "theirs"), disk.put_blob(b"{}")

    def name() -> None:
        disk.commit_generation("api", one, created=CREATED)
        theirs = two.annotated(**{REF_NAME: "tool:1"})
        disk._layout.update_index(lambda index: Index((*index.manifests, theirs)))

    assert set() == swept_after(disk, name)


def test_what_is_recorded_after_the_look_stays(disk: Store) -> None:
    made, source = layer(disk, b"one", recorded=False), disk.put_blob(b"source")

    def record() -> None:
        disk.record_realisation(made)
        disk.record_sources([source])

    gone = swept_after(disk, record)
    found = disk.find_realisation(made.derivation, made.answers, made.encoder)
    assert (made.blob.digest in gone) == (found is None)


def test_a_sweep_that_is_cut_short_leaves_a_whole_store(
    disk: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        layer(disk, b"%d" % number)
    calls = iter(range(100))
    remove = Layout.remove

    def once(layout: Layout, digest: Digest) -> bool:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return remove(layout, digest)

    with monkeypatch.context() as patch:
        patch.setattr(Layout, "remove", once)
        with pytest.raises(KeyboardInterrupt):
            disk.sweep(caches=False)
    assert () == check(disk.root)
    assert 3 == disk.info().blobs == len(disk.sweep(caches=False).blobs)


def test_documents_go_before_what_they_refer_to(disk: Store) -> None:
    one = image(disk, "web", b"one", recorded=False)
    data = Index((one,)).encode()
    top = Descriptor(INDEX, disk.put_blob(data), len(data))
    signature = document(disk, layers=[leaf(disk, b"paper").plain()], subject=top.plain())
    marker = Marker(disk)
    everything = [digest for digest, _ in disk._layout.blobs()]
    order = marker.parents_first(everything)
    assert sorted(everything) == sorted(order)
    place = {digest: number for number, digest in enumerate(order)}
    for digest in everything:
        lower = Marker(disk)
        lower.mark([Need(digest)])
        assert all(place[digest] <= place[other] for other in lower.live if other in place)
    assert place[signature.digest] < place[top.digest] < place[one.digest]


def test_a_marker_survives_documents_that_refer_to_each_other() -> None:
    class Liar(MemoryStore):
        def read_blob(self, digest: Digest, limit: int = 0) -> bytes:
            other = Digest.of(b"{2") if digest == Digest.of(b"{1") else Digest.of(b"{1")
            entry = Descriptor(INDEX, other, 2).plain()
            return canonical.encode({"manifests": [entry]})

    liar = Liar()
    pair = {liar.put_blob(b"{1"), liar.put_blob(b"{2")}
    marker = Marker(liar)
    marker.mark([Need(min(pair), Role.DOCUMENT)])
    assert pair == marker.live == {*marker.parents_first(pair)}


def test_drafts_of_the_dead_go(disk: Store, root: Path) -> None:
    for folder in (root, root / "tmp"):
        (folder / f"{DRAFT}left").write_bytes(b"by a killed process")
    disk.sweep(dry_run=True)
    assert 2 == len([*root.rglob(f"{DRAFT}*")])
    disk.sweep()
    assert [] == [*root.rglob(f"{DRAFT}*")]


def test_builds_prunes_and_exports_at_once(root: Path) -> None:
    herd.run(root, {"build": 3, "prune": 2, "export": 1}, turns=15)
    assert () == check(root)
    with Store.open(root) as store:
        live: set[Digest] = set()
        for one in store.images():
            for generation in store.generations(one.name):
                closure = store.closure(generation.descriptor)
                assert 3 <= len(closure)
                live |= closure.keys()
        store.sweep(caches=False)
        assert len(live) == store.info().blobs


# With no room


@needs.root()
def test_a_full_disk_can_be_pruned(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "2m") as mount:
        root = mount / "store"
        with Store.open(root) as store:
            for number in range(8):
                image(store, "web", b"%d" % number * 20_000, tags=[str(number)], encoder="none")
        fill_up(mount)
        with Store.open(root) as store, pytest.raises(StoreError, match="disk is full"):
            store.forget("web", [1])
        with Store.open(root, reclaim=True) as store:
            store.forget("web", range(1, 8))
            swept = store.sweep(caches=False)
            assert (21, 7) == (len(swept.blobs), swept.realisations)
        assert () == check(root)
        assert {"web", "web@8", "web:7"} == index_names(root).keys()
        (mount / "filler").unlink()
        with Store.open(root) as store:
            image(store, "web", b"new")
            assert (root / "reserve").exists()


@needs.root()
def test_what_a_full_disk_knows_of_many_chunks_goes_with_little_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "3m") as mount:
        root = mount / "store"
        with Store.open(root) as store:
            blob = store.put_blob(bytes(range(256)) * 400)
            chunks = {
                Digest.of(b"%d" % n): Chunk(blob, 0, 1, Digest.of(b"\0")) for n in range(3000)
            }
            store.record_chunks("other", chunks)
        fill_up(mount)
        with Store.open(root, reclaim=True) as store:
            assert Swept(((blob, 102400),), 0, 0, 3000) == store.sweep()
            assert 0 == store.info().chunks
        assert () == check(root)


def test_a_store_that_is_only_read_is_swept_only_in_a_dry_run(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(root) as store:
        loose = store.put_blob(b"loose")
    monkeypatch.setattr("immutable.store.access.is_writable", lambda _: False)
    with Store.open(root) as store:
        assert {loose} == removed(store.sweep(dry_run=True))
        store.record_sources([loose])
        with pytest.raises(StoreError, match="cannot be written here"):
            store.sweep()
        with pytest.raises(StoreError, match="cannot be written here"):
            store.pin("web", 1)


def test_a_name_of_nothing_is_swept_around(root: Path) -> None:
    with Store.open(root) as store:
        gone = commit(store, "web", "one")
        store.blob_path(gone.digest).unlink()
        assert set() == removed(store.sweep())
