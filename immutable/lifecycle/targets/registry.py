"""A repository of a registry as a place to prune: what its tags stand on, and what belongs to it.

The distribution-spec has no list of manifests, so what has no tag is seen only as the child of an
index or as a referrer. Nor does it tell when something was pushed: the age of an image is what its
annotation or its config says, and where that is the epoch, as reproducible builds have it, nobody
knows. What is deleted are manifests; their blobs go when the registry next collects garbage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from attrs import define, field, frozen

from immutable.errors import ImmutableError, RegistryError, TransportError
from immutable.lifecycle.retention import Item
from immutable.lifecycle.targets.base import Freed
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Index, Manifest
from immutable.progress import Progress
from immutable.transports.registry import documents, lists
from immutable.transports.registry.client import Client
from immutable.transports.registry.transport import RegistryImage

T = TypeVar("T")
R = TypeVar("R")

_WORKERS: Final = 8  # requests at once
_CREATED: Final = "org.opencontainers.image.created"


@frozen
class _Found:
    """A manifest or index in the repository: what it is, and the blobs that it names."""

    descriptor: Descriptor
    value: Manifest | Index
    created: datetime | None
    subject: Digest | None

    @property
    def children(self) -> tuple[Digest, ...]:
        return tuple(child.digest for child in self.value.children)

    def blobs(self) -> Mapping[Digest, int]:
        """Return the blobs with their sizes; itself included."""
        own = {self.descriptor.digest: self.descriptor.size}
        return own | {part.digest: part.size for part in self.value.blobs}


@define
class RegistryPlace:
    """The repository that `place` names; list first, then preview or delete."""

    place: RegistryImage
    _found: dict[Digest, _Found] = field(factory=dict, repr=False)
    _tags: dict[str, Digest] = field(factory=dict, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.place.name.tag or self.place.name.digest:
            raise TransportError(f"{self.place}: expected a whole repository: docker://HOST/NAME")

    def __str__(self) -> str:
        return str(self.place)

    def items(self) -> tuple[Item, ...]:
        """Return what has a tag, with its children and referrers."""
        self._found.clear()
        self._tags.clear()
        with self.place.client() as client:
            self._tags.update(_tagged(client))
            self._read(client, self._tags.values())
        tags: dict[Digest, list[str]] = defaultdict(list)
        for tag, digest in self._tags.items():
            tags[digest].append(tag)
        return tuple(
            Item(
                name=self.place.name.repository,
                digest=digest,
                created=found.created,
                tags=tuple(tags[digest]),
                size=sum(self._closure(digest).values()),
                media_type=found.descriptor.media_type,
                children=found.children,
                subject=found.subject,
            )
            for digest, found in self._found.items()
        )

    def preview(self, expired: Sequence[Item]) -> Freed:
        """Return the blobs that nothing else in the repository would name."""
        return self._freed(expired, self._going(expired, self._tags))

    def delete(self, expired: Sequence[Item], progress: Progress) -> Freed:
        """Delete manifests, indexes before their children; what has a new tag by now stays.

        Raises TransportError for a registry that deletes nothing.
        """
        with self.place.client("pull,push,delete") as client:
            tags = _tagged(client)
            self._read(client, tags.values())
            going = self._going(expired, tags)
            with progress.task(f"pruning {self}", len(going), unit="manifests") as advance:
                for digest in going:
                    self._delete(client, digest)
                    advance(1)
        return self._freed(expired, going)

    def _going(self, expired: Sequence[Item], tags: Mapping[str, Digest]) -> tuple[Digest, ...]:
        """Return the manifests to delete: of the expired, those that nothing left refers to."""
        asked = {item.digest: item.refers_to for item in expired}
        moved = {digest for tag, digest in tags.items() if self._tags.get(tag) != digest}
        spared = self._needed(moved | (self._found.keys() - asked.keys()), asked)
        going = [digest for digest in asked if digest not in spared]
        # An index before its children, a referrer before its subject.
        return tuple(sorted(going, key=lambda digest: (self._depth(digest), digest)))

    def _needed(
        self, roots: Iterable[Digest], subjects: Mapping[Digest, Digest | None]
    ) -> set[Digest]:
        """Return `roots`, with their children and with the referrers that `subjects` tells."""
        referrers: dict[Digest, list[Digest]] = defaultdict(list)
        for referrer, subject in subjects.items():
            if subject is not None:
                referrers[subject].append(referrer)
        needed: set[Digest] = set()
        left = list(roots)
        while left:
            digest = left.pop()
            if digest not in needed:
                needed.add(digest)
                found = self._found.get(digest)
                left += found.children if found else ()
                left += referrers.get(digest, ())
        return needed

    def _depth(self, digest: Digest) -> int:
        found = self._found[digest]
        if found.subject is not None:
            return 0
        return 1 if isinstance(found.value, Index) else 2

    def _delete(self, client: Client, digest: Digest) -> None:
        try:
            client.delete_manifest(digest)
        except RegistryError as error:
            if error.status == 404:
                return  # somebody else was faster
            if error.status == 405:
                raise TransportError(f"{self}: this registry deletes nothing: {error}") from None
            raise

    def _freed(self, expired: Sequence[Item], going: Iterable[Digest]) -> Freed:
        gone = set(going)
        left: set[Digest] = set()
        for digest in self._found.keys() - gone:
            left.update(self._found[digest].blobs())
        sizes = {
            blob: size
            for digest in gone
            for blob, size in self._found[digest].blobs().items()
            if blob not in left
        }
        spared = (item for item in expired if item.digest not in gone)
        return Freed.of(sizes, [self._closure(item.digest) for item in expired], spared)

    def _closure(self, digest: Digest) -> dict[Digest, int]:
        found = self._found.get(digest)
        if found is None:
            return {}
        blobs = dict(found.blobs())
        for child in found.children:
            blobs.update(self._closure(child))
        return blobs

    def _read(self, client: Client, roots: Iterable[Digest]) -> None:
        """Read manifests, with their children and referrers, that are not known yet."""
        seen = {*self._found}
        left = {*roots} - seen
        while left:
            seen |= left
            below: set[Digest] = set()
            for found, referrers in _each(partial(_looked_up, client), sorted(left)):
                if found is not None:
                    self._found[found.descriptor.digest] = found
                    below.update(found.children, referrers)
            left = below - seen


def _each(ask: Callable[[T], R], about: Sequence[T]) -> Iterator[R]:
    """Yield the registry's answers in order; some are asked for at once."""
    with ThreadPoolExecutor(_WORKERS, "registry") as pool:
        yield from pool.map(ask, about)  # the first failure calls off the rest


