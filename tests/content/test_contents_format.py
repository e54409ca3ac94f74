"""Contents as bytes: what was written comes back, and nothing else is taken."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from immutable.content.contents import Contents, Frames, column
from immutable.content.contents_format import dumps, loads
from immutable.content.recorder import of_tar
from immutable.errors import StoreError
from immutable.oci.digest import Digest
from tests.support.archives import END, block, directory, hardlink, member, pax, symlink
from tests.support.strategies import layer_tars

MAGIC = b"immutable contents 1\n"
EVERYTHING = (
    directory(b"etc/", mode=0o711, uid=3),
    pax((b"SCHILY.xattr.user.a", b"1"), (b"SCHILY.xattr.user.b", b"")),
    member(b"etc/passwd", b"root", mode=0o600),
    hardlink(b"etc/passwd-", b"etc/passwd"),
    member(b"usr/lib/x", b"x" * 700),
    symlink(b"lib", b"usr/lib"),
    member(b"usr/.wh.share"),
    member(b"usr/lib/.wh..wh..opq"),
    block(b"null", flag=b"3", device=(1, 3)),
    END,
)


def everything() -> Contents:
    found = of_tar(io.BytesIO(b"".join(EVERYTHING)), name="layer")
    frames = Frames("gzip", column("Q", [0, 700, 9000]), column("Q", [0, 100, 1 << 40]))
    return evolve(found, frames=frames)


def told(contents: Contents) -> list[object]:
    """All that a table says, path by path."""
    found: list[object] = []
    for path, node in contents.walk():
        attributes = contents.attributes_of(node)
        inode = None if attributes.kind is None else contents.inode(node)
        found.append((path, attributes, inode, inode and inode.position))
    frames = contents.frames
    return [*found, frames.compression, list(frames.plain), list(frames.packed)]


def test_what_was_written_comes_back() -> None:
    assert told(everything()) == told(loads(dumps(everything()), name="layer"))
    empty = of_tar(io.BytesIO(END), name="layer")
    assert told(empty) == told(loads(dumps(empty), name="layer"))


@given(layer_tars())
def test_every_layer_comes_back(tar: bytes) -> None:
    found = of_tar(io.BytesIO(tar), name="layer")
    written = dumps(found)
    assert told(found) == told(loads(written, name="layer"))
    assert written == dumps(loads(written, name="layer"))


def test_the_bytes_are_the_same_on_every_machine() -> None:
    expected = "85ce8af10d0fff3a0cd98da77c83f3709be495992c0925724bf53a03075c71a6"
    assert Digest(expected) == Digest.of(dumps(everything()))


def test_any_damage_is_refused() -> None:
    written = dumps(everything())
    for at in range(len(written)):
        damaged = bytearray(written)
        damaged[at] ^= 1
        with pytest.raises(StoreError, match=r"^layer: expected the contents of a layer, found"):
            loads(bytes(damaged), name="layer")
    for end in range(0, len(written), 7):
        with pytest.raises(StoreError, match=r"make them again$"):
            loads(written[:end], name="layer")
    with pytest.raises(StoreError, match="not the ones that were written"):
        loads(written + b"\0", name="layer")


def test_another_version_is_refused() -> None:
    with pytest.raises(StoreError, match="another version of it"):
        loads(dumps(everything()).replace(b"contents 1", b"contents 2", 1), name="layer")


# With a checksum that holds: what no version of ours would have written


def columns(written: bytes) -> list[bytes]:
    """The digests, and the other columns, of contents as bytes."""
    rest = written[len(MAGIC) + 32 :]
    (size,) = struct.unpack_from("<Q", rest)
    found, data = [rest[8 : 8 + size]], zlib.decompress(rest[8 + size :])
    while data:
        (size,) = struct.unpack_from("<Q", data)
        found.append(data[8 : 8 + size])
        data = data[8 + size :]
    return found


def sealed(parts: list[bytes]) -> bytes:
    first, *others = (struct.pack("<Q", len(part)) + part for part in parts)
    rest = first + zlib.compress(b"".join(others))
    return MAGIC + hashlib.sha256(rest).digest() + rest


DIGESTS, NAMES, STARTS, ROWS, EXTRAS, ATTRIBUTES, TARGETS = range(7)


def test_columns_can_be_sealed_anew() -> None:
    written = dumps(everything())
    assert told(everything()) == told(loads(sealed(columns(written)), name="layer"))


@pytest.mark.parametrize(
    ("column", "old", "new", "message"),
    [
        (NAMES, b"etc/", b"zzz/", "names that are not in their order"),
        (NAMES, b"etc/", b"../", "a name that no path can have"),
        (NAMES, b"etc/", b"/", "a name that no path can have"),
        (NAMES, b"etc/", b"e\0c/", "a name that no path can have"),
        (NAMES, b"etc/", b"e/tc/", "columns of different lengths"),
        (TARGETS, b"usr/lib", b"usr\0lib", "a link to 7 bytes"),
        (ATTRIBUTES, b"user.a", b"user.z", "attributes that are not in their order"),
        (DIGESTS, b"", b"x", "other numbers of sizes, positions and digests"),
    ],
)
def test_tables_that_no_layer_has_are_refused(
    column: int, old: bytes, new: bytes, message: str
) -> None:
    parts = columns(dumps(everything()))
    parts[column] = parts[column].replace(old, new, 1)
    with pytest.raises(StoreError, match=message):
        loads(sealed(parts), name="layer")


@given(st.data())
def test_whatever_is_in_the_columns_is_a_tree_or_refused(data: st.DataObject) -> None:
    parts = columns(dumps(everything()))
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(parts) - 1))
        part = bytearray(parts[number])
        at = data.draw(st.integers(0, len(part)))
        part[at : at + data.draw(st.integers(0, 1))] = data.draw(st.binary(max_size=1))
        parts[number] = bytes(part)
    try:
        found = loads(sealed(parts), name="layer")
    except StoreError:
        return
    walked = told(found)
    assert len(found) + 3 == len(walked)


def test_columns_that_never_end_are_refused() -> None:
    parts = columns(dumps(everything()))
    first, *others = (struct.pack("<Q", len(part)) + part for part in parts)
    packed = zlib.compress(b"".join(others))
    for broken, message in ((packed[:-5], "do not end"), (packed + b"x", "do not end")):
        rest = first + broken
        with pytest.raises(StoreError, match=message):
            loads(MAGIC + hashlib.sha256(rest).digest() + rest, name="layer")
