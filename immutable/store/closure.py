"""What needs what: from the names of images to every blob that has to stay.

Documents are manifests and indexes. Of what they refer to, more is taken to be needed than an
engine would read: a blob too many costs room, one too few costs an image.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, Protocol

from attrs import frozen

from immutable.errors import BlobMissing, DigestMismatch, StoreError
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor

MAX_DOCUMENT: Final = 16 << 20  # bytes of a manifest, index or config; far above any honest one

_LAST: Final = 1 << 37  # seconds since the epoch: some four thousand years
_DIGEST: Final = re.compile(rb"sha256:([0-9a-f]{64})(?![0-9a-f])")


class Role(enum.Enum):
    """What a blob is, as far as whoever refers to it says."""

    DOCUMENT = "document"
    LEAF = "leaf"
    UNKNOWN = "unknown"


@frozen
class Need:
    """A blob that is needed."""

    digest: Digest
    role: Role = Role.UNKNOWN

    @classmethod
    def of(cls, descriptor: Descriptor) -> Need:
        """Return the need for what may be a document."""
        return cls(descriptor.digest, _kind(descriptor.media_type))


class Blobs(Protocol):
    """Where documents are read from."""

    def blob_size(self, digest: Digest) -> int:
        """Return the blob's length in bytes; raise BlobMissing."""

    def open_blob(self, digest: Digest) -> BinaryIO:
        """Open the blob, unverified; raise BlobMissing."""

    def read_blob(self, digest: Digest, limit: int) -> bytes:
        """Return the verified bytes of a blob."""


class Marker:
    """Follows references; `live` is every digest that was found to be needed."""

    def __init__(self, blobs: Blobs) -> None:
        self.live: set[Digest] = set()
        self._blobs = blobs
        self._followed: set[Digest] = set()
        self._referrers: dict[Digest, list[Digest]] = {}

    def index_referrers(self, sizes: Mapping[Digest, int]) -> None:
        """Look among blobs, given with their sizes, for manifests that name a subject.

        A referrer of what is needed is needed (distribution-spec 1.1, "Listing Referrers").
        """
        for digest, size in sizes.items():
            if size <= MAX_DOCUMENT and b'"subject"' in self._unverified(digest):
                for subject in self._subjects(digest):
                    self._referrers.setdefault(subject, []).append(digest)

    def mark(self, needs: Iterable[Need]) -> None:
        """Add to `live` what is needed, with all that it refers to.

        Raises StoreError for a damaged document: what it refers to is not known. One that is
        missing refers to nothing.
        """
        waiting = list(needs)
        while waiting:
            need = waiting.pop()
            if need.digest not in self.live:
                self.live.add(need.digest)
                referrers = self._referrers.get(need.digest, ())
                waiting.extend(Need(referrer, Role.DOCUMENT) for referrer in referrers)
            if need.role is not Role.LEAF and need.digest not in self._followed:
                self._followed.add(need.digest)
                waiting.extend(self._references(need))

    def parents_first(self, digests: Collection[Digest]) -> list[Digest]:
        """Return the blobs in an order in which each stands before what it refers to.

        So whoever finds a document that is removed in this order finds it whole.
        """
        chosen, seen = frozenset(digests), set[Digest]()
        order: list[Digest] = []
        for first in sorted(chosen, key=lambda digest: digest.hex):  # as they sort, and faster
            path: list[tuple[Digest, Iterator[Digest]]] = []
            following: Digest | None = first
            while following is not None or path:
                if following is not None and following not in seen:
                    seen.add(following)
                    path.append((following, iter(self._below(following, chosen))))
                following = next(path[-1][1], None) if path else None
                if following is None and path:
                    order.append(path.pop()[0])
        order.reverse()
        return order

    def _below(self, digest: Digest, chosen: Collection[Digest]) -> list[Digest]:
        try:
            found = self._references(Need(digest))
        except StoreError:
            return []  # damaged, and needed by nobody
        return [need.digest for need in found if need.digest in chosen]

    def _subjects(self, digest: Digest) -> list[Digest]:
        try:
            document = canonical.decode(self._blobs.read_blob(digest, MAX_DOCUMENT))
        except (ValueError, StoreError, DigestMismatch):
            return []
        found = document.get("subject") if isinstance(document, dict) else None
        return [need.digest for need in _need(found)]

    def _references(self, need: Need) -> tuple[Need, ...]:
        """Return what a blob refers to."""
        if need.role is Role.UNKNOWN and not self._looks_like_a_document(need.digest):
            return ()
        try:
            return references(self._blobs.read_blob(need.digest, MAX_DOCUMENT))
        except BlobMissing:
            return ()
        except DigestMismatch:
            raise StoreError(
                f"blob {need.digest}: damaged, so what it refers to is not known; "
                "run `immutable store check --repair` first"
            ) from None

    def _looks_like_a_document(self, digest: Digest) -> bool:
        try:
            if self._blobs.blob_size(digest) > MAX_DOCUMENT:
                return False
        except BlobMissing:
            return False
        return self._unverified(digest, 1) == b"{"

    def _unverified(self, digest: Digest, length: int = MAX_DOCUMENT) -> bytes:
        """Return the start of a blob; of one that is no document, no more than a byte."""
        try:
            with self._blobs.open_blob(digest) as file:
                start = file.read(1)
                return start + file.read(length - 1) if start == b"{" else start
        except BlobMissing:
            return b""


