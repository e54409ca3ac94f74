"""Directories that a layer only passes through, with what is said of them elsewhere.

A layer's tar holds the parents of everything in it, and unpacking it sets their mode and owner,
also where a lower layer said otherwise. So a layer repeats what is known, before anything is
built, of the directories that it does not describe itself: what lower layers of kinds that tell
say, and whose home they are. What packages hold is not known so early; their
directories are root's, 0755, as a rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from immutable.builders.base import Attributes, Facts
from immutable.content.entries import CUSTOMARY_MODES, Entry, directory, safe_path
from immutable.spec.document import Spec, accounts

HOME_MODE: Final = 0o700
NO_HOME: Final = (b"", b"nonexistent")
# What lies in these is no user's, even where /etc/passwd gives one as a home: daemon's is
# /usr/sbin.
_SYSTEM: Final = frozenset(b"bin boot dev etc lib lib64 proc run sbin sys usr".split())


def known_directories(facts: Facts) -> dict[bytes, Attributes]:
    """Return what is said of directories before the layer of `facts` comes: path → attributes."""
    found = dict(_homes(facts.spec))
    for job in facts.lower:
        found.update(facts.kinds[job.kind].directories(job))
    return found


def usual_mode(path: bytes) -> int:
    """Return the mode of a directory of which nothing is said."""
    return CUSTOMARY_MODES.get(path, 0o755)


def to_option(directories: Mapping[bytes, Attributes]) -> dict[str, Any]:
    """Return the option of a derivation that holds `directories`; names keep their bytes.

    Only the directories that the layer repeats are recorded; empty where there are none.
    """
    rows = [
        [quote_from_bytes(path), one.mode, one.uid, one.gid]
        for path, one in sorted(directories.items())
    ]
    return {"parents": rows} if rows else {}


def entries(options: Mapping[str, Any]) -> dict[bytes, Entry]:
    """Return, by path, the entries of what `to_option` put into a derivation's options."""
    rows = options.get("parents", ())
    made = (directory(unquote_to_bytes(path), *attributes) for path, *attributes in rows)
    return {entry.path: entry for entry in made}


def repeated(options: Mapping[str, Any]) -> Iterator[tuple[bytes, Attributes]]:
    """Yield what a layer repeats of directories, from what `to_option` put into its options."""
    for path, entry in entries(options).items():
        yield path, Attributes(entry.mode, entry.uid, entry.gid)


def _homes(spec: Spec) -> Iterator[tuple[bytes, Attributes]]:
    """Yield the homes that the last layer would make."""
    for user, gid in accounts(spec)[0]:
        yield from home(user.name, user.home, user.uid, gid)


def home(name: str, home: str | None, uid: int, gid: int) -> Iterator[tuple[bytes, Attributes]]:
    """Yield the home of a user, if there is one and it is nobody else's."""
    path = home_path(name, home)
    if path not in NO_HOME and path.split(b"/")[0] not in _SYSTEM:
        yield path, Attributes(HOME_MODE, uid, gid)


def home_path(name: str, home: str | None) -> bytes:
    """Return the home of the user `name`, which may be left to custom, as an entry's path."""
    return safe_path((home or f"/home/{name}").encode(), reroot=True)
