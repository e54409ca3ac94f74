"""What a layer kind is: the base class of builders, and what they are given.

A kind is found through the entry-point group ``immutable.builders``. A builder turns locked
inputs into tree entries; it never writes tar bytes, blobs or the store.
"""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

from attrs import field, frozen

from immutable.config import Config
from immutable.content.entries import Entry
from immutable.errors import SpecError
from immutable.net.fetch import Fetcher, Wanted
from immutable.oci.digest import Digest
from immutable.oci.documents import ImageConfig
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.spec.derivation import Derivation, Job, Realisation, Snapshot
from immutable.spec.document import Layer, Spec, owner_ids
from immutable.spec.lock import IndexPin, LockedLayer, Pin
from immutable.store import AbstractStore
from immutable.transports.outputs import DiskTransport


@frozen
class Facts:
    """All that is known of a layer before anything is built, for one platform.

    `lower` are the lower layers, bottom first, and `kinds` what there is to ask about them.
    """

    layer: Layer
    spec: Spec
    platform: Platform
    mtime: int
    pins: tuple[Pin, ...] = ()
    index: tuple[IndexPin, ...] = ()
    snapshot: Snapshot | None = None
    lower: tuple[Job, ...] = ()
    kinds: Mapping[str, Builder] = field(factory=dict, repr=False)


# Reads a small file that a person or a tool wrote, by its path relative to the spec's folder.
# Raises SpecError when it cannot be read.
Read = Callable[[str], bytes]


@frozen
class BaseImage:
    """The image that a spec builds upon, for one platform."""

    name: str
    digest: Digest
    config: ImageConfig


@frozen
class Foundation:
    """The layers taken from a base image, for one platform.

    `finish` is given their realisations, and returns that image's name, manifest digest and
    config.
    """

    layers: tuple[Job, ...]
    finish: Callable[[Sequence[Realisation]], BaseImage]


@frozen
class Scope:
    """What a builder may use for one spec: its folder, this machine's settings, the store.

    `foundation` plans another spec, by its path, as a base. What is pinned and
    not in the store may be in `sources`, another one; with `offline` nothing is fetched. `own` are
    the spec's file and its lock's.
    """

    folder: Path
    platforms: tuple[Platform, ...]
    config: Config
    store: AbstractStore
    progress: Progress
    foundation: Callable[[Path], Mapping[Platform, Foundation]]
    sources: AbstractStore | None = None
    offline: bool = False
    own: tuple[Path, ...] = ()


@frozen
class LockScope:
    """What `lock` gives a builder to resolve one layer with.

    `previous` is what the lock held for the layer; `upgrade` says to prefer newer versions to
    it. `lower` are the answers of the lower layers, bottom first, those of the base specs
    included.
    """

    spec: Spec
    platforms: tuple[Platform, ...]
    previous: LockedLayer | None
    upgrade: bool
    now: datetime.datetime
    lower: tuple[LockedLayer, ...]
    fetcher: Fetcher
    scope: Scope
    read: Read


class LowerFiles(Protocol):
    """What the lower layers leave."""

    def find(self, *paths: bytes) -> Mapping[bytes, Entry]:
        """Return the entries at those of `paths` that are there; files with their content."""

    def read(self, path: bytes) -> bytes | None:
        """Return the content of the file at `path`; None if there is no such file."""


