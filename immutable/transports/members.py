"""The tar files of archive transports: found by path when read, streamed when written."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from attrs import frozen

from immutable.content import tar
from immutable.content.archives.decompress import open_stream
from immutable.content.entries import Entry, EntryKind, directory
from immutable.content.tar import reader
from immutable.errors import ArchiveError, BlobMissing, ImageError, StoreError, TransportError
from immutable.reading import Window
from immutable.store import files
from immutable.transports.base import Scratch, pieces
from immutable.transports.outputs import Form, expect_replaceable

# An image's archive has a member for each blob; the limit is on what one would hold in memory.
_LIMITS: Final = reader.Limits(members=1 << 16, names=16 << 20, content=1 << 50)


@frozen
class MemberPlace:
    """Where a member's content stands in its archive, in bytes."""

    offset: int
    size: int


@frozen
class Members:
    """A tar file's members by path, in any order of members."""

    name: str
    file: BinaryIO
    places: Mapping[str, MemberPlace]
    links: Mapping[str, str]

    def __contains__(self, path: str) -> bool:
        return path in self.places

    def place(self, path: str) -> MemberPlace:
        """Return where the file `path` stands; raise BlobMissing."""
        try:
            return self.places[path]
        except KeyError:
            if path in self.links:
                raise ArchiveError(f"{self.name}: {path}: expected a file, found a link") from None
            raise BlobMissing(f"{self.name}: {path} is missing") from None

    def follow(self, path: str) -> str:
        """Return the path of the file that `path` is or links to; raise ArchiveError."""
        path = posixpath.normpath(path)
        target = self.links.get(path, path)
        if target in self.links:
            raise ArchiveError(f"{self.name}: {path}: a link to a link, {target}")
        return target

    def open(self, path: str, size: int | None = None) -> BinaryIO:
        """Open the file `path`; raise ImageError if it has not `size` bytes."""
        place = self.place(path)
        if size is not None and place.size != size:
            raise ImageError(f"{self.name}: {path}: expected {size} bytes, found {place.size}")
        return cast("BinaryIO", Window(self.file.fileno(), place.offset, place.size))

    def read(self, path: str, limit: int) -> bytes:
        """Return the bytes of the small file `path`; raise ImageError if it is over `limit`."""
        place = self.place(path)
        if place.size > limit:
            raise ImageError(
                f"{self.name}: {path}: expected at most {limit} bytes, found {place.size}"
            )
        with self.open(path) as file:
            return file.read()


def index(file: BinaryIO, name: str) -> Members:
    """Return the members of the tar in `file`, which is read once from its start.

    Raises ArchiveError for whatever is damaged, for a path that occurs twice or leaves the
    archive, and for sparse files, devices and FIFOs.
    """
    file.seek(0)
    places: dict[str, MemberPlace] = {}
    links: dict[str, str] = {}
    for member in reader.read(file, name=name, limits=_LIMITS):
        path = _text(member.entry.path, name)
        kind = member.entry.kind
        if kind is EntryKind.FILE:
            start = file.tell()
            member.pass_over()
            if file.tell() != start + member.size + -member.size % tar.BLOCK:
                raise ArchiveError(f"{name}: {path}: a sparse file; expected a plain one")
            places[path] = MemberPlace(start, member.size)
        elif kind is EntryKind.SYMLINK:
            target = _text(member.entry.target, name)
            links[path] = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        elif kind is EntryKind.HARDLINK:
            links[path] = _text(member.entry.target, name)
        elif kind is not EntryKind.DIRECTORY:
            raise ArchiveError(f"{name}: {path}: a {kind.name.lower()}; expected a file")
    return Members(name, file, places, links)


def _text(path: bytes, name: str) -> str:
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        raise ArchiveError(f"{name}: {path!r}: expected a name in UTF-8") from None


@contextmanager
def opened(path: Path, scratch: Scratch) -> Iterator[Members]:
    """Open the tar file at `path`; a compressed one is first unpacked into a `scratch` file.

    Raises TransportError if there is no regular file.
    """
    try:
        descriptor = files.open_regular(path)
    except FileNotFoundError:
        raise TransportError(f"{path}: no such archive") from None
    except (OSError, StoreError) as error:
        reason = error.strerror if isinstance(error, OSError) else "expected a regular file"
        raise TransportError(f"{path}: {reason}") from None
    with open(descriptor, "rb") as file:  # noqa: PTH123
        if _is_plain(file):
            yield index(file, str(path))
            return
        with scratch() as unpacked:
            save(pieces(open_stream(file, name=str(path))), unpacked, str(path))
            yield index(unpacked, str(path))


def save(content: Iterable[bytes], file: BinaryIO, where: str) -> None:
    """Write `content` into the temporary `file`; raise StoreError when the disk refuses."""
    with files.explained(f"{where}: temporary file"):
        file.writelines(content)
        file.flush()


def _is_plain(file: BinaryIO) -> bool:
    """Tell whether `file` is not compressed; it stands at its start before and after."""
    try:
        open_stream(file, name="", compression="none")
    except ArchiveError:
        return False
    finally:
        file.seek(0)
    return True


# Writing


@frozen
class _Length:
    """Content of which only the length is known yet."""

    size: int

    def read(self) -> Iterator[bytes]:
        raise NotImplementedError


def header(path: str, size: int) -> bytes:
    """Return the tar header of a file: mode 0644, owner 0:0, time 0."""
    return tar.header(Entry(path.encode(), EntryKind.FILE, content=_Length(size)))


def directory_header(path: str) -> bytes:
    """Return the tar header of a directory: mode 0755, owner 0:0, time 0."""
    return tar.header(directory(path.encode()))


def padding(size: int) -> bytes:
    """Return what fills the last block of `size` bytes of content."""
    return bytes(-size % tar.BLOCK)


def member(path: str, size: int, content: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a whole file, header first; `content` must have `size` bytes."""
    yield header(path, size)
    yield from content
    yield padding(size)


@contextmanager
def written(path: Path, form: Form) -> Iterator[files.Draft]:
    """Give a draft that becomes the file `path` if the block ends well.

    Raises TransportError before it starts, and again before it ends, if what is at `path` is
    not to be replaced by a file of `form` (`outputs.expect_replaceable`).
    """
    expect_replaceable(path, form)
    files.sweep_drafts(path.parent)
    draft = files.Draft(path.parent)
    try:
        yield draft
        draft.sync()
        expect_replaceable(path, form)  # the block may have taken long
        draft.publish(path)
    finally:
        draft.discard()
