"""Two runs of a command: whether they left the same, and what is said of what differs."""

from __future__ import annotations

import gzip
import importlib.util
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator

import pytest
from attrs import evolve

from immutable.content.entries import (
    Entry,
    EntryKind,
    Inline,
    directory,
    file,
    opaque,
    symlink,
    whiteout,
)
from immutable.oci.digest import Digest
from immutable.sandbox.twice import MOST, Differing, differing, told
from immutable.sandbox.upper import Spooled
from tests.support.archives import ar_member


class Unreadable:
    """Content that must not be read: its digest is enough."""

    size = 1

    def read(self) -> Iterator[bytes]:
        raise AssertionError("read")


def one(first: bytes, second: bytes, path: bytes = b"a") -> Differing:
    (found,) = differing([file(path, first)], [file(path, second)])
    return found


def test_the_same_is_no_difference_and_equal_digests_are_not_read_again() -> None:
    known = Spooled(Unreadable(), Digest.of(b"x"))
    entries = [
        directory(b"a"),
        Entry(b"a/b", EntryKind.FILE, content=known),
        file(b"a/c", b"text"),
        symlink(b"a/d", b"x"),
        whiteout(b"e"),
        opaque(b"a"),
    ]
    assert () == differing(entries, list(reversed(entries)))


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (directory(b"a"), "a file and a directory"),
        (whiteout(b"a"), "a file, only in the first run"),
        (file(b"a", b"1", 0o600), "mode 0644 and 0600"),
        (file(b"a", b"1", uid=1, gid=2), "owner 0:0 and 1:2"),
        (evolve(file(b"a", b"1"), xattrs=((b"user.x", b"1"),)), "xattr user.x"),
        (file(b"a", b"12"), "content differs at byte 1 (1 and 2 bytes): '1' and '12'"),
    ],
    ids=["kind", "gone", "mode", "owner", "xattr", "size"],
)
def test_what_differs_is_named(other: Entry, what: str) -> None:
    found = differing([file(b"a", b"1")], [other])
    assert what in [each.what for each in found]


def test_another_target_of_a_symlink_is_named() -> None:
    (found,) = differing([symlink(b"a", b"x")], [symlink(b"a", b"y")])
    assert "/a: a symlink to b'x' and to b'y'" == str(found)


def test_other_hard_links_differ() -> None:
    link = Entry(b"b", EntryKind.HARDLINK, content=Inline(b"1"), target=b"a")
    (found,) = differing([file(b"a", b"1"), link], [file(b"a", b"1"), file(b"b", b"1")])
    assert Differing(b"b", "a hard link to other names") == found


def test_the_first_offset_is_told_across_pieces_of_any_length() -> None:
    class Pieces:
        def __init__(self, *pieces: bytes) -> None:
            self.pieces, self.size = pieces, sum(map(len, pieces))

        def read(self) -> Iterator[bytes]:
            yield from self.pieces

    first = Entry(b"a", EntryKind.FILE, content=Pieces(b"ab", b"cde", b"f"))
    same = Entry(b"a", EntryKind.FILE, content=Pieces(b"abcd", b"ef"))
    other = Entry(b"a", EntryKind.FILE, content=Pieces(b"abcd", b"xf"))
    assert () == differing([first], [same])
    assert "content differs at byte 4: 'abcdef' and 'abcdxf'" == differing([first], [other])[0].what


def test_a_directory_in_one_run_is_named_without_what_is_in_it() -> None:
    (found,) = differing([], [directory(b"a"), file(b"a/b", b"1"), directory(b"a/c")])
    assert Differing(b"a", "a directory, only in the second run") == found


def test_ten_paths_are_named_and_that_there_are_more() -> None:
    found = differing([file(b"%02d" % number, b"1") for number in range(30)], [])
    text = told("tools", found).splitlines()
    assert 'layer "tools": the command gave two results, so nothing is stored' == text[0]
    assert "/00: a file, only in the first run" == text[1]
    assert MOST + 2 == len(text)
    assert "and more" == text[-1]


# Secrets


def test_nothing_of_a_private_key_is_shown() -> None:
    keys = [
        b"-----BEGIN PRIVATE KEY-----\n%b\n-----END PRIVATE KEY-----\n" % (letter * 64)
        for letter in (b"S", b"T")
    ]
    found = one(keys[0], keys[1], b"etc/key")
    assert "content differs at byte 28" == found.what
    assert "a key that was made" in found.hint
    assert "SSSS" not in str(found)


def test_nothing_around_a_password_is_shown() -> None:
    found = one(b"password=" + b"s" * 60 + b"a", b"password=" + b"s" * 60 + b"b")
    assert "content differs at byte 69" == found.what


def test_a_message_is_bounded() -> None:
    found = differing([file(b"x" * 200, b"\n" * 4000 + b"1" * 90000)], [file(b"x" * 200, b"2")])
    assert 1000 > len(told("tools", found))


# Hints


def _gzip(data: bytes, time: int = 0) -> bytes:
    return gzip.compress(data, mtime=time)


def _zip(data: bytes, second: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("in/zip.txt", (2026, 11, 29, 1, 2, second)), data)
    return stream.getvalue()


def _tar(data: bytes, time: int = 0, names: tuple[str, ...] = ("in/tar.txt",)) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), time
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _ar(data: bytes, time: int = 0) -> bytes:
    member = ar_member(b"one.o/", data)
    return b"!<arch>\n" + member[:16] + b"%-12d" % time + member[28:]


