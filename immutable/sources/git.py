"""What a spec may ask of git: the commit it stands in, when its inputs are committed."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from immutable.entries import show
from immutable.errors import SourceError

_SECONDS: Final = 60
_NAMED: Final = 5  # files that a message lists


def facts(
    folder: Path, inputs: Iterable[Path], taken: Callable[[Path], bool] = lambda _: True
) -> Mapping[str, str]:
    """Return ``sha``, ``short-sha``, ``time`` and, where there is one, ``tag`` and ``branch``.

    `tag` is the commit's own, the last by version where it has several. `inputs` are absolute
    paths of files and folders, of which those files count that are `taken`. Raises SourceError
    outside a work tree, and when one of these is not as the commit has it, also where git is
    told to ignore it: an image must not name a commit that does not hold what it was built from.
    """
    top = Path(os.fsdecode(_git(folder, "rev-parse", "--show-toplevel").rstrip(b"\n")))
    changed = sorted({path for path in _changed(top, inputs) if taken(path)})
    if changed:
        names = ", ".join(show(os.fsencode(path.relative_to(top))) for path in changed[:_NAMED])
        more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        raise SourceError(
            f"{folder}: the spec asks git for its commit, but these are not committed: "
            f"{names}{more}; commit them first"
        )
    return dict(_commit(folder))


def _changed(top: Path, inputs: Iterable[Path]) -> Iterator[Path]:
    """Yield the files in `inputs` that HEAD does not hold as they are, or not at all."""
    status = _git(
        top,
        *("status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--ignored"),
        *("--", *map(str, inputs)),
    )
    for line in status.split(b"\0"):
        if line:
            yield top / os.fsdecode(line[3:])


def _commit(folder: Path) -> Iterator[tuple[str, str]]:
    seconds, sha = _words(folder, "rev-list", "--max-count=1", "--timestamp", "HEAD")
    time = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    yield "sha", sha
    yield "short-sha", sha[:12]
    yield "time", time.strftime("%Y-%m-%dT%H:%M:%SZ")
    tags = _words(folder, "tag", "--points-at", "HEAD")
    if tags:
        # Not git's own order, which a user's settings change.
        yield "tag", max(tags, key=_by_version)
    (branch,) = _words(folder, "rev-parse", "--abbrev-ref", "HEAD")
    if branch != "HEAD":
        yield "branch", branch


def _by_version(tag: str) -> tuple[list[tuple[int, int, str]], str]:
    """Order numbers in names as numbers: 1.10 after 1.9."""
    parts = re.split(r"([0-9]+)", tag)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], tag


def _words(folder: Path, *arguments: str) -> list[str]:
    return _git(folder, *arguments).decode("utf-8", "surrogateescape").split()


def _git(folder: Path, *arguments: str) -> bytes:
    options = ("--no-optional-locks", "--literal-pathspecs", "-c", "core.fsmonitor=false")
    command = ["git", *options, "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, and paths after --
            command, capture_output=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise SourceError("git is not installed, and the spec asks it for its commit") from None
    except subprocess.TimeoutExpired:
        raise SourceError(f"{folder}: git did not answer within {_SECONDS} seconds") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise SourceError(f"{folder}: git: {said or f'exit status {done.returncode}'}")
    return done.stdout
