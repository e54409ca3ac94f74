"""The sandbox: a command over layers, in namespaces of its own, and the difference it makes."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from immutable.errors import SandboxError
from immutable.progress import Progress
from immutable.sandbox import ids
from immutable.sandbox.command import ENVIRONMENT, Command, Layer, Limits, Ran, Surroundings
from immutable.sandbox.folders import Session, dead_sessions, private
from immutable.sandbox.namespaces import Namespaces
from immutable.sandbox.unpacked import Unpacked

__all__ = ["Sandbox"]

_FIRST_PID = 1000


class Sandbox(AbstractContextManager["Sandbox"]):
    """Runs commands in namespaces; may be used by several threads. Made by `open`."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._progress = progress
        self._namespaces = Namespaces(ids.find())
        name = self._namespaces.id_map.name
        private(folder)
        self._lock = threading.Lock()
        self._closed = False
        self._unpacked = Unpacked(folder / "unpacked", self._namespaces, self._check_open)
        self._sweep(folder / "sessions", name)
        self._session = Session(folder / "sessions", name)

    @classmethod
    def open(cls, folder: Path, progress: Progress) -> Self:
        """Open the sandbox whose files are in `folder`, which is made if it is not there.

        What sandboxes left that were killed is removed. Raises NoNamespaces where this user can
        have none, saying what to do.
        """
        return cls(folder, progress)

    def run(
        self,
        layers: Sequence[Layer],
        command: Command,
        surroundings: Surroundings,
        limits: Limits,
    ) -> Ran:
        """Run `command` over `layers`, bottom first, and return how it ended.

        When this returns or raises, whatever the reason, all its processes are over. A run whose
        changes are in memory and that fails is made once more on disk: memory may have been too
        small. Raises NoNamespaces where the kernel refuses, SandboxError past a limit, EntryError
        or ArchiveError in a SandboxError's words for layers and changes that cannot be.
        """
        with self._lock:
            lowers = self._unpacked.lowers(layers)
        second = surroundings.number != 1
        ran = self._run(lowers, command, limits, second=second, in_memory=second)
        if ran.status and second:
            ran = self._run(lowers, command, limits, second=True, in_memory=False)
        return ran

    def close(self) -> None:
        """End what runs, and remove every difference."""
        if self._closed:
            return
        self._closed = True
        id_map = self._namespaces.id_map
        self._namespaces.close()
        self._unpacked.close()
        _remove(self._session.folder, Namespaces(id_map))
        self._session.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxError("sandbox: closed while a command was to be run")

    def _sweep(self, sessions: Path, name: str) -> None:
        for folder, lock in dead_sessions(sessions, name):
            try:
                if folder.exists():
                    _remove(folder, self._namespaces)
                lock.path.unlink(missing_ok=True)
            finally:
                lock.close()
        self._unpacked.sweep()

    def _run(
        self, lowers: list[str], command: Command, limits: Limits, *, second: bool, in_memory: bool
    ) -> Ran:
        folder = self._session.new()
        task = _task(command, limits) | {
            "folder": str(folder),
            "lowers": lowers,
            "memory_upper": in_memory,
            "one_processor": second,
            "random_addresses": second,
            "first_pid": _FIRST_PID if second else 0,
        }
        answer, output = self._namespaces.do(task, kept=limits.output)
        if answer.get("late"):
            raise SandboxError(
                f"sandbox: expected the command to be over in {limits.seconds} seconds, found it "
                "running; it was ended"
            )
        if answer.get("limit") == "memory":
            raise SandboxError(
                f"sandbox: expected at most {limits.memory} bytes of memory, found more; the "
                "command was ended"
            )
        if answer.get("limit"):
            raise SandboxError(
                f"sandbox: expected at most {limits.processes} processes, found more; the command "
                "was ended"
            )
        return Ran(answer["status"], output, folder / "difference.tar", answer["began"])


def _task(command: Command, limits: Limits) -> dict[str, Any]:
    return {
        "task": "run",
        "argv": list(command.argv),
        "env": dict(ENVIRONMENT) | dict(command.env),
        "workdir": command.workdir,
        "uid": command.uid,
        "gid": command.gid,
        "groups": list(command.groups),
        "binds": [{"source": str(b.source.absolute()), "target": b.target} for b in command.binds],
        "caches": list(command.caches),
        "stdin": command.stdin.hex(),
        "seconds": limits.seconds,
        "memory": limits.memory,
        "processes": limits.processes,
    }


def _remove(folder: Path, namespaces: Namespaces) -> None:
    """Remove a folder, part of which may be of a sandbox's ids."""
    inner = [str(path) for path in folder.iterdir()]
    if inner:
        namespaces.do({"task": "remove", "paths": inner})
    shutil.rmtree(folder)
