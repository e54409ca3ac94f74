"""What is run over which layers, within which limits, and what comes of it: plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from attrs import frozen

from immutable.oci.digest import Digest

ENVIRONMENT: Final[Mapping[str, str]] = {
    "HOME": "/tmp/home",  # noqa: S108 - of the sandbox, which has a tmpfs there
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": "0",
    "TZ": "UTC",
}
"""What a command finds in its environment where its own `Command.env` says nothing else."""


@frozen
class Layer:
    """A layer beneath a command: its diffID, and how its uncompressed tar is opened."""

    diff_id: Digest
    open: Callable[[], BinaryIO]


@frozen
class Bind:
    """A file or folder of this machine that a command can read at `target`, and not change.

    It is a copy: root's, whoever's it is here, with the modes and times, in seconds, that it has
    here. Links in it are links inside.
    """

    source: Path
    target: str


@frozen
class Command:
    """A program with its words, and what it finds.

    `env` is added to `ENVIRONMENT`. Each of `caches` is an empty tmpfs in each run, and no part of
    the difference. `stdin` is what it reads, nothing by default.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str = "/"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    binds: tuple[Bind, ...] = ()
    caches: tuple[str, ...] = ()
    stdin: bytes = b""


@frozen
class Limits:
    """What a command may take: seconds, bytes of memory, processes, bytes of output that are kept.

    `memory` bounds what each process may allocate (RLIMIT_DATA), and what all of them have in
    memory together, which is looked at some times a second.
    """

    seconds: int = 3600
    memory: int | None = None
    processes: int = 4096
    output: int = 1 << 20


@frozen
class Surroundings:
    """In what the two runs of a command differ; `number` is 1 or 2.

    The first has its changes on disk, all processors, fixed addresses and low process ids. The
    second has them in memory where the kernel can (Linux 6.6), one processor, random addresses
    and higher process ids.
    """

    number: int


@frozen
class Ran:
    """How a command ended: its exit status, or minus the signal that ended it.

    `output` is the end of what it wrote to stdout and stderr, as it came. `difference` is an
    uncompressed layer tar of what it changed, which lives as long as the sandbox: whiteouts and
    opaque marks as OCI image-spec layer.md has them, numeric owners, extended attributes, hard
    links, times as they are. It was started at `began`, in seconds of `time.monotonic`.
    """

    status: int
    output: bytes
    difference: Path
    began: float
