"""The home directories of a spec's users."""

from __future__ import annotations

from typing import Final

from immutable.content.entries import safe_path
from immutable.spec.accounts import accounts
from immutable.spec.derivation import Home
from immutable.spec.document import Spec

HOME_MODE: Final = 0o700
NO_HOME: Final = (b"", b"nonexistent")
# What lies in these is no user's, even where /etc/passwd gives one as a home: daemon's is
# /usr/sbin.
_SYSTEM: Final = frozenset(b"bin boot dev etc lib lib64 proc run sbin sys usr".split())


def homes_of(spec: Spec) -> tuple[Home, ...]:
    """Return the homes that the last layer would make, and that are nobody else's."""
    found = (
        Home(
            home_path(one.user.name, one.user.home),
            HOME_MODE,
            one.user.uid,
            one.gid,
            one.group or "",
        )
        for one in accounts(spec).users
    )
    return tuple(
        one for one in found if one.path not in NO_HOME and one.path.split(b"/")[0] not in _SYSTEM
    )


def home_path(name: str, home: str | None) -> bytes:
    """Return the home of the user `name`, which may be left to custom, as an entry's path."""
    return safe_path((home or f"/home/{name}").encode(), reroot=True)
