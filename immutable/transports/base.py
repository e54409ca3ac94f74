"""What a transport is: where an image can come from, and where it can go.

A source gives blobs by descriptor, a destination takes an `Image`. Neither knows of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO, Final, Protocol

from attrs import frozen

from immutable.errors import ImageError
from immutable.oci import Descriptor, Index, Manifest
from immutable.platforms import Platform
from immutable.progress import Progress
from immutable.store.streams import verifying

MAX_DOCUMENT: Final = 4 << 20  # bytes of a manifest, index or config, as registries have it
PIECE: Final = 1 << 20


class Source(Protocol):
    """One image that can be read, for as long as the transport holds it open."""

    @property
    def where(self) -> str:
        """The place, for messages."""

    @property
    def root(self) -> Descriptor:
        """The descriptor of the image's manifest or index."""

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open the bytes of a blob, which nobody has verified; the same one any number of times.

        Raises BlobMissing, and TransportError when it cannot be had.
        """


class Transport(Protocol):
    """A place that a reference names; its ``str()`` is the reference."""

    def open(self) -> AbstractContextManager[Source]:
        """Open the image that is there.

        Raises TransportError if there is none, or several that the reference cannot choose
        from, and ImageError or ArchiveError for what is damaged.
        """

    def takes(self) -> Platform | None:
        """Return the platform to choose from an index, or None for a place that takes all.

        Raises TransportError if the place cannot be reached.
        """

    def receive(self, image: Image, progress: Progress) -> None:
        """Put the image there, its name last; on any error nothing has the name."""


@frozen
class Document:
    """A manifest or an index: its descriptor, its exact bytes and what they say."""

    descriptor: Descriptor
    data: bytes
    value: Manifest | Index


@frozen
class Image:
    """An image that is to be copied.

    `documents` are its manifest, or its index and then its manifests; `blobs` are its configs
    and layers, each digest once, in the manifests' order.
    """

    source: Source
    documents: tuple[Document, ...]
    blobs: tuple[Descriptor, ...]

    @property
    def root(self) -> Descriptor:
        """The descriptor of the manifest or index that is the image."""
        return self.documents[0].descriptor

    def open(self, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        """Open a blob as a stream that raises DigestMismatch if its bytes are not the ones.

        What the block leaves unread is verified at its end.
        """
        return opened(self.source, descriptor)

    def read(self, descriptor: Descriptor) -> bytes:
        """Return the verified bytes of a small blob; raise ImageError if it is no small one."""
        return read(self.source, descriptor)


@contextmanager
def opened(source: Source, descriptor: Descriptor) -> Iterator[BinaryIO]:
    """Give a blob of `source` as a verified stream."""
    name = f"{source.where}: blob {descriptor.digest}"
    with (
        source.open(descriptor) as file,
        verifying(file, name, descriptor.digest, descriptor.size) as stream,
    ):
        yield stream


def read(source: Source, descriptor: Descriptor) -> bytes:
    """Return the verified bytes of a JSON document of `source`."""
    if descriptor.size > MAX_DOCUMENT:
        raise ImageError(
            f"{source.where}: {descriptor.digest}: expected a document of at most "
            f"{MAX_DOCUMENT} bytes, found {descriptor.size}"
        )
    with opened(source, descriptor) as stream:
        return stream.read()


def pieces(stream: BinaryIO) -> Iterator[bytes]:
    """Yield what is left of `stream`."""
    while piece := stream.read(PIECE):
        yield piece
