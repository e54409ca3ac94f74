"""Streams that are hashed on the way: into a store, and out of one."""

from __future__ import annotations

import abc
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from immutable.errors import DigestMismatch, StoreError
from immutable.oci.digest import Digest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE = 1 << 20


class Ingest(abc.ABC):
    """A blob on its way into a store.

    Nothing of it is seen before `commit`, and nothing is left of it without.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0
        self._open = True

    @property
    def size(self) -> int:
        """How many bytes were written so far."""
        return self._size

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append `data`; return its length in bytes. Raises StoreError when the disk refuses."""
        self._expect_open()
        length = memoryview(data).nbytes
        self._append(data)
        self._hash.update(data)
        self._size += length
        return length

    def commit(
        self, *, expected: Digest | None = None, size: int | None = None, name: str = ""
    ) -> tuple[Digest, int]:
        """Keep the blob; return its digest and its size in bytes.

        It is durable on return. A blob that is already there stays as it is. Raises
        DigestMismatch, with `name` in front, for other bytes than `expected`; StoreError for
        another size than `size`, and when the disk refuses. Then nothing was kept.
        """
        self._expect_open()
        self._open = False
        digest = Digest(self._hash.hexdigest())
        if expected is not None and digest != expected:
            raise DigestMismatch(name or "blob", expected=expected, actual=digest)
        if size is not None and size != self._size:
            raise StoreError(f"{name or digest}: expected {size} bytes, found {self._size}")
        self._keep(digest)
        return digest, self._size

    @abc.abstractmethod
    def _append(self, data: bytes | bytearray | memoryview) -> None:
        """Take `data` down."""

    @abc.abstractmethod
    def _keep(self, digest: Digest) -> None:
        """Make what was taken down the blob `digest`."""

    def _expect_open(self) -> None:
        if not self._open:
            raise ValueError("the blob is already committed")


class VerifiedReader(io.RawIOBase):
    """Bytes of `file`, hashed as they are read; wrong ones end in DigestMismatch.

    The read that would give the last byte raises if the whole is not what was expected, and
    so does the first read beyond `size`. Bytes given before that are not yet known to be
    right: act on them for good only once the end was reached.
    """

    def __init__(self, file: BinaryIO, name: str, expected: Digest, size: int | None) -> None:
        super().__init__()
        self._file, self._name = file, name
        self._expected, self._size = expected, size
        self._hash = hashlib.sha256()
        self._count = 0
        self._done = False

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` as far as there are bytes; return how many. 0 is the verified end."""
        view = memoryview(buffer).cast("B")
        if self._done or not view:
            return 0
        if self._size is not None:
            view = view[: self._size - self._count] or view[:1]
        count = cast("io.RawIOBase", self._file).readinto(view) or 0
        self._hash.update(view[:count])
        self._count += count
        if count == 0:
            self._finish()
        elif self._size is not None and self._count >= self._size:
            self._expect_end()
        return count

    def drain(self) -> None:
        """Read whatever was not read yet, so that the whole is verified."""
        buffer = bytearray(_PIECE)
        while self.readinto(buffer):
            pass

    def _expect_end(self) -> None:
        more = self._file.read(1)
        if more or self._count > (self._size or 0):
            # Also where the digest is right: what was given is not all of it.
            self._hash.update(more)
            raise DigestMismatch(
                f"{self._name}: longer than its {self._size} bytes",
                expected=self._expected,
                actual=Digest(self._hash.hexdigest()),
            )
        self._finish()

    def _finish(self) -> None:
        actual = Digest(self._hash.hexdigest())
        if actual != self._expected:
            raise DigestMismatch(self._name, expected=self._expected, actual=actual)
        self._done = True


@contextmanager
def verifying(file: BinaryIO, name: str, expected: Digest, size: int | None) -> Iterator[BinaryIO]:
    """Give `file` as a verified stream; what the block leaves unread is verified at its end."""
    reader = VerifiedReader(file, name, expected, size)
    yield cast("BinaryIO", reader)
    reader.drain()


def read_verified(file: BinaryIO, name: str, expected: Digest, limit: int) -> bytes:
    """Return all of `file`; raise StoreError if it is longer than `limit` bytes."""
    data = file.read(limit + 1)
    if len(data) > limit:
        raise StoreError(f"{name}: expected a document of at most {limit} bytes, found more")
    actual = Digest.of(data)
    if actual != expected:
        raise DigestMismatch(name, expected=expected, actual=actual)
    return data
