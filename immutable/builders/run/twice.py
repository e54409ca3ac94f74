"""Running a command twice, in surroundings that differ: what comes out the same is a layer."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

from attrs import frozen
from typing_extensions import override

from immutable.builders.base import Inputs, LowerLayer
from immutable.content.entries import Entry, show
from immutable.content.rootfs import Rootfs
from immutable.errors import CommandError
from immutable.progress import Progress
from immutable.sandbox.command import Command, Layer, Limits, Ran, Surroundings
from immutable.sandbox.difference import Difference, changes
from immutable.sandbox.twice import differing, told
from immutable.spec.derivation import Job

APART: Final = 1.2  # seconds from run to run: some programs write times in whole ones
_LOOK: Final = 0.1  # seconds from one look at whether the build goes on to the next
_LAST: Final = 40  # lines of output that a message has


class Runs(Protocol):
    """What runs commands: `immutable.sandbox.run.Sandbox`."""

    def run(
        self,
        layers: Sequence[Layer],
        command: Command,
        surroundings: Surroundings,
        limits: Limits,
    ) -> Ran:
        """Run a command over the layers, bottom first."""

    def close(self) -> None:
        """End what runs in another thread."""


def _sandbox(folder: Path, progress: Progress) -> AbstractContextManager[Runs]:
    from immutable.sandbox.run import Sandbox  # a build that finds all its layers does without

    return Sandbox.open(folder, progress)


@frozen
class Machine:
    """What commands are run with: a sandbox, by the folder that it has to itself, and a clock."""

    sandbox: Callable[[Path, Progress], AbstractContextManager[Runs]] = _sandbox
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep


MACHINE: Final = Machine()


@frozen
class Twice:
    """A command that is to be run twice for the layer of `job`.

    `mounts` are paths that are no part of what it changes: its inputs and caches.
    """

    job: Job
    command: Command
    limits: Limits
    mounts: tuple[str, ...]
    inputs: Inputs
    machine: Machine

    def entries(self) -> Sequence[Entry]:
        """Return what the command changes.

        Raises CommandError where it fails, or where the second run changes something else.
        """
        beneath = self.inputs.beneath.everything()
        layers = [Layer(one.diff_id, _opener(one)) for one in beneath.layers]
        folder = self.inputs.config.cache / "sandbox"
        with self.machine.sandbox(folder, self.inputs.progress) as sandbox:
            ran = self._run(sandbox, layers, 1)
            ended = self.machine.now()
            first = self._changes(ran, beneath.rootfs)
            # From start to start: a time that is written so long after it differs by as much.
            self.machine.sleep(max(0.0, ran.began + APART - self.machine.now()))
            ran = self._run(sandbox, layers, 2)
            if self.machine.now() < ended + APART:
                # It was much quicker, as files are in memory now: a time that both wrote at their
                # end may be the same. What is so quick can be run once more.
                self.machine.sleep(ended + APART - self.machine.now())
                ran = self._run(sandbox, layers, 2)
            second = self._changes(ran, beneath.rootfs)
        if found := differing(first.entries, second.entries):
            raise CommandError(told(self.job.name, found))
        for one in first.left_out:
            self.inputs.progress.note(
                f'layer "{self.job.name}": /{show(one.path)} is left out: {one.why}'
            )
        return first.entries

    def _run(self, sandbox: Runs, layers: Sequence[Layer], number: int) -> Ran:
        with self.inputs.progress.task(f"running {self.job.name} ({number}/2)"):
            ran = self._watched(sandbox, layers, number)
        if ran.status:
            again = "the second time, " if number == 2 else ""
            raise CommandError(
                f'layer "{self.job.name}": {again}the command {_ended(ran.status)}{_said(ran)}'
            )
        return ran

    def _watched(self, sandbox: Runs, layers: Sequence[Layer], number: int) -> Ran:
        """Run the command in a thread of its own, so that it ends where the build is given up."""
        with ThreadPoolExecutor(1, "run") as pool:
            work = pool.submit(sandbox.run, layers, self.command, Surroundings(number), self.limits)
            try:
                while not wait([work], _LOOK).done:
                    self.inputs.check()
            except BaseException:
                sandbox.close()
                raise
            return work.result()

    def _changes(self, ran: Ran, beneath: Rootfs) -> Difference:
        options = self.job.options
        with ran.difference.open("rb") as tar:
            return changes(
                tar,
                beneath,
                scratch=self.inputs.scratch(),
                mtime=self.job.derivation.mtime,
                keep=options["keep"],
                drop=options["drop"],
                mounts=self.mounts,
            )


def _ended(status: int) -> str:
    return f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"


def _said(ran: Ran) -> str:
    """Return the last lines of what was written, for a message."""
    lines = ran.output.decode("utf-8", "backslashreplace").splitlines()
    if not lines:
        return ", and wrote nothing"
    shown = ("".join(map(_printable, line.expandtabs())) for line in lines[-_LAST:])
    return ":" + "".join(f"\n  {line}" for line in shown)


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def _opener(layer: LowerLayer) -> Callable[[], BinaryIO]:
    return lambda: cast("BinaryIO", io.BufferedReader(_Tar(layer.open()), 1 << 20))


class _Tar(io.RawIOBase):
    """The stream that a block gives; closing it leaves the block, which may find it damaged."""

    def __init__(self, opened: AbstractContextManager[BinaryIO]) -> None:
        self._stack = ExitStack()
        self._stream = self._stack.enter_context(opened)

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    @override
    def close(self) -> None:
        if not self.closed:
            super().close()
            self._stack.close()
