"""Commands of real programs, as root and as an ordinary user, on disk and in memory."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from immutable.build.contents import LayerContents
from immutable.builders.run import twice
from immutable.content.capabilities import XATTR, parse
from immutable.errors import CommandError
from immutable.oci.digest import Digest
from immutable.store import Store
from tests.support import commands, needs, sandboxes
from tests.support.commands import HELPED, REFUSED, SAME, Case, Workshop
from tests.support.overlay import Overlay, Shown, together
from tests.support.shown import shown
from tests.support.specs import contents, text

pytestmark = [
    needs.network(),
    needs.root(),
    needs.tool("newuidmap"),
    needs.memory(),
    pytest.mark.network,
]


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with commands.place("/var/tmp") as folder:  # /tmp may be in memory
        yield Workshop.new(folder)


@pytest.fixture(scope="module")
def store(workshop: Workshop) -> Iterator[Store]:
    with workshop.opened() as opened:
        yield opened


@pytest.fixture(scope="module")
def on_disk(workshop: Workshop) -> dict[str, str]:
    """What root makes on this machine's disk."""
    return commands.diff_ids(workshop, SAME)


@pytest.fixture(scope="module")
def in_memory(workshop: Workshop) -> Iterator[dict[str, str]]:
    """What an ordinary user makes in memory."""
    with sandboxes.user(), commands.place("/dev/shm", sandboxes.USER) as folder:
        yield commands.of_user(workshop.copied(folder, sandboxes.USER), SAME)


@pytest.mark.parametrize("name", SAME)
def test_root_on_disk_and_a_user_in_memory_make_one_layer(
    name: str, on_disk: dict[str, str], in_memory: dict[str, str]
) -> None:
    assert Digest.parse(on_disk[name]) == Digest.parse(in_memory[name])


def test_each_of_them_makes_a_layer_of_its_own(on_disk: dict[str, str]) -> None:
    empty = Digest.of(bytes(1024))
    assert len(SAME) == len({*on_disk.values()} - {str(empty)})


@pytest.mark.parametrize("name", REFUSED)
def test_what_comes_out_otherwise_is_named_and_nothing_is_stored(
    name: str, workshop: Workshop, store: Store
) -> None:
    case, said = REFUSED[name]
    before = held(store)
    with pytest.raises(CommandError, match=f'^layer "made": .* nothing is stored\n{said}'):
        workshop.build(name, case, store)
    assert before == held(store)


@pytest.mark.parametrize("name", REFUSED)
def test_one_run_would_have_stored_it(
    name: str, workshop: Workshop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twice, "MACHINE", commands.ONCE)
    before = held(store)
    workshop.build(f"{name}-once", REFUSED[name][0], store)
    assert before != held(store)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_said_of_it_helps(name: str, workshop: Workshop, store: Store) -> None:
    workshop.build(f"{name}-helped", HELPED[name], store)


def held(store: Store) -> tuple[set[str], object]:
    """Return the names of all blobs, and what images there are."""
    assert store.root is not None
    names = {path.name for path in (store.root / "blobs").rglob("*")}
    return names, store.references()


Files = dict[bytes, Shown]


def mounted(workshop: Workshop, store: Store, name: str, tmp_path: Path) -> tuple[Files, Files]:
    """Return what a kernel overlay mount shows without what a command made, and with it."""
    image = workshop.build(name, SAME[name], store)
    layers = [one.blob for one in image.platforms[0].layers]
    rootfs = LayerContents(store).rootfs(layers)
    tars = [tmp_path / f"{number}.tar" for number in range(len(layers))]
    for blob, path in zip(layers, tars, strict=True):
        with rootfs.opened(blob) as tar, path.open("wb") as file:
            shutil.copyfileobj(tar, file)
    with contextlib.closing(Overlay()) as overlay:
        before, after = overlay.shows(tars[:-1]), overlay.shows(tars)
    own = shown(rootfs)
    assert (after, together(after)) == (own, together(own))
    return before, after


@needs.overlay()
def test_a_kernel_overlay_mount_shows_what_the_command_left(
    workshop: Workshop, store: Store, tmp_path: Path
) -> None:
    before, after = mounted(workshop, store, "changes", tmp_path)

    new = {path.decode(): one for path, one in after.items() if before.get(path) != one}
    can = evolve(before[b"srv/can"], xattrs=((XATTR, parse("cap_net_bind_service+ep")),))
    assert {
        "srv/two": (0o644, 0, 0, hashlib.sha256(b"one").hexdigest()),
        "srv/old/new": (0o644, 0, 0, hashlib.sha256(b"new\n").hexdigest()),
        "srv/first": (0o644, 0, 0, hashlib.sha256(b"linked\n").hexdigest()),
        "srv/second": (0o644, 0, 0, hashlib.sha256(b"linked\n").hexdigest()),
        "srv/can": (can.mode, can.uid, can.gid, can.sha256),
    } == {path: (one.mode, one.uid, one.gid, one.sha256) for path, one in new.items()}
    assert can == new["srv/can"]
    gone = {b"srv/one", b"srv/gone", b"srv/old/a", b"srv/old/in", b"srv/old/in/b"}
    assert gone == before.keys() - after.keys()
    assert (b"srv/first", b"srv/second") in together(after)


@needs.overlay()
def test_a_kernel_overlay_mount_shows_what_the_command_saw(
    workshop: Workshop, store: Store, tmp_path: Path
) -> None:
    image = workshop.build("moves", SAME["moves"], store)
    seen = text(contents(store, image.platforms[0].layers[-1])["srv/seen"]).splitlines()
    _, after = mounted(workshop, store, "moves", tmp_path)

    lines = [
        listed(path, one)
        for path, one in after.items()
        if path == b"srv" or path.startswith(b"srv/")
    ]
    assert [line for line in seen if "/srv/seen" not in line] == sorted(
        line for line in lines if "/srv/seen" not in line
    )
    assert (b"srv/kinds/a", b"srv/moved/a") in together(after)


def listed(path: bytes, one: Shown) -> str:
    """Return a path's line as the command lists it: find(1)."""
    kind = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}[one.type]
    mode = 0o777 if kind == "l" else one.mode
    more = one.size if kind == "f" else one.target.decode()
    return f"{kind} {mode:o} {one.uid}:{one.gid} {more} /{path.decode()}"


def test_a_file_that_was_only_touched_gives_a_layer_without_entries(
    workshop: Workshop, store: Store
) -> None:
    case = Case("touch -r /srv/two /srv/two; touch /srv/one", "few")
    image = workshop.build("touched", case, store)
    assert {} == contents(store, image.platforms[0].layers[-1])


def test_a_layer_that_is_there_is_looked_up_without_a_sandbox(
    workshop: Workshop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case("echo 1 > /srv/new", "few")
    image = workshop.build("known", case, store)
    monkeypatch.setattr(twice, "MACHINE", commands.NONE)
    assert image.digest == workshop.build("known", case, store).digest
    with pytest.raises(AssertionError, match="a sandbox was opened"):
        workshop.build("unknown", Case("echo 2 > /srv/new", "few"), store)
