"""Contents of stored layers, and the bytes of files in them.

A file's bytes are read from the frame that holds them, without inflating what is before: layers of
ours have one about every mebibyte. Of a blob in one frame everything before is inflated, so read
several files of one in the order of their positions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from types import TracebackType
from typing import BinaryIO, Final, Protocol, Self, cast

from attrs import define, evolve, field, frozen

from immutable.content import tar
from immutable.content.archives.decompress import open_stream
from immutable.content.compression import Encoder
from immutable.content.contents import Contents, FrameRecorder, Frames, Inode
from immutable.content.contents_format import dumps, loads
from immutable.content.entries import Entry, EntryKind, show
from immutable.content.recorder import Recorder, of_tar
from immutable.content.rootfs import Found, Rootfs
from immutable.errors import DigestMismatch, EntryError, StoreError
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.store import AbstractStore

__all__ = [
    "LayerContents",
    "LayerReader",
    "Recording",
    "Records",
    "StoredFile",
    "StoredRootfs",
    "make",
]

_MAX_LAYER: Final = 1 << 40
_PIECE: Final = 1 << 20


class Records(Protocol):
    """Where contents are kept between builds; they may be lost at any time."""

    def find_contents(self, blob: Digest) -> bytes | None:
        """Return what was recorded of the layer `blob`."""

    def record_contents(self, blob: Digest, data: bytes) -> None:
        """Record the contents of the layer `blob`."""


@frozen
class LayerContents:
    """The contents of layers in `store`: those that were made before, those in `records`, or new.

    Layers are told apart by their blobs, as places of frames are the blob's. `check` is called
    while one is read, which can take long: what it raises ends that.
    """

    store: AbstractStore
    records: Records | None = None
    check: Callable[[], None] | None = None
    _known: dict[Digest, Contents] = field(factory=dict, init=False, repr=False)

    def of(self, blob: Descriptor) -> Contents:
        """Return the contents of the layer `blob`; raises what `make` does."""
        found = self._known.get(blob.digest)
        if found is None:
            found = self._recorded(blob)
        if found is None:
            found = make(self.store, blob, self.check)
            self.add(blob, found)
        self._known[blob.digest] = found
        return found

    def add(self, blob: Descriptor, found: Contents) -> None:
        """Keep the contents of the layer `blob`, which was just made."""
        if self.records is not None:
            self.records.record_contents(blob.digest, dumps(found))
        self._known[blob.digest] = found

    def rootfs(self, layers: Sequence[Descriptor]) -> StoredRootfs:
        """Return what `layers`, bottom first, add up to."""
        return StoredRootfs(self.store, tuple(layers), Rootfs([self.of(blob) for blob in layers]))

    def _recorded(self, blob: Descriptor) -> Contents | None:
        data = None if self.records is None else self.records.find_contents(blob.digest)
        if data is None:
            return None
        try:
            return loads(data, name=_named(blob))
        except StoreError:
            return None  # they are only a cache


@define
class Recording:
    """The contents of a layer that is being packed, so that nobody need read it again."""

    _recorder: Recorder = field(factory=lambda: Recorder("layer"), init=False)
    _frames: FrameRecorder = field(factory=FrameRecorder, init=False)
    _plain: int = field(default=0, init=False)

    def entry(self, entry: Entry, size: int, sha256: bytes, position: int) -> None:
        """Record the next entry: its content's size, sha256, and place in the tar."""
        self._recorder.add(entry, size, sha256, position)

    def chunk(self, size: int, packed: int) -> None:
        """Record that the next `size` bytes of the tar are a frame at `packed` of the blob."""
        self._frames.add(self._plain, packed)
        self._plain += size

    def contents(self, encoder: Encoder) -> Contents:
        """Return the contents of the layer that `encoder` packed."""
        frames = self._frames.frames(encoder.name) if encoder.compresses else Frames(encoder.name)
        return self._recorder.contents(frames)


@frozen
class _Watched:
    """A stream that is read until `check` raises something."""

    raw: BinaryIO
    check: Callable[[], None]

    def read(self, size: int = -1) -> bytes:
        self.check()
        return self.raw.read(size)


def make(
    store: AbstractStore, blob: Descriptor, check: Callable[[], None] | None = None
) -> Contents:
    """Return the contents of the layer `blob`, from its bytes; `check` is called meanwhile.

    Raises BlobMissing, DigestMismatch, and ArchiveError or EntryError for a layer that is damaged,
    unsafe, or that engines would understand differently.
    """
    frames = FrameRecorder()
    with store.verified(blob.digest, blob.size) as raw:
        read = raw if check is None else cast("BinaryIO", _Watched(raw, check))
        stream = open_stream(read, name=_named(blob), limit=_MAX_LAYER, begins=frames.add)
        found = of_tar(stream, name=_named(blob))
        compression: str = getattr(stream, "compression")  # noqa: B009 - of our own reader
    return evolve(found, frames=frames.frames(compression))


