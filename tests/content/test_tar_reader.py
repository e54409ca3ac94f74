from __future__ import annotations

import contextlib
import gzip
import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from immutable.content import tar
from immutable.content.archives.decompress import open_stream
from immutable.content.entries import MARKS, Entry, EntryKind, Inline
from immutable.content.tar.reader import DEFAULT, Limits, read
from immutable.errors import ArchiveError
from tests.support.archives import (
    END,
    Trickle,
    block,
    directory,
    gnu_long,
    hardlink,
    member,
    padded,
    pax,
    record,
    symlink,
)
from tests.support.entries import Sized

GNU = b"ustar  \0"
ROOT = Path(__file__).parents[2]


def listed(data: bytes, **options: Any) -> list[Entry]:
    """Return the archive's entries, files with their content."""
    return [
        evolve(one.entry, content=Inline(one.read()))
        if one.entry.kind is EntryKind.FILE
        else one.entry
        for one in read(io.BytesIO(data), name="a.tar", **options)
    ]


def paths(data: bytes, **options: Any) -> list[bytes]:
    return [entry.path for entry in listed(data, **options)]


def contents(data: bytes) -> bytes:
    return b"".join(one.read() for one in read(io.BytesIO(data), name="a.tar"))


def refused(data: bytes, *parts: str, **options: Any) -> None:
    with pytest.raises(ArchiveError) as caught:
        listed(data, **options)
    message = str(caught.value)
    assert message.startswith("a.tar: ")
    for part in parts:
        assert part in message


# What is read


def test_every_kind_of_entry() -> None:
    data = (
        directory(b"./", mode=0o700)
        + directory(b"./etc/", uid=1, gid=2, mtime=3)
        + member(b"./etc/motd", b"hi\n", mode=0o4755)
        + hardlink(b"./etc/again", b"./etc/motd")
        + symlink(b"./etc/link", b"../../outside", mode=0o777)
        + block(b"dev/null", flag=b"3", device=(1, 3))
        + block(b"dev/sda", flag=b"4", device=(8, 0))
        + block(b"run/pipe", flag=b"6")
        + member(b"contiguous", b"x", flag=b"7")
        + member(b"old", b"y", flag=b"\0")
        + END
    )
    assert [
        Entry(b"etc", EntryKind.DIRECTORY, 0o755, 1, 2, 3),
        Entry(b"etc/motd", EntryKind.FILE, 0o4755, content=Inline(b"hi\n")),
        Entry(b"etc/again", EntryKind.HARDLINK, 0o644, target=b"etc/motd"),
        Entry(b"etc/link", EntryKind.SYMLINK, 0o777, target=b"../../outside"),
        Entry(b"dev/null", EntryKind.CHARACTER, 0o644, device=(1, 3)),
        Entry(b"dev/sda", EntryKind.BLOCK, 0o644, device=(8, 0)),
        Entry(b"run/pipe", EntryKind.FIFO, 0o644),
        Entry(b"contiguous", EntryKind.FILE, content=Inline(b"x")),
        Entry(b"old", EntryKind.FILE, content=Inline(b"y")),
    ] == listed(data)


def test_an_empty_archive() -> None:
    assert [] == listed(END)


def test_padding_after_the_end_mark() -> None:
    assert [b"a"] == paths(member(b"a") + END + bytes(10240))


def test_a_stream_that_reads_short() -> None:
    data = member(b"a", b"x" * 5000) + END
    stream: Any = Trickle(data, 100)
    assert [b"x" * 5000] == [one.read() for one in read(stream, name="a.tar")]


def test_content_in_pieces_of_any_length() -> None:
    for one in read(io.BytesIO(member(b"a", b"0123456789") + END), name="a.tar"):
        assert b"012" == one.read(3)
        assert b"345678" == one.read(6)
        assert b"9" == one.read(6)
        assert b"" == one.read(6)


def test_content_is_gone_after_the_next_member() -> None:
    members = read(io.BytesIO(member(b"a", b"x") + member(b"b") + END), name="a.tar")
    first = next(members)
    next(members)
    with pytest.raises(ValueError, match="next member"):
        first.read()
    with pytest.raises(ValueError, match="next member"):
        next(iter(first), None)


def test_nothing_is_read_ahead() -> None:
    stream = io.BytesIO(member(b"a", b"x" * 1000) + member(b"b", b"y") + END)
    assert [512, 2048] == [stream.tell() for _ in read(stream, name="a.tar")]


