"""A git repository's commits and trees, each checked against its name.

Git runs here so that nothing which a repository says of itself (filters, hooks, a remote to fetch
what lacks, other commits in the place of these) changes an answer or starts a program.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from attrs import field, frozen

from immutable.config.tools import git_environment
from immutable.entries import show
from immutable.errors import SourceError
from immutable.reading import read_file

_SECONDS: Final = 60
_PIECE: Final = 1 << 20
_OPTIONS: Final = (
    *("--no-pager", "--no-optional-locks", "--literal-pathspecs", "--no-replace-objects"),
    *(
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "core.commitGraph=false",
    ),
)
# A repository may say that objects are to be fetched when they are asked for, by any program:
# no transport is allowed here, whatever its settings are.
_CLOSED: Final = {"GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
_TREE: Final = 0o40000
_MODULE: Final = 0o160000


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
        place = Path(os.fsdecode(_git(folder, "rev-parse", "--absolute-git-dir").rstrip(b"\n")))
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

    def held(self, sha: str, inputs: Sequence[Path]) -> Iterator[tuple[Path, Held]]:
        """Yield what the commit `sha` has at and below `inputs`: files, links and submodules.

        A submodule is also told where an input lies in it.
        """
        above = {parent for path in inputs for parent in path.parents}
        root = (
            self.commit(sha).partition(b"\n")[0].removeprefix(b"tree ").decode("ascii", "replace")
        )
        waiting = {self.top: (root, self.top in inputs)}
        chosen = frozenset(inputs)
        while waiting:
            trees = self._read([name for name, _ in waiting.values()], b"tree")
            below: dict[Path, tuple[str, bool]] = {}
            for place, (tree, whole) in waiting.items():
                for name, one in self._entries(tree, trees[tree]):
                    path = place / name
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
        for line in _git(self.top, "ls-files", "-v", "-z").split(b"\0"):
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
        while data:
            head, zero, data = data.partition(b"\0")
            mode, blank, name = head.partition(b" ")
            ours = mode.isdigit() and not mode.strip(b"01234567") and len(mode) <= 6
            if (
                not (zero and blank and ours and len(data) >= size)
                or b"/" in name
                or not (name.strip(b".") or len(name) > 2)
            ):
                raise SourceError(f"{self.top}: git: tree {tree} is damaged")
            bits = int(mode, 8)
            if stat.S_ISREG(bits):
                bits = 0o100755 if bits & stat.S_IXUSR else 0o100644
            yield os.fsdecode(name), Held(bits, data[:size].hex())
            data = data[size:]

    def _read(self, names: Sequence[str], kind: bytes) -> Mapping[str, bytes]:
        """Return the objects `names`; raises SourceError for what is missing or another's."""
        asked = list(dict.fromkeys(names))
        answer = _git(
            self.top, "cat-file", "--batch", given="".join(f"{n}\n" for n in asked).encode()
        )
        found: dict[str, bytes] = {}
        for name in asked:
            head, _, answer = answer.partition(b"\n")
            words = head.split(b" ")
            if len(words) != 3 or words[1] != kind or not words[2].isdigit():
                raise SourceError(f"{self.top}: git: {kind.decode()} {name} is missing")
            size = int(words[2])
            found[name], answer = answer[:size], answer[size + 1 :]
            if self._hash(kind, size, [found[name]]) != name:
                raise SourceError(f"{self.top}: git: {kind.decode()} {name} is damaged")
        return found


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
    return _git(folder, *arguments).decode("utf-8", "surrogateescape").split()


def _git(folder: Path, *arguments: str, given: bytes = b"") -> bytes:
    command = ["git", *_OPTIONS, "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and names of objects
            command,
            input=given,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env={**git_environment(), **_CLOSED},
        )
    except FileNotFoundError:
        raise SourceError("git is not installed, and the spec asks it for its commit") from None
    except subprocess.TimeoutExpired:
        raise SourceError(f"{folder}: git did not answer within {_SECONDS} seconds") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise SourceError(f"{folder}: git: {said or f'exit status {done.returncode}'}")
    return done.stdout
