"""What a layer kind is: the protocol of builders, and what they are given.

A kind is found through the entry-point group ``immutable.builders``. A builder turns locked
inputs into tree entries; it never writes tar bytes, blobs or the store.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, runtime_checkable

from attrs import frozen

from immutable.config import Config
from immutable.content.entries import Entry
from immutable.errors import SpecError
from immutable.net.fetch import Fetcher, Wanted
from immutable.oci.digest import Digest
from immutable.oci.documents import ImageConfig
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.spec.derivation import Derivation, Facts, Read, Realisation, Snapshot
from immutable.spec.document import Layer, Spec, owner_ids
from immutable.spec.lock import LockedLayer
from immutable.store import AbstractStore
from immutable.transports.outputs import DiskTransport


@frozen
class BaseImage:
    """The image that a spec builds upon, for one platform."""

    name: str
    digest: Digest
    config: ImageConfig


@frozen
class Foundation:
    """The layers that an image on which a spec builds brings, for one platform.

    `finish` turns their realisations into what is known of that image: its name, the digest
    of its manifest, and its config.
    """

    layers: tuple[Derivation, ...]
    finish: Callable[[Sequence[Realisation]], BaseImage]


@frozen
class Scope:
    """Where a spec is looked at: its folder, this machine's settings, the store.

    `foundation` plans another spec, by its path, as something to build upon. What is pinned and
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
    it. `below` are the answers of the layers beneath, bottom first, those of the specs beneath
    included.
    """

    spec: Spec
    platforms: tuple[Platform, ...]
    previous: LockedLayer | None
    upgrade: bool
    now: datetime.datetime
    below: tuple[LockedLayer, ...]
    fetcher: Fetcher
    scope: Scope
    read: Read


class Below(Protocol):
    """What the layers below leave."""

    def find(self, *paths: bytes) -> Mapping[bytes, Entry]:
        """Return the entries at those of `paths` that are there; files with their content."""

    def read(self, path: bytes) -> bytes | None:
        """Return the content of the file at `path`; None if there is no such file."""


@frozen
class Inputs:
    """What a builder realises a derivation from.

    `scratch` gives a temporary binary file that lives until the layer is done; `below` reads
    the layers that the derivation names as its inputs.
    """

    store: AbstractStore
    scratch: Callable[[], BinaryIO]
    below: Below
    progress: Progress
    config: Config


@runtime_checkable
class Builder(Protocol):
    """One layer kind.

    `options` is the attrs class of the kind's own keys in the spec; `version` rises when the
    same derivation would give another tar.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    options: ClassVar[type[Any]]

    def request(self, options: Any, read: Read) -> Mapping[str, Any] | None:
        """Return the part of `options` that a lock answers, as plain values; None for nothing.

        `read` gives the content of a file, by its path relative to the spec's folder.
        """

    def lock(self, layer: Layer, given: LockScope) -> LockedLayer:
        """Resolve and pin what `layer` takes from outside."""

    def paths(self, options: Any) -> tuple[str, ...]:
        """Return the local paths, relative to the spec's folder, that a layer takes unpinned."""

    def scan(self, layer: Layer, locked: LockedLayer | None, scope: Scope) -> Snapshot | None:
        """Look at what `layer` takes from this machine's disk; None if it takes nothing."""

    def derive(self, facts: Facts) -> tuple[Derivation, ...]:
        """Return the derivations of a layer, bottom first; pure."""

    def wanted(self, derivation: Derivation, scope: Scope) -> Sequence[Wanted]:
        """Return the derivation's sources, each with where to fetch it from."""

    def entries(self, derivation: Derivation, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Return the layer's entries, one iterable for each of its sources in order."""


@runtime_checkable
class Chooser(Protocol):
    """A builder that takes some of what a local folder holds, and leaves the rest."""

    def chooses(self, options: Any, path: bytes, folder: Path) -> bool:
        """Tell whether a file would be taken, by its path within the local folder.

        `folder` is the spec's own.
        """


@runtime_checkable
class Adopter(Protocol):
    """A builder whose layers are taken as they are, without being packed again."""

    def beneath(self, options: Any) -> str | None:
        """Return the path of the spec whose layers are taken; None if they are no spec's."""

    def on_disk(self, options: Any) -> DiskTransport | None:
        """Return the layout or archive that layers are taken from; None for anything else.

        Its path is relative to the spec's folder.
        """

    def foundation(self, snapshot: Snapshot, platform: Platform) -> Foundation:
        """Return what the layer brings for `platform`."""

    def adopt(self, derivation: Derivation, inputs: Inputs) -> Realisation:
        """Verify the layer's blob, put it into the store, and return its record."""


def owner_of(spec: Spec, layer: Layer, owner: str | None, place: str = "owner") -> list[int]:
    """Return [uid, gid] of an owner that a layer names at `place`; root where it names none."""
    try:
        return list(owner_ids(spec, owner or "root"))
    except ValueError as error:
        raise SpecError(spec.where, [f'layer "{layer.name}": {place}: {error}']) from None
