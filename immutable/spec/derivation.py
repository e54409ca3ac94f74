"""Derivations: one layer's build with every input pinned, and the graph they form.

A derivation's identity is the digest of its canonical JSON. Names for people, and places on
this machine, are no part of it: those are in its job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import evolve, field, frozen

from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.oci.platforms import Platform

if TYPE_CHECKING:
    from immutable.spec.lock import IndexPin, Pin


@frozen
class Snapshot:
    """What a layer takes from this machine's disk, as it was when the build began.

    `digest` covers everything that can get into the layer; `data` is the builder's own. While a
    snapshot is `unread`, its files have been listed and not read: then `digest` stands in for
    the right one, unlike any other layer's.
    """

    digest: Digest
    data: Any = field(default=None, eq=False, repr=False)
    unread: bool = field(default=False, eq=False)


@frozen
class Part:
    """One of the layers that one layer is spread over and made with, counted from 0 of `count`.

    `of` says for each iterable of its builder's entries, which is a package's as a rule, which of
    them has it. The last also has what is in none of these.
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


@frozen
class Home:
    """A directory that a user of the spec will have, by its path without a leading ``/``.

    Its gid is None where it is that of a `group` which only lower layers know.
    """

    path: bytes
    mode: int
    uid: int
    gid: int | None
    group: str = ""


def plain_homes(homes: Iterable[Home]) -> list[canonical.JSON]:
    """Return what tells homes from any others, as values of canonical JSON."""
    return [
        [one.path.decode("latin-1"), one.mode, one.uid, one.group if one.gid is None else one.gid]
        for one in homes
    ]


@frozen(eq=False)
class Derivation:
    """How one layer is made: a plain value, which is its own identity.

    `kind` and `version` say which builder, `options` what it was told (plain JSON values),
    `sources` the fixed-output inputs in the order in which it takes them. `platform` is set only
    where the output depends on it; `mtime` is every entry's time. `replace` says that what lower
    layers have of another kind may be hidden. `part` is set where the layer is one of several that
    are made together. The lower layers are no part of it: what it asks about them is answered when
    they are there, and a realisation is of both.
    """

    kind: str
    version: int
    mtime: int
    options: Mapping[str, Any] = field(converter=canonical.freeze)
    sources: tuple[Digest, ...] = ()
    platform: Platform | None = None
    replace: bool = False
    part: Part | None = None
    digest: Digest = field(init=False)

    @digest.default
    def _identity(self) -> Digest:
        return Digest.of(self.encode())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the derivation whose canonical JSON is `data`; raise ValueError for no such."""
        try:
            found = cls.from_plain(canonical.decode(data))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no derivation: {error!r}") from None
        if found.encode() != data:
            raise ValueError("no derivation in canonical JSON")
        return found

    @classmethod
    def from_plain(cls, plain: Any) -> Self:
        """Return the derivation that `plain` returned as the JSON object `plain`."""
        part = plain.get("part")
        platform = plain["platform"]
        return cls(
            plain["kind"],
            plain["version"],
            plain["mtime"],
            plain["options"],
            tuple(map(Digest.parse, plain["sources"])),
            None if platform is None else Platform.parse(platform),
            plain.get("replace", False),
            None if part is None else Part(part["number"], part["count"], tuple(part["of"])),
        )

    def encode(self) -> bytes:
        """Return the canonical JSON, whose digest is the identity."""
        return canonical.encode(self.plain())

    def plain(self) -> dict[str, Any]:
        """Return the JSON object whose canonical bytes are the identity."""
        return {
            "kind": self.kind,
            "version": self.version,
            "mtime": self.mtime,
            "options": self.options,
            "sources": [str(digest) for digest in self.sources],
            "platform": None if self.platform is None else str(self.platform),
            **({"replace": True} if self.replace else {}),
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
class Job:
    """A derivation, and what it takes to realise it here, none of which is in its identity.

    `name` is for people; `pins` and `index` say how to fetch the sources; `snapshot` is of this
    machine's files; `compression` names the layer's encoder where it is not for the image to
    choose. So many layers right beneath are `parts` of the same layer of the spec: what is asked
    is asked about what is beneath these, and about the `homes` of the spec's users. `part` tells
    people which of a layer's parts it is, like ``2/12``. `beside` are the layers of another image
    that it takes files from, bottom first, which are no layers of this one. Jobs are equal when
    their derivations are.
    """

    derivation: Derivation
    name: str = field(default="", eq=False)
    pins: tuple[Pin, ...] = field(default=(), eq=False, repr=False)
    index: tuple[IndexPin, ...] = field(default=(), eq=False, repr=False)
    snapshot: Snapshot | None = field(default=None, eq=False, repr=False)
    compression: str = field(default="", eq=False)
    parts: int = field(default=0, eq=False)
    part: str = field(default="", eq=False)
    homes: tuple[Home, ...] = field(default=(), eq=False, repr=False)
    beside: tuple[Job, ...] = field(default=(), eq=False, repr=False)
    beside_chain: Digest | None = field(init=False, eq=False, repr=False)

    @beside_chain.default
    def _told_apart(self) -> Digest | None:
        """Return what tells the image beside from any other, before any of its layers is there.

        A layer's files are a function of its derivation and of what is beneath and beside it.
        """
        layers: list[canonical.JSON] = [
            [str(job.digest), plain_homes(job.homes), str(job.beside_chain)] for job in self.beside
        ]
        return Digest.of(canonical.encode(layers)) if layers else None

    def parted(self, part: Part) -> Self:
        """Return the job of a part of what this one makes."""
        derivation = evolve(self.derivation, part=part)
        return evolve(self, derivation=derivation, parts=part.number, part=str(part))

    @property
    def is_unread(self) -> bool:
        """Whether it takes files that have yet to be read; then the derivation stands in."""
        return self.snapshot is not None and self.snapshot.unread

    @property
    def digest(self) -> Digest:
        """The derivation's identity."""
        return self.derivation.digest

    @property
    def kind(self) -> str:
        """The derivation's kind."""
        return self.derivation.kind

    @property
    def options(self) -> Mapping[str, Any]:
        """What the derivation tells its builder."""
        return self.derivation.options


