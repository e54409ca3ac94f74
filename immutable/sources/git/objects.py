"""A git repository's commits and trees, each checked against its name."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from attrs import define, field, frozen

from immutable.content.entries import MAX_PATH, show
from immutable.errors import SourceError
from immutable.reading import read_file
from immutable.sources.git.answers import MOST, ask

MOST_ENTRIES: Final = 1_000_000
MOST_NAMES: Final = 96 << 20
_PIECE: Final = 1 << 20
_MODULE: Final = 0o160000
_ENTRY: Final = re.compile(rb"([0-7]{5,6}) ([^/\0]+)\0")
_TREE_OF: Final = re.compile(rb"tree ([0-9a-f]+)\n")
# What no path is called, or git's own.
_NO_NAMES: Final = frozenset({b".", b"..", b".git"})
# What git says of an object beside its content: its name, its kind, its size.
_HEAD: Final = 128


@define
class Budget:
    """How much of commits may be looked at: a few trees can stand for files without end."""

    entries: int = field(factory=lambda: MOST_ENTRIES)
    names: int = field(factory=lambda: MOST_NAMES)

    def take(self, top: Path, path: Path) -> None:
        """Count `path` of the work tree at `top`; raises SourceError past a bound."""
        size = len(os.fsencode(path)) - len(os.fsencode(top)) - 1
        self.entries -= 1
        self.names -= size
        if self.entries < 0 or self.names < 0 or size > MAX_PATH:
            raise SourceError(
                f"{show(os.fsencode(top))}: git: expected at most {MOST_ENTRIES} files and folders "
                f"in the commit for this spec, {MOST_NAMES} bytes of paths, and {MAX_PATH} bytes "
                "of one, found more"
            )


@frozen
class Held:
    """What a commit has at a path: its mode in git's words, and the name of its object."""

    mode: int
    name: str

    @property
    def is_module(self) -> bool:
        """Whether it is a submodule, of which the name is its commit's."""
        return self.mode == _MODULE