def test_unread_content_is_passed_over() -> None:
    data = member(b"a", b"x" * 1000) + member(b"b", b"y") + END
    assert [b"a", b"b"] == [one.entry.path for one in read(io.BytesIO(data), name="a.tar")]


@pytest.mark.parametrize("length", [100, 101, 255])
def test_long_names_round_trip(length: int) -> None:
    name = b"n" * length
    made = tar.header(Entry(name, EntryKind.FILE)) + END
    assert [name] == paths(made)
    assert [name] == paths(gnu_long(name) + member(b"short", magic=GNU) + END)
    assert [name] == paths(pax((b"path", name)) + member(b"short") + END)


def test_a_name_of_256_bytes_is_refused() -> None:
    name = b"n" * 256
    refused(pax((b"path", name)) + member(b"s") + END, "a name of 256 bytes", "at byte 1024")


def test_a_prefix() -> None:
    assert [b"p/q"] == paths(member(b"q", prefix=b"p") + END)
    gnu_times = b"00000000000\0" * 2
    assert [b"q"] == paths(member(b"q", magic=GNU, tail=gnu_times) + END)
    star = b"p".ljust(131, b"\0") + b"00000000000\0" * 2
    star = star.ljust(163, b"\0") + b"tar\0"
    assert [b"p/q"] == paths(member(b"q", tail=star) + END)


def test_v7() -> None:
    old = {"magic": b"", "flag": b"\0"}
    data = member(b"d/", **old) + member(b"d/f", b"x", **old) + END
    assert [(b"d", EntryKind.DIRECTORY), (b"d/f", EntryKind.FILE)] == [
        (entry.path, entry.kind) for entry in listed(data)
    ]


def test_a_directory_with_a_size_has_no_content() -> None:
    assert [b"d", b"a"] == paths(directory(b"d/", size=4096) + member(b"a") + END)


def test_names_that_are_not_utf8_keep_their_bytes() -> None:
    name = b"caf\xe9"
    assert [name] == paths(member(name) + END)
    header = pax((b"hdrcharset", b"BINARY"), (b"path", name), (b"linkpath", name))
    (entry,) = listed(header + symlink(b"s", b"t") + END)
    assert (name, name) == (entry.path, entry.target)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"-1", -1),
        (b"1.5", 1),
        (b"-1.5", -2),
        (b"-1.0", -1),
        (b"5000000000.999999999", 5000000000),
        (b"7.", 7),
    ],
)
def test_pax_times_round_down(written: bytes, expected: int) -> None:
    (entry,) = listed(pax((b"mtime", written)) + member(b"a") + END)
    assert expected == entry.mtime


def test_base_256_numbers() -> None:
    data = member(
        b"a",
        uid=b"\x80" + (3 << 21).to_bytes(7, "big"),
        gid=b"\x80" + (1 << 31).to_bytes(7, "big"),
        mtime=b"\xff" * 12,
        magic=GNU,
    )
    (entry,) = listed(data + END)
    assert (3 << 21, 1 << 31, -1) == (entry.uid, entry.gid, entry.mtime)


def test_pax_owners() -> None:
    (entry,) = listed(pax((b"uid", b"4294967294"), (b"gid", b"2097152")) + member(b"a") + END)
    assert (4294967294, 2097152) == (entry.uid, entry.gid)


@pytest.mark.parametrize("size", [(8 << 30) - 1, 8 << 30, (8 << 30) + 1])
def test_sizes_around_8_gib(size: int) -> None:
    head = tar.header(Entry(b"big", EntryKind.FILE, content=Sized(size)))
    one = next(read(io.BytesIO(head), name="a.tar"))
    assert size == one.size


def test_a_capability_byte_for_byte() -> None:
    value = bytes(range(256)) + b"\n=\n"
    header = pax((b"SCHILY.xattr.security.capability", value), (b"SCHILY.xattr.user.none", b""))
    (entry,) = listed(header + member(b"a") + END)
    assert ((b"security.capability", value), (b"user.none", b"")) == entry.xattrs


