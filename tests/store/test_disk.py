"""The store on disk: its directory, what survives, who may use it at once."""

import errno
import fcntl
import itertools
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import immutable
from immutable.config import Config
from immutable.errors import StoreError
from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.oci.documents import CONFIG, LAYER, MANIFEST, REF_NAME, Descriptor, Index, Manifest
from immutable.spec.derivation import NO_ANSWERS
from immutable.store import Chunk, Layout, Store
from immutable.store.files import DRAFT
from tests.support import needs
from tests.support.disks import fill_up, mounted
from tests.support.stores import CREATED, commit, index_names, manifest, python, realisation, tree


@pytest.fixture
def own_directory() -> Iterator[Path]:
    """A directory of a user without root's rights, whose rights the test has meanwhile."""
    directory = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    try:
        if root:
            os.chown(directory, 65534, 65534)
            os.seteuid(65534)
        yield directory
    finally:
        if root:
            os.seteuid(0)
        for path in [directory, *directory.rglob("*")]:
            if path.is_dir():
                path.chmod(0o700)
        shutil.rmtree(directory)


# The directory


def test_the_store_is_a_layout_that_names_every_generation(disk: Store, root: Path) -> None:
    one, two = commit(disk, "shop/web", "one", "1.0"), commit(disk, "shop/web", "two", "2.0")
    assert {
        "shop/web": str(two.digest),
        "shop/web:1.0": str(one.digest),
        "shop/web:2.0": str(two.digest),
        "shop/web@1": str(one.digest),
        "shop/web@2": str(two.digest),
    } == index_names(root)
    assert 5 == len(Layout.open(root).index().manifests)
    disk.set_current("shop/web", 1)
    assert str(one.digest) == index_names(root)["shop/web"]
    disk.tag("shop/web", "2.0", one.digest)
    assert str(one.digest) == index_names(root)["shop/web:2.0"]


@needs.tool("skopeo")
@pytest.mark.tools
@pytest.mark.parametrize("reference", ["shop/web", "shop/web:1.4.0", "shop/web@1"])
def test_skopeo_reads_the_store_while_it_is_open(
    disk: Store, root: Path, reference: str, tmp_path: Path
) -> None:
    config = canonical.encode(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    )
    disk.put_blob(config)
    data = Manifest(Descriptor(CONFIG, Digest.of(config), len(config)), ()).encode()
    descriptor = Descriptor(MANIFEST, disk.put_blob(data), len(data))
    disk.commit_generation("shop/web", descriptor, tags=["1.4.0"], created=CREATED)
    shown = subprocess.run(
        ["skopeo", "inspect", f"oci:{root}:{reference}"], capture_output=True, check=True
    )
    assert str(descriptor.digest) == json.loads(shown.stdout)["Digest"]


