"""What a language's own lock chooses of one package."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from attrs import frozen

from immutable.oci.digest import Digest
from immutable.redact import quoted
from immutable.sources.pypi.environment import Environment

# The algorithms that pip takes in --hash, with their lengths in hex digits.
_LENGTHS: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX: Final = re.compile(r"[0-9a-f]+", re.ASCII)
_SHOWN: Final = 2  # hashes


@frozen
class Choice:
    """One package: `name` (PEP 503, normalised), `version`, and the hashes one of which holds.

    Of ``pylock.toml`` also the wheel's file name and, where it says so, its size in bytes; which
    file of a requirements file's it is, only pip can tell. `source` marks a package of which
    there is no wheel.
    """

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    file: str = ""
    size: int | None = None
    source: bool = False

    def __str__(self) -> str:
        """Return how a lock's request writes it; changes with the hashes."""
        return " ".join((self.name, self.version, *self._shown()))

    def _shown(self) -> Sequence[str]:
        if len(self.hashes) <= _SHOWN:
            return self.hashes
        every = Digest.of("\n".join(self.hashes).encode())
        return (f"({len(self.hashes)} hashes, {every.short})",)

    @property
    def sha256(self) -> Digest | None:
        """The file's digest; None if it may be one of several or is known otherwise."""
        if len(self.hashes) == 1 and self.hashes[0].startswith("sha256:"):
            return Digest.parse(self.hashes[0])
        return None


class Locked(Protocol):
    """A language's own lock."""

    def named(
        self, environments: Iterable[Environment], extras: Sequence[str], groups: Sequence[str]
    ) -> list[str]:
        """Return, sorted, what may be taken in any of `environments`, one text for each file."""

    def select(
        self, environment: Environment, extras: Sequence[str], groups: Sequence[str]
    ) -> list[Choice]:
        """Return what is taken in `environment`, sorted by name.

        Raises ResolutionError, naming the package, where no wheel fits.
        """


def checked_hash(algorithm: str, digits: str) -> str:
    """Return a hash as ``sha256:<hex>``; raise ValueError for one that cannot be used."""
    digits = digits.lower()
    length = _LENGTHS.get(algorithm)
    if length is None:
        known = ", ".join(_LENGTHS)
        raise ValueError(f"expected a hash by one of {known}; found {quoted(algorithm, 40)}")
    if len(digits) != length or not _HEX.fullmatch(digits):
        raise ValueError(f"{algorithm}: expected {length} hex digits, found {quoted(digits, 140)}")
    return f"{algorithm}:{digits}"