def test_global_headers_hold_until_overridden() -> None:
    data = (
        pax((b"comment", b"0" * 40), (b"uid", b"7"), (b"mtime", b"9"), flag=b"g")
        + member(b"a")
        + pax((b"uid", b"8"), (b"mtime", b""))
        + member(b"b", mtime=1)
        + pax((b"uid", b""), flag=b"g")
        + member(b"c", uid=5)
        + END
    )
    assert [(7, 9), (8, 1), (5, 9)] == [(entry.uid, entry.mtime) for entry in listed(data)]


def test_a_pax_size_before_a_gnu_long_name_is_the_files() -> None:
    """A reader that gives the long name this size takes the file's content for headers."""
    hidden = member(b"hidden", b"boo")
    data = (
        pax((b"size", b"%d" % len(hidden)))
        + gnu_long(b"long")
        + block(b"short", size=0, magic=GNU)
        + hidden
        + END
    )
    (entry,) = listed(data)
    assert b"long" == entry.path
    assert Inline(hidden) == entry.content


def test_absolute_paths_are_rerooted_only_when_told() -> None:
    data = member(b"/etc/motd") + hardlink(b"/b", b"/etc/motd") + END
    assert [b"etc/motd", b"b"] == paths(data, reroot=True)
    refused(data, "/etc/motd", "absolute")


def test_layers_may_repeat_a_path() -> None:
    data = member(b"a", b"1") + member(b"a", b"2") + symlink(b"a", b"x") + directory(b"a") + END
    kinds = [entry.kind for entry in listed(data, repeats=True)]
    assert [EntryKind.FILE, EntryKind.FILE, EntryKind.SYMLINK, EntryKind.DIRECTORY] == kinds
    refused(directory(b"a/") + symlink(b"a", b"/") + END, "place of a directory", repeats=True)
    through = symlink(b"a", b"/") + member(b"a/b") + END
    refused(through, "goes through a, which is a symlink", repeats=True)


