"""The contents of stored layers, and the bytes of files in them."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from immutable.build.contents import LayerContents, LayerReader, Recording, StoredRootfs, make
from immutable.build.pack import pack
from immutable.content import compression
from immutable.content.compat import zstd
from immutable.content.contents import Contents
from immutable.content.contents_format import dumps
from immutable.content.entries import Entry, EntryKind, arrange, file, symlink
from immutable.errors import ArchiveError, BlobMissing, DigestMismatch, EntryError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.store import MemoryStore
from tests.support.archives import END, member, sparse
from tests.support.archives import symlink as link
from tests.support.strategies import layer_tars

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "none": bytes,
}


class Counting(MemoryStore):
    """A store that counts the bytes that are read of blobs nobody verifies."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @override
    def open_blob(self, digest: Digest) -> BinaryIO:
        return cast("BinaryIO", _Counted(super().open_blob(digest).read(), self))


class _Counted(io.BytesIO):
    def __init__(self, data: bytes, store: Counting) -> None:
        super().__init__(data)
        self._store = store

    def read(self, length: int | None = -1, /) -> bytes:
        data = super().read(length)
        self._store.count += len(data)
        return data


def put(store: MemoryStore, *members: bytes, how: str = "gzip") -> Descriptor:
    data = PACKED[how](b"".join(members) + END)
    return Descriptor(oci.LAYER_GZIP, store.put_blob(data), len(data))


def packed(store: MemoryStore, entries: Sequence[Entry], encoder: str) -> Descriptor:
    with ThreadPoolExecutor(2) as pool:
        chosen = compression.encoder(encoder)
        return pack(arrange([entries], mtime=0), chosen, store, pool, jobs=2)[1]


def rootfs(store: MemoryStore, *layers: Descriptor) -> StoredRootfs:
    return LayerContents(store).rootfs(layers)


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("how", PACKED)
def test_contents_are_those_of_the_tar_however_it_is_packed(how: str) -> None:
    store = MemoryStore()
    members = (member(b"a/b", b"1"), link(b"l", b"a"))
    found = make(store, put(store, *members, how=how))
    assert how == found.frames.compression
    assert [(0, 0)] == list(zip(found.frames.plain, found.frames.packed, strict=True))
    plain = make(store, put(store, *members, how="none"))
    assert [p for p, _ in plain.walk()] == [p for p, _ in found.walk()]
    assert plain.inode(plain.node(b"a/b")) == found.inode(found.node(b"a/b"))


@pytest.mark.parametrize("encoder", compression.NAMES)
def test_one_file_is_read_without_what_is_before_it(encoder: str) -> None:
    store = Counting()
    entries = [file(b"%02d" % n, noise(n, 700_000)) for n in range(20)]
    layer = packed(store, entries, encoder)
    root = rootfs(store, layer)
    for n in (19, 0, 7, 19):
        store.count = 0
        assert noise(n, 700_000) == root.read(b"%02d" % n, limit=1 << 20)
        assert layer.size / 4 > store.count


@pytest.mark.parametrize("encoder", compression.NAMES)
def test_what_is_recorded_while_packing_is_what_reading_the_blob_gives(encoder: str) -> None:
    store = MemoryStore()
    entries = [file(b"%02d" % n, noise(n, n * 130_000)) for n in range(20)]
    entries += [symlink(b"l", b"00"), Entry(b"m", EntryKind.HARDLINK, target=b"07")]
    chosen, recording = compression.encoder(encoder), Recording()
    with ThreadPoolExecutor(2) as pool:
        arrangement = arrange([entries], mtime=0)
        _, blob = pack(arrangement, chosen, store, pool, jobs=2, recording=recording)
    recorded = recording.contents(chosen)
    assert dumps(make(store, blob)) == dumps(recorded)
    assert (len(recorded.frames.plain) > 3) == chosen.compresses


def test_of_one_frame_files_are_read_in_one_pass_in_their_order() -> None:
    store = Counting()
    layer = put(store, *(member(b"%02d" % n, noise(n, 300_000)) for n in range(20)))
    contents = make(store, layer)
    with LayerReader(store, layer, contents.frames) as reader:
        for n in range(3, 20, 2):
            path = b"%02d" % n
            found = reader.read(path, contents.inode(contents.node(path)))
            assert noise(n, 300_000) == b"".join(found)
        assert layer.size >= store.count
        early = reader.read(b"01", contents.inode(contents.node(b"01")))
        assert noise(1, 300_000) == b"".join(early)


