"""Whether a container can be run as the spec's ``[config]`` says: its user, its working directory.

Engines find out when they start it. Here the finished root file system tells, before anything gets
a name; the verdict is remembered for the layers that it is about, so that the next build of the
same looks at nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from immutable.build.below import Below
from immutable.build.contents import LayerContents, StoredRootfs
from immutable.build.plan import Plan
from immutable.build.schedule import Records
from immutable.content.account_files import (
    GROUP,
    MOST_READ,
    PASSWD,
    find_group,
    find_memberships,
    find_user,
    find_user_of,
)
from immutable.content.entries import EntryKind, described, show
from immutable.content.rootfs import MAX_LINKS, Found, Rootfs
from immutable.errors import EntryError, SpecError
from immutable.oci import canonical
from immutable.oci.canonical import JSON
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.redact import quoted
from immutable.spec.derivation import Realisation
from immutable.store import AbstractStore

_VERSION: Final = 1  # rises when the same layers would get another verdict
_FINE: Final = Digest.of(b"fine")
_ABSENT: Final = Digest.of(b"fine, but the working directory is not there")


def check_config(planned: Plan, records: Records, store: AbstractStore, progress: Progress) -> None:
    """Check what the spec itself says of the user and the working directory; not what a base does.

    Raises SpecError for a user or group that the image does not have by that name, and for a
    working directory that is none, or that the user cannot enter.
    """
    config = planned.spec.config
    if config.user is None and config.workdir is None:
        return
    contents = LayerContents(store, store)
    faults: dict[str, list[Platform]] = {}
    absent: list[str] = []
    for platform, _ in planned.graph.platforms:
        layers = [record.realisation for record in records[platform]]
        user = config.user or _base_user(planned, platform, layers)
        check = _Check(user, config.workdir, names=config.user is not None)
        try:
            if check.verdict(layers, contents, store) == _ABSENT:
                absent.append(user)
        except _RefusedError as refused:
            for fault in refused.faults:
                faults.setdefault(fault, []).append(platform)
    if faults:
        raise SpecError(planned.spec.where, [*_told(faults, len(planned.graph.platforms))])
    if absent:
        progress.note(
            f"config.workdir: {config.workdir} is in no layer, so engines make it, and it is "
            f"root's; for a user to write there, say {_entry(config.workdir or '', absent[0])} "
            "in a files layer"
        )


def _base_user(planned: Plan, platform: Platform, layers: Sequence[Realisation]) -> str:
    """Return whom the base image runs as; nobody's name means root."""
    foundation = planned.foundations.get(platform)
    if foundation is None:
        return ""
    return foundation.finish(layers[: len(foundation.layers)]).config.execution.user


def _told(faults: dict[str, list[Platform]], count: int) -> list[str]:
    """Return each fault once, with its platforms where it is not one of them all."""
    return [
        fault if len(there) == count else f"{fault} ({', '.join(map(str, there))})"
        for fault, there in faults.items()
    ]


class _RefusedError(Exception):
    """What cannot be run, in words."""

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults = faults


@frozen
class _Runner:
    """Whom a container runs as."""

    uid: int
    gids: frozenset[int]

    def enters(self, found: Found) -> bool:
        """Tell whether a directory may be searched: path_resolution(7)."""
        inode = found.inode
        if self.uid == 0:
            return True
        if self.uid == inode.uid:
            return bool(inode.mode & 0o100)
        return bool(inode.mode & (0o010 if inode.gid in self.gids else 0o001))


