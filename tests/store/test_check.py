"""`check` finds what does not hold, and nothing else; `repair` puts right what it can."""

import errno
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from immutable.errors import StoreError
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import (
    CONFIG,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    REF_NAME,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
)
from immutable.store import AbstractStore, Layout, Store
from immutable.store.check import check
from immutable.store.faults import FaultKind
from immutable.store.repair import repair
from tests.long import corruption
from tests.support.stores import AMD64, CREATED, image, index_names, layer, manifest

TRIALS = 300


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template") / "store"
    corruption.whole(root)
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "store"))


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "empty") as store:
        yield store


def kinds(root: Path, **options: Any) -> list[FaultKind]:
    return [fault.kind for fault in check(root, **options)]


def the_blob(root: Path, name: str = "web@2", part: str = "layer") -> Path:
    """A blob of an image: its manifest, its config, or its top layer."""
    with Store.open(root) as store:
        found = store.resolve(name)
        if part != "manifest":
            image_ = oci.decode_manifest(store.read_blob(found.digest), name)
            found = image_.config if part == "config" else image_.layers[-1]
        return store.blob_path(found.digest)


def run(root: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(root / "immutable.db")
    with connection:
        connection.execute(statement, values)
    connection.close()


# No false alarm


def test_a_whole_store_is_whole(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert () == check(root) == check(root, deep=False) == check(root, jobs=1)
    assert () == repair(root, ())
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_no_store_is_a_whole_one(tmp_path: Path) -> None:
    assert () == check(tmp_path / "nowhere") == check(tmp_path)
    (tmp_path / "letter.txt").write_bytes(b"dear")
    with pytest.raises(StoreError, match=r"found letter\.txt"):
        check(tmp_path)


def test_what_killed_processes_left_is_no_fault(root: Path) -> None:
    for folder in (root, root / "tmp"):
        (folder / ".immutable-left").write_bytes(b"half")
    (root / "leases" / "lease-left").write_bytes(b"")
    run(root, "INSERT INTO lease VALUES ('lease-left', ?)", bytes(32))
    run(root, "INSERT INTO lagging VALUES (''), ('web@1')")
    entries = [e for e in Layout(root).index().manifests if dict(e.annotations)[REF_NAME] != "web"]
    Layout(root).update_index(lambda _: Index(tuple(entries)))
    assert () == check(root)
    Store.open(root).close()
    assert "web" in index_names(root)
    assert () == check(root)


def test_a_store_is_checked_while_it_is_used(root: Path) -> None:
    code = """
import sys
from pathlib import Path
from immutable.store import Store
from tests.support.stores import image
with Store.open(Path(sys.argv[1])) as store:
    print("ready", flush=True)
    for number in range(40):
        with store.lease():
            image(store, "busy", b"%d" % number, tags=["latest-one"])
        store.forget("busy", [g.number for g in store.generations("busy") if not g.current])
        store.sweep(caches=False)
"""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", code, str(root)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        while other.poll() is None:
            assert () == check(root)
    assert 0 == other.returncode


def test_what_other_tools_put_is_no_fault(empty: Store) -> None:
    image(empty, "web", b"one")
    statement = empty.put_blob(b'{"predicate":{}}')
    config = empty.put_blob(
        canonical.encode({"os": "unknown", "architecture": "unknown", "rootfs": {"diff_ids": []}})
    )
    data = Manifest(
        Descriptor(CONFIG, config, empty.blob_size(config)),
        (Descriptor("application/vnd.in-toto+json", statement, 16),),
    ).encode()
    attestation = Descriptor(MANIFEST, empty.put_blob(data), len(data))
    artifact = Descriptor("application/x", empty.put_blob(b"x"), 1, {REF_NAME: "thing"})
    (empty.root / "blobs" / "sha512").mkdir()
    Layout(empty.root).update_index(
        lambda index: Index((*index.manifests, attestation, artifact), {"their": "note"})
    )
    assert () == check(empty.root)


# Every fault


def test_stores_of_chance_that_are_whole_are_found_whole(tmp_path: Path) -> None:
    root = tmp_path / "store"
    for number in range(30):
        corruption.chance(root, random.Random(number))
        assert () == check(root), number
        shutil.rmtree(root)


def test_no_damage_of_chance_goes_unfound_and_repair_makes_none_worse(
    template: Path, tmp_path: Path
) -> None:
    """A sample; ``python -m tests.long.corruption 10000`` is the long way."""
    root = tmp_path / "store"
    for number in range(TRIALS):
        shutil.copytree(template, root)
        how = corruption.corrupt(root, random.Random(number))
        found = check(root)
        assert found, f"{number}: {how}"
        if number % 5 == 0:
            left = repair(root, found)
            assert {FaultKind.MISSING, FaultKind.DOCUMENT} >= {fault.kind for fault in left}, how
            restored(root, template)
            assert () == check(root), how
        shutil.rmtree(root)


def restored(root: Path, template: Path) -> None:
    """Build again what the template holds, and expect its names."""
    with Store.open(root) as store, Store.open(template) as whole:
        for path in template.glob("blobs/sha256/*"):
            store.put_blob(path.read_bytes())
        for one in whole.images():
            assert whole.generations(one.name) == store.generations(one.name)


Damage = Callable[[Path], object]


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
@pytest.mark.parametrize(
    "damage",
    [flipped, Path.unlink, lambda path: os.truncate(path, 7), lambda p: p.write_bytes(b"")],
)
def test_a_damaged_blob_of_an_image_is_found_moved_and_built_again(
    root: Path, template: Path, part: str, damage: Damage
) -> None:
    path = the_blob(root, part=part)
    damage(path)
    found = check(root)
    wanted = FaultKind.BLOB if path.exists() else FaultKind.MISSING
    assert [wanted] == [
        fault.kind for fault in found if fault.kind in (FaultKind.BLOB, FaultKind.MISSING)
    ]
    about = next(fault for fault in found if fault.kind is wanted)
    assert (f"blob sha256:{path.name}", False) == (about.place, about.repairable)
    assert "web@2" in about.hint
    left = repair(root, found)
    assert [(FaultKind.MISSING, about.place)] == [(fault.kind, fault.place) for fault in left]
    assert not path.exists()
    restored(root, template)
    assert () == check(root)
    kept = [*(root / "damaged").glob("*")]
    assert len(kept) == (wanted is FaultKind.BLOB)


def test_a_damaged_cache_is_found_and_given_up(root: Path) -> None:
    with Store.open(root) as store:
        made = layer(store, b"cached")
        path = store.blob_path(made.blob.digest)
    flipped(path)
    assert [(FaultKind.BLOB, True)] == [(fault.kind, fault.repairable) for fault in check(root)]
    assert () == repair(root, check(root))
    with Store.open(root) as store:
        assert store.find_realisation(made.derivation, made.answers, made.encoder) is None
        assert made == layer(store, b"cached")
    assert () == check(root)


def test_blobs_in_each_other_s_place_are_put_back(root: Path) -> None:
    one, other = the_blob(root, "web@1"), the_blob(root, "web@3", "config")
    kept = root / "kept"
    one.rename(kept)
    other.rename(one)
    kept.rename(other)
    assert [FaultKind.BLOB, FaultKind.BLOB] == [
        k for k in kinds(root) if k is not FaultKind.REALISATION
    ]
    assert () == repair(root, check(root))
    with Store.open(root) as store:
        assert 6 == store.info().realisations


def test_a_blob_under_another_name_is_put_back(root: Path) -> None:
    path = the_blob(root, "web@1")
    path.rename(path.with_name("renamed"))
    assert {FaultKind.FOREIGN, FaultKind.MISSING, FaultKind.REALISATION, FaultKind.CHUNKS} >= {
        *kinds(root)
    }
    assert () == repair(root, check(root))
    assert path.exists()


@pytest.mark.parametrize(
    "name", ["blobs/sha256/README", "blobs/sha256/" + "A" * 64, "blobs/other", "blobs/sha256/d/"]
)
def test_what_is_no_blob_is_moved_away(root: Path, name: str) -> None:
    path = root / name
    if name.endswith("/"):
        path.mkdir()
        (path / "inside").write_bytes(b"x")
    else:
        path.write_bytes(b"x")
    assert [FaultKind.FOREIGN] == kinds(root)
    assert () == repair(root, check(root))
    assert [f"{path.name}.0"] == [moved.name for moved in (root / "damaged").iterdir()]


def test_an_unreadable_blob_is_damaged_and_an_unlucky_moment_is_not(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = the_blob(root)
    opened = Layout.open_blob

    def failing(number: int) -> Callable[[Layout, Digest], BinaryIO]:
        def open_blob(layout: Layout, digest: Digest) -> BinaryIO:
            if digest.hex != path.name:
                return opened(layout, digest)
            raise OSError(number, os.strerror(number))

        return open_blob

    with monkeypatch.context() as patch:
        patch.setattr(Layout, "open_blob", failing(errno.EIO))
        assert [FaultKind.BLOB] == kinds(root)
        patch.setattr(Layout, "open_blob", failing(errno.EACCES))
        (fault,) = check(root)
        assert (FaultKind.BLOB, False, ()) == (fault.kind, fault.repairable, fault.key)
        assert "chmod u+r" in fault.hint
        patch.setattr(Layout, "open_blob", failing(errno.EMFILE))
        with pytest.raises(StoreError, match="Too many open files"):
            check(root)
    assert () == check(root)


# Documents


def put(store: AbstractStore, document: Any, media_type: str = MANIFEST) -> Descriptor:
    data = document.encode() if hasattr(document, "encode") else canonical.encode(document)
    return Descriptor(media_type, store.put_blob(data), len(data))


def config_of(store: AbstractStore, *diff_ids: Digest) -> Descriptor:
    config = ImageConfig(AMD64, "1970-01-01T00:00:00Z", diff_ids)
    return put(store, config, CONFIG)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda s: put(s, {"schemaVersion": 1}), "schemaVersion"),
        (lambda s: put(s, {"schemaVersion": 2, "manifests": [], "layers": []}), "manifests"),
        (lambda s: put(s, Index(())), "no place beside"),
        (lambda s: put(s, Manifest(config_of(s), ()), INDEX), "layers: has no place"),
        (lambda s: put(s, Manifest(config_of(s, Digest.of(b"")), ())), ""),
        (
            lambda s: put(s, Manifest(config_of(s), (layer(s, b"one").blob,))),
            "1 layers, and 0 diffIDs",
        ),
    ],
)
def test_a_document_that_does_not_hold_is_found(
    empty: Store, make: Callable[[AbstractStore], Descriptor], found: str
) -> None:
    empty.commit_generation("web", make(empty), created=CREATED)
    faults = check(empty.root)
    if not found:  # a config without layers to speak of is no fault
        assert () == faults
        return
    assert [(FaultKind.DOCUMENT, False)] == [(fault.kind, fault.repairable) for fault in faults]
    assert found in str(faults[0])
    assert faults == repair(empty.root, faults)


