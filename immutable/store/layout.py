"""OCI image layouts (image-spec 1.1, image-layout.md): the store's own, and any other directory.

Other tools may read a layout while we write: a blob and `index.json` appear whole or not at
all. What they wrote into `index.json` is kept as it is, also what we do not understand.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from immutable.errors import BlobMissing, ImageError
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Index
from immutable.store import files
from immutable.store.streams import Ingest, read_verified, verifying

VERSION: Final = "1.0.0"
MAX_INDEX: Final = 64 << 20  # bytes

MARKER: Final = canonical.encode({"imageLayoutVersion": VERSION})
_EMPTY: Final = Index(()).encode()


class Layout:
    """One image-layout directory.

    `drafts` is where files stand that are not whole yet: on the same file system, and by
    default the layout itself.
    """

    def __init__(self, path: Path, drafts: Path | None = None) -> None:
        self.path = path
        self._drafts = drafts or path
        self._blobs = path / "blobs" / "sha256"

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the layout at `path`, changing nothing.

        Raises ImageError, naming the file, if it is none or of another version.
        """
        layout = cls(path)
        layout.check_marker()
        layout.index()
        return layout

    @classmethod
    def create(cls, path: Path, *, mode: int = files.DIRECTORY_MODE) -> Self:
        """Open the layout at `path` for writing, or make an empty one there.

        `mode` is that of a directory that was not there. Raises ImageError for a directory
        that holds anything else, StoreError when the disk refuses.
        """
        make_root(path, mode)
        with files.locked_directory(path):
            layout = cls(path)
            layout.complete()
        files.sweep_drafts(path)
        return layout

    def complete(self) -> None:
        """Make whatever a layout needs and this one lacks; the caller holds its lock.

        The marker comes first, so that a layout cut short is known as one.
        """
        self.expect_layout_or_empty()
        if not (self.path / "oci-layout").exists():
            self.write_marker()
        files.make_directory(self._blobs.parent)
        files.make_directory(self._blobs)
        if not self.index_path.exists():
            files.write_atomically(self.index_path, _EMPTY)

    def expect_layout_or_empty(self) -> None:
        """Raise ImageError for a directory that is neither, so that nothing is put into it."""
        # In one look: another process may be making it.
        with files.explained(self.path):
            others = [
                item.name
                for item in self.path.iterdir()
                if not item.name.startswith(files.DRAFT)  # of one that was cut short
            ]
        if "oci-layout" in others:
            self.check_marker()
        elif others:
            raise ImageError(
                f"{self.path}: expected an OCI image layout or an empty directory, "
                f"found {min(others)}"
            )

    @property
    def index_path(self) -> Path:
        """Where `index.json` stands."""
        return self.path / "index.json"

    # Blobs

    def blob_path(self, digest: Digest) -> Path:
        """Return where a blob stands, or would."""
        return self._blobs / digest.hex

    def has(self, digest: Digest) -> bool:
        """Whether there is such a blob. Its bytes are not looked at."""
        with files.explained(self.blob_path(digest)):
            return self.blob_path(digest).is_file()

    def size(self, digest: Digest) -> int:
        """Return the blob's length in bytes; raise BlobMissing."""
        path = self.blob_path(digest)
        with files.explained(path):
            try:
                return path.stat().st_size
            except FileNotFoundError:
                raise self._missing(digest) from None

    def open_blob(self, digest: Digest) -> BinaryIO:
        """Open the blob, unverified; raise BlobMissing."""
        path = self.blob_path(digest)
        with files.explained(path):
            try:
                descriptor = files.open_regular(path)
            except FileNotFoundError:
                raise self._missing(digest) from None
        return open(descriptor, "rb")  # noqa: PTH123 - a descriptor

    @contextmanager
    def verified(self, digest: Digest, size: int | None = None) -> Iterator[BinaryIO]:
        """Open the blob as a stream that verifies what it gives (`streams.VerifiedReader`)."""
        name = str(self.blob_path(digest))
        with self.open_blob(digest) as file, verifying(file, name, digest, size) as reader:
            yield reader

    def read(self, digest: Digest, limit: int) -> bytes:
        """Return the blob's verified bytes; raise StoreError for more than `limit`."""
        with self.open_blob(digest) as file:
            return read_verified(file, str(self.blob_path(digest)), digest, limit)

    def put(self, data: bytes) -> Digest:
        """Keep `data` as a blob; return its digest."""
        with self.ingest() as blob:
            blob.write(data)
            return blob.commit()[0]

    @contextmanager
    def ingest(self, before: Callable[[Digest], object] = lambda _: None) -> Iterator[Ingest]:
        """Begin a blob; `before` is told its digest right before it is there."""
        draft = files.Draft(self._drafts)
        try:
            yield _FileIngest(self, draft, before)
        finally:
            draft.discard()

    def holds(self, digest: Digest, size: int) -> bool:
        """Whether the blob is there with `size` bytes."""
        try:
            return self.has(digest) and self.blob_path(digest).stat().st_size == size
        except OSError:
            return False

    def sync(self) -> None:
        """Put the names of all blobs onto the disk, whoever gave them."""
        with files.explained(self._blobs):
            files.sync_directory(self._blobs)

    def blobs(self) -> Iterator[tuple[Digest, int]]:
        """Yield digest and size in bytes of every blob, in no order."""
        with files.explained(self._blobs), os.scandir(self._blobs) as found:
            for item in found:
                try:
                    if item.is_file():
                        yield Digest(item.name), item.stat().st_size
                except (ValueError, FileNotFoundError):
                    continue  # no blob's name, or gone in the meantime

    def remove(self, digest: Digest) -> bool:
        """Remove a blob; say whether it was there."""
        path = self.blob_path(digest)
        with files.explained(path):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
        return True

    # Names

    def index(self) -> Index:
        """Return what `index.json` says; raise ImageError if it does not hold."""
        return oci.decode_index(self._read_index(), str(self.index_path))

    def index_signature(self) -> object:
        """Return what changes whenever `index.json` is replaced; raise StoreError."""
        with files.explained(self.index_path):
            status = self.index_path.stat()
        return status.st_ino, status.st_mtime_ns, status.st_size

    def update_index(self, change: Callable[[Index], Index]) -> None:
        """Replace `index.json` by what `change` makes of it, under the layout's lock.

        Entries and fields that `change` leaves alone stay as others wrote them.
        """
        with files.locked_directory(self.path), self.prepared_index(change) as publish:
            publish()

    @contextmanager
    def prepared_index(self, change: Callable[[Index], Index]) -> Iterator[Callable[[], None]]:
        """Write the changed `index.json` beside the present one; give what puts it in place.

        So a full disk shows before anything has changed. The caller holds the layout's lock.
        """
        old = self._read_index()
        new = _changed(old, change, str(self.index_path))
        if new == old:
            yield lambda: None
            return
        draft = files.Draft(self._drafts)
        try:
            draft.write(new)
            draft.sync()
            yield lambda: draft.publish(self.index_path)
        finally:
            draft.discard()

    def _read_index(self) -> bytes:
        return _read_small(self.index_path, MAX_INDEX)

    def write_marker(self) -> None:
        """Write what marks this directory as a layout."""
        files.write_atomically(self.path / "oci-layout", MARKER)

    def check_marker(self) -> None:
        """Raise ImageError unless this is a layout, of the version that is known."""
        path = self.path / "oci-layout"
        check_marker(_read_small(path, 1 << 16), str(path))

    def _missing(self, digest: Digest) -> BlobMissing:
        return BlobMissing(f"{self.path}: blob {digest} is missing")


