"""Processes in namespaces, seen from outside: started, given ids and a task, and ended.

No fork of this process, which has threads: a Python of its own is started, which imports little.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from immutable.errors import NoNamespaces, SandboxError
from immutable.sandbox import ids
from immutable.sandbox.ids import IdMap

__all__ = ["Namespaces"]

_PIECE: Final = 1 << 20
_GRACE: Final = 10
# The isolated Python finds what this one does; the first word is where the package is.
_BOOT: Final = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[2]); "
    "from immutable.sandbox import child; child.main(int(sys.argv[1]))"
)


class Namespaces:
    """Starts processes in namespaces with the ids of `id_map`; may be used by many threads."""

    def __init__(self, id_map: IdMap) -> None:
        self.id_map = id_map
        self._lock = threading.Lock()
        self._channels: set[socket.socket] = set()
        self._closed = False

    def close(self) -> None:
        """End all of them; those that wait for one raise SandboxError."""
        with self._lock:
            self._closed = True
            for channel in self._channels:
                with contextlib.suppress(OSError):
                    channel.shutdown(socket.SHUT_RDWR)

    def do(
        self, task: Mapping[str, Any], *, given: BinaryIO | None = None, kept: int = 0
    ) -> tuple[dict[str, Any], bytes]:
        """Do a task; return what it says, and the last `kept` bytes of its output.

        `given` is copied to its stdin. However this ends, what was started is over. Raises
        NoNamespaces where there can be none, SandboxError for what failed within.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._add(ours)
            try:
                process = self._started(theirs.fileno(), piped=given is not None)
                theirs.close()
                try:
                    return self._talk(process, ours, task, given, kept)
                finally:
                    with contextlib.suppress(OSError):
                        ours.shutdown(socket.SHUT_RDWR)
                    _end(process)
            finally:
                with self._lock:
                    self._channels.discard(ours)

    def _add(self, channel: socket.socket) -> None:
        with self._lock:
            if self._closed:
                raise SandboxError("sandbox: closed while a command was to be run")
            self._channels.add(channel)

    def _started(self, control: int, *, piped: bool) -> subprocess.Popen[bytes]:
        paths = [str(Path(__file__).parents[2]), *(path for path in sys.path if path)]
        return subprocess.Popen(  # noqa: S603 - this Python
            [sys.executable, "-I", "-S", "-c", _BOOT, str(control), json.dumps(paths)],
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(control,),
            cwd="/",
            env={"LANG": "C.UTF-8"},
        )

    def _talk(
        self,
        process: subprocess.Popen[bytes],
        channel: socket.socket,
        task: Mapping[str, Any],
        given: BinaryIO | None,
        kept: int,
    ) -> tuple[dict[str, Any], bytes]:
        lines = channel.makefile("rb")
        first = _read(lines.readline())
        _check(first)
        self.id_map.write(process.pid)
        channel.sendall(json.dumps(dict(task)).encode() + b"\n")
        if given is not None and process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it says why it reads no more
                while piece := given.read(_PIECE):
                    process.stdin.write(piece)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        output, said = _drained(process, channel, max(kept, 1 << 12))
        lines.close()
        answer = _read(said.partition(b"\n")[0], output)
        _check(answer)
        return answer, output[-kept:] if kept else b""


def _drained(
    process: subprocess.Popen[bytes], channel: socket.socket, kept: int
) -> tuple[bytes, bytes]:
    """Return the end of the output, and what is said on the channel, when both have ended."""
    output, said = bytearray(), bytearray()
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(channel, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                try:
                    piece = os.read(key.fd, 1 << 16)
                except ConnectionResetError:
                    piece = b""
                if not piece:
                    selector.unregister(key.fileobj)
                elif key.fileobj is channel:
                    said += piece
                else:
                    output += piece
                    if len(output) > 2 * kept:
                        del output[:-kept]
    return bytes(output), bytes(said)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _read(line: bytes, output: bytes = b"") -> dict[str, Any]:
    if not line:
        said = output.decode(errors="replace").strip()[-500:]
        raise SandboxError(f"sandbox: ended before its time{': ' if said else ''}{said}")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _check(answer: Mapping[str, Any]) -> None:
    if "refused" in answer:
        code, what = answer["refused"]
        raise NoNamespaces(ids.explain(code, what))
    if "failed" in answer:
        raise SandboxError(answer["failed"])
