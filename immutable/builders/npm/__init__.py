"""Layer kind ``npm``: what ``npm ci --ignore-scripts`` makes of an application's lockfile.

The image's platform alone decides which packages those are. No script of a package is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from typing_extensions import override

from immutable.builders.base import (
    Builder,
    Facts,
    Inputs,
    LockScope,
    Read,
    Scope,
    ids_of,
    owner_of,
)
from immutable.builders.npm.layout import Command, Layout, Placement, commands, relative
from immutable.builders.npm.options import NpmOptions
from immutable.builders.npm.package import PinnedArchive, unpack_all
from immutable.builders.npm.project import Key, Project, pins_of, read_file, read_project
from immutable.content.entries import Entry, Sets, directory, parent, safe_path
from immutable.errors import LockStale
from immutable.net.fetch import Wanted
from immutable.oci.digest import Digest
from immutable.sources.npm import hidden
from immutable.sources.npm.registry import Registry
from immutable.sources.npm.selection import Selection
from immutable.spec.derivation import Job, Snapshot
from immutable.spec.document import Layer
from immutable.spec.lock import LockedLayer, Pin

__all__ = ["NpmBuilder", "NpmOptions"]


class NpmBuilder(Builder):
    """Makes a layer of a ``node_modules``."""

    kind: ClassVar[str] = "npm"
    version: ClassVar[int] = 1
    options: ClassVar[type[Any]] = NpmOptions
    divisible: ClassVar[bool] = True
    loose: ClassVar[bool] = True

    @override
    def request(self, options: NpmOptions, read: Read) -> Mapping[str, Any] | None:
        """Return what chooses packages, and all of the lockfile that may be chosen.

        Raises SpecError, naming each, for packages that are not known to the last byte.
        """
        project = read_project(read(options.lockfile), options.lockfile)
        return {
            "omit": sorted(set(options.omit)),
            "libc": options.libc,
            "packages": project.words(options.omit),
        }

    @override
    def lock(self, layer: Layer, given: LockScope) -> LockedLayer:
        """Choose packages for each platform and pin them; fetch those that no pin fits."""
        request = self.request(layer.options, given.read) or {}
        pins = pins_of(layer.options, given)
        return LockedLayer(layer.name, self.kind, request, given.platforms, (), pins)

    @override
    def origin(self, pin: Pin) -> str:
        """Return the scope, whose packages mostly come from one repository, else the package."""
        return pin.name.split("/")[0]

    @override
    def paths(self, options: NpmOptions) -> tuple[str, ...]:
        """Return the language's lock."""
        return (options.lockfile,)

    @override
    def scan(self, layer: Layer, locked: LockedLayer | None, scope: Scope) -> Snapshot | None:
        """Return what the lockfile says of where packages go."""
        options: NpmOptions = layer.options
        data = read_file(scope.folder / options.lockfile)
        project = read_project(data, options.lockfile, scope.folder)
        return Snapshot(project.digest, project)

    @override
    def derive(self, facts: Facts) -> tuple[Job, ...]:
        """Return the one derivation; what is chosen alone differs between platforms."""
        options: NpmOptions = facts.layer.options
        project = _project(facts.snapshot)
        selection = project.select(options, facts.platform)
        pins = {Key.of_pin(pin): pin for pin in facts.pins}
        needed = {Key.of(package): package for package in selection.packages}
        if missing := sorted(needed.keys() - pins.keys()):
            raise LockStale(
                f'layer "{facts.layer.name}": the lock does not hold {missing[0].label}; '
                f"{facts.spec.to_lock}"
            )
        used = [key for key in pins if key in needed]
        order = {key: number for number, key in enumerate(used)}
        return (
            self.job(
                facts,
                {
                    "packages": [[key.name, key.version] for key in used],
                    "places": [[p.location, order[Key.of(p)]] for p in selection.packages],
                    **_extras(project, selection),
                    "target": options.target,
                    "owner": owner_of(facts, options.owner),
                    "sets-owner": options.owner is not None,
                },
                sources=tuple(pins[key].sha256 for key in used),
                pins=tuple(pins[key] for key in used),
                snapshot=Snapshot(project.digest, project.of(selection)),
            ),
        )

    @override
    def wanted(self, job: Job, scope: Scope) -> Sequence[Wanted]:
        """Return the packages, which come from npm's registry."""
        project = _project(job.snapshot)
        registry = Registry(scope.config, project.folder, project.by_digest(job.pins))
        return [
            Wanted(f"{pin.name} {pin.version}", pin.sha256, pin.size, (), through=registry)
            for pin in job.pins
        ]

    @override
    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Return each package's files, then the folders, commands and links."""
        options, project = job.options, _project(job.snapshot)
        _tell_of_scripts(job, project, inputs)
        wanted = [
            PinnedArchive(f"{name} {version}", digest)
            for (name, version), digest in zip(
                options["packages"], job.derivation.sources, strict=True
            )
        ]
        target = _top(options["target"])
        owner = ids_of(options["owner"], inputs)
        layout = Layout(target, *owner)
        yield from layout.entries(
            [Placement(*row) for row in options["places"]],
            unpack_all(wanted, inputs),
            [Command(*row) for row in options["commands"]],
            options["links"],
            project.hidden if options["lockfile"] else b"",
            project.bundled,
        )
        if target and (options["places"] or options["links"]):
            sets = Sets.OWNER if options["sets-owner"] else Sets.NOTHING
            yield [directory(target, None, *owner, sets)]


def _project(snapshot: Snapshot | None) -> Project:
    assert snapshot is not None  # noqa: S101 - scan always returns one
    project: Project = snapshot.data
    return project


def _extras(project: Project, selection: Selection) -> dict[str, Any]:
    """Return what a derivation says of the tree beyond the packages themselves."""
    packages = project.tree.lockfile.packages
    anything = bool(selection.packages or selection.links)
    text = hidden.text(project.tree.lockfile, selection.kept) if anything else b""
    return {
        "commands": [one.plain() for one in commands(selection, packages)],
        "links": [
            [link.location, relative(link.link or ".", parent(link.location.encode()).decode())]
            for link in selection.links
        ],
        "lockfile": str(Digest.of(text)) if anything else "",
    }


def _top(target: str) -> bytes:
    return safe_path(target.encode(), reroot=True)


def _tell_of_scripts(job: Job, project: Project, inputs: Inputs) -> None:
    names = project.with_scripts
    if names:
        inputs.progress.note(
            f"{job.name}: install scripts of {len(names)} "
            f"package{'s' * (len(names) > 1)} were not run: {', '.join(names)}"
        )
