"""What a builder is told of the layers beneath, and what a layer is found again under."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from immutable.build import beneath
from immutable.build.below import Below
from immutable.build.beneath import BeneathLayer
from immutable.build.contents import LayerContents
from immutable.builders.base import Questions
from immutable.errors import ArchiveError, DigestMismatch, EntryError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, ImageConfig, Manifest
from immutable.spec.derivation import AS_IS, NO_ANSWERS, Home, Realisation
from immutable.store import MemoryStore
from immutable.transports import copy
from tests.support import kinds, needs
from tests.support.archives import END, block, directory, hardlink, member, pax, symlink
from tests.support.entries import content
from tests.support.images import AMD64, MemoryTransport
from tests.support.specs import build, contents, layer, text, write

ETC = b"etc/passwd"


class Layers:
    """A store, and layers put into it bottom first."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.layers: list[Realisation] = []

    def add(self, *members: bytes, pack: Callable[[bytes], bytes] = gzip.compress) -> Layers:
        data = pack(b"".join(members) + END)
        blob = Descriptor(oci.LAYER_GZIP, self.store.put_blob(data), len(data))
        diff_id = Digest.of(b"".join(members) + END)
        self.layers.append(Realisation(blob.digest, NO_ANSWERS, AS_IS, diff_id, blob))
        return self

    def asked(self, **questions: object) -> BeneathLayer:
        below = Below(tuple(self.layers))
        return BeneathLayer(
            below.rootfs(LayerContents(self.store)),
            Questions(**questions),  # type: ignore[arg-type]
            diff_ids=below.diff_ids,
        )

    def read(self, path: bytes) -> bytes | None:
        return self.asked(files=(path,)).read(path)


def test_the_topmost_entry_counts() -> None:
    layers = Layers().add(member(ETC, b"1")).add(member(ETC, b"2", mode=0o600))
    found = layers.asked(files=(ETC,)).find(ETC)
    assert found is not None
    assert (b"2", 0o600) == (content(found), found.mode)


def test_what_is_nowhere_is_not_found() -> None:
    layers = Layers().add(member(b"a", b"1"))
    asked = layers.asked(paths=(b"b",), files=(ETC,), trees=(b"c",), globs=("d/*",))
    assert (None, None, None) == (asked.find(b"b"), asked.find(ETC), asked.read(ETC))
    assert ({}, {}) == (asked.within(b"c"), asked.matching("d/*"))
    assert [] == asked.rows()
    assert [] == Layers().asked(files=(ETC,)).rows()


def test_links_are_followed_to_what_is_there() -> None:
    layers = Layers().add(symlink(b"bin", b"usr/bin"), symlink(b"usr/bin/vi", b"/opt/vim"))
    asked = layers.add(member(b"opt/vim", b"1")).asked(files=(b"bin/vi",), paths=(b"bin",))
    assert b"1" == asked.read(b"bin/vi")
    found = [asked.find(path) for path in (b"bin/vi", b"bin")]
    assert [b"opt/vim", b"usr/bin"] == [one and one.path for one in found]


def test_what_was_not_asked_is_not_told() -> None:
    asked = Layers().add(member(ETC, b"1")).asked(paths=(ETC,))
    assert asked.find(ETC) is not None
    for look in (
        lambda: asked.find(b"etc"),
        lambda: asked.read(ETC),
        lambda: asked.within(b"etc"),
        lambda: asked.matching("etc/*"),
        lambda: asked.owner("web"),
        asked.everything,
    ):
        with pytest.raises(ValueError, match="was not asked about"):
            look()


def test_a_tree_is_all_that_is_in_it_with_its_bytes() -> None:
    layers = Layers().add(member(b"a/b", b"1"), symlink(b"a/c/d", b"x"), symlink(b"l", b"a"))
    found = layers.add(member(b"a/b", b"2"), member(b"ab")).asked(trees=(b"l",)).within(b"l")
    assert [b"a/b", b"a/c", b"a/c/d"] == list(found)
    assert b"2" == content(found[b"a/b"])


def test_everything_is_the_layers_and_what_they_add_up_to() -> None:
    layers = Layers().add(member(b"a", b"1"), pack=bytes).add(member(b"b", b"2"))
    asked = layers.asked(everything=True)
    found = asked.everything()

    expected = [Digest.of(member(path, data) + END) for path, data in ((b"a", b"1"), (b"b", b"2"))]
    assert [["everything", [*map(str, expected)]]] == asked.rows()
    tars = []
    for one in found.layers:
        with one.open() as tar:
            tars.append(Digest.of(tar.read()))
    assert expected == tars == [one.diff_id for one in found.layers]
    assert [b"a", b"b"] == [one.path for one in found.rootfs.children(b"")]


def test_everything_of_nothing_is_no_answer() -> None:
    asked = Layers().asked(everything=True)
    assert ([], ()) == (asked.rows(), asked.everything().layers)


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("/usr/share/doc/**", [b"usr/share/doc/a", b"usr/share/doc/b"]),
        ("usr/share/doc", [b"usr/share/doc"]),
        ("share/doc/a", [b"usr/share/doc/a"]),
        ("/usr/**/x", [b"usr/share/doc/a/x", b"usr/share/x"]),
        ("/share", [b"share"]),
        ("/usr/share/doc/a/x/y", []),
        ("/none/**", []),
    ],
)
def test_a_glob_gives_what_it_matches_and_nothing_of_what_is_in_that(
    glob: str, expected: list[bytes]
) -> None:
    layers = Layers().add(
        *(member(b"usr/share/" + name) for name in (b"doc/a/x", b"doc/b", b"x")),
        symlink(b"share", b"usr/share"),
    )
    assert expected == [*layers.asked(globs=(glob,)).matching(glob)]


