"""The layer kind debian as a whole: its derivation, its entries, what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from immutable.builders.base import Builder, LockScope, Scope
from immutable.builders.debian import DebianBuilder, DebianOptions
from immutable.config import Config
from immutable.content.entries import EntryKind
from immutable.errors import ArchiveError, EntryError, SpecError
from immutable.net.fetch import Fetcher
from immutable.oci.platforms import Platform
from immutable.progress import SILENT
from immutable.sources.debian.relations import parse_request
from immutable.spec.document import Layer, Spec, parse
from immutable.spec.lock import LockedLayer
from immutable.spec.types import POCKETS, LayerName, PackageRequest, Suite
from immutable.store.memory import MemoryStore
from tests.support.debian import DATE, DebianMirror, File, tar_member
from tests.support.debian_layer import AMD64, build, package
from tests.support.progress import Notes


def test_it_is_a_builder() -> None:
    assert isinstance(DebianBuilder(), Builder)


def options(suite: str, *packages: str, **more: Any) -> DebianOptions:
    return DebianOptions(Suite(suite), tuple(map(PackageRequest, packages)), **more)


def unread(path: str) -> bytes:
    raise AssertionError(f"{path}: the request is in the spec")


def test_what_decides_the_packages_is_in_the_request_and_globs_are_not() -> None:
    options = DebianOptions("bookworm", ("nginx",), exclude=("/usr/share/doc/**",))  # type: ignore[arg-type]
    expected = {
        "suite": "bookworm",
        "pockets": ["updates", "security"],
        "components": ["main"],
        "packages": ["nginx"],
        "recommends": False,
        "essential": False,
    }
    assert expected == DebianBuilder().request(options, unread)
    named = evolve(options, keyring="keys.pgp")
    assert {**expected, "keyring": "keys.pgp"} == DebianBuilder().request(named, unread)


@pytest.mark.parametrize("suite", ["sid", "unstable", "testing", "experimental"])
def test_a_rolling_suite_has_no_pockets_unless_asked_for(suite: str) -> None:
    builder = DebianBuilder()
    assert [] == builder.request(options(suite, "x"), unread)["pockets"]  # type: ignore[index]
    named = options(suite, "x", pockets=("security",))
    assert ["security"] == builder.request(named, unread)["pockets"]  # type: ignore[index]


def test_the_derivation_names_its_packages_platform_and_order() -> None:
    one, two = package("one"), package("two", arch="amd64")
    derivation = build(one, two, exclude=("/a",), include=("/a/b",)).job.derivation
    assert {
        "packages": (
            {"name": "one", "version": "1.0", "architecture": "all"},
            {"name": "two", "version": "1.0", "architecture": "amd64"},
        ),
        "exclude": ("/a",),
        "include": ("/a/b",),
        "merged-usr": True,
    } == derivation.options
    assert AMD64 == derivation.platform
    assert derivation.digest != build(two, one, exclude=("/a",)).job.digest
    other = build(one, two, exclude=("/a",), include=("/a/b",), platform=Platform("linux", "arm64"))
    assert derivation.digest != other.job.digest


def test_each_package_is_a_source_of_its_own_and_the_rest_comes_last() -> None:
    one = package("one", files={"/usr/share/one/b": b"", "/usr/share/one/a": b""})
    two = package("two", files={"/usr/share/two": b""})
    first, second, rest = build(one, two).arrangement.sources
    assert [b"usr/share/one/a", b"usr/share/one/b"] == [e.path for e in first]
    assert [b"usr/share/two"] == [e.path for e in second]
    assert b"var/lib/dpkg/status" in [e.path for e in rest]


def test_modes_owners_and_times_are_the_packages_and_the_layers() -> None:
    made = package("one", files={"/usr/bin/su": File(b"x", 0o4755, 0, 42)})
    entry = build(made, mtime=77).entry("/usr/bin/su")
    assert (0o4755, 0, 42, 77) == (entry.mode, entry.uid, entry.gid, entry.mtime)


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_how_many_work_at_a_time_changes_nothing(jobs: int) -> None:
    packages = [package(f"p{n}", files={f"/usr/share/p{n}": bytes(n * 1000)}) for n in range(6)]
    assert build(*packages, jobs=1).entries == build(*packages, jobs=jobs).entries


def test_excluded_paths_are_left_out_unless_included() -> None:
    made = package(
        "one",
        files={
            "/usr/share/doc/one/copyright": b"c",
            "/usr/share/doc/one/changelog.gz": b"l",
            "/usr/share/man/man1/one.1.gz": b"m",
            "/usr/bin/one": b"",
        },
    )
    layer = build(
        made,
        exclude=("/usr/share/doc/**", "/usr/share/man"),
        include=("/usr/share/doc/*/copyright",),
    )
    assert "/usr/share/doc/one/copyright" in layer
    assert "/usr/share/doc/one/changelog.gz" not in layer
    assert "/usr/share/man" not in layer
    assert "/usr/bin/one" in layer


def test_what_is_made_beyond_the_packages_can_be_left_out_too() -> None:
    layer = build(package("one"), exclude=("/var/lib/dpkg/info/**", "/etc/machine-id"))
    assert "/etc/machine-id" not in layer
    assert "/var/lib/dpkg/info/one.list" not in layer
    assert "/var/lib/dpkg/status" in layer


def test_a_hard_link_stands_alone_when_its_target_is_left_out() -> None:
    members = [
        tar_member("./usr/", kind=b"5", mode=0o755),
        tar_member("./usr/one", b"data"),
        tar_member("./usr/two", kind=b"1", target="./usr/one"),
    ]
    layer = build(package("one", members=members), exclude=("/usr/one",))
    assert EntryKind.FILE is layer.entry("/usr/two").kind
    assert "data" == layer.text("/usr/two")


def test_the_first_layer_has_an_empty_machine_id_and_no_other() -> None:
    first = build(package("one"))
    assert (0o444, 0) == (first.entry("/etc/machine-id").mode, first.entry("/etc/machine-id").size)
    second = build(package("two"), lower=first)
    assert b"etc/machine-id" not in {entry.path for entry in second.arrangement}


def test_a_package_that_is_not_the_pinned_one_is_refused() -> None:
    made = evolve(package("one"), version="2.0")
    with pytest.raises(
        ArchiveError, match=r"one_2\.0_all\.deb.*Version: expected 2\.0, found 1\.0"
    ):
        build(made)


def test_a_name_that_is_no_packages_is_refused() -> None:
    with pytest.raises(ArchiveError, match=r"expected a package's name, found '\.\./x'"):
        build(package("../x"))


def test_a_device_in_a_package_is_refused() -> None:
    made = package("one", members=[tar_member("./dev/null", kind=b"3")])
    with pytest.raises(ArchiveError, match="dev/null"):
        build(made)


def test_a_write_through_another_packages_link_is_refused() -> None:
    one = package("one", links={"/usr/share/x": "/etc"})
    two = package("two", members=[tar_member("./usr/share/x/passwd", b"evil")])
    with pytest.raises(EntryError, match="usr/share/x"):
        build(one, two)


def test_scripts_that_were_not_run_are_told_by_name() -> None:
    harmless = """#!/bin/sh
