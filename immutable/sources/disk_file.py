"""Files of this machine's disk, read as they were when they were listed, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from typing import Final

from attrs import define

from immutable.content.entries import show
from immutable.errors import SourceError
from immutable.oci.digest import Digest

FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_PIECE: Final = 1 << 20
_MOST_UNSIZED: Final = 16 << 20

Signature = tuple[int, int, int, int]  # size, mtime and ctime in nanoseconds, inode


@define(eq=False)
class DiskFile:
    """A file on disk as it was when listed.

    Reading it raises SourceError if it has changed since: its device, inode and times say so,
    or, where it was too fresh for times to tell, its digest does. So whatever its path leads to
    by then, only the file that was listed is read. `digest` is None until the content is known,
    from the stat cache or because somebody has read it to its end. `unsized` is the content's
    size where the file system says 0 of a file that it makes up when read.
    """

    path: bytes
    signature: Signature
    device: int
    racy: bool
    digest: Digest | None = None
    unsized: int = 0

    @property
    def size(self) -> int:
        """The size in bytes when listed."""
        return self.unsized or self.signature[0]

    def read(self) -> Iterator[bytes]:
        """Yield the content in pieces of at most 1 MiB."""
        hasher = hashlib.sha256() if self.digest is None or self.racy else None
        descriptor = open_listed(self.path)
        try:
            self.expect_same(descriptor)
            rest = self.size
            while rest:
                piece = os.read(descriptor, min(rest, _PIECE))
                if not piece:
                    raise changed(self.path)
                rest -= len(piece)
                if hasher is not None:
                    hasher.update(piece)
                yield piece
            # It was the file that was listed, unchanged, all the time, and this is its end.
            self.expect_same(descriptor)
            if not self.signature[0] and os.read(descriptor, 1):
                raise _unsized(self.path)
        except OSError as error:
            raise failed(self.path, error) from None
        finally:
            os.close(descriptor)
        if hasher is not None:
            self._settle(Digest(hasher.hexdigest()))

    def expect_same(self, descriptor: int) -> None:
        """Raise SourceError unless the open file is the one listed, as it was then."""
        status = os.fstat(descriptor)
        same = status.st_dev == self.device and stat.S_ISREG(status.st_mode)
        if not same or (not self.unsized and signature_of(status) != self.signature):
            raise changed(self.path)

    def _settle(self, digest: Digest) -> None:
        if self.digest is None:
            self.digest = digest
        elif self.digest != digest:
            raise changed(self.path)


def measure(file: DiskFile) -> None:
    """Read a file that is said to be empty, as files of /proc are whatever they hold."""
    descriptor = open_listed(file.path)
    hasher = hashlib.sha256()
    size = 0
    try:
        file.expect_same(descriptor)
        while piece := os.read(descriptor, _PIECE):
            size += len(piece)
            hasher.update(piece)
            if size > _MOST_UNSIZED:
                raise _unsized(file.path)
    except OSError as error:
        raise failed(file.path, error) from None
    finally:
        os.close(descriptor)
    if size:
        # Such a file's times tell nothing.
        file.unsized, file.racy, file.digest = size, True, Digest(hasher.hexdigest())


def signature_of(status: os.stat_result) -> Signature:
    """Return what tells whether the file of `status` has changed."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def open_listed(path: bytes) -> int:
    """Return a descriptor of the file `path`; raise SourceError for a link or FIFO in its place."""
    try:
        # A FIFO in its place would wait for a writer forever.
        return os.open(path, FLAGS | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise changed(path) from None
        raise failed(path, error) from None


def failed(path: bytes, error: OSError) -> SourceError:
    """Return the error for what the system says of `path`."""
    return SourceError(f"{show(path)}: {error.strerror}")


def changed(path: bytes) -> SourceError:
    """Return the error for a `path` that is no longer what was listed."""
    return SourceError(f"{show(path)}: changed while it was being read; build again")


def _unsized(path: bytes) -> SourceError:
    return SourceError(
        f"{show(path)}: expected no more bytes than its size says, found more, as in files of "
        "/proc; copy it to an ordinary file and take that"
    )
