"""Other programs' answers, within bounds of time and memory: git's, credential helpers'."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Final

from attrs import frozen

_PIECE: Final = 1 << 16


class LateError(Exception):
    """A program was not over in time."""


class TooMuchError(Exception):
    """A program wrote more than it may."""


@frozen
class Bounds:
    """What a program may take: seconds, and bytes that it writes.

    Of stderr the first `kept` bytes are kept; with None, it counts with stdout.
    """

    seconds: float
    most: int
    kept: int | None = None


def run(
    words: Sequence[str],
    bounds: Bounds,
    *,
    given: IO[bytes] | int,
    env: Mapping[str, str] | None = None,
    apart: bool = False,
) -> tuple[int, bytes, bytes]:
    """Run the program of `words`; return its exit status, its stdout and its stderr.

    It reads `given`, a file or one of subprocess's constants. With `apart` it has a process group
    of its own, which ends with it, and cannot ask at a terminal. It is over afterwards, however
    this ends. Raises LateError, TooMuchError, and OSError where it cannot be run.
    """
    until = time.monotonic() + bounds.seconds
    process = subprocess.Popen(  # noqa: S603 - words of the callers
        words,
        stdin=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        process_group=0 if apart else None,
    )
    with _ending(process, apart=apart), contextlib.ExitStack() as pipes:
        out, err = (pipes.enter_context(pipe) for pipe in (process.stdout, process.stderr) if pipe)
        output, said = both(out, err, until, bounds)
        try:
            status = process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise LateError from None
    return status, output, said


@contextlib.contextmanager
def _ending(process: subprocess.Popen[bytes], *, apart: bool) -> Iterator[None]:
    """See to it that `process`, and its group if it is `apart`, is over after the block."""
    try:
        yield
    finally:
        # Not `poll`: what it leaves behind is still in its group while nobody has waited for it.
        if process.returncode is None:
            if apart:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait()


def both(out: IO[bytes], err: IO[bytes], until: float, bounds: Bounds) -> tuple[bytes, bytes]:
    """Return what comes from `out` and from `err` until both end, within `bounds`."""
    output, said = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for pipe in (out, err):
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready or time.monotonic() > until:
                raise LateError
            for key, _ in ready:
                piece = os.read(key.fd, _PIECE)
                if not piece:
                    selector.unregister(key.fileobj)
                elif key.fileobj is out:
                    output += piece
                else:
                    said += piece if bounds.kept is None else piece[: bounds.kept - len(said)]
            if len(output) + (len(said) if bounds.kept is None else 0) > bounds.most:
                raise TooMuchError
    return bytes(output), bytes(said)
