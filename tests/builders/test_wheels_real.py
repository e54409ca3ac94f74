"""Wheels from a language's lock to an image: lock, build, and what makes a lock stale."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

import immutable
from immutable.build.loading import load_lock
from immutable.config import Config
from immutable.content.entries import EntryKind
from immutable.errors import (
    ArchiveError,
    FetchError,
    ImmutableError,
    LockError,
    LockStale,
    ResolutionError,
    SourceError,
    SpecError,
)
from immutable.oci.digest import Digest
from immutable.spec.lock import LockedLayer
from immutable.store import Store
from immutable.store.memory import MemoryStore
from immutable.testing import assert_reproducible
from tests.support import specs
from tests.support.specs import CONFIG
from tests.support.stores import tree
from tests.support.wheels import Made, offer, pylock, wheel

INTEL, ARM = (f"cp311-cp311-manylinux_2_17_{machine}" for machine in ("x86_64", "aarch64"))
BOTH = 'platforms = ["linux/amd64", "linux/arm64"]'
PURE = wheel("pure", scripts={"pure": "pure:main"})
FAST = {
    "amd64": wheel("fast", files={"fast.so": b"\x7fELF" + b"\x3e"}, tag=INTEL),
    "arm64": wheel("fast", files={"fast.so": b"\x7fELF" + b"\xb7"}, tag=ARM),
}


def write(folder: Path, lockfile: str, *, name: str = "pylock.toml", **options: object) -> Path:
    layer = specs.layer("wheels", "dependencies", lockfile=name, python="3.11", **options)
    path = specs.write(folder, layer, image=BOTH)
    (folder / name).write_text(lockfile)
    return path


def lock(spec: Path, store: immutable.Store | MemoryStore, **options: object) -> LockedLayer:
    locked = immutable.lock(spec, store, config=CONFIG, **options)  # type: ignore[arg-type]
    (layer,) = locked.lock.layer
    return layer


def requirements(*wheels: Made) -> str:
    names = {one.name: one.version for one in wheels}
    return "".join(
        f"{name}=={version} "
        + " ".join(f"--hash={one.digest}" for one in wheels if one.name == name)
        + "\n"
        for name, version in names.items()
    )


def test_from_pylock_to_an_image_of_each_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, tmp_path / "offer", PURE, *FAST.values())
    spec = write(tmp_path / "spec", pylock(*FAST.values(), PURE))
    with Store.open(tmp_path / "store") as store:
        locked = lock(spec, store)
        assert [
            ("fast", "arm64", ("linux/arm64",)),
            ("fast", "amd64", ("linux/amd64",)),
            ("pure", "", ()),
        ] == [(p.name, p.architecture, tuple(map(str, p.platforms))) for p in locked.pin]
        # Everything was known, so nothing had to be fetched yet.
        assert not store.has_blob(PURE.digest)
        image = specs.build(spec, store)
        assert specs.build(spec, store, offline=True).digest == image.digest
        for built, name in zip(image.platforms, ("amd64", "arm64"), strict=True):
            entries = specs.contents(image.store, built.layers[0])
            so = entries["usr/local/lib/python3.11/dist-packages/fast.so"]
            assert so.content is not None
            assert {"amd64": b"\x7fELF\x3e", "arm64": b"\x7fELF\xb7"}[name] == b"".join(
                so.content.read()
            )
            assert "usr/local/bin/pure" in entries
        again = assert_reproducible(spec, store=store, config=CONFIG)
    assert image.digest == again.digest


def test_from_requirements_to_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, tmp_path / "offer", PURE, *FAST.values())
    text = requirements(PURE, *FAST.values())
    spec = write(tmp_path / "spec", text, name="requirements.txt")
    store = MemoryStore()
    locked = lock(spec, store)
    assert {
        (FAST["amd64"].file, FAST["amd64"].digest),
        (FAST["arm64"].file, FAST["arm64"].digest),
        (PURE.file, PURE.digest),
    } == {(pin.path, pin.sha256) for pin in locked.pin}
    assert {len(PURE.data)} == {pin.size for pin in locked.pin if pin.name == "pure"}
    # Other packages than these need no pip again.
    offer(monkeypatch, tmp_path / "empty")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "none"))
    (spec.parent / "requirements.txt").write_text(f"# a comment\n{text}")
    assert locked == lock(spec, MemoryStore())
    (spec.parent / "requirements.txt").write_text(requirements(*FAST.values()))
    assert [pin for pin in locked.pin if pin.name == "fast"] == list(lock(spec, MemoryStore()).pin)


def test_sizes_that_a_lock_leaves_out_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, tmp_path / "offer", PURE)
    spec = write(tmp_path / "spec", pylock(PURE, sizes=False))
    store = MemoryStore()
    (pin,) = lock(spec, store).pin
    assert (len(PURE.data), PURE.digest) == (pin.size, pin.sha256)
    assert store.has_blob(PURE.digest)


def test_a_layer_that_takes_the_same_wheels_is_built_once(tmp_path: Path) -> None:
    spec = write(tmp_path, pylock(PURE))
    store = MemoryStore()
    store.put_blob(PURE.data)
    lock(spec, store)
    amd64, arm64 = specs.build(spec, store).platforms
    assert amd64.layers[0].derivation == arm64.layers[0].derivation


def test_one_lock_answers_on_every_machine(tmp_path: Path) -> None:
    text = specs.layer("wheels", "dependencies", lockfile="pylock.toml", python="3.11")
    spec = specs.write(tmp_path, text, image="")
    spec.write_text(spec.read_text().replace('platforms = ["linux/amd64"]\n', ""))
    (tmp_path / "pylock.toml").write_text(pylock(*FAST.values()))
    (first,) = immutable.lock(spec, MemoryStore(), config=CONFIG).lock.layer
    other = evolve(CONFIG, machine="aarch64")
    (second,) = immutable.lock(spec, MemoryStore(), config=other).lock.layer
    assert first.request == second.request
    assert () == immutable.check(spec, config=CONFIG) == immutable.check(spec, config=other)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (wheel("two"), wheel("two", "1.1"), "asks for two 1.1 sha256:"),
        (wheel("two"), wheel("two", files={"x": b""}), "asks for two 1.0 sha256:"),
        (wheel("two"), wheel("three"), "no longer asks for two 1.0"),
    ],
)
def test_a_changed_language_lock_makes_ours_stale_and_names_the_package(
    tmp_path: Path, old: Made, new: Made, said: str
) -> None:
    spec = write(tmp_path, pylock(PURE, old))
    lock(spec, MemoryStore())
    (tmp_path / "pylock.toml").write_text(pylock(PURE, new))
    with pytest.raises(LockStale) as caught:
        specs.build(spec, MemoryStore())
    assert said in str(caught.value)
    assert "pure" not in str(caught.value).replace(str(tmp_path), "")
    assert "which the lock does not hold (packages)" in str(caught.value)


def test_what_does_not_change_the_wheels_leaves_the_lock_good(tmp_path: Path) -> None:
    spec = write(tmp_path, pylock(PURE))
    lock(spec, MemoryStore())
    text = pylock(PURE).replace("https://files.test", "https://other.test")
    (tmp_path / "pylock.toml").write_text(f"# another comment\n{text}")
    assert () == immutable.check(spec, config=CONFIG)


def test_a_new_wheel_of_a_pinned_package_changes_that_pin_alone(tmp_path: Path) -> None:
    spec = write(tmp_path, pylock(PURE, wheel("two")))
    before = lock(spec, MemoryStore())
    (tmp_path / "pylock.toml").write_text(pylock(PURE, wheel("two", "1.1")))
    after = lock(spec, MemoryStore())
    assert [p for p in before.pin if p.name == "pure"] == [p for p in after.pin if p.name == "pure"]
    assert ["1.1"] == [p.version for p in after.pin if p.name == "two"]


def test_a_layer_above_knows_whose_the_target_is(tmp_path: Path) -> None:
    text = specs.layer("wheels", "dependencies", lockfile="pylock.toml", python="3.11",
                       target="/app", owner="5:6")  # fmt: skip
    above = specs.layer("files", "app", entries=[{"path": "/app/x.py", "text": ""}])
    spec = specs.write(tmp_path, text + above)
    (tmp_path / "pylock.toml").write_text(pylock(PURE))
    store = MemoryStore()
    store.put_blob(PURE.data)
    immutable.lock(spec, store, config=CONFIG)
    image = specs.build(spec, store)
    folder = specs.contents(image.store, image.layers[1])["app"]
    assert (5, 6) == (folder.uid, folder.gid)


def test_the_layer_is_what_pip_installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "demo-1.0"
    made = wheel(
        files={
            "demo/__init__.py": b"",
            "demo/tool": b"\x7fELF",
            f"{name}.data/scripts/run.sh": b"#!/bin/sh\n",
            f"{name}.data/data/share/x": b"x",
            f"{name}.data/purelib/extra.py": b"",
        },
        modes={"demo/tool": 0o755, f"{name}.data/scripts/run.sh": 0o755},
    )
    offer(monkeypatch, tmp_path / "offer", made, PURE)
    spec = write(tmp_path / "spec", pylock(made, PURE), target="/t")
    store = MemoryStore()
    lock(spec, store)
    image = specs.build(spec, store)
    ours = {
        path: (entry.mode, specs.text(entry))
        for path, entry in specs.contents(store, image.layers[0]).items()
        if entry.kind is EntryKind.FILE
    }
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    command += ["--target", str(tmp_path / "t"), "demo", "pure"]
    subprocess.run(command, check=True, capture_output=True)
    theirs = {
        str(path.relative_to(tmp_path)): (path.stat().st_mode & 0o777, path.read_text())
        for path in (tmp_path / "t").rglob("*")
        if path.is_file() and path.name != "REQUESTED"
    }
    assert theirs.keys() == ours.keys()
    own = {path for path in ours if path.endswith(("/RECORD", "/INSTALLER", "/bin/pure"))}
    assert 5 == len(own)
    assert {p: theirs[p] for p in theirs.keys() - own} == {p: ours[p] for p in ours.keys() - own}


# --- bad input leaves lock and store as they were ---


SDIST = (
    'lock-version = "1.0"\ncreated-by = "t"\n[[packages]]\nname = "thing"\nversion = "1.0"\n'
    f'sdist = {{name = "thing-1.0.tar.gz", path = "x", hashes = {{sha256 = "{"a" * 64}"}}}}\n'
)


@pytest.mark.parametrize(
    ("name", "text", "error", "said"),
    [
        ("pylock.toml", SDIST, ResolutionError, "thing 1.0 for linux/amd64"),
        ("pylock.toml", "][", LockError, "pylock.toml: not TOML"),
        ("requirements.txt", "thing\n", LockError, "requirements.txt: line 1"),
        ("pylock.toml", pylock(FAST["amd64"]), ResolutionError, "'fast'"),
    ],
)
def test_a_language_lock_that_cannot_be_used_is_refused(
    tmp_path: Path, name: str, text: str, error: type[ImmutableError], said: str
) -> None:
    spec = write(tmp_path / "spec", text, name=name)
    with Store.open(tmp_path / "store") as store:
        before = tree(tmp_path / "store")
        with pytest.raises(error) as caught:
            lock(spec, store)
        assert said in str(caught.value)
        assert before == tree(tmp_path / "store")
    assert load_lock(immutable.load(spec)) is None


def test_a_language_lock_that_is_not_there(tmp_path: Path) -> None:
    spec = write(tmp_path, pylock(PURE))
    (tmp_path / "pylock.toml").unlink()
    for act in (lambda: lock(spec, MemoryStore()), lambda: specs.build(spec, MemoryStore())):
        with pytest.raises(SpecError, match=r"pylock\.toml: No such file"):
            act()


HOSTILE = wheel("pure", record=lambda rows: [*rows, ("../../../etc/passwd", "", "")])


def test_a_hostile_wheel_leaves_no_layer(tmp_path: Path) -> None:
    spec = write(tmp_path / "spec", pylock(HOSTILE))
    with Store.open(tmp_path / "store") as store:
        store.put_blob(HOSTILE.data)
        lock(spec, store)
        before = tree(tmp_path / "store")
        with pytest.raises(ArchiveError, match=r"pure-1\.0-py3-none-any\.whl: RECORD"):
            specs.build(spec, store)
        assert before == tree(tmp_path / "store")


def test_wheels_that_the_index_changed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write(tmp_path / "spec", pylock(PURE))
    offer(monkeypatch, tmp_path / "offer", evolve(HOSTILE, file=PURE.file))
    with Store.open(tmp_path / "store") as store:
        lock(spec, store)
        before = tree(tmp_path / "store")
        with pytest.raises(FetchError, match=r"pure 1\.0"):
            specs.build(spec, store)
        assert before == tree(tmp_path / "store")


def test_offline_names_what_is_missing(tmp_path: Path) -> None:
    spec = write(tmp_path, pylock(PURE))
    store = MemoryStore()
    lock(spec, store)
    with pytest.raises(SourceError, match=r"offline, and these are not in the store: pure 1\.0"):
        specs.build(spec, store, offline=True)


def test_no_host_gets_into_our_lock(tmp_path: Path) -> None:
    spec = write(tmp_path, pylock(PURE, *FAST.values()))
    lock(spec, MemoryStore())
    text = (tmp_path / "web.lock.toml").read_text()
    assert "files.test" not in text
    assert "://" not in text
    assert isinstance(CONFIG, Config)
    assert str(Digest.of(PURE.data).hex) in text
