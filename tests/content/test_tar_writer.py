"""Tar bytes: literal headers, read back by others; and chunks that leave the stream alone."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from immutable.content import tar
from immutable.content.compression import CHUNK, cut
from immutable.content.entries import (
    Entry,
    EntryKind,
    Inline,
    arrange,
    directory,
    file,
    opaque,
    symlink,
    whiteout,
)
from immutable.content.tar.writer import chunks, header
from immutable.errors import EntryError
from immutable.oci.digest import Digest
from tests.support import archives, needs, strategies
from tests.support.entries import Sized


def never(_path: bytes, _size: int) -> bool:
    return False


def stream(*entries: Entry, cut: Callable[[bytes, int], bool] = never, limit: int = CHUNK) -> bytes:
    return b"".join(chunks(arrange([entries], mtime=0), cut, limit))


LONG = b"usr/share/" + b"d" * 80 + b"/" + b"n" * 100  # splits at the slash
TOO_LONG = b"usr/share/" + b"n" * 101
CAPABILITY = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"

CASES: dict[str, tuple[Entry, str]] = {
    "plain": (file(b"etc/motd", b"hello\n"), "434201f463ac"),
    "directory": (directory(b"srv/app", 0o2750, 1, 2), "bb58a6a0de81"),
    "symlink": (symlink(b"etc/localtime", b"/usr/share/zoneinfo/UTC"), "aa114f8dee9b"),
    "hardlink": (
        Entry(b"b", EntryKind.HARDLINK, target=b"a", content=Inline(b"x")),
        "e28dca54db9a",
    ),
    "character": (Entry(b"dev/null", EntryKind.CHARACTER, 0o666, device=(1, 3)), "cf3350ba8c2f"),
    "block": (
        Entry(b"dev/sda", EntryKind.BLOCK, 0o660, gid=6, device=(8, 2**21 - 1)),
        "9c2ffc5f61de",
    ),
    "fifo": (Entry(b"run/initctl", EntryKind.FIFO, 0o600), "92d6c1e10be3"),
    "whiteout": (whiteout(b"usr/bin/perl"), "a5cd1bd78669"),
    "whiteout in the root": (evolve(whiteout(b"a"), mtime=7), "424ffd734e94"),
    "whiteout whose name is long": (whiteout(b"n" * 97), "24862fc5d77e"),
    "opaque": (opaque(b"usr/share/doc"), "09a314f4a7d7"),
    "setuid": (file(b"bin/su", b"", 0o4755), "5932ed1b614d"),
    "name of 100": (file(b"n" * 100, b""), "54de308c6e41"),
    "directory of 99": (directory(b"n" * 99), "86344940e491"),
    "prefix": (file(LONG, b""), "398227a5afb9"),
    "prefix of 155": (file(b"p" * 155 + b"/" + b"n" * 100, b""), "08b0763a11d5"),
    "directory with prefix": (directory(b"p" * 155 + b"/" + b"n" * 99), "b42861c7223e"),
    "pax path": (file(TOO_LONG, b""), "9969009f7b6a"),
    "pax directory": (directory(b"n" * 100), "9c383e5b6429"),
    "pax path of 255": (file(b"n" * 255, b""), "9816c3b10444"),
    "not ascii": (file("usr/é".encode(), b""), "d6116253e979"),
    "not utf-8": (file(b"usr/\xff\n", b""), "363960b06e1e"),
    "link of 100": (symlink(b"a", b"l" * 100), "4191a950b8dc"),
    "pax link": (symlink(b"a", b"l" * 101), "971a9a7dc15b"),
    "link not utf-8": (symlink(b"a", b"\xfe"), "65b42101964d"),
    "8 GiB less 1": (Entry(b"a", EntryKind.FILE, content=Sized(2**33 - 1)), "0b5f90874b27"),
    "8 GiB": (Entry(b"a", EntryKind.FILE, content=Sized(2**33)), "b0b5d8596d6c"),
    "uid 2 097 151": (file(b"a", b"", uid=2**21 - 1, gid=2**21 - 1), "469a5b49e99a"),
    "uid 2 097 152": (file(b"a", b"", uid=2**21, gid=2**32 - 2), "c9e4dede470a"),
    "1969": (evolve(file(b"a", b""), mtime=-1), "fe8628e25190"),
    "2242": (evolve(file(b"a", b""), mtime=8**11 - 1), "8bcf096caf51"),
    "2242 and a second": (evolve(file(b"a", b""), mtime=8**11), "25d82294cc7e"),
    "xattr": (
        evolve(file(b"a", b""), xattrs=((b"user.z", b""), (b"security.capability", CAPABILITY))),
        "2185174c4aef",
    ),
    "all at once": (
        Entry(
            b"\xff" * 200,
            EntryKind.SYMLINK,
            0o777,
            2**31,
            2**31,
            -5,
            target="é".encode() * 300,
            xattrs=((b"user.\xff\n", b"\0=\n"),),
        ),
        "8379342dce94",
    ),
    "nothing that fits": (
        Entry(
            TOO_LONG,
            EntryKind.FILE,
            0o644,
            2**21,
            2**21,
            8**11,
            Sized(2**33),
            xattrs=((b"user.a", b"b"),),
        ),
        "f984d1687aad",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_exact_bytes(name: str) -> None:
    entry, expected = CASES[name]
    assert expected == Digest.of(header(entry)).short


def test_a_plain_header_is_the_standard_s() -> None:
    # POSIX.1-2017 pax, "ustar Interchange Format"; archives.block is another writer of it.
    entry = evolve(file(b"etc/motd", b"hello\n", 0o4755, 1, 2), mtime=3)
    assert archives.block(b"etc/motd", size=6, mode=0o4755, uid=1, gid=2, mtime=3) == header(entry)
    records = header(file(TOO_LONG, b""))[512:1024].rstrip(b"\0")
    assert archives.record(b"path", TOO_LONG) == records


def test_a_mark_is_an_empty_file_whose_name_says_so() -> None:
    # image-spec layer.md, "Whiteouts": "A whiteout file is an empty file with a special filename"
    for mark, name in ((whiteout(b"a/b"), b"a/.wh.b"), (opaque(b"a/b"), b"a/b/.wh..wh..opq")):
        assert archives.block(name, size=0, mode=0, mtime=3) == header(evolve(mark, mtime=3))


@given(strategies.entries())
def test_a_header_is_whole_blocks_and_one_where_ustar_can_hold_the_entry(entry: Entry) -> None:
    data = header(entry)
    assert 0 == len(data) % 512
    values = (entry.uid, entry.gid)
    fits = (
        entry.path.isascii()
        and len(entry.path) < 100
        and entry.target.isascii()
        and len(entry.target) <= 100
        and max(values) < 2**21
        and not entry.xattrs
    )
    assert fits == (len(data) == 512)


@given(st.integers(0, 1200))
def test_a_record_counts_itself(length: int) -> None:
    entry = evolve(file(b"a", b""), xattrs=((b"user.x", b"v" * length),))
    (size,) = [m.size for m in [tarfile.TarInfo.frombuf(header(entry)[:512], "utf-8", "strict")]]
    record = header(entry)[512 : 512 + size]
    assert size == int(record.partition(b" ")[0]) == len(record)


# Read by others


@given(strategies.trees())
def test_the_standard_library_reads_what_was_written(tree: tuple[Entry, ...]) -> None:
    arranged = {entry.path: entry for entry in arrange([tree], mtime=0)}
    with tarfile.open(
        fileobj=io.BytesIO(stream(*tree)), encoding="utf-8", errors="surrogateescape"
    ) as archive:
        members = archive.getmembers()
        assert list(arranged) == [m.name.encode("utf-8", "surrogateescape") for m in members]
        for member, entry in zip(members, arranged.values(), strict=True):
            assert (entry.kind.value, entry.mode, entry.uid, entry.gid, entry.size, 0, "", "") == (
                member.type,
                member.mode,
                member.uid,
                member.gid,
                member.size,
                member.mtime,
                member.uname,
                member.gname,
            )
            assert entry.target == member.linkname.encode("utf-8", "surrogateescape")
            if entry.kind is EntryKind.FILE:
                assert entry.content == Inline(_read(archive, member))
            found = {k: v for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr.")}
            assert {
                f"SCHILY.xattr.{key.decode('utf-8', 'surrogateescape')}": value
                for key, value in entry.xattrs
            } == {k: v.encode("utf-8", "surrogateescape") for k, v in found.items()}


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    reader = archive.extractfile(member)
    assert reader is not None
    return reader.read()


@given(strategies.trees(), st.integers(-(2**40), 2**40))
def test_our_reader_reads_what_was_written(tree: tuple[Entry, ...], mtime: int) -> None:
    arranged = arrange([tree], mtime=mtime)
    data = b"".join(chunks(arranged, cut, 1000))
    found = []
    for member in tar.read(io.BytesIO(data), name="x"):
        content = Inline(b"".join(member)) if member.entry.kind is EntryKind.FILE else None
        found.append(evolve(member.entry, content=content))
    assert list(arranged) == found


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs.tool(name)) for name in ("tar", "bsdtar")]
)
def test_other_tools_list_what_was_written(name: str, tmp_path: Path) -> None:
    plain = [e for e, _ in CASES.values() if e.size < 100 and e.kind is not EntryKind.HARDLINK]
    tree = [evolve(entry, path=b"%d/%b" % (n, entry.path)) for n, entry in enumerate(plain)]
    archive = tmp_path / "a.tar"
    archive.write_bytes(stream(*tree))
    done = subprocess.run([name, "-tf", str(archive)], capture_output=True, check=True)
    assert len(list(arrange([tree], mtime=0))) == done.stdout.count(b"\n")
    # GNU tar does not know the standard's own word for names that are not UTF-8.
    told = {line for line in done.stderr.splitlines() if b"keyword 'hdrcharset'" not in line}
    assert set() == told


# The stream


def test_an_empty_layer_is_two_zero_blocks() -> None:
    assert bytes(1024) == stream()
    assert [bytes(1024)] == [bytes(c) for c in chunks(arrange([], mtime=0), never, 9)]


def test_the_stream_is_headers_contents_and_an_end() -> None:
    one, two = file(b"a", b"x" * 513), directory(b"b")
    expected = header(two) + header(one) + b"x" * 513 + bytes(511) + bytes(1024)
    assert expected == stream(one, two)


@given(
    st.lists(strategies.trees(), max_size=3),
    st.integers(1, 3000),
    st.integers(0, 100),
)
def test_the_stream_does_not_depend_on_where_it_is_cut(
    trees: list[tuple[Entry, ...]], limit: int, percent: int
) -> None:
    apart = [[evolve(e, path=b"%d/%b" % (n, e.path)) for e in t] for n, t in enumerate(trees)]
    arranged = arrange(apart, mtime=0)

    def often(path: bytes, _size: int) -> bool:
        return zlib.crc32(path) % 100 < percent

    whole = b"".join(chunks(arranged, never, 1 << 30))
    pieces = list(chunks(arranged, often, limit))
    assert whole == b"".join(pieces)
    assert all(pieces)
    most = max((len(header(entry)) for entry in arranged), default=0)
    assert all(len(piece) <= 2 * limit + most + 1023 for piece in pieces)


def _tree(count: int) -> list[Entry]:
    return [
        file(b"usr/lib/%d/%d.py" % (n % 17, n), b"%d " % n * (n * n % 9000)) for n in range(count)
    ]


def test_each_source_begins_a_chunk() -> None:
    one, two = _tree(50), [file(b"z/%d" % n, b"z") for n in range(9)]
    together = [bytes(c) for c in chunks(arrange([one, two], mtime=0), cut, CHUNK)]
    for source in (one, two):
        alone = [bytes(c) for c in chunks(arrange([source], mtime=0), cut, CHUNK)]
        files = [chunk for chunk in alone[:-1] if chunk[156:157] != b"5"]
        assert set(files) <= set(together)


@pytest.mark.parametrize("number", range(0, 600, 37))
def test_an_insertion_moves_nothing_but_its_neighbours(number: int) -> None:
    tree = _tree(600)
    new = file(b"usr/lib/%d/%d_new.py" % (number % 17, number), b"new" * 3000)
    limit = 1 << 18

    def scaled(path: bytes, size: int) -> bool:
        return cut(path, size * 16)

    before = {bytes(c) for c in chunks(arrange([tree], mtime=0), scaled, limit)}
    after = {bytes(c) for c in chunks(arrange([[*tree, new]], mtime=0), scaled, limit)}
    assert len(before) > 40
    assert len(after - before) <= 3


def test_a_change_within_a_large_file_is_its_own_chunk() -> None:
    data = bytearray(bytes(range(256)) * 400)
    before = list(chunks(arrange([[file(b"a", bytes(data))]], mtime=0), never, 10_000))
    data[55_555] ^= 1
    after = list(chunks(arrange([[file(b"a", bytes(data))]], mtime=0), never, 10_000))
    assert [5] == [n for n, (x, y) in enumerate(zip(before, after, strict=True)) if x != y]


# Content that is not as it was described


@pytest.mark.parametrize("size", [4, 5000])
@pytest.mark.parametrize("found", [0, 3, 5, 4999, 5001, 20_000])
def test_content_of_another_length_is_refused(size: int, found: int) -> None:
    pieces = tuple(b"x" * min(1000, found - start) for start in range(0, found, 1000))
    entry = Entry(b"usr/a", EntryKind.FILE, content=Sized(size, pieces))
    shown = str(found) if found < size else "more"
    with pytest.raises(EntryError) as caught:
        stream(entry, limit=1024)
    assert f"usr/a: expected {size} bytes, found {shown}" == str(caught.value)


def test_content_without_end_is_refused_at_once() -> None:
    @frozen
    class Endless:
        size: int = 10_000

        def read(self) -> Iterator[bytes]:
            while True:
                yield bytes(1000)

    with pytest.raises(EntryError, match="expected 10000 bytes, found more"):
        stream(Entry(b"a", EntryKind.FILE, content=Endless()), limit=1024)


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": 0o10000},
        {"mode": -1},
        {"uid": -1},
        {"gid": 2**32 - 1},
        {"mtime": 2**63},
        {"device": (2**21, 0)},
        {"device": (0, -1)},
        {"xattrs": ((b"a=b", b""),)},
        {"xattrs": ((b"a\0", b""),)},
        {"xattrs": ((b"", b""),)},
        {"xattrs": ((b"user.a", b"1"), (b"user.a", b"2"))},
    ],
)
def test_what_no_tar_can_hold_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(EntryError, match=r"^a/b: "):
        header(evolve(file(b"a/b", b""), **changes))


@needs.tool("tar")
def test_gnu_tar_unpacks_what_was_written(tmp_path: Path) -> None:
    tree = [
        file(b"bin/tool", b"#!/bin/sh\n", 0o755),
        Entry(b"bin/z", EntryKind.HARDLINK, target=b"bin/tool"),
        symlink(b"lib", b"usr/lib"),
        file(LONG, b"long"),
        file(b"n" * 255, b"name"),
        file(b"raw\xff", b"raw"),
    ]
    subprocess.run(
        ["tar", "-x", "--no-same-owner", "-C", str(tmp_path)], input=stream(*tree), check=True
    )
    found = {
        bytes(path.relative_to(tmp_path)): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert {
        b"bin/tool": b"#!/bin/sh\n",
        b"bin/z": b"#!/bin/sh\n",
        LONG: b"long",
        b"n" * 255: b"name",
        b"raw\xff": b"raw",
    } == found
    assert (tmp_path / "bin/tool").samefile(tmp_path / "bin/z")
    assert "usr/lib" == str((tmp_path / "lib").readlink())