@needs.tool("skopeo")
@pytest.mark.tools
def test_what_skopeo_puts_into_the_store_stays_and_is_found(
    disk: Store, root: Path, tmp_path: Path
) -> None:
    commit(disk, "web", "one")
    theirs = Layout.create(tmp_path / "theirs")
    config = theirs.put(b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers"}}')
    data = Manifest(Descriptor(CONFIG, config, theirs.size(config)), ()).encode()
    entry = Descriptor(MANIFEST, theirs.put(data), len(data), {REF_NAME: "tool:1"})
    theirs.update_index(lambda _: Index((entry,)))
    copy = ["skopeo", "copy", "-q", "--insecure-policy"]
    subprocess.run([*copy, f"oci:{theirs.path}:tool:1", f"oci:{root}:tool:1"], check=True)
    commit(disk, "web", "two")
    assert {"web", "web@1", "web@2", "tool:1"} == index_names(root).keys()
    assert entry.digest == disk.resolve("tool:1").digest
    assert ["web"] == [image.name for image in disk.images()]


def test_opening_again_finds_everything(root: Path) -> None:
    with Store.open(root) as store:
        one = commit(store, "web", "one", "1.0")
        store.record_realisation(realisation(Descriptor(LAYER, store.put_blob(b"layer"), 5)))
        before = store.generations("web"), store.info()
    with Store.open(root) as store:
        assert before == (store.generations("web"), store.info())
        assert one == store.resolve("web:1.0")
        assert store.find_realisation(Digest.of(b"d"), NO_ANSWERS, "gzip") is not None


def test_the_default_place_is_the_configuration_s(tmp_path: Path) -> None:
    config = Config.load(store=tmp_path / "elsewhere", environ={"HOME": str(tmp_path)})
    with Store.open(config=config) as store:
        assert (tmp_path / "elsewhere") == store.root


def test_a_store_outlives_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open(Path("store")) as store:
        monkeypatch.chdir("/")
        digest = store.put_blob(b"x")
        assert (tmp_path / "store" / "blobs" / "sha256" / digest.hex).exists()


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o277])
def test_the_umask_changes_no_mode(root: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with Store.open(root) as store:
            commit(store, "web", "one")
            modes = {
                str(path.relative_to(root)): stat.filemode(path.stat().st_mode)
                for path in [root, *root.rglob("*")]
                if path.parent.name != "sha256"
            }
            blobs = {path.stat().st_mode & 0o7777 for path in root.glob("blobs/sha256/*")}
    finally:
        os.umask(before)
    assert {
        ".": "drwx------",
        "blobs": "drwxr-xr-x",
        "blobs/sha256": "drwxr-xr-x",
        "immutable.db": "-rw-r--r--",
        "immutable.db-shm": "-rw-r--r--",
        "immutable.db-wal": "-rw-r--r--",
        "index.json": "-rw-r--r--",
        "leases": "drwx------",
        "oci-layout": "-rw-r--r--",
        "reserve": "-rw-------",
        "tmp": "drwx------",
    } == modes
    assert {0o644} == blobs


@pytest.mark.parametrize("part", [".", "blobs", "blobs/sha256"])
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_store_that_others_can_write_is_refused(root: Path, part: str, mode: int) -> None:
    Store.open(root).close()
    (root / part).chmod(mode)
    with pytest.raises(StoreError, match=rf"found mode {mode:04o}; run `chmod go-w"):
        Store.open(root)
    (root / part).chmod(0o700)
    Store.open(root).close()


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_bytes(b"dear")
    tmp_path.chmod(0o775)
    with pytest.raises(StoreError, match=r"found letter\.txt"):
        Store.open(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="File exists"):
        Store.open(tmp_path / "file")
    assert ["file", "letter.txt"] == sorted(item.name for item in tmp_path.iterdir())


def test_an_empty_directory_becomes_a_store_and_so_does_a_layout(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    Store.open(tmp_path / "empty").close()
    layout = Layout.create(tmp_path / "layout")
    data = Manifest(Descriptor(CONFIG, Digest.of(b"{}"), 2), ()).encode()
    entry = Descriptor(MANIFEST, layout.put(data), len(data), {REF_NAME: "theirs"})
    layout.update_index(lambda _: Index((entry,)))
    with Store.open(layout.path) as store:
        assert entry.digest == store.resolve("theirs").digest
        assert () == store.images()


def test_a_layout_of_another_version_is_refused(root: Path) -> None:
    Store.open(root).close()
    (root / "oci-layout").write_bytes(b'{"imageLayoutVersion":"2.0.0"}')
    with pytest.raises(StoreError, match=r"oci-layout: imageLayoutVersion: expected '1\.0\.0'"):
        Store.open(root)


# What is lost, damaged, killed


def test_a_lost_database_is_made_again_from_the_names(root: Path) -> None:
    with Store.open(root) as store:
        commit(store, "shop/web", "one", "1.0")
        commit(store, "shop/web", "two", "2.0")
        commit(store, "shop/web", "three")
        commit(store, "api", "one", "1.0")
        store.set_current("shop/web", 2)
        before = store.generations("shop/web"), store.images(), store.references()
    (root / "immutable.db").unlink()
    with Store.open(root) as store:
        assert before == (store.generations("shop/web"), store.images(), store.references())
        assert store.find_realisation(Digest.of(b"d"), NO_ANSWERS, "gzip") is None
        commit(store, "shop/web", "four")
        assert store.resolve("shop/web@4") == store.resolve("shop/web")


def test_a_lost_database_under_a_damaged_index_is_refused(root: Path) -> None:
    Store.open(root).close()
    (root / "immutable.db").unlink()
    (root / "index.json").write_bytes(b"{")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"index\.json: not JSON"):
            Store.open(root)


def test_a_lost_index_is_written_again_with_the_next_name(root: Path) -> None:
    with Store.open(root) as store:
        one = commit(store, "web", "one", "1.0")
    (root / "index.json").unlink()
    with Store.open(root) as store:
        assert one == store.resolve("web:1.0")
        commit(store, "api", "one")
    assert {"web", "web:1.0", "web@1", "api", "api@1"} == index_names(root).keys()


def test_our_names_that_others_took_away_come_back_with_the_next(disk: Store, root: Path) -> None:
    one = commit(disk, "web", "one", "1.0")
    theirs = Descriptor(MANIFEST, one.digest, one.size, {REF_NAME: "theirs"})
    Layout.open(root).update_index(lambda _: Index((theirs,)))
    assert one == disk.resolve("web:1.0")
    commit(disk, "web", "two")
    assert {"theirs", "web", "web:1.0", "web@1", "web@2"} == index_names(root).keys()


def test_a_damaged_index_spares_what_the_database_knows(disk: Store, root: Path) -> None:
    one = commit(disk, "web", "one", "1.0")
    (root / "index.json").write_bytes(b"{")
    assert one == disk.resolve("web:1.0")
    with pytest.raises(Exception, match=r"index\.json: not JSON"):
        commit(disk, "web", "two")
    assert 1 == len(disk.generations("web"))


def test_a_full_disk_changes_no_name(
    disk: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(disk, "web", "one")
    two = manifest(disk, "two")
    before = tree(root)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StoreError, match="No space left on device"):
            disk.commit_generation("web", two, created=CREATED)
    assert before == tree(root)
    assert [1] == [generation.number for generation in disk.generations("web")]
    assert 2 == disk.commit_generation("web", two, created=CREATED).number


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of a mebibyte."""
    with mounted(tmp_path / "small") as mount:
        yield mount


@needs.root()
@pytest.mark.parametrize("meanwhile", [False, True], ids=["closed", "with a log left"])
def test_with_its_disk_full_a_store_can_be_read(small: Path, meanwhile: bool) -> None:
    root = small / "store"
    filler = small / "filler"
    with Store.open(root) as store:
        one = commit(store, "web", "one", "1.0")
        known = realisation(Descriptor(LAYER, store.put_blob(b"layer"), 5))
        store.record_realisation(known)
        if meanwhile:
            fill_up(small)
    if not meanwhile:
        fill_up(small)
    assert meanwhile == (root / "immutable.db-wal").exists()
    with Store.open(root) as store, store.lease():
        assert [1] == [image.number for image in store.images()]
        assert 1 == store.info().images
        assert one == store.resolve("web:1.0")
        assert known == store.find_realisation(known.derivation, NO_ANSWERS, "gzip")
        assert 1 == store.commit_generation("web", one, tags=("1.0",), created=CREATED).number
        with pytest.raises(StoreError, match=r"store: the store's disk is full.*make room"):
            store.put_blob(b"something new")
        with pytest.raises(StoreError, match=r"store: the store's disk is full.*make room"):
            store.tag("web", "2.0", one.digest)
    filler.unlink()
    with Store.open(root) as store:
        commit(store, "web", "two")


@needs.root()
def test_what_killed_processes_left_makes_room_first(small: Path) -> None:
    with Store.open(small / "store") as store:
        commit(store, "web", "one", "1.0")
    fill_up(small).rename(small / "store" / "tmp" / f"{DRAFT}0")
    with Store.open(small / "store") as store:
        commit(store, "web", "two")


@needs.root()
def test_a_new_store_on_a_full_disk_is_refused(small: Path) -> None:
    fill_up(small)
    with pytest.raises(StoreError, match=r"; make room on the disk|full or failing"):
        Store.open(small / "store")


@needs.root()
def test_scratch_on_a_full_disk_names_the_store(small: Path) -> None:
    with Store.open(small / "store") as store:
        fill_up(small)
        with (
            pytest.raises(StoreError, match="store/tmp: No space left on device; make room"),
            store.scratch() as file,
        ):
            file.write(bytes(1 << 20))


def test_scratch_is_a_file_to_write_to_and_read(disk: Store, root: Path) -> None:
    with disk.scratch() as file:
        file.write(b"one")
        file.seek(5)
        file.write(b"two")
        file.flush()
        assert b"one\0\0two" == os.pread(file.fileno(), 9, 0)
        file.truncate(4)
        file.seek(0)
        assert b"one\0" == file.read()
        assert [] == [*(root / "tmp").iterdir()]


KILLED = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from immutable.oci.documents import MANIFEST, Descriptor
from immutable.store import Store, files

root, nth = Path(sys.argv[1]), int(sys.argv[2])
calls = 0

def deadly(function):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls > nth:
            os._exit(9)
        return function(*arguments, **options)
    return call

for name in ("open", "write", "fsync", "fchmod", "close"):
    setattr(os, name, deadly(getattr(os, name)))
Path.rename, Path.mkdir = deadly(Path.rename), deadly(Path.mkdir)

with Store.open(root) as store, store.lease():
    data = b'{"layers":[],"schemaVersion":2}'
    digest = store.put_blob(data)
    store.commit_generation("web", Descriptor(MANIFEST, digest, len(data)), tags=["1"],
                            created=datetime(2024, 1, 1, tzinfo=UTC))
"""


@pytest.mark.parametrize("start", [0, 10, 20, 30, 40, 50, 60, 70])
def test_killed_anywhere_the_store_works_and_nothing_half_is_seen(
    tmp_path: Path, start: int
) -> None:
    data = b'{"layers":[],"schemaVersion":2}'
    for nth in range(start, start + 10, 3):
        root = tmp_path / f"killed-{nth}"
        ended = python(KILLED, root, nth).returncode
        assert ended in (0, 9)
        with Store.open(root) as store:
            for path in root.glob("blobs/sha256/*"):
                assert path.name == Digest.of(path.read_bytes()).hex
            known = {image.name for image in store.images()}
            assert known == ({"web"} if "web" in index_names(root) else set())
            assert [] == [*root.rglob(f"{DRAFT}*"), *root.glob("leases/*")]
            digest = store.put_blob(data)
            descriptor = Descriptor(MANIFEST, digest, len(data))
            again = store.commit_generation("web", descriptor, tags=["1"], created=CREATED)
            assert 1 == again.number
        assert {"web", "web:1", "web@1"} == index_names(root).keys()
        if ended == 0:
            break


def test_killed_between_the_commit_and_the_rename_the_index_follows(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(root) as store:
        descriptor = manifest(store, "one")

        def fail(*_: object) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", fail)
            with pytest.raises(StoreError, match="Input/output error"):
                store.commit_generation("web", descriptor, created=CREATED)
    assert {} == index_names(root)
    with Store.open(root) as store:
        assert {"web", "web@1"} == index_names(root).keys()
        assert descriptor == store.resolve("web")


def interrupted(store: Store) -> None:
    with store.ingest() as blob:
        blob.write(b"x")
        assert 1 == len([*store.root.glob("tmp/*")])
        raise KeyboardInterrupt


def test_an_interrupted_ingest_leaves_no_file(disk: Store, root: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(disk)
    assert [] == [*root.glob("tmp/*")]


def test_drafts_of_the_dead_are_swept_and_those_of_the_living_stay(disk: Store, root: Path) -> None:
    (root / "tmp" / f"{DRAFT}left").write_bytes(b"by a killed process")
    with disk.ingest() as blob:
        blob.write(b"x")
        Store.open(root).close()
        assert 1 == len([*root.glob("tmp/*")])
        blob.commit()
    assert disk.has_blob(Digest.of(b"x"))


# Leases


def leased(store: Store) -> set[str]:
    with store._database.read() as connection:
        return {row[0].hex() for row in connection.execute("SELECT blob FROM lease")}


def test_a_lease_spares_what_is_found_and_put(disk: Store, root: Path) -> None:
    before = disk.put_blob(b"before")
    layer = Descriptor(LAYER, disk.put_blob(b"layer"), 5)
    disk.record_realisation(realisation(layer))
    chunked = disk.put_blob(b"chunked")
    disk.record_chunks("gzip", {Digest.of(b"c"): Chunk(chunked, 0, 1, Digest.of(b"frame"))})
    untouched = disk.put_blob(b"untouched")
    assert set() == leased(disk)
    with disk.lease():
        assert disk.has_blob(before)
        assert not disk.has_blob(Digest.of(b"nowhere"))
        disk.find_realisation(Digest.of(b"d"), NO_ANSWERS, "gzip")
        disk.find_chunk(Digest.of(b"c"), "gzip")
        put = disk.put_blob(b"put")
        with disk.lease():
            pass
        again = disk.put_blob(b"put again")
        wanted = {before, layer.digest, chunked, put, again}
        assert {digest.hex for digest in wanted} == leased(disk)
        assert untouched not in wanted
        with Store.open(root) as other:  # whose opening sweeps the dead
            assert {digest.hex for digest in wanted} == leased(other)
        assert 1 == len([*root.glob("leases/*")])
    assert set() == leased(disk)
    assert [] == [*root.glob("leases/*")]
    with disk.lease():
        assert disk.has_blob(before)
        assert {before.hex} == leased(disk)


def test_a_lease_ends_with_its_process(root: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from immutable.store import Store
store = Store.open(Path(sys.argv[1]))
with store.lease():
    store.put_blob(b"x")
    os._exit(9)
"""
    assert 9 == python(code, root).returncode
    assert 1 == len([*root.glob("leases/*")])
    with Store.open(root) as store:
        assert set() == leased(store)
        assert [] == [*root.glob("leases/*")]


def test_threads_share_a_lease(disk: Store, root: Path) -> None:
    def work(number: int) -> None:
        with disk.lease():
            for part in range(20):
                disk.put_blob(b"%d-%d" % (number % 2, part))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert 40 == disk.info().blobs
    assert set() == leased(disk)
    assert [] == [*root.glob("leases/*"), *root.glob("tmp/*")]


# A store that can only be read


def frozen(root: Path) -> None:
    for path in [*root.rglob("*"), root]:
        path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.mark.parametrize("database", ["there", "lost"])
def test_a_store_that_cannot_be_written_still_answers(own_directory: Path, database: str) -> None:
    root = own_directory / "store"
    with Store.open(root) as store:
        one = commit(store, "web", "one", "1.0")
        images = store.images()
        store.save_stats(b"/src", {b"a": ((1, 1, 1, 1), one.digest)})
    if database == "lost":
        (root / "immutable.db").unlink()
    frozen(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    with Store.open(root) as store:
        assert images == store.images()
        assert one == store.resolve("web:1.0")
        assert store.has_blob(one.digest)
        with store.lease():  # a build that changes nothing
            assert one == manifest(store, "one")
            committed = store.commit_generation("web", one, tags=["1.0"], created=CREATED)
            assert 1 == committed.number
            store.save_stats(b"/src", {})
            with store.scratch() as file:
                file.write(b"x")
        writes: list[Any] = [
            lambda: store.put_blob(b"new"),
            lambda: store.commit_generation("web", one, tags=["new"], created=CREATED),
            lambda: store.commit_generation("new", one, created=CREATED),
            lambda: store.set_current("web", 1),
            lambda: store.tag("web", "x", one.digest),
            lambda: store.record_realisation(realisation(one)),
            lambda: store.record_chunks("gzip", {}),
        ]
        for write in writes:
            with pytest.raises(StoreError, match="cannot be written here; choose another"):
                write()
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}


@pytest.mark.parametrize("part", [".", "blobs", "blobs/sha256"])
@pytest.mark.parametrize("mode", [0o575, 0o557])
def test_a_store_that_others_can_write_is_refused_for_reading_too(
    own_directory: Path, part: str, mode: int
) -> None:
    root = own_directory / "store"
    with Store.open(root) as store:
        one = commit(store, "web", "one", "1.0")
    frozen(root)
    (root / part).chmod(mode)
    with pytest.raises(StoreError, match=rf"found mode {mode:04o}; run `chmod go-w"):
        Store.open(root)
    (root / part).chmod(0o555)
    with Store.open(root) as store:
        assert one == store.resolve("web:1.0")


def test_a_store_that_cannot_be_made_is_refused(own_directory: Path) -> None:
    own_directory.chmod(0o555)
    with pytest.raises(StoreError, match="Permission denied; it is not yours to change"):
        Store.open(own_directory / "store")
    with pytest.raises(StoreError, match="Permission denied"):
        Store.open(own_directory)


# Several at once

COMMITS = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from immutable.oci.documents import MANIFEST, Descriptor
from immutable.store import Store

root, worker = Path(sys.argv[1]), sys.argv[2]
with Store.open(root) as store, store.lease():
    for number in range(10):
        data = b'{"layers":[],"schemaVersion":2,"x":"%s-%d"}' % (worker.encode(), number)
        descriptor = Descriptor(MANIFEST, store.put_blob(data), len(data))
        store.put_blob(b"shared %d" % number)
        for name in ("shared", "own/" + worker):
            store.commit_generation(name, descriptor, tags=[f"{worker}-{number}"],
                                    created=datetime(2024, 1, 1, tzinfo=UTC))
"""


def test_processes_share_a_store_that_none_has_made_yet(root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(immutable.__file__).parents[1])}
    workers = [
        subprocess.Popen([sys.executable, "-c", COMMITS, str(root), worker], env=environment)
        for worker in "abcd"
    ]
    assert [0, 0, 0, 0] == [worker.wait() for worker in workers]
    with Store.open(root) as store:
        assert list(range(1, 41)) == [each.number for each in store.generations("shared")]
        assert 40 == len({each.descriptor.digest for each in store.generations("shared")})
        for worker in "abcd":
            generations = store.generations(f"own/{worker}")
            assert [(f"{worker}-{n}",) for n in range(10)] == [each.tags for each in generations]
        assert 50 == store.info().blobs
        references = {name: str(target.digest) for name, target in store.references().items()}
        assert references == index_names(root)
    assert [] == [*root.glob("leases/*"), *root.glob("tmp/*")]


def test_threads_commit_at_once(disk: Store) -> None:
    def work(number: int) -> None:
        for part in range(5):
            commit(disk, "web", f"{number}-{part}", f"{number}-{part}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert list(range(1, 31)) == [each.number for each in disk.generations("web")]


@pytest.mark.parametrize("damage", [None, b"", b"laye", b"layers"])
def test_a_realisation_whose_blob_is_gone_is_not_found(disk: Store, damage: bytes | None) -> None:
    known = realisation(Descriptor(LAYER, disk.put_blob(b"layer"), 5))
    disk.record_realisation(known)
    path = disk.blob_path(known.blob.digest)
    path.unlink() if damage is None else path.write_bytes(damage)
    assert disk.find_realisation(known.derivation, NO_ANSWERS, "gzip") is None
    disk.put_blob(b"layer")
    assert known == disk.find_realisation(known.derivation, NO_ANSWERS, "gzip")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EMFILE])
def test_whichever_call_fails_the_store_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The nth call alone fails, for every n there is."""
    for nth in itertools.count():
        with Store.open(root / str(nth)) as store, monkeypatch.context() as patch:
            calls = fail_once(patch, nth, number)
            with suppress(StoreError):
                commit(store, "web", "one", "1.0")
        assert [] == [*store.root.glob("tmp/*")]
        if next(calls) <= nth:
            break
        with Store.open(store.root) as store:
            assert {*store.references()} == index_names(store.root).keys()
            commit(store, "web", "one", "1.0")
            assert {"web", "web:1.0", "web@1"} == index_names(store.root).keys()
    assert nth > 10


def fail_once(patch: pytest.MonkeyPatch, nth: int, number: int) -> Iterator[int]:
    """Make the nth call to the disk fail; the iterator counts the calls."""
    calls = itertools.count()

    def failing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(calls) == nth:
                raise OSError(number, os.strerror(number))
            return function(*arguments, **options)

        return call

    for module, name in [
        (os, "open"),
        (os, "write"),
        (os, "fsync"),
        (os, "fchmod"),
        (fcntl, "flock"),
        (Path, "rename"),
    ]:
        patch.setattr(module, name, failing(getattr(module, name)))
    return calls
