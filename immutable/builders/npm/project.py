"""A project's lockfile as a layer sees it: what is asked for, chosen and pinned."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from attrs import evolve, field, frozen

from immutable import reading
from immutable.builders.base import LockScope
from immutable.builders.npm.options import NpmOptions
from immutable.errors import SpecError
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.sources.npm import hidden, lockfile, registry, selection
from immutable.sources.npm.lockfile import LockedPackage
from immutable.sources.npm.selection import Selection, Target
from immutable.sources.npm.tree import Tree
from immutable.spec.lock import Pin

_ASKED: Final = ("asked for",)
_LARGEST: Final = 16 << 20  # bytes of a lockfile


class Key(NamedTuple):
    """What tells packages apart: a registry has one of each name and version."""

    name: str
    version: str
    suite: str = ""

    @classmethod
    def of(cls, package: LockedPackage) -> Key:
        """Return the key of a package in a lockfile."""
        return cls(package.name, package.version, registry.LOCAL if package.is_local else "")

    @classmethod
    def of_pin(cls, pin: Pin) -> Key:
        """Return the key of a pin."""
        return cls(pin.name, pin.version, pin.suite)

    @property
    def label(self) -> str:
        """The name and version, for messages."""
        return f"{self.name} {self.version}"


@frozen
class Project:
    """A lockfile with what its packages ask of each other; `folder` is the one it stands in.

    `chosen` is what one platform gets of it, once that is known.
    """

    tree: Tree
    folder: Path
    digest: Digest
    chosen: Selection | None = field(default=None, repr=False)

    def select(self, options: NpmOptions, platform: Platform) -> Selection:
        """Return what is installed on `platform`."""
        return selection.select(self.tree, options.omit, Target.of(platform, options.libc))

    def of(self, chosen: Selection) -> Project:
        """Return the project as one platform has it."""
        return evolve(self, chosen=chosen)

    def words(self, omit: Iterable[str]) -> list[str]:
        """Return the packages that some platform may get, a sorted line each.

        Raises SpecError, naming each, for packages that are not known to the last byte.
        """
        possible = selection.installable(self.tree, omit)
        selection.check(self.tree, possible)
        return sorted({word(package) for package in possible.packages})

    def by_digest(self, pins: Sequence[Pin]) -> Mapping[Digest, LockedPackage]:
        """Return which package each pin is of."""
        packages = {Key.of(package): package for package in self.tree.lockfile.packages.values()}
        return {pin.sha256: packages[Key.of_pin(pin)] for pin in pins}

    @property
    def hidden(self) -> bytes:
        """The lockfile that npm leaves in ``node_modules``, for what is chosen."""
        assert self.chosen is not None  # noqa: S101 - derive chooses
        return hidden.text(self.tree.lockfile, self.chosen.kept)

    @property
    def bundled(self) -> Sequence[LockedPackage]:
        """The chosen packages that come within others' archives."""
        assert self.chosen is not None  # noqa: S101 - derive chooses
        return self.chosen.bundled

    @property
    def with_scripts(self) -> list[str]:
        """The names of the chosen packages that have scripts to run when installed."""
        assert self.chosen is not None  # noqa: S101 - derive chooses
        every = (*self.chosen.packages, *self.chosen.bundled)
        return sorted({package.name for package in every if package.scripts})


def read_project(data: bytes, where: str, folder: Path = Path()) -> Project:
    """Return the project whose lockfile `data` is; `where` is its path, relative to `folder`."""
    tree = Tree(lockfile.parse(data, where))
    return Project(tree, (folder / where).parent, Digest.of(data))


def read_file(path: Path) -> bytes:
    """Return the content of the lockfile at `path`; raise SpecError if it cannot be read."""
    try:
        return reading.read_file(path, _LARGEST)
    except OSError as error:
        raise SpecError(str(path), [f"{error.strerror}"]) from None


def word(package: LockedPackage) -> str:
    """Return how a request writes a package: name, version, and what its bytes have to be."""
    digests = (base64.b64encode(bytes.fromhex(one)).decode() for one in package.sha512)
    return f"{package.name} {package.version} sha512-{'|'.join(digests)}"


def pins_of(options: NpmOptions, given: LockScope) -> tuple[Pin, ...]:
    """Return the pins of a layer, sorted by name and version.

    Pins of the old lock stay where the lockfile still says the same of the package, and need
    no network; the others' packages are fetched.
    """
    project = read_project(given.read(options.lockfile), options.lockfile, given.scope.folder)
    chosen: dict[Key, LockedPackage] = {}
    platforms: dict[Key, set[Platform]] = {}
    why: dict[Key, set[str]] = {}
    for platform in given.platforms:
        for package in project.select(options, platform).packages:
            key = Key.of(package)
            chosen[key] = package
            platforms.setdefault(key, set()).add(platform)
            why.setdefault(key, set()).update(selection.reasons(project.tree, package))
    known = {**_held(given, chosen)}
    known |= _fetched(project, {k: p for k, p in chosen.items() if k not in known}, given)
    every = set(given.platforms)
    return tuple(
        Pin(
            name=key.name,
            version=key.version,
            architecture="",
            path=registry.pin_path(chosen[key]),
            size=known[key][1],
            sha256=known[key][0],
            why=_ASKED if set(_ASKED) <= why[key] else tuple(sorted(why[key])),
            suite=key.suite,
            platforms=() if platforms[key] == every else tuple(sorted(platforms[key])),
        )
        for key in sorted(chosen)
    )


def _held(given: LockScope, chosen: Mapping[Key, LockedPackage]) -> dict[Key, tuple[Digest, int]]:
    """Return what the old lock says of packages that have not changed since."""
    if given.previous is None:
        return {}
    words = set(given.previous.request.get("packages", ()))
    return {
        key: (pin.sha256, pin.size)
        for pin in given.previous.pin
        if (key := Key.of_pin(pin)) in chosen and word(chosen[key]) in words
    }


def _fetched(
    project: Project, missing: Mapping[Key, LockedPackage], given: LockScope
) -> dict[Key, tuple[Digest, int]]:
    config = given.scope.config
    wanted = [registry.hashed(one, project.folder, config) for one in missing.values()]
    found = given.fetcher.fetch_hashed(wanted, given.scope.store, given.scope.progress)
    return dict(zip(missing, found, strict=True))
