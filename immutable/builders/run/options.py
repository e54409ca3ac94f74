"""What a ``run`` layer is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from attrs import field, frozen

from immutable.builders.outside import parse_url
from immutable.content.entries import ancestors, safe_path, show
from immutable.oci.digest import Digest
from immutable.redact import quoted
from immutable.spec.toml import FaultError, parsed_by
from immutable.spec.types import NO_ENVIRONMENT, Duration, Environment, Glob, Owner, Target
from immutable.spec.types import target as parse_target

_ROOT: Final = Target("/")
_NETWORK: Final = (
    "; a command has none: what it needs from outside is said with [[layer.fetch]], and pinned"
)
_SIZE: Final = re.compile(r"([0-9]{1,9})(KiB|MiB|GiB)", re.ASCII)
_UNITS: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
# What the machine gives a command, or keeps from its changes.
_KEPT: Final = frozenset((b"proc", b"sys", b"dev", b"run", b"tmp"))


def _place(text: str) -> str:
    """Return where an input goes: a path that is neither the root nor of the machine's own."""
    path = parse_target(text)
    first = raw(path).split(b"/")[0]
    if not first or first in _KEPT:
        raise FaultError(
            f"expected a path in the image, outside of /proc, /sys, /dev, /run and /tmp, found "
            f"{quoted(text)}"
        )
    return path


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if not match or not int(match[1]):
        raise FaultError(f'expected a size like "512MiB" or "4GiB", found {quoted(text)}')
    return int(match[1]) * _UNITS[match[2]]


def _written_size(size: int) -> str:
    unit = next(unit for unit, length in reversed(_UNITS.items()) if size % length == 0)
    return f"{size // _UNITS[unit]}{unit}"


@frozen
class RunInput:
    """One of the ``inputs``: the file or folder `path`, which the command finds at `to`.

    The globs and the `ignore_file` choose of a folder, as in a ``files`` layer.
    """

    path: str
    to: str = field(metadata=parsed_by(_place))
    include: tuple[Glob, ...] = ()
    exclude: tuple[Glob, ...] = ()
    ignore_file: str = ""

    def __attrs_post_init__(self) -> None:
        if not self.path:
            raise FaultError("expected a file or folder, relative to the spec's", key="path")


@frozen
class RunFetch:
    """A ``[[layer.fetch]]``: the file at `url`, which the command finds at `to`.

    The lock pins it, unless there is a `sha256`.
    """

    url: str = field(metadata=parsed_by(parse_url))
    to: str = field(metadata=parsed_by(_place))
    sha256: Digest | None = None


@frozen
class RunOptions:
    """A ``run`` layer: a `command`, run without a shell, or a `script`.

    The script is run by ``/bin/sh -e``, or by what its first line says after ``#!``. It runs in
    `workdir` as `user`, with the variables `env`. Of what it changes, only what `keep` matches,
    if that says anything, and `drop` does not becomes the layer. What is in a `cache` is no part
    of it, and is empty whenever the command starts. `timeout` and `memory` limit each run.
    """

    hints: ClassVar = {"network": _NETWORK}

    command: tuple[str, ...] = ()
    script: str = ""
    env: Environment = NO_ENVIRONMENT
    workdir: Target = _ROOT
    user: Owner | None = None
    keep: tuple[Glob, ...] = ()
    drop: tuple[Glob, ...] = ()
    cache: tuple[Target, ...] = ()
    inputs: tuple[RunInput, ...] = ()
    fetch: tuple[RunFetch, ...] = ()
    timeout: Duration | None = None
    memory: int | None = field(default=None, metadata=parsed_by(_size, _written_size))

    def __attrs_post_init__(self) -> None:
        if bool(self.command) == bool(self.script):
            raise FaultError("expected either command or script")
        if self.command and not self.command[0]:
            raise FaultError("expected a program, found nothing", key="command")
        if self.timeout == 0:
            raise FaultError("expected more than 0s", key="timeout")
        if fault := next(self._meeting(), None):
            raise fault

    def _meeting(self) -> Iterator[FaultError]:
        """Yield faults where two of the paths that the command finds are the same, or nested."""
        taken: dict[bytes, str] = {}
        places = [(f"inputs[{number}].to", one.to) for number, one in enumerate(self.inputs)]
        places += [(f"fetch[{number}].to", one.to) for number, one in enumerate(self.fetch)]
        places += [(f"cache[{number}]", one) for number, one in enumerate(self.cache)]
        for place, text in places:
            path = raw(text)
            if not path:
                yield FaultError(f"{place}: expected a path below the root, found the root itself")
            for other, of_other in taken.items():
                if path == other or path in ancestors([other]) or other in ancestors([path]):
                    yield FaultError(
                        f"{place}: expected a path apart from /{show(other)} of {of_other}, found "
                        f"{quoted(text)}"
                    )
            taken[path] = place


def raw(text: str) -> bytes:
    """Return a path as entries have it."""
    return safe_path(text.encode(), reroot=True)
