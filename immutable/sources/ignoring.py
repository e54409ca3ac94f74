r"""Ignore files: lists of what in a folder is not wanted, as ``docker build`` reads them.

One pattern a line, anchored at the folder; ``*``, ``?`` and ``[a-z]`` stand for characters within
one name, ``**`` for any directories, ``\\`` takes the next character as it is. What lies below a
match matches too. A pattern after ``!`` takes back what earlier ones left out, and the last that
matches decides. Lines that start with ``#`` are comments. The reference is Docker's page on build
contexts, ``.dockerignore`` files; where it is silent, what BuildKit does.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final, Self

from attrs import field, frozen

from immutable.content.globs import compile_globs
from immutable.errors import SpecError
from immutable.reading import read_file

_LARGEST: Final = 1 << 20  # bytes of an ignore file
_MOST_INFIXES: Final = 4  # ** within the names of one pattern; each doubles what it stands for
_WILD: Final = re.compile(r"[*?\\\[]")
# A ** that is no name of its own: at a name's start, in the middle, and at the pattern's end.
_PREFIX: Final = re.compile(r"(?:\A|(?<=/))\*\*(?=[^/*])")
_INFIX: Final = re.compile(r"(?<=[^/*\\])\*\*(?:/(?=[^/])|(?=[^/*]))")
_SUFFIX: Final = re.compile(r"(?<=[^/*\\])\*\*\Z")
_NEGATED: Final = re.compile(r"\\.|\[!")  # escaped characters aside


@frozen
class _Rule:
    """One line: its pattern as `globs` understand it, in as many as it takes."""

    keeps: bool
    globs: tuple[str, ...]


@frozen
class _Run:
    """Rules that follow each other and say the same: any of them may match."""

    keeps: bool
    matches: Callable[[bytes], bool]
    plain: tuple[bytes, ...]  # patterns without wildcards
    starts: tuple[bytes, ...]  # what stands in front of the first wildcard in the others

    @classmethod
    def of(cls, keeps: bool, rules: Iterable[_Rule]) -> Self:
        globs = [glob for rule in rules for glob in rule.globs]
        wild = [(glob, _WILD.search(glob)) for glob in globs]
        return cls(
            keeps,
            compile_globs(globs, whole=True),
            tuple(glob.encode() for glob, first in wild if first is None),
            tuple({glob[: first.start()].encode() for glob, first in wild if first is not None}),
        )

    def reaches(self, folder: bytes) -> bool:
        """Tell whether something within `folder` may match."""
        inside = folder + b"/"
        return any(one.startswith(inside) for one in (*self.plain, *self.starts)) or any(
            map(inside.startswith, self.starts)
        )


@frozen
class IgnoreFile:
    """What an ignore file leaves out of a folder. Paths are relative to it, as raw bytes."""

    _runs: tuple[_Run, ...]
    # What matched each folder that was asked about: one bit a run.
    _folders: dict[bytes, int] = field(init=False, factory=dict, eq=False, repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the ignore file at `path`; raise SpecError, naming the lines at fault."""
        try:
            data = read_file(path, _LARGEST)
        except OSError as error:
            raise SpecError(str(path), [f"{error.strerror}"]) from None
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: bytes, where: str) -> Self:
        """Return the ignore file of content `data`; `where` names it in a SpecError."""
        rules: list[_Rule] = []
        faults: list[str] = []
        for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            try:
                rules += _rules(line)
            except ValueError as error:
                faults.append(f"line {number}: {error}")
        if faults:
            raise SpecError(where, faults)
        by_sort = groupby(rules, attrgetter("keeps"))
        return cls(tuple(_Run.of(keeps, same) for keeps, same in by_sort))

    @property
    def takes_back(self) -> bool:
        """Whether something in a folder that is left out may be wanted."""
        return any(run.keeps for run in self._runs)

    def ignores(self, path: bytes) -> bool:
        """Tell whether what is at `path` is left out."""
        return self._decided(self._matched(path)) is not None

    def ignores_all(self, path: bytes) -> bool:
        """Tell whether what is at `path` is left out with all that there may be within it."""
        decided = self._decided(self._matched(path))
        return decided is not None and not any(
            run.keeps and run.reaches(path) for run in self._runs[decided:]
        )

    def _decided(self, matched: int) -> int | None:
        """Return the number of the run that leaves out what `matched`; None if it is kept."""
        decided = None
        for number, run in enumerate(self._runs):
            if matched >> number & 1:
                decided = None if run.keeps else number
        return decided

    def _matched(self, path: bytes) -> int:
        """Return which runs match `path`, or a folder that it is in: one bit each.

        A run that would not change what those before it said is not asked, here and for the
        folder: so do engines.
        """
        folder = path.rpartition(b"/")[0]
        return self._ask(path, self._matched_folder(folder) if folder else 0)

    def _matched_folder(self, path: bytes) -> int:
        if (known := self._folders.get(path)) is not None:
            return known
        matched = end = 0
        while end < len(path):
            slash = path.find(b"/", end + 1)
            end = len(path) if slash < 0 else slash
            folder = path[:end]
            known = self._folders.get(folder)
            matched = self._ask(folder, matched) if known is None else known
            self._folders[folder] = matched
        return matched

    def _ask(self, path: bytes, above: int) -> int:
        matched, ignored = 0, False
        for number, run in enumerate(self._runs):
            if above >> number & 1 or (run.keeps == ignored and run.matches(path)):
                matched |= 1 << number
                ignored = not run.keeps
        return matched


