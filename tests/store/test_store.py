"""What every store promises, on disk and in memory."""

import os
import re
from datetime import UTC, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from immutable.errors import BlobMissing, DigestMismatch, ImageNotFound, StoreError, TagTaken
from immutable.oci.digest import Digest
from immutable.oci.documents import INDEX, LAYER, MANIFEST, Descriptor, Index
from immutable.oci.platforms import Platform
from immutable.spec.derivation import NO_ANSWERS
from immutable.store import AbstractStore, Chunk
from tests.support.stores import CREATED, commit, manifest, realisation

# Blobs


def test_a_blob_comes_back(store: AbstractStore) -> None:
    digest = store.put_blob(b"0123456789")
    assert Digest.of(b"0123456789") == digest
    assert store.has_blob(digest)
    assert 10 == store.blob_size(digest)
    assert b"0123456789" == store.read_blob(digest)
    assert b"3456" == store.read_range(digest, 3, 4)
    with store.open_blob(digest) as file:
        file.seek(-2, os.SEEK_END)
        assert b"89" == file.read()
    with store.verified(digest, 10) as blob:
        assert b"0123456789" == blob.read()


def test_a_missing_blob_is_named(store: AbstractStore) -> None:
    digest = Digest.of(b"nowhere")
    assert not store.has_blob(digest)
    for use in (
        store.blob_size,
        store.open_blob,
        store.read_blob,
        lambda missing: store.read_range(missing, 0, 1),
    ):
        with pytest.raises(BlobMissing, match=str(digest)):
            use(digest)


def test_what_is_too_long_or_too_short_is_refused(store: AbstractStore) -> None:
    digest = store.put_blob(b"0123456789")
    with pytest.raises(StoreError, match="at most 9 bytes"):
        store.read_blob(digest, 9)
    with pytest.raises(StoreError, match="expected 5 bytes at 6, found 4"):
        store.read_range(digest, 6, 5)


def test_a_blob_in_pieces(store: AbstractStore) -> None:
    with store.ingest() as blob:
        for piece in (b"01", bytearray(b"23"), memoryview(b"45")):
            assert 2 == blob.write(piece)
        assert 6 == blob.size
        assert (Digest.of(b"012345"), 6) == blob.commit(expected=Digest.of(b"012345"), size=6)
    assert b"012345" == store.read_blob(Digest.of(b"012345"))


def ingest(store: AbstractStore, data: bytes, **expected: Any) -> None:
    with store.ingest() as blob:
        blob.write(data)
        blob.commit(name="nodejs", **expected)


def test_other_bytes_than_expected_are_not_kept(store: AbstractStore) -> None:
    with pytest.raises(DigestMismatch, match=r"^nodejs: expected"):
        ingest(store, b"x", expected=Digest.of(b"y"))
    with pytest.raises(StoreError, match=r"^nodejs: expected 2 bytes, found 1"):
        ingest(store, b"x", size=2)
    with store.ingest() as blob:
        blob.write(b"x")
    assert not store.has_blob(Digest.of(b"x"))
    assert not store.has_blob(Digest.of(b"y"))
    assert 0 == store.info().blobs


def test_a_scratch_file_can_be_written_and_read(store: AbstractStore, tmp_path: Path) -> None:
    with store.scratch() as file:
        file.write(b"0123")
        file.seek(1)
        assert b"123" == file.read()
        assert [] == [item for item in tmp_path.rglob("*") if item.parent.name == "tmp"]


# Realisations, chunks, stats


def test_a_realisation_is_found_under_its_encoder(store: AbstractStore) -> None:
    layer = Descriptor(LAYER, store.put_blob(b"layer"), 5)
    known = realisation(layer)
    assert store.find_realisation(known.derivation, NO_ANSWERS, "gzip") is None
    store.record_realisation(known)
    assert known == store.find_realisation(known.derivation, NO_ANSWERS, "gzip")
    assert store.find_realisation(known.derivation, NO_ANSWERS, "zstd") is None
    assert store.find_realisation(Digest.of(b"e"), NO_ANSWERS, "gzip") is None
    newer = realisation(Descriptor(LAYER, store.put_blob(b"newer"), 5))
    store.record_realisation(newer)
    assert newer == store.find_realisation(known.derivation, NO_ANSWERS, "gzip")


