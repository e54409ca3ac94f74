"""A sandbox that runs Python functions over files in memory, and a clock that nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import define, field, frozen

from immutable.builders.run import twice
from immutable.builders.run.twice import Machine
from immutable.content import tar
from immutable.content.entries import EntryKind
from immutable.oci.digest import Digest
from immutable.progress import Progress
from immutable.sandbox.command import Command, Layer, Limits, Ran, Surroundings
from tests.support.archives import END


@frozen
class Given:
    """What a program finds: the files beneath, those that are mounted, and what it was told."""

    files: Mapping[str, bytes]
    mounted: Mapping[str, bytes]
    command: Command
    limits: Limits
    number: int


@frozen
class Done:
    """What came of a program: members of its difference's tar, and how it ended."""

    members: Sequence[bytes] = ()
    status: int = 0
    output: bytes = b""


Program = Callable[[Given], Done]


@define
class FakeMachine:
    """Runs `program` for every command; remembers what it was `given`, and how long was waited."""

    folder: Path
    program: Program
    given: list[Given] = field(factory=list)
    waited: float = 0.0
    closed: threading.Event = field(factory=threading.Event)

    @classmethod
    def instead(cls, folder: Path, patch: pytest.MonkeyPatch, program: Program) -> FakeMachine:
        """Return one that is used for all commands from now on."""
        made = cls(folder, program)
        folder.mkdir(parents=True, exist_ok=True)

        def sleep(seconds: float) -> None:
            made.waited += seconds

        machine = Machine(made.sandbox, now=lambda: made.waited, sleep=sleep)
        patch.setattr(twice, "MACHINE", machine)
        return made

    @contextmanager
    def sandbox(self, folder: Path, progress: Progress) -> Iterator[FakeMachine]:
        """Give itself."""
        yield self

    def close(self) -> None:
        """Tell a program that waits for it."""
        self.closed.set()

    def run(
        self,
        layers: Sequence[Layer],
        command: Command,
        surroundings: Surroundings,
        limits: Limits,
    ) -> Ran:
        """Run the program over the files of all layers."""
        files: dict[str, bytes] = {}
        for layer in layers:
            with layer.open() as stream:
                assert layer.diff_id == Digest.of(stream.read())
            with layer.open() as stream:
                for member in tar.read(stream, name="layer"):
                    if member.entry.kind is EntryKind.FILE:
                        files[member.entry.path.decode()] = member.read()
        mounted = {
            f"{bind.target}/{path.relative_to(bind.source)}".removesuffix("/."): path.read_bytes()
            for bind in command.binds
            for path in (bind.source, *bind.source.rglob("*"))
            if path.is_file()
        }
        began = self.waited
        given = Given(files, mounted, command, limits, surroundings.number)
        self.given.append(given)
        done = self.program(given)
        difference = self.folder / f"{len(self.given)}.tar"
        difference.write_bytes(b"".join(done.members) + END)
        return Ran(done.status, done.output, difference, began)
