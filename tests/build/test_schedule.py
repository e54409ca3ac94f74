"""The verb `build`: the same image from every store, cached, and whole or not at all."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from immutable.build import schedule
from immutable.build.kinds import scope_of
from immutable.build.loading import load
from immutable.build.plan import plan
from immutable.build.results import Image
from immutable.builders import files
from immutable.errors import ImmutableError, SourceError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.progress import SILENT
from immutable.sources import disk_file
from immutable.store import MemoryStore, Store
from tests.support import kinds
from tests.support.everything import GOLDEN, everything
from tests.support.progress import Notes
from tests.support.specs import (
    AMD64,
    ARM64,
    CONFIG,
    State,
    build,
    contents,
    fill,
    layer,
    write,
)
from tests.support.web import Answer, WebServer

TWO = 'platforms = ["linux/amd64", "linux/arm64"]'


def digests(image: Image) -> list[Digest]:
    """Return every digest of an image."""
    found = [image.digest]
    for built in image.platforms:
        found += [built.image.descriptor.digest, built.manifest.config.digest]
        for one in built.layers:
            found += [one.derivation, one.diff_id, one.blob.digest]
    return found


@pytest.mark.parametrize("compression", GOLDEN)
def test_the_digest_is_the_one_it_always_was(tmp_path: Path, compression: str) -> None:
    spec = everything(tmp_path, f'compression = "{compression}"')

    assert GOLDEN[compression] == build(spec, MemoryStore()).digest.hex


def test_every_store_gives_the_same(tmp_path: Path) -> None:
    spec = everything(tmp_path)
    with Store.open(tmp_path / "store") as store:
        on_disk = build(spec, store)
        in_memory = build(spec, MemoryStore())

        assert digests(in_memory) == digests(on_disk)
        assert in_memory.platforms == on_disk.platforms


def test_everything_that_the_manifest_names_is_there(tmp_path: Path) -> None:
    store = MemoryStore()
    image = build(everything(tmp_path), store)

    assert image.manifest == oci.decode_manifest(store.read_blob(image.digest), "test")
    config = oci.decode_config(store.read_blob(image.manifest.config.digest), "test")
    assert config == image.config
    assert len(config.diff_ids) == len(image.layers) == len(config.history) == 4
    for built, descriptor in zip(image.layers, image.manifest.layers, strict=True):
        assert built.blob == descriptor
        assert contents(store, built)
    assert image.digest == store.resolve("test/web").digest


def test_a_second_build_is_cached_and_makes_no_generation(tmp_path: Path) -> None:
    spec = everything(tmp_path)
    with Store.open(tmp_path / "store") as store:
        first = build(spec, store)
        before = State.of(store)
        second = build(spec, store)

        assert before == State.of(store)
    assert {False} == {built.cached for built in first.layers}
    assert {True} == {built.cached for built in second.layers}
    assert first.generation.number == second.generation.number == 1


def test_a_changed_file_rebuilds_its_layer_alone(tmp_path: Path) -> None:
    spec, store = everything(tmp_path), MemoryStore()
    first = build(spec, store)
    fill(tmp_path / "app", {"server.js": "listen(3000)\n"})

    second = build(spec, store)

    assert {"tool": True, "settings": True, "app": False, "users": True} == {
        built.name: built.cached for built in second.layers
    }
    assert first.layers[3].diff_id == second.layers[3].diff_id
    assert 2 == second.generation.number


def test_what_only_the_config_says_rebuilds_no_layer(tmp_path: Path) -> None:
    spec, store = everything(tmp_path), MemoryStore()
    first = build(spec, store)
    spec.write_text(spec.read_text().replace("production", "development"))

    second = build(spec, store)

    assert {True} == {built.cached for built in second.layers}
    assert first.digest != second.digest


def test_a_missing_or_shortened_blob_is_built_again(tmp_path: Path) -> None:
    spec = everything(tmp_path)
    with Store.open(tmp_path / "store") as store:
        first = build(spec, store)
        gone, short = (store.blob_path(first.layers[n].blob.digest) for n in (0, 2))
        gone.unlink()
        short.chmod(0o644)
        short.write_bytes(short.read_bytes()[:-1])

        second = build(spec, store)

        assert [False, True, False, True] == [built.cached for built in second.layers]
        assert digests(first) == digests(second)
        for built in second.layers:
            contents(store, built)


def test_created_is_every_entry_s_time_and_the_config_s(tmp_path: Path) -> None:
    store = MemoryStore()
    image = build(everything(tmp_path, "created = 2024-05-06T09:08:07+02:00"), store)

    assert "2024-05-06T07:08:07Z" == image.config.created
    for built in image.layers:
        assert {1_714_979_287} == {e.mtime for e in contents(store, built).values()}


def test_several_platforms_share_layers(tmp_path: Path) -> None:
    store = MemoryStore()
    spec = everything(tmp_path, 'platforms = ["linux/amd64", "linux/arm64"]')

    image = build(spec, store)

    assert oci.INDEX == image.descriptor.media_type
    index = oci.decode_index(store.read_blob(image.digest), "test")
    assert [AMD64, ARM64] == [manifest.platform for manifest in index.manifests]
    one, other = image.platforms
    assert [built.blob for built in one.layers] == [built.blob for built in other.layers]
    assert "arm64" == other.config.platform.architecture


def test_one_of_several_platforms_can_be_chosen(tmp_path: Path) -> None:
    spec = everything(tmp_path, 'platforms = ["linux/amd64", "linux/arm64"]')

    image = build(spec, MemoryStore(), platforms=[ARM64])

    assert [ARM64] == [built.platform for built in image.platforms]
    assert oci.MANIFEST == image.descriptor.media_type


def test_tags_of_the_call_come_after_those_of_the_spec(tmp_path: Path) -> None:
    store = MemoryStore()

    image = build(everything(tmp_path, 'tags = ["1.0"]'), store, tags=["2.0", "1.0"])

    assert ("1.0", "2.0") == image.tags
    assert image.digest == store.resolve("test/web:2.0").digest
    with pytest.raises((ImmutableError, ValueError), match="latest"):
        build(everything(tmp_path), store, tags=["latest"])


def test_an_image_without_layers_is_one(tmp_path: Path) -> None:
    image = build(write(tmp_path, '[config]\ncmd = ["x"]\n'), MemoryStore())

    assert () == image.layers


def test_equal_layers_have_one_blob_and_stand_twice(tmp_path: Path) -> None:
    one = layer("files", "one", entries=[{"path": "/a", "text": ""}])
    image = build(write(tmp_path, one + one.replace('"one"', '"two"')), MemoryStore())

    assert image.layers[0].blob == image.layers[1].blob
    assert 2 == len(image.manifest.layers)


# Failing


@pytest.mark.parametrize("harm", ["app", "settings", "accounts"])
def test_a_failed_build_leaves_names_and_no_drafts(tmp_path: Path, harm: str) -> None:
    spec = everything(tmp_path)
    with Store.open(tmp_path / "store") as store:
        build(spec, store)
        before = store.references()
        match harm:
            case "app":
                os.mkfifo(tmp_path / "app" / "pipe")
            case "settings":
                spec.write_text(spec.read_text().replace('"/etc/localtime"', '"/etc/motd/x"'))
            case "accounts":
                spec.write_text(spec.read_text().replace("uid = 1001", "uid = 0"))

        with pytest.raises(ImmutableError):
            build(spec, store)

        assert before == store.references()
        assert [] == list((tmp_path / "store" / "tmp").iterdir())


@pytest.fixture
def other_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with kinds.registered(tmp_path / "site", monkeypatch):
        yield


def endless(folder: Path, kind: str) -> Path:
    """Write a spec whose last layer is never done for one platform, and `kind` for the other."""
    good = layer("files", "good", entries=[{"path": "/good", "text": "good"}])
    return write(folder, good + layer(kind, "last"), image=TWO)


def test_a_failing_layer_ends_the_others(tmp_path: Path, other_kinds: None) -> None:
    spec = endless(tmp_path, "test-failing")
    with Store.open(tmp_path / "store") as store:
        with pytest.raises(SourceError, match="the disk is on fire"):
            build(spec, store)

        assert {} == store.references()
        assert [] == list((tmp_path / "store" / "tmp").iterdir())


def test_an_interrupt_leaves_a_store_that_works(tmp_path: Path, other_kinds: None) -> None:
    spec = endless(tmp_path, "test-interrupted")
    threads = threading.active_count()
    with Store.open(tmp_path / "store") as store:
        with pytest.raises(KeyboardInterrupt):
            build(spec, store)

        assert threads == threading.active_count()
        assert [] == list((tmp_path / "store" / "tmp").iterdir())
        good = layer("files", "good", entries=[{"path": "/good", "text": "good"}])
        assert contents(store, build(write(tmp_path, good), store).layers[0])


def other_kinds_of_others_are_found(tmp_path: Path, other_kinds: None) -> None:
    store = MemoryStore()
    built = build(write(tmp_path, layer("test-plain", text="hello")), store).layers[0]

    assert ["file"] == list(contents(store, built))


def test_a_kind_that_cannot_be_loaded_is_named(tmp_path: Path, other_kinds: None) -> None:
    with pytest.raises(ImmutableError, match=r"layer kind 'test-broken': .*no such luck"):
        build(write(tmp_path, layer("test-broken")), MemoryStore())


def meddling(layer: str, happens: Callable[[], object]) -> Notes:
    """Return a watcher at whose first sign of work on `layer` something happens."""
    return Notes(begins=lambda label: happens() if label == f"building {layer}" else None)


def test_progress_tells_of_each_layer_and_its_bytes(tmp_path: Path) -> None:
    spec, notes, store = everything(tmp_path), Notes(), MemoryStore()

    image = build(spec, store, progress=notes)

    assert {f"building {built.name}" for built in image.layers} == {
        label for label in notes.tasks if label.startswith("building ")
    }
    assert notes.tasks["building app"] > 100_000


@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_that_changes_during_the_build_is_refused(tmp_path: Path, same_size: bool) -> None:
    spec = everything(tmp_path)
    path = tmp_path / "app" / "server.js"
    data = path.read_text()
    with Store.open(tmp_path / "store") as store:
        watcher = meddling(
            "app", lambda: path.write_text(data.upper() if same_size else data + "more")
        )
        with pytest.raises(SourceError, match=r"server\.js: changed while it was being read"):
            build(spec, store, progress=watcher)

        assert {} == store.references()
        assert [] == list((tmp_path / "store" / "tmp").iterdir())
        # And the next build takes it as it is now.
        assert build(spec, store).digest == build(spec, MemoryStore()).digest


# Layers made while their files are read for the first time


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no tree be too small, and no file too fresh."""
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 3_600_000_000_000)
    monkeypatch.setattr(files, "_AHEAD", 1)


