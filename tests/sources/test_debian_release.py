"""InRelease: only what a key in force vouches for, only while it holds, only of that suite."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pysequoia import SignatureMode, Tsk, sign

from immutable.config import Config, Keyring, Mirrors
from immutable.errors import FetchError, SignatureError
from immutable.net.fetch import Fetcher
from immutable.oci.digest import Digest
from immutable.sources.debian.release import MAX_SIZE, SKEW, fetch_release, read_release
from tests.support.debian import DATE, DebianMirror, clear_sign, expired
from tests.support.web import Answer

NOW = datetime.now(UTC)
TEXT = (
    b"Suite: oldstable\nCodename: bookworm\nDate: Sat, 11 Jul 2020 10:16:37 UTC\n"
    b"Architectures: all amd64\nComponents: main updates/contrib\nAcquire-By-Hash: yes\n"
    b"SHA256:\n " + b"a" * 64 + b" 123 main/binary-amd64/Packages\n"
)


@pytest.fixture(scope="module")
def key() -> Tsk:
    return Tsk.generate("ours")


@pytest.fixture
def ring(tmp_path: Path, key: Tsk) -> Keyring:
    return keyring(tmp_path, bytes(key.extract_certificate()))


def keyring(tmp_path: Path, *parts: bytes) -> Keyring:
    file = tmp_path / "ring.gpg"
    file.write_bytes(b"".join(parts))
    return Keyring("the tests' keyring", (file,))


def refused(data: bytes, ring: Keyring, *, now: datetime = NOW, suite: str = "bookworm") -> str:
    with pytest.raises(SignatureError) as caught:
        read_release(data, suite, keyring=ring, now=now)
    return str(caught.value)


def test_a_signed_release_is_read(key: Tsk, ring: Keyring) -> None:
    release = read_release(clear_sign(key, TEXT), "bookworm", keyring=ring, now=NOW)

    assert datetime(2020, 7, 11, 10, 16, 37, tzinfo=UTC) == release.date
    assert ("all", "amd64") == release.architectures
    assert ("main", "contrib") == release.components
    assert release.by_hash
    assert release.separate_all
    file = release.files["main/binary-amd64/Packages"]
    assert (123, Digest("a" * 64)) == (file.size, file.sha256)


def test_crlf_line_ends_are_fine(key: Tsk, ring: Keyring) -> None:
    data = clear_sign(key, TEXT).replace(b"\n", b"\r\n")

    assert 1 == len(read_release(data, "bookworm", keyring=ring, now=NOW).files)


@pytest.mark.parametrize("suite", ["oldstable", "bookworm"])
def test_a_suite_goes_by_either_name(key: Tsk, ring: Keyring, suite: str) -> None:
    data = clear_sign(key, TEXT)

    assert suite == read_release(data, suite, keyring=ring, now=NOW).suite


def test_another_suites_release_is_refused(key: Tsk, ring: Keyring) -> None:
    message = refused(clear_sign(key, TEXT), ring, suite="trixie")

    assert "expected the Release of trixie, found that of oldstable or bookworm" in message


@pytest.mark.parametrize(
    "around",
    [
        lambda data: b"SHA256:\n " + b"b" * 64 + b" 1 evil\n\n" + data,
        lambda data: data + b"\nSHA256:\n " + b"b" * 64 + b" 1 evil\n",
        lambda data: (
            data.replace(b"-----BEGIN PGP SIGNATURE", b"\n-----BEGIN PGP SIGNATURE") + b"evil"
        ),
    ],
)
def test_text_outside_the_signed_block_is_never_seen(
    key: Tsk, ring: Keyring, around: Callable[[bytes], bytes]
) -> None:
    data = around(clear_sign(key, TEXT))

    # Refusing all of it would do as well; using any of it would not.
    try:
        release = read_release(data, "bookworm", keyring=ring, now=NOW)
    except SignatureError:
        return
    assert ["main/binary-amd64/Packages"] == list(release.files)


def test_a_second_message_after_ours_is_never_seen(key: Tsk, ring: Keyring) -> None:
    other = clear_sign(Tsk.generate("other"), b"Suite: evil\n")

    release = read_release(clear_sign(key, TEXT) + other, "bookworm", keyring=ring, now=NOW)

    assert ["main/binary-amd64/Packages"] == list(release.files)


def test_a_changed_text_is_refused(key: Tsk, ring: Keyring) -> None:
    data = clear_sign(key, TEXT).replace(b" 123 ", b" 124 ")

    assert "expected a valid signature by a key in force of the tests' keyring" in refused(
        data, ring
    )


def test_an_unknown_key_is_named(key: Tsk, ring: Keyring) -> None:
    message = refused(clear_sign(Tsk.generate("other"), TEXT), ring)

    assert "bookworm/InRelease: expected a valid signature" in message
    assert "found: signed by " in message
    assert "Stack backtrace" not in message


def test_one_of_several_keys_is_enough(tmp_path: Path, key: Tsk) -> None:
    other = Tsk.generate("other").extract_certificate()
    ring = keyring(tmp_path, bytes(other), bytes(key.extract_certificate()))

    assert 1 == len(read_release(clear_sign(key, TEXT), "bookworm", keyring=ring, now=NOW).files)


@pytest.mark.parametrize("armoured", [False, True])
def test_keys_may_be_armoured_in_a_file_or_in_place(
    tmp_path: Path, key: Tsk, armoured: bool
) -> None:
    text = str(key.extract_certificate())
    ring = Keyring("x", armoured=text) if armoured else keyring(tmp_path, text.encode())

    assert 1 == len(read_release(clear_sign(key, TEXT), "bookworm", keyring=ring, now=NOW).files)


def test_only_the_named_fingerprints_count(tmp_path: Path, key: Tsk, ring: Keyring) -> None:
    data = clear_sign(key, TEXT)
    ours = key.extract_certificate().fingerprint

    one = Keyring("x", ring.files, fingerprints=(ours,))
    assert 1 == len(read_release(data, "bookworm", keyring=one, now=NOW).files)
    assert "it holds no key" in refused(data, Keyring("x", ring.files, fingerprints=("0" * 40,)))


def test_an_expired_key_is_refused(tmp_path: Path) -> None:
    key = Tsk.generate("old")
    data = clear_sign(key, TEXT)

    # NOW was when the module was loaded, which may be before the key's last moment.
    message = refused(data, keyring(tmp_path, expired(key)), now=datetime.now(UTC))

    assert "all its keys have expired or are revoked; update it" in message


def test_a_key_that_expired_since_it_signed_is_refused(tmp_path: Path) -> None:
    key = Tsk.generate("short", validity_seconds=24 * 3600)
    data, ring = clear_sign(key, TEXT), keyring(tmp_path, bytes(key.extract_certificate()))

    assert 1 == len(read_release(data, "bookworm", keyring=ring, now=NOW).files)
    assert "expired" in refused(data, ring, now=NOW + timedelta(days=2))


def test_a_revoked_key_is_refused(tmp_path: Path) -> None:
    key = Tsk.generate("lost")
    certificate = key.extract_certificate()
    ring = keyring(tmp_path, bytes(certificate), bytes(certificate.revoke(key.certifier())))

    assert "revoked" in refused(clear_sign(key, TEXT), ring)


@pytest.mark.parametrize("content", [b"", b"no key at all", b"\x99\x01"])
def test_a_file_without_a_key_is_refused_by_name(tmp_path: Path, key: Tsk, content: bytes) -> None:
    message = refused(clear_sign(key, TEXT), keyring(tmp_path, content))

    assert "the tests' keyring" in message
    assert "backtrace" not in message


def test_a_keyring_that_is_not_there_is_refused_by_name(tmp_path: Path, key: Tsk) -> None:
    ring = Keyring("IMMUTABLE_DEBIAN_KEYRING", (tmp_path / "none.gpg",))

    message = refused(clear_sign(key, TEXT), ring)

    assert f"IMMUTABLE_DEBIAN_KEYRING: the keys in {tmp_path / 'none.gpg'} cannot be" in message


@pytest.mark.parametrize("data", [b"", b"hello\n", TEXT, b"-----BEGIN PGP SIGNED MESSAGE-----\n"])
def test_what_is_not_signed_is_refused(ring: Keyring, data: bytes) -> None:
    assert "bookworm/InRelease: expected a" in refused(data, ring)


def test_a_detached_signature_vouches_for_no_text(key: Tsk, ring: Keyring) -> None:
    data = sign(key.signer(), TEXT, mode=SignatureMode.DETACHED)

    assert "bookworm/InRelease: expected a" in refused(data, ring)


def test_valid_until_may_not_have_passed(key: Tsk, ring: Keyring) -> None:
    data = clear_sign(key, TEXT + b"Valid-Until: Sat, 18 Jul 2020 10:16:37 UTC\n")
    until = datetime(2020, 7, 18, 10, 16, 37, tzinfo=UTC)

    assert "Valid-Until: 2020-07-18 10:16 UTC has passed; the mirror is stale" in refused(
        data, ring, now=until + timedelta(seconds=1)
    )
    assert 1 == len(read_release(data, "bookworm", keyring=ring, now=until).files)


def test_the_date_may_not_be_in_the_future(key: Tsk, ring: Keyring) -> None:
    data = clear_sign(key, TEXT)
    date = datetime(2020, 7, 11, 10, 16, 37, tzinfo=UTC)

    assert "is in the future" in refused(data, ring, now=date - SKEW - timedelta(seconds=1))
    assert date == read_release(data, "bookworm", keyring=ring, now=date - SKEW).date


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b"Date: Sat, 11 Jul 2020 10:16:37 UTC\n", b"", "expected a Date, found none"),
        (b"Sat, 11 Jul 2020 10:16:37 UTC", b"soon", "date: expected a date, found 'soon'"),
        (b"SHA256:", b"MD5Sum:", "expected a SHA256 section, found none"),
        (b"a" * 64, b"a" * 63, "SHA256: expected a digest, a size and a path"),
        (b"a" * 64, b"A" * 64, "SHA256: expected a digest, a size and a path"),
        (b" 123 ", b" -3 ", "SHA256: expected a digest, a size and a path"),
        (b"main/binary", b"../binary", "SHA256: expected a digest, a size and a path"),
        (b"main/binary", b"/main/binary", "SHA256: expected a digest, a size and a path"),
        (b"Architectures", b"no field\nArchitectures", "expected a field, found 'no field'"),
        (b"Components", b"Suite: x\nComponents", "Suite: a second field"),
        (b"Suite: oldstable", b"Suite: \xff", "not UTF-8"),
    ],
)
def test_a_malformed_text_is_refused(
    key: Tsk, ring: Keyring, old: bytes, new: bytes, fault: str
) -> None:
    assert old in TEXT

    assert fault in refused(clear_sign(key, TEXT.replace(old, new)), ring)


def test_it_is_fetched_from_the_mirrors(tmp_path: Path) -> None:
    mirror = DebianMirror(tmp_path)
    ring = Keyring("tests", (mirror.keyring,))
    with mirror.serve() as url, Fetcher(Config(tmp_path, tmp_path)) as fetcher:
        mirrors = Mirrors((f"{url}/none", f"{url}/debian"))
        release = fetch_release("bookworm", mirrors=mirrors, keyring=ring, fetcher=fetcher, now=NOW)

    assert DATE == release.date


def test_an_endless_one_is_cut_off(tmp_path: Path) -> None:
    mirror = DebianMirror(tmp_path)
    path = "/debian/dists/bookworm/InRelease"
    mirror.web.answers[path] = [Answer(200, bytes(10), promised=MAX_SIZE + 1)]
    with (
        mirror.serve() as url,
        Fetcher(Config(tmp_path, tmp_path)) as fetcher,
        pytest.raises(FetchError, match=f"expected at most {MAX_SIZE} bytes"),
    ):
        fetch_release(
            "bookworm",
            mirrors=Mirrors((f"{url}/debian",)),
            keyring=Keyring("tests", (mirror.keyring,)),
            fetcher=fetcher,
            now=NOW,
        )
