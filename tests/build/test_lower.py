"""Reading what the layers beneath leave: whiteouts, links, replaced paths."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.build import lower
from immutable.build.lower import LowerLayers
from immutable.content.entries import EntryKind
from immutable.errors import ArchiveError, DigestMismatch, EntryError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, ImageConfig, Manifest
from immutable.spec.derivation import AS_IS, NO_ANSWERS, Realisation
from immutable.store import MemoryStore
from immutable.transports import copy
from tests.support import needs
from tests.support.archives import END, block, directory, hardlink, member, pax, symlink
from tests.support.entries import content
from tests.support.images import AMD64, MemoryTransport

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
        made = Realisation(blob.digest, NO_ANSWERS, key, Digest.of(b"".join(members) + END), blob)
        self.layers.append(made)
        return self

    @property
    def lower(self) -> LowerLayers:
        return LowerLayers(self.store, self.layers)


def test_the_topmost_entry_counts() -> None:
    lower = Layers().add(member(ETC, b"1")).add(member(ETC, b"2", mode=0o600)).lower

    assert b"2" == lower.read(ETC)
    assert 0o600 == lower.find(ETC)[ETC].mode


def test_what_is_nowhere_is_not_found() -> None:
    lower = Layers().add(member(b"a", b"1")).lower

    assert {} == lower.find(ETC, b"b")
    assert lower.read(ETC) is None
    assert {} == LowerLayers(MemoryStore(), []).find(ETC)


def test_everything_is_found_in_one_look() -> None:
    layers = Layers().add(member(b"a", b"1"), directory(b"d")).add(symlink(b"l", b"a"))

    found = layers.lower.find(b"a", b"d", b"l", b"none")

    assert {b"a": EntryKind.FILE, b"d": EntryKind.DIRECTORY, b"l": EntryKind.SYMLINK} == {
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
    lower = Layers().add(member(ETC, b"1")).add(hiding).lower

    assert lower.read(ETC) is None


@pytest.mark.parametrize("hiding", [b"etc/.wh.passwd", b"etc/.wh..wh..opq"])
def test_whiteouts_say_nothing_of_their_own_layer(hiding: bytes) -> None:
    for members in (
        (member(hiding), member(ETC, b"2")),
        (member(ETC, b"2"), member(hiding)),
    ):
        assert b"2" == Layers().add(member(ETC, b"1")).add(*members).lower.read(ETC)


def test_other_names_are_not_hidden() -> None:
    layers = Layers().add(member(ETC, b"1"), member(b"etc2/x", b"3"))

    lower = layers.add(member(b"etc/.wh.pass"), member(b".wh.et")).lower

    assert b"1" == lower.read(ETC)
    assert b"3" == lower.read(b"etc2/x")


def test_what_comes_back_after_a_whiteout_is_there() -> None:
    layers = Layers().add(member(ETC, b"1")).add(member(b".wh.etc")).add(member(ETC, b"3"))

    assert b"3" == layers.lower.read(ETC)


def test_a_hard_link_is_the_file_of_its_own_layer() -> None:
    layers = Layers().add(member(b"a", b"1", mode=0o600), hardlink(ETC, b"a"))

    lower = layers.add(member(b"a", b"2")).lower

    assert b"1" == lower.read(ETC)
    entry = lower.find(ETC)[ETC]
    assert (ETC, EntryKind.FILE, 0o600) == (entry.path, entry.kind, entry.mode)


# A layer is unpacked in its order, and what comes later takes the place of what was there. So a
# link is what its target was then. With each: what engines see at ETC in the end.
FIRST, SECOND = member(b"x", b"first"), member(b"x", b"second")
LINKED: dict[str, tuple[list[bytes], bytes]] = {
    "target replaced": ([FIRST + hardlink(ETC, b"x") + SECOND], b"first"),
    "link again": ([FIRST + hardlink(ETC, b"x") + SECOND + hardlink(ETC, b"x")], b"second"),
    "chain": ([FIRST + hardlink(b"y", b"x") + SECOND + hardlink(ETC, b"y")], b"first"),
    "longer chain": (
        [FIRST + hardlink(b"y", b"x") + SECOND + hardlink(b"z", b"y") + hardlink(b"y", b"x")
         + hardlink(ETC, b"z")],
        b"first",
    ),
    "target becomes a directory": (
        [FIRST + hardlink(ETC, b"x") + directory(b"x") + member(b"x/y", b"second")],
        b"first",
    ),
    "target becomes a symlink": (
        [member(b"y", b"second") + FIRST + hardlink(ETC, b"x") + symlink(b"x", b"y")],
        b"first",
    ),
    "target becomes a link": (
        [member(b"y", b"second") + FIRST + hardlink(ETC, b"x") + hardlink(b"x", b"y")],
        b"first",
    ),
    "link replaced": ([FIRST + hardlink(ETC, b"x") + member(ETC, b"own")], b"own"),
    "link back": ([member(ETC, b"own") + hardlink(b"x", ETC) + member(ETC, b"new")], b"new"),
    "file replaced by a link": ([member(ETC, b"own") + FIRST + hardlink(ETC, b"x")], b"first"),
    "link of what it was": (
        [member(ETC, b"own") + hardlink(b"x", ETC) + member(ETC, b"new") + hardlink(ETC, b"x")],
        b"own",
    ),
    "target replaced above": ([FIRST + hardlink(ETC, b"x"), SECOND], b"first"),
    "target whited out above": ([FIRST + hardlink(ETC, b"x"), member(b".wh.x")], b"first"),
    "target there beneath": ([SECOND, FIRST + hardlink(ETC, b"x")], b"first"),
}  # fmt: skip


@pytest.mark.parametrize("case", LINKED)
def test_a_hard_link_is_what_its_target_was_when_it_was_made(case: str) -> None:
    layers, expected = LINKED[case]
    lower = Layers()
    for one in layers:
        lower.add(one)
    assert expected == lower.lower.read(ETC)
    # Whether the target is asked for too makes no difference.
    assert expected == content(lower.lower.find(ETC, b"x", b"y", b"z")[ETC])


@pytest.mark.tools
@needs.tool("umoci")
@pytest.mark.parametrize("case", LINKED)
def test_umoci_unpacks_what_we_see(tmp_path: Path, case: str) -> None:
    layers, expected = LINKED[case]
    there = MemoryTransport()
    tars = [one + END for one in layers]
    config = ImageConfig(AMD64, "1970-01-01T00:00:00Z", tuple(map(Digest.of, tars)))
    blobs = tuple(there.add(one, oci.LAYER) for one in tars)
    there.add_manifest(Manifest(there.add(config.encode(), oci.CONFIG), blobs))
    copy(there, f"oci:{tmp_path / 'layout'}:web")
    command = ("umoci", "unpack", "--rootless", "--image", "layout:web", "bundle")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert 0 == done.returncode, done.stderr.decode()
    assert expected == (tmp_path / "bundle/rootfs/etc/passwd").read_bytes()


PLACES = st.sampled_from([ETC, b"x", b"y", b"z"])


@given(st.lists(st.tuples(PLACES, st.none() | PLACES), max_size=12))
def test_a_layer_is_what_comes_of_unpacking_it_in_order(
    steps: list[tuple[bytes, bytes | None]],
) -> None:
    unpacked: dict[bytes, bytes] = {}
    members = []
    for number, (path, target) in enumerate(steps):
        if target is None:
            unpacked[path] = b"%d" % number
            members.append(member(path, unpacked[path]))
        elif target in unpacked and target != path:
            unpacked[path] = unpacked[target]
            members.append(hardlink(path, target))
    lower = Layers().add(*members).lower
    found = lower.find(ETC, b"x", b"y", b"z")
    assert unpacked == {path: content(entry) for path, entry in found.items()}
    for path, expected in unpacked.items():
        assert expected == lower.read(path)


def test_a_hard_link_to_a_file_beneath_is_refused() -> None:
    layers = Layers().add(member(b"x", b"1")).add(hardlink(ETC, b"x"))
    with pytest.raises(ArchiveError, match="a hard link to x, which is not there before it"):
        layers.lower.find(ETC)


def test_a_hard_link_is_no_way_around_overlay_marks() -> None:
    layers = Layers().add(block(b"x", flag=b"3"), hardlink(ETC, b"x"))
    with pytest.raises(EntryError, match="etc/passwd: a layer below has the character device 0:0"):
        layers.lower.find(ETC)


def test_a_hard_link_to_a_symlink_is_a_symlink() -> None:
    entry = Layers().add(symlink(b"x", b"y"), hardlink(ETC, b"x")).lower.find(ETC)[ETC]
    assert (ETC, EntryKind.SYMLINK, b"y") == (entry.path, entry.kind, entry.target)


def test_a_hard_link_to_a_whiteout_is_no_error_of_ours() -> None:
    assert b"" == Layers().add(member(b".wh.x"), hardlink(ETC, b".wh.x")).lower.read(ETC)


def test_a_later_entry_of_a_foreign_layer_replaces_an_earlier_one() -> None:
    assert b"2" == Layers().add(member(ETC, b"1"), member(ETC, b"2")).lower.read(ETC)


def test_of_our_own_layers_no_more_is_unpacked_than_needed() -> None:
    # What follows the file would be refused, were it looked at.
    junk = member(b"b", b"", checksum=b"000000\0 ")
    ours = Layers().add(member(ETC, b"1"), junk, key="gzip-5")
    foreign = Layers().add(member(ETC, b"1"), junk)

    assert b"1" == ours.lower.read(ETC)
    with pytest.raises(ArchiveError, match="checksum"):
        foreign.lower.read(ETC)


def test_bytes_that_changed_in_the_store_are_never_used() -> None:
    layers = Layers().add(member(ETC, b"1"), key="gzip-5")
    digest = layers.layers[0].blob.digest
    other = gzip.compress(member(ETC, b"2") + END)
    layers.store._blobs[digest] = other

    with pytest.raises(DigestMismatch):
        layers.lower.read(ETC)


def test_a_huge_file_is_refused_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower, "_MAX_FILE", 1000)

    with pytest.raises(EntryError, match="etc/passwd: a layer below has more than 1000 bytes"):
        Layers().add(member(ETC, bytes(1001))).lower.read(ETC)


def test_a_path_that_is_no_file_has_no_content() -> None:
    assert Layers().add(directory(ETC)).lower.read(ETC) is None


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
    lower = Layers().add(member(ETC, b"1"), member(b"a", b"2")).add(marked).lower

    assert b"2" == lower.read(b"a")
    with pytest.raises(EntryError, match=f"^{mark}$"):
        lower.read(ETC)
