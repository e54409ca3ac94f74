"""What git answers, within bounds of time and memory.

Git runs here so that nothing which a repository says of itself (filters, hooks, a remote to fetch
what lacks, other commits in the place of these) changes an answer or starts a program.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO, Final

from immutable.config.tools import git_environment
from immutable.content.entries import show
from immutable.errors import SourceError
from immutable.net import programs

SECONDS: Final = 60.0
MOST: Final = 64 << 20  # bytes of one answer
MOST_SAID: Final = 64 << 10  # bytes of git's complaints that are kept
MOST_AT_ONCE: Final = 512 << 20  # bytes of memory that git takes for one object
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
    try:
        return programs.run(
            ["git", *_OPTIONS, "-C", str(folder), *arguments],
            programs.Bounds(SECONDS, most, MOST_SAID),
            given=given,
            env={**git_environment(), **_closed()},
            apart=True,
        )
    except FileNotFoundError:
        raise SourceError("git is not installed, and the spec asks it for its commit") from None
    except OSError as error:
        raise SourceError(f"git cannot be run: {error.strerror}") from None
    except programs.LateError:
        raise SourceError(f"{folder}: git did not answer within {SECONDS:g} seconds") from None
    except programs.TooMuchError:
        raise SourceError(
            f"{folder}: git: expected at most {most} bytes, it answers more"
        ) from None