def test_a_layer_that_is_another_than_its_config_says_is_found(empty: Store) -> None:
    one, other = layer(empty, b"one"), layer(empty, b"other", "zstd")
    swapped = Manifest(config_of(empty, other.diff_id, one.diff_id), (one.blob, other.blob))
    empty.commit_generation("web", put(empty, swapped), created=CREATED)
    mislabelled = Descriptor(LAYER_GZIP, other.blob.digest, other.blob.size)
    wrong = Manifest(config_of(empty, other.diff_id), (mislabelled,))
    empty.commit_generation("api", put(empty, wrong), created=CREATED)
    faults = check(empty.root)
    assert [FaultKind.DOCUMENT] * 3 == [fault.kind for fault in faults]
    assert {str(one.diff_id), str(other.diff_id)} <= {fault.found for fault in faults}
    assert any("gzip" in fault.found for fault in faults)
    assert () == check(empty.root, deep=False)


def test_a_size_that_is_not_the_blob_s_is_found(empty: Store) -> None:
    one = layer(empty, b"one")
    longer = Descriptor(one.blob.media_type, one.blob.digest, one.blob.size + 1)
    wrong = Manifest(config_of(empty, one.diff_id), (longer,))
    empty.commit_generation("web", put(empty, wrong), created=CREATED)
    (fault,) = check(empty.root)
    assert (FaultKind.DOCUMENT, f"{one.blob.size} bytes") == (fault.kind, fault.found)


