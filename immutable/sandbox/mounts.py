"""The root file system of a command: an overlay, and what else is mounted on it.

Every path that the layers or the command's writer chose is opened as if the overlay were the root,
so that no link in it leads out. Mount points that the layers lack stand in a folder of their own
among the lower ones, with the attributes of the folders above them: what a command changed does
not show them.
"""

# Little is imported, as a process starts with it; paths are looked up in folders that are open.
# ruff: noqa: PTH101, PTH102, PTH110
# ruff: noqa: PTH112, PTH114, PTH115, PTH116, PTH211

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from typing import Any, Final

from immutable.sandbox import syscalls
from immutable.sandbox.child import Failed
from immutable.sandbox.syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
)

__all__ = ["OPTIONS", "Root", "overlay", "prepare"]

# With user xattrs there are no redirects: a renamed folder is one that is new. `volatile` spares
# each fsync of dpkg.
OPTIONS: Final = "userxattr,index=off,volatile"
_READ_ONLY_OPTIONS: Final = "userxattr,index=off"
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS: Final = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
# Who is root outside is so here for the kernel's files: nothing of them is to be written.
_READ_ONLY_PROC: Final = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_HIDDEN_PROC: Final = ("acpi", "kcore", "keys", "latency_stats", "sched_debug", "timer_list")
_SPARE_PIDS: Final = 2000  # the first ones are not given again, and the second run begins later
_MEMORY: Final = ("dev", "proc", "sys", "tmp", "run")


