"""Layer kind ``debian``: packages of a Debian suite, unpacked without running anything.

What dpkg and the packages' own scripts would make beyond the files, and an image needs, is made
here from the packages' contents: dpkg's database, alternatives, accounts, certificates.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from attrs import frozen
from typing_extensions import override

from immutable.builders.base import (
    Beneath,
    Builder,
    Facts,
    Inputs,
    LockScope,
    Questions,
    Read,
    Scope,
)
from immutable.builders.debian import alternatives, database, java, scripts, system
from immutable.builders.debian.overlaps import resolve
from immutable.builders.debian.package import PinnedPackage, UnpackedPackage, unpack_all
from immutable.builders.debian.places import Places, is_merged
from immutable.builders.debian.tree import Tree
from immutable.content.entries import Entry, EntryKind, file
from immutable.content.globs import compile_globs
from immutable.net.fetch import Wanted
from immutable.oci.platforms import Platform
from immutable.spec.derivation import Job
from immutable.spec.document import Layer
from immutable.spec.lock import LockedLayer, Pin
from immutable.spec.toml import FaultError
from immutable.spec.types import Component, Glob, LayerCount, PackageRequest, Pocket, Suite

if TYPE_CHECKING:
    from immutable.sources.debian import Installed

_POCKETS: Final = ("updates", "security")
# Suites that take their updates in place.
_ROLLING: Final = frozenset({"experimental", "rc-buggy", "sid", "testing", "unstable"})
_MACHINE_ID: Final = b"etc/machine-id"


@frozen
class DebianOptions:
    """A ``debian`` layer: `packages` of `suite` and what they depend on.

    `pockets` are the suite's companions (``bookworm-security`` is ``security``): updates and
    security where the suite has such. `essential` adds all essential packages, `recommends`
    what is recommended. `exclude` leaves paths out unless `include` has them. `keyring` is a
    file relative to the spec's folder. `layers` spreads the packages over at most so many.
    """

    suite: Suite
    packages: tuple[PackageRequest, ...]
    pockets: tuple[Pocket, ...] | None = None
    components: tuple[Component, ...] = (Component("main"),)
    recommends: bool = False
    essential: bool = False
    exclude: tuple[Glob, ...] = ()
    include: tuple[Glob, ...] = ()
    keyring: str = ""
    layers: LayerCount | None = None

    def __attrs_post_init__(self) -> None:
        if not self.packages and not self.essential:
            raise FaultError("expected a package, or essential = true", key="packages")


class DebianBuilder(Builder):
    """Makes a layer of Debian packages."""

    kind: ClassVar[str] = "debian"
    version: ClassVar[int] = 1
    options: ClassVar[type[Any]] = DebianOptions
    divisible: ClassVar[bool] = True
    loose: ClassVar[bool] = True

    @override
    def request(self, options: DebianOptions, read: Read) -> Mapping[str, Any] | None:
        """Return everything that decides which packages there are."""
        return {
            "suite": options.suite,
            "pockets": list(_pockets(options)),
            "components": list(options.components),
            "packages": list(options.packages),
            "recommends": options.recommends,
            "essential": options.essential,
            **({"keyring": options.keyring} if options.keyring else {}),
        }

    @override
    def lock(self, layer: Layer, given: LockScope) -> LockedLayer:
        """Resolve the packages and pin them; those that lower layers hold count as there."""
        from immutable.sources import debian

        options: DebianOptions = layer.options
        request = debian.Request(
            suite=options.suite,
            packages=options.packages,
            pockets=_pockets(options),
            components=options.components,
            recommends=options.recommends,
            essential=options.essential,
            keyring=given.scope.folder / options.keyring if options.keyring else None,
        )
        index, pins = debian.resolve(
            request,
            given.platforms,
            config=given.scope.config,
            fetcher=given.fetcher,
            progress=given.scope.progress,
            previous=given.previous,
            upgrade=given.upgrade,
            now=given.now,
            installed={p: _held(given.lower, p) for p in given.platforms},
        )
        asked = self.request(options, given.read) or {}
        return LockedLayer(layer.name, self.kind, asked, given.platforms, index, pins)

    @override
    def origin(self, pin: Pin) -> str:
        """Return the folder of the source package: mirrors keep its packages in one."""
        return pin.path.rpartition("/")[0]

    @override
    def paths(self, options: DebianOptions) -> tuple[str, ...]:
        """Return the keyring, if the spec names one."""
        return (options.keyring,) if options.keyring else ()

    @override
    def derive(self, facts: Facts) -> tuple[Job, ...]:
        """Return the one derivation."""
        options: DebianOptions = facts.layer.options
        return (
            self.job(
                facts,
                {
                    "packages": [
                        {"name": p.name, "version": p.version, "architecture": p.architecture}
                        for p in facts.pins
                    ],
                    "exclude": list(options.exclude),
                    "include": list(options.include),
                    "merged-usr": is_merged(options.suite),
                },
                sources=tuple(pin.sha256 for pin in facts.pins),
                platform=facts.platform,
                pins=facts.pins,
                index=facts.index,
            ),
        )

    @override
    def wanted(self, job: Job, scope: Scope) -> Sequence[Wanted]:
        """Return the packages, each with its place on this machine's mirrors and snapshots."""
        from immutable.sources import debian

        return [debian.wanted(pin, job.index, scope.config) for pin in job.pins]

    @override
    def questions(self, job: Job) -> Questions:
        """Ask for the packages and alternatives that are there, and for links of the system."""
        places = Places.of(merged=job.options["merged-usr"])
        return Questions(
            paths=(_MACHINE_ID, *(path for path, _ in places.links)),
            files=(database.STATUS,),
            trees=(alternatives.FOLDER, database.TRIGGERS),
        )

    @override
    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Return each package's entries, then what belongs to no single one."""
        options = job.options
        places = Places.of(merged=options["merged-usr"])
        wanted = [
            PinnedPackage(package["name"], package["version"], package["architecture"], digest)
            for package, digest in zip(options["packages"], job.derivation.sources, strict=True)
        ]
        left_out = _left_out(options)
        resolved = resolve(unpack_all(wanted, inputs, places, left_out))
        _tell_of_scripts(job, resolved.packages, inputs)
        tree = Tree(itertools.chain(*resolved.entries), places, left_out)
        _complete(resolved.packages, tree, places, inputs.beneath)
        return (*resolved.entries, tree.added)