def test_a_realisation_without_its_blob_is_not_recorded(store: AbstractStore) -> None:
    with pytest.raises(BlobMissing):
        store.record_realisation(realisation(Descriptor(LAYER, Digest.of(b"layer"), 5)))
    digest = store.put_blob(b"layer")
    with pytest.raises(StoreError, match="expected 6 bytes, found 5"):
        store.record_realisation(realisation(Descriptor(LAYER, digest, 6)))


def test_chunks_are_found_under_their_encoder(store: AbstractStore) -> None:
    blob = store.put_blob(b"0123456789")
    chunks = {
        Digest.of(b"%d" % number): Chunk(blob, number % 10, 1, Digest.of(b"frame"))
        for number in range(2000)
    }
    store.record_chunks("gzip", chunks)
    assert chunks == store.find_chunks([*chunks, Digest.of(b"unknown")], "gzip")
    assert {} == store.find_chunks(chunks, "zstd")
    first = Digest.of(b"0")
    assert chunks[first] == store.find_chunk(first, "gzip")
    assert store.find_chunk(Digest.of(b"unknown"), "gzip") is None
    assert 2000 == store.info().chunks


def test_chunks_beyond_their_blob_are_not_found(store: AbstractStore) -> None:
    blob, gone = store.put_blob(b"0123456789"), Digest.of(b"gone")
    frame = Digest.of(b"frame")
    chunks = {
        Digest.of(b"in"): Chunk(blob, 4, 6, frame),
        Digest.of(b"beyond"): Chunk(blob, 5, 6, frame),
        Digest.of(b"gone"): Chunk(gone, 0, 0, frame),
    }
    store.record_chunks("gzip", chunks)
    assert [Digest.of(b"in")] == list(store.find_chunks(chunks, "gzip"))


def test_stats_are_replaced_whole(store: AbstractStore) -> None:
    content = Digest.of(b"content")
    first = {
        b"a": ((1, 2, 3, 4), content),
        b"\xff\n": ((0, -1, -(1 << 63), (1 << 64) - 1), content),
    }
    store.save_stats(b"/src", first)
    store.save_stats(b"/other", {b"x": ((1, 1, 1, 1), content)})
    assert first == store.load_stats(b"/src")
    second = {b"a": ((1, 2, 9, 4), content), b"c": ((5, 6, 7, 8), Digest.of(b"c"))}
    store.save_stats(b"/src", second)
    assert second == store.load_stats(b"/src")
    assert {b"x": ((1, 1, 1, 1), content)} == store.load_stats(b"/other")
    assert {} == store.load_stats(b"/never")


@pytest.mark.parametrize(
    "signature", [(1 << 63, 0, 0, 0), (0, -(1 << 63) - 1, 0, 0), (0, 0, 0, -1)]
)
def test_a_stat_beyond_64_bits_is_left_out(
    store: AbstractStore, signature: tuple[int, int, int, int]
) -> None:
    content = Digest.of(b"content")
    store.save_stats(b"/src", {b"a": (signature, content), b"b": ((1, 1, 1, 1), content)})
    assert {b"b": ((1, 1, 1, 1), content)} == store.load_stats(b"/src")


# Images


def test_generations_are_numbered(store: AbstractStore) -> None:
    one, two = manifest(store, "one"), manifest(store, "two")
    first = store.commit_generation("shop/web", one, tags=["1.0", "old"], created=CREATED)
    assert (1, one, CREATED, ("1.0", "old"), True) == (
        first.number,
        first.descriptor,
        first.created,
        first.tags,
        first.current,
    )
    later = CREATED + timedelta(days=1)
    second = store.commit_generation("shop/web", two, tags=["2.0", "1.0"], created=later)
    assert (2, two, later, ("1.0", "2.0"), True) == (
        second.number,
        second.descriptor,
        second.created,
        second.tags,
        second.current,
    )
    assert [(1, ("old",), False), (2, ("1.0", "2.0"), True)] == [
        (generation.number, generation.tags, generation.current)
        for generation in store.generations("shop/web")
    ]


def test_what_is_current_already_makes_no_generation_but_moves_tags(store: AbstractStore) -> None:
    one = commit(store, "web", "one")
    two = commit(store, "web", "two", "stable")
    again = store.commit_generation("web", two, tags=["new"], created=CREATED + timedelta(1))
    assert (2, CREATED, ("new", "stable")) == (again.number, again.created, again.tags)
    back = store.commit_generation("web", one, tags=["stable"], created=CREATED)
    assert (3, ("stable",)) == (back.number, back.tags)
    assert [("stable",), ("new",), ("stable",)] == [g.tags for g in store.generations("web")]


