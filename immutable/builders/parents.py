"""Directories that a layer only passes through, with what is said of them elsewhere.

A layer's tar holds the parents of everything in it, and unpacking it sets their mode and owner,
also where a layer beneath said otherwise. So a layer repeats what is known, before anything is
built, of the directories that it does not describe itself: what ``files`` and ``archive`` layers
beneath it say, and whose home they are. What packages hold is not known so early; their
directories are root's, 0755, as a rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from attrs import frozen

from immutable.content.entries import CUSTOMARY_MODES, Entry, Kind, directory, safe_path
from immutable.sources.tree import Tree
from immutable.spec.derivation import Derivation, Facts
from immutable.spec.document import Spec, accounts

HOME_MODE: Final = 0o700
NO_HOME: Final = (b"", b"nonexistent")
# What lies in these is no user's, even where /etc/passwd gives one as a home: daemon's is
# /usr/sbin.
_SYSTEM: Final = frozenset(b"bin boot dev etc lib lib64 proc run sbin sys usr".split())


@frozen
class Attributes:
    """A directory's permission bits and owner."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0


def known(facts: Facts) -> dict[bytes, Attributes]:
    """Return what is said of directories before the layer of `facts` comes: path → attributes."""
    found = dict(_homes(facts.spec))
    for derivation in facts.below:
        found.update(_described(derivation))
    return found


def usual_mode(path: bytes) -> int:
    """Return the mode of a directory of which nothing is said."""
    return CUSTOMARY_MODES.get(path, 0o755)


def option(directories: Mapping[bytes, Attributes]) -> dict[str, Any]:
    """Return the option of a derivation that holds `directories`; names keep their bytes.

    Empty where there are none: what is said elsewhere of other directories is no part of it.
    """
    rows = [
        [quote_from_bytes(path), one.mode, one.uid, one.gid]
        for path, one in sorted(directories.items())
    ]
    return {"parents": rows} if rows else {}


def entries(options: Mapping[str, Any]) -> dict[bytes, Entry]:
    """Return, by path, the entries of what `option` put into a derivation's options."""
    rows = options.get("parents", ())
    made = (directory(unquote_to_bytes(path), *attributes) for path, *attributes in rows)
    return {entry.path: entry for entry in made}


def _homes(spec: Spec) -> Iterator[tuple[bytes, Attributes]]:
    """Yield the homes that the last layer would make."""
    for user, gid in accounts(spec)[0]:
        yield from _home(user.name, user.home, user.uid, gid)


def _home(name: str, home: str | None, uid: int, gid: int) -> Iterator[tuple[bytes, Attributes]]:
    path = home_path(name, home)
    if path not in NO_HOME and path.split(b"/")[0] not in _SYSTEM:
        yield path, Attributes(HOME_MODE, uid, gid)


def home_path(name: str, home: str | None) -> bytes:
    """Return the home of the user `name`, which may be left to custom, as an entry's path."""
    return safe_path((home or f"/home/{name}").encode(), reroot=True)


def _described(derivation: Derivation) -> Iterator[tuple[bytes, Attributes]]:
    """Yield the directories that a layer beneath describes, as far as its derivation tells."""
    options = derivation.options
    if derivation.kind == "users":
        for user in options["users"]:
            yield from _home(user["name"], user["home"], user["uid"], user["gid"])
    elif derivation.kind == "npm":
        top = safe_path(options["target"].encode(), reroot=True)
        for path in filter(None, (top, top + b"/node_modules" if top else b"node_modules")):
            yield path, Attributes(usual_mode(path), *options["owner"])
        for path, entry in entries(options).items():
            yield path, Attributes(entry.mode, entry.uid, entry.gid)
    elif derivation.kind == "wheels":
        top = safe_path(options["target"].encode(), reroot=True)
        yield top, Attributes(usual_mode(top), *options["owner"])
        for path, entry in entries(options).items():
            yield path, Attributes(entry.mode, entry.uid, entry.gid)
    elif derivation.kind in ("files", "archive"):
        top = safe_path(options["target"].encode(), reroot=True)
        for path, mode in _folders(derivation, top):
            place = b"/".join(filter(None, (top, path)))
            if place:
                yield place, Attributes(mode, *options["owner"])
        for path, entry in entries(options).items():
            yield path, Attributes(entry.mode, entry.uid, entry.gid)
        for one in options.get("entries", ()):
            if one["directory"]:
                place = safe_path(one["path"].encode(), reroot=True)
                mode = usual_mode(place) if one["mode"] is None else one["mode"]
                yield place, Attributes(mode, *one["owner"])


def _folders(derivation: Derivation, top: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield (path below the target `top`, mode) of the folders that a layer puts there."""
    if derivation.kind == "archive":
        yield b"", usual_mode(top)
    elif derivation.snapshot is not None:
        tree: Tree = derivation.snapshot.data
        given = derivation.options["directory-mode"]
        if tree.is_folder:
            yield b"", usual_mode(top) if given is None else given
        for path, kind, mode, _, _ in tree.items():
            if kind is Kind.DIRECTORY:
                yield path, mode if given is None else given