# Names


def test_a_name_is_taken_from_where_it_holds(root: Path) -> None:
    with Store.open(root) as store:
        before = {name: store.generations(name) for name in ("web", "shop/api", "multi")}
    run(root, "UPDATE generation SET digest = ? WHERE name = 'web' AND number = 1", bytes(32))
    run(root, "DELETE FROM generation WHERE name = 'web' AND number = 3")
    run(root, "UPDATE generation SET pinned = 7 WHERE name = 'shop/api'")
    kept = [e for e in Layout(root).index().manifests if dict(e.annotations)[REF_NAME] != "multi"]
    Layout(root).update_index(lambda _: Index(tuple(kept)))
    assert {FaultKind.NAME, FaultKind.DATABASE} >= {*kinds(root)}
    assert () == repair(root, check(root))
    with Store.open(root) as store:
        after = {name: store.generations(name) for name in before}
        assert before["web"] == after["web"]
        assert before["multi"] == after["multi"]
        assert "tool:1" in store.references()


def test_a_lost_index_is_written_from_the_database(root: Path) -> None:
    before = index_names(root)
    for damage in (b"", b"{", None):
        if damage is None:
            (root / "index.json").unlink()
        else:
            (root / "index.json").write_bytes(damage)
        assert [FaultKind.INDEX] == kinds(root)
        assert () == repair(root, check(root))
        assert before.keys() - index_names(root).keys() <= {"tool:1"}


