"""A command run as a child of the first process of its namespaces, and its changes read."""

# Little is imported, as a process starts with it; paths are looked up in folders that are open.
# ruff: noqa: PTH100, PTH102
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Mapping
from typing import Any, Final

from immutable.sandbox import changed, mounts, seccomp, syscalls

__all__ = ["run"]

_LOOK: Final = 0.1  # seconds between looks at memory and processes
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_FILES: Final = 1024
_STACK: Final = 8 << 20
_DEFAULTS: Final = (signal.SIGPIPE, signal.SIGXFSZ)


def run(task: Mapping[str, Any]) -> dict[str, Any]:
    """Run the command of `task`; return its status once its difference is written."""
    os.chdir(task["folder"])
    os.mkdir("scratch")
    os.mkdir("changes")
    changes = os.path.abspath("changes")
    difference = os.open("difference.tar", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    mounts.prepare("scratch")
    os.chdir("scratch")
    in_memory = bool(task["memory_upper"]) and _in_memory()
    root = mounts.Root(task)
    upper = root.mount("memory" if in_memory else changes)
    syscalls.set_hostname("localhost")
    _loopback_up()
    root.enter()
    began = time.monotonic()
    started = _start(task, upper, difference)
    status, limit = _wait(started, task)
    if limit:
        return {"limit": limit}
    size = changed.write(upper, difference)
    return {"status": status, "size": size, "in_memory": in_memory, "began": began}


def _in_memory() -> bool:
    """Mount a tmpfs for the changes; tell whether it can hold the marks of an overlay."""
    os.mkdir("memory")
    syscalls.mount("tmpfs", "memory", "tmpfs", 0, "mode=755")
    try:
        os.setxattr("memory", "user.overlay.test", b"y")
        os.removexattr("memory", "user.overlay.test")
    except OSError:  # before Linux 6.6
        return False
    return True


def _loopback_up() -> None:
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, contextlib.suppress(OSError):
        fcntl.ioctl(one, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def _start(task: Mapping[str, Any], *others: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        for one in others:
            os.close(one)
        _become(task)
    except OSError as error:
        said = f"{task['argv'][0]}: {error.strerror}"
        if isinstance(error.filename, str) and error.filename != task["argv"][0]:
            said += f": {error.filename}"
        os.write(2, said.encode(errors="backslashreplace") + b"\n")
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    finally:
        os._exit(126)


def _become(task: Mapping[str, Any]) -> None:
    """Become the command: nothing of this process is left to it, and no right it could misuse."""
    os.setsid()
    _stdin(bytes.fromhex(task["stdin"]))
    syscalls.join_new_keyring()
    syscalls.personality(0 if task["random_addresses"] else syscalls.ADDR_NO_RANDOMIZE)
    if task["one_processor"]:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    _limit(task)
    for number in _DEFAULTS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)
    seccomp.install()
    syscalls.bound_capabilities(syscalls.KEPT_CAPABILITIES)
    os.setgroups(task["groups"])
    os.setresgid(task["gid"], task["gid"], task["gid"])
    os.setresuid(task["uid"], task["uid"], task["uid"])
    syscalls.drop_capabilities(syscalls.KEPT_CAPABILITIES if task["uid"] == 0 else 0)
    os.chdir(task["workdir"])
    env = task["env"]
    os.execvpe(task["argv"][0], task["argv"], env)  # noqa: S606 - what was asked for


def _stdin(data: bytes) -> None:
    if data:
        given = os.memfd_create("stdin")
        os.write(given, data)
        os.lseek(given, 0, os.SEEK_SET)
    else:
        given = os.open("/dev/null", os.O_RDONLY)
    os.dup2(given, 0)


def _limit(task: Mapping[str, Any]) -> None:
    """Set limits that are the same everywhere, as far as this machine's own allow it."""
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _FILES,
        resource.RLIMIT_STACK: _STACK,
        resource.RLIMIT_NPROC: task["processes"],
    }
    if task["memory"] is not None:
        wanted[resource.RLIMIT_DATA] = task["memory"]
    for which, soft in wanted.items():
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            soft = min(soft, hard)
        if which in (resource.RLIMIT_NOFILE, resource.RLIMIT_STACK):
            resource.setrlimit(which, (soft, hard))
        else:
            resource.setrlimit(which, (soft, soft))


def _wait(started: int, task: Mapping[str, Any]) -> tuple[int, str]:
    """Wait for the command, then end what it left; return its status, or the limit it passed."""
    limit, status, pause = "", 0, 0.002
    looked = time.monotonic()
    while not limit:
        pid, found = os.waitpid(-1, os.WNOHANG)
        if pid == started:
            status = os.waitstatus_to_exitcode(found)
            break
        if pid:
            continue
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
        if time.monotonic() - looked >= _LOOK:
            limit, looked = _passed(task), time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    return status, limit


def _passed(task: Mapping[str, Any]) -> str:
    """Return the name of the limit that the processes passed together; empty if none."""
    found = [name for name in os.listdir("/proc") if name.isdecimal()]
    if len(found) - 1 > task["processes"]:
        return "processes"
    if task["memory"] is None:
        return ""
    held = 0
    for name in found:
        if name == "1":
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{name}/statm", "rb") as file:
                words = file.read().split()
            held += (int(words[1]) - int(words[2])) * _PAGE  # resident, less what is shared
    return "memory" if held > task["memory"] else ""
