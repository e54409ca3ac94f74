"""``pylock.toml``: PEP 751, read and selected by `packaging`.

Where it names hosts (``url``, ``index``), these do not count: pip's own settings say where a
package comes from, and its hash that it is the one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from immutable.errors import LockError, ResolutionError, SpecError
from immutable.redact import cut
from immutable.sources.pypi.choice import Choice, checked_hash
from immutable.sources.pypi.environment import Environment
from immutable.spec import toml

if TYPE_CHECKING:
    from packaging.pylock import Package, PackageWheel


class Pylock:
    """A ``pylock.toml``."""

    def __init__(self, data: bytes, where: str) -> None:
        from packaging import pylock

        self._where = where
        try:
            self._lock = pylock.Pylock.from_dict(_placed(toml.read_toml(data, where)))
        except SpecError as error:
            raise LockError(str(error)) from None
        except pylock.PylockValidationError as error:
            raise LockError(f"{where}: {_said(error)}") from None

    def named(
        self, environments: Iterable[Environment], extras: Sequence[str], groups: Sequence[str]
    ) -> list[str]:
        """Return, sorted, the wheels that may be taken in any of `environments`."""
        self._check_asked(extras, groups)
        environments = tuple(environments)
        tags = {str(tag) for environment in environments for tag in environment.tags()}
        taken: set[str] = set()
        for package in self._lock.packages:
            if any(self._is_for(package, one, extras, groups) for one in environments):
                taken.update(map(str, self._fitting(package, tags)))
        return sorted(taken)

    def select(
        self, environment: Environment, extras: Sequence[str], groups: Sequence[str]
    ) -> list[Choice]:
        """Return the wheels that are taken in `environment`, sorted by name."""
        from packaging.pylock import PackageWheel, PylockSelectError

        self._check_asked(extras, groups)
        chosen = []
        try:
            for package, source in self._lock.select(
                environment=environment.markers(),  # type: ignore[arg-type]
                tags=environment.tags(),
                extras=extras,
                dependency_groups=groups or None,
            ):
                if not isinstance(source, PackageWheel):
                    raise ResolutionError(self._no_wheel(package, environment))
                chosen.append(self._choice(package, source))
        except PylockSelectError as error:
            raise ResolutionError(
                f"{self._where}: for {environment.platform}, Python {environment.python} and "
                f"{environment.libc}: {error}"
            ) from None
        except (ValueError, RecursionError, KeyError) as error:
            raise LockError(f"{self._where}: {error}") from None
        return sorted(chosen, key=lambda one: one.name)

    def _check_asked(self, extras: Sequence[str], groups: Sequence[str]) -> None:
        for what, asked, known in (
            ("extra", extras, self._lock.extras or ()),
            ("dependency group", groups, self._lock.dependency_groups or ()),
        ):
            for name in asked:
                if name not in known:
                    hint = toml.nearest(name, known)
                    raise ResolutionError(f"{self._where}: has no {what} {name!r}{hint}")

    def _is_for(
        self,
        package: Package,
        environment: Environment,
        extras: Sequence[str],
        groups: Sequence[str],
    ) -> bool:
        if package.marker is None:
            return True
        groups = groups or self._lock.default_groups or ()
        asked: dict[str, Any] = {
            **environment.markers(),
            "extras": frozenset(extras),
            "dependency_groups": frozenset(groups),
        }
        try:
            return package.marker.evaluate(asked, context="lock_file")
        except (ValueError, RecursionError, KeyError) as error:
            raise LockError(f"{self._where}: {package.name}: {error}") from None

    def _fitting(self, package: Package, tags: set[str]) -> list[Choice]:
        """Return the wheels of `package` that have one of `tags`; itself if there is none."""
        from packaging.utils import parse_wheel_filename

        fitting = [
            self._choice(package, wheel)
            for wheel in package.wheels or ()
            if any(str(tag) in tags for tag in parse_wheel_filename(wheel.filename)[-1])
        ]
        version = str(package.version or "")
        return fitting or [Choice(package.name, version, source=True)]

    def _choice(self, package: Package, wheel: PackageWheel) -> Choice:
        from packaging.utils import parse_wheel_filename

        file = wheel.filename
        if "/" in file or not file.isprintable():
            raise LockError(f"{self._where}: {package.name}: expected a file name, found {file!r}")
        if wheel.size is not None and wheel.size < 0:
            raise LockError(f"{self._where}: {file}: expected a size in bytes, found {wheel.size}")
        known = {
            algorithm: digits
            for algorithm, digits in wheel.hashes.items()
            if algorithm in ("sha256", "sha384", "sha512")
        } or wheel.hashes
        # One is enough, and a sha256 is what our own lock holds.
        algorithm = min(known)
        try:
            hashes = (checked_hash(algorithm, known[algorithm]),)
        except ValueError as error:
            raise LockError(f"{self._where}: {file}: {error}") from None
        version = str(parse_wheel_filename(file)[1])
        return Choice(str(package.name), version, hashes, file, wheel.size)

    def _no_wheel(self, package: Package, environment: Environment) -> str:
        what = f"{package.name} {package.version or ''}".rstrip()
        if package.is_direct:
            found = "which is no release but a directory, an archive or a repository"
        elif package.wheels:
            found = "of which there are wheels, but none that fits, and the sources"
        else:
            found = "of which there are only the sources"
        return (
            f"{self._where}: names {what} for {environment.platform}, Python "
            f"{environment.python} and {environment.libc}, {found}; nothing is built from "
            "sources here: lock a version that has a wheel, or build one and lock that"
        )


def _placed(document: dict[str, Any]) -> dict[str, Any]:
    """Return `document` with a path for each wheel that has a name and no place.

    The standard wants one or a URL; neither says anything here.
    """
    packages = document.get("packages")
    for package in packages if isinstance(packages, list) else ():
        wheels = package.get("wheels") if isinstance(package, dict) else None
        for wheel in wheels if isinstance(wheels, list) else ():
            if isinstance(wheel, dict) and not {"url", "path"} & wheel.keys() and "name" in wheel:
                wheel["path"] = wheel["name"]
    return document


def _said(error: Exception) -> str:
    return cut(" ".join(str(error).split()), 400)
