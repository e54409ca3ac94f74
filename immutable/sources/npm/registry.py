"""Where packages are to be had: npm's configured registry, and the project's own folder."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from immutable.config import Config
from immutable.errors import NoMirror
from immutable.net.fetch import Fetcher, Hashed, Wanted
from immutable.oci.digest import Digest
from immutable.progress import Progress
from immutable.sources.npm.lockfile import LockedPackage, local_path, other_path, tarball_path
from immutable.store import AbstractStore

ARCHIVE = "npm"
LOCAL = "file"  # what a pin has for `suite` when it stands beside the lockfile
ABSENT = (
    "its publisher may have taken it back; `npm update` takes another version into the lockfile"
)
_ELSEWHERE = (
    "the lockfile has it from another URL; where that is no registry's, download it and depend on "
    "the file"
)
_PATIENCE = 30  # seconds for npm to say what its registry is


def pin_path(package: LockedPackage) -> str:
    """Return a pin's path: relative to the registry, or to the lockfile's folder."""
    if package.is_local:
        return local_path(package)
    return tarball_path(package.name, package.version)


def urls(package: LockedPackage, folder: Path, config: Config) -> tuple[str, ...]:
    """Return where the archive of `package` may be had, the likeliest first.

    `folder` is the lockfile's. The host in "resolved" never counts; its path does, at the
    registry's host, where it is not the usual one. Raises NoMirror, saying what to set.
    """
    if package.is_local:
        return ((folder / local_path(package)).absolute().as_uri(),)
    found: list[str] = []
    for registry in registries(package.name, config):
        found.append(f"{registry}/{tarball_path(package.name, package.version)}")
        other = other_path(package)
        parts = urlsplit(registry)
        if other is not None and parts.netloc:
            found.append(f"{parts.scheme}://{parts.netloc}{other}")
    return tuple(found)


def registries(name: str, config: Config) -> Sequence[str]:
    """Return the registries for the package `name`.

    A scope's own, where npm is set to one; else the mirrors that stand for npm's registry;
    else npm's registry. Raises NoMirror where nothing says.
    """
    npm = config.npm
    registry = npm.registry_of(name)
    if registry and registry != npm.registry:
        return (registry,)
    mirrors = dict(config.mirrors).get(ARCHIVE)
    if mirrors:
        return mirrors
    registry = registry or (_default(npm.program) if npm.program else "")
    if registry:
        return (registry,)
    raise NoMirror(
        f"{name}: no npm registry is known here; pass --mirror {ARCHIVE}=URL, set "
        f'IMMUTABLE_MIRROR_NPM, give [mirrors] {ARCHIVE} = "URL" in {config.user_file}, or '
        "registry=URL in ~/.npmrc"
    )


@functools.cache
def _default(program: str) -> str:
    """Return the registry that npm itself falls back to; empty when it does not say."""
    # Not here: a project's .npmrc must not say where to fetch from.
    command = [program, "config", "get", "registry"]
    try:
        done = subprocess.run(  # noqa: S603 - the npm that the user's PATH has
            command, cwd="/", capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    said = done.stdout.strip().splitlines()
    url = said[-1].strip() if said else ""
    return url.rstrip("/") if url.startswith(("https://", "http://")) else ""


@frozen
class Registry:
    """Brings pinned packages from where npm is set to have them, once any are missing.

    `packages` say which package a digest is of; `folder` is the lockfile's.
    """

    config: Config
    folder: Path
    packages: Mapping[Digest, LockedPackage] = field(repr=False)

    def bring(self, wanted: Sequence[Wanted], store: AbstractStore, progress: Progress) -> None:
        """Bring what is wanted into `store`, verified."""
        located = [
            evolve(
                one,
                urls=urls(self.packages[one.digest], self.folder, self.config),
                absent=_advice(self.packages[one.digest]),
                through=None,
                settings=self.config.npm,
            )
            for one in wanted
        ]
        with Fetcher(self.config) as fetcher:
            fetcher.fetch_all(located, store, progress)


def hashed(package: LockedPackage, folder: Path, config: Config) -> Hashed:
    """Return a package that is yet to be pinned, with where to fetch it from."""
    places = urls(package, folder, config)
    return Hashed(package.label, package.sha512, places, _advice(package), config.npm)


def _advice(package: LockedPackage) -> str:
    """Return what to say where no registry has the package."""
    return ABSENT if other_path(package) is None else _ELSEWHERE