set -e
# Automatically added by dh_installalternatives/13
if [ "$1" = configure ]; then
  update-alternatives --install /usr/bin/x x /usr/bin/y 5
fi
# End automatically added section
exit 0
"""
    layer = build(
        package("quiet", scripts={"postinst": harmless, "postrm": "rm -rf /x"}),
        package("loud", scripts={"postinst": "#!/bin/sh\nuseradd x\n"}),
        package("early", scripts={"preinst": "mkdir /x"}),
        package("base-files", scripts={"postinst": "anything"}),
    )
    assert ["runtime: scripts of 2 packages were not run: loud, early"] == layer.notes


def test_nothing_is_told_where_there_is_nothing_to_tell() -> None:
    assert [] == build(package("one")).notes


def test_locking_pins_what_a_mirror_offers_and_not_what_layers_below_hold(tmp_path: Path) -> None:
    mirror = DebianMirror(tmp_path)
    mirror.add("libc6", arch="amd64")
    mirror.add("nginx", depends="libc6")
    with mirror.serve() as url:
        environ = {**mirror.environ(url), "HOME": str(tmp_path)}
        config = Config.load(environ, store=tmp_path / "store", apt=tmp_path, keyrings=tmp_path)
        layer = Layer(LayerName("web"), "debian", options("bookworm", "nginx", pockets=()))

        def lock(*lower: LockedLayer) -> LockedLayer:
            with Fetcher(config) as fetcher:
                return DebianBuilder().lock(layer, lock_scope(config, fetcher, lower))

        base = lock()
        assert [
            ("libc6", ("nginx",)),
            ("nginx", ("asked for",)),
        ] == [(pin.name, pin.why) for pin in base.pin]
        assert ["bookworm"] == [index.suite for index in base.index]
        assert (AMD64,) == base.platforms
        only_libc = evolve(base, pin=base.pin[:1])
        assert ["nginx"] == [pin.name for pin in lock(only_libc).pin]


PACKAGE = "expected a package as name, name=version or name (>= version), found"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('packages = ["Nginx"]', f"packages[0]: {PACKAGE} 'Nginx'"),
        ('packages = ["nginx", "a b"]', f"packages[1]: {PACKAGE} 'a b'"),
        ('packages = ["nginx="]', f"packages[0]: {PACKAGE} 'nginx='"),
        ('packages = ["nginx:amd64"]', f"packages[0]: {PACKAGE} 'nginx:amd64'"),
        ("packages = []", "packages: expected a package, or essential = true"),
        ('suite = "../x"', "suite: expected a suite like bookworm, found '../x'"),
        ('components = ["main/"]', "components[0]: expected a component like main, found 'main/'"),
        (
            'pockets = ["update"]',
            f"pockets[0]: expected one of {', '.join(POCKETS)}, found 'update'",
        ),
    ],
)
def test_options_are_checked_where_the_spec_is_read(text: str, fault: str) -> None:
    keys = {"suite": 'suite = "bookworm"', "packages": 'packages = ["nginx"]'}
    keys[text.partition(" ")[0]] = text
    head = 'spec-version = 1\n[image]\nname = "x"\n[[layer]]\nname = "os"\nkind = "debian"\n'

    with pytest.raises(SpecError) as caught:
        parse("\n".join([head, *keys.values()]).encode(), {"debian": DebianOptions})

    assert (f"layer[0].{fault}",) == tuple(caught.value.faults)


def test_essential_packages_alone_can_be_asked_for() -> None:
    assert DebianOptions("bookworm", (), essential=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["nginx", "nginx=1:1.2-3~x", "nginx (>= 1.2)", "g++ ( << 2 )"])
def test_what_a_spec_may_ask_for_can_be_resolved(text: str) -> None:
    head = b'spec-version = 1\n[image]\nname = "x"\n[[layer]]\nname = "os"\nkind = "debian"\n'
    more = f'suite = "bookworm"\npackages = ["{text}"]'.encode()
    parse(head + more, {"debian": DebianOptions})

    assert parse_request(text).name == text.partition(" ")[0].partition("=")[0]


def test_sources_are_wanted_from_the_mirror() -> None:
    job = build(package("one")).job
    config = Config(Path("s"), Path("c"), mirrors={"debian": ["http://mirror.test/debian"]})
    (wanted,) = DebianBuilder().wanted(job, lock_scope(config, Fetcher(config), ()).scope)
    assert ("http://mirror.test/debian/pool/one.deb",) == wanted.urls
    assert (wanted.digest,) == job.derivation.sources


def lock_scope(config: Config, fetcher: Fetcher, lower: tuple[LockedLayer, ...]) -> LockScope:
    scope = Scope(Path(), (AMD64,), config, MemoryStore(), SILENT, lambda _path: {})
    spec = Spec("test")
    return LockScope(
        spec, (AMD64,), None, False, DATE + timedelta(days=1), lower, fetcher, scope, unread
    )


class _StopError(Exception):
    pass


def test_unpacking_ends_inside_a_package_when_the_watcher_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def task(*_: object, **__: object) -> Iterator[Callable[[int], None]]:
        def advance(amount: int) -> None:
            if amount == 0:  # a piece, not a whole package
                raise _StopError

        yield advance

    monkeypatch.setattr(Notes, "task", task)
    with pytest.raises(_StopError):
        build(package("one", files={"/usr/bin/x": b"1"}))