def test_rolling_back_and_on(store: AbstractStore) -> None:
    one, two = commit(store, "web", "one"), commit(store, "web", "two")
    assert store.set_current("web", 1).current
    assert one == store.resolve("web")
    assert [True, False] == [generation.current for generation in store.generations("web")]
    assert 3 == store.commit_generation("web", two, created=CREATED).number
    with pytest.raises(ImageNotFound, match="web@9: no such generation; there is 1, 2, 3"):
        store.set_current("web", 9)
    with pytest.raises(ImageNotFound, match="no such generation"):
        store.set_current("web", 1 << 80)
    with pytest.raises(ImageNotFound, match="wbe: no such image in the store; did you mean web"):
        store.set_current("wbe", 1)


def test_a_tag_moves_by_hand(store: AbstractStore) -> None:
    one, two = commit(store, "web", "one"), commit(store, "web", "two", "stable")
    assert 1 == store.tag("web", "stable", one.digest).number
    assert one == store.resolve("web:stable")
    assert two == store.resolve("web")
    with pytest.raises(ImageNotFound, match="in no generation of web"):
        store.tag("web", "stable", Digest.of(b"else"))
    with pytest.raises(StoreError, match="expected a tag"):
        store.tag("web", "-x", one.digest)


def test_a_tag_stays_where_it_is_if_asked_to(store: AbstractStore) -> None:
    one, two = commit(store, "web", "one", "stable"), manifest(store, "two")
    expected = re.escape(
        f"store:web:stable: the tag is on {one.digest}, and was to be put on {two.digest}"
    )
    with pytest.raises(TagTaken, match=expected) as caught:
        store.commit_generation(
            "web", two, tags=["new", "stable"], created=CREATED, replace_tags=False
        )
    assert (one.digest, two.digest) == (caught.value.holds, caught.value.wanted)
    assert [1] == [each.number for each in store.generations("web")]
    store.commit_generation("web", two, tags=["new"], created=CREATED, replace_tags=False)
    for act in (
        lambda: store.tag("web", "stable", two.digest, replace=False),
        lambda: store.expect_tags("web", ["other", "stable"], two.digest),
    ):
        with pytest.raises(TagTaken, match=expected):
            act()
    assert ("stable",) == store.tag("web", "stable", one.digest, replace=False).tags
    store.expect_tags("web", ["stable"], one.digest)
    store.expect_tags("nothing", ["stable"], one.digest)
    assert one == store.resolve("web:stable")


def test_latest_is_no_tag(store: AbstractStore) -> None:
    one = commit(store, "web", "one")
    with pytest.raises(StoreError, match="latest names no version"):
        store.tag("web", "latest", one.digest)
    with pytest.raises(StoreError, match="latest names no version"):
        commit(store, "web", "two", "latest")


def test_images_are_the_current_generations_by_name(store: AbstractStore) -> None:
    commit(store, "web", "one")
    commit(store, "api", "one")
    commit(store, "web", "two")
    assert [("api", 1), ("web", 2)] == [(each.name, each.number) for each in store.images()]


def test_a_generation_needs_its_manifest(store: AbstractStore) -> None:
    with pytest.raises(BlobMissing):
        store.commit_generation("web", Descriptor(MANIFEST, Digest.of(b"x"), 1), created=CREATED)
    digest = store.put_blob(b"x")
    with pytest.raises(StoreError, match="expected 2 bytes, found 1"):
        store.commit_generation("web", Descriptor(MANIFEST, digest, 2), created=CREATED)
    assert () == store.images()


@pytest.mark.parametrize(
    "name",
    ["", "Web", "/web", "web/", "a//b", "../x", "web:1", "web@1", "a..b", "a_-b", "ä", "w\n"],
)
def test_names_that_cannot_be_are_refused(store: AbstractStore, name: str) -> None:
    descriptor = manifest(store, "one")
    with pytest.raises(StoreError, match="expected an image name"):
        store.commit_generation(name, descriptor, created=CREATED)
    with pytest.raises(ImageNotFound):
        store.generations(name)


