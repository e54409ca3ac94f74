"""Specs and locks from the files that people have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from immutable.builders.base import Read
from immutable.builders.registry import options
from immutable.errors import SpecError
from immutable.reading import read_file
from immutable.spec import document as specs
from immutable.spec.document import Spec, placed
from immutable.spec.lock import Lock
from immutable.spec.lock import parse as parse_lock


def load(path: str | Path) -> Spec:
    """Return the spec in the file at `path`.

    Raises SpecError with every fault, or if the file cannot be read.
    """
    where = str(path)
    data = read_small(Path(path), where, given=True)
    return specs.parse(data, options(), where)


def spec_of(spec: Spec | str | Path, folder: str | Path | None) -> Spec:
    """Return the spec that a verb is called with: one in a file, or one made in Python.

    The latter is looked at as if it stood in `folder`, by default where it was put before: first
    of all the working folder. Raises SpecError if a spec in a file is given another folder.
    """
    spec = spec if isinstance(spec, Spec) else load(spec)
    if folder is None:
        return spec
    if spec.in_file:
        raise SpecError(
            spec.where,
            [f"folder: expected none, as the spec stands in a file, found {str(folder)!r}"],
        )
    return placed(spec, Path(folder, Path(spec.where).name))


def lock_path(spec: Spec) -> Path:
    """Return where the spec's lock stands: ``web.lock.toml`` beside ``web.toml``.

    That of a spec made in Python is named by the image: ``web.lock.toml`` for ``shop/web``.
    """
    path = Path(spec.where)
    return path.with_suffix(".lock.toml") if spec.in_file else Path(f"{path}.lock.toml")


def own_files(spec: Spec) -> Mapping[str, Path]:
    """Return the files that the spec stands in: its own, if there is one, and its lock."""
    own = {"the spec": Path(spec.where)} if spec.in_file else {}
    return {**own, "the lock": lock_path(spec)}


def load_lock(spec: Spec) -> Lock | None:
    """Return the spec's lock; None if there is none. Raises LockError for a damaged one."""
    path = lock_path(spec)
    if not path.exists():
        return None
    return parse_lock(read_small(path, str(path)), str(path))


def read_small(path: Path, where: str, *, given: bool = False) -> bytes:
    """Return the content of a file that a person or `lock` wrote; SpecError if it cannot be.

    `given` is one that was named in the call, which may be a pipe (`reading.read_file`).
    """
    try:
        return read_file(path, given=given)
    except OSError as error:
        raise SpecError(where, [f"{error.strerror}"]) from None


def reader(folder: Path) -> Read:
    """Return what reads, for layer kinds, files that stand beside a spec in `folder`."""

    def read(path: str) -> bytes:
        place = folder / path
        return read_small(place, str(place))

    return read