@given(st.lists(layer_tars(), max_size=3), st.sampled_from(sorted(PACKED)))
def test_every_file_of_a_rootfs_can_be_read(tars: list[bytes], how: str) -> None:
    store = MemoryStore()
    layers = [put(store, tar.removesuffix(END), how=how) for tar in tars]
    root = rootfs(store, *layers)
    for found in root.rootfs:
        if found.inode.kind is EntryKind.FILE:
            content = root.content(found)
            data = b"".join(content.read())
            assert (content.size, found.inode.sha256) == (len(data), Digest.of(data))
            assert data == root.read(found.path, limit=5000)


def test_a_plain_layer_that_holds_archives_is_not_inflated() -> None:
    store = MemoryStore()
    data = gzip.compress(b"x" * 1000)
    root = rootfs(store, put(store, member(b"a.gz", data), how="none"))
    assert data == root.read(b"a.gz", limit=1 << 20)


def test_a_sparse_file_is_read_with_its_holes() -> None:
    store = MemoryStore()
    layer = put(store, member(b"b", b"b"), sparse(b"a", b"abc", before=3000, after=1997))
    assert bytes(3000) + b"abc" + bytes(1997) == rootfs(store, layer).read(b"a", limit=5000)


def test_links_are_followed_and_what_is_no_file_is_not_read() -> None:
    store = MemoryStore()
    entries = [file(b"usr/lib/x", b"1"), symlink(b"lib", b"/usr/lib"), symlink(b"y", b"lib/x")]
    root = rootfs(store, packed(store, entries, "gzip"))
    assert b"1" == root.read(b"lib/x", limit=1) == root.read(b"/y", limit=1)
    assert root.read(b"lib", limit=1) is None
    assert root.read(b"none", limit=1) is None
    with pytest.raises(EntryError, match="usr/lib/x: expected at most 0 bytes, found 1"):
        root.read(b"y", limit=0)
    directory = root.rootfs.find(b"usr")
    assert directory is not None
    with pytest.raises(ValueError, match="usr: no file"):
        root.content(directory)


@pytest.mark.parametrize("how", PACKED)
def test_other_bytes_than_the_recorded_ones_are_refused(how: str) -> None:
    store = MemoryStore()
    layer = put(store, member(b"a", b"right"), how=how)
    wrong = put(store, member(b"a", b"wrong"), how=how)
    short = put(store, how=how)
    contents = make(store, layer)
    inode = contents.inode(contents.node(b"a"))
    for blob, error in ((wrong, DigestMismatch), (short, (DigestMismatch, ArchiveError))):
        with LayerReader(store, blob, contents.frames) as reader, pytest.raises(error):
            list(reader.read(b"a", inode))


def test_a_damaged_or_lost_blob_has_no_contents() -> None:
    store = MemoryStore()
    layer = put(store, member(b"a", b"1"))
    with pytest.raises(DigestMismatch):
        make(store, Descriptor(layer.media_type, layer.digest, layer.size - 1))
    with pytest.raises(BlobMissing):
        make(store, Descriptor(layer.media_type, Digest.of(b"lost"), 4))
    with pytest.raises(ArchiveError, match=r"^layer [0-9a-f]{12}: "):
        make(store, put(store, b"x" * 512))


class Kept(dict[Digest, bytes]):
    """Contents that were recorded."""

    def find_contents(self, blob: Digest) -> bytes | None:
        return self.get(blob)

    def record_contents(self, blob: Digest, data: bytes) -> None:
        self[blob] = data


def paths(contents: Contents) -> list[bytes]:
    return [path for path, _ in contents.walk()]


def test_reading_a_layer_ends_where_it_is_told_to_and_leaves_nothing() -> None:
    store = MemoryStore()
    layer = put(store, member(b"a", noise(1, 8 << 20)), how="none")
    left = [None, None]

    with pytest.raises(IndexError, match="pop from empty list"):
        LayerContents(store, store, left.pop).of(layer)

    assert store.find_contents(layer.digest) is None


def test_recorded_contents_are_not_made_again() -> None:
    store, kept = MemoryStore(), Kept()
    layer = put(store, member(b"a", b"1"))
    found = LayerContents(store, kept).of(layer)
    assert {layer.digest: dumps(found)} == kept
    assert [b"a"] == paths(LayerContents(MemoryStore(), kept).of(layer))


def test_lost_or_damaged_contents_are_made_again_from_the_blob() -> None:
    store, kept = MemoryStore(), Kept()
    layer = put(store, member(b"a", b"1"))
    whole = dumps(LayerContents(store, kept).of(layer))
    kept[layer.digest] = whole[:-1]
    assert [b"a"] == paths(LayerContents(store, kept).of(layer))
    assert whole == kept[layer.digest]


def test_contents_are_made_once() -> None:
    store = MemoryStore()
    layer = put(store, member(b"a", b"1"))
    contents = LayerContents(store)
    assert contents.of(layer) is contents.of(layer)
    root = contents.rootfs([layer, layer])
    assert root.rootfs.layers[0] is root.rootfs.layers[1]
