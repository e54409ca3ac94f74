"""Root file systems of stored layers are what the kernel's overlayfs shows of the layers.

Umoci, which unpacks each layer over those under it, is compared where both agree.
"""

from __future__ import annotations

import gzip
import hashlib
import stat
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immutable.build.contents import LayerContents, StoredRootfs
from immutable.content.compat import zstd
from immutable.oci import documents as oci
from immutable.oci.documents import Descriptor
from immutable.store import MemoryStore
from immutable.store.layout import Layout
from tests.support import needs
from tests.support import overlay as kernel
from tests.support.archives import END, block, directory, hardlink, member, pax, sparse, symlink
from tests.support.overlay import Overlay, Shown
from tests.support.shown import shown
from tests.support.specs import layout_image
from tests.support.strategies import layer_tars, marked_layers

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "none": bytes,
}
HOW = st.lists(st.sampled_from(sorted(PACKED)), min_size=6, max_size=6)


@pytest.fixture(scope="module")
def overlay() -> Iterator[Overlay]:
    process = Overlay()
    yield process
    process.close()


def stored(tars: Sequence[bytes], how: Sequence[str]) -> StoredRootfs:
    store = MemoryStore()
    blobs = [PACKED[one](tar) for tar, one in zip(tars, how, strict=False)]
    layers = [Descriptor(oci.LAYER_GZIP, store.put_blob(blob), len(blob)) for blob in blobs]
    return LayerContents(store).rootfs(layers)


def check(expected: dict[bytes, Shown], root: StoredRootfs) -> None:
    """Hold a root file system to what was seen, however it is read."""
    found = shown(root)
    assert expected == found
    sparse = {path for path in found if found[path].inode == path}
    seen = {path: one for path, one in expected.items() if path not in sparse}
    ours = {path: one for path, one in found.items() if path not in sparse}
    assert kernel.together(seen) == kernel.together(ours)
    for path, one in found.items():
        if one.type == stat.S_IFREG:
            there = root.rootfs.find(path)
            assert there is not None
            data = b"".join(root.content(there).read())
            assert one.sha256 == hashlib.sha256(data).hexdigest()
            assert data == root.read(path, limit=one.size)


CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # cap_net_raw+ep
LIB = directory(b"usr/") + directory(b"usr/lib/") + symlink(b"lib", b"usr/lib")


def own(path: bytes, **fields: int) -> bytes:
    """A directory with attributes of its own."""
    note = pax((b"SCHILY.xattr.security.note", b"1"), (b"SCHILY.xattr.user.a", b"\0\xff"))
    return note + directory(path, **{"mode": 0o1770, "uid": 1000, "gid": 1001, **fields})


