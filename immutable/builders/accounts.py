"""The last layer: the spec's users and groups, added to what the lower layers left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from attrs import evolve
from typing_extensions import override

from immutable.builders.base import Beneath, Builder, Facts, Inputs, Questions
from immutable.builders.homes import HOME_MODE, NO_HOME, home_path
from immutable.content.account_files import GROUP, PASSWD, find_group, find_group_of
from immutable.content.entries import Entry, EntryKind, Inline, described, directory, file, show
from immutable.errors import EntryError
from immutable.spec.accounts import Account, accounts
from immutable.spec.derivation import Job

_SHADOW, _GSHADOW = b"etc/shadow", b"etc/gshadow"
_FILES: Final = (PASSWD, GROUP, _SHADOW, _GSHADOW)
_ROOT_USER: Final = "root:x:0:0:root:/root:/bin/sh"
_ROOT_GROUP: Final = "root:x:0:"
_SHELL: Final = "/usr/sbin/nologin"


class AccountsBuilder(Builder):
    """Makes ``/etc/passwd``, ``/etc/group`` and home directories; no kind that specs name."""

    kind: ClassVar[str] = "users"
    version: ClassVar[int] = 1
    options: ClassVar[type[Any]] = type(None)
    instead: ClassVar[str] = "give the user another home"

    @override
    def derive(self, facts: Facts) -> tuple[Job, ...]:
        """Return the one derivation."""
        found = accounts(facts.spec)
        job = self.job(
            facts,
            {
                "users": [_plain(one) for one in found.users],
                "groups": [{"name": group.name, "gid": group.gid} for group in found.groups],
            },
        )
        # The homes are made here: what lower layers have of them is what is asked.
        return (evolve(job, homes=()),)

    @override
    def questions(self, job: Job) -> Questions:
        return Questions(files=_FILES, paths=tuple(map(_home, job.options["users"])))

    @override
    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Return the account files, extended, and the home directories that are not there.

        A user or group that is there with the same ids stays as it is. Raises EntryError for
        one that is there otherwise, and for a group to be joined that is not there.
        """
        groups = job.options["groups"]
        found = ((path, inputs.beneath.find(path)) for path in _FILES)
        lower = {path: entry for path, entry in found if entry is not None}
        group = _groups(job.options["users"], groups, lower)
        users = [{**one, "gid": _gid(one, group)} for one in job.options["users"]]
        passwd, changed = _tables(users, groups, group, lower)
        yield changed
        yield _homes(users, passwd, inputs.beneath)


def _plain(one: Account) -> dict[str, Any]:
    """Return a user as plain values; `group` is there where a lower layer may have that."""
    user = one.user
    return {
        "name": user.name,
        "uid": user.uid,
        "gid": one.gid,
        "groups": list(user.groups),
        "home": user.home,
        "shell": None if user.shell == _SHELL else user.shell,
        "comment": user.comment or None,
        **({} if one.group is None else {"group": one.group}),
    }


def _groups(
    users: Sequence[Mapping[str, Any]],
    groups: Sequence[Mapping[str, Any]],
    lower: Mapping[bytes, Entry],
) -> _Table:
    """Return the table of groups, with those that users need for an id of their own."""
    table = _Table(GROUP, lower, _ROOT_GROUP)
    for one in groups:
        table.add(one["name"], "x", str(one["gid"]), "")
    for user in users:
        gid = user["gid"] if "group" in user else None
        if gid is not None and find_group_of(table.data(), gid) is None:
            table.add(user["group"], "x", str(gid), "")
    return table


def _gid(user: Mapping[str, Any], group: _Table) -> int:
    """Return the id of a user's primary group, which is looked up where the spec has a name."""
    gid = user["gid"] if user["gid"] is not None else find_group(group.data(), user["group"])
    if gid is None:
        raise EntryError(
            f"/{show(GROUP)}: expected the group {user['group']!r} of the user {user['name']!r} "
            "in the spec or in a lower layer, found none; declare a [[group]], or give the user "
            "its gid too"
        )
    found: int = gid
    return found


def _tables(
    users: Sequence[Mapping[str, Any]],
    groups: Sequence[Mapping[str, Any]],
    group: _Table,
    lower: Mapping[bytes, Entry],
) -> tuple[_Table, list[Entry]]:
    """Return the table of users, and all account files with the additions."""
    passwd = _Table(PASSWD, lower, _ROOT_USER)
    shadow, gshadow = _Table(_SHADOW, lower), _Table(_GSHADOW, lower)
    for name in dict.fromkeys([*(one["name"] for one in groups), *group.added]):
        gshadow.add(name, "!", "", "")
    for user in users:
        passwd.add(
            user["name"],
            "x",
            str(user["uid"]),
            str(user["gid"]),
            _Usual.of(user["comment"], ""),
            _Usual.of(user["home"], f"/home/{user['name']}"),
            _Usual.of(user["shell"], _SHELL),
        )
        shadow.add(user["name"], "!", "", "0", "99999", "7", "", "", "")
        for name in user["groups"]:
            group.add_member(name, user["name"])
            if _GSHADOW in lower:
                gshadow.add_member(name, user["name"])
    optional = [table for table in (shadow, gshadow) if table.path in lower]
    return passwd, [table.entry() for table in (passwd, group, *optional)]