def sharing(folder: Path) -> Path:
    """Write a spec of two platforms whose layers take files of one folder, two of them equal."""
    fill(folder / "app", {"a": "1" * 5000, "b/c": "2"})
    kinds = [
        layer("files", "one", source="app", target="/one"),
        layer("files", "two", source="app", target="/two", include=["a"]),
        layer("files", "again", source="app", target="/one"),
    ]
    return write(folder, "".join(kinds), image='platforms = ["linux/amd64", "linux/arm64"]')


@pytest.mark.parametrize("make", [everything, sharing])
def test_what_is_made_ahead_is_what_is_made_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path]
) -> None:
    spec = make(tmp_path)
    plain = build(spec, MemoryStore())
    monkeypatch.setattr(files, "_AHEAD", 1)

    assert digests(plain) == digests(build(spec, MemoryStore()))


def test_a_layer_made_ahead_is_new_once_and_its_files_are_read_once(
    tmp_path: Path, ahead: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "app", {"a": "1", "b": "2"})
    spec = write(tmp_path, layer("files", source="app", target="/app"))
    opened: list[bytes] = []
    real = disk_file.open_listed

    def counting(path: bytes) -> int:
        opened.append(path.rpartition(b"/")[2])
        return real(path)

    monkeypatch.setattr(disk_file, "open_listed", counting)
    store = MemoryStore()

    assert [False] == [built.cached for built in build(spec, store).layers]
    assert [True] == [built.cached for built in build(spec, store).layers]
    assert [b"a", b"b"] == sorted(opened)