CASES: dict[str, list[bytes]] = {
    "no layer": [],
    "an empty layer": [b"", member(b"a", b"1"), b""],
    "whiteout of a file": [member(b"a/x") + member(b"a/y"), member(b"a/.wh.x")],
    "whiteout of a directory": [own(b"a/") + member(b"a/x/y"), member(b".wh.a")],
    "whiteout of a link": [LIB, member(b".wh.lib")],
    "whiteout of nothing": [member(b"b"), member(b".wh.a") + member(b"c/.wh.d")],
    "whiteout below a link": [LIB + member(b"usr/lib/x"), member(b"lib/.wh.x")],
    "whiteout and back": [own(b"a/") + member(b"a/x"), member(b".wh.a"), member(b"a/y")],
    "whiteout and back in one layer": [own(b"a/") + member(b"a/x"), member(b".wh.a") + own(b"a/")],
    "whiteout and back, implied": [own(b"a/") + member(b"a/x"), member(b"a/y") + member(b".wh.a")],
    "opaque": [own(b"a/") + member(b"a/x"), own(b"a/", uid=7) + member(b"a/.wh..wh..opq")],
    "opaque without an entry": [own(b"a/") + member(b"a/x"), member(b"a/.wh..wh..opq")],
    "opaque over a file": [member(b"a", b"1"), member(b"a/.wh..wh..opq") + member(b"a/x")],
    "opaque below another": [
        own(b"a/") + own(b"a/b/") + member(b"a/b/x") + member(b"a/c"),
        member(b"a/b/.wh..wh..opq") + member(b"a/b/y"),
        member(b"a/.wh..wh..opq") + member(b"a/b/z"),
    ],
    "file over a directory": [own(b"a/") + member(b"a/x"), member(b"a", b"1")],
    "directory over a file": [member(b"a", b"1"), own(b"a/")],
    "file in the place of a file": [member(b"a", b"1"), member(b"a/x", b"2")],
    "hidden by a file, then a directory": [member(b"a/x"), member(b"a"), member(b"a/y")],
    "link replaced by what goes through it": [LIB + member(b"usr/lib/x"), member(b"lib/y")],
    "link replaced by a directory": [LIB + member(b"usr/lib/x"), own(b"lib/") + member(b"lib/y")],
    "link replaced by a file": [LIB, member(b"lib", b"1")],
    "link replaced by a link": [LIB, symlink(b"lib", b"usr")],
    "directory replaced by a link": [own(b"lib/") + member(b"lib/x"), LIB],
    "file replaced by a link": [member(b"lib", b"1"), LIB],
    "directories merged": [
        own(b"a/") + member(b"a/x"),
        directory(b"a/", mode=0o711, uid=3) + member(b"a/y"),
        own(b"a/", gid=9) + member(b"a/z"),
    ],
    "directory passed through": [own(b"a/") + own(b"a/b/"), member(b"a/b/x"), member(b"a/b/y")],
    "setgid directory passed through": [own(b"a/", mode=0o2775), member(b"a/b/x")],
    "owners": [
        member(b"a", uid=2097151, gid=1, mode=0o6755)
        + pax((b"uid", b"4294967294"), (b"gid", b"2097152"))
        + member(b"b", mode=0)
        + symlink(b"c", b"a", uid=5, gid=6, mode=0o600)
    ],
    "capabilities": [
        pax((b"SCHILY.xattr.security.capability", CAPABILITY)) + member(b"ping", b"1", mode=0o755),
        member(b"ping", b"1", mode=0o755),
        pax((b"SCHILY.xattr.security.capability", CAPABILITY)) + member(b"pong", b"2", uid=7),
    ],
    "devices and FIFOs": [
        block(b"c", flag=b"3", device=(1, 3), mode=0o666)
        + block(b"b", flag=b"4", device=(259, 70000), uid=1, gid=6)
        + block(b"p", flag=b"6", mode=0o600, gid=7),
        member(b"c", b"1") + block(b"p", flag=b"4", device=(7, 1)) + member(b".wh.b"),
    ],
    "hard links": [
        member(b"a", b"old", mode=0o640, uid=3)
        + hardlink(b"b", b"a")
        + hardlink(b"c/d", b"b")
        + member(b"a", b"new")
        + hardlink(b"e", b"a"),
    ],
    "hard links, one replaced above": [
        member(b"a", b"1") + hardlink(b"b", b"a") + hardlink(b"c", b"a"),
        member(b"b", b"2"),
        member(b".wh.a"),
    ],
    "hard links to what is no file": [
        symlink(b"l", b"x", uid=4)
        + hardlink(b"a", b"l")
        + block(b"n", flag=b"3", device=(1, 3))
        + hardlink(b"b", b"n")
    ],
    "sparse": [
        member(b"0", b"1")
        + sparse(b"a", b"abc", after=1000, mode=0o600, uid=2)
        + sparse(b"b/c", b"abc")
        + hardlink(b"d", b"b/c")
        + sparse(b"e", b"abc", (b"SCHILY.xattr.user.a", b"1"), before=0, after=9)
    ],
    "names around a slash": [
        member(b"a/x", b"1") + member(b"a-b/x", b"2") + member(b"a.b", b"3"),
        member(b"a-b/.wh.x") + member(b"a/a") + member(b"a.b", b"4"),
    ],
    "names that are no text": [member(b"\xff/\xc3"), member(b"\xff/.wh.\xc3") + member(b"\xff/a")],
    "six layers": [
        own(b"a/") + LIB,
        member(b"a/x") + member(b"lib/x"),
        symlink(b"a", b"lib"),
        member(b"a/y") + member(b"lib/.wh.x"),
        own(b"a/", uid=8) + member(b"usr/.wh..wh..opq"),
        member(b"a/.wh.y") + member(b"usr/lib/z"),
    ],
}  # fmt: skip


@needs.overlay()
@pytest.mark.parametrize("how", PACKED)
@pytest.mark.parametrize("case", CASES)
def test_each_case_is_what_a_kernel_overlay_mount_shows(
    overlay: Overlay, case: str, how: str
) -> None:
    tars = [one + END for one in CASES[case]]
    check(overlay.shows(tars), stored(tars, [how] * len(tars)))


@needs.overlay()
@settings(deadline=None, max_examples=2 * settings().max_examples)
@given(tars=st.lists(layer_tars(), max_size=6), how=HOW)
def test_a_root_file_system_is_what_a_kernel_overlay_mount_shows(
    overlay: Overlay, tars: list[bytes], how: list[str]
) -> None:
    check(overlay.shows(tars), stored(tars, how))


def unpacked(tars: Sequence[bytes]) -> dict[bytes, Shown]:
    """What umoci unpacks of an image with these layers."""
    with tempfile.TemporaryDirectory() as place:
        layout_image(Layout.create(Path(place) / "layout"), *tars, name="web")
        command = ("umoci", "unpack", "--image", "layout:web", "bundle")
        done = subprocess.run(command, cwd=place, capture_output=True, check=False)
        assert 0 == done.returncode, done.stderr.decode()
        return kernel.look(f"{place}/bundle/rootfs".encode())


@needs.overlay()
@settings(deadline=None)
@given(
    lower=st.lists(layer_tars(), min_size=1, max_size=2),
    upper=st.lists(marked_layers(), min_size=1, max_size=2),
)
def test_whiteouts_that_we_write_hide_for_the_kernel_what_they_hide_for_us(
    overlay: Overlay, lower: list[bytes], upper: list[bytes]
) -> None:
    tars = [*lower, *upper]
    check(overlay.shows(tars), stored(tars, ["none"] * len(tars)))


@pytest.mark.tools
@needs.tool("umoci")
@needs.root()
@settings(deadline=None)
@given(tars=st.lists(layer_tars(plain=True), min_size=1, max_size=6), how=HOW)
def test_a_root_file_system_is_what_umoci_unpacks(tars: list[bytes], how: list[str]) -> None:
    """Hold it to umoci for layers that engines unpack alike.

    Without an entry for a directory, umoci goes through a link that is beneath. Where a tar has
    a file and then a directory at one path, umoci has taken away what was beneath by then.
    """
    check(unpacked(tars), stored(tars, how))
