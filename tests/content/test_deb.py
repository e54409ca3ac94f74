from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immutable.content.archives.deb import Deb, open_deb
from immutable.content.compat import zstd
from immutable.content.entries import Entry, EntryKind
from immutable.errors import ArchiveError
from tests.support.archives import (
    CONTROL,
    END,
    ar,
    block,
    deb,
    directory,
    hardlink,
    member,
    symlink,
)

PACKAGE = "hello_1.0-1_amd64.deb"
FILES = (
    directory(b"./")
    + directory(b"./usr/")
    + directory(b"./usr/bin/")
    + member(b"./usr/bin/hello", b"#!hello\n", mode=0o4755)
    + hardlink(b"./usr/bin/hi", b"./usr/bin/hello", mode=0o4755)
    + symlink(b"./usr/bin/hey", b"hello", mode=0o777)
    + END
)
MINIMAL = directory(b"./") + member(b"./control", CONTROL) + END


@pytest.fixture
def scratch() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        yield file


def opened(data: bytes) -> Deb:
    return open_deb(io.BytesIO(data), name=PACKAGE)


def refused(data: bytes, *parts: str) -> None:
    with pytest.raises(ArchiveError) as caught, tempfile.TemporaryFile() as file:
        opened(data).unpack(file)
    message = str(caught.value)
    assert message.startswith(f"{PACKAGE}: ")
    for part in parts:
        assert part in message


def built(*members: tuple[bytes, bytes]) -> bytes:
    return ar([(b"debian-binary", b"2.0\n"), *members])


def test_control_fields() -> None:
    package = opened(deb())
    assert (
        ("Package", "hello"),
        ("Version", "1.0-1"),
        ("Architecture", "amd64"),
        ("Description", "greets\n kindly"),
    ) == package.control.fields
    assert package.control.text == CONTROL.decode()
    assert "hello" == package.control.get("package")
    assert "" == package.control.get("Depends")


def test_control_members() -> None:
    control = (
        member(b"./conffiles", b"/etc/hello\n")
        + member(b"postinst", b"#!/bin/sh\n", mode=0o755)
        + member(b"./control", CONTROL)
        + END
    )
    package = opened(built((b"control.tar", control), (b"data.tar", END)))
    assert {
        "conffiles": b"/etc/hello\n",
        "postinst": b"#!/bin/sh\n",
        "control": CONTROL,
    } == dict(package.members)


def test_files(scratch: BinaryIO) -> None:
    entries = opened(deb(data=FILES)).unpack(scratch)
    assert [
        (b"usr", EntryKind.DIRECTORY, 0o755, b""),
        (b"usr/bin", EntryKind.DIRECTORY, 0o755, b""),
        (b"usr/bin/hello", EntryKind.FILE, 0o4755, b""),
        (b"usr/bin/hi", EntryKind.HARDLINK, 0o4755, b"usr/bin/hello"),
        (b"usr/bin/hey", EntryKind.SYMLINK, 0o777, b"hello"),
    ] == [(entry.path, entry.kind, entry.mode, entry.target) for entry in entries]
    for entry in entries[2:4]:
        assert entry.content is not None
        assert b"#!hello\n" == b"".join(entry.content.read())


def test_absolute_paths_mean_the_root(scratch: BinaryIO) -> None:
    (entry,) = opened(deb(data=member(b"/etc/hello") + END)).unpack(scratch)
    assert b"etc/hello" == entry.path


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (b"", bytes),
        (b".gz", gzip.compress),
        (b".xz", lzma.compress),
        (b".zst", zstd.compress),
        (b".bz2", bz2.compress),
    ],
)
def test_every_compression(suffix: bytes, pack: Any, scratch: BinaryIO) -> None:
    data = built((b"control.tar" + suffix, pack(MINIMAL)), (b"data.tar" + suffix, pack(FILES)))
    assert 5 == len(opened(data).unpack(scratch))


def test_members_with_an_underscore_are_ignored(scratch: BinaryIO) -> None:
    data = built(
        (b"_before", b"x"),
        (b"control.tar", MINIMAL),
        (b"_between", b"x"),
        (b"data.tar", FILES),
        (b"_gpgorigin", b"x"),
    )
    assert 5 == len(opened(data).unpack(scratch))