def _homes(users: Sequence[Mapping[str, Any]], passwd: _Table, beneath: Beneath) -> Iterator[Entry]:
    """Yield the homes that are not there; users of lower layers keep theirs, wherever that is."""
    for user in users:
        path = _home(user)
        ours = user["home"] is not None or user["name"] in passwd.added
        if ours and path not in NO_HOME:
            present = beneath.find(path)
            if present is None:
                yield directory(path, HOME_MODE, user["uid"], user["gid"])
            elif present.kind is not EntryKind.DIRECTORY:
                raise EntryError(
                    f"/{show(path)}: expected a directory as the home of {user['name']}, a layer "
                    f"below has {described(present.kind)}; give the user another home"
                )


def _home(user: Mapping[str, Any]) -> bytes:
    return home_path(user["name"], user["home"])


class _Usual(str):
    """A field that the spec leaves to custom: any other value in lower layers is as good."""

    __slots__ = ()

    @classmethod
    def of(cls, given: str | None, usual: str) -> str:
        return cls(usual) if given is None else given


class _Table:
    """One of the account files: lines of fields, the name first."""

    def __init__(self, path: bytes, lower: Mapping[bytes, Entry], first: str = "") -> None:
        self.path = path
        self.added: dict[str, None] = {}
        self._lower = lower.get(path)
        self._lines = [first] if first else []
        if self._lower is not None:
            if self._lower.kind is not EntryKind.FILE or self._lower.content is None:
                kind = self._lower.kind.name.lower()
                raise EntryError(f"/{show(path)}: expected a file, a layer below has a {kind}")
            data = b"".join(self._lower.content.read())
            # Whatever bytes there are come out again.
            text = data.decode("utf-8", "surrogateescape").removesuffix("\n")
            self._lines = text.split("\n") if text else []

    def add(self, *fields: str) -> None:
        """Add a line unless it is there; refuse another one of that name or id.

        Passwords and members in lower layers are never looked at.
        """
        name, number = fields[0], fields[2]
        has_ids = self.path in (PASSWD, GROUP)
        others = [line.split(":") for line in self._lines]
        same = next((other for other in others if other[0] == name), None)
        if same is None and has_ids:
            same = next((other for other in others if other[2:3] == [number]), None)
        if same is None:
            self._lines.append(":".join(fields))
            self.added[name] = None
        elif has_ids and not _agrees(same, fields, 3 if self.path == GROUP else 7):
            raise EntryError(
                f"/{show(self.path)}: cannot add {':'.join(fields)!r}: "
                f"a layer below has {':'.join(same)!r}{self._hint(same)}"
            )

    def add_member(self, group: str, user: str) -> None:
        """Add `user` to the members, the last field, of `group`."""
        for number, line in enumerate(self._lines):
            head, _, members = line.rpartition(":")
            if head.split(":")[0] == group:
                names = [*filter(None, members.split(",")), user]
                self._lines[number] = f"{head}:{','.join(dict.fromkeys(names))}"
                return
        if self.path == GROUP:
            raise EntryError(
                f"/{show(self.path)}: no group {group!r} to put {user!r} into, neither in the spec "
                "nor in a lower layer; declare it as a [[group]]"
            )

    def data(self) -> bytes:
        """Return the file's bytes."""
        return "".join(line + "\n" for line in self._lines).encode("utf-8", "surrogateescape")

    def entry(self) -> Entry:
        """Return the file, with the attributes it had in the lower layers."""
        if self._lower is None:
            return file(self.path, self.data())
        return evolve(self._lower, content=Inline(self.data()))

    def _hint(self, same: Sequence[str]) -> str:
        """Return what to do about a group that is there otherwise."""
        if self.path != GROUP:
            return ""
        there = same[2] if len(same) > 2 else ""
        joins = f"gid = {there}" if there.isdecimal() else f'group = "{same[0]}"'
        return f"; a user joins that by {joins}"


def _agrees(lower: Sequence[str], wanted: Sequence[str], fields: int) -> bool:
    """Tell whether a line of lower layers says in its first `fields` what is wanted.

    The password does not count.
    """
    return all(
        isinstance(want, _Usual) or lower[number : number + 1] == [want]
        for number, want in enumerate(wanted[:fields])
        if number != 1
    )
