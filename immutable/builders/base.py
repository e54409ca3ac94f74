"""What a layer kind is: the base class of builders, and what they are given.

A kind is found through the entry-point group ``immutable.builders``. A builder turns locked
inputs into tree entries; it never writes tar bytes, blobs or the store.
"""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

from attrs import frozen

from immutable.builders.homes import homes_of
from immutable.config import Config
from immutable.content.entries import Entry, EntryKind
from immutable.content.rootfs import Rootfs
from immutable.errors import EntryError, SpecError
from immutable.net.fetch import Fetcher, Wanted
from immutable.oci.digest import Digest
from immutable.oci.documents import ImageConfig
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.sources.tree import Tree
from immutable.spec.accounts import known_part, owner_ids
from immutable.spec.derivation import Derivation, Job, Realisation, Snapshot
from immutable.spec.document import Layer, Spec
from immutable.spec.lock import IndexPin, LockedLayer, Pin
from immutable.store import AbstractStore
from immutable.transports.outputs import DiskTransport


@frozen
class Facts:
    """All that is known of a layer before anything is built, for one platform.

    `upper` tells that there are layers beneath it; what they hold is asked later: see `Questions`.
    """

    layer: Layer
    spec: Spec
    platform: Platform
    mtime: int
    pins: tuple[Pin, ...] = ()
    index: tuple[IndexPin, ...] = ()
    snapshot: Snapshot | None = None
    upper: bool = False


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


@frozen
class Questions:
    """What a builder asks of the root file system beneath, before it makes entries.

    Paths are raw bytes without a leading ``/``; links are followed, inside the root. Of `paths` it
    asks what is there, of `files` their bytes too, of `trees` all that is in them; of `globs` what
    matches, and of `owners`, as specs write them, the numeric ids. `copies` are paths and globs, as
    specs write them, of what is to be copied with all that is in it; what globs `without` match is
    left out of that, and no part of the answers. What the layer's own entries meet need not be
    asked: the core does that. Who asks for `everything` is answered by the layers beneath; the
    homes to come are no part of them.
    """

    paths: tuple[bytes, ...] = ()
    files: tuple[bytes, ...] = ()
    trees: tuple[bytes, ...] = ()
    globs: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    everything: bool = False


@frozen
class LowerLayer:
    """A layer beneath another: its diffID, and what opens its uncompressed tar.

    Whoever reads that to its end has read the blob's own bytes, or gets an ImmutableError.
    """

    diff_id: Digest
    open: Callable[[], AbstractContextManager[BinaryIO]]


@frozen
class Everything:
    """All that is beneath a layer: its `layers`, bottom first, and what they add up to."""

    layers: tuple[LowerLayer, ...]
    rootfs: Rootfs


class Beneath(Protocol):
    """The root file system beneath a layer, as far as its builder's questions go.

    What was not asked is a ValueError.
    """

    def find(self, path: bytes) -> Entry | None:
        """Return what is at one of the `paths` or `files`, at its own path; None for nothing.

        A file of `files` comes with its content.
        """

    def read(self, path: bytes) -> bytes | None:
        """Return the bytes of the one of `files` that `path` is; None if there is no such file.

        Raises EntryError for a file of more than 64 MiB.
        """

    def within(self, path: bytes) -> Mapping[bytes, Entry]:
        """Return all that is in one of the `trees`, by path in its order; files with content."""

    def matching(self, glob: str) -> Mapping[bytes, EntryKind]:
        """Return what one of the `globs` matches, by path in its order; nothing of what is in it.

        It is told what it is, and no more: for that, ask for its path.
        """

    def owner(self, owner: str) -> tuple[int, int]:
        """Return (uid, gid) of one of the `owners`.

        Raises EntryError for a name that neither the spec nor a lower layer knows.
        """

    def copies(self) -> Mapping[str, Sequence[Sequence[Entry]]]:
        """Return, for each of the `copies`, what it leads to: itself first, then what is in it.

        That is one thing for a path, one or more for a glob. Their paths are as it is written,
        whatever links lead there; a link at its end is what it leads to. Names of one file are
        hard links to the first of them. Where there is nothing, answering is an EntryError.
        """

    def everything(self) -> Everything:
        """Return all that is beneath, where `everything` was asked."""


