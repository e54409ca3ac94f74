"""Whom a container runs as, and whether he can enter its working directory."""

from __future__ import annotations

from attrs import frozen

from immutable.build.contents import StoredRootfs
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
from immutable.errors import EntryError
from immutable.redact import quoted


@frozen
class Runner:
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


def runner_of(user: str, stored: StoredRootfs | None) -> Runner:
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
        return Runner(uid, frozenset({gid}) | (find_memberships(group, name) if name else set()))
    of_group = int(wanted) if wanted.isdecimal() else find_group(group, wanted)
    if of_group is None:
        raise EntryError(
            f"expected a group in the image's /etc/group, found {quoted(wanted)}; "
            "declare a [[group]], or write the number"
        )
    return Runner(uid, frozenset({of_group}))


def check_workdir(workdir: str, user: str, runner: Runner, stored: StoredRootfs | None) -> bool:
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
                f"{directory_entry('/' + show(one.path), user)} in a files layer, or with a mode "
                "that lets others in"
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


def directory_entry(path: str, user: str) -> str:
    """Return the inline entry that gives `user` a directory at `path`."""
    return f'{{ path = "{path}", directory = true, owner = "{user or "root"}" }}'
