"""What is deployed, found in the files that say so: YAML, JSON, TOML, Terraform, Compose, any text.

The text itself is scanned, comments included: it can only keep more. What it cannot tell is what
stands behind a variable: ``image: shop/web:${TAG}`` protects nothing that no other line names.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from immutable.content.globs import compile_globs
from immutable.errors import SpecError
from immutable.lifecycle.retention import Deployed, Mention
from immutable.reading import read_file

MAX_FILE: Final = 16 << 20  # bytes; rendered manifests of whole clusters have a few MB
_MAX_ENTRIES: Final = 1_000_000  # files and folders to look at for one pattern
_Folders = tuple[tuple[int, int], ...]  # device and inode of each
_WILD: Final = frozenset("*?[\\")


def find_deployed(patterns: Iterable[str], folder: Path, where: str = "policy") -> Deployed:
    """Return what the files mention that match `patterns`, globs of paths within `folder`.

    Links are followed. Raises SpecError, naming `where` and every fault at once: a pattern that
    matches no file, as a misspelt one would let everything go, and a file that cannot be read,
    is no regular file, has more than 16 MiB, or is no UTF-8 text.
    """
    faults: list[str] = []
    found: dict[str, Path] = {}
    for pattern in dict.fromkeys(patterns):
        files = dict(_matching(pattern, folder, faults))
        if not files:
            faults.append(f"keep-deployed: {pattern!r} matches no file below {folder}")
        found.update(files)
    mentions = []
    for name in sorted(found):
        try:
            mentions.append(Mention.of(_text(found[name]), _show(name)))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            faults.append(f"keep-deployed: {_show(name)}: {reason}")
    if faults:
        raise SpecError(where, faults)
    return Deployed(mentions)


def _matching(pattern: str, folder: Path, faults: list[str]) -> Iterator[tuple[str, Path]]:
    """Yield (path within `folder`, file) for all that match; note what cannot be listed."""
    match = compile_globs([pattern])
    start = _literal(pattern)
    for name, path in _files(folder / start, start, faults):
        if match(os.fsencode(name)):
            yield name, path


def _literal(pattern: str) -> str:
    """Return the folders that `pattern` starts with, up to the first with a wildcard."""
    names = [name for name in pattern.split("/") if name not in ("", ".")]
    wild = (number for number, name in enumerate(names) if _WILD.intersection(name))
    return "/".join(names[: next(wild, len(names))])


def _files(path: Path, name: str, faults: list[str]) -> Iterator[tuple[str, Path]]:
    """Yield (name, path) of everything at and below `path`, which is called `name`, but folders."""
    todo: list[tuple[str, Path, _Folders]] = [(name, path, ())]
    seen = 0
    while todo:
        name, path, above = todo.pop()
        try:
            below = _listed(path, above)
        except OSError as error:
            faults.append(f"keep-deployed: {_show(name) or path}: {error.strerror}")
            continue
        if below is None:
            yield name, path
            continue
        here, entries = below
        todo += [(f"{name}/{entry.name}".lstrip("/"), entry, here) for entry in entries]
        seen += len(entries)
        if seen > _MAX_ENTRIES:
            faults.append(f"keep-deployed: more than {_MAX_ENTRIES} files below {_show(name)}")
            return


def _listed(path: Path, above: _Folders) -> tuple[_Folders, list[Path]] | None:
    """Return what is in the folder `path`, or None if it is none.

    A folder that a link leads back to, one of those `above`, has nothing in it.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        # A link to nothing is a fault if its name is asked for.
        return None if path.is_symlink() else (above, [])
    if not stat.S_ISDIR(status.st_mode):
        return None
    here = (status.st_dev, status.st_ino)
    return (*above, here), [] if here in above else sorted(path.iterdir())


def _show(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")


def _text(path: Path) -> str:
    """Return the text of a regular file; raise OSError, or ValueError saying what is wrong."""
    data = read_file(path, MAX_FILE)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: byte {error.start}") from None
    if "\0" in text:
        raise ValueError("expected text, found a NUL")
    return text
