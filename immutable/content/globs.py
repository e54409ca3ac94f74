r"""Glob patterns over the paths of a tree.

A pattern is anchored at the tree's root; a leading ``/`` says so again. ``*`` stands for any
characters within one name, ``?`` for one, ``[a-z]`` and ``[!a-z]`` for one ASCII character in or
outside a set, ``**`` as a whole name for any number of directories, none included, and ``\``
takes the next character as it is. Names that start with a dot are no exception.

Whatever lies within a matching path matches too, so ``public`` and ``public/`` cover a directory
with all it holds, and ``public/**`` covers only what it holds. Where names are no tree, such as
those of images, a pattern may be asked to match the `whole` of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Self

from typing_extensions import override

# Matching time must not explode on hostile patterns or names: every repetition is closed off in
# an atomic group or ends at a name's end, so none is ever tried again. Taking the leftmost match of
# each part loses nothing, as what follows a part is only more names.
_ANY_NAMES: Final = rb"(?:[^/]++/)*?"
_CHARACTER: Final = rb"(?>[\xc0-\xff][\x80-\xbf]++|[^/])"
_END: Final = rb"(?=/|\Z)"
_MAGIC: Final = re.compile(r"[*?\[\\]")


def compile_globs(patterns: Iterable[str], *, whole: bool = False) -> Callable[[bytes], bool]:
    """Return whether any of `patterns` matches a path, as a function of the path.

    Paths are raw bytes relative to the tree's root, without a leading or trailing ``/``. With
    `whole` a pattern does not cover what lies within a path that it matches. The time for one is
    in proportion to its length and that of the patterns. Raises ValueError, naming the pattern,
    for one that cannot be understood.
    """
    branches = [_translate(pattern, whole=whole) for pattern in patterns]
    if not branches:
        return _matches_nothing
    return _Matcher(re.compile(b"|".join(branches), re.DOTALL))


class _Matcher:
    """What `compile_globs` gives; unlike a closure, it can be pickled."""

    __slots__ = ("_match", "_pattern")

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern, self._match = pattern, pattern.match

    def __call__(self, path: bytes) -> bool:
        return self._match(path) is not None

    @override
    def __reduce__(self) -> tuple[type[Self], tuple[re.Pattern[bytes]]]:
        return type(self), (self._pattern,)


def _matches_nothing(_path: bytes) -> bool:
    return False


def is_plain(pattern: str) -> bool:
    """Tell whether `pattern` is a path: it has nothing in it that stands for anything else."""
    return not _MAGIC.search(pattern)


def check(pattern: str) -> None:
    """Raise ValueError, saying what is wrong, unless `pattern` can be understood."""
    _translate(pattern)


def _translate(pattern: str, *, whole: bool = False) -> bytes:
    names = [name for name in pattern.split("/") if name not in ("", ".")]
    if pattern.startswith("!"):
        raise ValueError(
            f"{pattern!r}: a pattern cannot start with ! (write \\! for the character)"
        )
    if not names:
        raise ValueError(f"{pattern!r}: expected a pattern for paths within the tree")
    if ".." in names or "\0" in pattern:
        raise ValueError(f"{pattern!r}: leaves the tree")
    parts = list(_parts(names, pattern, whole=whole))
    return b"(?>" + b"".join(parts) + b")"


def _parts(names: Sequence[str], pattern: str, *, whole: bool) -> Iterator[bytes]:
    """Yield regular expressions for the runs of names between ``**``."""
    run: list[bytes] = []
    anywhere = False
    for name in names:
        if name != "**":
            run.append(_name(name, pattern))
            continue
        if run:
            yield _run(run, anywhere, b"/")
            run, anywhere = [], False
        anywhere = True
    # A final ** asks for at least one more name.
    yield _run(run, anywhere, rb"\Z" if whole else b"") if run else rb"[^/]"


def _run(names: Sequence[bytes], anywhere: bool, end: bytes) -> bytes:
    start = _ANY_NAMES if anywhere else b""
    return b"(?>" + start + b"/".join(names) + end + b")"


def _name(name: str, pattern: str) -> bytes:
    """Return the regular expression of one name, up to the name's end."""
    segments = [b""]
    position = 0
    while position < len(name):
        if name.startswith("**", position):
            raise ValueError(f"{pattern!r}: ** must stand alone between slashes")
        if name[position] == "*":
            segments.append(b"")
            position += 1
        else:
            token, position = _token(name, position, pattern)
            segments[-1] += token
    first, *rest = segments
    if not rest:
        return first + _END
    *middle, last = rest
    # Between two stars the first place where a segment fits is as good as any.
    lazy = b"".join(b"(?>[^/]*?" + segment + b")" for segment in middle)
    # A star alone must not match the empty name.
    nonempty = b"" if any(segments) else b"(?=[^/])"
    return nonempty + first + lazy + b"(?>[^/]*" + last + _END + b")"


def _token(name: str, position: int, pattern: str) -> tuple[bytes, int]:
    character = name[position]
    if character == "?":
        return _CHARACTER, position + 1
    if character == "[":
        return _set(name, position, pattern)
    if character == "\\":
        position += 1
        if position == len(name):
            raise ValueError(f"{pattern!r}: nothing after \\")
    return re.escape(name[position].encode()), position + 1


def _set(name: str, start: int, pattern: str) -> tuple[bytes, int]:
    position = start + 1
    negated = name[position : position + 1] in ("!", "^")
    position += negated
    # As everywhere, a ] in the first place is one of the set.
    end = name.find("]", position + 1)
    if end < 0:
        raise ValueError(f"{pattern!r}: [ without ]")
    inner = name[position:end]
    if not inner.isascii() or "\\" in inner or "[" in inner:
        raise ValueError(f"{pattern!r}: expected ASCII characters without [ and \\ between [ and ]")
    ranges = b""
    index = 0
    while index < len(inner):
        low = high = inner[index]
        if inner[index + 1 : index + 2] == "-" and index + 2 < len(inner):
            high = inner[index + 2]
            index += 2
        if low > high:
            raise ValueError(f"{pattern!r}: the range {low}-{high} is backwards")
        ranges += b"\\x%02x-\\x%02x" % (ord(low), ord(high))
        index += 1
    if negated:
        return b"(?![" + ranges + b"])" + _CHARACTER, end + 1
    return b"(?!/)[" + ranges + b"]", end + 1