AS_IS: Final = "as-is"  # what stands for the encoder in the record of another image's layer
# The canonical JSON of no answers: nothing was asked, or nothing was beneath where it was.
NO_ANSWERS: Final = Digest.of(canonical.encode([]))


@frozen
class Realisation:
    """The record that a derivation gave a layer: diffID of the tar, descriptor of the blob.

    `answers` is the digest of what the root file system beneath answered to the derivation's
    questions, or `NO_ANSWERS`. `encoder` is the key of the encoder that made the blob (see
    `immutable.content.compression`), or `AS_IS`.
    """

    derivation: Digest
    answers: Digest
    encoder: str
    diff_id: Digest
    blob: Descriptor


@frozen
class Graph:
    """All derivations of an image, each with its job: the layers of each platform, bottom first."""

    platforms: tuple[tuple[Platform, tuple[Job, ...]], ...]

    def layers(self, platform: Platform) -> tuple[Job, ...]:
        """Return the layers of `platform`, bottom first."""
        return dict(self.platforms)[platform]

    def __iter__(self) -> Iterator[Job]:
        """Yield each derivation once, those of lower layers first."""
        seen: set[Digest] = set()
        for _, layers in self.platforms:
            for job in layers:
                if job.digest not in seen:
                    seen.add(job.digest)
                    yield job

    def with_beside(self, made: Callable[[Digest], bool]) -> Iterator[Job]:
        """Yield each derivation, those of images beside too: each of a layer after it.

        What is beside a layer is left out where its derivation was `made` before.
        """
        todo = [job for _, layers in reversed(self.platforms) for job in reversed(layers)]
        seen: set[tuple[Digest, Digest | None]] = set()
        while todo:
            job = todo.pop()
            if (job.digest, job.beside_chain) in seen:
                continue
            seen.add((job.digest, job.beside_chain))
            yield job
            if job.beside and not made(job.digest):
                todo += reversed(job.beside)