@pytest.mark.parametrize("damage", ["gone", "empty", "garbage", "short"])
def test_a_lost_database_is_made_again(root: Path, damage: str) -> None:
    with Store.open(root) as store:
        before = store.images(), store.generations("web")
    path = root / "immutable.db"
    if damage == "gone":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes({"empty": b"", "garbage": b"x" * 5000, "short": data[:8192]}[damage])
    assert [(FaultKind.DATABASE, True)] == [(fault.kind, fault.repairable) for fault in check(root)]
    assert () == repair(root, check(root))
    with Store.open(root) as store:
        assert before == (store.images(), store.generations("web"))


def test_a_database_that_a_build_uses_is_not_replaced(root: Path) -> None:
    with Store.open(root) as store, store.lease():
        data = (root / "immutable.db").read_bytes()
        (root / "immutable.db").write_bytes(b"x" * len(data))
        found = check(root)
        assert found
        with pytest.raises(StoreError, match="a build is running; repair the store when"):
            repair(root, found)
        (root / "immutable.db").write_bytes(data)


def test_with_index_and_database_lost_nothing_is_touched(root: Path) -> None:
    (root / "index.json").write_bytes(b"{")
    (root / "immutable.db").write_bytes(b"x" * 5000)
    found = check(root)
    assert {FaultKind.DATABASE, FaultKind.INDEX} == {fault.kind for fault in found}
    assert found == repair(root, found)
    assert (b"{", 5000) == (
        (root / "index.json").read_bytes(),
        (root / "immutable.db").stat().st_size,
    )


def test_a_newer_database_is_no_fault_but_an_error(root: Path) -> None:
    run(root, "PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="written by a newer immutable"):
        check(root)


# The rest


def test_what_is_wrongly_known_of_blobs_is_forgotten(root: Path) -> None:
    run(root, "UPDATE realisation SET diff_id = ? WHERE encoder LIKE 'none%'", bytes(32))
    run(root, "UPDATE chunk SET frame = ? WHERE length > 1000", bytes(32))
    run(root, "INSERT INTO source VALUES (?, 0)", bytes(32))
    run(root, "UPDATE stat SET signature = x'00'")
    run(root, "INSERT INTO lease VALUES ('x', 'y')")
    assert {
        FaultKind.REALISATION,
        FaultKind.CHUNKS,
        FaultKind.SOURCE,
        FaultKind.STATS,
        FaultKind.LEASE,
    } == {*kinds(root)}
    assert () == repair(root, check(root))
    with Store.open(root) as store:
        assert (5, 1) == (store.info().realisations, store.info().sources)


def test_a_chunk_that_is_another_s_is_found(root: Path) -> None:
    run(root, "UPDATE chunk SET digest = ? WHERE length > 1000", bytes(32))
    assert [FaultKind.CHUNKS] == kinds(root)
    assert [] == kinds(root, deep=False)
    assert () == repair(root, check(root))


def test_rights_of_others_are_taken_away(root: Path) -> None:
    for path in (root, root / "blobs" / "sha256"):
        path.chmod(0o777)
    assert [FaultKind.PERMISSION] * 2 == kinds(root)
    assert () == repair(root, check(root))
    Store.open(root).close()


def test_a_lost_marker_is_written_again(root: Path) -> None:
    (root / "oci-layout").unlink()
    assert [FaultKind.LAYOUT] == kinds(root)
    assert () == repair(root, check(root))
    Layout.open(root)


def test_a_repair_meets_a_blob_that_was_just_put_again(
    root: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = the_blob(root)
    good = path.read_bytes()
    flipped(path)
    found = check(root)
    rename = Path.rename

    def put_before(source: Path, target: Path) -> Path:
        if source == path:
            new = root / "new"
            new.write_bytes(good)
            rename(new, path)
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", put_before)
    assert () == repair(root, found)
    assert good == path.read_bytes()
    assert [] == [*(root / "damaged").iterdir()]


def test_manifests_alone_are_enough_to_be_named(empty: Store) -> None:
    one = manifest(empty, "one")
    empty.commit_generation("web", one, created=CREATED)
    assert [FaultKind.MISSING] == kinds(empty.root)  # its config was never put
