"""Run commands in turn, several times, and print medians and ratios."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field


@define
class Contestant:
    """A command with what has to be done before each run, not timed."""

    name: str
    command: Sequence[str]
    prepare: Callable[[], object] = lambda: None
    environment: dict[str, str] = field(factory=dict)
    needs: str = ""
    seconds: list[float] = field(factory=list)

    @property
    def missing(self) -> bool:
        """Whether this machine lacks the program."""
        return bool(self.needs) and shutil.which(self.needs) is None

    def run(self) -> None:
        """Run once, and keep how many seconds it took from start to end."""
        self.prepare()
        began = time.perf_counter()
        done = subprocess.run(
            self.command,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.seconds.append(time.perf_counter() - began)
        if done.returncode:
            sys.exit(f"{self.name}: exit status {done.returncode}\n{done.stdout}{done.stderr}")


def hold(title: str, contestants: Sequence[Contestant], rounds: int) -> None:
    """Run each contestant in turn, `rounds` times after one to warm up; print the results."""
    print(f"\n{title}: {rounds} rounds in turn, after one to warm up")
    present = [one for one in contestants if not one.missing]
    for one in contestants:
        if one.missing:
            print(f"  {one.name}: not run, {one.needs} is not installed")
    for number in range(rounds + 1):
        for one in present:
            one.run()
            if not number:
                one.seconds.clear()
    ours = statistics.median(present[0].seconds)
    for one in present:
        median = statistics.median(one.seconds)
        spread = f"{min(one.seconds):.2f} to {max(one.seconds):.2f}"
        ratio = f"{ours / median:.2f} of it" if one is not present[0] else ""
        print(f"  {one.name:<34} {median:8.2f} s   ({spread})   {ratio}")


@contextmanager
def workplace() -> Iterator[Path]:
    """Give an empty folder that goes afterwards; on $TMPDIR's disk."""
    with tempfile.TemporaryDirectory(prefix="immutable-bench-") as folder:
        yield Path(folder)


def empty(path: Path) -> None:
    """Remove what is at `path`, if anything."""
    shutil.rmtree(path, ignore_errors=True)