# What is refused


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        pytest.param(member(b"../../x"), ["../../x", "leaves the root"], id="dotdot"),
        pytest.param(member(b"a/../../x"), ["leaves the root"], id="inner dotdot"),
        pytest.param(member(b"/x"), ["/x", "absolute"], id="absolute"),
        pytest.param(
            symlink(b"a", b"/etc") + member(b"a/passwd"),
            ["a/passwd", "goes through a, which is a symlink", "at byte 512"],
            id="write through a symlink",
        ),
        pytest.param(
            symlink(b"a", b"/etc") + member(b"a/b/c/passwd"), ["goes through a"], id="deep through"
        ),
        pytest.param(member(b"a") + member(b"a/b"), ["a file"], id="through a file"),
        pytest.param(symlink(b".", b"/etc"), ["the root as a symlink"], id="dot as a symlink"),
        pytest.param(symlink(b"./", b"/etc"), ["the root as a symlink"], id="dot slash"),
        pytest.param(member(b"."), ["the root as a file"], id="dot as a file"),
        pytest.param(member(b""), ["without a name"], id="no name"),
        pytest.param(hardlink(b"a", b"../x"), ["a: a hard link to", "leaves"], id="link out"),
        pytest.param(hardlink(b"a", b"/x"), ["a hard link to", "absolute"], id="absolute link"),
        pytest.param(hardlink(b"a", b"x"), ["a hard link to x", "not there"], id="missing link"),
        pytest.param(
            hardlink(b"a", b"x") + member(b"x"), ["a hard link to x", "before"], id="later link"
        ),
        pytest.param(
            directory(b"d") + hardlink(b"a", b"d"), ["a directory"], id="link to a directory"
        ),
        pytest.param(member(b"a") + hardlink(b"a", b"a"), ["itself"], id="link to itself"),
        pytest.param(hardlink(b"a", b""), ["a hard link to"], id="link to nothing"),
        pytest.param(symlink(b"a", b""), ["symlink to 0 bytes"], id="empty symlink"),
        pytest.param(
            gnu_long(b"t" * 4096, b"K") + symlink(b"a", b"x"), ["4096"], id="long symlink"
        ),
        pytest.param(
            directory(b"d/") + member(b"d/f") + symlink(b"d", b"/etc"),
            ["d: claimed twice, as a directory and as a symlink"],
            id="directory swapped",
        ),
        pytest.param(
            member(b"d/f") + symlink(b"d", b"/etc"), ["as a directory"], id="implied, swapped"
        ),
        pytest.param(member(b"a", b"1") + member(b"a", b"1"), ["claimed twice"], id="duplicate"),
        pytest.param(member(b"a") + member(b"./a"), ["claimed twice"], id="duplicate with dot"),
        pytest.param(
            block(b"a", checksum=b"0000001\0"),
            ["header checksum", "0000001", "at byte 0"],
            id="checksum",
        ),
        pytest.param(b"not a tar".ljust(512, b"!"), ["checksum"], id="no tar"),
        pytest.param(block(b"a", magic=b"ustarBAD"), ["magic"], id="magic"),
        pytest.param(block(b"a", size=b"-1"), ["a: size: expected an octal"], id="negative octal"),
        pytest.param(block(b"a", size=b"\xff" * 12), ["size: expected at least 0"], id="negative"),
        pytest.param(block(b"a", size=b"\x80" + b"\xff" * 11), ["size"], id="huge"),
        pytest.param(block(b"a", size=b"0o17"), ["octal"], id="python octal"),
        pytest.param(block(b"a", size=b"1_0"), ["octal"], id="underscore"),
        pytest.param(block(b"a", size=b"+7"), ["octal"], id="plus"),
        pytest.param(block(b"a", size=b"8"), ["octal"], id="eight"),
        pytest.param(block(b"a", uid=b"\xff" * 8), ["owner"], id="negative uid"),
        pytest.param(block(b"a", uid=b"\x80\0\0\0\xff\xff\xff\xff"), ["owner"], id="uid -1"),
        pytest.param(block(b"x", flag=b"x", size=b"\xff" * 12), ["extended header"], id="pax -1"),
        pytest.param(block(b"s", flag=b"s"), ["type b's'"], id="unknown type"),
        pytest.param(block(b"V", flag=b"V", magic=GNU), ["type b'V'"], id="volume label"),
        pytest.param(block(b"M", flag=b"M", magic=GNU), ["type b'M'"], id="multi-volume"),
        pytest.param(hardlink(b"a", b"b", size=5), ["0 for a hardlink"], id="link with a size"),
        pytest.param(symlink(b"a", b"b", size=5), ["0 for a symlink"], id="symlink with a size"),
        pytest.param(block(b"a/", size=5), ["0 for a directory"], id="V7 directory with a size"),
        pytest.param(
            block(b"a", flag=b"3", device=(b"\xff" * 8, 1)), ["device"], id="negative device"
        ),
        pytest.param(pax() + gnu_long(b"a") + gnu_long(b"b"), ["two GNU long names"], id="two L"),
        pytest.param(pax() + pax(), ["two PAX headers"], id="two x"),
        pytest.param(gnu_long(b"a", b"K") * 2, ["two GNU long links"], id="two K"),
        pytest.param(pax() + pax(flag=b"g"), ["a global header between"], id="x then g"),
        pytest.param(pax((b"path", b"a")), ["an extended header at the end"], id="x then end"),
        pytest.param(
            pax((b"path", b"a")) + gnu_long(b"b") + member(b"c"), ["two names"], id="two names"
        ),
        pytest.param(
            pax((b"linkpath", b"a")) + gnu_long(b"b", b"K") + symlink(b"c", b"d"),
            ["two targets"],
            id="two targets",
        ),
        pytest.param(pax((b"path", b"a"), flag=b"g"), ["a global header with path"], id="g path"),
        pytest.param(pax((b"size", b"1"), flag=b"g"), ["a global header with size"], id="g size"),
        pytest.param(gnu_long(b"a\0b") + member(b"c"), ["GNU long name"], id="NUL in L"),
        pytest.param(gnu_long(b"") + member(b"c"), ["GNU long name"], id="empty L"),
    ],
)
def test_refused(data: bytes, parts: list[str]) -> None:
    refused(data + END, *parts)


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        (b"0 path=a\n", "the length 0"),
        (b"00000000000000000000000 path=a\n", "decimal length"),
        (b"-9 path=a\n", "decimal length"),
        (b" path=a\n", "decimal length"),
        (b"9path=a\n", "decimal length"),
        (b"8 path=a\n", "the length 8"),
        (b"99 path=a\n", "the length 99"),
        (b"2 \n", "the length 2"),
        (b"3 \n", "keyword=value"),
        (b"9 pathaa\n", "keyword=value"),
        (b"5 =a\n", "keyword=value"),
        (b"9 path=ab", "the length 9"),
        (record(b"path", b"a\0b"), "a NUL"),
        (record(b"linkpath", b"a\0b"), "a NUL"),
        (record(b"path", b"../x"), "leaves the root"),
        (record(b"size", b"-1"), "PAX size"),
        (record(b"size", b"1.5"), "PAX size"),
        (record(b"size", b"1_0"), "PAX size"),
        (record(b"size", b"9" * 19), "PAX size"),
        (record(b"size", b"9" * 5000), "PAX size"),
        (record(b"uid", b"-1"), "PAX uid"),
        (record(b"gid", b"4294967295"), "owner"),
        (record(b"mtime", b"1e9"), "PAX mtime"),
        (record(b"mtime", b"nan"), "PAX mtime"),
        (record(b"mtime", b"9" * 19), "PAX mtime"),
        (record(b"mtime", b"\xd9\xa1"), "PAX mtime"),
        (record(b"hdrcharset", b"ISO-IR 8859 1 1998"), "hdrcharset"),
    ],
)
def test_pax_records_refused(raw: bytes, part: str) -> None:
    refused(pax(raw=raw) + member(b"a") + END, part)


