"""Plans: what is known before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from immutable.build.loading import load, load_lock, lock_path
from immutable.build.plan import plan
from immutable.builders.registry import builders
from immutable.config import Config
from immutable.errors import LockError, LockMissing, LockStale, SpecError
from immutable.oci.digest import Digest
from immutable.progress import SILENT
from immutable.spec.lock import Lock, LockedLayer, Pin, dumps
from immutable.store import MemoryStore
from tests.support.progress import Notes
from tests.support.specs import AMD64, ARM64, CONFIG, build, layer, write

LOCKED = layer("archive", "tool", url="https://mirror.test/tool.tar")


def planned(spec: Path, config: Config = CONFIG, notes: Notes | None = None) -> object:
    return plan(load(spec), MemoryStore(), config, notes or SILENT)


def test_the_kinds_of_the_house_are_there() -> None:
    assert {"archive", "debian", "files", "image"} <= set(builders())


def test_a_spec_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.toml: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(SpecError, match="Is a directory"):
        load(tmp_path)


def test_a_huge_spec_is_refused(tmp_path: Path) -> None:
    (tmp_path / "web.toml").write_bytes(b"#" * ((16 << 20) + 1))

    with pytest.raises(SpecError, match="larger than 16777216 bytes"):
        load(tmp_path / "web.toml")


def test_the_lock_stands_beside_the_spec(tmp_path: Path) -> None:
    assert tmp_path / "web.lock.toml" == lock_path(load(write(tmp_path, "")))
    assert load_lock(load(write(tmp_path, ""))) is None


def test_what_comes_from_outside_needs_a_lock(tmp_path: Path) -> None:
    spec = write(tmp_path, LOCKED)

    with pytest.raises(LockMissing) as caught:
        planned(spec)

    assert str(caught.value) == (
        f"{tmp_path}/web.lock.toml: there is no lock, and {spec} takes tool from outside; "
        f"run `immutable lock {spec}`"
    )


def test_a_damaged_lock_is_named(tmp_path: Path) -> None:
    spec = write(tmp_path, LOCKED)
    (tmp_path / "web.lock.toml").write_text("lock-version = 99\n")

    with pytest.raises(LockError, match=r"web\.lock\.toml: lock-version: expected 1, found .*99"):
        planned(spec)


def test_a_lock_for_what_is_no_longer_asked_is_stale(tmp_path: Path) -> None:
    pin = Pin("tool.tar", "", "", "tool.tar", 1, Digest.of(b"x"))
    request = {"url": "https://mirror.test/tool.tar"}
    locked = LockedLayer("tool", "archive", request, (AMD64,), (), (pin,))
    (tmp_path / "web.lock.toml").write_text(dumps(Lock(layer=(locked,))))
    assert planned(write(tmp_path, LOCKED))

    for spec in (
        write(tmp_path, ""),
        write(tmp_path, LOCKED.replace("tool.tar", "other.tar")),
        write(tmp_path, LOCKED, image='platforms = ["linux/arm64"]'),
    ):
        with pytest.raises(LockStale) as caught:
            planned(spec)
        lines = str(caught.value).splitlines()
        assert all(line.startswith(f"{tmp_path}/web.lock.toml: stale: layer ") for line in lines)
        assert str(caught.value).endswith(f"; run `immutable lock {spec}`")


def test_platforms_are_the_spec_s_or_the_machine_s(tmp_path: Path) -> None:
    spec = write(tmp_path, "", image="# platforms are left out")

    arm = plan(load(spec), MemoryStore(), evolve(CONFIG, machine="aarch64"), SILENT)

    assert (ARM64,) == arm.platforms
    with pytest.raises(SpecError, match=r"image\.platforms: is required here: .*'toaster'"):
        planned(spec, evolve(CONFIG, machine="toaster"))


def test_other_platforms_than_the_spec_s_are_refused(tmp_path: Path) -> None:
    spec = load(write(tmp_path, ""))

    with pytest.raises(SpecError, match=r"platforms: linux/arm64 is not among linux/amd64"):
        plan(spec, MemoryStore(), CONFIG, SILENT, platforms=[ARM64])


# SOURCE_DATE_EPOCH


def test_a_set_epoch_is_mentioned_and_does_not_count(tmp_path: Path) -> None:
    spec = write(tmp_path, "")
    notes = Notes()
    config = evolve(CONFIG, source_date_epoch=1_700_000_000)

    image = build(spec, MemoryStore(), config=config, progress=notes)

    assert image.digest == build(spec, MemoryStore()).digest
    (note,) = notes.notes
    assert note.startswith("SOURCE_DATE_EPOCH is set and does not count: ")
    assert note.endswith(f'{spec} does not say created = "source-date-epoch"')


def test_the_epoch_counts_where_the_spec_says_so(tmp_path: Path) -> None:
    spec = write(tmp_path, "", image='created = "source-date-epoch"')
    notes = Notes()
    config = evolve(CONFIG, source_date_epoch=1_700_000_000)

    image = build(spec, MemoryStore(), config=config, progress=notes)

    assert "2023-11-14T22:13:20Z" == image.config.created
    assert [] == notes.notes
    with pytest.raises(SpecError, match="wants SOURCE_DATE_EPOCH, which is not set"):
        build(spec, MemoryStore())


def test_an_epoch_beyond_the_calendar_is_refused(tmp_path: Path) -> None:
    spec = write(tmp_path, "", image='created = "source-date-epoch"')

    with pytest.raises(SpecError, match="SOURCE_DATE_EPOCH: expected a time before the year 10000"):
        planned(spec, evolve(CONFIG, source_date_epoch=10**14))
