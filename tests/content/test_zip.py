from __future__ import annotations

import contextlib
import io
import shutil
import stat
import struct
import subprocess
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from immutable.content.archives.zip import read_zip
from immutable.content.entries import Entry, EntryKind, Inline
from immutable.content.tar.reader import DEFAULT
from immutable.errors import ArchiveError
from tests.support.archives import Zipped, deflate, zipped

LINK = stat.S_IFLNK | 0o777
DIRECTORY = stat.S_IFDIR | 0o755
ONE = Zipped(b"f", b"some data")


def listed(data: bytes, **options: Any) -> list[Entry]:
    """Return the archive's entries, files with their content in memory."""
    with tempfile.TemporaryFile() as scratch:
        entries = read_zip(io.BytesIO(data), name="a.zip", scratch=scratch, **options)
        return [
            evolve(entry, content=Inline(b"".join(entry.content.read())))
            if entry.content
            else entry
            for entry in entries
        ]


def refused(data: bytes, *parts: str, **options: Any) -> None:
    with pytest.raises(ArchiveError) as caught:
        listed(data, **options)
    message = str(caught.value)
    assert message.startswith("a.zip: ")
    for part in parts:
        assert part in message


def file(path: bytes, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(path, EntryKind.FILE, mode, content=Inline(data))


def test_every_kind_of_entry() -> None:
    data = zipped(
        Zipped(b"d/", mode=DIRECTORY),
        Zipped(b"d/deflated", b"x" * 1000),
        Zipped(b"d/stored", b"x" * 1000, method=0),
        Zipped(b"./run", b"#!", mode=stat.S_IFREG | 0o755),
        Zipped(b"link", b"d/stored", method=0, mode=LINK),
        Zipped(b"empty"),
    )
    assert listed(data) == [
        Entry(b"d", EntryKind.DIRECTORY, 0o755),
        file(b"d/deflated", b"x" * 1000),
        file(b"d/stored", b"x" * 1000),
        file(b"run", b"#!", 0o755),
        Entry(b"link", EntryKind.SYMLINK, 0o777, target=b"d/stored"),
        file(b"empty", b""),
    ]


def test_a_directory_may_come_after_what_is_in_it() -> None:
    folder = Zipped(b"d/", mode=DIRECTORY)
    made = listed(zipped(Zipped(b"d/f", b"x"), folder))
    assert made == [file(b"d/f", b"x"), Entry(b"d", EntryKind.DIRECTORY, 0o755)]
    refused(zipped(Zipped(b"d/f"), folder, folder), "d: claimed twice, as a directory and as a")
    refused(zipped(Zipped(b"d/f"), Zipped(b"d")), "d: claimed twice, as a directory and as a file")
    refused(
        zipped(Zipped(b"d/f"), Zipped(b"d", b"/etc", mode=LINK)),
        "d: claimed twice, as a directory and as a symlink",
    )


def test_modes_where_there_are_none() -> None:
    data = zipped(Zipped(b"d/", host=0, mode=0xFFFF), Zipped(b"f", b"x", mode=0))
    assert listed(data) == [Entry(b"d", EntryKind.DIRECTORY, 0o755), file(b"f", b"x")]


def test_an_empty_archive() -> None:
    assert [] == listed(zipped())


def test_a_comment() -> None:
    assert listed(zipped(Zipped(b"f", b"x"), comment=b"hello")) == [file(b"f", b"x")]


def test_names_and_their_encodings() -> None:
    name = "café"
    data = zipped(
        Zipped(name.encode() + b"1", flags=1 << 11),
        Zipped(name.encode("latin-1") + b"2"),
        Zipped(name.encode("cp437") + b"3", host=0),
    )
    assert [entry.path for entry in listed(data)] == [
        name.encode() + b"1",
        name.encode("latin-1") + b"2",
        name.encode() + b"3",
    ]


@pytest.mark.parametrize("signature", [b"PK\x07\x08", b""])
@pytest.mark.parametrize("layout", ["<III", "<IQQ"])
def test_data_descriptors(signature: bytes, layout: str) -> None:
    one = Zipped(b"f", b"x" * 100, flags=8)
    one = evolve(one, descriptor=signature + struct.pack(layout, *one.sums))
    assert listed(zipped(one, Zipped(b"g"))) == [file(b"f", b"x" * 100), file(b"g", b"")]


def zip64(
    *, size: int = 4, offset: int = 0, record: dict[int, int] | None = None, count: int = 1
) -> bytes:
    """Return a zip of one stored member that says everything in ZIP64 fields."""
    crc, big = zlib.crc32(b"data"), 0xFFFFFFFF
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    local = struct.pack("<4sHHHIIIIHH", b"PK\x03\x04", 45, 0, 0, 0, crc, big, big, 1, len(extra))
    body = local + b"f" + extra + b"data"
    extra = struct.pack("<HHQQQ", 1, 24, size, size, offset)
    head = (b"PK\x01\x02", 3 << 8 | 45, 45, 0, 0, 0, crc, big, big, 1, len(extra), 0, 0, 0)
    central = struct.pack("<4sHHHHIIIIHHHHHII", *head, 0o100644 << 16, big) + b"f" + extra
    fields = [b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(central), len(body)]
    for index, value in (record or {}).items():
        fields[index] = value
    end64 = struct.pack("<4sQHHIIQQQQ", *fields)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(body) + len(central), 1)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, big, big, 0)
    return body + central + end64 + locator + end


