"""Layer kind ``wheels``: the Python packages that an application's own lock names.

Which wheels those are depends on the image's platform and Python alone. pip fetches them, on
this machine's terms; nothing is ever built from sources, and nothing of a package is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final

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
from immutable.builders.unpacking import unpack_each
from immutable.builders.wheels.locking import pins_of
from immutable.builders.wheels.options import WheelsOptions
from immutable.content.entries import Entry, Sets, ancestors, directory, safe_path, show
from immutable.errors import EntryError
from immutable.net.fetch import Wanted
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.sources import pypi
from immutable.spec.derivation import Job
from immutable.spec.document import Layer
from immutable.spec.lock import LockedLayer, Pin
from immutable.store import AbstractStore

if TYPE_CHECKING:
    from immutable.builders.wheels.install import Compile, Installed
    from immutable.builders.wheels.wheel import Wheel

__all__ = ["WheelsBuilder", "WheelsOptions"]

_PIECE: Final = 1 << 20
# Those for which there are wheels. A request covers all, so that it is the same on every machine.
_PLATFORMS: Final = tuple(
    Platform.parse(f"linux/{name}")
    for name in ("386", "amd64", "arm/v7", "arm64", "ppc64le", "riscv64", "s390x")
)


class WheelsBuilder(Builder):
    """Makes a layer of installed wheels."""

    kind: ClassVar[str] = "wheels"
    version: ClassVar[int] = 1
    options: ClassVar[type[Any]] = WheelsOptions
    divisible: ClassVar[bool] = True

    @override
    def request(self, options: WheelsOptions, read: Read) -> Mapping[str, Any] | None:
        """Return what chooses wheels, and all of the lock file that may be chosen."""
        locked = pypi.read(read(options.lockfile), options.lockfile)
        environments = map(options.environment, _PLATFORMS)
        return {
            "python": options.python,
            "libc": options.libc,
            **({"extras": sorted(options.extras)} if options.extras else {}),
            **({"groups": sorted(options.groups)} if options.groups else {}),
            "packages": locked.named(environments, options.extras, options.groups),
        }

    @override
    def lock(self, layer: Layer, given: LockScope) -> LockedLayer:
        """Choose wheels for each platform and pin them; fetch those not known to the last byte."""
        options: WheelsOptions = layer.options
        pins = pins_of(options, given)
        request = self.request(options, given.read) or {}
        return LockedLayer(layer.name, self.kind, request, given.platforms, (), pins)

    @override
    def paths(self, options: WheelsOptions) -> tuple[str, ...]:
        """Return the language's lock."""
        return (options.lockfile,)

    @override
    def derive(self, facts: Facts) -> tuple[Job, ...]:
        """Return the one derivation; the wheels alone make a difference between platforms."""
        options: WheelsOptions = facts.layer.options
        places = options.places
        return (
            self.job(
                facts,
                {
                    "packages": [
                        {"name": pin.name, "version": pin.version, "file": pin.path}
                        for pin in facts.pins
                    ],
                    "python": options.python,
                    "libc": options.libc,
                    "target": places.library,
                    "scripts": places.scripts,
                    "headers": places.headers,
                    "data": places.data,
                    "interpreter": places.interpreter,
                    "owner": owner_of(facts, options.owner),
                    "sets-owner": options.owner is not None,
                    "bytecode": options.bytecode,
                },
                sources=tuple(pin.sha256 for pin in facts.pins),
                pins=facts.pins,
            ),
        )

    @override
    def wanted(self, job: Job, scope: Scope) -> Sequence[Wanted]:
        """Return the wheels, which pip fetches."""
        options, pins = job.options, job.pins
        environment = pypi.Environment(options["python"], options["libc"], _platform(pins))
        pip = pypi.Pip(environment, {pin.sha256: (pin.name, pin.version) for pin in pins})
        return [
            Wanted(f"{pin.name} {pin.version}", pin.sha256, pin.size, (), through=pip)
            for pin in pins
        ]

    @override
    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Return what installing each wheel makes, then the folders that they share."""
        from immutable.builders.wheels import bytecode

        compiled = bytecode.nothing
        if job.options["bytecode"]:
            bytecode.check_compiler(job.options["python"], job.name)
            compiled = bytecode.compiled
        owner = ids_of(job.options["owner"], inputs)
        installed = _install_all(job, inputs, owner, compiled)
        _check_overlaps(installed)
        for one in installed:
            yield [entry for entry, _ in one.files.values()]
        paths = (path for one in installed for path in one.files)
        yield _folders(job.options, paths, owner)


def _platform(pins: Iterable[Pin]) -> Platform:
    """Return the platform that one of `pins` is only for; any where all are for every one."""
    bound = (pin.architecture for pin in pins if pin.architecture)
    return Platform.parse(f"linux/{next(bound, 'amd64')}")


def _install_all(
    job: Job, inputs: Inputs, owner: tuple[int, int], compiled: Compile
) -> list[Installed]:
    """Return what each wheel becomes, in the lock's order; several are unpacked at a time."""
    from immutable.builders.wheels.install import Places, install

    options = job.options
    places = Places(
        library=options["target"],
        **{name: options[name] for name in ("scripts", "headers", "data", "interpreter")},
    )
    wheels = list(zip(options["packages"], job.derivation.sources, strict=True))

    def work(one: tuple[Mapping[str, str], Digest], scratch: BinaryIO) -> Installed:
        # Wheels are what is counted; of pieces it is only told so that it can end the work.
        wheel = _read(*one, inputs.store, scratch, lambda _: advance(0))
        made = install(wheel, places, owner, compiled)
        advance(1)
        return made

    with inputs.progress.task(f"installing {job.name}", len(wheels), unit="wheels") as advance:
        return unpack_each(work, wheels, inputs)