def _pockets(options: DebianOptions) -> tuple[str, ...]:
    if options.pockets is not None:
        return options.pockets
    return () if options.suite in _ROLLING else _POCKETS


def _left_out(options: Mapping[str, Any]) -> Callable[[bytes], bool]:
    exclude, include = compile_globs(options["exclude"]), compile_globs(options["include"])
    return lambda path: exclude(path) and not include(path)


def _complete(
    packages: Sequence[UnpackedPackage], tree: Tree, places: Places, beneath: Beneath
) -> None:
    """Add to `tree` what belongs to no single package, upon what is there `beneath`."""
    status = beneath.read(database.STATUS)
    shipped = [one.path for package in packages for one in package.files]
    passed = places.passed(shipped)
    for link in places.needed(shipped, first=status is None):
        there = beneath.find(link.path)
        # A directory of its own where packages are to be found by way of the link hides them:
        # then it is for the core to refuse the link, or for the spec to have it.
        if there is None or (there.path == link.path in passed and _hides(there)):
            tree.add(link)
    if status is None and beneath.find(_MACHINE_ID) is None:
        # systemd and D-Bus take an empty one for a first boot; machine-id(5).
        tree.add(file(_MACHINE_ID, b"", 0o444))
    system.add(packages, tree)
    _add_records(packages, tree, status, beneath)


def _hides(there: Entry) -> bool:
    return there.kind is not EntryKind.SYMLINK


def _held(lower: Iterable[LockedLayer], platform: Platform) -> dict[str, Installed]:
    """Return the packages that lower layers of this kind hold for `platform`."""
    from immutable.sources.debian import Installed

    return {
        pin.name: Installed(pin.version, pin.architecture)
        for layer in lower
        if layer.kind == DebianBuilder.kind
        for pin in layer.pins_for(platform)
    }


def _add_records(
    packages: Sequence[UnpackedPackage], tree: Tree, status: bytes | None, beneath: Beneath
) -> None:
    """Add alternatives and dpkg's database, upon those of the lower layers."""
    called = alternatives.merged((*alternatives.calls(packages), *java.alternatives(tree)))
    paths = {database.FILE_TRIGGERS, *database.trigger_names(packages)}
    paths |= {alternatives.admin_path(name) for name in called}
    held = {**beneath.within(alternatives.FOLDER), **beneath.within(database.TRIGGERS)}
    lower = {} if status is None else {database.STATUS: status}
    for path in paths & held.keys():
        content = held[path].content
        if content is not None:
            lower[path] = b"".join(content.read())
    tree.add(*alternatives.entries(called, tree, lower))
    tree.add(*database.entries(packages, tree, lower))


def _tell_of_scripts(job: Job, packages: Sequence[UnpackedPackage], inputs: Inputs) -> None:
    names = [package.name for package in packages if scripts.not_run(package)]
    if names:
        inputs.progress.note(
            f"{job.name}: scripts of {len(names)} package{'s' * (len(names) > 1)} "
            f"were not run: {', '.join(names)}"
        )
