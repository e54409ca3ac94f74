"""The process that a sandbox starts, and the first one inside: no thread, little imported.

The outer one makes a user namespace, waits until its ids are written, makes the others, and starts
the inner one, the first process there. It watches two things: that the builder lives, whose end of
the socket closes with it, and the time. When it ends, the kernel ends the inner one, and with it
all processes there. What is said goes over the socket, a line of JSON each.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from typing import Any, Final

from immutable.sandbox import syscalls
from immutable.sandbox.syscalls import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)

__all__ = ["Failed", "main"]

_OTHERS: Final = (
    CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP
)
_PIECE: Final = 1 << 16
# What the kernel says where this machine, not the command, is why.
_REFUSALS: Final = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL, errno.ENODEV)


class Failed(Exception):  # noqa: N818 - names say what happened
    """Work that cannot be done, with the line that says why."""


def main(control: int) -> None:
    """Do what the builder at the other end of `control` says, and end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    os.umask(0o022)
    channel = socket.socket(fileno=control)
    syscalls.set_name("sandbox")
    try:
        syscalls.unshare(CLONE_NEWUSER)
        _tell(channel, {"mapped": False})
        task = _told(channel)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        # The namespace of processes is for children alone; the builder's own is left.
        syscalls.unshare(_OTHERS)
        inner = os.fork()
        if inner == 0:
            _inside(channel, task)
        _watch(channel, inner, float(task.get("seconds", 0)))
    except OSError as error:
        _tell(channel, {"refused": [error.errno or 0, str(error.filename or error)]})


def _watch(channel: socket.socket, inner: int, seconds: float) -> None:
    """Wait for `inner`; end it when its time is over or the builder is gone."""
    until = time.monotonic() + seconds if seconds else None
    waiting = os.pidfd_open(inner)
    poll = select.poll()
    poll.register(waiting, select.POLLIN)
    poll.register(channel, select.POLLIN | select.POLLHUP)
    while True:
        left = None if until is None else max(0.0, until - time.monotonic()) * 1000
        found = dict(poll.poll(left))
        if waiting in found:
            break
        if channel.fileno() in found or not found:
            os.kill(inner, signal.SIGKILL)
            os.waitpid(inner, 0)
            if not found:
                _tell(channel, {"late": True})
            return
    _, status = os.waitpid(inner, 0)
    if os.waitstatus_to_exitcode(status):
        _tell(channel, {"failed": f"ended by {os.waitstatus_to_exitcode(status)} inside"})


def _inside(channel: socket.socket, task: dict[str, Any]) -> None:
    """Do the task as the first process of the namespaces."""
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        syscalls.set_dumpable(False)
        _tell(channel, _done(task))
    except Failed as error:
        _tell(channel, {"failed": str(error)})
    except OSError as error:
        what = str(error.filename or "")
        if error.errno in _REFUSALS and what.startswith(("mount", "pivot_root", "unshare")):
            _tell(channel, {"refused": [error.errno or 0, what]})
        else:
            _tell(channel, {"failed": str(error)})
    except BaseException as error:  # noqa: BLE001 - the builder raises it
        if type(error).__module__ == "immutable.errors":
            _tell(channel, {"failed": str(error)})
        else:
            _tell(channel, {"failed": "".join(traceback.format_exception(error))})
    finally:
        os._exit(0)


def _done(task: dict[str, Any]) -> dict[str, Any]:
    kind = task["task"]
    if kind == "run":
        from immutable.sandbox import inside

        return inside.run(task)
    if kind == "unpack":
        from immutable.sandbox import unpack

        return unpack.unpack(task)
    if kind == "remove":
        from immutable.sandbox import removal

        for path in task["paths"]:
            removal.remove(path)
        return {"done": True}
    raise Failed(f"expected a task, found {kind}")


def _tell(channel: socket.socket, what: dict[str, Any]) -> None:
    try:
        channel.sendall(json.dumps(what).encode() + b"\n")
    except OSError:  # the builder is gone
        os._exit(1)


def _told(channel: socket.socket) -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        piece = channel.recv(_PIECE)
        if not piece:  # the builder is gone
            os._exit(1)
        line += piece
    task: dict[str, Any] = json.loads(line)
    return task


if __name__ == "__main__":
    main(int(sys.argv[1]))
