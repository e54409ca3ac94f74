"""The users and groups of a spec: what is known of them before anybody looks at a layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from attrs import define, field, frozen

from immutable.spec.toml import nearest
from immutable.spec.types import AccountID, AccountName, AccountPath, Comment

# A NewType's call gives back what it is given.
# ruff: noqa: RUF009


@frozen
class User:
    """One ``[[user]]``; `gid` and `group` default to a group of the user's own name and id."""

    name: AccountName
    uid: AccountID
    gid: AccountID | None = None
    group: AccountName | None = None
    groups: tuple[AccountName, ...] = ()
    home: AccountPath | None = None
    shell: AccountPath = AccountPath("/usr/sbin/nologin")
    comment: Comment = Comment("")


@frozen
class Group:
    """One ``[[group]]``."""

    name: AccountName
    gid: AccountID


class Declared(Protocol):
    """What declares accounts: a spec."""

    @property
    def user(self) -> tuple[User, ...]:
        """The ``[[user]]`` tables."""

    @property
    def group(self) -> tuple[Group, ...]:
        """The ``[[group]]`` tables."""


@frozen
class Account:
    """A user with the primary group.

    Its `gid` is None where only a lower layer knows it: then `group` names it. Where both are
    given, the user joins whichever group has that id; the name is for one that is made if there
    is none. Without `group`, the spec itself has the group.
    """

    user: User
    gid: int | None
    group: str | None = None


@frozen
class Accounts:
    """The users, and all groups, those that users imply included."""

    users: tuple[Account, ...]
    groups: tuple[Group, ...]


def accounts(spec: Declared) -> Accounts:
    """Return the accounts of `spec`, as far as they are known without looking at layers."""
    return _Resolver.of(spec).accounts()


def account_faults(spec: Declared) -> Iterator[str]:
    """Yield what is wrong between users and groups, each with the line that is to be changed."""
    yield from _Resolver.of(spec).faults


@define
class _Resolver:
    """Finds the primary groups: first those that the spec names and numbers, then the others."""

    users: Sequence[User]
    # Each with the place that says so.
    groups: dict[str, tuple[Group, str]] = field(factory=dict)
    names: dict[int, str] = field(factory=dict)
    faults: list[str] = field(factory=list)

    @classmethod
    def of(cls, spec: Declared) -> _Resolver:
        made = cls(spec.user)
        for number, group in enumerate(spec.group):
            made.groups[group.name] = group, f"group[{number}]"
            made.names[group.gid] = group.name
        for number, user in enumerate(spec.user):
            if user.gid is not None and user.group is not None:
                made._both(f"user[{number}]", user.group, user.gid)
            elif user.gid is None and user.group in (None, user.name):
                made._own(f"user[{number}]", user)
        return made

    def accounts(self) -> Accounts:
        """Return them."""
        groups = tuple(group for group, _ in self.groups.values())
        return Accounts(tuple(map(self._account, self.users)), groups)

    def _both(self, place: str, name: AccountName, gid: AccountID) -> None:
        known = self.groups.get(name)
        if known is None and gid in self.names:
            self.faults.append(
                f"{place}.gid: {gid} is the id of the group {self.names[gid]!r}; "
                f"expected that of {name!r}"
            )
        elif known is None:
            self._add(place, name, gid)
        elif known[0].gid != gid:
            self.faults.append(
                f"{place}.gid: expected {known[0].gid}, which {known[1]} gives {name!r}, "
                f"found {gid}; leave it out"
            )

    def _own(self, place: str, user: User) -> None:
        if user.name in self.groups:
            return
        if user.uid in self.names:
            self.faults.append(
                f"{place}: its own group {user.name!r} would have the id {user.uid} of the group "
                f"{self.names[user.uid]!r}; give it a gid or a group"
            )
        self._add(place, user.name, user.uid)

    def _add(self, place: str, name: AccountName, gid: AccountID) -> None:
        self.groups[name] = Group(name, gid), place
        self.names.setdefault(gid, name)

    def _account(self, user: User) -> Account:
        name = user.group or user.name
        known = self.groups.get(name)
        if user.gid is not None:
            if user.gid in self.names:
                return Account(user, user.gid)
            return Account(user, user.gid, "root" if user.gid == 0 else name)
        if known is not None:
            return Account(user, known[0].gid)
        if name == "root":
            return Account(user, 0, name)
        # Another user may have one of his own name, and no id but the group's.
        of_name = next((one.gid for one in self.users if one.name == name), None)
        return Account(user, of_name, name)


def owner_ids(spec: Declared, owner: str) -> tuple[int, int]:
    """Return (uid, gid) of `owner`: ``name``, ``name:group``, ``uid`` or ``uid:gid``.

    Raises ValueError for a name that no ``[[user]]`` or ``[[group]]`` declares.
    """
    users, groups = _ids(spec)
    name, colon, group = owner.partition(":")
    own: int | str
    if name.isdecimal():
        uid, own = int(name), int(name)
    elif name in users:
        uid, own = users[name]
    else:
        raise ValueError(f"no [[user]] is called {name!r}{nearest(name, users)}")
    wanted = group if colon else str(own)
    gid = int(wanted) if wanted.isdecimal() else groups.get(wanted)
    if gid is None:
        of_whom = "" if colon else f", as the group of {name!r} is"
        raise ValueError(f"no [[group]] is called {wanted!r}{of_whom}{nearest(wanted, groups)}")
    return uid, gid


def known_part(spec: Declared, owner: str) -> str:
    """Return `owner` with numbers for those of its names that the spec declares."""
    users, groups = _ids(spec)
    name, colon, group = owner.partition(":")
    if name in users:
        uid, gid = users[name]
        return f"{uid}:{groups.get(group, group) if colon else gid}"
    return f"{name}:{groups.get(group, group)}" if colon else name


def _ids(spec: Declared) -> tuple[dict[str, tuple[int, int | str]], dict[str, int]]:
    """Return the ids of users, and of groups; a group's name where only lower layers know it."""
    found = accounts(spec)
    users: dict[str, tuple[int, int | str]] = {"root": (0, 0)}
    gids: dict[str, int] = {"root": 0}
    gids.update({group.name: group.gid for group in found.groups})
    for one in found.users:
        gid = one.group if one.gid is None else one.gid
        users[one.user.name] = (one.user.uid, gid or 0)
        if one.group is not None and one.gid is not None:
            gids.setdefault(one.group, one.gid)
    return users, gids
