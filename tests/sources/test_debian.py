"""The verb: from a request and a signed mirror to pins, and from pins to places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from immutable.config import Config
from immutable.errors import FetchError, NoMirror, ResolutionError, SignatureError, SourceError
from immutable.net.fetch import Fetcher
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.progress import SILENT
from immutable.sources.debian import Installed, Request, resolve, wanted
from immutable.spec.lock import IndexPin, LockedLayer, Pin
from immutable.store import MemoryStore
from tests.support import needs
from tests.support.debian import DATE, DebianMirror
from tests.support.progress import Notes

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
NOW = datetime.now(UTC)
Pins = tuple[Pin, ...]


class Place:
    """A served mirror, and requests to it."""

    def __init__(self, folder: Path, mirror: DebianMirror, url: str) -> None:
        self.mirror, self.url = mirror, url
        self.environ = {
            **mirror.environ(url),
            "HOME": str(folder),
            "IMMUTABLE_STORE": str(folder / "store"),
        }
        self.watcher = Notes()

    def config(self, **environ: str) -> Config:
        return Config.load({**self.environ, **environ}, apt=Path("/nonexistent"))

    def ask(
        self,
        *packages: str,
        platforms: tuple[Platform, ...] = (AMD64,),
        previous: LockedLayer | None = None,
        upgrade: bool = False,
        installed: Mapping[Platform, Mapping[str, Installed]] | None = None,
        config: Config | None = None,
        **more: Any,
    ) -> tuple[tuple[IndexPin, ...], Pins]:
        config = config or self.config()
        with Fetcher(config) as fetcher:
            return resolve(
                Request("bookworm", packages, **{"pockets": (), **more}),
                platforms,
                config=config,
                fetcher=fetcher,
                progress=self.watcher,
                previous=previous,
                upgrade=upgrade,
                now=NOW,
                installed=installed,
            )

    def pins(self, *packages: str, **more: Any) -> Pins:
        return self.ask(*packages, **more)[1]

    def lock(self, *packages: str, **more: Any) -> LockedLayer:
        index, pins = self.ask(*packages, **more)
        platforms = more.get("platforms", (AMD64,))
        return LockedLayer("runtime", "debian", {}, platforms, index, pins)


@pytest.fixture
def mirror(tmp_path: Path) -> DebianMirror:
    made = DebianMirror(tmp_path)
    made.add("app", "2.0", depends="libx", files={"/usr/bin/app": b"app"})
    made.add("libx", "1:1.0-1", arch="amd64")
    made.add("libx", "1:1.0-1", arch="arm64")
    return made


@pytest.fixture
def place(tmp_path: Path, mirror: DebianMirror) -> Iterator[Place]:
    with mirror.serve() as url:
        yield Place(tmp_path, mirror, url)


def shown(pins: Pins) -> list[str]:
    return [f"{pin.name} {pin.version} {pin.architecture}" for pin in pins]


def test_pins_say_what_and_why_and_for_which_platforms(place: Place) -> None:
    index, pins = place.ask("app", platforms=(ARM64, AMD64))

    app = place.mirror.packages[0]
    assert (IndexPin("bookworm", DATE),) == index
    assert (
        Pin(
            name="app",
            version="2.0",
            architecture="all",
            path="pool/main/a/app/app_2.0_all.deb",
            size=len(app.deb),
            sha256=Digest.of(app.deb),
            why=("asked for",),
            suite="bookworm",
            platforms=(AMD64, ARM64),
        )
        == pins[0]
    )
    assert ["app 2.0 all", "libx 1:1.0-1 amd64", "libx 1:1.0-1 arm64"] == shown(pins)
    assert ("app",) == pins[1].why
    assert (AMD64,) == pins[1].platforms


def test_reasons_that_differ_between_platforms_are_joined(place: Place) -> None:
    place.mirror.add("common")
    place.mirror.add("aa", arch="amd64", depends="common, libx")
    place.mirror.add("aa", arch="arm64", depends="bb")
    place.mirror.add("bb", depends="common")
    place.mirror.publish()

    pins = {pin.name: pin for pin in place.pins("aa", platforms=(AMD64, ARM64))}

    assert ("aa", "bb") == pins["common"].why
    assert (AMD64, ARM64) == pins["common"].platforms


def test_one_question_has_one_answer(place: Place) -> None:
    assert place.ask("app", platforms=(AMD64, ARM64)) == place.ask("app", platforms=(ARM64, AMD64))


def test_pockets_bring_newer_versions_from_their_own_archive(place: Place) -> None:
    place.mirror.add("libx", "1:1.0-1+deb12u1", arch="amd64", suite="bookworm-security")
    place.mirror.add("app", "2.1", depends="libx", suite="bookworm-updates")
    place.mirror.publish()

    index, pins = place.ask("app", pockets=("updates", "security"))

    assert ["bookworm", "bookworm-updates", "bookworm-security"] == [one.suite for one in index]
    assert ["app 2.1 all", "libx 1:1.0-1+deb12u1 amd64"] == shown(pins)
    assert ["bookworm-updates", "bookworm-security"] == [pin.suite for pin in pins]


def test_a_pocket_without_the_architecture_is_warned_of(place: Place) -> None:
    place.mirror.suite("bookworm-security").fields["Architectures"] = "amd64"
    place.mirror.publish()

    place.ask("app", pockets=("security",), platforms=(ARM64,))

    assert ["bookworm-security: has nothing for linux/arm64"] == place.watcher.warnings


def test_a_suite_without_the_architecture_is_an_error(place: Place) -> None:
    with pytest.raises(SourceError, match=r"bookworm: has no main/binary-riscv64/Packages"):
        place.ask("app", platforms=(Platform("linux", "riscv64"),))


def test_other_components_are_looked_into(place: Place) -> None:
    place.mirror.add("extra", component="contrib")
    place.mirror.publish()

    assert ["extra 1.0 all"] == shown(place.pins("extra", components=("main", "contrib")))
    with pytest.raises(ResolutionError, match="no package extra is on offer in bookworm"):
        place.pins("extra")


def test_all_packages_with_an_index_of_their_own_are_found(place: Place) -> None:
    place.mirror.architectures = ("all", "amd64")
    place.mirror.suite("bookworm").fields["No-Support-for-Architecture-all"] = None
    place.mirror.publish()

    assert ["app 2.0 all", "libx 1:1.0-1 amd64"] == shown(place.pins("app"))


# --- locks that are there already ---


def test_a_locked_version_is_kept_unless_upgraded(place: Place) -> None:
    previous = place.lock("app")
    place.mirror.add("app", "3.0", depends="libx, new")
    place.mirror.add("new")
    place.mirror.publish()

    assert previous.pin == place.pins("app", previous=previous)
    upgraded = place.pins("app", previous=previous, upgrade=True)
    assert ["app 3.0 all", "libx 1:1.0-1 amd64", "new 1.0 all"] == shown(upgraded)


def test_a_locked_version_that_is_gone_gives_way(place: Place) -> None:
    previous = place.lock("app")
    place.mirror.packages = place.mirror.packages[1:]
    place.mirror.add("app", "3.0", depends="libx")
    place.mirror.publish()

    assert ["app 3.0 all", "libx 1:1.0-1 amd64"] == shown(place.pins("app", previous=previous))


def test_an_index_older_than_the_locks_is_warned_of(place: Place) -> None:
    previous = place.lock("app")
    place.mirror.publish(date=DATE - timedelta(days=2))

    place.ask("app", previous=previous)

    expected = "bookworm: the mirror's index of 2024-04-29 is older than the lock's of 2024-05-01"
    assert [expected] == place.watcher.warnings


def test_what_layers_below_hold_is_not_pinned_again(place: Place) -> None:
    installed = {AMD64: {"libx": Installed("1:1.0-1", "amd64")}}

    pins = place.pins("app", platforms=(AMD64, ARM64), installed=installed)

    assert ["app 2.0 all", "libx 1:1.0-1 arm64"] == shown(pins)


def test_what_is_held_below_still_conflicts_as_the_index_says(place: Place) -> None:
    place.mirror.add("old", "1.0", conflicts="app")
    place.mirror.publish()

    with pytest.raises(ResolutionError, match=r"app 2\.0 conflicts with old 1\.0, which a layer"):
        place.pins("app", installed={AMD64: {"old": Installed("1.0")}})


# --- what cannot be ---


def test_a_failure_names_the_platform_where_there_are_several(place: Place) -> None:
    place.mirror.add("only", arch="amd64")
    place.mirror.publish()

    with pytest.raises(ResolutionError, match=r"^linux/arm64: only: no package only is on offer"):
        place.pins("only", platforms=(AMD64, ARM64))


def test_an_unknown_key_is_refused(place: Place, tmp_path: Path) -> None:
    other = DebianMirror(tmp_path / "other")

    with pytest.raises(SignatureError, match="IMMUTABLE_DEBIAN_KEYRING"):
        place.ask("app", config=place.config(IMMUTABLE_DEBIAN_KEYRING=str(other.keyring)))
    with pytest.raises(SignatureError, match="the spec's keyring"):
        place.ask("app", keyring=other.armoured_keyring)


def test_the_specs_own_keyring_counts(place: Place, tmp_path: Path) -> None:
    config = place.config(IMMUTABLE_DEBIAN_KEYRING=str(tmp_path / "none"))

    _, pins = place.ask("app", config=config, keyring=place.mirror.armoured_keyring)

    assert 2 == len(pins)


def test_without_a_mirror_the_error_says_what_to_set(place: Place) -> None:
    with pytest.raises(NoMirror, match="IMMUTABLE_MIRROR_DEBIAN_SECURITY"):
        place.ask(
            "app", pockets=("security",), config=place.config(IMMUTABLE_MIRROR_DEBIAN_SECURITY="")
        )


def test_a_suite_that_is_not_there_names_the_place(place: Place) -> None:
    (place.mirror.in_release("bookworm")).unlink()

    with pytest.raises(FetchError, match=r"bookworm/InRelease: cannot be fetched\n  http://127"):
        place.ask("app")


def test_a_kept_index_leaves_only_the_release_to_fetch(place: Place) -> None:
    place.ask("app")
    before = len(place.mirror.web.requests)

    place.ask("app")

    assert ["/debian/dists/bookworm/InRelease"] == place.mirror.web.requests[before:]


# --- from pins to bytes ---


def test_pins_are_fetched_from_their_suites_archive(place: Place) -> None:
    place.mirror.add("sec", "1.0+b1", suite="bookworm-security")
    place.mirror.publish()
    index, pins = place.ask("app", "sec", pockets=("security",))
    store = MemoryStore()

    with Fetcher(place.config()) as fetcher:
        fetcher.fetch_all([wanted(pin, index, place.config()) for pin in pins], store, SILENT)

    assert [True] * 3 == [store.has_blob(pin.sha256) for pin in pins]


def test_a_superseded_package_comes_from_the_snapshot_of_the_locks_date(place: Place) -> None:
    index, pins = place.ask("app")
    gone = place.mirror.folder / "debian" / pins[0].path
    at = place.mirror.folder / "snap/20240501T120000Z" / pins[0].path
    at.parent.mkdir(parents=True)
    gone.rename(at)
    config = place.config(IMMUTABLE_SNAPSHOT_DEBIAN=f"{place.url}/snap/{{date}}")
    store = MemoryStore()

    with Fetcher(config) as fetcher:
        fetcher.fetch_all([wanted(pins[0], index, config)], store, SILENT)

    assert store.has_blob(pins[0].sha256)


def test_a_superseded_package_without_a_snapshot_says_both_ways_out(place: Place) -> None:
    index, pins = place.ask("app")
    (place.mirror.folder / "debian" / pins[0].path).unlink()

    with Fetcher(place.config()) as fetcher, pytest.raises(FetchError) as caught:
        fetcher.fetch_all([wanted(pins[0], index, place.config())], MemoryStore(), SILENT)

    message = str(caught.value)
    assert message.startswith("app 2.0 (all): cannot be fetched")
    assert "lock again with --upgrade" in message
    assert "set IMMUTABLE_SNAPSHOT_DEBIAN to a snapshot mirror" in message


def test_a_snapshot_alone_will_do(place: Place) -> None:
    index, pins = place.ask("app")
    bare = evolve(place.config(), mirrors={}, snapshots={"debian": ("http://s.test/{date}",)})

    expected = (f"http://s.test/20240501T120000Z/{pins[0].path}",)
    assert expected == wanted(pins[0], index, bare).urls
    with pytest.raises(NoMirror):
        wanted(pins[0], (), bare)


def test_odd_characters_of_a_path_are_quoted(place: Place) -> None:
    pin = Pin("aa", "1", "all", "pool/a a/aa_1%3a2+b~1?.deb", 1, Digest.of(b""), suite="bookworm")

    (url,) = wanted(pin, (), place.config()).urls

    assert f"{place.url}/debian/pool/a%20a/aa_1%253a2+b~1%3F.deb" == url


# --- the packages of the mirror ---


def test_the_mirrors_packages_are_the_same_everywhere(tmp_path: Path) -> None:
    mirror = DebianMirror(tmp_path)

    made = {
        compression: mirror.add(
            "hello",
            "1:2.0-1",
            arch="amd64",
            depends="libc6",
            files={"/usr/bin/hello": b"hello\n" * 20_000, "/usr/share/" + "n" * 120: b""},
            links={"/usr/bin/hi": "hello"},
            scripts={"postinst": "#!/bin/sh\n"},
            conffiles=["/etc/hello"],
            compression=compression,
        ).sha256
        for compression in ("gz", "xz", "zst", "")
    }

    assert {
        "gz": "743cc00822a3cefce55455fd9c0c7e8f62eb4cc43826fc8dbc9e3d5a1828a5e9",
        "xz": "4c058eae6603a1df73de48d3b75ff3000c6f36d7e0fe415accab27517422598f",
        "zst": "85e8f6a078ee6c67108fac024ea67ac6bc925d42d4a7cc598a2dd8f1e4d01453",
        "": "99a30f05bcae1d96090a2e76f6ae9f1c0a8db0440959bd9f0e2fbd8d0d29cfb2",
    } == made


# --- the real thing ---


@pytest.mark.network
@needs.network()
def test_real_packages_resolve_for_both_platforms(tmp_path: Path) -> None:
    from immutable.sources.debian.resolver import meets

    config = Config.load(store=tmp_path)
    request = Request("bookworm", ("nginx", "python3"))
    with Fetcher(config) as fetcher:
        index, pins = resolve(
            request,
            (AMD64, ARM64),
            config=config,
            fetcher=fetcher,
            progress=SILENT,
            previous=None,
            upgrade=False,
            now=NOW,
        )

    assert ["bookworm", "bookworm-updates", "bookworm-security"] == [one.suite for one in index]
    for platform in (AMD64, ARM64):
        mine = [pin for pin in pins if platform in pin.platforms]
        names = [pin.name for pin in mine]
        assert {"nginx", "python3", "libc6", "libssl3"} < set(names)
        assert len(names) == len(set(names))
        chosen = [package for pin in mine for package in _known(config, pin)]
        assert len(mine) == len(chosen)
        lacking = [
            (str(package), group)
            for package in chosen
            for group in package.depends
            if not any(meets(other, relation) for other in chosen for relation in group)
        ]
        assert [] == lacking


def _known(config: Config, pin: Pin) -> list[Any]:
    """Return the stanzas of exactly this pin in the indexes that were kept."""
    from immutable.sources.debian.index import PackageIndex

    found = {}
    for file in sorted((config.cache / "debian").glob("*.sqlite")):
        with PackageIndex(file, pin.suite, file.name) as index:
            found.update({p.sha256: p for p in index.find(pin.name) if p.sha256 == pin.sha256})
    return [*found.values()]