@frozen
class Inputs:
    """What a builder does a job with.

    `scratch` gives a temporary binary file that lives until the layer is done; `beneath` answers
    what its builder asks, `beside` what it asks of the image that the job is beside. Whoever waits
    for long calls `check` meanwhile: it raises CancelledError where the build is given up.
    """

    store: AbstractStore
    scratch: Callable[[], BinaryIO]
    beneath: Beneath
    progress: Progress
    config: Config
    beside: Beneath | None = None
    check: Callable[[], None] = lambda: None


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
    instead: ClassVar[str] = "say replace = true in this layer if it is to"
    """What people are told to do where the layer would hide something of another kind."""
    in_place: ClassVar[bool] = False
    """Whether its entries are where they lead, parents included, and say all of what they are.

    Then they are written as they are: nothing is asked of what they meet, which may be hidden.
    """
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

    def tree(self, layer: Layer, snapshot: Snapshot | None, path: str) -> Tree | None:  # noqa: ARG002
        """Return what `scan` found at one of the `paths`, if it looked into it."""
        found = snapshot.data if snapshot is not None else None
        return found if isinstance(found, Tree) else None

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
        platform: Platform | None = None,
        pins: tuple[Pin, ...] = (),
        index: tuple[IndexPin, ...] = (),
        snapshot: Snapshot | None = None,
    ) -> Job:
        """Return the job of this kind for the layer of `facts`; see `Derivation` and `Job`."""
        derivation = Derivation(
            self.kind,
            self.version,
            facts.mtime,
            options,
            sources,
            platform,
            facts.layer.replace,
        )
        homes = homes_of(facts.spec)
        return Job(derivation, facts.layer.name, pins, index, snapshot, homes=homes)

    def questions(self, job: Job) -> Questions:
        """Return what `entries` asks of the root file system beneath: what its job tells.

        That is who the ``owner`` of its options is, where that is a name.
        """
        owner = job.options.get("owner")
        return Questions(owners=(owner,) if isinstance(owner, str) else ())

    def questions_beside(self, job: Job) -> Questions:  # noqa: ARG002
        """Return what `entries` asks of the root file system of the image beside the layer.

        Asked only where the job has layers `beside` it.
        """
        return Questions()

    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Return the layer's entries, one iterable for each of its sources in order.

        They are placed on the root file system beneath: links there are followed, directories
        that are there stay as they are but for what entries say they set.
        """
        raise NotImplementedError(f"{self.kind}: a kind makes entries, or takes layers as they are")

    def removes(self, job: Job, beneath: Beneath) -> Sequence[bytes]:  # noqa: ARG002
        """Return the paths of the root file system beneath that are gone before entries are placed.

        They go through no link, as those that `beneath` tells.
        """
        return ()

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


def owner_of(facts: Facts, owner: str | None, place: str = "owner") -> list[int] | str:
    """Return [uid, gid] of an owner that a layer names at `place`; root where it names none.

    One that the spec does not know is returned as it is to be asked about: see `Questions`. Raises
    SpecError where nothing is beneath that could know it.
    """
    try:
        return list(owner_ids(facts.spec, owner or "root"))
    except ValueError as error:
        if facts.upper and owner is not None:
            return known_part(facts.spec, owner)
        fault = f'layer "{facts.layer.name}": {place}: {error}'
        raise SpecError(facts.spec.where, [fault]) from None


def ids_of(owner: Sequence[int] | str, inputs: Inputs, place: str = "owner") -> tuple[int, int]:
    """Return (uid, gid) of what `owner_of` returned; raise EntryError at `place` for nobody."""
    if isinstance(owner, str):
        try:
            return inputs.beneath.owner(owner)
        except EntryError as error:
            raise EntryError(f"{place}: {error}") from None
    uid, gid = owner
    return uid, gid
