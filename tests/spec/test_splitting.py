"""Packages and files spread over layers: which goes where, and that nothing else changes by it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

import immutable
from immutable.build.instantiate import divide
from immutable.build.loading import load_lock
from immutable.build.results import BuiltPlatform, Image
from immutable.config import Config
from immutable.content.entries import Arrangement, Entry, EntryKind, arrange, directory, file
from immutable.errors import LockError, LockStale, SpecError
from immutable.oci.digest import Digest
from immutable.spec.derivation import Derivation, Job, Part
from immutable.spec.lock import Lock, LockedLayer, Pin, dumps, parse
from immutable.spec.splitting import SizedPackage, assign, divided, part_below, part_of
from immutable.store import AbstractStore, Store
from immutable.store.memory import MemoryStore
from immutable.testing import assert_reproducible
from tests.support import needs, specs
from tests.support.debian import DebianMirror, File
from tests.support.npm import Project
from tests.support.shipped import SPECS
from tests.support.specs import AMD64, ARM64, CONFIG
from tests.support.wheels import Made, offer, pylock, wheel


def packages(**sizes: int) -> list[SizedPackage]:
    """Packages that are their own origins; of ``a_b`` it is a."""
    return [SizedPackage(name, name.split("_")[0], size) for name, size in sizes.items()]


def parts(assigned: Mapping[str, int]) -> list[set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    for name, part in assigned.items():
        found[part].add(name)
    return [found[part] for part in sorted(found)]


# Which package goes where


def test_the_largest_stand_alone_and_the_rest_is_spread_by_origin() -> None:
    given = packages(big=900, huge=1000, a_x=30, a_y=30, b_x=50, c_x=20, c_y=25)
    assert [{"huge"}, {"big"}, {"a_x", "a_y"}, {"b_x", "c_x", "c_y"}] == [
        *parts(assign(given, 4, {}))
    ]


def test_few_packages_have_a_layer_each() -> None:
    assert [{"b"}, {"a"}, {"c"}] == parts(assign(packages(a=2, b=3, c=1), 12, {}))


def test_one_part_takes_all() -> None:
    assert {"a": 0, "b": 0} == assign(packages(a=2, b=3), 1, {})


def test_no_packages() -> None:
    assert {} == assign([], 3, {})


def test_packages_without_a_size_are_spread() -> None:
    assert {"a", "b", "c"} == assign(packages(a=0, b=0, c=0), 2, {}).keys()


def test_what_is_assigned_stays_whatever_its_size_becomes() -> None:
    before = assign(packages(big=900, a=10, b=10, c=10), 3, {})
    assert before == assign(packages(big=1, a=500, b=10, c=9000), 3, before)


def test_a_new_package_joins_its_origin_else_an_unused_part_else_the_smallest() -> None:
    before = {"big": 0, "a_x": 1, "b": 2, "gone": 3}
    now = packages(big=900, a_x=50, b=10, a_new=400, c=5, d=5)
    assert {"big": 0, "a_x": 1, "b": 2, "a_new": 1, "c": 3, "d": 3} == assign(now, 4, before)
    assert 2 == assign(now, 3, {"big": 0, "a_x": 1, "b": 2})["c"]


SIZES = st.dictionaries(
    st.from_regex(r"[a-e]_[a-z]{1,3}", fullmatch=True), st.integers(0, 1000), max_size=30
)


@given(SIZES, SIZES, st.integers(1, 12))
def test_an_assignment_holds_for_any_packages(
    first: dict[str, int], then: dict[str, int], most: int
) -> None:
    before = assign(packages(**first), most, {})
    assert first.keys() == before.keys()
    assert all(0 <= part < most for part in before.values())
    assert before == assign(packages(**dict(reversed(first.items()))), most, {})
    after = assign(packages(**then), most, before)
    assert then.keys() == after.keys()
    assert all(0 <= part < most for part in after.values())
    assert {n: p for n, p in before.items() if n in then} == {
        n: p for n, p in after.items() if n in before
    }


# In the lock


def pin(name: str, size: int = 1, **more: Any) -> Pin:
    return Pin(name, "1", "", f"{name}.whl", size, Digest.of(name.encode()), **more)


def test_the_lock_says_which_part_has_a_pin() -> None:
    layer = LockedLayer("app", "wheels", {}, (AMD64,), (), (pin("a", part=0), pin("b", part=3)))
    lock = Lock(layer=(layer,))
    assert lock == parse(dumps(lock).encode(), "lock")
    wrong = dumps(lock).replace("part = 3", "part = -1")
    with pytest.raises(LockError, match=r"layer\[0\]\.pin\[1\]\.part: expected 0 to 99, found -1"):
        parse(wrong.encode(), "lock")


def test_a_name_has_one_part_for_all_platforms_and_versions() -> None:
    pins = (
        pin("a", 10, platforms=(AMD64,)),
        evolve(pin("a", 900, platforms=(ARM64,)), path="other", version="2"),
        pin("b", 500),
        pin("c", 5),
    )
    locked = divided(
        LockedLayer("app", "wheels", {}, (AMD64, ARM64), (), pins), 2, lambda one: one.name, None
    )
    assert [0, 0, 1, 1] == [one.part for one in locked.pin]


# In the graph


def job(*given: int | None) -> Job:
    pins = tuple(pin(str(number), part=part) for number, part in enumerate(given))
    derivation = Derivation("wheels", 1, 0, {}, tuple(one.sha256 for one in pins))
    return Job(derivation, pins=pins)


def test_parts_without_packages_are_left_out() -> None:
    whole = job(5, 2, 5)
    assert [Part(0, 2, (1, 0, 1)), Part(1, 2, (1, 0, 1))] == [
        one.derivation.part for one in divide(whole, loose=False)
    ]
    assert [0, 1, 2] == [
        one.derivation.part.number for one in divide(whole, loose=True) if one.derivation.part
    ]


def test_a_layer_that_is_not_spread_stays_what_it_was() -> None:
    for whole in (job(None, None), job(), job(None, 1)):
        assert (whole,) == divide(whole, loose=True)


def test_parts_have_identities_of_their_own_and_one_whole() -> None:
    whole = job(0, 1, 2)
    made = divide(whole, loose=True)
    assert 5 == len({whole.digest, *(one.digest for one in made)})
    assert {whole.digest} == {one.derivation.whole for one in (whole, *made)}


# In the layer


def test_a_part_has_its_files_and_their_parents() -> None:
    whole = arrange(
        [
            [directory(b"opt", 0o750), file(b"opt/a/one", b"1"), directory(b"opt/empty/in")],
            [file(b"opt/b/two", b"2")],
            [file(b"etc/three", b"3")],
        ],
        mtime=0,
    )
    assert [b"opt", b"opt/a", b"opt/a/one"] == paths(whole.part([0], rest=False))
    assert [b"opt", b"opt/b", b"opt/b/two"] == paths(whole.part([1], rest=False))
    assert [b"etc", b"opt", b"opt/empty", b"opt/empty/in", b"etc/three"] == paths(
        whole.part([2], rest=True)
    )
    assert 0o750 == next(iter(whole.part([1], rest=False))).mode


def paths(arrangement: Arrangement) -> list[bytes]:
    return [entry.path for entry in arrangement]


# Names


def test_a_name_has_its_part_by_itself() -> None:
    found = [part_of(name, 12) for name in (b"", b"a", b"lib", b"main.js", b"\xff")]
    assert [5, 1, 3, 8, 6] == found
    assert {0} == {part_of(str(number).encode(), 1) for number in range(100)}


def test_what_is_below_a_directory_goes_by_its_first_name() -> None:
    lib = part_of(b"lib", 12)
    assert lib == part_below(b"srv/app", b"srv/app/lib/a/b", 12) == part_below(b"", b"lib/x", 12)
    assert part_of(b"srv", 12) == part_below(b"srv/app", b"srv/apple/lib", 12)


@given(st.binary(), st.integers(1, 99))
def test_with_one_part_more_a_name_stays_or_goes_there(name: bytes, most: int) -> None:
    assert part_of(name, most + 1) in (part_of(name, most), most)


def test_names_are_spread_evenly() -> None:
    counts = Counter(part_of(f"package-{number}".encode(), 10) for number in range(10_000))
    assert set(range(10)) == set(counts)
    assert all(900 < count < 1100 for count in counts.values())


# In the image


def stacked(store: AbstractStore, built: BuiltPlatform) -> dict[str, Entry]:
    """What the layers of an image leave."""
    found: dict[str, Entry] = {}
    for layer in built.layers:
        for path, entry in specs.contents(store, layer).items():
            assert path not in found or EntryKind.DIRECTORY is found[path].kind
            found[path] = entry
    return found


def shared(before: BuiltPlatform, after: BuiltPlatform) -> float:
    """The share of the bytes of `after`'s layers that `before` has too."""
    there = {layer.blob.digest for layer in before.layers}
    sizes = [(layer.blob.size, layer.blob.digest in there) for layer in after.layers]
    return sum(size for size, known in sizes if known) / sum(size for size, _ in sizes)


