"""What a spec may ask of git: the commit it stands in, when that holds its inputs.

The files are compared with the commit here, byte by byte: git applies what a repository says of
line ends and filters, which may change bytes and run programs. It only hands out objects, and
each is held against its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attrs import field, frozen

from immutable.content.entries import show
from immutable.errors import SourceError
from immutable.sources.git.known import Known
from immutable.sources.git.objects import Budget, Repository
from immutable.sources.tree import StatCache

_NAMED: Final = 5  # files that a message lists
_LINKS: Final = 40  # followed on the way to one input, as the kernel does
_MOST_WITHIN: Final = 32  # submodules of submodules
_BRANCH: Final = "refs/heads/"
_COMMITTED: Final = re.compile(rb"^committer .*> ([0-9]{1,18}) [+-][0-9]+$", re.MULTILINE)


def facts(
    folder: Path,
    inputs: Iterable[Path],
    taken: Callable[[Path], bool] = lambda _: True,
    stats: StatCache | None = None,
) -> Mapping[str, str]:
    """Return ``sha``, ``short-sha``, ``time`` and, where there is one, ``tag`` and ``branch``.

    `tag` is the commit's own, the last by version where it has several. `inputs` are absolute
    paths of files and folders, of which those files count that are `taken`, by their real paths;
    so do the links on the way to them. The stat cache spares reading files that were as committed
    and have not changed since. Raises SourceError outside a work tree, and when one of
    these is not as the commit has it, also where git is told to ignore it: an image must not name
    a commit that does not hold what it was built from.
    """
    repository = Repository.around(folder)
    sha = repository.head()
    top = repository.top
    asks = f"{folder}: the spec asks git for its commit, but"
    places: set[Path] = set()
    links: set[Path] = set()
    for path in inputs:
        real = path.resolve()
        if real != top and top not in real.parents:
            raise SourceError(f"{asks} {show(os.fsencode(real))} is outside of {top}")
        places.add(real)
        links.update(link for link in _links(path) if top in link.parents)
    check = _Check(Known(folder, stats))
    changed = {path for path in check.changed(repository, sha, sorted(places)) if taken(path)}
    changed.update(check.changed(repository, sha, sorted(links)))
    check.known.save(places)
    hidden = changed & set(_hidden(repository, changed))
    if hidden:
        raise SourceError(
            f"{asks} git is told not to look at: {_names(hidden, top)}; use `git update-index "
            "--no-assume-unchanged --no-skip-worktree`, or check them out"
        )
    if changed:
        raise SourceError(
            f"{asks} these are not committed: {_names(changed, top)}; commit them first"
        )
    return dict(_commit(repository, sha))


def _hidden(repository: Repository, changed: Iterable[Path]) -> Iterator[Path]:
    """Yield what git is told not to look at, in the repositories that hold what has `changed`."""
    parents = {parent for path in changed for parent in path.parents}
    for place in sorted(parents):
        inner = Repository.at(place) if repository.top in (place, *place.parents) else None
        if inner is not None:
            yield from inner.hidden()


def _names(paths: Iterable[Path], top: Path) -> str:
    """Return the first few of `paths`, and how many more there are."""
    ordered = sorted(paths)
    names = ", ".join(show(os.fsencode(path.relative_to(top))) for path in ordered[:_NAMED])
    more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    return f"{names}{more}"


def _links(path: Path) -> Iterator[Path]:
    """Yield the real places of the links that lead to `path`."""
    place, rest = Path(path.anchor), list(reversed(path.parts[1:]))
    followed = 0
    while rest and followed < _LINKS:
        name = rest.pop()
        step = place.parent if name == ".." else place / name
        if not step.is_symlink():
            place = step
            continue
        yield step
        followed += 1
        target = step.readlink()
        rest.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        place = Path(target.anchor) if target.is_absolute() else place


@frozen
class _Check:
    """A comparison of files with a commit, within one budget."""

    known: Known
    budget: Budget = field(factory=Budget)

    def changed(
        self, repository: Repository, sha: str, inputs: Sequence[Path], outer: int = 0
    ) -> Iterator[Path]:
        """Yield the files in `inputs` that the commit `sha` does not hold as they are, or lacks.

        `outer` is how many repositories this one is a submodule in.
        """
        if outer > _MOST_WITHIN:
            raise SourceError(
                f"{show(os.fsencode(repository.top))}: git: expected at most {_MOST_WITHIN} "
                "submodules in one another, found more"
            )
        held = dict(repository.held(sha, inputs, self.budget))
        modules = {path for path, one in held.items() if one.is_module}
        found: set[Path] = set()
        for path in _files(inputs, modules):
            found.add(path)
            if path not in held or not self.known.is_as(repository, path, held[path]):
                yield path
        for module in modules:
            inner = Repository.at(module)
            within = _within(module, inputs)
            # Git names a submodule as one path, of which an image may take a few files only.
            differing = [module, *_files(within, set())] if inner is None else []
            if inner is not None:
                differing = list(self.changed(inner, held[module].name, within, outer + 1))
            yield from differing
            if differing:
                yield module
        yield from held.keys() - found - modules


def _files(inputs: Iterable[Path], modules: set[Path]) -> Iterator[Path]:
    """Yield the files and links in `inputs`, but none of git's own, nor those in `modules`."""
    for path in inputs:
        if path in modules or not modules.isdisjoint(path.parents):
            continue
        if not path.is_dir() or path.is_symlink():
            if path.exists() or path.is_symlink():
                yield path
            continue
        for folder, folders, files in os.walk(path, onerror=_raise):
            place = Path(folder)
            links = [name for name in folders if (place / name).is_symlink()]
            folders[:] = [
                name
                for name in folders
                if name not in links and name != ".git" and place / name not in modules
            ]
            yield from (place / name for name in (*files, *links) if name != ".git")