@frozen
class StoredRootfs:
    """The root file system of stored `layers`, bottom first."""

    store: AbstractStore
    layers: tuple[Descriptor, ...]
    rootfs: Rootfs

    @contextmanager
    def opened(self, blob: Descriptor) -> Iterator[BinaryIO]:
        """Give the uncompressed tar of one of the layers.

        Raises BlobMissing, DigestMismatch and ArchiveError for one that is damaged.
        """
        with self.store.verified(blob.digest, blob.size) as raw:
            yield open_stream(raw, name=_named(blob), limit=_MAX_LAYER)

    def content(self, found: Found) -> StoredFile:
        """Return the content of a file of this root file system."""
        if found.layer is None or found.inode.kind is not EntryKind.FILE:
            raise ValueError(f"{show(found.path)}: no file")
        frames = self.rootfs.layers[found.layer].frames
        return StoredFile(self.store, self.layers[found.layer], frames, found.path, found.inode)

    def read(self, path: bytes, *, limit: int) -> bytes | None:
        """Return the bytes of the file that `path` leads to, links followed; None if it is none.

        Raises EntryError for more than `limit` bytes.
        """
        found = self.rootfs.resolve(path).found
        if found is None or found.inode.kind is not EntryKind.FILE:
            return None
        if found.inode.size > limit:
            raise EntryError(
                f"{show(found.path)}: expected at most {limit} bytes, found {found.inode.size}"
            )
        return b"".join(self.content(found).read())


@frozen
class StoredFile:
    """The bytes of the file `inode`, which was found at `path`, of the layer `blob`."""

    store: AbstractStore
    blob: Descriptor
    frames: Frames
    path: bytes
    inode: Inode

    @property
    def size(self) -> int:
        """The length in bytes."""
        return self.inode.size

    @property
    def digest(self) -> Digest | None:
        """The digest of the bytes."""
        return self.inode.sha256

    def read(self) -> Iterator[bytes]:
        """Yield the bytes; raise StoreError or DigestMismatch if the blob has others."""
        with LayerReader(self.store, self.blob, self.frames) as reader:
            yield from reader.read(self.path, self.inode)


class LayerReader:
    """Reads files of one layer; those in the order of their positions in one pass."""

    def __init__(self, store: AbstractStore, blob: Descriptor, frames: Frames) -> None:
        self._store, self._blob, self._frames = store, blob, frames
        self._file: BinaryIO | None = None
        self._stream: BinaryIO | None = None
        self._at = 0  # of the tar

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, path: bytes, inode: Inode) -> Iterator[bytes]:
        """Yield the bytes of the file `inode`, which `path` is for errors.

        Raises BlobMissing, ArchiveError where the blob is damaged, and DigestMismatch with the
        end of other bytes than the recorded ones.
        """
        name = f"{_named(self._blob)}: {show(path)}"
        if inode.sha256 is None:
            raise ValueError(f"{name}: no file")
        hasher = hashlib.sha256()
        if inode.position is None:
            pieces = self._sparse(inode)
        else:
            pieces = self._pieces(inode.position, inode.size, name)
        for piece in pieces:
            hasher.update(piece)
            yield piece
        actual = Digest(hasher.hexdigest())
        if actual != inode.sha256:
            raise DigestMismatch(name, expected=inode.sha256, actual=actual)

    def _pieces(self, position: int, size: int, name: str) -> Iterator[bytes]:
        stream = self._go_to(position)
        left = position + size - self._at
        skipped = position - self._at
        while left > 0:
            piece = stream.read(min(_PIECE, skipped or left))
            if not piece:
                raise StoreError(f"{name}: expected {left} more bytes, found the layer's end")
            self._at += len(piece)
            left -= len(piece)
            if skipped:
                skipped -= len(piece)
            else:
                yield piece

    def _go_to(self, position: int) -> BinaryIO:
        """Return a stream from which `position` can be read, where `_at` says it stands."""
        plain, packed = self._frames.before(position)
        if self._stream is not None and plain <= self._at <= position:
            return self._stream
        if self._file is None:
            self._file = self._store.open_blob(self._blob.digest)
        self._file.seek(packed)
        self._stream, self._at = self._file, plain
        compression = self._frames.compression
        if compression != "none":
            self._stream = open_stream(
                self._file, name=_named(self._blob), limit=_MAX_LAYER, compression=compression
            )
        return self._stream

    def _sparse(self, inode: Inode) -> Iterator[bytes]:
        """Yield a file that is not in one piece: look for it, then read it, in passes of their own.

        It may have been found by a hard link, so it is known by its bytes.
        """
        wanted = self._number(inode)
        for number, pieces in self._files():
            if number == wanted:
                yield from pieces
                return

    def _number(self, inode: Inode) -> int | None:
        for number, pieces in self._files():
            hasher = hashlib.sha256()
            for piece in pieces:
                hasher.update(piece)
            if Digest(hasher.hexdigest()) == inode.sha256:
                return number
        return None

    def _files(self) -> Iterator[tuple[int, Iterator[bytes]]]:
        name = _named(self._blob)
        with self._store.open_blob(self._blob.digest) as raw:
            stream = open_stream(raw, name=name, limit=_MAX_LAYER)
            with closing(tar.read(stream, name=name, reroot=True, repeats=True)) as members:  # type: ignore[type-var]
                for number, member in enumerate(members):
                    if member.entry.kind is EntryKind.FILE:
                        yield number, iter(member)


def _named(blob: Descriptor) -> str:
    return f"layer {blob.digest.short}"