def changed(before: Image, after: Image) -> list[str]:
    there = {layer.blob.digest for layer in before.layers}
    return [layer.part for layer in after.layers if layer.blob.digest not in there]


def noise(name: str, size: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(size)


WHEELS = tuple(
    wheel(f"pkg{n}", "1.0", {f"pkg{n}/data.bin": noise(str(n), 3000 + 100 * n)}) for n in range(9)
)
NEWER = wheel("pkg4", "1.1", {"pkg4/data.bin": noise("new", 3400), "pkg4/more.py": b"MORE = 1\n"})


def with_wheels(folder: Path, *wheels: Made, **options: Any) -> Path:
    layer = specs.layer(
        "wheels", "app", lockfile="pylock.toml", python="3.11", target="/app/lib", **options
    )
    path = specs.write(folder, layer)
    (folder / "pylock.toml").write_text(pylock(*wheels))
    return path


def test_wheels_over_layers_hold_what_one_layer_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, tmp_path / "offer", *WHEELS, NEWER)
    one, several = tmp_path / "one", tmp_path / "several"
    updated = tuple(NEWER if each.name == NEWER.name else each for each in WHEELS)
    with Store.open(tmp_path / "store") as store:
        whole = locked(with_wheels(one, *WHEELS), store)
        split = locked(with_wheels(several, *WHEELS, layers=4), store)
        assert ["1/4", "2/4", "3/4", "4/4"] == [layer.part for layer in split.layers]
        assert stacked(store, whole.platforms[0]) == stacked(store, split.platforms[0])
        after = locked(with_wheels(several, *updated, layers=4), store)
        assert 1 == len(changed(split, after))
        assert all(layer.cached for layer in locked(several / "web.toml", store).layers)
        assert_reproducible(several / "web.toml", store=store, config=CONFIG)


