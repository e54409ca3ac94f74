"""A small root file system of busybox, and runs over it as root and as an ordinary user."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen

from immutable.content.capabilities import XATTR, parse
from immutable.content.entries import Entry, arrange, directory, file, symlink, whiteout
from immutable.content.tar import chunks, read
from immutable.oci.digest import Digest
from immutable.progress import SILENT
from immutable.sandbox.command import Command, Layer, Limits, Surroundings
from immutable.sandbox.run import Sandbox

# Tests that run at once each make and remove one of their own.
USER = f"immutable-test-{os.getpid()}"
CAPABILITIES = parse("cap_net_bind_service+ep")
_APPLETS = (
    "cat",
    "chmod",
    "chown",
    "dd",
    "echo",
    "env",
    "find",
    "head",
    "id",
    "ip",
    "ln",
    "ls",
    "mkdir",
    "mknod",
    "mount",
    "mv",
    "nproc",
    "ps",
    "rm",
    "sh",
    "sleep",
    "stat",
    "touch",
    "true",
    "unshare",
    "yes",
)


@frozen
class Outcome:
    """How a run ended, and the entries of its difference, and its bytes."""

    status: int
    output: str
    entries: tuple[Entry, ...]
    data: bytes

    def shown(self) -> list[tuple[str, str, int, int]]:
        """Return path, kind, uid and gid of each entry."""
        return [(os.fsdecode(e.path), e.kind.name, e.uid, e.gid) for e in self.entries]


def layer(*entries: Entry) -> Layer:
    """Return a layer with these entries."""
    data = b"".join(chunks(arrange([entries], mtime=1000), lambda *_: False, 1 << 20))
    return Layer(Digest.of(data), lambda: io.BytesIO(data))


def busybox() -> tuple[Layer, ...]:
    """Return two layers: busybox with some files, and one that takes some of these away."""
    program = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    capped = evolve(file(b"capped", b"x"), xattrs=((XATTR, CAPABILITIES),))
    lower = [
        file(b"bin/busybox", program, 0o755),
        *(symlink(b"bin/" + name.encode(), b"busybox") for name in _APPLETS),
        directory(b"root"),
        *(file(path, b"hi") for path in (b"a", b"b", b"c", b"gone", b"old/x", b"old/in/y")),
        capped,
    ]
    return layer(*lower), layer(whiteout(b"gone"), file(b"over/z", b"z"))


def outcome(
    folder: Path,
    script: str,
    number: int = 1,
    command: Command | None = None,
    limits: Limits | None = None,
) -> Outcome:
    """Run a script of busybox's shell over `busybox()`."""
    chosen = command or Command(("sh", "-c", script), {})
    with Sandbox.open(folder, SILENT) as sandbox:
        ran = sandbox.run(busybox(), chosen, Surroundings(number), limits or Limits())
        data = ran.difference.read_bytes()
        with ran.difference.open("rb") as tar:
            entries = tuple(member.entry for member in read(tar, name="difference"))
    return Outcome(ran.status, ran.output.decode(), entries, data)


def outcome_of(who: str, folder: Path, script: str, number: int = 1) -> Outcome:
    """Return the outcome for ``root``, this process, or ``user``, another one."""
    if who == "root" or os.geteuid() != 0:
        return outcome(folder, script, number)
    code = (
        "import pickle, sys; from pathlib import Path; from tests.support.sandboxes import outcome;"
        "r = outcome(Path.home() / '.cache/sandbox', sys.argv[1], int(sys.argv[2]));"
        "sys.stdout.buffer.write(pickle.dumps(r))"
    )
    found: Any = pickle.loads(said_by_user(code, script, str(number)))
    assert isinstance(found, Outcome)
    return found


def said_by_user(code: str, *words: str) -> bytes:
    """Return what Python code writes that the ordinary user runs."""
    done = subprocess.run(
        [*as_user(), _python(), "-c", code, *words],
        env={
            "PYTHONPATH": ":".join(_paths()),
            "HOME": f"/home/{USER}",
            "PATH": "/usr/sbin:/usr/bin:/bin",
        },
        cwd="/",
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout


def as_user() -> Sequence[str]:
    """Return the words that start a program as the ordinary user."""
    return ("runuser", "-u", USER, "--")


@contextlib.contextmanager
def user() -> Iterator[None]:
    """Have the ordinary user, with subordinate ids, where this is root and he is not there."""
    made = os.geteuid() == 0 and subprocess.run(["id", USER], capture_output=True).returncode != 0
    if made:
        for path in (Path("/etc/subuid"), Path("/etc/subgid")):
            path.touch()
        subprocess.run(["useradd", "-m", USER], check=True)
    try:
        yield
    finally:
        if made:
            subprocess.run(["rm", "-rf", f"/home/{USER}/.cache"], check=True)
            subprocess.run(["userdel", "-r", USER], check=True, capture_output=True)


def _paths() -> list[str]:
    return [str(Path(__file__).parents[2]), *(path for path in sys.path if "site-packages" in path)]


def _python() -> str:
    """Return a Python like this one that others may start."""
    for path in (sys.executable, "/usr/bin/python3"):
        words = [*as_user(), path, "-c", "import sys; print(sys.version_info[:2])"]
        found = subprocess.run(words, capture_output=True, text=True, cwd="/")
        if found.stdout.strip() == str(sys.version_info[:2]):
            return path
    version = ".".join(map(str, sys.version_info[:2]))
    pytest.skip(f"needs a Python {version} that another user may start")
