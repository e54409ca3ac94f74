"""``store:NAME[:TAG]``, or just the name: an image of our own store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import BinaryIO

from attrs import field, frozen

from immutable.errors import ImageError, TransportError
from immutable.oci.documents import Descriptor
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.reference.store import Reference
from immutable.store import AbstractStore, Store
from immutable.store.names import check_tag
from immutable.store.streams import Ingest
from immutable.transports.base import Called, GatheredImage
from immutable.transports.sending import send


def named(reference: str) -> Reference | None:
    """Return a reference to an image of a store taken apart; None for one without a name."""
    return None if reference.startswith("sha256:") else Reference.parse(reference)


@frozen
class StoreImage:
    """The image that `reference` means in `store`, or in this user's store if that is None.

    As a destination it is a name, with a tag or without: the image becomes its newest
    generation, with the tags `also` too. A tag that is on another digest is refused, or with
    `replace_tag` moved.
    """

    reference: str
    store: AbstractStore | None = field(default=None, eq=False, repr=False)
    also: tuple[str, ...] = ()
    replace_tag: bool = False

    def __str__(self) -> str:
        return f"store:{self.reference}"

    def called(self) -> Called:
        """Return what the reference calls the image."""
        name = named(self.reference)
        return Called() if name is None else Called(name.name, name.tag or "")

    @contextmanager
    def open(self) -> Iterator[StoreSource]:
        """Open the image that is there; nothing of it is pruned meanwhile."""
        with self._opened() as store, store.lease():
            yield StoreSource(str(self), store.resolve(self.reference), store)

    def takes(self) -> Platform | None:
        """Take all platforms."""
        return None

    def receive(self, image: GatheredImage, progress: Progress) -> None:
        """Put the image's blobs there, then commit a generation.

        Raises TagTaken, and StoreError for a name or a tag that cannot be.
        """
        name = named(self.reference)
        if name is None or name.number is not None or name.digest is not None:
            raise TransportError(f"{self}: expected NAME or NAME:TAG to store an image under")
        tags = dict.fromkeys((*filter(None, [name.tag]), *self.also))
        for tag in tags:
            check_tag(tag)
        with self._opened() as store, store.lease():
            if not self.replace_tag:
                store.expect_tags(name.name, tags, image.root.digest)
            send(image, _StoreSink(store), progress)
            store.commit_generation(
                name.name,
                image.root,
                tags=tuple(tags),
                created=datetime.now(UTC),
                replace_tags=self.replace_tag,
            )

    @contextmanager
    def _opened(self) -> Iterator[AbstractStore]:
        if self.store is not None:
            yield self.store
            return
        with Store.open() as store:
            yield store


@frozen
class StoreSource:
    """An image in a store."""

    where: str
    root: Descriptor
    store: AbstractStore

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob."""
        found = self.store.blob_size(descriptor.digest)
        if found != descriptor.size:
            raise ImageError(
                f"{self.where}: blob {descriptor.digest}: expected {descriptor.size} bytes, "
                f"found {found}; remove the blob's file and build the image again"
            )
        return self.store.open_blob(descriptor.digest)


@frozen
class _StoreSink:
    store: AbstractStore

    def has(self, descriptor: Descriptor) -> bool:
        digest = descriptor.digest
        return self.store.has_blob(digest) and self.store.blob_size(digest) == descriptor.size

    def ingest(self) -> AbstractContextManager[Ingest]:
        return self.store.ingest()

    def put_manifest(self, _descriptor: Descriptor, data: bytes) -> None:
        self.store.put_blob(data)