def test_what_extended_headers_may_cost() -> None:
    refused(block(b"x", flag=b"x", size=(1 << 20) + 1), "an extended header of 1048577 bytes")
    refused(block(b"L", flag=b"L", size=8 << 30, magic=GNU), "an extended header of 8589934592")
    comment = pax(raw=record(b"comment", b"c" * ((1 << 20) - 20)))
    assert [b"a"] == paths(comment + member(b"a") + END)


def test_a_header_of_very_many_records() -> None:
    raw = record(b"k", b"v") * 100_000
    assert [b"a"] == paths(pax(raw=raw) + member(b"a") + END)


def test_truncated_anywhere() -> None:
    data = pax((b"path", b"long")) + member(b"a", b"x" * 700) + END
    for length in (*range(0, len(data), 100), len(data) - 1):
        refused(data[:length], "truncated")


def test_truncated_content_names_the_member() -> None:
    refused(member(b"a", b"x" * 700)[:1000], "a: truncated", "212 bytes of content missing")


def test_a_lone_zero_block() -> None:
    refused(member(b"a") + bytes(512) + member(b"b") + END, "lone zero block")


@pytest.mark.parametrize("junk", [member(b"b") + END, b"\1", bytes(600) + b"\1"])
def test_data_after_the_end_mark(junk: bytes) -> None:
    refused(member(b"a") + END + junk, "data after the end mark")


# What an archive may cost


def test_limits_are_named() -> None:
    many = b"".join(member(b"%d" % number) for number in range(4)) + END
    refused(many, "more than 3 paths", limits=evolve(DEFAULT, members=3))
    refused(many, "more than 3 bytes of paths", limits=evolve(DEFAULT, names=3))
    data = member(b"a", b"xx") + member(b"b", b"xx") + END
    refused(data, "b: more than 3 bytes of content", limits=evolve(DEFAULT, content=3))


def test_ten_thousand_nested_directories() -> None:
    refused(gnu_long(b"d/" * 10_000 + b"f") + member(b"s") + END, "a path of 20001 bytes")


def test_implied_directories_count() -> None:
    """Each path of four kilobytes implies two thousand others."""
    deep = b"".join(
        gnu_long(b"%04d/" % number + b"d/" * 2000 + b"f") + member(b"s", magic=GNU)
        for number in range(100)
    )
    refused(deep + END, "bytes of paths", limits=Limits(names=1 << 20))


_MANY = """
import io, resource, sys, time
from immutable.content.tar.reader import read
from tests.support.archives import END, member

class Stream:
    \"""An archive of `count` empty files, made as it is read.\"""
    def __init__(self, count):
        self.blocks, self.rest = self.made(count), b""
    def made(self, count):
        for number in range(0, count, 1000):
            yield b"".join(member(b"usr/share/d%d/%d" % (number, at)) for at in range(1000))
        yield END
    def read(self, length):
        while len(self.rest) < length and (block := next(self.blocks, b"")):
            self.rest += block
        data, self.rest = self.rest[:length], self.rest[length:]
        return data

list(read(Stream(1000), name="warm"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert sum(1 for _ in read(Stream(50_000), name="many")) == 50_000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 // 50_000)
"""


def test_many_entries_cost_their_paths() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MANY], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert "" == done.stderr
    assert int(done.stdout) < 250  # bytes an entry