def _read(
    package: Mapping[str, str],
    digest: Digest,
    store: AbstractStore,
    scratch: BinaryIO,
    advance: Callable[[int], None],
) -> Wheel:
    from immutable.builders.wheels.wheel import read

    with store.verified(digest) as file:
        # Once for the digest's sake alone: a zip cannot be read from start to end.
        while piece := file.read(_PIECE):
            advance(len(piece))
    with store.open_blob(digest) as file:
        return read(
            file,
            scratch,
            file_name=package["file"],
            name=package["name"],
            version=package["version"],
            advance=advance,
        )


def _check_overlaps(installed: Sequence[Installed]) -> None:
    """Raise EntryError, naming both, where two wheels have one path and not the same file."""
    owners: dict[bytes, tuple[Installed, int, str]] = {}
    for one in installed:
        for path, (entry, hashed) in one.files.items():
            other, mode, known = owners.setdefault(path, (one, entry.mode, hashed))
            if (mode, known) != (entry.mode, hashed):
                raise _overlap(path, other, one)
    for one in installed:
        for path in ancestors(one.files):
            if path in owners:
                raise _overlap(path, owners[path][0], one)


def _overlap(path: bytes, one: Installed, other: Installed) -> EntryError:
    return EntryError(
        f"/{show(path)}: in {one.label} and, differently, in {other.label}; "
        "one of the two has to go"
    )


def _folders(
    options: Mapping[str, Any], paths: Iterable[bytes], owner: tuple[int, int]
) -> Iterator[Entry]:
    """Yield the parent folders of `paths` from the target on, which are its owner's."""
    top = _path(options["target"])
    for path in sorted(ancestors(paths)):
        if path == top:
            yield directory(
                path, None, *owner, Sets.OWNER if options["sets-owner"] else Sets.NOTHING
            )
        elif path.startswith(top + b"/"):
            yield directory(path, None, *owner)


def _path(text: str) -> bytes:
    return safe_path(text.encode(), reroot=True)
