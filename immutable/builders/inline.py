"""The ``entries`` of a ``files`` layer: files in the spec, and changes of what is beneath."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from typing import Any, Final

from attrs import evolve, field, frozen

from immutable.builders.base import Facts, Inputs, ids_of, owner_of
from immutable.content import capabilities
from immutable.content.entries import (
    MAX_PATH,
    Entry,
    EntryKind,
    Sets,
    ancestors,
    described,
    directory,
    file,
    safe_path,
    show,
    symlink,
)
from immutable.errors import EntryError
from immutable.oci.canonical import text
from immutable.spec.toml import FaultError, parsed_by
from immutable.spec.types import NO_XATTRS, Mode, Owner, Xattrs
from immutable.spec.types import target as parse_target


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FaultError(f"expected base64 text: {error}") from None
    return text


def _link(text: str) -> str:
    if not 0 < len(text.encode()) <= MAX_PATH:
        raise FaultError(f"expected a link's target of 1 to {MAX_PATH} bytes")
    return text


def _below_root(text: str) -> str:
    path = parse_target(text)
    if path == "/":
        raise FaultError("expected a path below the root, found the root itself")
    return path


def _capabilities(text: str) -> str:
    if text:
        capabilities.parse(text)
    return text


@frozen
class InlineEntry:
    """One of a layer's ``entries``: at most one of text, base64, directory and link.

    Without `owner` it has the layer's; without `mode` a file has 0644 and a directory what is
    usual, 0755 as a rule. With none of the four it changes what a lower layer has at `path`, links
    followed: what is given of `owner`, `mode`, `xattrs` and `capabilities`, and nothing else. Then
    a file comes again with its bytes. Empty `capabilities` take them away.
    """

    path: str = field(metadata=parsed_by(_below_root))
    text: str | None = None
    base64: str | None = field(default=None, metadata=parsed_by(_base64))
    directory: bool = False
    link: str | None = field(default=None, metadata=parsed_by(_link))
    mode: Mode | None = None
    owner: Owner | None = None
    xattrs: Xattrs = NO_XATTRS
    capabilities: str | None = field(default=None, metadata=parsed_by(_capabilities))

    def __attrs_post_init__(self) -> None:
        given = sum(one is not None for one in (self.text, self.base64, self.link)) + self.directory
        changed = (self.mode, self.owner, self.xattrs or None, self.capabilities)
        if given > 1 or (not given and all(one is None for one in changed)):
            raise FaultError(
                "expected one of text, base64, directory and link; or none of them, and what is to "
                "change of a lower layer's: owner, mode, xattrs, capabilities"
            )
        if self.link is not None and self.mode is not None:
            raise FaultError("mode: a link has none")
        if self.link is not None and self.xattrs:
            raise FaultError("xattrs: a link has none")
        if self.capabilities is not None and (self.link is not None or self.directory):
            raise FaultError("capabilities: only a file has them")

    @property
    def changes(self) -> bool:
        """Whether it changes what a lower layer has."""
        return not self.directory and (self.text, self.base64, self.link) == (None, None, None)


def plain(entry: InlineEntry, owner: str | None, facts: Facts, place: str) -> dict[str, Any]:
    """Return an entry as a derivation has it: `owner` is the layer's, `place` the entry's own."""
    given = entry.owner or (None if entry.changes else owner)
    known = None if entry.changes and not given else owner_of(facts, given, f"{place}.owner")
    xattrs = {name: text(value.encode()) for name, value in entry.xattrs}
    changed: dict[str, str | None] = {**xattrs}
    if entry.capabilities is not None:
        new = capabilities.parse(entry.capabilities) if entry.capabilities else None
        changed[text(capabilities.XATTR)] = None if new is None else text(new)
    return {
        "path": entry.path,
        "text": entry.text,
        "base64": entry.base64,
        "directory": entry.directory,
        "link": entry.link,
        "mode": entry.mode,
        "owner": known,
        "sets-owner": bool(given),
        **({"xattrs": changed} if changed else {}),
    }


def asks(plain: Mapping[str, Any]) -> bool:
    """Whether what an entry comes to depends on what is beneath at its path."""
    return _changes(plain) or ("xattrs" in plain and plain["directory"])


def is_directory(plain: Mapping[str, Any]) -> bool:
    """Whether an entry may come to a directory."""
    return plain["directory"] or _changes(plain)


def path_of(plain: Mapping[str, Any]) -> bytes:
    """Return an entry's path, before it is known where it leads."""
    return safe_path(plain["path"].encode(), reroot=True)


