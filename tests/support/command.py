"""The command line as people use it: in this process, and as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from immutable import cli

PATIENCE = 60.0  # seconds; what takes longer hangs
HELLO = """\
spec-version = 1
[image]
name = "{name}"
platforms = [{platforms}]
tags = [{tags}]
[[layer]]
name = "files"
kind = "files"
entries = [{{ path = "/etc/motd", text = "{text}" }}]
"""
DEBIAN = """\
spec-version = 1
[image]
name = "runtime"
platforms = ["linux/amd64"]
[[layer]]
name = "runtime"
kind = "debian"
suite = "bookworm"
packages = ["hello"]
pockets = []
"""


@frozen
class Done:
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document on stdout."""
        return json.loads(self.out)


@frozen
class Shell:
    """A folder to work in and a store, with nothing of this machine's own settings.

    `run` runs a command in this process, `start` as a process of its own.
    """

    folder: Path
    capture: pytest.CaptureFixture[str]
    environ: Mapping[str, str]

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.folder.parent / "store"

    def run(self, *args: object) -> Done:
        """Run a command, and take what it wrote."""
        self.capture.readouterr()
        status = cli.main([str(arg) for arg in args])
        written = self.capture.readouterr()
        return Done(status, written.out, written.err)

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def hello(
        self,
        name: str = "hello.toml",
        *,
        image: str = "hello",
        tags: str = "",
        text: str = "hello",
        platforms: str = '"linux/amd64"',
    ) -> Path:
        """Write a spec that needs nothing from outside."""
        spec = HELLO.format(name=image, tags=tags, text=text, platforms=platforms)
        return self.write(name, spec)

    @contextmanager
    def start(self, *args: object, **settings: Any) -> Iterator[subprocess.Popen[str]]:
        """Run a command in a process group of its own, which does not outlive the block."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
        process = subprocess.Popen(
            [sys.executable, "-m", "immutable", *map(str, args)],
            cwd=self.folder,
            env={**self.environ, **pipes.pop("environ", {})},
            text=True,
            start_new_session=True,
            **pipes,
        )
        try:
            with process:
                yield process
                process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    def spawn(self, *args: object, **settings: Any) -> Done:
        """Run a command as a process of its own until it ends."""
        with self.start(*args, **settings) as process:
            out, err = process.communicate(timeout=PATIENCE)
        return Done(process.returncode, out or "", err or "")

    def drafts(self) -> list[Path]:
        """Return what is left of unfinished work in the store."""
        left = [*(self.store / "tmp").glob("*"), *(self.store / "leases").glob("*")]
        return [*left, *self.store.glob(".immutable-*")]


def until(condition: Callable[[], object]) -> None:
    """Wait for what another process does; fail if it takes too long."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("waited in vain")


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a user without any settings, whose folder is `home`."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "IMMUTABLE_STORE": str(home / "store"),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
    }
