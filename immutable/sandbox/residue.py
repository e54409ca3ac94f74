"""What is never part of what a command changed: a list in one place, with a reason for each.

Nothing here is about what a command is meant to do; these are traces that package managers and
system programs leave beside it, other ones each time.
"""

from __future__ import annotations

import re
from typing import Final

from immutable.content.globs import compile_globs

__all__ = ["MOUNTED", "SNAKEOIL", "emptied", "reason"]

MOUNTED: Final = frozenset({b"proc", b"sys", b"dev", b"tmp", b"run"})
"""Where every system mounts something else: nothing at or below these is in a layer."""

SNAKEOIL: Final = b"ssl-cert-snakeoil.pem"
"""A certificate of a key that is left out; links to it, by its hash, go with it."""

_LOG: Final = "a log, which tells when it was written"
_HOST_KEY: Final = "a key of the machine; make it when the container starts"
_SNAKEOIL: Final = "a key that a package made, and its certificate; make them in the container"
_SEED: Final = "a random seed, which is none if every container has it"
_KNOWN: Final = (
    ("/var/cache/ldconfig/aux-cache", "ldconfig's notes on inodes and times; it makes them again"),
    ("/var/log/dpkg.log", _LOG),
    ("/var/log/apt/*", _LOG),
    ("/var/log/alternatives.log", _LOG),
    ("**/.npm/_logs/*", "a log, named by the time"),
    ("/etc/ssh/ssh_host_*_key", _HOST_KEY),
    ("/etc/ssh/ssh_host_*_key.pub", _HOST_KEY),
    ("/etc/ssl/private/ssl-cert-snakeoil.key", _SNAKEOIL),
    (f"/etc/ssl/certs/{SNAKEOIL.decode()}", _SNAKEOIL),
    ("/var/lib/systemd/random-seed", _SEED),
    ("/var/lib/urandom/random-seed", _SEED),
    ("/var/lib/dbus/machine-id", "an id of the machine; D-Bus makes it when it starts"),
)
_MATCHERS: Final = tuple((compile_globs([glob]), why) for glob, why in _KNOWN)
_ANY: Final = compile_globs([glob for glob, _ in _KNOWN])

_MACHINE_ID: Final = b"etc/machine-id"
# machine-id(5): 32 hexadecimal digits and a newline. "uninitialized" is text of somebody's own.
_ID: Final = re.compile(rb"[0-9a-fA-F]{32}\n?")


def reason(path: bytes) -> str:
    """Return why the file at `path` is left out; empty if it is not."""
    if not _ANY(path):
        return ""
    return next(why for matches, why in _MATCHERS if matches(path))


def emptied(path: bytes, data: bytes) -> bool:
    """Tell whether the file `data` at `path` is an id that systemd makes where it finds none.

    machine-id(5): "an empty /etc/machine-id" is what images are to have.
    """
    return path == _MACHINE_ID and _ID.fullmatch(data) is not None