def test_zip64() -> None:
    assert listed(zip64()) == [file(b"f", b"data")]


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (zip64(size=5), "f: overlap: reaches into the directory"),
        (zip64(size=(1 << 64) - 1), "f: overlap: reaches into the directory"),
        (zip64(offset=(1 << 64) - 1), "f: gap"),
        (zip64(offset=1), "f: gap: expected byte 0, found 1"),
        (zip64(record={1: 45}), "ZIP64 end record"),
        (zip64(record={4: 1}), "expected 0, found 1"),
        (zip64(record={9: 1 << 62}), "expected the directory to end at byte"),
        (zip64(count=1 << 40), "1099511627776 members; at most"),
        (zip64(count=2), "expected a central header"),
        (zip64(count=0), "more than its headers"),
    ],
)
def test_zip64_refused(data: bytes, part: str) -> None:
    refused(data, part)


def test_a_part_of_an_archive() -> None:
    data = bytearray(zipped(ONE))
    data[-18] = 1
    refused(bytes(data), "one part of an archive of several")


def test_a_zip64_end_that_disagrees() -> None:
    data = bytearray(zip64())
    data[-14:-10] = struct.pack("<HH", 3, 3)
    refused(bytes(data), "ZIP64 end record: expected 3, found 1")


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        pytest.param(b"", ["expected a zip"], id="empty"),
        pytest.param(b"no zip" * 99, ["expected a zip"], id="no zip"),
        pytest.param(zipped(ONE, before=b"#!/bin/sh\n"), ["gap: expected byte 0"], id="prefix"),
        pytest.param(b"junk" + zipped(ONE), ["expected the directory to end"], id="prepended"),
        pytest.param(zipped(ONE) + b"junk", ["junk after its end"], id="appended"),
        pytest.param(
            zipped(ONE, between=b"junk"), ["expected the directory at byte"], id="between"
        ),
        pytest.param(zipped(ONE, comment=zipped()), ["directory to end"], id="two ends"),
        pytest.param(zipped(ONE, comment=zipped() + b"x"), ["another end"], id="two ends, one cut"),
        pytest.param(zipped(ONE)[:-1], ["expected a zip"], id="cut"),
        pytest.param(zipped(ONE, ONE), ["f: claimed twice"], id="duplicate"),
        pytest.param(
            zipped(ONE, Zipped(b"./f")), ["f: claimed twice"], id="duplicate by another name"
        ),
        pytest.param(zipped(ONE, evolve(ONE, name=b"g", offset=0)), ["overlap"], id="overlap"),
        pytest.param(
            zipped(evolve(ONE, flags=1)), ["f: encrypted; expected a plain member"], id="encrypted"
        ),
        pytest.param(zipped(evolve(ONE, flags=1 << 6)), ["f: encrypted"], id="strongly encrypted"),
        pytest.param(zipped(evolve(ONE, flags=1 << 13)), ["f: masked"], id="masked"),
        pytest.param(zipped(evolve(ONE, flags=1 << 5)), ["f: a patch"], id="patch"),
        pytest.param(
            zipped(evolve(ONE, method=12, packed=b"x")), ["f: compression method 12"], id="bzip2"
        ),
        pytest.param(
            zipped(evolve(ONE, flags=1 << 11, name=b"\xff")), ["marked as UTF-8"], id="not UTF-8"
        ),
        pytest.param(zipped(evolve(ONE, name=b"../f")), ["../f: leaves the root"], id="dotdot"),
        pytest.param(zipped(evolve(ONE, name=b"/f")), ["/f: an absolute path"], id="absolute"),
        pytest.param(zipped(evolve(ONE, name=b"a\\f")), ["a backslash"], id="backslash"),
        pytest.param(zipped(evolve(ONE, name=b"a\0f")), ["a NUL"], id="NUL"),
        pytest.param(zipped(evolve(ONE, name=b"")), ["without a name"], id="no name"),
        pytest.param(zipped(evolve(ONE, name=b".")), ["the root as a file"], id="root"),
        pytest.param(zipped(evolve(ONE, name=b"n" * 256)), ["256 bytes"], id="long name"),
        pytest.param(zipped(evolve(ONE, name=b"a/../f")), ["leaves the root"], id="dotdot within"),
        pytest.param(zipped(ONE)[:20], ["expected a zip"], id="cut in the middle"),
        pytest.param(
            zipped(Zipped(b"l", b"/etc", mode=LINK), Zipped(b"l/passwd")),
            ["l/passwd: goes through l, which is a symlink"],
            id="through a symlink",
        ),
        pytest.param(
            zipped(Zipped(b"l/f"), Zipped(b"l", b"/etc", mode=LINK)),
            ["as a directory and as a symlink"],
            id="directory swapped",
        ),
        pytest.param(zipped(Zipped(b"l", mode=LINK)), ["symlink to 0 bytes"], id="empty symlink"),
        pytest.param(
            zipped(Zipped(b"l", b"x" * 4096, mode=LINK)), ["symlink to 4096"], id="long symlink"
        ),
        pytest.param(zipped(Zipped(b"l", b"a\0b", mode=LINK)), ["a NUL"], id="NUL in a symlink"),
        pytest.param(
            zipped(Zipped(b"p", mode=stat.S_IFIFO | 0o644)), ["p: mode 10644; expected"], id="FIFO"
        ),
        pytest.param(
            zipped(Zipped(b"c", mode=stat.S_IFCHR | 0o644)), ["c: mode 20644"], id="device"
        ),
        pytest.param(
            zipped(Zipped(b"s", mode=stat.S_IFSOCK | 0o644)), ["s: mode 140644"], id="socket"
        ),
        pytest.param(zipped(Zipped(b"d", mode=DIRECTORY)), ["a directory by its mode"], id="mode"),
        pytest.param(zipped(Zipped(b"d/")), ["a file by its mode, but"], id="name"),
        pytest.param(
            zipped(Zipped(b"d/", b"x", mode=DIRECTORY)), ["directory of 1 bytes"], id="full"
        ),
        pytest.param(zipped(evolve(ONE, crc=1)), ["f: CRC: expected 00000001"], id="crc"),
        pytest.param(zipped(evolve(ONE, size=8)), ["f: more than its 8 bytes"], id="longer"),
        pytest.param(zipped(evolve(ONE, size=10)), ["expected 10 bytes, found 9"], id="shorter"),
        pytest.param(zipped(evolve(ONE, packed=b"\xff" * 9)), ["f: damaged"], id="no deflate"),
        pytest.param(
            zipped(evolve(ONE, packed=deflate(ONE.data)[:-2])),
            ["f: deflated data"],
            id="cut deflate",
        ),
        pytest.param(
            zipped(evolve(ONE, packed=deflate(ONE.data) + b"x")), ["f: deflated data"], id="junk"
        ),
        pytest.param(
            zipped(evolve(ONE, flags=8, descriptor=b"")),
            ["f: expected a data descriptor"],
            id="none",
        ),
        pytest.param(
            zipped(evolve(ONE, flags=8, descriptor=struct.pack("<III", 1, 2, 3))),
            ["f: expected a data descriptor"],
            id="wrong descriptor",
        ),
        pytest.param(
            zipped(evolve(ONE, extra=b"\x01\0\x05\0x")),
            ["extra field 0x0001: truncated"],
            id="extra",
        ),
        pytest.param(
            zipped(evolve(ONE, extra=struct.pack("<HHBIc", 0x7075, 6, 1, 0, b"g"))),
            ["f: a second name, g"],
            id="a second name",
        ),
        pytest.param(
            zipped(evolve(ONE, local_extra=struct.pack("<HHBIc", 0x7075, 6, 1, 0, b"g"))),
            ["f: a second name, g"],
            id="a second local name",
        ),
    ],
)
def test_refused(data: bytes, parts: list[str]) -> None:
    refused(data, *parts)


