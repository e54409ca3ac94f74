"""What a spec may ask of git: the commit it stands in, when its inputs are committed."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from immutable.config.tools import git_environment
from immutable.entries import show
from immutable.errors import SourceError

_SECONDS: Final = 60
_NAMED: Final = 5  # files that a message lists
_SUBMODULE: Final = b"160000 "
# Whatever the user's settings are, the whole of a file counts: its type, its mode, its content.
_SETTINGS: Final = (
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.fileMode=true",
    "core.symlinks=true",
    "core.checkStat=default",
    "core.trustctime=true",
)
_OPTIONS: Final = (
    *("--no-optional-locks", "--literal-pathspecs", "--no-replace-objects"),
    *(word for setting in _SETTINGS for word in ("-c", setting)),
)


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
    places = tuple(inputs)
    asks = f"{folder}: the spec asks git for its commit, but"
    unseen = {path for path in _unseen(top, places) if taken(path)}
    if unseen:
        raise SourceError(
            f"{asks} git is told not to look at: {_names(unseen, top)}; use `git update-index "
            "--no-assume-unchanged --no-skip-worktree`, or check them out"
        )
    changed = {path for path in _changed(top, places) if taken(path)}
    if changed:
        raise SourceError(
            f"{asks} these are not committed: {_names(changed, top)}; commit them first"
        )
    return dict(_commit(folder))


def _names(paths: Iterable[Path], top: Path) -> str:
    """Return the first few of `paths`, and how many more there are."""
    ordered = sorted(paths)
    names = ", ".join(show(os.fsencode(path.relative_to(top))) for path in ordered[:_NAMED])
    more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    return f"{names}{more}"


def _changed(top: Path, inputs: Sequence[Path]) -> Iterator[Path]:
    """Yield the files in `inputs` that HEAD does not hold as they are, or not at all."""
    status = _git(
        top,
        *("status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--ignored"),
        *("--ignore-submodules=none", "--", *map(str, inputs)),
    )
    for line in status.split(b"\0"):
        if line:
            yield top / os.fsdecode(line[3:])
    for module in _submodules(top, inputs):
        # Git names a submodule as one path, of which an image may take a few files only.
        yield from _changed(module, _within(module, inputs))


def _unseen(top: Path, inputs: Sequence[Path]) -> Iterator[Path]:
    """Yield the files in `inputs` that ``git status`` takes for unchanged without a look."""
    for line in _git(top, "ls-files", "-v", "-z", "--", *map(str, inputs)).split(b"\0"):
        if line[:1].islower() or line[:1] == b"S":
            yield top / os.fsdecode(line[2:])
    for module in _submodules(top, inputs):
        yield from _unseen(module, _within(module, inputs))


def _submodules(top: Path, inputs: Sequence[Path]) -> Iterator[Path]:
    """Yield the folders of the submodules in `inputs` that are checked out."""
    for line in _git(top, "ls-files", "--stage", "-z", "--", *map(str, inputs)).split(b"\0"):
        head, _, name = line.partition(b"\t")
        module = top / os.fsdecode(name)
        if head.startswith(_SUBMODULE) and (module / ".git").exists():
            yield module


def _within(module: Path, inputs: Sequence[Path]) -> tuple[Path, ...]:
    """Return what of `inputs` lies in the folder `module`, or the folder where one holds it."""
    inside = tuple(path for path in inputs if module in path.parents)
    whole = not inputs or any(path == module or path in module.parents for path in inputs)
    return (module,) if whole else inside


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
    command = ["git", *_OPTIONS, "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, and paths after --
            command, capture_output=True, timeout=_SECONDS, check=False, env=git_environment()
        )
    except FileNotFoundError:
        raise SourceError("git is not installed, and the spec asks it for its commit") from None
    except subprocess.TimeoutExpired:
        raise SourceError(f"{folder}: git did not answer within {_SECONDS} seconds") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise SourceError(f"{folder}: git: {said or f'exit status {done.returncode}'}")
    return done.stdout