# Sparse files

EXPANDED = bytes(4) + b"abc" + bytes(3) + b"de" + bytes(8)


def binary(value: int) -> bytes:
    """Return a field in GNU's base-256."""
    return b"\x80" + value.to_bytes(11, "big")


def old_sparse(
    *segments: tuple[int, int], real: int = 20, stored: int = 5, more: bytes = b""
) -> bytes:
    """Return an old GNU sparse file's header; `more` are the blocks in which its map goes on."""
    table = b"".join(binary(offset) + binary(length) for offset, length in segments)
    tail = bytes(41) + table.ljust(96, b"\0") + bytes([bool(more)]) + binary(real)
    return block(b"s", flag=b"S", magic=GNU, tail=tail, size=stored) + more


def pax_sparse(*records: tuple[bytes, bytes], stored: bytes = b"abcde") -> bytes:
    return pax(*((b"GNU.sparse." + key, value) for key, value in records)) + member(b"s", stored)


def pax_sparse_1(text: bytes, real: int = 20, stored: bytes = b"abcde") -> bytes:
    described = ((b"major", b"1"), (b"minor", b"0"), (b"name", b"s"), (b"realsize", b"%d" % real))
    return pax_sparse(*described, stored=padded(text) + stored)


PAX_0_0 = (
    (b"size", b"20"),
    (b"numblocks", b"2"),
    (b"offset", b"4"),
    (b"numbytes", b"3"),
    (b"offset", b"10"),
    (b"numbytes", b"2"),
)
PAX_0_1 = ((b"size", b"20"), (b"numblocks", b"2"), (b"map", b"4,3,10,2"), (b"name", b"s"))


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(old_sparse((4, 3), (10, 2)) + padded(b"abcde"), id="old"),
        pytest.param(old_sparse((4, 3), (10, 2), (20, 0)) + padded(b"abcde"), id="old with an end"),
        pytest.param(
            old_sparse((4, 3), more=(b"%011o\0%011o\0" % (10, 2)).ljust(512, b"\0"))
            + padded(b"abcde"),
            id="old, extended",
        ),
        pytest.param(pax_sparse(*PAX_0_0), id="0.0"),
        pytest.param(pax_sparse(*PAX_0_1), id="0.1"),
        pytest.param(pax_sparse_1(b"2\n4\n3\n10\n2\n"), id="1.0"),
        pytest.param(pax_sparse_1(b"3\n4\n3\n10\n2\n20\n0\n"), id="1.0 with an end"),
    ],
)
def test_sparse_files_are_expanded(header: bytes) -> None:
    data = header + member(b"next") + END
    sparse, following = listed(data)
    assert Entry(b"s", EntryKind.FILE, content=Inline(EXPANDED)) == sparse
    assert b"next" == following.path
    assert [(4, b"abc"), (10, b"de")] == [
        extent for one in read(io.BytesIO(data), name="a.tar") for extent in one.extents()
    ]


def test_a_hole_is_gone_with_its_member_too() -> None:
    """A hole at the end has no bytes that could be missing."""
    members = read(io.BytesIO(old_sparse((4, 5)) + padded(b"abcde") + END), name="a.tar")
    one = next(members)
    pieces = iter(one)
    next(members, None)
    with pytest.raises(ValueError, match="next member"):
        next(pieces, None)


def test_a_map_longer_than_a_block() -> None:
    count = 300
    text = b"%d\n" % count + b"".join(b"%d\n1\n" % (2 * at) for at in range(count))
    data = pax_sparse_1(text, real=2 * count, stored=b"x" * count) + END
    assert b"x\0" * count == contents(data)


def test_a_hole_of_sixty_gibibytes_is_not_held() -> None:
    data = old_sparse((60 << 30, 5), real=(60 << 30) + 5) + padded(b"abcde") + END
    limits = Limits(free=64 << 30)
    for one in read(io.BytesIO(data), name="a.tar", limits=limits):
        assert (60 << 30) + 5 == one.size
        assert bytes(1000) == one.read(1000)
    for one in read(io.BytesIO(data), name="a.tar", limits=limits):
        assert [(60 << 30, b"abcde")] == list(one.extents())


