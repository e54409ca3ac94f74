"""The packages of a layer: unpacked, put in their places, and told apart where they overlap."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

from attrs import evolve, field, frozen

from immutable.builders.base import Inputs
from immutable.builders.debian.places import Places
from immutable.builders.unpacking import unpack_each
from immutable.content.archives.deb import Control, open_deb
from immutable.content.entries import Entry, EntryKind, parent
from immutable.errors import ArchiveError, EntryError
from immutable.oci.digest import Digest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]*", re.ASCII)  # Debian policy 5.6.7


@frozen
class PinnedPackage:
    """A package as the derivation names it."""

    name: str
    version: str
    architecture: str
    digest: Digest

    @property
    def label(self) -> str:
        """How messages name the package's archive."""
        return f"{self.name}_{self.version}_{self.architecture}.deb"


@frozen
class Shipped:
    """One path of a package: as the package names it, and the entry at its place."""

    path: bytes
    entry: Entry


@frozen
class UnpackedPackage:
    """An unpacked package.

    `members` are its control members by name; `files` what it ships, in its own order, less
    what the layer leaves out and what other packages replace.
    """

    name: str
    control: Control = field(repr=False)
    members: Mapping[str, bytes] = field(repr=False)
    files: tuple[Shipped, ...] = field(repr=False)

    @property
    def version(self) -> str:
        """The package's version."""
        return self.control.get("Version")

    @property
    def architecture(self) -> str:
        """Debian's name of the architecture it is for, or ``all``."""
        return self.control.get("Architecture")

    @property
    def database_name(self) -> str:
        """What dpkg calls it in its database: with the architecture where there may be several."""
        if self.control.get("Multi-Arch") == "same":
            return f"{self.name}:{self.architecture}"
        return self.name

    def text(self, name: str) -> str:
        """Return a control member, such as a script, as text; empty when there is none."""
        return self.members.get(name, b"").decode("utf-8", "surrogateescape")


def unpack_all(
    wanted: Sequence[PinnedPackage],
    inputs: Inputs,
    places: Places,
    left_out: Callable[[bytes], bool],
) -> list[UnpackedPackage]:
    """Return the packages in the order wanted, their contents in scratch files.

    Several are unpacked at a time, the largest first. Raises DigestMismatch for a wrong blob, and
    ArchiveError for a package that is damaged, unsafe, or not the one its pin names.
    """
    largest_first = sorted(wanted, key=lambda one: -inputs.store.blob_size(one.digest))

    def unpack(one: PinnedPackage, scratch: BinaryIO) -> UnpackedPackage:
        package = _unpack(one, inputs, scratch, places, advance)
        advance(1)
        return evolve(package, files=_kept(package.files, left_out))

    with inputs.progress.task("unpacking", len(wanted), unit="packages") as advance:
        unpacked = unpack_each(unpack, largest_first, inputs)
    by_digest = dict(zip((one.digest for one in largest_first), unpacked, strict=True))
    return [by_digest[one.digest] for one in wanted]


def _unpack(
    wanted: PinnedPackage,
    inputs: Inputs,
    scratch: BinaryIO,
    places: Places,
    advance: Callable[[int], None],
) -> UnpackedPackage:
    with inputs.store.verified(wanted.digest) as file:
        deb = open_deb(file, name=wanted.label)
        deb.check(wanted.name, wanted.version, wanted.architecture)
        # Packages are what is counted; of pieces it is only told so that it can end the work.
        entries = deb.unpack(scratch, lambda _: advance(0))
    try:
        shipped = [Shipped(entry.path, places.entry(entry)) for entry in entries if entry.path]
    except EntryError as error:
        raise ArchiveError(f"{wanted.label}: {error}") from None
    files = tuple(one for one in shipped if not _is_link_to_itself(one.entry, places))
    for word in (wanted.name, wanted.architecture):
        if not _NAME.fullmatch(word):
            raise ArchiveError(f"{wanted.label}: expected a package's name, found {word!r}")
    return UnpackedPackage(wanted.name, deb.control, deb.members, files)


def _is_link_to_itself(entry: Entry, places: Places) -> bool:
    """Tell whether merging turned a link, like ``/usr/bin/x`` to ``/bin/x``, onto itself."""
    if entry.kind is not EntryKind.SYMLINK or not entry.target.startswith(b"/"):
        return False
    return places(entry.target.lstrip(b"/")) == entry.path


def _kept(files: Sequence[Shipped], left_out: Callable[[bytes], bool]) -> tuple[Shipped, ...]:
    """Return `files` less those left out; directories stay where something in them does."""
    marked = [(one, left_out(one.path) or left_out(one.entry.path)) for one in files]
    holding: set[bytes] = set()
    for one, out in marked:
        parent_path = b"" if out else parent(one.path)
        while parent_path and parent_path not in holding:
            holding.add(parent_path)
            parent_path = parent(parent_path)

    def holds(one: Shipped) -> bool:
        return one.entry.kind is EntryKind.DIRECTORY and one.path in holding

    return tuple(one for one, out in marked if not out or holds(one))
