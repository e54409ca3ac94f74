"""What an output may take the place of: nothing that is read, nothing of another kind.

A file is replaced only where it is empty or what such an output writes. A name that was mistyped
must not cost a spec.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol, runtime_checkable

from attrs import frozen

from immutable.errors import StoreError, TransportError
from immutable.oci import canonical
from immutable.store import files
from immutable.transports.base import MAX_DOCUMENT

_MEMBERS: Final = 1 << 16  # looked at before an archive is taken for none
_DIGEST: Final = re.compile(rb"sha256:[0-9a-f]{64}\n?")
_FILES: Final = (b"0", b"\0")  # as POSIX and V7 have it
_STORE: Final = ("immutable.db", "oci-layout")


@runtime_checkable
class DiskTransport(Protocol):
    """A transport of this machine's disk: a file or a folder at `path`."""

    @property
    def path(self) -> Path:
        """Where it is."""

    def expect_replaceable(self) -> None:
        """Raise TransportError or ImageError unless an image can be put there."""

    def replaces(self) -> Path:
        """Return the file that an image put there takes the place of."""


@frozen
class Form:
    """A kind of file: what messages call it, and what knows one by its bytes."""

    name: str
    knows: Callable[[BinaryIO], bool]


def expect_replaceable(path: Path, form: Form) -> None:
    """Raise TransportError unless a file of `form` can be written at `path`.

    There must be nothing, an empty file or another file of that form, and no store around it.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise TransportError(f"{path}: expected a regular file or nothing there")
    if not path.parent.is_dir():
        raise TransportError(f"{path.parent}: no such directory; make it first")
    expect_outside_stores(path)
    found = _found(path, form)
    if found:
        raise TransportError(
            f"{path}: expected {form.name}, an empty file or nothing there, found {found}; "
            "choose another name, or remove it first"
        )


def expect_outside_stores(path: Path) -> None:
    """Raise TransportError for a place in a store, which only the store itself writes."""
    whole = real(path)
    for folder in (whole, *whole.parents):
        if all((folder / name).is_file() for name in _STORE):
            raise TransportError(
                f"{path}: expected a place outside of stores, found the store {folder}; "
                "choose another place, or store:NAME"
            )


def expect_apart(output: Path, read: Path, what: str) -> None:
    """Raise TransportError if `output` is the file `read`, however either is written.

    A folder `read` is also whatever it holds. `what` says in messages what is read.
    """
    if same(output, read) or real(read) in real(output).parents:
        raise TransportError(
            f"{output}: expected a place that nothing is read from, found {what} {read}; "
            "choose another place"
        )


def same(one: Path, other: Path) -> bool:
    """Tell whether two paths are one file or folder, also by links; or would be, once there."""
    if real(one) == real(other):
        return True
    try:
        return one.samefile(other)
    except OSError:
        return False


def real(path: Path) -> Path:
    """Return the absolute path without links; links in a circle stay as they are."""
    return Path(os.path.realpath(path))


def _found(path: Path, form: Form) -> str:
    """Return what the file at `path` is, for messages; empty if it can be replaced."""
    try:
        descriptor = files.open_regular(path)
    except FileNotFoundError:
        return ""
    except (OSError, StoreError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no regular file"
        raise TransportError(
            f"{path}: cannot be looked at before it is replaced: {reason}"
        ) from None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
        size = os.fstat(descriptor).st_size
        if not size or form.knows(file):
            return ""
        other = next((one.name for one in _FORMS if one.knows(file)), "")
    return other or f"a file of {size} bytes that is none"


def _is_oci_archive(file: BinaryIO) -> bool:
    document = _document(file, b"oci-layout")
    return isinstance(document, dict) and "imageLayoutVersion" in document


def _is_docker_archive(file: BinaryIO) -> bool:
    listing = _document(file, b"manifest.json")
    return isinstance(listing, list) and all(
        isinstance(one, dict) and {"Config", "Layers"} <= one.keys() for one in listing
    )


def _is_digest(file: BinaryIO) -> bool:
    return _DIGEST.fullmatch(os.pread(file.fileno(), 128, 0)) is not None


OCI_ARCHIVE: Final = Form("an OCI archive", _is_oci_archive)
DOCKER_ARCHIVE: Final = Form("a Docker archive", _is_docker_archive)
DIGEST: Final = Form("a file with one digest", _is_digest)
_FORMS: Final = (OCI_ARCHIVE, DOCKER_ARCHIVE, DIGEST)


def _document(file: BinaryIO, name: bytes) -> object:
    """Return the JSON document `name` of the plain tar in `file`; None if there is none."""
    from immutable.content.tar.format import FormatError  # seldom needed, and not quick to import

    try:
        for found, offset, size in _members(file):
            if found.removeprefix(b"./") == name:
                data = os.pread(file.fileno(), min(size, MAX_DOCUMENT), offset)
                return canonical.decode(data)
    except (FormatError, ValueError):
        pass
    return None


def _members(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, offset and size of the files in a tar, reading nothing but the headers.

    An archive that says a size elsewhere than in the header, for more than 8 GiB, ends there.
    """
    from immutable.content.tar.format import BLOCK, decode, identify

    offset = 0
    for _ in range(_MEMBERS):
        block = os.pread(file.fileno(), BLOCK, offset)
        if len(block) < BLOCK or not any(block):
            return
        header = decode(block, identify(block))
        if header.size < 0:
            return
        offset += BLOCK
        if header.type in _FILES:
            yield header.name, offset, header.size
        offset += header.size + -header.size % BLOCK
