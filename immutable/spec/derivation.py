"""Derivations: one layer's build with every input pinned, and the graph they form.

A derivation's identity is the digest of its canonical JSON. Names for people, and places on
this machine, are no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from attrs import evolve, field, frozen

from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.oci.platforms import Platform

if TYPE_CHECKING:
    from immutable.spec.document import Layer, Spec
    from immutable.spec.lock import IndexPin, Lock, Pin


@frozen
class Snapshot:
    """What a layer takes from this machine's disk, as it was when the build began.

    `digest` covers everything that can get into the layer; `data` is the builder's own. Where
    files have yet to be read, `digest` stands in for the right one, unlike any other layer's,
    and `settle` reads those that nobody has read meanwhile and returns the settled snapshot.
    """

    digest: Digest
    data: Any = field(default=None, eq=False, repr=False)
    settle: Callable[[], Snapshot] | None = field(default=None, eq=False, repr=False)


@frozen
class Part:
    """One of the layers that a layer's packages are spread over, counted from 0 of `count`.

    `of` says for each source which of them has it. The last also has what no package has.
    """

    number: int
    count: int
    of: tuple[int, ...]

    @property
    def last(self) -> bool:
        """Whether it is the topmost of them."""
        return self.number == self.count - 1

    def plain(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"number": self.number, "count": self.count, "of": self.of}

    def __str__(self) -> str:
        return f"{self.number + 1}/{self.count}"


@frozen(eq=False)
class Derivation:
    """How one layer is made.

    `kind` and `version` say which builder, `options` what it was told (plain JSON values),
    `sources` the fixed-output inputs in the order in which it takes them, `inputs` the
    derivations of layers below that it reads. `platform` is set only where the output depends
    on it; `mtime` is every entry's time. `part` is set where the layer is one of several that
    are made together.

    What follows is no part of the identity: `name` for people; `pins` and `index`, which say
    how to fetch the sources; `snapshot` of this machine's files; and `compression`, the name
    of the layer's encoder where it is not for the image to choose.
    """

    kind: str
    version: int
    mtime: int
    options: Mapping[str, Any] = field(converter=canonical.freeze)
    sources: tuple[Digest, ...] = ()
    inputs: tuple[Digest, ...] = ()
    platform: Platform | None = None
    name: str = ""
    pins: tuple[Pin, ...] = field(default=(), repr=False)
    index: tuple[IndexPin, ...] = field(default=(), repr=False)
    snapshot: Snapshot | None = field(default=None, repr=False)
    compression: str = ""
    part: Part | None = None
    digest: Digest = field(init=False)

    @digest.default
    def _identity(self) -> Digest:
        return Digest.of(canonical.encode(self.plain()))

    def plain(self) -> dict[str, Any]:
        """Return the JSON object whose canonical bytes are the identity."""
        return {
            "kind": self.kind,
            "version": self.version,
            "mtime": self.mtime,
            "options": self.options,
            "sources": [str(digest) for digest in self.sources],
            "inputs": [str(digest) for digest in self.inputs],
            "platform": None if self.platform is None else str(self.platform),
            **({} if self.part is None else {"part": self.part.plain()}),
        }

    @property
    def whole(self) -> Digest:
        """The identity of the undivided layer, which is that of all its parts."""
        return self.digest if self.part is None else evolve(self, part=None).digest

    def __eq__(self, other: object) -> bool:
        # Not field by field: true equals 1 in Python, and has another encoding.
        return isinstance(other, Derivation) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@frozen
class Realisation:
    """The record that a derivation gave a layer: diffID of the tar, descriptor of the blob.

    `encoder` is the key of the encoder that made the blob (see `immutable.content.compression`).
    """

    derivation: Digest
    encoder: str
    diff_id: Digest
    blob: Descriptor


@frozen
class Graph:
    """All derivations of an image: the layers of each platform, bottom first."""

    platforms: tuple[tuple[Platform, tuple[Derivation, ...]], ...]

    def layers(self, platform: Platform) -> tuple[Derivation, ...]:
        """Return the layers of `platform`, bottom first."""
        return dict(self.platforms)[platform]

    def __iter__(self) -> Iterator[Derivation]:
        """Yield each derivation once, those that others read first."""
        seen: set[Digest] = set()
        for _, layers in self.platforms:
            for derivation in layers:
                if derivation.digest not in seen:
                    seen.add(derivation.digest)
                    yield derivation


@frozen
class Facts:
    """All that is known of a layer before anything is built, for one platform."""

    layer: Layer
    spec: Spec
    platform: Platform
    mtime: int
    pins: tuple[Pin, ...] = ()
    index: tuple[IndexPin, ...] = ()
    snapshot: Snapshot | None = None
    below: tuple[Derivation, ...] = ()


# Reads a small file that a person or a tool wrote, by its path relative to the spec's folder.
# Raises SpecError when it cannot be read.
Read = Callable[[str], bytes]


class Kind(Protocol):
    """The pure half of a builder: what `instantiate` asks of a layer kind."""

    def request(self, options: Any, read: Read) -> Mapping[str, Any] | None:
        """Return the part of a layer's options that a lock answers; None if nothing is locked."""

    def derive(self, facts: Facts) -> tuple[Derivation, ...]:
        """Return the layers that `facts.layer` becomes, bottom first."""