@pytest.mark.parametrize(
    ("local", "part"),
    [
        ({"name": b"g"}, "f: name: the central directory has b'f', the local header b'g'"),
        ({"flags": 2}, "f: flags: the central directory has 0, the local header 2"),
        ({"flags": 8}, "f: flags"),
        ({"method": 0, "packed": deflate(ONE.data)}, "f: method"),
        ({"crc": 1}, "f: CRC"),
        ({"size": 1}, "f: size: the central directory has 9, the local header 1"),
        ({"packed": b"x"}, "f: compressed size"),
    ],
)
def test_headers_that_disagree(local: dict[str, Any], part: str) -> None:
    refused(zipped(evolve(ONE, packed=deflate(ONE.data), local=local)), part)


def test_what_an_archive_may_cost() -> None:
    data = zipped(Zipped(b"a", b"xx"), Zipped(b"b", b"xx"))
    refused(data, "more than 3 bytes of content", limits=evolve(DEFAULT, content=3))
    refused(data, "2 members; at most 1", limits=evolve(DEFAULT, members=1))


def test_a_million_members_and_more_are_refused_before_they_are_read() -> None:
    refused(zip64(count=1_000_001), "1000001 members; at most 1000000")


def test_thousands_of_members_are_read() -> None:
    data = zipped(*(Zipped(b"d%d/f%d" % (number % 50, number), b"x") for number in range(5000)))
    assert 5000 == len(listed(data))


