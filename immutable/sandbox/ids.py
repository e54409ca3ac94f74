"""The 65,536 user and group ids of a sandbox, and what to do where there are none.

Root maps them one to one. A user has his of /etc/subuid and /etc/subgid, subuid(5), which
newuidmap(1) and newgidmap(1) write. With one id alone, useradd and dpkg would give wrong owners
without an error. His own id is 65536 inside, beyond what layers can have, so that root inside can
read what is his.
"""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from attrs import frozen

from immutable.errors import NoNamespaces

COUNT: Final = 65536
_SUBORDINATE: Final = {"uid": Path("/etc/subuid"), "gid": Path("/etc/subgid")}
_PROC: Final = Path("/proc")


@frozen
class IdMap:
    """Which ids of this machine a sandbox has: its first user id, and its first group id."""

    uid: int
    gid: int
    own: tuple[int, int] | None = None  # the user's own ids, where he is not root

    @property
    def name(self) -> str:
        """Return what sets apart folders whose files have these owners."""
        return "root" if self.own is None else f"{self.uid}-{self.gid}"

    def write(self, pid: int) -> None:
        """Give the ids to the new user namespace of the process `pid`; raise NoNamespaces."""
        if self.own is None:
            for kind, first in (("uid", self.uid), ("gid", self.gid)):
                try:
                    (_PROC / str(pid) / f"{kind}_map").write_text(f"0 {first} {COUNT}\n")
                except OSError as error:
                    raise NoNamespaces(
                        f"sandbox: expected {COUNT} {kind}s that root may map, found "
                        f"{error.strerror}; in a container, give it that many ids"
                    ) from None
            return
        for kind, first, own in zip(("uid", "gid"), (self.uid, self.gid), self.own, strict=True):
            words = (f"new{kind}map", pid, 0, first, COUNT, COUNT, own, 1)
            try:
                done = subprocess.run([str(one) for one in words], capture_output=True, check=False)  # noqa: S603
            except OSError as error:
                raise NoNamespaces(f"sandbox: new{kind}map: {error.strerror}") from None
            if done.returncode:
                said = done.stderr.decode(errors="replace").strip()
                raise NoNamespaces(
                    f"sandbox: new{kind}map: expected that it maps {first} to {first + COUNT - 1}, "
                    f"found: {said}; see that it is setuid root, or has cap_set{kind}"
                )


def find() -> IdMap:
    """Return the ids that this process may map; raise NoNamespaces, saying what to write."""
    if os.geteuid() == 0:
        return IdMap(0, 0)
    for program in ("newuidmap", "newgidmap"):
        if shutil.which(program) is None:
            raise NoNamespaces(
                f"sandbox: expected the program {program}, found none; install uidmap (on Fedora "
                "shadow-utils), or build as root"
            )
    number = os.geteuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    first = {}
    for kind, path in _SUBORDINATE.items():
        found = first_of(_lines(path), {name, str(number)})
        if found is None:
            raise NoNamespaces(
                f"sandbox: expected {COUNT} {kind}s of {name} in {path}, found none; add the line "
                f"{name}:{_free(_lines(path))}:{COUNT}"
            )
        first[kind] = found
    return IdMap(first["uid"], first["gid"], (number, os.getegid()))


def first_of(lines: Iterable[str], names: set[str]) -> int | None:
    """Return the first of the ids that a line of subuid(5) gives to `names`, if it gives 65,536."""
    for line in lines:
        parts = line.strip().split(":")
        if len(parts) == 3 and parts[0] in names and parts[1].isdecimal() and parts[2].isdecimal():
            first, count = int(parts[1]), int(parts[2])
            if count >= COUNT:
                return first
    return None


def explain(code: int, what: str) -> str:
    """Return the line for namespaces that the kernel refused: `what` failed with `code`."""
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1" and code in (
        errno.EPERM,
        errno.EACCES,
    ):
        return (
            "sandbox: AppArmor keeps users from namespaces here; run "
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or load a profile for "
            "python3 that says userns"
        )
    if _setting("user/max_user_namespaces") == "0":
        return (
            "sandbox: this machine allows no user namespaces; run "
            "sysctl -w user.max_user_namespaces=10000"
        )
    if _setting("kernel/unprivileged_userns_clone") == "0":
        return (
            "sandbox: users may make no namespaces here; run "
            "sysctl -w kernel.unprivileged_userns_clone=1"
        )
    said = os.strerror(code) if code else "no answer"
    if what.startswith("mount proc"):
        return (
            f"sandbox: {what}: {said}; a container that hides parts of /proc allows no other "
            "(docker run --security-opt systempaths=unconfined)"
        )
    if what.startswith("unshare") and code in (errno.EPERM, errno.ENOSYS, errno.EINVAL):
        return (
            f"sandbox: {what}: {said}; a container's seccomp filter refuses namespaces "
            "(docker run --security-opt seccomp=unconfined), or the kernel has none"
        )
    return f"sandbox: {what}: {said}"


def _setting(name: str) -> str:
    try:
        return (_PROC / "sys" / name).read_text().strip()
    except OSError:
        return ""


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _free(lines: Iterable[str]) -> int:
    """Return the first id after all those that are given away."""
    ends = [100_000]
    for line in lines:
        parts = line.strip().split(":")
        if len(parts) == 3 and parts[1].isdecimal() and parts[2].isdecimal():
            ends.append(int(parts[1]) + int(parts[2]))
    return max(ends)
