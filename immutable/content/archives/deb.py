"""Debian binary packages, format 2.0: deb(5), deb-control(5).

A package is read forward only, once: first its control members, then its files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import BinaryIO

from attrs import field, frozen
from debian.deb822 import Deb822

from immutable.content.archives import ar, refuse_special
from immutable.content.archives.decompress import open_stream
from immutable.content.archives.scratch import unpack
from immutable.content.entries import Entry, EntryKind, show
from immutable.content.tar.reader import Limits, Member, read
from immutable.errors import ArchiveError
from immutable.redact import quoted

_VERSION = b"2.0\n"
_COMPRESSIONS = {"": "none", ".gz": "gzip", ".xz": "xz", ".zst": "zstd", ".bz2": "bzip2"}
_CONTROL_LIMIT = 16 << 20  # bytes of all control members; packages have 3 MB of md5sums at most
_CONTROL_LIMITS = Limits(members=1000, content=_CONTROL_LIMIT)
_DATA_LIMITS = Limits()
_REQUIRED = ("Package", "Version", "Architecture")
# Debian policy 5.1: printable ASCII but the colon, not beginning with # or -
_FIELD = re.compile(r"(?![#-])([!-9;-~]+):")


@frozen
class Control:
    """A control file: its text, and its fields in their order; names are case-insensitive."""

    text: str = field(repr=False)
    fields: tuple[tuple[str, str], ...]

    def get(self, name: str, default: str = "") -> str:
        """Return the field's value, or `default` when there is none."""
        folded = name.lower()
        return next((value for key, value in self.fields if key.lower() == folded), default)


@frozen
class Deb:
    """A package whose control members have been read, and whose files can be, once.

    `members` are all control members by name (``control``, ``md5sums``, ``postinst``, …).
    """

    name: str
    control: Control
    members: Mapping[str, bytes] = field(repr=False)
    _data: ar.Member = field(repr=False)
    _rest: Iterator[ar.Member] = field(repr=False)

    def check(self, package: str, version: str, architecture: str) -> None:
        """Raise ArchiveError unless the control file says what the lock and the index said.

        Its relations are not compared: the index is signed and pins the package's bytes, and an
        archive may override fields of the index, such as Section and Priority.
        """
        wanted = zip(_REQUIRED, (package, version, architecture), strict=True)
        faults = [
            f"{key}: expected {value}, found {self.control.get(key)}"
            for key, value in wanted
            if self.control.get(key) != value
        ]
        if faults:
            raise ArchiveError(f"{self.name}: control file: {'; '.join(faults)}")

    def unpack(
        self, scratch: BinaryIO, advance: Callable[[int], None] = lambda _: None
    ) -> list[Entry]:
        """Return the package's files, their contents kept in `scratch`; works once.

        `advance` is told of each piece's bytes; it ends the work by raising. Reads the package
        to its end. Raises ArchiveError for devices and FIFOs, and for whatever else cannot be a
        package's tree.
        """
        entries = unpack(self._files(), scratch, advance)
        for extra in self._rest:
            if not extra.name.startswith("_"):
                raise ArchiveError(f"{self.name}: {extra.name}: a member after data.tar")
        return entries

    def _files(self) -> Iterator[Member]:
        where = f"{self.name}: {self._data.name}"
        for member in _open_tar(self._data, where, _DATA_LIMITS):
            refuse_special(member.entry, where)
            yield member


def open_deb(file: BinaryIO, *, name: str) -> Deb:
    """Read the package in `file` as far as its control members; `name` is for errors.

    Raises ArchiveError unless the members are ``debian-binary`` of version 2.0, ``control.tar``
    and ``data.tar``, in this order and with nothing between but what may be ignored.
    """
    members = ar.read(file, name=name)
    version = _next(members, name, "debian-binary")
    found = version.stream.read(64)
    if version.size != len(_VERSION) or found != _VERSION:
        raise ArchiveError(f"{name}: debian-binary: expected {_VERSION!r}, found {found!r}")
    packed = _next(members, name, "control.tar")
    held = _control_members(packed, f"{name}: {packed.name}")
    if "control" not in held:
        raise ArchiveError(f"{name}: {packed.name}: expected a member control")
    control = _parse_control(held["control"], f"{name}: control file")
    return Deb(name, control, MappingProxyType(held), _next(members, name, "data.tar"), members)


def _next(members: Iterator[ar.Member], name: str, wanted: str) -> ar.Member:
    """Return the next member, `wanted`; deb(5) has those that begin with ``_`` ignored."""
    for member in members:
        if wanted == "debian-binary" and member.name == wanted:
            return member
        stem, dot, suffix = member.name.partition(".tar")
        if wanted == stem + dot and suffix in _COMPRESSIONS:
            return member
        if wanted == "debian-binary" or not member.name.startswith("_"):
            raise ArchiveError(f"{name}: expected the member {wanted}, found {member.name}")
    raise ArchiveError(f"{name}: expected the member {wanted}, found the end")


def _open_tar(packed: ar.Member, where: str, limits: Limits) -> Iterator[Member]:
    compression = _COMPRESSIONS[packed.name.partition(".tar")[2]]
    # Beside contents there are headers and padding: 2 KiB a member is generous.
    stream = open_stream(
        packed.stream,
        name=where,
        limit=limits.content + 2048 * limits.members,
        compression=compression,
    )
    return read(stream, name=where, limits=limits, reroot=True)


def _control_members(packed: ar.Member, where: str) -> dict[str, bytes]:
    held = {}
    for member in _open_tar(packed, where, _CONTROL_LIMITS):
        path = member.entry.path
        if member.entry.kind is not EntryKind.FILE or b"/" in path:
            kind = member.entry.kind.name.lower()
            raise ArchiveError(f"{where}: {show(path)}: expected a file at the top, found a {kind}")
        held[path.decode("utf-8", "backslashreplace")] = member.read()
    return held


def _parse_control(data: bytes, where: str) -> Control:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise ArchiveError(f"{where}: expected UTF-8: {fault}") from None
    lines = text.strip("\n").split("\n")
    _check_paragraph(lines, where)
    # In lines, for the parser would take more than newlines for their ends.
    fields = tuple((str(key), str(value)) for key, value in Deb822(lines).items())
    control = Control(text, fields)
    for key in _REQUIRED:
        if not control.get(key):
            raise ArchiveError(f"{where}: expected a field {key}")
    return control


def _check_paragraph(lines: list[str], where: str) -> None:
    """Refuse what the parser would pass over: other paragraphs, duplicates, and stray lines."""
    seen: set[str] = set()
    for line in lines:
        if "\0" in line:
            raise ArchiveError(f"{where}: a NUL in {quoted(line)}")
        match = _FIELD.match(line)
        if match is None:
            if line.strip() and line[0] in " \t" and seen:
                continue
            raise ArchiveError(f"{where}: expected one paragraph of fields, found {quoted(line)}")
        folded = match[1].lower()
        if folded in seen:
            raise ArchiveError(f"{where}: {match[1]}: a second field of that name")
        seen.add(folded)