def test_holes_past_a_gibibyte_need_a_thousandth_of_input() -> None:
    data = old_sparse((2 << 30, 5), real=(2 << 30) + 5) + padded(b"abcde") + END
    refused(data, "s: expands to more than 1073741824 bytes and 1000 times its input")
    whole = old_sparse((1 << 30, 0), real=1 << 30, stored=0) + END
    assert [1 << 30] == [one.size for one in read(io.BytesIO(whole), name="a.tar")]


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_holes_count_against_the_compressed_input(pack: Callable[[bytes], bytes]) -> None:
    stored = 1 << 18
    real = 200 * stored
    data = old_sparse((real - stored, stored), real=real, stored=stored) + bytes(stored) + END
    stream = open_stream(io.BytesIO(pack(data)), name="a.tar")
    members = read(stream, name="a.tar", limits=Limits(free=1 << 20))
    if pack is bytes:
        assert [real] == [one.size for one in members]
    else:
        with pytest.raises(ArchiveError, match="s: expands to more than 1048576 bytes and 1000"):
            list(members)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (old_sparse((4, 3), (6, 2)), "overlap"),
        (old_sparse((10, 2), (4, 3)), "overlap"),
        (old_sparse((4, 3), (10, 11)), "past the file's 20 bytes"),
        (old_sparse((4, 3)), "expected 5 bytes, found 3"),
        (old_sparse((0, 5), real=70 << 30), "bytes of content in one archive"),
        (pax_sparse(*PAX_0_0[:-1]), "expected 2 segments, found 1.5"),
        (pax_sparse(*PAX_0_1[1:]), "GNU.sparse.size"),
        (pax_sparse((b"map", b"4,3")), "GNU.sparse.numblocks"),
        (pax_sparse((b"map", b"4,-3"), (b"numblocks", b"1")), "sparse map"),
        (pax_sparse((b"major", b"2"), (b"minor", b"0")), "found 2.0"),
        (pax_sparse_1(b"1\n-4\n3\n"), "sparse map: expected a decimal"),
        (pax_sparse_1(b"1\n" + b"4" * 2000), "sparse map: expected a decimal"),
        (pax_sparse_1(b"999999999\n"), "999999999 segments; at most 262144"),
        (pax_sparse_1(b"2\n4\n3\n10\n2\n", stored=b"abcdef"), "expected 6 bytes, found 5"),
        (pax((b"GNU.sparse.size", b"9")) + directory(b"d"), "a sparse directory"),
        (pax((b"GNU.sparse.size", b"9")) + old_sparse((4, 3)), "two maps"),
        (pax((b"GNU.sparse.name", b"x"), flag=b"g"), "a global header with GNU.sparse.name"),
    ],
)
def test_sparse_maps_refused(data: bytes, part: str) -> None:
    refused(data + padded(b"abcde") + END, part)


def test_a_long_old_map_is_bounded() -> None:
    more = (b"%011o\0%011o\0" % (4, 0)) * 21 + b"\1".ljust(8, b"\0")
    data = old_sparse((0, 0), more=more * 100)
    refused(data, "segments; at most 1000", limits=evolve(DEFAULT, segments=1000))
    refused(data, "truncated")


# Against others

_names = st.binary(min_size=1, max_size=255).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
_paths = st.lists(_names, min_size=1, max_size=5).map(b"/".join)
_texts = st.binary(min_size=1, max_size=300).map(lambda text: text.replace(b"\0", b"0"))
_xattrs = st.dictionaries(
    _texts.map(lambda name: name.replace(b"=", b"-")), st.binary(max_size=100), max_size=3
)


@st.composite
def _entries(draw: st.DrawFn) -> Entry:
    others = (EntryKind.HARDLINK, *MARKS)
    kind = draw(st.sampled_from([kind for kind in EntryKind if kind not in others]))
    numbers = st.integers(0, (1 << 21) - 1)
    return Entry(
        draw(_paths),
        kind,
        draw(st.integers(0, 0o7777)),
        draw(st.integers(0, (1 << 32) - 2)),
        draw(st.integers(0, (1 << 32) - 2)),
        draw(st.integers(-(1 << 40), 1 << 40)),
        content=Inline(draw(st.binary(max_size=1500))) if kind is EntryKind.FILE else None,
        target=draw(_texts) if kind is EntryKind.SYMLINK else b"",
        device=draw(st.tuples(numbers, numbers))
        if kind in (EntryKind.CHARACTER, EntryKind.BLOCK)
        else (0, 0),
        xattrs=tuple(draw(_xattrs).items()),
    )