def made(plain: Mapping[str, Any], inputs: Inputs, place: str, removed: Collection[bytes]) -> Entry:
    """Return the entry that `plain` says; nothing of what is `removed` is beneath.

    Raises EntryError, naming `place`, for a change of what is not there or cannot be changed.
    """
    path = path_of(plain)
    there = inputs.beneath.find(path) if asks(plain) else None
    if there is not None and _is_in(there.path, removed):
        if _changes(plain):
            raise EntryError(
                f"{place}: /{show(there.path)} cannot be changed, as this layer removes it"
            )
        there = None
    if _changes(plain):
        return _changed(plain, there, inputs, place)
    uid, gid = ids_of(plain["owner"], inputs, f"{place}.owner")
    mode = plain["mode"]
    if plain["directory"]:
        made = directory(path, mode, uid, gid, sets_of(mode, owner=plain["sets-owner"]))
        present = there is not None and there.kind is EntryKind.DIRECTORY and there.xattrs
        return _with_xattrs(made, plain, present or ())
    if plain["link"] is not None:
        return symlink(path, plain["link"].encode(), uid, gid)
    data = plain["text"]
    data = base64.b64decode(plain["base64"]) if data is None else data.encode()
    return _with_xattrs(file(path, data, 0o644 if mode is None else mode, uid, gid), plain, ())


def sets_of(mode: int | None, *, owner: bool) -> Sets:
    """Return what is said of a directory: a mode that is given, and whether an `owner` is."""
    return (Sets.NOTHING if mode is None else Sets.MODE) | (Sets.OWNER if owner else Sets.NOTHING)


def _is_in(path: bytes, removed: Collection[bytes]) -> bool:
    return not {path, *ancestors([path])}.isdisjoint(removed)


def _changes(plain: Mapping[str, Any]) -> bool:
    return not plain["directory"] and all(plain[one] is None for one in ("text", "base64", "link"))


def _changed(plain: Mapping[str, Any], there: Entry | None, inputs: Inputs, place: str) -> Entry:
    """Return what is `there`, with what is to change of it."""
    if there is None:
        raise EntryError(
            f"{place}: expected a file or directory of a lower layer at {plain['path']}, found "
            "nothing; for a new one say text, base64, directory or link"
        )
    if there.kind not in (EntryKind.FILE, EntryKind.DIRECTORY):
        raise EntryError(
            f"{place}: expected a file or directory of a lower layer at {plain['path']}, found "
            f"{described(there.kind, there.target)}"
        )
    if not there.path:
        raise EntryError(f"{place}: {plain['path']} leads to the root, which no layer can change")
    if there.kind is EntryKind.DIRECTORY and _CAPABILITY in plain.get("xattrs", ()):
        raise EntryError(
            f"{place}.capabilities: only a file has them, /{show(there.path)} is a directory"
        )
    mode, owner = plain["mode"], plain["owner"]
    uid, gid = (there.uid, there.gid) if owner is None else ids_of(owner, inputs, f"{place}.owner")
    sets = sets_of(mode, owner=plain["sets-owner"])
    changed = evolve(there, mode=there.mode if mode is None else mode, uid=uid, gid=gid, sets=sets)
    return _with_xattrs(changed, plain, there.xattrs)


_CAPABILITY: Final = text(capabilities.XATTR)


def _with_xattrs(
    entry: Entry, plain: Mapping[str, Any], present: Collection[tuple[bytes, bytes]]
) -> Entry:
    """Return `entry` with what is `present` and what is given; None takes one away."""
    given: Mapping[str, str | None] = plain.get("xattrs", {})
    if not given:
        return entry
    merged = {**{text(name): text(value) for name, value in present}, **given}
    xattrs = ((_raw(n), _raw(value)) for n, value in merged.items() if value is not None)
    return evolve(entry, xattrs=xattrs, sets=entry.sets | Sets.XATTRS)


def _raw(text: str) -> bytes:
    return text.encode("latin-1")