def test_directories_that_are_only_implied_count() -> None:
    deep = zipped(Zipped(b"d/" * 1000 + b"f"))
    assert 1 == len(listed(deep))
    refused(deep, "more than 1000 paths in one archive", limits=evolve(DEFAULT, members=1000))
    refused(deep, "bytes of paths in one archive", limits=evolve(DEFAULT, names=1 << 19))


def test_thousands_of_nested_directories() -> None:
    levels = [Zipped(b"d/" * level, mode=DIRECTORY) for level in range(1, 2200)]
    assert 2000 == len(listed(zipped(*levels[:2000])))
    refused(zipped(*levels), "a path of 4097 bytes; at most 4095")
    refused(zipped(Zipped(b"d/" * 10_000 + b"f")), "a path of 20001 bytes; at most 4095")


def test_a_size_that_no_such_archive_could_hold() -> None:
    liar = zipped(evolve(ONE, size=(2 << 30)))
    refused(liar, "expands to more than 1073741824 bytes and 1000 times its size")


def test_a_bomb_ends_at_the_size_that_it_admits_to() -> None:
    bomb = deflate(bytes(64 << 20))
    refused(zipped(Zipped(b"f", packed=bomb, size=10, crc=0)), "f: more than its 10 bytes")


@pytest.mark.parametrize("length", [100, 101, 255])
def test_long_names_are_kept(length: int) -> None:
    name = b"n" * length
    assert [file(name, b"x")] == listed(zipped(Zipped(name, b"x")))


def test_content_larger_than_its_pieces() -> None:
    data = bytes(range(256)) * 5000
    bomb = bytes(20 << 20)
    assert listed(zipped(Zipped(b"f", data), Zipped(b"z", bomb), Zipped(b"s", data, method=0))) == [
        file(b"f", data),
        file(b"z", bomb),
        file(b"s", data),
    ]


class _Pipe(io.RawIOBase):
    """A file that cannot seek, so zipfile writes data descriptors."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("streamed", [False, True])
def test_what_zipfile_wrote(method: int, streamed: bool) -> None:
    target: Any = _Pipe() if streamed else io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.writestr("a/f.txt", b"hello" * 100)
        archive.writestr("café", b"")
        with archive.open("big", "w", force_zip64=True) as member:
            member.write(b"x" * 1000)
        archive.comment = b"made by the standard library"
    data = bytes(target.data) if streamed else target.getvalue()
    assert [(entry.path, entry.content) for entry in listed(data)] == [
        (b"a/f.txt", Inline(b"hello" * 100)),
        ("café".encode(), Inline(b"")),
        (b"big", Inline(b"x" * 1000)),
    ]


@pytest.mark.skipif(shutil.which("zip") is None, reason="needs Info-ZIP")
def test_what_info_zip_wrote(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "run").write_bytes(b"#!")
    (tree / "d" / "run").chmod(0o755)
    (tree / "link").symlink_to("d/run")
    made = tmp_path / "made.zip"
    subprocess.run(["zip", "-qryX", str(made), "d", "link"], cwd=tree, check=True)
    entries = {entry.path: entry for entry in listed(made.read_bytes())}
    assert entries[b"d/run"] == file(b"d/run", b"#!", 0o755)
    assert b"d/run" == entries[b"link"].target
    assert entries[b"d"].kind is EntryKind.DIRECTORY


_SAMPLE = zipped(
    Zipped(b"d/", mode=DIRECTORY),
    Zipped(b"d/f", b"hello" * 40),
    Zipped(b"l", b"d/f", method=0, mode=LINK),
    evolve(ONE, flags=8, descriptor=struct.pack("<III", *ONE.sums)),
)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, len(_SAMPLE) - 1), st.binary(max_size=6)), max_size=3),
    st.integers(0, len(_SAMPLE)),
    st.sampled_from([_SAMPLE, zip64()]),
)
def test_damage_is_refused_or_read(edits: list[tuple[int, bytes]], cut: int, good: bytes) -> None:
    damaged = bytearray(good)
    for at, new in edits:
        damaged[at : at + len(new)] = new
    with contextlib.suppress(ArchiveError):
        listed(bytes(damaged[:cut] if cut % 3 == 0 else damaged))
