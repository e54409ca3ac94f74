"""What git answers, within bounds of time and memory.

Git runs here so that nothing which a repository says of itself (filters, hooks, a remote to fetch
what lacks, other commits in the place of these) changes an answer or starts a program.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from immutable.config.tools import git_environment
from immutable.content.entries import show
from immutable.errors import SourceError

SECONDS: Final = 60.0
MOST: Final = 64 << 20  # bytes of one answer
MOST_SAID: Final = 64 << 10  # bytes of git's complaints that are kept
MOST_AT_ONCE: Final = 512 << 20  # bytes of memory that git takes for one object
_PIECE: Final = 1 << 16
_OPTIONS: Final = (
    *("--no-pager", "--no-optional-locks", "--literal-pathspecs", "--no-replace-objects"),
    *("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"),
    *("-c", "core.commitGraph=false"),
)


def ask(folder: Path, *arguments: str, given: bytes = b"", most: int | None = None) -> bytes:
    """Return what git writes to stdout when asked in `folder`: `most` bytes, MOST if None.

    Raises SourceError where there is no git, with git's own complaint where it has one, and past
    the bounds. Git is over afterwards, however this ends.
    """
    with tempfile.TemporaryFile() as file:
        file.write(given)
        file.seek(0)
        status, output, said = _run(folder, arguments, file, MOST if most is None else most)
    if status:
        complaint = show(said.strip().partition(b"\n")[0])
        raise SourceError(f"{folder}: git: {complaint or f'exit status {status}'}")
    return output


def _closed() -> dict[str, str]:
    # A repository may say that objects are to be fetched when they are asked for, by any program:
    # no transport is allowed here, whatever its settings are.
    return {
        "GIT_ALLOW_PROTOCOL": "",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_TERMINAL_PROMPT": "0",
        # A few bytes of a repository may stand for an object of any size.
        "GIT_ALLOC_LIMIT": str(MOST_AT_ONCE),
    }


def _run(
    folder: Path, arguments: tuple[str, ...], given: IO[bytes], most: int
) -> tuple[int, bytes, bytes]:
    """Return git's exit status, and what it wrote to stdout and to stderr."""
    until = time.monotonic() + SECONDS
    try:
        process = subprocess.Popen(  # noqa: S603 - fixed words
            ["git", *_OPTIONS, "-C", str(folder), *arguments],  # noqa: S607 - the user's own
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**git_environment(), **_closed()},
            process_group=0,
        )
    except FileNotFoundError:
        raise SourceError("git is not installed, and the spec asks it for its commit") from None
    except OSError as error:
        raise SourceError(f"git cannot be run: {error.strerror}") from None
    with _ending(process), contextlib.ExitStack() as pipes:
        out, err = (pipes.enter_context(pipe) for pipe in (process.stdout, process.stderr) if pipe)
        output, said = _both(folder, out, err, until, most)
        try:
            status = process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise _late(folder) from None
    return status, output, said


@contextlib.contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """See to it that `process`, and what it started, is over after the block."""
    try:
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _both(
    folder: Path, out: IO[bytes], err: IO[bytes], until: float, most: int
) -> tuple[bytes, bytes]:
    """Return all that comes from `out`, and the first that comes from `err`."""
    output, said = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for pipe in (out, err):
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready or time.monotonic() > until:
                raise _late(folder)
            for key, _ in ready:
                piece = os.read(key.fd, _PIECE)
                if not piece:
                    selector.unregister(key.fileobj)
                elif key.fileobj is out:
                    output += piece
                else:
                    said += piece[: MOST_SAID - len(said)]
            if len(output) > most:
                raise SourceError(f"{folder}: git: expected at most {most} bytes, it answers more")
    return bytes(output), bytes(said)


def _late(folder: Path) -> SourceError:
    return SourceError(f"{folder}: git did not answer within {SECONDS:g} seconds")