def test_names_may_end_in_a_slash(scratch: BinaryIO) -> None:
    data = ar([(b"debian-binary/", b"2.0\n"), (b"control.tar/", MINIMAL), (b"data.tar/", FILES)])
    assert 5 == len(opened(data).unpack(scratch))


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"not a package", ["expected an ar archive"]),
        (ar([]), ["expected the member debian-binary, found the end"]),
        (ar([(b"_x", b""), (b"debian-binary", b"2.0\n")]), ["debian-binary, found _x"]),
        (ar([(b"debian-binary", b"3.0\n")]), ["debian-binary: expected", "3.0"]),
        (ar([(b"debian-binary", b"2.0\nmore")]), ["debian-binary: expected", "more"]),
        (ar([(b"debian-binary", b"2.0\n" * 999)]), ["debian-binary: expected"]),
        (built((b"data.tar", END)), ["expected the member control.tar, found data.tar"]),
        (built((b"control.tar", MINIMAL)), ["expected the member data.tar, found the end"]),
        (built((b"control.tar.lzma", b"")), ["control.tar, found control.tar.lzma"]),
        (
            built((b"control.tar", MINIMAL), (b"extra", b""), (b"data.tar", END)),
            ["expected the member data.tar, found extra"],
        ),
        (deb(extra=[(b"extra", b"")]), ["extra: a member after data.tar"]),
        (deb(extra=[(b"data.tar", END)]), ["data.tar: a second member"]),
        (deb(extra=[(b"data.tar.gz", END)]), ["data.tar.gz: a member after data.tar"]),
        (built((b"control.tar.gz", MINIMAL)), ["control.tar.gz: expected gzip, found none"]),
        (
            built((b"control.tar", gzip.compress(MINIMAL))),
            ["control.tar: expected none, found gzip"],
        ),
        (
            built((b"control.tar", MINIMAL), (b"data.tar.xz", lzma.compress(END)[:-4])),
            ["data.tar.xz: xz: truncated"],
        ),
        (deb(data=FILES[:-1024]), ["data.tar: truncated"]),
        (deb(data=member(b"../x") + END), ["data.tar: ../x: leaves the root"]),
        (deb(data=block(b"./dev/null", flag=b"3") + END), ["dev/null: a character device"]),
        (deb(data=block(b"./dev/sda", flag=b"4") + END), ["dev/sda: a block device"]),
        (deb(data=block(b"./pipe", flag=b"6") + END), ["pipe: a FIFO"]),
    ],
)
def test_refused(data: bytes, parts: list[str]) -> None:
    refused(data, *parts)


@pytest.mark.parametrize(
    ("control", "part"),
    [
        (END, "expected a member control"),
        (symlink(b"./control", b"/etc/passwd") + END, "control: expected a file at the top"),
        (member(b"./DEBIAN/control", CONTROL) + END, "expected a file at the top"),
        (directory(b"./d") + END, "d: expected a file at the top, found a directory"),
        (block(b"big", size=(16 << 20) + 1) + END, "big: more than 16777216 bytes of content"),
        (b"".join(member(b"%d" % at) for at in range(1001)) + END, "more than 1000 paths"),
    ],
)
def test_control_archives_refused(control: bytes, part: str) -> None:
    refused(built((b"control.tar", control), (b"data.tar", END)), "control.tar", part)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"", "one paragraph"),
        (b"Package: a\nVersion: 1\n", "expected a field Architecture"),
        (b"Package:\nVersion: 1\nArchitecture: all\n", "expected a field Package"),
        (CONTROL + b"\nPackage: other\n", "one paragraph of fields, found ''"),
        (CONTROL + b"package: other\n", "package: a second field"),
        (CONTROL + b"stray\n", "found 'stray'"),
        (b" continued\n" + CONTROL, "found ' continued'"),
        (CONTROL.replace(b"greets", b"gr\xe9ets"), "expected UTF-8"),
        (CONTROL.replace(b"hello", b"hello\0"), "a NUL"),
    ],
)
def test_control_files_refused(text: bytes, part: str) -> None:
    refused(deb(text), "control file", part)


def test_a_control_file_that_disagrees_with_the_index() -> None:
    package = opened(deb())
    package.check("hello", "1.0-1", "amd64")
    with pytest.raises(ArchiveError) as caught:
        package.check("hello", "1.0-2", "all")
    assert str(caught.value) == (
        f"{PACKAGE}: control file: Version: expected 1.0-2, found 1.0-1; "
        "Architecture: expected all, found amd64"
    )
    with pytest.raises(ArchiveError, match="Package: expected hallo, found hello"):
        package.check("hallo", "1.0-1", "amd64")


_SAMPLE = deb(data=FILES)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, len(_SAMPLE) - 1), st.binary(max_size=6)), max_size=3),
    st.integers(0, len(_SAMPLE)),
)
def test_damage_is_refused_or_read(edits: list[tuple[int, bytes]], cut: int) -> None:
    damaged = bytearray(_SAMPLE)
    for at, new in edits:
        damaged[at : at + len(new)] = new
    with contextlib.suppress(ArchiveError), tempfile.TemporaryFile() as file:
        entries = opened(bytes(damaged if cut % 2 else damaged[:cut])).unpack(file)
        assert all(isinstance(entry, Entry) for entry in entries)