def _raise(error: OSError) -> None:
    raise SourceError(f"{show(os.fsencode(error.filename))}: {error.strerror}") from None


def _within(module: Path, inputs: Sequence[Path]) -> tuple[Path, ...]:
    """Return what of `inputs` lies in the folder `module`, or the folder where one holds it."""
    inside = tuple(path for path in inputs if module in path.parents)
    whole = any(path == module or path in module.parents for path in inputs)
    return (module,) if whole else inside


def _commit(repository: Repository, sha: str) -> Iterator[tuple[str, str]]:
    yield "sha", sha
    yield "short-sha", sha[:12]
    head = repository.commit(sha).partition(b"\n\n")[0]
    committed = _COMMITTED.search(head)
    try:
        time = datetime.fromtimestamp(int(committed[1]), UTC) if committed else None
    except (ValueError, OverflowError, OSError):
        time = None
    if time is None:
        raise SourceError(f"{repository.top}: git: commit {sha} has no time before the year 10000")
    yield "time", time.strftime("%Y-%m-%dT%H:%M:%SZ")
    tags = repository.words(
        "for-each-ref", f"--points-at={sha}", "--format=%(refname:strip=2)", "refs/tags"
    )
    if tags:
        # Not git's own order, which a user's settings change.
        yield "tag", max(tags, key=_by_version)
    # Git names none where a branch or tag is called HEAD as well.
    branch = repository.words("rev-parse", "--symbolic-full-name", "HEAD")
    if len(branch) == 1 and branch[0].startswith(_BRANCH):
        yield "branch", branch[0].removeprefix(_BRANCH)


def _by_version(tag: str) -> tuple[list[tuple[int, int, str]], str]:
    """Order numbers in names as numbers, however long: 1.10 after 1.9."""
    parts = re.split(r"([0-9]+)", tag)
    parts[1::2] = [part.lstrip("0") for part in parts[1::2]]
    return [(odd % 2, len(part) * (odd % 2), part) for odd, part in enumerate(parts)], tag