def test_a_layer_made_ahead_for_one_platform_is_there_for_the_others(
    tmp_path: Path, ahead: None
) -> None:
    fill(tmp_path / "app", {"a": "1", "b": "2"})
    spec = write(tmp_path, layer("files", source="app", target="/app"), image=TWO)
    packed = []
    for platforms in ((AMD64,), (AMD64, ARM64)):
        notes = Notes()
        build(spec, MemoryStore(), platforms=platforms, progress=notes)
        packed.append(notes.tasks["building app"])

    assert packed[0] == packed[1] > 0


def test_a_layer_made_ahead_that_was_there_is_cached(tmp_path: Path, ahead: None) -> None:
    store = MemoryStore()
    for name in ("one", "two"):
        fill(tmp_path / name / "app", {"a": "1", "b": "2"})
    specs = [
        write(tmp_path / name, layer("files", source="app", target="/app"))
        for name in ("one", "two")
    ]

    first, second = (build(spec, store) for spec in specs)

    assert [False, True] == [built.layers[0].cached for built in (first, second)]
    assert first.digest == second.digest


def test_a_file_that_changes_while_its_layer_is_made_ahead_is_refused(
    tmp_path: Path, ahead: None
) -> None:
    spec = everything(tmp_path)
    path = tmp_path / "app" / "server.js"
    with Store.open(tmp_path / "store") as store:
        with pytest.raises(SourceError, match=r"server\.js: changed while it was being read"):
            build(spec, store, progress=meddling("app", lambda: path.write_text("other")))

        assert {} == store.load_stats(os.fsencode(tmp_path / "app"))
        # Only what is beneath is recorded.
        fill(tmp_path / "app", {"server.js": "listen(8080)\n"})
        built = build(spec, store).layers
        assert [True, True, False, False] == [one.cached for one in built]
        assert [] == list((tmp_path / "store" / "tmp").iterdir())