class _FileIngest(Ingest):
    def __init__(
        self, layout: Layout, draft: files.Draft, before: Callable[[Digest], object]
    ) -> None:
        super().__init__()
        self._layout, self._draft, self._before = layout, draft, before

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        self._draft.write(data)

    def _keep(self, digest: Digest) -> None:
        self._before(digest)
        final = self._layout.blob_path(digest)
        if self._layout.holds(digest, self.size):
            return
        self._draft.sync()
        self._draft.publish(final)


def check_marker(data: bytes, where: str) -> None:
    """Raise ImageError unless `data` marks a layout of the version that is known."""
    try:
        document = canonical.decode(data)
    except ValueError as error:
        raise ImageError(f"{where}: not JSON: {error}") from None
    version = document.get("imageLayoutVersion") if isinstance(document, dict) else None
    if version != VERSION:
        raise ImageError(f"{where}: imageLayoutVersion: expected {VERSION!r}, found {version!r}")


def make_root(path: Path, mode: int) -> None:
    """Make the directory `path`, with `mode` if it was not there, and its parents."""
    with files.explained(path):
        missing = [parent for parent in path.parents if not parent.exists()]
    for parent in reversed(missing):
        files.make_directory(parent)
    files.make_directory(path, mode)


def _read_small(path: Path, limit: int) -> bytes:
    """Return a file of at most `limit` bytes; raise ImageError if it is missing or longer."""
    with files.explained(path):
        try:
            descriptor = files.open_regular(path)
        except (FileNotFoundError, NotADirectoryError):
            raise ImageError(f"{path}: missing; this is no OCI image layout") from None
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
            data = file.read(limit + 1)
    if len(data) > limit:
        raise ImageError(f"{path}: expected at most {limit} bytes, found more")
    return data


def _changed(old: bytes, change: Callable[[Index], Index], where: str) -> bytes:
    """Return the bytes of the changed index, with what others wrote in it kept."""
    before = oci.decode_index(old, where)
    after = change(before)
    if after == before:
        return old
    document: dict[str, Any] = canonical.decode(old)
    written = {
        id(descriptor): raw
        for descriptor, raw in zip(before.manifests, document["manifests"], strict=True)
    }
    document["manifests"] = [
        written.get(id(descriptor)) or descriptor.plain() for descriptor in after.manifests
    ]
    if after.annotations != before.annotations:
        document["annotations"] = dict(after.annotations)
    try:
        return canonical.encode(document)
    except TypeError as error:
        raise ImageError(f"{where}: cannot be written again: {error}") from None