def _rules(line: bytes) -> Iterator[_Rule]:
    """Yield the rule of a line, if it has one. Raises ValueError for one that has no sense."""
    if line.startswith(b"#"):
        return
    try:
        text = line.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("expected UTF-8") from None
    keeps = text.startswith("!")
    if keeps:
        text = text[1:].strip()
        if not text:
            raise ValueError("expected a pattern after !")
    if not text:
        return
    names = _cleaned(text)
    # No path in a folder holds them: the folder itself, and what is outside.
    plain = (one for one in _plain(names) if not {"", ".", ".."} & set(one.split("/")))
    globs = tuple(map(_glob, plain))
    compile_globs(globs)  # which says what is wrong
    if globs:
        yield _Rule(keeps, globs)


def _cleaned(text: str) -> str:
    """Return a pattern without ``.``, ``..`` and empty names, relative to the folder."""
    if "\0" in text:
        raise ValueError("expected a pattern, found a NUL")
    rooted = "/" + text.lstrip("/") if text.startswith("/") else text
    return posixpath.normpath(rooted).lstrip("/").strip()


def _plain(pattern: str) -> list[str]:
    """Return patterns that together match what `pattern` does, with ``**`` for whole names only.

    As engines read it, one at the start of a name stands for any directories in front of it, one
    at the pattern's end for anything, and one within a name for nothing or for anything that ends
    with a slash. If all that follows one at the pattern's start is plain, it ends the path.
    """
    if pattern.startswith("**") and not _WILD.search(pattern[2:]):
        pattern = _PREFIX.sub("**/*", pattern)
    pattern = _PREFIX.sub("**/", pattern)
    if len(_INFIX.findall(pattern)) > _MOST_INFIXES:
        raise ValueError(
            f"{pattern!r}: expected at most {_MOST_INFIXES} times ** within names; write * for "
            "characters within a name and **/ for directories"
        )
    patterns = [pattern]
    while any(map(_INFIX.search, patterns)):
        patterns = [
            _INFIX.sub(instead, one, count=1) for one in patterns for instead in ("", "*/**/")
        ]
    both = [_SUFFIX.sub(instead, one) for one in patterns for instead in ("*", "*/**")]
    return list(dict.fromkeys(both))


def _glob(pattern: str) -> str:
    """Return the glob for a pattern, where a ``!`` at the start of a set or a glob means more."""
    if any(one.group() == "[!" for one in _NEGATED.finditer(pattern)):
        raise ValueError(f"{pattern!r}: write ^ for other characters than those of a set, not !")
    return "\\" + pattern if pattern.startswith("!") else pattern