def locked(path: Path, store: AbstractStore, config: Config = CONFIG) -> Image:
    immutable.lock(path, store, config=config)
    return immutable.build(path, store, config=config)


def npm_project(root: Path, **options: Any) -> Project:
    project = Project(root, options=options)
    for number in range(9):
        project.add(
            f"@scope/p{number}" if number < 3 else f"p{number}",
            {
                "package.json": f'{{"name": "p{number}"}}',
                "cli.js": noise(str(number), 3000 + 100 * number).hex(),
            },
            bin={f"p{number}": "cli.js"},
        )
    return project


def test_npm_packages_over_layers_hold_what_one_layer_holds(tmp_path: Path) -> None:
    with MemoryStore() as store:
        whole = npm_project(tmp_path / "one").build(store)
        project = npm_project(tmp_path / "several", layers=4)
        split = project.build(store)
        assert stacked(store, whole.platforms[0]) == stacked(store, split.platforms[0])
        assert ["1/4", "2/4", "3/4", "4/4"] == [layer.part for layer in split.layers]
        project.add("p5", {"cli.js": "new"}, version="1.1.0", bin={"p5": "cli.js"})
        after = project.build(store)
        # Its own layer, and the one with npm's list of what is installed.
        assert 2 == len(changed(split, after))
        assert "4/4" in changed(split, after)


