"""System calls that fail or kill, by strace, and what becomes of a store then.

As a program: ``python -m tests.long.kills`` fails and kills at every call there is.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

from immutable.store.check import check
from tests.long import victims

# Those with which a store is changed.
CALLS = [
    *("openat", "write", "pwrite64", "rename", "link", "unlink", "mkdir", "chmod", "fchmod"),
    *("ftruncate", "fallocate", "fsync", "fdatasync", "flock"),
]
KILL = "signal=SIGKILL"
# Which calls can fail so.
ERRORS = {
    "ENOSPC": ["openat", "write", "pwrite64", "rename", "mkdir", "ftruncate", "fsync", "fdatasync"],
    "EIO": [call for call in CALLS if call != "flock"],
    "EMFILE": ["openat"],
}


@frozen
class Victims:
    """Where processes come from that are stopped before they act."""

    process: subprocess.Popen[str]

    def run(self, act: str, root: Path, log: Path, *options: str) -> int:
        """Let one act on the store at `root` under strace; return its status, negative if killed.

        `log` gets what it called.
        """
        assert self.process.stdin is not None
        print(act, root, file=self.process.stdin, flush=True)
        pid = int(self._line())
        with subprocess.Popen(
            ["strace", "-o", str(log), *options, "-p", str(pid)],
            stderr=subprocess.PIPE,
            text=True,
        ) as strace:
            assert strace.stderr is not None
            attached = strace.stderr.readline()
            os.kill(pid, signal.SIGCONT)
            status = int(self._line())
            rest = strace.stderr.read()
        assert "attached" in attached, attached + rest
        return status

    def run_freely(self, act: str, root: Path) -> int:
        """Let one act on the store at `root`; return its status."""
        return self.strike(act, root, None)

    def strike(self, act: str, root: Path, seconds: float | None) -> int:
        """Let one act on the store at `root`, kill it after so long; return its status."""
        assert self.process.stdin is not None
        print(act, root, file=self.process.stdin, flush=True)
        pid = int(self._line())
        handle = os.pidfd_open(pid)  # a number may be another process's by then
        try:
            os.kill(pid, signal.SIGCONT)
            if seconds is not None:
                time.sleep(seconds)  # of no use but to choose the moment
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
        return int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@contextmanager
def waiting() -> Iterator[Victims]:
    """Give victims."""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-m", "tests.long.victims"],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Victims(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


@frozen
class Trial:
    """An act, on a new store or on one that has been built in, and the nth call of a kind."""

    act: str
    fresh: bool
    call: str
    nth: int
    what: str

    def __str__(self) -> str:
        where = "a new store" if self.fresh else "a store"
        return f"{self.act} in {where}: {self.what} at {self.call} {self.nth}"


@frozen
class Range:
    """Stores to try things on, in a folder; `digests` are those of what is built."""

    folder: Path
    victims: Victims
    digests: Mapping[str, str]

    @classmethod
    def prepare(cls, folder: Path, found: Victims) -> Range:
        """Make the store that the trials start from, with two generations and a cache."""
        template = folder / "template"
        for text in (b"one", b"two"):
            victims.build(template, text)
        spare = folder / "spare"
        made = {act.__name__: act(spare) for act in (victims.build, victims.spec)}
        return cls(folder, found, made)

    def count(self, act: str, *, fresh: bool) -> Counter[str]:
        """Return how often the act makes each call."""
        log = self.folder / "log"
        root = self._store(fresh=fresh)
        calls = ",".join(CALLS)
        assert 0 == self.victims.run(act, root, log, "-e", f"trace={calls}")
        assert () == check(root)
        return Counter(re.findall(r"^(\w+)\(", log.read_text(), re.MULTILINE))

    def trials(self, act: str, whats: dict[str, list[str]], *, fresh: bool) -> list[Trial]:
        """Return every trial there is."""
        counts = self.count(act, fresh=fresh)
        return [
            Trial(act, fresh, call, nth, what)
            for what, calls in whats.items()
            for call in calls
            for nth in range(1, counts[call] + 1)
        ]

    def attempt(self, trial: Trial) -> None:
        """Fail unless the store is whole after the trial, and builds what it should."""
        root = self._store(fresh=trial.fresh)
        log = self.folder / "log"
        inject = f"inject={trial.call}:{trial.what}:when={trial.nth}"
        status = self.victims.run(trial.act, root, log, "-e", f"trace={trial.call}", "-e", inject)
        if trial.what == KILL:
            assert -signal.SIGKILL == status, trial
        else:
            assert status in (0, victims.REFUSED), trial
            assert "(INJECTED)" in log.read_text(), trial
        self._expect_whole(root, trial.act, str(trial))

    def duration(self, act: str, *, fresh: bool) -> float:
        """Return about how many seconds the act takes."""
        root = self._store(fresh=fresh)
        began = time.monotonic()
        assert 0 == self.victims.run_freely(act, root)
        return time.monotonic() - began

    def strike(self, act: str, seconds: float, *, fresh: bool) -> bool:
        """Kill the act after so long; fail as `attempt` does. Return whether it was still at it."""
        root = self._store(fresh=fresh)
        status = self.victims.strike(act, root, seconds)
        assert status in (0, -signal.SIGKILL), f"{act} killed after {seconds} s"
        self._expect_whole(root, act, f"{act} killed after {seconds} s")
        return status != 0

    def _expect_whole(self, root: Path, act: str, what: str) -> None:
        if root.exists():  # killed before it was made
            assert () == check(root), what
        again = victims.spec if act == "spec" else victims.build
        assert self.digests[again.__name__] == again(root), what
        assert () == check(root), what
        left = [*root.glob("tmp/*"), *root.glob("leases/*"), *root.glob(".immutable-*")]
        assert [] == left, what

    def _store(self, *, fresh: bool) -> Path:
        root = self.folder / "store"
        if root.exists():
            shutil.rmtree(root)
        if not fresh:
            shutil.copytree(self.folder / "template", root)
        return root


SCENES = (
    ("build", True),
    ("build", False),
    ("prune", False),
    ("rollback", False),
)


def main() -> None:
    """Try everything."""
    with tempfile.TemporaryDirectory() as folder, waiting() as found:
        ground = Range.prepare(Path(folder), found)
        for act, fresh in SCENES:
            errors = {f"error={name}": calls for name, calls in ERRORS.items()}
            trials = ground.trials(act, {KILL: CALLS, **errors}, fresh=fresh)
            for trial in trials:
                ground.attempt(trial)
            print(act, "in a new store:" if fresh else "in a store:", len(trials))  # noqa: T201


if __name__ == "__main__":
    main()
