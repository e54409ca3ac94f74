"""Fetching through pip: its settings count, its Python does not, and nothing else gets in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from immutable.errors import DigestMismatch, FetchError, SourceError
from immutable.net.wanted import Wanted
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.progress import SILENT
from immutable.sources.pypi import Asked, Environment, Pip, download
from immutable.store.memory import MemoryStore
from tests.support.wheels import Made, offer, wheel

ARM64 = Environment("3.13", "glibc-2.36", Platform.parse("linux/arm64"))
ARM = "cp313-cp313-manylinux_2_28_aarch64"


def asked(made: Made, *hashes: str) -> Asked:
    return Asked(made.name, made.version, hashes or (str(made.digest),))


def test_the_image_s_wheels_come_whatever_this_machine_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pure, compiled = wheel("pure"), wheel("fast", "2.0", tag=ARM)
    others = [
        wheel("fast", "2.0", {"x": b"1"}, tag="cp313-cp313-manylinux_2_17_aarch64"),
        wheel("fast", "2.0", {"x": b"2"}, tag="cp313-cp313-manylinux_2_28_x86_64"),
        wheel("fast", "2.1", tag=ARM),
    ]
    offer(monkeypatch, tmp_path / "offer", pure, compiled, *others)
    store = MemoryStore()
    fetched = download([asked(pure), asked(compiled)], ARM64, store, SILENT)
    assert {
        (pure.file, pure.digest, len(pure.data)),
        (compiled.file, compiled.digest, len(compiled.data)),
    } == {(one.file, one.digest, one.size) for one in fetched}
    assert all(store.has_blob(one.digest) for one in (pure, compiled))


def test_other_hashes_than_sha256_are_held_to_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    made = wheel()
    offer(monkeypatch, tmp_path / "offer", made)
    good = "sha512:" + hashlib.sha512(made.data).hexdigest()
    (fetched,) = download([asked(made, good)], ARM64, MemoryStore(), SILENT)
    assert made.digest == fetched.digest


def test_wrong_bytes_are_refused_and_the_store_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, tmp_path / "offer", wheel())
    store = MemoryStore()
    with pytest.raises(FetchError, match=r"pip cannot fetch what is to come of demo 1\.0:\n"):
        download([asked(wheel(), f"sha256:{'a' * 64}")], ARM64, store, SILENT)
    assert not store.has_blob(wheel().digest)


def test_a_source_distribution_is_no_substitute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, tmp_path / "offer")
    data = b"not looked into"
    (tmp_path / "offer" / "demo-1.0.tar.gz").write_bytes(data)
    with pytest.raises(FetchError, match=r"demo 1\.0") as caught:
        download([asked(wheel(), str(Digest.of(data)))], ARM64, MemoryStore(), SILENT)
    assert "No matching distribution found for demo==1.0" in str(caught.value)


def test_a_failing_pip_is_quoted_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, tmp_path / "offer")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(FetchError) as caught:
        download([asked(wheel())], ARM64, MemoryStore(), SILENT)
    assert "No matching distribution found for demo==1.0" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("script", "error", "said"),
    [
        ("echo 'python: No module named pip' >&2; exit 1", SourceError, "has no pip, and wheels"),
        ("exit 7", FetchError, "it said nothing"),
        ("exit 0", FetchError, r"demo 1\.0: pip brought no wheel of it"),
        (
            "echo http://me:secret@index.test/x >&2; exit 2",
            FetchError,
            r"http://\*\*\*@index.test/x$",
        ),
    ],
)
def test_a_pip_that_does_not_do_its_work(
    tmp_path: Path, script: str, error: type[SourceError], said: str
) -> None:
    python = fake(tmp_path, script)
    with pytest.raises(error, match=said):
        download([asked(wheel())], ARM64, MemoryStore(), SILENT, python=python)


def test_what_pip_brings_is_hashed_again(tmp_path: Path) -> None:
    evil = tmp_path / "evil.whl"
    evil.write_bytes(b"evil")
    bring = f'while [ "$1" != --dest ]; do shift; done; mkdir $2; cp {evil} $2/{wheel().file}'
    store = MemoryStore()
    with pytest.raises(DigestMismatch):
        download([asked(wheel())], ARM64, store, SILENT, python=fake(tmp_path, bring))
    asks = [asked(wheel(), *(f"sha256:{letter * 64}" for letter in "ab"))]
    with pytest.raises(FetchError, match="none of the hashes that it may have"):
        download(asks, ARM64, store, SILENT, python=fake(tmp_path, bring))
    assert not store.has_blob(Digest.of(b"evil"))


def test_a_size_that_is_not_the_wheel_s_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, store = wheel(), MemoryStore()
    offer(monkeypatch, tmp_path / "offer", made)
    pip = Pip(ARM64, {made.digest: ("demo", "1.0")})
    with pytest.raises(FetchError, match=r"demo 1\.0: expected 5 bytes, found \d+ with the right"):
        pip.bring([Wanted("demo", made.digest, 5, ())], store, SILENT)
    assert not store.has_blob(made.digest)
    pip.bring([Wanted("demo", made.digest, len(made.data), ())], store, SILENT)
    assert store.has_blob(made.digest)


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    python = str(tmp_path / "none")
    with pytest.raises(SourceError, match="cannot be run: No such file"):
        download([asked(wheel())], ARM64, MemoryStore(), SILENT, python=python)


def test_one_failure_ends_the_others(tmp_path: Path) -> None:
    # The first batch fails; another one would take for ever.
    script = "grep -q p00 requirements.txt && exit 1; exec sleep 600"
    asks = [Asked(f"p{number:02}", "1", (f"sha256:{'a' * 64}",)) for number in range(30)]
    with pytest.raises(FetchError, match="p00 1"):
        download(asks, ARM64, MemoryStore(), SILENT, python=fake(tmp_path, script))


def test_pinned_wheels_that_are_there_are_not_asked_for() -> None:
    store, made = MemoryStore(), wheel()
    store.put_blob(made.data)
    pip = Pip(ARM64, {made.digest: ("demo", "1.0")}, python="/nonexistent")
    pip.bring([Wanted("demo", made.digest, None, ())], store, SILENT)


def fake(folder: Path, script: str) -> str:
    """Return a program that stands for a Python with a pip."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    assert "linux" == sys.platform
    return str(path)