def test_debian_packages_over_layers_hold_what_one_layer_holds(tmp_path: Path) -> None:
    mirror = DebianMirror(tmp_path)
    for number in range(8):
        mirror.add(
            f"p{number}",
            arch="amd64",
            files={
                f"/usr/bin/p{number}": File(noise(str(number), 4000 + 100 * number), 0o755),
                "/usr/share/common/same": b"the same in all",
                f"/var/lib/p{number}/.keep": b"",
            },
            depends=f"p{number + 1}" if number < 7 else "base-files",
        )
    mirror.add("base-files", arch="amd64", files={"/var/lib/base": File(b"", 0o600, 3, 4)})
    nowhere = tmp_path / "nowhere"
    layer = specs.layer("debian", "app", suite="bookworm", pockets=[], packages=["p0"])
    layer += f'keyring = "{mirror.keyring.name}"\n'
    one = specs.write(tmp_path, layer, "one.toml")
    several = specs.write(tmp_path, layer + "layers = 4\n", "several.toml")
    with mirror.serve() as url, Store.open(tmp_path / "store") as store:
        config = Config.load(
            mirror.environ(url), store=nowhere, user_file=nowhere, apt=nowhere, keyrings=nowhere
        )
        whole, split = (locked(path, store, config) for path in (one, several))
        assert stacked(store, whole.platforms[0]) == stacked(store, split.platforms[0])
        assert ["1/4", "2/4", "3/4", "4/4"] == [layer.part for layer in split.layers]
        assert_reproducible(several, store=store, config=config)


# In the spec


@pytest.mark.parametrize("count", [0, -1, 101, '"12"', "true", "1.5"])
def test_a_count_that_cannot_be(tmp_path: Path, count: object) -> None:
    path = with_wheels(tmp_path, *WHEELS)
    path.write_text(path.read_text() + f"layers = {count}\n")
    with pytest.raises(SpecError, match=r"layer\[0\]\.layers: expected"):
        immutable.load(path)


def test_one_layer_is_what_there_is_without_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, tmp_path / "offer", *WHEELS)
    path = with_wheels(tmp_path, *WHEELS)
    with MemoryStore() as store:
        plain = locked(path, store)
        with_wheels(tmp_path, *WHEELS, layers=1)
        assert () == immutable.check(path, config=CONFIG)
        assert plain.digest == immutable.build(path, store, config=CONFIG).digest


def test_another_count_makes_the_lock_stale_and_assigns_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, tmp_path / "offer", *WHEELS)
    path = with_wheels(tmp_path, *WHEELS, layers=4)
    with MemoryStore() as store:
        locked(path, store)
        with_wheels(tmp_path, *WHEELS, layers=2)
        assert ('layer "app" has layers = 2, the lock has 4',) == immutable.check(
            path, config=CONFIG
        )
        with pytest.raises(LockStale, match="layers = 2"):
            immutable.build(path, store, config=CONFIG)
        assert ["1/2", "2/2"] == [layer.part for layer in locked(path, store).layers]


# With real packages


def assigned(path: Path) -> dict[str, int | None]:
    lock = load_lock(immutable.load(path))
    assert lock is not None
    return {one.name: one.part for one in lock.layer[0].pin}


def updated(pins: Sequence[Pin], newer: Mapping[tuple[str, str], Pin], names: set[str]) -> Any:
    return tuple(
        evolve(newer[one.name, one.architecture], part=one.part) if one.name in names else one
        for one in pins
    )


@pytest.mark.network
@needs.network()
def test_an_update_of_openssl_leaves_most_of_a_real_image_shared(tmp_path: Path) -> None:
    text = (SPECS / "python.toml").read_text().replace("packages =", "layers = 12\npackages =")
    spec, later = tmp_path / "python.toml", tmp_path / "later.toml"
    spec.write_text(text)
    later.write_text(text.replace("pockets = []", 'pockets = ["security"]'))
    with Store.open(tmp_path / "store") as store:
        before = immutable.lock(spec, store).lock.layer[0]
        (tmp_path / "later.lock.toml").write_text((tmp_path / "python.lock.toml").read_text())
        after = immutable.lock(later, store, upgrade=True).lock.layer[0]
        assert assigned(spec).items() <= assigned(later).items()
        newer = {(one.name, one.architecture): one for one in after.pin}
        pins = updated(before.pin, newer, {"libssl3", "openssl"})
        assert pins != before.pin
        old = immutable.build(spec, store)
        lock = Lock(layer=(evolve(before, pin=pins, index=after.index),))
        (tmp_path / "python.lock.toml").write_text(dumps(lock))
        new = immutable.build(spec, store)
    for one, other in zip(old.platforms, new.platforms, strict=True):
        assert 13 == len(one.layers)
        assert 0.8 < shared(one, other) < 1
