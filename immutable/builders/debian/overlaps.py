"""Paths that several packages ship: which of them a layer has, as dpkg decides it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from attrs import evolve, frozen

from immutable.builders.debian.package import UnpackedPackage
from immutable.content.entries import Entry, EntryKind, show
from immutable.errors import ArchiveError, EntryError
from immutable.sources.debian.relations import parse_relations

# Unpacked first by every installer, so its word on directories counts.
_FIRST = "base-files"


@frozen
class Resolved:
    """What each package contributes, and the packages less what others replace in them."""

    packages: tuple[UnpackedPackage, ...]
    entries: tuple[tuple[Entry, ...], ...]


def resolve(packages: Sequence[UnpackedPackage]) -> Resolved:
    """Say for each path which package's entry the layer has.

    Of a directory that several ship, base-files' attributes count, else those of the first
    package in order: dpkg leaves a directory as it finds it. A directory gives way to a link in
    its place. Files must be the same or one package must replace the other (Debian policy
    7.6.1); raises EntryError, naming path and packages, where it is not so.
    """
    owners: dict[bytes, tuple[int, Entry]] = {}
    lost: set[tuple[int, bytes]] = set()
    order = sorted(range(len(packages)), key=lambda index: packages[index].name != _FIRST)
    for index in order:
        for shipped in packages[index].files:
            entry = shipped.entry
            present = owners.get(entry.path)
            if present is None:
                owners[entry.path] = (index, entry)
            elif not _agree(present[1], entry):
                winner = _winner(packages, present, (index, entry))
                loser = index if winner is present else present[0]
                lost.add((loser, entry.path))
                owners[entry.path] = winner
            elif present[1].kind is EntryKind.DIRECTORY and entry.kind is EntryKind.SYMLINK:
                owners[entry.path] = (index, entry)
    contributed: list[list[Entry]] = [[] for _ in packages]
    for index, entry in owners.values():
        contributed[index].append(entry)
    return Resolved(
        tuple(_without(package, index, lost) for index, package in enumerate(packages)),
        tuple(tuple(entries) for entries in contributed),
    )


def _agree(one: Entry, other: Entry) -> bool:
    """Tell whether one of the two may stand for both."""
    kinds = {one.kind, other.kind}
    if EntryKind.DIRECTORY in kinds:
        return kinds <= {EntryKind.DIRECTORY, EntryKind.SYMLINK}
    if (one.size, one.mode, one.uid, one.gid) != (other.size, other.mode, other.uid, other.gid):
        return False
    if one.kind is EntryKind.SYMLINK or other.kind is EntryKind.SYMLINK:
        return one.kind is other.kind and one.target == other.target
    return _content_digest(one) == _content_digest(other)


def _content_digest(entry: Entry) -> bytes:
    hasher = hashlib.sha256()
    for piece in entry.content.read() if entry.content else ():
        hasher.update(piece)
    return hasher.digest()


def _winner(
    packages: Sequence[UnpackedPackage], present: tuple[int, Entry], new: tuple[int, Entry]
) -> tuple[int, Entry]:
    one, other = packages[present[0]], packages[new[0]]
    if one is not other:
        if _replaces(other, one):
            return new
        if _replaces(one, other):
            return present
    raise EntryError(
        f"/{show(new[1].path)}: shipped by {one.name} {one.version} and, differently, by "
        f"{other.name} {other.version}, and neither replaces the other; leave one of them out"
    )


def _replaces(one: UnpackedPackage, other: UnpackedPackage) -> bool:
    """Tell whether `one` may take over files of `other`, by its field Replaces."""
    try:
        relations = parse_relations(one.control.get("Replaces"))
        return any(
            relation.name == other.name and relation.accepts(other.version)
            for alternatives in relations
            for relation in alternatives
        )
    except ValueError as error:
        raise ArchiveError(f"{one.name} {one.version}: control file: Replaces: {error}") from None


def _without(package: UnpackedPackage, index: int, lost: set[tuple[int, bytes]]) -> UnpackedPackage:
    if not any(owner == index for owner, _ in lost):
        return package
    return evolve(
        package, files=tuple(f for f in package.files if (index, f.entry.path) not in lost)
    )