@frozen
class _Check:
    """What is checked of one platform's image; the user's names only where the spec has them."""

    user: str
    workdir: str | None
    names: bool

    def verdict(
        self, layers: Sequence[Realisation], contents: LayerContents, store: AbstractStore
    ) -> Digest:
        """Return the verdict, remembered or new; raise _RefusedError for a bad one."""
        below = Below(tuple(layers))
        if below.chain is None:
            return self._look(None)
        asked: list[JSON] = [_VERSION, self.user, self.workdir, self.names, str(below.chain)]
        key = Digest.of(canonical.encode(["config", *asked]))
        # It is kept with the top layer: what is remembered of no derivation is swept away.
        top = layers[-1].derivation
        known = store.find_answers(top, key)
        if known is None:
            known = self._look(below.rootfs(contents))
            store.record_answers(top, key, known)
        return known

    def _look(self, stored: StoredRootfs | None) -> Digest:
        try:
            runner = _runner(self.user, stored)
        except EntryError as error:
            if self.names:
                raise _RefusedError(f"config.user: {error}") from None
            return _FINE  # it is for whoever made the base to put right
        if self.workdir is None:
            return _FINE
        try:
            there = _check_workdir(self.workdir, self.user, runner, stored)
        except EntryError as error:
            raise _RefusedError(f"config.workdir: {error}") from None
        return _FINE if there or runner.uid == 0 else _ABSENT


def _runner(user: str, stored: StoredRootfs | None) -> _Runner:
    """Return whom engines run a container as; raise EntryError for names that they do not find."""
    passwd, group = (
        (stored.read(path, limit=MOST_READ) if stored is not None else None) or b""
        for path in (PASSWD, GROUP)
    )
    name, colon, wanted = user.partition(":")
    name = name or "0"
    if name.isdecimal():
        uid = int(name)
        name, gid = find_user_of(passwd, uid) or ("", 0)
    else:
        found = find_user(passwd, name)
        if found is None:
            raise EntryError(
                f"expected a user in the image's /etc/passwd, found {quoted(name)}; "
                "declare a [[user]], or write the number"
            )
        uid, gid = found
    if not colon:
        return _Runner(uid, frozenset({gid}) | (find_memberships(group, name) if name else set()))
    of_group = int(wanted) if wanted.isdecimal() else find_group(group, wanted)
    if of_group is None:
        raise EntryError(
            f"expected a group in the image's /etc/group, found {quoted(wanted)}; "
            "declare a [[group]], or write the number"
        )
    return _Runner(uid, frozenset({of_group}))


def _check_workdir(workdir: str, user: str, runner: _Runner, stored: StoredRootfs | None) -> bool:
    """Tell whether the working directory is there; raise EntryError where it cannot be entered."""
    if stored is None:
        return False
    passed, found = _way(workdir.encode(), stored.rootfs)
    if found is not None and not found.inode.is_directory:
        raise EntryError(
            f"expected a directory, a layer has {described(found.inode.kind, found.inode.target)} "
            f"at /{show(found.path)}; write another path"
        )
    for one in (*passed, *([] if found is None else [found])):
        if not runner.enters(one):
            inode = one.inode
            raise EntryError(
                f"expected a directory that {user or 'root'} can enter, found /{show(one.path)} "
                f"with mode {inode.mode:04o} of {inode.uid}:{inode.gid}; say "
                f"{_entry('/' + show(one.path), user)} in a files layer, or with a mode that lets "
                "others in"
            )
    return found is not None


def _way(path: bytes, rootfs: Rootfs) -> tuple[list[Found], Found | None]:
    """Return the directories that are passed on the way to `path`, and what stands at its end.

    That is None for what is not there, and the first file that stands in the way.
    """
    todo = path.split(b"/")[::-1]
    passed: list[Found] = []
    at = b""
    links = 0
    while todo:
        folder = rootfs.find(at)
        if folder is None or not folder.inode.is_directory:
            return passed, folder
        passed.append(folder)
        name = todo.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            at = at.rpartition(b"/")[0]
            continue
        place = at + b"/" + name if at else name
        found = rootfs.find(place)
        if found is None or found.inode.kind is not EntryKind.SYMLINK:
            at = place
            continue
        links += 1
        if links > MAX_LINKS:
            raise EntryError(f"more than {MAX_LINKS} links on the way to {show(path)}")
        target = found.inode.target
        todo += target.split(b"/")[::-1]
        at = b"" if target.startswith(b"/") else at
    return passed, rootfs.find(at)


def _entry(path: str, user: str) -> str:
    return f'{{ path = "{path}", directory = true, owner = "{user or "root"}" }}'