# Sources from another store


def test_sources_are_taken_from_another_store_verified(tmp_path: Path) -> None:
    spec = everything(tmp_path)
    other, data = MemoryStore(), (tmp_path / "tool.tar").read_bytes()
    digest = other.put_blob(data)
    plain = build(spec, MemoryStore()).digest

    assert plain == build(spec, MemoryStore(), sources=other, offline=True).digest

    other._blobs[digest] = data[:-1] + b"?"
    with pytest.raises(ImmutableError, match=f"expected {digest}"):
        build(spec, MemoryStore(), sources=other, offline=True)


# Fetching


def test_fetching_is_given_up_from_another_thread(tmp_path: Path) -> None:
    begun_here, over = threading.Event(), threading.Event()
    data = bytes(2 << 20)

    def gate() -> None:
        begun_here.set()
        over.wait(30)

    server = WebServer(tmp_path)
    server.answers["/a.tar"] = [Answer(body=data, gate=gate)]
    with server.serve() as url:
        text = layer("archive", url=f"{url}/a.tar", sha256=Digest.of(data).hex)
        store = MemoryStore()
        made = plan(load(write(tmp_path, text)), store, CONFIG, SILENT)
        fetching = schedule._Fetching(scope_of(made, CONFIG, store, SILENT), offline=False)
        thread = threading.Thread(target=fetching.fetch, args=([*made.graph],))
        thread.start()
        assert begun_here.wait(30)
        fetching.halt()
        thread.join(10)
        assert not thread.is_alive()
        over.set()
    assert not store.has_blob(Digest.of(data))
    with pytest.raises(CancelledError):
        fetching.fetch([*made.graph])