@frozen
class Attributes:
    """A directory's permission bits and owner."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@frozen
class Inputs:
    """What a builder does a job with.

    `scratch` gives a temporary binary file that lives until the layer is done; `lower` reads
    the layers that the derivation names as its inputs.
    """

    store: AbstractStore
    scratch: Callable[[], BinaryIO]
    lower: LowerFiles
    progress: Progress
    config: Config


class Builder(ABC):
    """One layer kind: what it is told, what it pins, what it reads, and its entries.

    `options` is the attrs class of the kind's own keys in the spec; `version` rises when the
    same derivation would give another tar. A kind says what is its own; the rest is here.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    options: ClassVar[type[Any]]
    divisible: ClassVar[bool] = False
    """Whether its packages can be spread over several layers.

    Then its options have `layers`, the most of them or None, and its derivations a pin for each
    source.
    """
    loose: ClassVar[bool] = False
    """Whether a divided layer needs one more part, for files of no single package."""
    as_is: ClassVar[bool] = False
    """Whether its layers are another image's, taken as they are; see `foundation` and `adopt`."""

    # What it pins

    def request(self, options: Any, read: Read) -> Mapping[str, Any] | None:  # noqa: ARG002
        """Return the part of `options` that a lock answers, as plain values; None for nothing.

        `read` gives the content of a file, by its path relative to the spec's folder.
        """
        return None

    def lock(self, layer: Layer, given: LockScope) -> LockedLayer:
        """Resolve and pin what `layer` takes from outside; asked only where there is a request."""
        raise NotImplementedError(f"{self.kind}: a kind with a request has to answer it")

    def origin(self, pin: Pin) -> str:
        """Return the name of a group: packages of one origin are usually updated together."""
        return pin.name

    # What it reads

    def paths(self, options: Any) -> tuple[str, ...]:  # noqa: ARG002
        """Return the local paths, relative to the spec's folder, that a layer takes unpinned."""
        return ()

    def chooses(self, options: Any, path: bytes, folder: Path) -> bool:  # noqa: ARG002
        """Tell whether a file would be taken, by its path within the local folder.

        `folder` is the spec's own.
        """
        return True

    def scan(self, layer: Layer, locked: LockedLayer | None, scope: Scope) -> Snapshot | None:  # noqa: ARG002
        """Look at what `layer` takes from this machine's disk; None if it takes nothing."""
        return None

    def digest_files(self, snapshot: Snapshot, config: Config) -> Snapshot:  # noqa: ARG002
        """Return an unread snapshot once its files are read, for kinds whose `scan` gives such."""
        return snapshot

    def wanted(self, job: Job, scope: Scope) -> Sequence[Wanted]:  # noqa: ARG002
        """Return the derivation's sources, each with where to fetch it from."""
        return ()

    # What it makes

    @abstractmethod
    def derive(self, facts: Facts) -> tuple[Job, ...]:
        """Return the jobs of a layer, bottom first; pure."""

    def job(
        self,
        facts: Facts,
        options: Mapping[str, Any],
        *,
        sources: tuple[Digest, ...] = (),
        inputs: tuple[Digest, ...] = (),
        platform: Platform | None = None,
        pins: tuple[Pin, ...] = (),
        index: tuple[IndexPin, ...] = (),
        snapshot: Snapshot | None = None,
    ) -> Job:
        """Return the job of this kind for the layer of `facts`; see `Derivation` and `Job`."""
        derivation = Derivation(
            self.kind, self.version, facts.mtime, options, sources, inputs, platform
        )
        return Job(derivation, facts.layer.name, pins, index, snapshot)

    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Return the layer's entries, one iterable for each of its sources in order."""
        raise NotImplementedError(f"{self.kind}: a kind makes entries, or takes layers as they are")

    def directories(self, job: Job) -> Iterator[tuple[bytes, Attributes]]:  # noqa: ARG002
        """Yield, by path, what the layer says of directories, as far as its job tells."""
        yield from ()

    # Another image's layers, for kinds that are `as_is`

    def base_spec(self, options: Any) -> str | None:  # noqa: ARG002
        """Return the path of the spec whose layers are taken; None if they are no spec's."""
        return None

    def on_disk(self, options: Any) -> DiskTransport | None:  # noqa: ARG002
        """Return the layout or archive that layers are taken from; None for anything else.

        Its path is relative to the spec's folder.
        """
        return None

    def foundation(self, snapshot: Snapshot, platform: Platform) -> Foundation:
        """Return what the layer brings for `platform`."""
        raise NotImplementedError(f"{self.kind}: no kind whose layers are taken as they are")

    def adopt(self, job: Job, inputs: Inputs) -> Realisation:
        """Verify the layer's blob, which is in the store, and return its record."""
        raise NotImplementedError(f"{self.kind}: no kind whose layers are taken as they are")


def owner_of(spec: Spec, layer: Layer, owner: str | None, place: str = "owner") -> list[int]:
    """Return [uid, gid] of an owner that a layer names at `place`; root where it names none."""
    try:
        return list(owner_ids(spec, owner or "root"))
    except ValueError as error:
        raise SpecError(spec.where, [f'layer "{layer.name}": {place}: {error}']) from None
