"""What a transport is: where an image can come from, and where it can go.

A source gives blobs by descriptor, a destination takes what was gathered of one, a
`GatheredImage`. Neither knows of the other.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, Self, cast

from attrs import evolve, field, frozen
from typing_extensions import override

from immutable.errors import ImageError, TransportError
from immutable.net.attempts import Run
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Index, Manifest
from immutable.oci.platforms import Platform
from immutable.oci.tags import LATEST, NO_VERSION
from immutable.progress import HighWaterMark, Progress
from immutable.store.streams import verifying

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_DOCUMENT: Final = 4 << 20  # bytes of a manifest, index or config, as registries have it
PIECE: Final = 1 << 20
Scratch = Callable[[], AbstractContextManager[BinaryIO]]


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


@frozen
class Called:
    """What an image is called somewhere: a name without a host, and a tag; both may be empty."""

    name: str = ""
    tag: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what ``[HOST/]NAME[:TAG]`` or ``NAME@…`` calls an image.

        A lone ``latest`` is a tag: as a name it would say as little.
        """
        name, colon, tag = text.rpartition(":")
        if not colon or "/" in tag:
            name, tag = text, ""
        if name == LATEST and not tag:
            name, tag = "", name
        host, slash, rest = name.partition("/")
        if slash and (host == "localhost" or {".", ":"} & {*host}):
            name = rest
        return cls(name.partition("@")[0], tag)


class Transport(Protocol):
    """A place that a reference names; its ``str()`` is the reference."""

    def called(self) -> Called:
        """Return what the reference calls the image."""

    def open(self) -> AbstractContextManager[Source]:
        """Open the image that is there.

        Raises TransportError if there is none, or several that the reference cannot choose
        from, and ImageError or ArchiveError for what is damaged.
        """

    def takes(self) -> Platform | None:
        """Return the platform to choose from an index, or None for a place that takes all.

        Raises TransportError if the place cannot be reached.
        """

    def receive(self, image: GatheredImage, progress: Progress) -> None:
        """Put the image there, its name last; on any error nothing has the name."""


@frozen
class Document:
    """A manifest or an index: its descriptor, its exact bytes and what they say."""

    descriptor: Descriptor
    data: bytes
    value: Manifest | Index


@frozen
class GatheredImage:
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

    def counted(self, advance: Callable[[int], object]) -> Self:
        """Return the image with `advance` told of each byte that is read, once."""
        return evolve(self, source=_Counting(self.source, advance))


@frozen
class _Counting:
    """A source whose blobs tell of their bytes, but of none again if a blob is read again."""

    source: Source
    advance: Callable[[int], object]
    marks: dict[Digest, HighWaterMark] = field(factory=dict)

    @property
    def where(self) -> str:
        return self.source.where

    @property
    def root(self) -> Descriptor:
        return self.source.root

    @property
    def remote(self) -> bool:
        return is_remote(self.source)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        file = self.source.open(descriptor)
        mark = self.marks.setdefault(descriptor.digest, HighWaterMark(self.advance))
        return cast("BinaryIO", _Counted(file, mark))


class _Counted(io.RawIOBase):
    """A file that says how far it was read."""

    def __init__(self, file: BinaryIO, mark: HighWaterMark) -> None:
        super().__init__()
        self._file, self._mark = file, mark
        self._count = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count = cast("io.RawIOBase", self._file).readinto(buffer) or 0
        self._count += count
        self._mark.reach(self._count)
        return count

    @override
    def close(self) -> None:
        self._file.close()
        super().close()


def temporary() -> AbstractContextManager[BinaryIO]:
    """Give a nameless temporary file where the system has such."""
    return cast("AbstractContextManager[BinaryIO]", tempfile.TemporaryFile())


def is_remote(source: Source) -> bool:
    """Whether wrong bytes of `source` may come right the next time."""
    return getattr(source, "remote", False)


@contextmanager
def ending_with(source: Source, run: Run) -> Iterator[Source]:
    """Give `source` as one that nobody waits for any more once `run` is given up."""
    ending: Callable[[Run], AbstractContextManager[Source]] | None
    ending = getattr(source, "ending_with", None)
    if ending is None:
        yield source
    else:
        with ending(run) as given:
            yield given


def expect_version(called: Called, where: object) -> None:
    """Raise TransportError for a name that images do not get: with the tag `latest`."""
    if called.tag == LATEST:
        raise TransportError(f"{where}: {NO_VERSION}")


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
