"""Specs and locks from the files that people have."""

from __future__ import annotations

from pathlib import Path

from immutable.builders.base import Read
from immutable.builders.registry import options
from immutable.errors import SpecError
from immutable.reading import read_file
from immutable.spec import document as specs
from immutable.spec.document import Spec
from immutable.spec.lock import Lock
from immutable.spec.lock import parse as parse_lock


def load(path: str | Path) -> Spec:
    """Return the spec in the file at `path`.

    Raises SpecError with every fault, or if the file cannot be read.
    """
    where = str(path)
    data = read_small(Path(path), where, given=True)
    return specs.parse(data, options(), where)


def lock_path(spec: Spec) -> Path:
    """Return where the spec's lock stands: ``web.lock.toml`` beside ``web.toml``."""
    return Path(spec.where).with_suffix(".lock.toml")


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
