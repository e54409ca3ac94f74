"""What of a lockfile gets installed, for one platform: npm's own rules, from arborist.

An optional package that does not fit the platform is left out, and with it what only it, or
what needs it, asked for; one that is not optional and does not fit is an error. Which Node an
image has is not known here, so "engines" count for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attrs import frozen

from immutable.errors import ResolutionError, SpecError
from immutable.oci.platforms import Platform
from immutable.redact import quoted
from immutable.sources.npm.lockfile import LockedPackage, Lockfile, enclosing_locations, local_path
from immutable.sources.npm.tree import Tree

# What `process.arch` says; https://nodejs.org/api/process.html#processarch
_CPUS: Final = {"386": "ia32", "amd64": "x64", "mips64le": "mips64el", "ppc64le": "ppc64"}
_MODULES: Final = "node_modules/"
_FOREIGN: Final = ("git+", "git:", "git@", "ssh:", "github:", "gitlab:", "bitbucket:", "gist:")


@frozen
class Target:
    """What a package has to fit, in npm's words."""

    os: str
    cpu: str
    libc: str

    @classmethod
    def of(cls, platform: Platform, libc: str) -> Target:
        """Return npm's words for `platform`."""
        cpu = _CPUS.get(platform.architecture, platform.architecture)
        return cls(platform.os, cpu, libc)

    def fits(self, package: LockedPackage) -> bool:
        """Tell whether `package` is for this platform: npm-install-checks, "checkPlatform"."""
        return (
            _listed(self.os, package.os)
            and _listed(self.cpu, package.cpu)
            and _listed(self.libc, package.libc)
        )

    def __str__(self) -> str:
        return f"{self.os} {self.cpu} {self.libc}"


def _listed(value: str, words: Sequence[str]) -> bool:
    if not words or tuple(words) == ("any",):
        return True
    refused = [word.removeprefix("!") for word in words if word.startswith("!")]
    return value not in refused and (value in words or len(refused) == len(words))


@frozen
class Selection:
    """What is installed on one platform, by location, in the lockfile's order.

    `packages` has neither links nor the project's own folders; `bundled` ones come within
    another's archive. `kept` are the locations of all that is in the tree.
    """

    packages: tuple[LockedPackage, ...]
    bundled: tuple[LockedPackage, ...]
    links: tuple[LockedPackage, ...]
    kept: frozenset[str]


def select(tree: Tree, omit: Iterable[str], target: Target) -> Selection:
    """Return what of `tree` is installed on `target` without the kinds in `omit`.

    Raises ResolutionError for a package that is needed and does not fit.
    """
    lockfile, omitted = tree.lockfile, frozenset(omit)
    gone = _astray(tree)
    for package in lockfile.packages.values():
        if package.link is not None or package.location in gone or target.fits(package):
            continue
        if package.optional:
            gone |= tree.optional_set(package.location, gone)
        elif not _omitted(package, tree, omitted):
            raise _misfit(package, lockfile, target)
    gone |= {p.location for p in lockfile.packages.values() if _omitted(p, tree, omitted)}
    return _selection(tree, gone)


def installable(tree: Tree, omit: Iterable[str]) -> Selection:
    """Return what may be installed on any platform without the kinds in `omit`, as `select`."""
    omitted = frozenset(omit)
    left_out = {p.location for p in tree.lockfile.packages.values() if _omitted(p, tree, omitted)}
    return _selection(tree, _astray(tree) | left_out)


def _astray(tree: Tree) -> set[str]:
    """Return what nothing leads to; what an archive brings is there all the same."""
    packages = tree.lockfile.packages
    return {at for at in packages.keys() - tree.reached if not tree.brings(packages[at])}


def _selection(tree: Tree, gone: set[str]) -> Selection:
    kept = [
        package
        for package in tree.lockfile.packages.values()
        if package.location not in gone
        and not any(location in gone for location in _parents(package))
    ]
    # npm installs nothing into folders beside the project's.
    installed = [p for p in kept if p.is_installed and not p.location.startswith("../")]
    bundled = {p.location for p in installed if tree.brings(p)}
    return Selection(
        packages=tuple(p for p in installed if p.link is None and p.location not in bundled),
        bundled=tuple(p for p in installed if p.link is None and p.location in bundled),
        links=tuple(p for p in installed if p.link is not None),
        kept=frozenset(p.location for p in kept),
    )


