"""Debian's packages: what a request means today, and where its pins are to be had."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from attrs import evolve, frozen

from immutable.config import Config, Mirrors
from immutable.errors import NoMirror, ResolutionError
from immutable.net.fetch import Fetcher, Wanted
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.sources.debian.index import IndexedPackage, PackageIndex, open_index
from immutable.sources.debian.relations import Relation, parse_request
from immutable.sources.debian.release import Release, fetch_release
from immutable.sources.debian.resolver import Selection, Universe, select
from immutable.spec.lock import IndexPin, LockedLayer, Pin

ASKED = ("asked for",)


@frozen
class Request:
    """What a layer asks of Debian.

    `pockets` are suites beside the base one (``updates``, ``security``); `packages` are names,
    each with ``=version`` or `` (>= version)`` where it matters; `keyring` is the spec's own.
    """

    suite: str
    packages: tuple[str, ...]
    pockets: tuple[str, ...] = ("updates", "security")
    components: tuple[str, ...] = ("main",)
    recommends: bool = False
    essential: bool = False
    keyring: Path | None = None

    @property
    def suites(self) -> tuple[str, ...]:
        """The base suite and its pockets."""
        return (self.suite, *(f"{self.suite}-{pocket}" for pocket in self.pockets))


@frozen
class Installed:
    """A package that a lower layer holds."""

    version: str
    architecture: str = "all"


def archive_of(suite: str) -> str:
    """Return the name of the archive that holds `suite`."""
    return "debian-security" if suite.endswith("-security") else "debian"


def resolve(
    request: Request,
    platforms: Sequence[Platform],
    *,
    config: Config,
    fetcher: Fetcher,
    progress: Progress,
    previous: LockedLayer | None,
    upgrade: bool,
    now: datetime,
    installed: Mapping[Platform, Mapping[str, Installed]] | None = None,
) -> tuple[tuple[IndexPin, ...], tuple[Pin, ...]]:
    """Return the dates of the suites' indexes, and the pins that answer `request`.

    Pins are sorted by name, version and architecture; one that several platforms share is
    there once. A version of `previous` is kept while it is on offer and fits, unless
    `upgrade`. `installed` packages count as there and are not pinned again. Raises NoMirror,
    FetchError, SignatureError and SourceError for the indexes, ResolutionError for the request.
    """
    asked = [parse_request(text) for text in request.packages]
    releases = _releases(request, config, fetcher, now)
    _warn_if_older(releases, previous, progress)
    answers: dict[Platform, Selection] = {}
    with progress.task("resolving", len(platforms), unit="platforms") as advance:
        for platform in sorted(set(platforms)):
            preferred = _preferred(previous, platform) if not upgrade else {}
            with contextlib.ExitStack() as stack:
                indexes = [
                    stack.enter_context(index)
                    for index in _indexes(request, platform, releases, config, fetcher, progress)
                ]
                universe = Universe(indexes, platform.debian, preferred)
                held = _held(universe, (installed or {}).get(platform, {}))
                answers[platform] = _select(universe, asked, request, held, platform, platforms)
            advance(1)
    dates = tuple(IndexPin(release.suite, release.date) for release, _ in releases)
    return dates, _pins(answers)


def wanted(pin: Pin, index: Sequence[IndexPin], config: Config) -> Wanted:
    """Return where to fetch `pin` from; `index` are the lock's dates of the suites.

    The archive's mirrors come first, then snapshot mirrors as of the suite's date. Raises
    NoMirror when neither is configured.
    """
    archive = archive_of(pin.suite)
    snapshots: tuple[str, ...] = ()
    for one in index:
        if one.suite == pin.suite:
            snapshots = config.snapshots_of(archive, one.date)
    try:
        mirrors = config.mirrors_of(archive, pin.suite).urls
    except NoMirror:
        if not snapshots:
            raise
        mirrors = ()
    variable = "IMMUTABLE_SNAPSHOT_" + archive.upper().replace("-", "_")
    advice = f"set {variable} to a snapshot mirror" if not snapshots else "use another one"
    path = quote(pin.path, safe="/+~:=@,")
    return Wanted(
        name=f"{pin.name} {pin.version} ({pin.architecture})",
        digest=pin.sha256,
        size=pin.size,
        urls=tuple(f"{url}/{path}" for url in (*mirrors, *snapshots)),
        absent=(
            "mirrors drop a package once it is superseded: lock again with --upgrade, or "
            f"{advice} that still has it"
        ),
    )


def _releases(
    request: Request, config: Config, fetcher: Fetcher, now: datetime
) -> list[tuple[Release, Mirrors]]:
    releases = []
    for suite in request.suites:
        mirrors = config.mirrors_of(archive_of(suite), suite)
        keyring = config.keyring_for(request.keyring, mirrors)
        release = fetch_release(suite, mirrors=mirrors, keyring=keyring, fetcher=fetcher, now=now)
        releases.append((release, mirrors))
    return releases


def _warn_if_older(
    releases: Iterable[tuple[Release, Mirrors]], previous: LockedLayer | None, progress: Progress
) -> None:
    before = {index.suite: index.date for index in (previous.index if previous else ())}
    for release, _ in releases:
        date = before.get(release.suite)
        if date is not None and release.date < date:
            progress.warn(
                f"{release.suite}: the mirror's index of {release.date:%Y-%m-%d} is older than "
                f"the lock's of {date:%Y-%m-%d}"
            )


def _indexes(
    request: Request,
    platform: Platform,
    releases: Iterable[tuple[Release, Mirrors]],
    config: Config,
    fetcher: Fetcher,
    progress: Progress,
) -> Iterable[PackageIndex]:
    for release, mirrors in releases:
        architecture = platform.debian
        if release.suite != request.suite and architecture not in release.architectures:
            progress.warn(f"{release.suite}: has nothing for {platform}")
            continue
        for component in request.components:
            for kind in (architecture, *(("all",) if release.separate_all else ())):
                yield open_index(
                    release, component, kind, config=config, mirrors=mirrors, fetcher=fetcher
                )


def _preferred(previous: LockedLayer | None, platform: Platform) -> dict[str, str]:
    pins = previous.pins_for(platform) if previous else ()
    return {pin.name: pin.version for pin in pins}


def _held(universe: Universe, installed: Mapping[str, Installed]) -> dict[str, IndexedPackage]:
    """Return what lower layers hold, with its relations where the indexes still know them."""
    held = {}
    for name, package in installed.items():
        known = [p for p in universe.candidates(name) if p.version == package.version]
        bare = IndexedPackage(
            name=name,
            version=package.version,
            architecture=package.architecture,
            suite="",
            path="",
            size=0,
            sha256=Digest.of(b""),
        )
        held[name] = known[0] if known else bare
    return held


def _select(
    universe: Universe,
    asked: Sequence[Relation],
    request: Request,
    held: Mapping[str, IndexedPackage],
    platform: Platform,
    platforms: Sequence[Platform],
) -> Selection:
    try:
        return select(
            universe,
            asked,
            held=held,
            essential=request.essential,
            recommends=request.recommends,
        )
    except ResolutionError as error:
        if len(platforms) == 1:
            raise
        raise ResolutionError(f"{platform}: {error}") from None


def _pins(answers: Mapping[Platform, Selection]) -> tuple[Pin, ...]:
    """Return the platforms' packages as pins, equal ones merged."""
    merged: dict[Pin, tuple[set[str], set[Platform]]] = {}
    for platform, selection in answers.items():
        for package, why in selection.packages:
            names, on = merged.setdefault(_pin(package), (set(), set()))
            names.update(why)
            on.add(platform)
    pins = [
        evolve(
            pin,
            why=ASKED if set(ASKED) <= names else tuple(sorted(names)),
            platforms=tuple(sorted(on)),
        )
        for pin, (names, on) in merged.items()
    ]
    return tuple(sorted(pins, key=lambda pin: (pin.name, pin.version, pin.architecture, pin.path)))


def _pin(package: IndexedPackage) -> Pin:
    return Pin(
        name=package.name,
        version=package.version,
        architecture=package.architecture,
        path=package.path,
        size=package.size,
        sha256=package.sha256,
        suite=package.suite,
    )
