"""Packages indexes: the vouched bytes, parsed once, checked where they are used."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import lzma
import os
import sqlite3
import stat
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from immutable.config import Config, Keyring, Mirrors
from immutable.errors import FetchError, SourceError, StoreError
from immutable.net.fetch import Fetcher
from immutable.oci.digest import Digest
from immutable.sources.debian.index import PackageIndex, open_index, raw_field, read_stanza
from immutable.sources.debian.relations import Relation
from immutable.sources.debian.release import IndexFile, Release, fetch_release
from immutable.sources.debian.stanza import parse_stanza
from tests.support.debian import DATE, DebianMirror
from tests.support.web import Answer

NOW = datetime.now(UTC)
FOLDER = "main/binary-amd64"
PLACE = f"/debian/dists/bookworm/{FOLDER}"
STANZA = (
    b"Package: hello\nVersion: 1:2.10-3\nArchitecture: amd64\nDepends: libc6 (>= 2.36)\n"
    b"Filename: pool/main/h/hello/hello_2.10-3_amd64.deb\nSize: 53296\nSHA256: "
    + b"a" * 64
    + b"\nDescription: a folded\n one\n"
)


class Place:
    """A mirror that is served, and what it takes to open its index."""

    def __init__(self, folder: Path, mirror: DebianMirror, url: str, fetcher: Fetcher) -> None:
        self.mirror, self.fetcher = mirror, fetcher
        self.config = Config(folder / "store", folder / "cache")
        self.mirrors = Mirrors((f"{url}/debian",))

    def release(self, suite: str = "bookworm") -> Release:
        ring = Keyring("tests", (self.mirror.keyring,))
        return fetch_release(
            suite, mirrors=self.mirrors, keyring=ring, fetcher=self.fetcher, now=NOW
        )

    def open(self, release: Release | None = None, component: str = "main") -> PackageIndex:
        return open_index(
            release or self.release(),
            component,
            "amd64",
            config=self.config,
            mirrors=self.mirrors,
            fetcher=self.fetcher,
        )

    def asked(self) -> list[str]:
        return [path for path in self.mirror.web.requests if "Packages" in path or "hash" in path]

    def kept(self) -> list[str]:
        return sorted(path.name for path in (self.config.cache / "debian").glob("*.sqlite"))


@pytest.fixture
def mirror(tmp_path: Path) -> DebianMirror:
    made = DebianMirror(tmp_path)
    made.add("hello", "2.0", provides="greeter (= 2), hi", essential="yes")
    made.add("hello", "1.0", arch="amd64")
    made.add("bye", arch="arm64")
    return made


@pytest.fixture
def place(tmp_path: Path, mirror: DebianMirror) -> Iterator[Place]:
    def nap(_seconds: float) -> None: ...

    config = Config(tmp_path, tmp_path)
    with mirror.serve() as url, Fetcher(config, sleep=nap) as fetcher:
        yield Place(tmp_path, mirror, url, fetcher)


def test_packages_are_found_by_name(place: Place) -> None:
    with place.open() as index:
        assert ["2.0", "1.0"] == [package.version for package in index.find("hello")]
        assert () == index.find("bye")
        assert ("hello",) == index.providers("greeter")
        assert ("hello",) == index.providers("hi")
        assert ("hello",) == index.essential()
        assert ["hello"] == [*index.names_like("helol")]


def test_the_smallest_form_is_fetched_by_its_hash(place: Place) -> None:
    place.open().__exit__()

    packed = (place.mirror.folder / PLACE[1:] / "Packages.xz").read_bytes()
    assert [f"{PLACE}/by-hash/SHA256/{hashlib.sha256(packed).hexdigest()}"] == place.asked()


def test_without_by_hash_it_is_fetched_by_its_name(place: Place) -> None:
    place.mirror.suite("bookworm").fields["Acquire-By-Hash"] = None
    place.mirror.publish()

    place.open().__exit__()

    assert [f"{PLACE}/Packages.xz"] == place.asked()


@pytest.mark.parametrize("form", ["gz", ""])
def test_another_form_does_as_well(place: Place, form: str) -> None:
    for path in (place.mirror.folder / PLACE[1:]).rglob("*"):
        if path.is_file() and path.name != ("Packages.gz" if form else "Packages"):
            path.unlink()

    with place.open() as index:
        assert 2 == len(index.find("hello"))


def test_a_kept_index_is_not_fetched_again(place: Place) -> None:
    place.open().__exit__()
    before = place.asked()

    with place.open() as index:
        assert 2 == len(index.find("hello"))

    assert before == place.asked()


def test_a_new_index_takes_the_place_of_the_old(place: Place) -> None:
    place.open().__exit__()
    old = place.kept()
    place.mirror.add("more")
    place.mirror.publish(date=DATE + timedelta(days=1))

    with place.open() as index:
        assert 1 == len(index.find("more"))

    assert 1 == len(place.kept())
    assert old != place.kept()


def test_an_index_that_two_suites_share_stays_for_the_other(place: Place) -> None:
    place.mirror.suite("trixie")
    place.mirror.packages += [evolve(package, suite="trixie") for package in place.mirror.packages]
    place.mirror.publish()
    place.open().__exit__()
    place.open(place.release("trixie")).__exit__()
    assert 1 == len(place.kept())
    place.mirror.add("more")
    place.mirror.publish()

    place.open().__exit__()

    assert 2 == len(place.kept())


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + bytes(100), b"junk" * 1000])
def test_a_damaged_kept_index_is_made_anew(place: Place, content: bytes) -> None:
    place.open().__exit__()
    (kept,) = (place.config.cache / "debian").glob("*.sqlite")
    kept.write_bytes(content)

    with place.open() as index:
        assert 2 == len(index.find("hello"))


FORGED = "f" * 64


def forge(place: Place) -> Path:
    """Edit the sha256 of every package in the one kept index."""
    (path,) = (place.config.cache / "debian").glob("*.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        rows = database.execute("SELECT rowid, stanza FROM package").fetchall()
        for row, stanza in rows:
            start = stanza.index(b"SHA256: ") + 8
            edited = stanza[:start] + FORGED.encode() + stanza[start + 64 :]
            database.execute("UPDATE package SET stanza = ? WHERE rowid = ?", (edited, row))
    return path


def forge_and_rename(place: Place) -> Path:
    """Forge the kept index under the name that the edited bytes ask for."""
    path = forge(place)
    text = path.name.partition("-")[0]
    return path.rename(path.with_name(f"{text}-{sha256(path.read_bytes())}.sqlite"))


def digests(place: Place) -> set[str]:
    with place.open() as index:
        return {package.sha256.hex for package in index.find("hello")}


def test_an_edited_row_of_a_kept_index_is_found_out(place: Place) -> None:
    honest = digests(place)
    before = place.kept()
    forge(place)

    assert honest == digests(place)
    assert before == place.kept()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_what_others_could_have_kept_is_made_anew(place: Place, mode: int) -> None:
    honest = digests(place)
    forge_and_rename(place)
    folder = place.config.cache / "debian"
    folder.chmod(mode)

    assert honest == digests(place)
    assert 0 == folder.stat().st_mode & 0o022


@pytest.mark.parametrize("mode", [0o606, 0o660])
def test_a_kept_file_that_others_can_write_is_made_anew(place: Place, mode: int) -> None:
    honest = digests(place)
    forge_and_rename(place).chmod(mode)

    assert honest == digests(place)
    assert 1 == len(place.kept())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_kept_file_of_another_user_is_made_anew(place: Place) -> None:
    honest = digests(place)
    os.chown(forge_and_rename(place), 12345, 12345)

    assert honest == digests(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("part", [".", "debian"])
def test_a_cache_of_another_user_is_refused(place: Place, part: str) -> None:
    place.open().__exit__()
    os.chown(place.config.cache / part, 12345, 12345)

    with pytest.raises(StoreError, match="of this user or root, found one of user 12345; set IMM"):
        place.open()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_link_that_another_user_put_into_a_shared_cache_is_refused(place: Place) -> None:
    ours = place.config.cache.parent / "ours"
    ours.mkdir()
    ours.chmod(0o777)
    place.config.cache.mkdir()
    place.config.cache.chmod(0o1777)
    (place.config.cache / "debian").symlink_to(ours)
    os.chown(place.config.cache / "debian", 12345, 12345, follow_symlinks=False)

    with pytest.raises(StoreError, match="found one of user 12345"):
        place.open()
    assert 0o777 == stat.S_IMODE(ours.stat().st_mode)


@pytest.mark.parametrize("part", [".", ".."])
def test_a_cache_that_others_can_write_is_refused_and_stays_as_it_is(
    place: Place, part: str
) -> None:
    place.open().__exit__()
    shared = (place.config.cache / part).resolve()
    shared.chmod(0o777)

    with pytest.raises(StoreError, match=f"{shared}: .*found mode 0777; run `chmod go-w"):
        place.open()
    assert 0o777 == stat.S_IMODE(shared.stat().st_mode)


def test_a_cache_in_a_sticky_folder_serves_and_leaves_its_mode(place: Place) -> None:
    place.config.cache.mkdir()
    place.config.cache.chmod(0o1777)

    place.open().__exit__()

    assert 0o1777 == stat.S_IMODE(place.config.cache.stat().st_mode)


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022])
def test_the_cache_is_private_whatever_the_umask(place: Place, mask: int) -> None:
    before = os.umask(mask)
    try:
        place.open().__exit__()
    finally:
        os.umask(before)

    cache = place.config.cache
    folders = [stat.S_IMODE(path.stat().st_mode) for path in (cache, cache / "debian")]
    assert [0o700, 0o700] == folders
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in cache.glob("debian/*")}


def test_a_component_that_is_not_there_says_what_is(place: Place) -> None:
    with pytest.raises(SourceError) as caught:
        place.open(component="contrib")

    expected = (
        "bookworm: has no contrib/binary-amd64/Packages; its components are main, "
        "its architectures amd64, arm64"
    )
    assert expected == str(caught.value)


def test_a_cache_that_cannot_be_written_to_says_so(place: Place) -> None:
    place.config.cache.write_text("a file where the folder should be")

    with pytest.raises(StoreError, match=r"the index cannot be kept: .*set IMMUTABLE_CACHE"):
        place.open()


# --- bytes that are not the vouched ones ---


def swap(place: Place, data: bytes) -> None:
    """Put other bytes in place of every form of the index."""
    for path in (place.mirror.folder / PLACE[1:]).rglob("*"):
        if path.is_file():
            path.write_bytes(data)


def test_an_index_with_another_hash_is_refused(place: Place) -> None:
    packed = (place.mirror.folder / PLACE[1:] / "Packages.xz").read_bytes()
    swap(place, packed[:-1] + bytes([packed[-1] ^ 1]))

    with pytest.raises(FetchError, match=r"binary-amd64/Packages\.xz: cannot be") as e:
        place.open()

    assert "expected sha256:" in str(e.value)
    assert [] == place.kept()


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_an_index_of_another_size_is_refused(place: Place, size: int) -> None:
    swap(place, bytes(size))

    with pytest.raises(FetchError, match=r"(the body ended at|expected at most)"):
        place.open()

    assert [] == place.kept()


def vouch(place: Place, ending: str, packed: bytes, text: bytes | int) -> Release:
    """Return a Release that vouches for `packed` as the only form of `text` (or its size)."""
    (place.mirror.folder / PLACE[1:] / f"Packages{ending}").write_bytes(packed)
    size, digest = (text, "0" * 64) if isinstance(text, int) else (len(text), sha256(text))
    files = [
        IndexFile(f"{FOLDER}/Packages", size, Digest(digest)),
        IndexFile(f"{FOLDER}/Packages{ending}", len(packed), Digest(sha256(packed))),
    ]
    by_path = {file.path: file for file in files}
    return Release("bookworm", DATE, ("amd64",), ("main",), False, False, by_path)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("ending", [".xz", ".gz"])
def test_a_bomb_is_not_unpacked_beyond_its_size(place: Place, ending: str) -> None:
    pack = lzma.compress if ending == ".xz" else gzip.compress
    release = vouch(place, ending, pack(bytes(64 << 20)), 1000)

    tracemalloc.start()
    try:
        with pytest.raises(FetchError, match="expected 1000 bytes of Packages, found more"):
            place.open(release)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert [] == place.kept()


@pytest.mark.parametrize("ending", [".xz", ".gz"])
def test_an_index_that_breaks_off_or_is_none_is_refused(place: Place, ending: str) -> None:
    pack = lzma.compress if ending == ".xz" else gzip.compress
    text = STANZA * 5000
    whole = pack(text)
    for packed in (whole[: len(whole) // 2], b"junk" * 10):
        with pytest.raises(FetchError, match="Packages cannot be unpacked"):
            place.open(vouch(place, ending, packed, text))

    assert [] == place.kept()


def test_an_unpacked_text_with_another_hash_is_refused(place: Place) -> None:
    release = vouch(place, ".xz", lzma.compress(STANZA), len(STANZA))

    with pytest.raises(FetchError, match="expected Packages with sha256:0000"):
        place.open(release)

    assert [] == place.kept()


def test_a_mirror_in_the_midst_of_an_update_is_got_by_hash(place: Place) -> None:
    (place.mirror.folder / PLACE[1:] / "Packages.xz").write_bytes(b"newer")

    with place.open() as index:
        assert 2 == len(index.find("hello"))


def test_a_server_error_on_the_way_is_waited_out(place: Place) -> None:
    release = place.release()
    digest = release.files[f"{FOLDER}/Packages.xz"].sha256.hex
    place.mirror.web.answers[f"{PLACE}/by-hash/SHA256/{digest}"] = [Answer(503)]

    with place.open(release) as index:
        assert 2 == len(index.find("hello"))


# --- stanzas ---


def test_a_stanza_is_read() -> None:
    package = read_stanza(STANZA, "bookworm", "here")

    assert "hello 1:2.10-3" == str(package)
    assert 53296 == package.size
    assert ((Relation("libc6", ">=", "2.36"),),) == package.depends


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b"Version: 1:2.10-3\n", b"", "Version: expected a version"),
        (b"1:2.10-3", b"one two", "Version: expected a version, found 'one two'"),
        (b"Package: hello", b"Package: he/llo", "Package: found 'he/llo'"),
        (b"Architecture: amd64\n", b"", "Architecture: is missing"),
        (b"Size: 53296", b"Size: -1", "Size: found '-1'"),
        (b"Size: 53296", b"Size: 1e3", "Size: found '1e3'"),
        (b"Size: 53296", "Size: ٣".encode(), "Size: found '٣'"),
        (b"Size: 53296\n", b"", "Size: is missing"),
        (b"a" * 64, b"a" * 63, "SHA256: found"),
        (b"a" * 64, b"A" * 64, "SHA256: found"),
        (b"SHA256", b"SHA1", "SHA256: is missing"),
        (b"pool/main", b"/pool/main", "Filename: expected a path within the mirror"),
        (b"pool/main", b"pool/../../main", "Filename: expected a path within the mirror"),
        (b"pool/main", b"pool/./main", "Filename: expected a path within the mirror"),
        (b"pool/main", b"pool//main", "Filename: expected a path within the mirror"),
        (b"pool/main", b"pool main", "Filename: found 'pool main"),
        (b"pool/main", b"pool\0main", "Filename: found"),
        (b"libc6 (>= 2.36)", b"libc6 (>= 2.36", "Depends: expected a relation"),
        (b"Depends: libc6", b"Provides: a1 | b1, c1", "Provides: found alternatives, a1 | b1"),
        (b"Depends", b"Size", "Size: a second field"),
        (b"Depends: ", b"", "expected a field, found 'libc6"),
        (b"folded", b"\xff", "not UTF-8"),
    ],
)
def test_a_malformed_stanza_is_refused_by_name(old: bytes, new: bytes, fault: str) -> None:
    assert old in STANZA
    stanza = STANZA.replace(old, new)

    with pytest.raises(SourceError) as caught:
        read_stanza(stanza, "bookworm", "bookworm/main/binary-amd64: hello")

    assert str(caught.value).startswith("bookworm/main/binary-amd64: hello: ")
    assert fault in str(caught.value)


def test_a_bad_stanza_harms_only_its_own_package(place: Place) -> None:
    place.mirror.suite("bookworm").extra = "\nPackage: broken\nVersion: 1\n"
    place.mirror.publish()

    with place.open() as index:
        assert 2 == len(index.find("hello"))
        with pytest.raises(SourceError, match="bookworm/main/binary-amd64: broken: "):
            index.find("broken")


def test_a_stanza_without_a_package_is_refused(place: Place) -> None:
    place.mirror.suite("bookworm").extra = "\nVersion: 1\nSize: 1\n"
    place.mirror.publish()

    with pytest.raises(SourceError, match="expected a stanza with Package, found 'Version: 1"):
        place.open()

    assert [] == place.kept()


def test_a_stanza_without_end_is_refused(place: Place) -> None:
    text = b"Package: x\nDescription: " + b"x" * (5 << 20)

    with pytest.raises(SourceError, match="a stanza of more than"):
        place.open(vouch(place, ".gz", gzip.compress(text), text))


values = st.from_regex(r"[!-~]([ -~]{0,20}[!-~])?(\n [!-~]{1,9}){0,2}", fullmatch=True)


@given(st.dictionaries(st.sampled_from(["Package", "Provides", "Essential", "X-Y"]), values))
def test_the_quick_reader_agrees_with_the_strict_one(fields: dict[str, str]) -> None:
    stanza = "".join(f"{name}: {value}\n" for name, value in fields.items()).encode()

    strict = parse_stanza(stanza)

    for name in ("Package", "Provides", "Essential"):
        assert " ".join(strict.get(name.lower(), "").split()) == raw_field(stanza, name.encode())
