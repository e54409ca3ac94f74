"""``oci-archive:FILE[:REF]``: an image layout in a tar file, as skopeo and podman have it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from attrs import field, frozen

from immutable.content import tar
from immutable.errors import ImageError
from immutable.oci import documents as oci
from immutable.oci.documents import Descriptor, Index
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.store.layout import MARKER, check_marker
from immutable.transports import members, outputs
from immutable.transports.base import (
    MAX_DOCUMENT,
    Called,
    GatheredImage,
    Scratch,
    pieces,
    temporary,
)
from immutable.transports.members import Members
from immutable.transports.oci import check_ref, choose, named


@frozen
class OciArchive:
    """The image called `ref` in the archive `path`, or with no `ref` the only one.

    What is written holds this one image, and its bytes depend on nothing but image and `ref`.
    What is read may be compressed, and is then unpacked into a `scratch` file.
    """

    path: Path
    ref: str = field(default="")
    scratch: Scratch = field(default=temporary, eq=False, repr=False)

    @ref.validator
    def _check(self, _attribute: object, value: str) -> None:
        check_ref(value)

    def __str__(self) -> str:
        return f"oci-archive:{self.path}" + (f":{self.ref}" if self.ref else "")

    def called(self) -> Called:
        """Return what the reference calls the image."""
        return Called.parse(self.ref)

    @contextmanager
    def open(self, root: Descriptor | None = None) -> Iterator[ArchiveSource]:
        """Open the image that is there, or the one of `root`, whatever has a name now."""
        with members.opened(self.path, self.scratch) as archive:
            index = listing(archive)
            root = root or choose(index, self.ref, str(self))
            yield ArchiveSource(str(self), root, archive)

    def takes(self) -> Platform | None:
        """Take all platforms."""
        return None

    def expect_replaceable(self) -> None:
        """Raise TransportError unless there is nothing, or another such archive."""
        outputs.expect_replaceable(self.path, outputs.OCI_ARCHIVE)

    def replaces(self) -> Path:
        """Return the archive."""
        return self.path

    def receive(self, image: GatheredImage, progress: Progress) -> None:
        """Write the archive beside its place, then move it there."""
        with members.written(self.path, outputs.OCI_ARCHIVE) as draft:
            for piece in _archive(image, self.ref, progress):
                draft.write(piece)


@frozen
class ArchiveSource:
    """An image in an archived layout."""

    where: str
    root: Descriptor
    archive: Members

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob."""
        return self.archive.open(_blob_path(descriptor), descriptor.size)


def listing(archive: Members) -> Index:
    """Return the index of an archived layout; raise ImageError if it is none."""
    _check_marker(archive)
    data = archive.read("index.json", MAX_DOCUMENT)
    return oci.decode_index(data, f"{archive.name}: index.json")


def _blob_path(descriptor: Descriptor) -> str:
    return f"blobs/sha256/{descriptor.digest.hex}"


def _check_marker(archive: Members) -> None:
    where = f"{archive.name}: oci-layout"
    if "oci-layout" not in archive:
        hint = "; it is a docker-archive" if "manifest.json" in archive else ""
        raise ImageError(f"{where}: missing; this is no OCI archive{hint}")
    check_marker(archive.read("oci-layout", MAX_DOCUMENT), where)


def _archive(image: GatheredImage, ref: str, progress: Progress) -> Iterator[bytes]:
    """Yield the archive: small documents first, so that a stream's reader knows what comes."""
    index = Index((named(image.root, ref),)).encode()
    yield from members.member("oci-layout", len(MARKER), (MARKER,))
    yield from members.member("index.json", len(index), (index,))
    yield members.directory_header("blobs")
    yield members.directory_header("blobs/sha256")
    for document in image.documents:
        yield from _blob(document.descriptor, (document.data,))
    total = sum(blob.size for blob in image.blobs)
    with progress.task(f"copying {image.source.where}", total) as advance:
        counted = image.counted(advance)
        for blob in image.blobs:
            with counted.open(blob) as stream:
                yield from _blob(blob, pieces(stream))
    yield tar.END


def _blob(descriptor: Descriptor, content: Iterable[bytes]) -> Iterator[bytes]:
    return members.member(_blob_path(descriptor), descriptor.size, content)
