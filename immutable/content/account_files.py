"""Looking up accounts in the bytes of ``/etc/passwd`` and ``/etc/group``: passwd(5), group(5).

As libraries do, lines of others are not looked at: they may be damaged, or comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from immutable.content.entries import show
from immutable.errors import EntryError
from immutable.redact import quoted

PASSWD: Final = b"etc/passwd"
GROUP: Final = b"etc/group"
MOST_READ: Final = 64 << 20  # bytes of a file
_LAST_ID: Final = 2**32 - 2  # the next one means "no such id" to the kernel
_NUMBER: Final = re.compile(rb"[0-9]{1,10}")


def find_user(passwd: bytes, name: str) -> tuple[int, int] | None:
    """Return (uid, gid) of the first user called `name`; None if there is none.

    Raises EntryError for a line of his that has no ids of 32 bits.
    """
    fields = _find(passwd, name)
    if fields is None:
        return None
    uid, gid = (_id(fields, number, PASSWD, "NAME:x:UID:GID") for number in (2, 3))
    return uid, gid


def find_user_of(passwd: bytes, uid: int) -> tuple[str, int] | None:
    """Return (name, gid) of the first user whose id is `uid`; None if there is none."""
    for fields in _lines(passwd):
        if len(fields) > 3 and _number(fields[2]) == uid:
            gid = _number(fields[3])
            if gid is not None:
                return fields[0].decode("utf-8", "surrogateescape"), gid
    return None


def find_group(group: bytes, name: str) -> int | None:
    """Return the gid of the first group called `name`; None if there is none.

    Raises EntryError for a line of it that has no id of 32 bits.
    """
    fields = _find(group, name)
    return None if fields is None else _id(fields, 2, GROUP, "NAME:x:GID:")


def find_group_of(group: bytes, gid: int) -> str | None:
    """Return the name of the first group whose id is `gid`; None if there is none."""
    names = (one[0] for one in _lines(group) if len(one) > 2 and _number(one[2]) == gid)
    name = next(names, None)
    return None if name is None else name.decode("utf-8", "surrogateescape")


def find_memberships(group: bytes, user: str) -> frozenset[int]:
    """Return the gids of the groups that `user` is a member of."""
    name = user.encode("utf-8", "surrogateescape")
    members = (one for one in _lines(group) if len(one) > 3 and name in one[3].split(b","))
    gids = (_number(fields[2]) for fields in members)
    return frozenset(gid for gid in gids if gid is not None)


def _lines(data: bytes) -> Iterator[Sequence[bytes]]:
    return (line.split(b":") for line in data.split(b"\n"))


def _find(data: bytes, name: str) -> Sequence[bytes] | None:
    wanted = name.encode("utf-8", "surrogateescape")
    return next((one for one in _lines(data) if one[0] == wanted and len(one) > 1), None)


def _id(fields: Sequence[bytes], number: int, table: bytes, form: str) -> int:
    found = _number(fields[number]) if number < len(fields) else None
    if found is None:
        line = b":".join(fields).decode("utf-8", "replace")
        raise EntryError(
            f"/{show(table)}: expected {form} with ids from 0 to {_LAST_ID}, found {quoted(line)}"
        )
    return found


def _number(text: bytes) -> int | None:
    found = int(text) if _NUMBER.fullmatch(text) else _LAST_ID + 1
    return found if found <= _LAST_ID else None
