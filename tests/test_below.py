"""Reading what the layers beneath leave: whiteouts, links, replaced paths."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest

from immutable import oci
from immutable.below import LayersBelow
from immutable.builders.image import AS_IS
from immutable.derivation import Realisation
from immutable.digest import Digest
from immutable.entries import Entry, Kind
from immutable.errors import ArchiveError, DigestMismatch, EntryError
from immutable.oci import Descriptor
from immutable.store import MemoryStore
from tests.support.archives import END, block, directory, hardlink, member, pax, symlink

ETC = b"etc/passwd"


class Layers:
    """A store, and layers put into it bottom first."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.layers: list[Realisation] = []

    def add(
        self,
        *members: bytes,
        key: str = AS_IS,
        pack: Callable[[bytes], bytes] = gzip.compress,
    ) -> Layers:
        data = pack(b"".join(members) + END)
        blob = Descriptor(oci.LAYER_GZIP, self.store.put_blob(data), len(data))
        made = Realisation(blob.digest, key, Digest.of(b"".join(members) + END), blob)
        self.layers.append(made)
        return self

    @property
    def below(self) -> LayersBelow:
        return LayersBelow(self.store, self.layers)


def content(entry: Entry) -> bytes:
    assert entry.content is not None
    return b"".join(entry.content.read())


def test_the_topmost_entry_counts() -> None:
    below = Layers().add(member(ETC, b"1")).add(member(ETC, b"2", mode=0o600)).below

    assert b"2" == below.read(ETC)
    assert 0o600 == below.find(ETC)[ETC].mode


def test_what_is_nowhere_is_not_found() -> None:
    below = Layers().add(member(b"a", b"1")).below

    assert {} == below.find(ETC, b"b")
    assert below.read(ETC) is None
    assert {} == LayersBelow(MemoryStore(), []).find(ETC)


def test_everything_is_found_in_one_look() -> None:
    layers = Layers().add(member(b"a", b"1"), directory(b"d")).add(symlink(b"l", b"a"))

    found = layers.below.find(b"a", b"d", b"l", b"none")

    assert {b"a": Kind.FILE, b"d": Kind.DIRECTORY, b"l": Kind.SYMLINK} == {
        path: entry.kind for path, entry in found.items()
    }


@pytest.mark.parametrize(
    "hiding",
    [
        member(b"etc/.wh.passwd"),
        member(b".wh.etc"),
        member(b"etc/.wh..wh..opq"),
        member(b".wh..wh..opq"),
        member(b"etc", b"now a file"),
        symlink(b"etc", b"usr/etc"),
    ],
    ids=["whiteout", "whiteout above", "opaque", "opaque root", "file", "link"],
)
def test_what_is_hidden_is_not_there(hiding: bytes) -> None:
    below = Layers().add(member(ETC, b"1")).add(hiding).below

    assert below.read(ETC) is None


@pytest.mark.parametrize("hiding", [b"etc/.wh.passwd", b"etc/.wh..wh..opq"])
def test_whiteouts_say_nothing_of_their_own_layer(hiding: bytes) -> None:
    for members in (
        (member(hiding), member(ETC, b"2")),
        (member(ETC, b"2"), member(hiding)),
    ):
        assert b"2" == Layers().add(member(ETC, b"1")).add(*members).below.read(ETC)


def test_other_names_are_not_hidden() -> None:
    layers = Layers().add(member(ETC, b"1"), member(b"etc2/x", b"3"))

    below = layers.add(member(b"etc/.wh.pass"), member(b".wh.et")).below

    assert b"1" == below.read(ETC)
    assert b"3" == below.read(b"etc2/x")


def test_what_comes_back_after_a_whiteout_is_there() -> None:
    layers = Layers().add(member(ETC, b"1")).add(member(b".wh.etc")).add(member(ETC, b"3"))

    assert b"3" == layers.below.read(ETC)


def test_a_hard_link_is_the_file_of_its_own_layer() -> None:
    layers = Layers().add(member(b"a", b"1", mode=0o600), hardlink(ETC, b"a"))

    below = layers.add(member(b"a", b"2")).below

    assert b"1" == below.read(ETC)
    entry = below.find(ETC)[ETC]
    assert (ETC, Kind.FILE, 0o600) == (entry.path, entry.kind, entry.mode)


def test_a_later_entry_of_a_foreign_layer_replaces_an_earlier_one() -> None:
    assert b"2" == Layers().add(member(ETC, b"1"), member(ETC, b"2")).below.read(ETC)


def test_of_our_own_layers_no_more_is_unpacked_than_needed() -> None:
    # What follows the file would be refused, were it looked at.
    junk = member(b"b", b"", checksum=b"000000\0 ")
    ours = Layers().add(member(ETC, b"1"), junk, key="gzip-5")
    foreign = Layers().add(member(ETC, b"1"), junk)

    assert b"1" == ours.below.read(ETC)
    with pytest.raises(ArchiveError, match="checksum"):
        foreign.below.read(ETC)


def test_bytes_that_changed_in_the_store_are_never_used() -> None:
    layers = Layers().add(member(ETC, b"1"), key="gzip-5")
    digest = layers.layers[0].blob.digest
    other = gzip.compress(member(ETC, b"2") + END)
    layers.store._blobs[digest] = other

    with pytest.raises(DigestMismatch):
        layers.below.read(ETC)


def test_a_huge_file_is_refused_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("immutable.below._MAX_FILE", 1000)

    with pytest.raises(EntryError, match="etc/passwd: a layer below has more than 1000 bytes"):
        Layers().add(member(ETC, bytes(1001))).below.read(ETC)


def test_a_path_that_is_no_file_has_no_content() -> None:
    assert Layers().add(directory(ETC)).below.read(ETC) is None


@pytest.mark.parametrize(
    ("marked", "mark"),
    [
        (
            pax((b"SCHILY.xattr.trusted.overlay.opaque", b"y")) + directory(b"etc"),
            "etc: a layer below has the extended attribute trusted.overlay.opaque there",
        ),
        (
            block(ETC, flag=b"3"),
            "etc/passwd: a layer below has the character device 0:0 there",
        ),
    ],
)
def test_overlay_marks_on_the_way_are_refused(marked: bytes, mark: str) -> None:
    below = Layers().add(member(ETC, b"1"), member(b"a", b"2")).add(marked).below

    assert b"2" == below.read(b"a")
    with pytest.raises(EntryError, match=f"^{mark}$"):
        below.read(ETC)