@given(st.lists(_entries(), max_size=8))
def test_what_the_writer_wrote_is_read_back(entries: list[Entry]) -> None:
    entries = [
        evolve(entry, path=b"%d/" % number + entry.path) for number, entry in enumerate(entries)
    ]
    links = [
        Entry(b"links/%d" % number, EntryKind.HARDLINK, target=entry.path)
        for number, entry in enumerate(entries)
        if entry.kind is EntryKind.FILE
    ]
    data = b"".join(
        tar.header(entry) + padded(b"".join(entry.content.read()) if entry.content else b"")
        for entry in (*entries, *links)
    )
    assert [*entries, *links] == listed(data + tar.END)


_SAMPLE = (
    pax((b"path", b"long/name"), (b"mtime", b"1.5"), (b"SCHILY.xattr.user.x", b"y"))
    + member(b"a", b"x" * 600)
    + gnu_long(b"other/name")
    + member(b"b", b"y", magic=GNU)
    + hardlink(b"c", b"other/name")
    + pax_sparse_1(b"2\n4\n3\n10\n2\n")
    + old_sparse((4, 3), (10, 2)).replace(b"s\0", b"S\0", 1)
    + padded(b"abcde")
    + END
)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, len(_SAMPLE) - 1), st.binary(max_size=12)), max_size=3),
    st.integers(0, len(_SAMPLE)),
    st.booleans(),
)
def test_damage_is_refused_or_read(edits: list[tuple[int, bytes]], cut: int, mend: bool) -> None:
    """Whatever is changed, the reader gives members or one ArchiveError, and nothing else."""
    damaged = bytearray(_SAMPLE)
    for at, new in edits:
        damaged[at : at + len(new)] = new
        if mend:
            _mend_checksum(damaged, at - at % 512)
    with contextlib.suppress(ArchiveError):
        listed(bytes(damaged[:cut] if cut % 3 == 0 else damaged))


def _mend_checksum(data: bytearray, at: int) -> None:
    header = data[at : at + 512].ljust(512, b"\0")
    total = sum(header) - sum(header[148:156]) + 8 * 0x20
    data[at + 148 : at + 156] = b"%06o\0 " % total


def test_what_tarfile_wrote(tmp_path: Path) -> None:
    for style in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=style) as archive:
            for name in ("d", "d/" + "e" * 90 + "/" + "f" * 98, "caf\u00e9"):
                info = tarfile.TarInfo(name)
                info.size, info.mtime, info.uid = 3, 7, 1000
                archive.addfile(info, io.BytesIO(b"abc")) if name != "d" else None
        assert [b"d/" + b"e" * 90 + b"/" + b"f" * 98, "caf\u00e9".encode()] == paths(
            made.getvalue()
        )


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=oldgnu"],
        ["--format=pax"],
        ["--format=ustar"],
        ["--format=v7"],
        ["--format=gnu", "--sparse"],
        ["--format=pax", "--sparse", "--sparse-version=0.0"],
        ["--format=pax", "--sparse", "--sparse-version=0.1"],
        ["--format=pax", "--sparse", "--sparse-version=1.0"],
    ],
    ids=" ".join,
)
def test_what_gnu_tar_wrote(options: list[str], tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"hello" * 1000)
    (tree / "link").symlink_to("file")
    (tree / "again").hardlink_to(tree / "file")
    with (tree / "holes").open("wb") as holes:
        for number in range(40):
            holes.seek(number * 65536)
            holes.write(b"%d" % number)
        holes.truncate(45 * 65536)
    name = "n" * (90 if "v7" in options[0] else 99)
    (tree / name).write_bytes(b"")
    made = tmp_path / "made.tar"
    command = ["tar", "--sort=name", "--owner=5", "--group=6", *options, "-cf", str(made), "."]
    subprocess.run(command, cwd=tree, check=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})
    entries = {entry.path: entry for entry in listed(made.read_bytes())}
    assert [b"again", b"file", b"holes", b"link", name.encode()] == sorted(entries)
    assert EntryKind.HARDLINK is entries[b"file"].kind
    assert b"again" == entries[b"file"].target
    assert b"file" == entries[b"link"].target
    for path in (b"again", b"holes", name.encode()):
        entry = entries[path]
        assert (5, 6) == (entry.uid, entry.gid)
        assert Inline((tree / path.decode()).read_bytes()) == entry.content