def prepare(scratch: str) -> None:
    """Cut this namespace's mounts off from others, and mount a tmpfs on the folder `scratch`."""
    syscalls.mount("", "/", "", MS_REC | MS_PRIVATE)
    syscalls.mount("tmpfs", scratch, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")


def overlay(target: str, lowers: Sequence[str], upper: str = "", work: str = "") -> None:
    """Mount an overlay; `lowers` are bottom first; all paths are short ones of this folder.

    A mount takes its options in one page, and all processes may read them.
    """
    options = f"lowerdir={':'.join(reversed(lowers))}"
    if upper:
        options = f"{OPTIONS},{options},upperdir={upper},workdir={work}"
    else:
        options = f"{_READ_ONLY_OPTIONS},{options}"
    syscalls.mount("overlay", target, "overlay", 0, options)


class Root:
    """The root of a command in the making: the current folder is the scratch tmpfs."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._task = task
        for name in ("stubs", "view", "merged", "copies", "empty"):
            os.mkdir(name, 0o755)
        for number, path in enumerate(task["lowers"]):
            os.symlink(path, f"{number}")
        self._lowers = [str(number) for number in range(len(task["lowers"]))]
        self._root = self._opened = -1

    def mount(self, changes: str) -> int:
        """Mount everything on ``merged``; return a descriptor of the upper folder in `changes`."""
        # One lower layer alone is refused by kernels before 6.5 where there is no upper one.
        overlay("view", ["copies", "empty", *self._lowers])
        view = os.open("view", os.O_PATH | os.O_DIRECTORY)
        self._copy_attributes(view, "", "stubs")
        for bind in self._task["binds"]:
            self._stub(view, bind["target"], folder=os.path.isdir(bind["source"]))
        for target in (*_MEMORY, *self._task["caches"]):
            self._stub(view, target, folder=True)
        os.close(view)
        syscalls.unmount("view", syscalls.MNT_DETACH)
        os.symlink(changes, "c")
        for name in ("upper", "work"):
            os.mkdir(f"c/{name}", 0o755)
        found = os.stat("stubs")
        os.chown("c/upper", found.st_uid, found.st_gid)
        os.chmod("c/upper", stat.S_IMODE(found.st_mode))
        os.utime("c/upper", ns=(found.st_atime_ns, found.st_mtime_ns))
        overlay("merged", [*self._lowers, "stubs"], "c/upper", "c/work")
        upper = os.open("c/upper", os.O_RDONLY | os.O_DIRECTORY)
        self._root = os.open("merged", os.O_PATH | os.O_DIRECTORY)
        self._mount_memory()
        self._mount_proc()
        for target in self._task["caches"]:
            self._mount_cache(target)
        for number, bind in enumerate(self._task["binds"]):
            self._bind(number, bind["source"], bind["target"])
        return upper

    def enter(self) -> None:
        """Make the overlay the root of this process; nothing else can be reached afterwards."""
        os.fchdir(self._root)
        os.close(self._root)
        syscalls.pivot_root()

    def _stub(self, view: int, target: str, *, folder: bool) -> None:
        """Make what `target` lacks in the lower layers, as far as a tmpfs does not have it."""
        done, rest = "", [part for part in target.split("/") if part]
        while rest:
            try:
                found = syscalls.open_beneath(
                    view, "/".join(filter(None, (done, rest[0]))), os.O_PATH
                )
            except FileNotFoundError:
                break
            except OSError as error:
                raise Failed(f"sandbox: {target}: {error.strerror}") from None
            try:
                done = _path_of(found, view)
            finally:
                os.close(found)
            rest.pop(0)
        if not rest or done.split("/")[0] in _MEMORY:
            return
        if rest[0] == ".." or ".." in rest:
            raise Failed(f"sandbox: {target}: expected a path without ..")
        self._copy_folders(view, done)
        place = "/".join(filter(None, ("stubs", done)))
        for position, part in enumerate(rest):
            place += f"/{part}"
            if os.path.isdir(place):
                continue
            if folder or position < len(rest) - 1:
                os.mkdir(place, 0o755)
            else:
                os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))
        self._copy_folders(view, done)  # again, for the times

    def _copy_folders(self, view: int, path: str) -> None:
        place = ""
        for part in filter(None, path.split("/")):
            place = f"{place}/{part}".lstrip("/")
            if not os.path.isdir(f"stubs/{place}"):
                os.mkdir(f"stubs/{place}")
        # From the inside out, as a folder made in another changes its time.
        while place:
            self._copy_attributes(view, place, f"stubs/{place}")
            place = place.rpartition("/")[0]
        self._copy_attributes(view, "", "stubs")

    def _copy_attributes(self, view: int, path: str, place: str) -> None:
        source = f"/proc/self/fd/{view}/{path}"
        found = os.stat(source)
        os.chown(place, found.st_uid, found.st_gid)
        os.chmod(place, stat.S_IMODE(found.st_mode))
        for name in os.listxattr(source):
            if not name.startswith(("user.", "security.", "trusted.")):
                os.setxattr(place, name, os.getxattr(source, name))
        os.utime(place, ns=(found.st_atime_ns, found.st_mtime_ns))

    def _target(self, path: str) -> str:
        """Return a path that leads to the mount point `path` of the root, opened."""
        self._opened = syscalls.open_beneath(self._root, path, os.O_PATH)
        return f"/proc/self/fd/{self._opened}"

    def _mount_at(
        self, path: str, source: str, kind: str = "", flags: int = 0, options: str = ""
    ) -> None:
        target = self._target(path)
        try:
            syscalls.mount(source, target, kind, flags, options)
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"mount {kind or 'it'} on {path}") from None
        finally:
            os.close(self._opened)

    def _within(self, path: str) -> str:
        """Return `path` of the root for Python's own functions; `path` goes through no link."""
        return f"/proc/self/fd/{self._root}/{path}"

    def _mount_memory(self) -> None:
        self._mount_at("dev", "tmpfs", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755")
        # Through the mount that is on top: the path is opened once more.
        dev = syscalls.open_beneath(self._root, "dev", os.O_PATH)
        base = f"/proc/self/fd/{dev}"
        for name in _DEVICES:
            os.close(os.open(f"{base}/{name}", os.O_CREAT | os.O_WRONLY, 0o644))
            syscalls.mount(f"/dev/{name}", f"{base}/{name}", "", MS_BIND)
            # Devices can be written all the same, but root outside cannot change their modes.
            flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC
            syscalls.mount("", f"{base}/{name}", "", flags)
        for name, target in _DEVICE_LINKS.items():
            os.symlink(target, f"{base}/{name}")
        for name in ("shm", "pts"):
            os.mkdir(f"{base}/{name}", 0o755)
        syscalls.mount("tmpfs", f"{base}/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
        options = "newinstance,ptmxmode=0666,mode=620,gid=5"
        syscalls.mount("devpts", f"{base}/pts", "devpts", MS_NOSUID | MS_NOEXEC, options)
        os.close(dev)
        self._mount_at("tmp", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
        self._mount_at("run", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
        self._mount_at("sys", "tmpfs", "tmpfs", flags, "mode=755")
        home = syscalls.open_beneath(self._root, "tmp", os.O_PATH)
        os.mkdir(f"/proc/self/fd/{home}/home", 0o700)
        os.chown(f"/proc/self/fd/{home}/home", self._task["uid"], self._task["gid"])
        os.close(home)

    def _mount_proc(self) -> None:
        self._mount_at("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        proc = syscalls.open_beneath(self._root, "proc", os.O_PATH)
        base = f"/proc/self/fd/{proc}"
        _write(f"{base}/sys/user/max_user_namespaces", "0")
        # Before Linux 6.14 it is the whole machine's.
        if tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (6, 14):
            most = int(self._task["processes"]) + _SPARE_PIDS
            _write(f"{base}/sys/kernel/pid_max", str(most))
        if self._task["first_pid"]:
            _write(f"{base}/sys/kernel/ns_last_pid", str(self._task["first_pid"]))
        for name in _READ_ONLY_PROC:
            if os.path.exists(f"{base}/{name}"):
                self._mount_at(f"proc/{name}", f"{base}/{name}", "", MS_BIND | MS_REC)
                flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
                self._mount_at(f"proc/{name}", "", "", flags)
        for name in _HIDDEN_PROC:
            if os.path.isdir(f"{base}/{name}"):
                self._mount_at(f"proc/{name}", "tmpfs", "tmpfs", MS_RDONLY, "mode=755")
            elif os.path.exists(f"{base}/{name}"):
                self._mount_at(f"proc/{name}", "/dev/null", "", MS_BIND)
        os.close(proc)

    def _mount_cache(self, target: str) -> None:
        """Mount an empty tmpfs, with the mode and owner of the folder it hides, if there is one."""
        self._make_in_memory(target, folder=True)
        place = self._target(target)
        found = os.stat(place)
        os.close(self._opened)
        options = f"mode={stat.S_IMODE(found.st_mode):o},uid={found.st_uid},gid={found.st_gid}"
        self._mount_at(target, "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, options)

    def _bind(self, number: int, source: str, target: str) -> None:
        copy = f"copies/{number}"
        copied(source, copy)
        self._make_in_memory(target, folder=os.path.isdir(source))
        self._mount_at(target, copy, "", MS_BIND)
        self._mount_at(target, "", "", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)

    def _make_in_memory(self, target: str, *, folder: bool) -> None:
        """Make a mount point that is in a tmpfs of the sandbox, and so is no stub."""
        done, parts = "", [part for part in target.split("/") if part]
        for position, part in enumerate(parts):
            path = f"{done}/{part}".lstrip("/")
            try:
                found = syscalls.open_beneath(self._root, path, os.O_PATH)
            except FileNotFoundError:
                at = syscalls.open_beneath(self._root, done or ".", os.O_PATH)
                try:
                    if folder or position < len(parts) - 1:
                        os.mkdir(part, 0o755, dir_fd=at)
                    else:
                        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
                        os.close(os.open(part, flags, 0o644, dir_fd=at))
                finally:
                    os.close(at)
                done = path
                continue
            try:
                done = _path_of(found, self._root)
            finally:
                os.close(found)


def copied(source: str, place: str) -> None:
    """Copy a file or folder of this machine, as root's: modes and times, in seconds, stay."""
    if os.path.islink(source) or not os.path.isdir(source):
        shutil.copyfile(source, place)
        _settle(source, place)
        return
    os.mkdir(place)
    folders = [(source, place)]
    for one, made in folders:
        for entry in os.scandir(one):
            target = f"{made}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), target)
                when = int(entry.stat(follow_symlinks=False).st_mtime)
                os.utime(target, (when, when), follow_symlinks=False)
            elif entry.is_dir():
                os.mkdir(target)
                folders.append((entry.path, target))
            elif entry.is_file():
                shutil.copyfile(entry.path, target)
                _settle(entry.path, target)
            else:
                raise Failed(f"sandbox: {entry.path}: expected a file, folder or link")
    for one, made in reversed(folders):
        _settle(one, made)


def _settle(source: str, place: str) -> None:
    found = os.stat(source)
    os.chmod(place, stat.S_IMODE(found.st_mode) & 0o777)
    os.utime(place, (int(found.st_mtime), int(found.st_mtime)))


def _path_of(opened: int, root: int) -> str:
    """Return where in `root` an opened path is."""
    top = os.readlink(f"/proc/self/fd/{root}")
    return os.readlink(f"/proc/self/fd/{opened}").removeprefix(top).strip("/")


def _write(path: str, text: str) -> None:
    """Write a setting of this namespace, where the kernel has it there."""
    try:
        setting = os.open(path, os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(setting, text.encode())
    except OSError:
        pass
    finally:
        os.close(setting)