def references(data: bytes) -> tuple[Need, ...]:
    """Return what the document in `data` refers to; of a config or anything else, nothing.

    Where others wrote JSON that is read in different ways, every digest in it counts.
    """
    try:
        document = canonical.decode(data)
    except ValueError:
        return tuple(Need(Digest(found.decode())) for found in _DIGEST.findall(data))
    if not isinstance(document, dict):
        return ()
    found = [*_need(document.get("subject")), *_need(document.get("config"), leaf=True)]
    for key in ("manifests", "layers", "blobs"):
        items = document.get(key)
        for item in items if isinstance(items, list) else ():
            found += _need(item, leaf=key != "manifests")
    return tuple(found)


@frozen
class CachePolicy:
    """Which of the blobs that nothing needs stay as caches; see `AbstractStore.sweep`."""

    caches: bool = True
    max_size: int | None = None
    spent: frozenset[Digest] = frozenset()

    def kept(
        self, used: Mapping[Digest, int], sizes: Mapping[Digest, int], live: Collection[Digest]
    ) -> set[Digest]:
        """Return those that stay.

        `used` says when each cache was last of use, `sizes` what is there, and `live` what
        stays anyhow.
        """
        from immutable.store.budget import Cache, evict

        if not self.caches:
            return set()
        left = {d for d in used if d in sizes and d not in live and d not in self.spent}
        if self.max_size is None:
            return left
        total = sum(size for digest, size in sizes.items() if digest in live or digest in left)
        offered = [Cache(digest, sizes[digest], _moment(used[digest])) for digest in left]
        return left - {cache.digest for cache in evict(offered, self.max_size, total)}


def _moment(seconds: int) -> datetime | None:
    """Return a time since the epoch; None for one that cannot be."""
    return datetime.fromtimestamp(seconds, UTC) if 0 < seconds < _LAST else None


def _need(found: Any, *, leaf: bool = False) -> list[Need]:
    """Return the need that a descriptor tells; none if it is no descriptor, or not of sha256."""
    if not isinstance(found, dict) or not isinstance(found.get("digest"), str):
        return []
    try:
        digest = Digest.parse(found["digest"])
    except ValueError:
        return []
    return [Need(digest, Role.LEAF if leaf else _kind(found.get("mediaType")))]


def _kind(media_type: Any) -> Role:
    known = isinstance(media_type, str) and oci.family(media_type) in (oci.INDEX, oci.MANIFEST)
    return Role.DOCUMENT if known else Role.UNKNOWN