def _parents(package: LockedPackage) -> Iterator[str]:
    """Yield the locations of the packages in whose node_modules this one lies."""
    if package.is_installed:
        for location in enclosing_locations(package.location):
            if f"/{location}".rpartition("/" + _MODULES)[1]:
                yield location


def _omitted(package: LockedPackage, tree: Tree, omit: frozenset[str]) -> bool:
    """Tell whether a kind that is left out is all that `package` is: Node's "shouldOmit"."""
    if not omit or not package.is_installed:
        return False
    enclosing = f"/{package.location}".partition("/" + _MODULES)[0].removeprefix("/")
    if enclosing and enclosing not in tree.workspaces:
        return False
    if package.link is not None:
        package = tree.lockfile.packages.get(package.link, package)
    return (
        (package.peer and "peer" in omit)
        or (package.dev and "dev" in omit)
        or (package.optional and "optional" in omit)
        or (package.dev_optional and {"dev", "optional"} <= omit)
    )


def _misfit(package: LockedPackage, lockfile: Lockfile, target: Target) -> ResolutionError:
    wants = [
        f"{what} {', '.join(words)}"
        for what, words in (("os", package.os), ("cpu", package.cpu), ("libc", package.libc))
        if words
    ]
    return ResolutionError(
        f"{lockfile.where}: {package.label} ({package.location}) is not optional and does not fit "
        f"{target}: it is for {'; '.join(wants)}; build for another platform, or make it an "
        "optional dependency"
    )


def check(tree: Tree, selection: Selection) -> None:
    """Raise SpecError, naming each, for packages that cannot be known to the last byte.

    What counts is a SHA-512 in "integrity", and an archive of the registry or in the
    lockfile's own folder. A link has to stay in that folder: an image has nothing beside it.
    """
    faults = [
        f'packages["{package.location}"]: {package.label}: {fault}'
        for package in selection.packages
        for fault in _doubts(package, tree)
    ]
    faults += _contradictions(selection.packages)
    faults += [
        f'packages["{link.location}"]: {link.name}: links to {link.link}, outside of the '
        "project; move that folder into it, or depend on a packed .tgz (`npm pack`)"
        for link in selection.links
        if f"{link.link}/".startswith("../")
    ]
    if faults:
        raise SpecError(tree.lockfile.where, faults)


def _doubts(package: LockedPackage, tree: Tree) -> Iterator[str]:
    resolved = package.resolved
    if not package.has_version:
        yield f"version: expected one like 1.2.3, found {quoted(package.version)}"
    if resolved.startswith(_FOREIGN):
        yield "comes from git; publish it, or pack it (`npm pack`) and depend on the file"
    elif package.is_local:
        try:
            local_path(package)
        except ValueError as error:
            yield f"resolved: {error}; link to a folder, or take a .tgz beside the lockfile"
            return
    elif _asked_by_url(package, tree):
        yield (
            "comes from a URL that is no registry's; take it from a registry, or download it and "
            "depend on the file"
        )
    if package.sha512:
        return
    held = f"only {' and '.join(package.algorithms)}" if package.algorithms else "none"
    if not resolved.startswith(_FOREIGN):
        yield (
            f"integrity: expected sha512, found {held}; run `npm install --package-lock-only` "
            "with a registry that has it"
        )


def _asked_by_url(package: LockedPackage, tree: Tree) -> bool:
    return any(
        edge.wanted.startswith(("https:", "http:"))
        for edge, _ in tree.sources.get(package.location, ())
    )


def _contradictions(packages: Iterable[LockedPackage]) -> Iterator[str]:
    held: dict[tuple[str, str, bool], LockedPackage] = {}
    for package in packages:
        other = held.setdefault((package.name, package.version, package.is_local), package)
        if other.sha512 != package.sha512:
            yield (
                f'packages["{package.location}"]: {package.label}: another integrity than at '
                f"{other.location}"
            )


def reasons(tree: Tree, package: LockedPackage) -> tuple[str, ...]:
    """Return the names of what asks for `package`, sorted; ``("asked for",)`` for the project."""
    asking = {source for _, source in tree.sources.get(package.location, ())}
    if any(not _installed_at(tree, source) for source in asking):
        return ("asked for",)
    return tuple(sorted({tree.lockfile.packages[source].name for source in asking}))


def _installed_at(tree: Tree, location: str) -> bool:
    package = tree.lockfile.packages.get(location)
    return package is not None and package.is_installed