def test_what_a_glob_matches_tells_nothing_that_is_not_in_the_answers() -> None:
    one, other = (Layers().add(member(b"a", b"1", mode=mode)) for mode in (0o600, 0o755))
    asked, again = (layers.asked(globs=("*",)) for layers in (one, other))
    assert asked.rows() == again.rows()
    assert asked.matching("*") == again.matching("*")


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
    assert expected == lower.read(ETC)


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
    asked = Layers().add(*members).asked(files=(ETC, b"x", b"y", b"z"))
    found = {path: asked.read(path) for path in (ETC, b"x", b"y", b"z")}
    assert unpacked == {path: data for path, data in found.items() if data is not None}


def test_a_hard_link_to_a_file_beneath_is_refused() -> None:
    layers = Layers().add(member(b"x", b"1")).add(hardlink(ETC, b"x"))
    with pytest.raises(ArchiveError, match="a hard link to x, which is not there before it"):
        layers.read(ETC)


def test_bytes_that_changed_in_the_store_are_never_used() -> None:
    layers = Layers().add(member(ETC, b"1"))
    rootfs = LayerContents(layers.store).rootfs([layers.layers[0].blob])
    layers.store._blobs[layers.layers[0].blob.digest] = gzip.compress(member(ETC, b"2") + END)
    with pytest.raises(DigestMismatch):
        BeneathLayer(rootfs, Questions(files=(ETC,))).read(ETC)
    with pytest.raises(DigestMismatch):
        layers.read(ETC)


def test_a_huge_file_is_refused_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beneath, "_MOST", 1000)
    with pytest.raises(EntryError, match="etc/passwd: expected at most 1000 bytes, found 1001"):
        Layers().add(member(ETC, bytes(1001))).read(ETC)


def test_a_path_that_is_no_file_has_no_content() -> None:
    assert Layers().add(directory(ETC)).read(ETC) is None


@pytest.mark.parametrize(
    ("marked", "mark"),
    [
        (
            pax((b"SCHILY.xattr.trusted.overlay.opaque", b"y")) + directory(b"etc"),
            "etc: layer 2 of 2 has the extended attribute trusted.overlay.opaque there",
        ),
        (
            block(ETC, flag=b"3"),
            "etc/passwd: layer 2 of 2 has the character device 0:0 there",
        ),
    ],
)
def test_overlay_marks_on_the_way_are_refused(marked: bytes, mark: str) -> None:
    layers = Layers().add(member(ETC, b"1"), member(b"a", b"2")).add(marked)
    assert b"2" == layers.read(b"a")
    with pytest.raises(EntryError, match=f"^{mark}, which engines understand"):
        layers.read(ETC)


def test_what_is_beneath_is_known_by_diff_ids_and_homes() -> None:
    layers = tuple(Layers().add(member(b"a")).add(member(b"b")).layers)
    home = Home(b"home/web", 0o700, 1, 1)
    chains = {
        Below(layers).chain,
        Below(layers[:1]).chain,
        Below(layers[::-1]).chain,
        Below(layers, (home,)).chain,
        Below((), (home,)).chain,
        Below(layers, (evolve(home, uid=2),)).chain,
        Below(layers, (evolve(home, mode=0o711),)).chain,
    }
    assert 7 == len(chains)
    assert None not in chains
    assert Below(()).chain is None


# A kind of somebody else's, which asks

MODULE = """
from typing import Any, ClassVar
from attrs import frozen
from immutable.builders.base import Builder, Questions
from immutable.content.entries import file

@frozen
class Options:
    pass

class Greeting(Builder):
    kind: ClassVar[str] = "greeting"
    options: ClassVar[type[Any]] = Options

    def derive(self, facts):
        return (self.job(facts, {}),)

    def questions(self, job):
        return Questions(files=(b"etc/os-release",))

    def entries(self, job, inputs):
        system = inputs.beneath.read(b"etc/os-release") or b"nothing"
        yield [file(b"etc/motd", b"This is " + system)]
"""


@pytest.fixture
def greeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "greeting_kind.py").write_text(MODULE)
    with kinds.installed(folder, monkeypatch, {"greeting": "greeting_kind:Greeting"}):
        yield
    sys.modules.pop("greeting_kind", None)


def system(name: str, *more: dict[str, str]) -> str:
    entries = [
        {"path": "/usr/lib/os-release", "text": name},
        {"path": "/etc/os-release", "link": "../usr/lib/os-release"},
        *more,
    ]
    return layer("files", "base", entries=entries)


def test_a_kind_of_another_package_asks_and_builds(tmp_path: Path, greeting: None) -> None:
    store, kind = MemoryStore(), layer("greeting", "hello")
    for name in ("Debian", "Alpine"):
        made = build(write(tmp_path, system(name) + kind), store).layers[1]
        assert f"This is {name}" == text(contents(store, made)["etc/motd"])
    made = build(write(tmp_path, kind), store).layers[0]
    assert "This is nothing" == text(contents(store, made)["etc/motd"])


def test_what_was_not_asked_about_may_change_beneath(tmp_path: Path, greeting: None) -> None:
    store, kind = MemoryStore(), layer("greeting", "hello")
    first = build(write(tmp_path, system("Debian") + kind), store)
    more = {"path": "/srv/other", "text": "1"}
    second = build(write(tmp_path, system("Debian", more) + kind), store)
    assert [False, True] == [one.cached for one in second.layers]
    assert first.layers[1] == evolve(second.layers[1], cached=False)
    third = build(write(tmp_path, system("Debian 12", more) + kind), store)
    assert [False, False] == [one.cached for one in third.layers]