@frozen
class Repository:
    """The repository of the work tree at `top`; `algorithm` is that of its objects' names."""

    top: Path
    algorithm: str = field(repr=False)

    @classmethod
    def around(cls, folder: Path) -> Self:
        """Return the one that `folder` stands in; raises SourceError, in git's words, for none."""
        folder = folder.resolve()
        place = Path(os.fsdecode(ask(folder, "rev-parse", "--absolute-git-dir").rstrip(b"\n")))
        # Where the work tree is, is not for the repository's settings to say.
        for top in (folder, *folder.parents):
            if (top / ".git").exists() and _leads_to(top / ".git") == place.resolve():
                algorithm = _words(top, "rev-parse", "--show-object-format")[0]
                if algorithm not in ("sha1", "sha256"):
                    raise SourceError(f"{top}: git: objects named by {algorithm} are not known")
                return cls(top, algorithm)
        raise SourceError(f"{folder}: git: fatal: this operation must be run in a work tree")

    @classmethod
    def at(cls, folder: Path) -> Self | None:
        """Return the one whose work tree is `folder` itself, such as a submodule that is there."""
        if folder.is_symlink() or not (folder / ".git").exists():
            return None
        found = cls.around(folder)
        return found if found.top == folder else None

    def words(self, *arguments: str) -> list[str]:
        """Return the words that git answers."""
        return _words(self.top, *arguments)

    def head(self) -> str:
        """Return the name of the commit that is checked out."""
        return self.words("rev-parse", "HEAD")[0]

    def commit(self, sha: str) -> bytes:
        """Return the commit `sha` as it is stored."""
        return self._read([sha], b"commit")[sha]

    def held(self, sha: str, inputs: Sequence[Path], budget: Budget) -> Iterator[tuple[Path, Held]]:
        """Yield what the commit `sha` has at and below `inputs`: files, links and submodules.

        A submodule is also told where an input lies in it.
        """
        above = {parent for path in inputs for parent in path.parents}
        root = _TREE_OF.match(self.commit(sha))
        if root is None:
            raise self._damaged(b"commit", sha)
        waiting = {self.top: (root[1].decode(), self.top in inputs)}
        chosen = frozenset(inputs)
        while waiting:
            trees = self._read([name for name, _ in waiting.values()], b"tree")
            below: dict[Path, tuple[str, bool]] = {}
            for place, (tree, whole) in waiting.items():
                for name, one in self._entries(tree, trees[tree]):
                    path = place / name
                    budget.take(self.top, path)
                    within = whole or path in chosen
                    if stat.S_ISDIR(one.mode):
                        if within or path in above:
                            below[path] = (one.name, within)
                    elif within or (one.is_module and path in above):
                        yield path, one
            waiting = below

    def named(self, path: Path) -> Held:
        """Return how a commit would have the file or link at `path`, unfiltered."""
        try:
            return self._named(path)
        except OSError as error:
            raise SourceError(f"{show(os.fsencode(path))}: {error.strerror}") from None

    def hidden(self) -> Iterator[Path]:
        """Yield what git is told not to look at."""
        for line in ask(self.top, "ls-files", "-v", "-z").split(b"\0"):
            if line[:1].islower() or line[:1] == b"S":
                yield self.top / os.fsdecode(line[2:])

    def _named(self, path: Path) -> Held:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            target = os.fsencode(path.readlink())
            return Held(0o120000, self._hash(b"blob", len(target), [target]))
        mode = 0o100755 if status.st_mode & stat.S_IXUSR else 0o100644
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return Held(0, "")
            pieces = iter(lambda: file.read(_PIECE), b"")
            return Held(mode, self._hash(b"blob", status.st_size, pieces))

    def _hash(self, kind: bytes, size: int, pieces: Iterable[bytes]) -> str:
        hasher = hashlib.new(self.algorithm, b"%b %d\0" % (kind, size), usedforsecurity=False)
        for piece in pieces:
            hasher.update(piece)
        return hasher.hexdigest()

    def _entries(self, tree: str, data: bytes) -> Iterator[tuple[str, Held]]:
        size = hashlib.new(self.algorithm, usedforsecurity=False).digest_size
        seen = set(_NO_NAMES)
        start = 0
        while start < len(data):
            match = _ENTRY.match(data, start)
            start = match.end() + size if match else 0
            if match is None or start > len(data) or match[2] in seen:
                raise self._damaged(b"tree", tree)
            seen.add(match[2])
            bits = int(match[1], 8)
            if stat.S_ISREG(bits):
                bits = 0o100755 if bits & stat.S_IXUSR else 0o100644
            yield os.fsdecode(match[2]), Held(bits, data[match.end() : start].hex())

    def _read(self, names: Sequence[str], kind: bytes) -> Mapping[str, bytes]:
        """Return the objects `names`; raises SourceError for what is missing or another's."""
        asked = list(dict.fromkeys(names))
        given = "".join(f"{name}\n" for name in asked).encode()
        # Git reads an object whole before it says anything: what does not fit is not asked for.
        sizes = self._sizes(asked, kind, ask(self.top, "cat-file", "--batch-check", given=given))
        most = sum(sizes.values())
        if most > MOST:
            raise SourceError(
                f"{self.top}: git: expected at most {MOST} bytes of a commit's trees at a time, "
                f"found {most}"
            )
        most += _HEAD * len(asked)
        answer = io.BytesIO(ask(self.top, "cat-file", "--batch", given=given, most=most))
        found: dict[str, bytes] = {}
        for name, size in sizes.items():
            answer.readline()
            found[name] = answer.read(size)
            answer.read(1)
            if self._hash(kind, size, [found[name]]) != name:
                raise self._damaged(kind, name)
        return found

    def _sizes(self, names: Sequence[str], kind: bytes, answer: bytes) -> dict[str, int]:
        """Return how large the objects `names` are, from git's `answer`."""
        lines = iter(answer.splitlines())
        sizes = {}
        for name in names:
            words = next(lines, b"").split(b" ")
            if len(words) != 3 or words[1] != kind or not words[2].isdigit():
                raise SourceError(f"{self.top}: git: {kind.decode()} {name} is missing")
            sizes[name] = int(words[2])
        return sizes

    def _damaged(self, kind: bytes, name: str) -> SourceError:
        return SourceError(f"{self.top}: git: {kind.decode()} {name} is damaged")


def _leads_to(place: Path) -> Path | None:
    """Return the folder that a ``.git`` is or, a file, names."""
    if place.is_dir():
        return place.resolve()
    try:
        text = read_file(place, _PIECE)
    except OSError as error:
        raise SourceError(f"{place}: {error.strerror}") from None
    named = text.removeprefix(b"gitdir: ").rstrip(b"\r\n")
    return (place.parent / os.fsdecode(named)).resolve() if named != text else None


def _words(folder: Path, *arguments: str) -> list[str]:
    answer = ask(folder, *arguments)
    try:
        return answer.decode().split()
    except UnicodeDecodeError:
        raise SourceError(
            f"{folder}: git: expected names in UTF-8, found {show(answer.rstrip())}"
        ) from None