def _pyc(time: int) -> bytes:
    return importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, time, 9) + b"code"


def _binary(time: int) -> bytes:
    return b"\0\1" + struct.pack("<I", time)


UUIDS = (b"6ba7b810-9dad-11d1-80b4-00c04fd430c8", b"7ba7b810-9dad-11d1-80b4-00c04fd430c9")
ELF = b"\x7fELF" + bytes(60)


@pytest.mark.parametrize(
    ("first", "second", "hint"),
    [
        (b"made 2026-11-29 10:00:01\n", b"made 2026-11-29 10:00:03\n", "SOURCE_DATE_EPOCH"),
        (b"Sun Nov 29 10:18:21 UTC 2026\n", b"Mon Nov 30 10:18:23 UTC 2026\n", "a time"),
        (b"built=1764411501\n", b"built=1764411503\n", "a time"),
        (_binary(1764411501), _binary(1764411503), "a time"),
        (b"in /tmp/tmp.Ab12Cd34Ef\n", b"in /tmp/tmp.Zx98Yw76Qr\n", "mktemp"),
        (b"id %b" % UUIDS[0], b"id %b" % UUIDS[1], "UUID"),
        (b"<f at 0x7f12ab34cd56>", b"<f at 0x7f98ab34cd57>", "an address"),
        (b"a.c\nb.c\nc.c\n", b"b.c\na.c\nc.c\n", "another order"),
        (b"{'a', 'b'}", b"{'b', 'a'}", "another order"),
        (b"x=a b c", b"x=a c b", "another order"),
        (ELF + b"\0Nov 29 2026\0", ELF + b"\0Nov 30 2026\0", "__DATE__"),
        (ELF + b".gnu.lto_main.3f2a", ELF + b".gnu.lto_main.91bc", "-frandom-seed"),
        (_pyc(1764411501), _pyc(1764411503), "--invalidation-mode unchecked-hash"),
        (_gzip(b"x", 1), _gzip(b"x", 2), "gzip -n"),
        (_zip(b"x", 2), _zip(b"x", 4), "zip wrote"),
        (_tar(b"x", 1), _tar(b"x", 2), "tar --mtime"),
        (_ar(b"x", 1), _ar(b"x", 2), "ar D"),
        (_tar(b"x", names=("a", "b")), _tar(b"x", names=("b", "a")), "another order"),
        (b"nothing known", b"nothing other", ""),
    ],
)
def test_the_known_kinds_have_a_hint(first: bytes, second: bytes, hint: str) -> None:
    found = one(first, second)
    assert hint in found.hint
    assert bool(hint) is bool(found.hint)


def test_a_random_name_is_told_with_the_other_runs() -> None:
    (found,) = differing([file(b"var/a.Qk3fW9", b"1")], [file(b"var/a.zT81bn", b"1")])
    assert "a file, only in the first run; the second has a.zT81bn" == found.what
    assert "mktemp" in found.hint


@pytest.mark.parametrize("names", [(b"one.txt", b"other.log"), (b"lib.1234567", b"lib.1234568")])
def test_names_of_other_shapes_are_no_pair(names: tuple[bytes, bytes]) -> None:
    found = differing([file(names[0], b"1")], [file(names[1], b"1")])
    assert list(names) == [each.path for each in found]
    assert {""} == {each.hint for each in found}


# Archives


@pytest.mark.parametrize(
    ("pack", "member"),
    [
        (_gzip, ""),
        (_zip, "in/zip.txt: "),
        (_tar, "in/tar.txt: "),
        (_ar, "one.o: "),
        (lambda data: _gzip(_tar(_zip(data))), "in/tar.txt: in/zip.txt: "),
        (lambda data: _ar(_gzip(_tar(data))), "one.o: in/tar.txt: "),
    ],
    ids=["gzip", "zip", "tar", "ar", "tar.gz", "deb"],
)
def test_the_member_that_differs_is_named(pack: Callable[[bytes], bytes], member: str) -> None:
    found = one(pack(b"made at 10:00:01\n"), pack(b"made at 10:00:09\n"))
    assert (
        f"{member}content differs at byte 15: 'made at 10:00:01' and 'made at 10:00:09'"
        == found.what
    )
    assert "a time" in found.hint


def test_a_member_in_one_run_is_named() -> None:
    found = one(_tar(b"x", names=("a",)), _tar(b"x", names=("a", "b")))
    assert "b: a member only in the second run" == found.what


@pytest.mark.parametrize("pack", [_gzip, _zip, _tar, _ar])
def test_damaged_archives_are_compared_as_they_are(pack: Callable[[bytes], bytes]) -> None:
    data = pack(b"text" * 400)
    found = one(data, data[: len(data) // 2])
    assert f"content differs at byte {len(data) // 2}" in found.what


def test_archives_that_go_on_and_on_are_looked_into_a_few_levels_deep() -> None:
    packed = [b"1", b"2"]
    for _ in range(9):
        packed = [_gzip(data) for data in packed]
    assert "hex" in one(*packed).what


def test_an_archive_that_inflates_too_far_is_compared_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("immutable.sandbox.nested._MOST", 1000)
    found = one(_gzip(bytes(5000) + b"1"), _gzip(bytes(5000) + b"2"))
    assert "hex" in found.what
    assert "byte 5000" not in found.what