@runtime_checkable
class Divisible(Protocol):
    """A kind whose packages can be spread over several layers.

    Its options have `layers`, the most of them or None, and its derivations a pin for each
    source. `loose` tells whether its layers hold files that belong to no single package.
    """

    loose: ClassVar[bool]

    def origin(self, pin: Pin) -> str:
        """Return what the package is made from together with others: they change together."""


def divide(whole: Derivation, *, loose: bool) -> tuple[Derivation, ...]:
    """Return the parts of a layer, bottom first, as its pins say; itself if they say nothing.

    Parts that have none of its pins are left out; with `loose` there is one more on top.
    """
    given = [pin.part for pin in whole.pins if pin.part is not None]
    if not given or len(given) < len(whole.sources):
        return (whole,)
    numbers = sorted(set(given))
    of = tuple(map(numbers.index, given))
    count = len(numbers) + loose
    return tuple(evolve(whole, part=Part(number, count, of)) for number in range(count))


def requests(
    spec: Spec, kinds: Mapping[str, Kind], read: Read
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return what `spec` asks of a lock: layer name → (kind, request).

    `read` is for kinds whose request is in a file of its own.
    """
    asked: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for layer in spec.layer:
        request = kinds[layer.kind].request(layer.options, read)
        if request is not None:
            parts = parts_of(layer, kinds[layer.kind])
            spread = {} if parts is None else {"layers": parts}
            asked[str(layer.name)] = (layer.kind, {**request, **spread})
    return asked


def parts_of(layer: Layer, kind: Kind) -> int | None:
    """Return over how many layers at most `layer` is spread; None if it is one."""
    if not isinstance(kind, Divisible) or layer.options.layers in (None, 1):
        return None
    most: int = layer.options.layers
    return most


def instantiate(
    spec: Spec,
    lock: Lock,
    kinds: Mapping[str, Kind],
    *,
    platforms: tuple[Platform, ...],
    mtime: int,
    snapshots: Mapping[str, Snapshot],
    accounts: Kind,
) -> Graph:
    """Return the derivations of `spec` under `lock`, for each of `platforms`.

    `snapshots` holds, by layer name, what layers take from this machine; `accounts` makes
    the last layer, which adds the spec's users and groups. `mtime` is in seconds since the
    epoch.
    """
    from immutable.spec.document import Layer, LayerName

    columns = []
    for platform in platforms:
        below: tuple[Derivation, ...] = ()
        for layer in spec.layer:
            locked = lock.find(layer.name)
            pins = locked.pins_for(platform) if locked else ()
            snapshot = snapshots.get(layer.name)
            index = locked.index if locked else ()
            facts = Facts(layer, spec, platform, mtime, pins, index, snapshot, below)
            kind = kinds[layer.kind]
            made = kind.derive(facts)
            if isinstance(kind, Divisible):
                made = tuple(one for whole in made for one in divide(whole, loose=kind.loose))
            below += made
        if spec.user or spec.group:
            last = Layer(LayerName("users"), "users", None)
            below += accounts.derive(Facts(last, spec, platform, mtime, below=below))
        columns.append((platform, below))
    return Graph(tuple(columns))