def _tagged(client: Client) -> dict[str, Digest]:
    """Return what each tag stands on."""
    tags = sorted(lists.tags(client))
    digests = _each(client.head_manifest, tags)
    # A tag without one is gone since it was listed.
    return {tag: digest for tag, digest in zip(tags, digests, strict=True) if digest is not None}


def _looked_up(client: Client, digest: Digest) -> tuple[_Found | None, tuple[Digest, ...]]:
    """Return a manifest and its referrers; None for one that is not there."""
    try:
        found = _described(client, digest)
    except RegistryError as error:
        if error.status != 404:
            raise
        return None, ()  # an index may name platforms that were never pushed
    return found, tuple(one.descriptor.digest for one in lists.referrers(client, digest))


def _described(client: Client, digest: Digest) -> _Found:
    descriptor, data = client.manifest(digest)
    where = f"{client.where}: {digest}"
    named = documents.subject(data)
    subject = Digest.parse(str(named["digest"])) if named else None
    value = oci.decode_document(data, descriptor.media_type, where)
    created = next(_times(value), None)
    if created is None and isinstance(value, Manifest):
        created = _config_time(client, value)
    return _Found(descriptor, value, created, subject)


def _times(value: Manifest | Index) -> Iterator[datetime]:
    yield from _parsed(dict(value.annotations).get(_CREATED, ""))


def _config_time(client: Client, manifest: Manifest) -> datetime | None:
    if oci.family(manifest.config.media_type) != oci.CONFIG:
        return None
    try:
        config = oci.decode_config(client.read_blob(manifest.config), client.where)
    except RegistryError:
        raise
    except ImmutableError:
        return None  # damaged: of no known age
    return next(_parsed(config.created), None)


def _parsed(text: str) -> Iterator[datetime]:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return
    yield found if found.tzinfo else found.replace(tzinfo=UTC)
