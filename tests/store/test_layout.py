"""Image layouts: what others see, what we refuse, what we keep of what others wrote."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from immutable.errors import BlobMissing, DigestMismatch, ImageError, StoreError
from immutable.oci.digest import Digest
from immutable.oci.documents import MANIFEST, REF_NAME, Descriptor, Index
from immutable.store import Layout
from immutable.store.files import DRAFT


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "layout")


def named(name: str, content: bytes = b"{}") -> Descriptor:
    return Descriptor(MANIFEST, Digest.of(content), len(content), {REF_NAME: name})


def drafts(path: Path) -> list[Path]:
    return sorted(path.rglob(f"{DRAFT}*"))


def tree(path: Path) -> dict[str, bytes]:
    return {
        str(item.relative_to(path)): item.read_bytes()
        for item in sorted(path.rglob("*"))
        if item.is_file()
    }


def ingest(layout: Layout, data: bytes, **expected: Any) -> None:
    with layout.ingest() as blob:
        blob.write(data)
        blob.commit(name="thing", **expected)


def interrupted(layout: Layout) -> None:
    with layout.ingest() as blob:
        blob.write(b"x")
        raise KeyboardInterrupt


def read(layout: Layout, digest: Digest, size: int | None, piece: int, into: bytearray) -> None:
    with layout.verified(digest, size) as blob:
        while data := blob.read(piece):
            into += data


def test_a_new_layout_holds_what_the_standard_asks_for_and_nothing_else(layout: Layout) -> None:
    assert {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": (
            b'{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json",'
            b'"schemaVersion":2}'
        ),
    } == tree(layout.path)
    assert (layout.path / "blobs" / "sha256").is_dir()


def test_creating_it_again_changes_nothing(layout: Layout) -> None:
    layout.put(b"blob")
    layout.update_index(lambda _: Index((named("a"),)))
    before = tree(layout.path)
    assert Layout.create(layout.path).index() == layout.index()
    assert before == tree(layout.path)


def test_one_that_another_process_makes_meanwhile_is_no_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, there = Layout(tmp_path), Path.exists

    def and_then_it_is_made(path: Path) -> bool:
        found = there(path)
        layout.write_marker()
        return found

    def first_it_is_made(path: Path) -> Iterator[Path]:
        layout.write_marker()
        return (path / name for name in os.listdir(path))  # noqa: PTH208

    monkeypatch.setattr(Path, "exists", and_then_it_is_made)
    monkeypatch.setattr(Path, "iterdir", first_it_is_made)
    layout.expect_layout_or_empty()


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o277])
def test_the_umask_changes_no_mode(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        layout = Layout.create(tmp_path / "deep" / "layout")
        digest = layout.put(b"blob")
    finally:
        os.umask(before)
    modes = {
        "deep": tmp_path / "deep",
        ".": layout.path,
        "blobs": layout.path / "blobs",
        "sha256": layout.path / "blobs" / "sha256",
        "blob": layout.blob_path(digest),
        "index": layout.index_path,
        "marker": layout.path / "oci-layout",
    }
    directories = dict.fromkeys(("deep", ".", "blobs", "sha256"), 0o755)
    files = dict.fromkeys(("blob", "index", "marker"), 0o644)
    assert directories | files == {
        name: path.stat().st_mode & 0o7777 for name, path in modes.items()
    }


def test_a_blob_comes_back(layout: Layout) -> None:
    digest = layout.put(b"some bytes")
    assert Digest.of(b"some bytes") == digest
    assert layout.has(digest)
    assert 10 == layout.size(digest)
    assert b"some bytes" == layout.read(digest, 10)
    with layout.open_blob(digest) as file:
        file.seek(5)
        assert b"bytes" == file.read()
    assert {digest: 10} == dict(layout.blobs())


def test_a_missing_blob_is_named(layout: Layout) -> None:
    digest = Digest.of(b"nowhere")
    assert not layout.has(digest)
    for use in (layout.size, layout.open_blob, lambda d: layout.read(d, 1)):
        with pytest.raises(BlobMissing, match=str(digest)):
            use(digest)
    with pytest.raises(BlobMissing), layout.verified(digest):
        pass


def test_nothing_is_left_of_a_blob_that_is_not_committed(layout: Layout) -> None:
    before = tree(layout.path)
    with layout.ingest() as blob:
        blob.write(b"x")
    with pytest.raises(KeyboardInterrupt):
        interrupted(layout)
    with pytest.raises(DigestMismatch, match=r"^thing: expected"):
        ingest(layout, b"x", expected=Digest.of(b"y"))
    with pytest.raises(StoreError, match=r"thing: expected 2 bytes, found 1"):
        ingest(layout, b"x", size=2)
    assert before == tree(layout.path)


def test_a_committed_blob_takes_no_more(layout: Layout) -> None:
    with layout.ingest() as blob:
        blob.write(b"x")
        blob.commit()
        with pytest.raises(ValueError, match="already committed"):
            blob.write(b"y")
        with pytest.raises(ValueError, match="already committed"):
            blob.commit()


def test_a_present_blob_is_left_alone(layout: Layout) -> None:
    digest = layout.put(b"blob")
    inode = layout.blob_path(digest).stat().st_ino
    assert digest == layout.put(b"blob")
    assert inode == layout.blob_path(digest).stat().st_ino
    assert [] == drafts(layout.path)


@pytest.mark.parametrize("damage", [b"", b"blo", b"blob and more"])
def test_a_blob_of_the_wrong_size_is_replaced(layout: Layout, damage: bytes) -> None:
    digest = layout.put(b"blob")
    layout.blob_path(digest).write_bytes(damage)
    assert digest == layout.put(b"blob")
    assert b"blob" == layout.read(digest, 4)


@pytest.mark.parametrize("damage", [b"", b"blo", b"blxb", b"blob!", b"other bytes"])
@pytest.mark.parametrize("size", [None, 4])
@pytest.mark.parametrize("piece", [1, 3, 4, 100])
def test_wrong_bytes_never_read_as_right(
    layout: Layout, damage: bytes, size: int | None, piece: int
) -> None:
    digest = layout.put(b"blob")
    layout.blob_path(digest).write_bytes(damage)
    given = bytearray()
    with pytest.raises(DigestMismatch, match=digest.hex):
        read(layout, digest, size, piece, given)
    assert damage[: len(given)] == given
    assert size is None or len(given) < size
    with pytest.raises(DigestMismatch, match=digest.hex):
        layout.read(digest, 100)


@pytest.mark.parametrize("size", [None, 4])
def test_what_a_block_does_not_read_is_verified_at_its_end(
    layout: Layout, size: int | None
) -> None:
    digest = layout.put(b"blob")
    with layout.verified(digest, size) as blob:
        assert b"bl" == blob.read(2)
    layout.blob_path(digest).write_bytes(b"blxb")
    with pytest.raises(DigestMismatch), layout.verified(digest, size) as blob:
        assert b"bl" == blob.read(2)


def test_an_error_of_the_block_is_not_hidden_by_damage(layout: Layout) -> None:
    digest = layout.put(b"blob")
    layout.blob_path(digest).write_bytes(b"blxb")
    with pytest.raises(ZeroDivisionError), layout.verified(digest):
        raise ZeroDivisionError


def test_right_bytes_read_whole_with_any_size_of_read(layout: Layout) -> None:
    digest = layout.put(b"0123456789")
    for size in (None, 10):
        for piece in (1, 3, 10, 11, -1):
            given = bytearray()
            read(layout, digest, size, piece, given)
            assert b"0123456789" == bytes(given)
    empty = layout.put(b"")
    for size in (None, 0):
        with layout.verified(empty, size) as blob:
            assert b"" == blob.read()


def test_an_endless_blob_is_left_after_its_size(layout: Layout) -> None:
    digest = layout.put(b"blob")
    with layout.blob_path(digest).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DigestMismatch, match="longer than its 4 bytes"):
        read(layout, digest, 4, 100, bytearray())
    with pytest.raises(StoreError, match="at most 1024 bytes"):
        layout.read(digest, 1024)


def test_a_blob_that_is_longer_than_was_said_is_not_given_as_a_whole(layout: Layout) -> None:
    digest = layout.put(b"a line\n")
    with pytest.raises(DigestMismatch, match="longer than its 6 bytes"):
        read(layout, digest, 6, 100, bytearray())


def test_a_blob_that_is_no_file_is_refused_without_waiting(layout: Layout) -> None:
    digest = Digest.of(b"fifo")
    os.mkfifo(layout.blob_path(digest))
    assert not layout.has(digest)
    with pytest.raises(StoreError, match="expected a regular file"):
        layout.open_blob(digest)


def test_the_disk_refusing_is_an_error_with_the_place(layout: Layout) -> None:
    (layout.path / "blobs" / "sha256").rmdir()
    (layout.path / "blobs" / "sha256").write_bytes(b"")
    with pytest.raises(StoreError, match=r"sha256/[0-9a-f]{64}: Not a directory"):
        layout.put(b"blob")
    assert [] == drafts(layout.path)


def test_a_full_disk_leaves_nothing(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(layout.path)
    for call in ("write", "fsync", "fchmod"):

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(StoreError, match="No space left on device; make room"):
                layout.put(b"blob")
            with pytest.raises(StoreError, match="No space left on device; make room"):
                layout.update_index(lambda _: Index((named("a"),)))
        assert before == tree(layout.path)


def test_drafts_of_the_dead_are_swept_and_those_of_the_living_stay(layout: Layout) -> None:
    (layout.path / f"{DRAFT}left").write_bytes(b"by a killed process")
    (layout.path / "notes.txt").write_bytes(b"someone's own")
    with layout.ingest() as blob:
        blob.write(b"x")
        Layout.create(layout.path)
        assert 1 == len(drafts(layout.path))
        digest, _ = blob.commit()
    assert b"x" == layout.read(digest, 1)
    assert (layout.path / "notes.txt").exists()


# Opening


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("oci-layout", None, "oci-layout: missing"),
        ("oci-layout", b"{", "oci-layout: not JSON"),
        ("oci-layout", b"[]", "expected '1.0.0', found None"),
        ("oci-layout", b'{"imageLayoutVersion":"1.1.0"}', "expected '1.0.0', found '1.1.0'"),
        ("oci-layout", b"[" * 60_000, "oci-layout: not JSON"),
        ("oci-layout", b" " * 70_000, "oci-layout: expected at most 65536 bytes"),
        ("index.json", None, "index.json: missing"),
        ("index.json", b"", "index.json: not JSON"),
        ("index.json", b"\xef\xbb\xbf{}", "index.json: not JSON"),
        ("index.json", b'{"schemaVersion":2,"schemaVersion":2}', "duplicate key 'schemaVersion'"),
        ("index.json", b'{"schemaVersion":1,"manifests":[]}', "schemaVersion: expected 2"),
        ("index.json", b'{"schemaVersion":2,"manifests":[],"layers":[]}', "layers: has no place"),
        (
            "index.json",
            b'{"schemaVersion":2,"manifests":[{"mediaType":"x","size":1,"digest":"sha256:../x"}]}',
            r"manifests\[0\]: digest: expected",
        ),
    ],
)
def test_what_is_no_layout_is_refused_by_file(
    layout: Layout, file: str, content: bytes | None, message: str
) -> None:
    path = layout.path / file
    path.unlink() if content is None else path.write_bytes(content)
    before = tree(layout.path)
    with pytest.raises(ImageError, match=message):
        Layout.open(layout.path)
    assert before == tree(layout.path)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="oci-layout: missing"):
        Layout.open(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ImageError, match="oci-layout: missing"):
        Layout.open(tmp_path / "file")
    with pytest.raises(StoreError, match="File exists"):
        Layout.create(tmp_path / "file")


def test_a_directory_with_something_else_in_it_is_not_scribbled_into(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match=r"or an empty directory, found holiday\.jpg"):
        Layout.create(tmp_path)
    assert ["holiday.jpg"] == [item.name for item in tmp_path.iterdir()]


def test_a_creation_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    (tmp_path / f"{DRAFT}0").write_bytes(b"half")
    Layout.create(tmp_path)
    for victim in ("index.json", "blobs/sha256"):
        path = tmp_path / victim
        path.rmdir() if path.is_dir() else path.unlink()
        Layout.create(tmp_path)
        assert path.exists()
    assert [] == drafts(tmp_path)


# The index


def test_what_others_wrote_into_the_index_stays(layout: Layout) -> None:
    foreign = {
        "mediaType": MANIFEST,
        "digest": str(Digest.of(b"w")),
        "size": 1,
        "artifactType": "application/x.thing",
        "urls": ["https://mirror.test/x"],
        "platform": {"os": "windows", "architecture": "amd64", "os.version": "10.0"},
        "annotations": {REF_NAME: "theirs", "note": "ä"},
    }
    document = {
        "schemaVersion": 2,
        "manifests": [foreign],
        "annotations": {"a": "b"},
        "subject": {"mediaType": "x"},
    }
    layout.index_path.write_text(json.dumps(document, indent=3))
    layout.update_index(lambda index: Index((*index.manifests, named("ours")), index.annotations))
    assert {**document, "manifests": [foreign, named("ours").plain()]} == json.loads(
        layout.index_path.read_bytes()
    )


def test_an_update_that_changes_nothing_writes_nothing(layout: Layout) -> None:
    layout.index_path.write_bytes(b'{ "manifests" : [ ], "schemaVersion" : 2 }')
    before = layout.index_path.stat()
    layout.update_index(lambda index: index)
    assert before.st_ino == layout.index_path.stat().st_ino


def test_an_update_that_fails_changes_nothing(layout: Layout) -> None:
    before = tree(layout.path)

    def fail(index: Index) -> Index:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        layout.update_index(fail)
    assert before == tree(layout.path)


def test_an_index_that_cannot_be_written_again_is_refused(layout: Layout) -> None:
    layout.index_path.write_bytes(b'{"schemaVersion":2,"manifests":[],"x":1.5}')
    with pytest.raises(ImageError, match=r"index\.json: cannot be written again: float"):
        layout.update_index(lambda _: Index((named("a"),)))


def test_updates_of_many_threads_all_count(layout: Layout) -> None:
    def add(name: str) -> Callable[[], None]:
        def change(index: Index) -> Index:
            return Index((*index.manifests, named(name)))

        return lambda: layout.update_index(change)

    threads = [threading.Thread(target=add(f"image-{number}")) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {dict(entry.annotations)[REF_NAME] for entry in layout.index().manifests}
    assert {f"image-{number}" for number in range(16)} == names
    assert [] == drafts(layout.path)