@pytest.mark.parametrize("tag", ["", ".x", "-x", "a b", "a/b", "a:b", "x" * 129, "ä", "x\n"])
def test_tags_that_cannot_be_are_refused(store: AbstractStore, tag: str) -> None:
    descriptor = manifest(store, "one")
    with pytest.raises(StoreError, match="expected a tag"):
        store.commit_generation("web", descriptor, tags=["fine", tag], created=CREATED)
    assert () == store.images()


def test_times_are_told_in_utc_and_need_a_zone(store: AbstractStore) -> None:
    descriptor = manifest(store, "one")
    local = CREATED.astimezone(timezone(timedelta(hours=5)))
    committed = store.commit_generation("web", descriptor, created=local)
    assert (CREATED, UTC) == (committed.created, committed.created.tzinfo)
    with pytest.raises(ValueError, match="time zone"):
        store.commit_generation("web", descriptor, created=CREATED.replace(tzinfo=None))


def test_annotations_and_platform_are_left_to_where_a_descriptor_stands(
    store: AbstractStore,
) -> None:
    plain = manifest(store, "one")
    adorned = Descriptor(
        plain.media_type, plain.digest, plain.size, {"a": "b"}, Platform("linux", "amd64")
    )
    assert plain == store.commit_generation("web", adorned, created=CREATED).descriptor
    assert plain == store.commit_generation("web", adorned, created=CREATED).descriptor
    assert 1 == len(store.generations("web"))
    store.record_realisation(realisation(adorned))
    assert realisation(plain) == store.find_realisation(Digest.of(b"d"), NO_ANSWERS, "gzip")


def test_every_way_to_refer_to_an_image(store: AbstractStore) -> None:
    one, two = commit(store, "shop/web", "one", "1.0"), commit(store, "shop/web", "two", "2.0")
    loose = manifest(store, "loose")
    listed = Index((loose,)).encode()
    index = Descriptor(INDEX, store.put_blob(listed), len(listed))
    store.commit_generation("multi", index, created=CREATED)
    expected = {
        "shop/web": two,
        "shop/web:1.0": one,
        "shop/web:2.0": two,
        "shop/web@1": one,
        "shop/web@2": two,
        f"shop/web@{one.digest}": one,
        str(one.digest): one,
        str(loose.digest): loose,
        f"multi@{index.digest}": index,
        f"multi@{loose.digest}": loose,
        str(index.digest): index,
    }
    assert expected == {reference: store.resolve(reference) for reference in expected}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("shop/wep", r"^shop/wep: no such image in the store; did you mean shop/web\?"),
        ("zzz", "^zzz: no such image in the store; there is shop/web, shop/web:1.0"),
        ("shop/web:1.1", "^shop/web:1.1: no such tag; shop/web has 1.0"),
        ("shop/web@7", "^shop/web@7: no such generation; there is 1"),
        ("shop/web@0", "no such image"),
        ("shop/web@" + "9" * 30, "no such image"),
        ("shop/web@x", "no such image"),
        ("shop/web:", "no such image"),
        ("", "no such image"),
        ("\udcff", "no such image"),
        ("sha256:12", "^sha256:12: expected 64 hex digits, found 2"),
        (f"sha256:{'0' * 64}", "no such manifest or index in the store"),
        (f"shop/web@sha256:{'0' * 64}", "in no generation of shop/web"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    store: AbstractStore, reference: str, message: str
) -> None:
    commit(store, "shop/web", "one", "1.0")
    with pytest.raises(ImageNotFound, match=message):
        store.resolve(reference)


def test_an_empty_store_says_so(store: AbstractStore) -> None:
    with pytest.raises(ImageNotFound, match="web: no such image in the store; there is none"):
        store.resolve("web")


@pytest.mark.parametrize("data", [b"layer", b"{}", b"[]", b'{"layers":[],"mediaType":"x/y"}'])
def test_a_digest_of_something_else_is_no_image(store: AbstractStore, data: bytes) -> None:
    digest = store.put_blob(data)
    with pytest.raises(ImageNotFound, match="expected a manifest or index, found another blob"):
        store.resolve(str(digest))


def test_info_counts(store: AbstractStore) -> None:
    layer = Descriptor(LAYER, store.put_blob(b"layer"), 5)
    store.record_realisation(realisation(layer))
    one, two = commit(store, "web", "one", "1"), commit(store, "web", "two", "2")
    info = store.info()
    assert (3, 5 + one.size + two.size, 1, 2, 1, 0) == (
        info.blobs,
        info.bytes,
        info.images,
        info.generations,
        info.realisations,
        info.chunks,
    )
