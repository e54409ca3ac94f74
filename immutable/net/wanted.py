"""What is to be fetched: pinned bytes, and where they may be had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from immutable.config.npm import Npm
from immutable.oci.digest import Digest
from immutable.progress import Progress

if TYPE_CHECKING:
    from immutable.store.base import AbstractStore


class Through(Protocol):
    """Another program that fetches, with its own settings, what is pinned here."""

    def bring(self, wanted: Sequence[Wanted], store: AbstractStore, progress: Progress) -> None:
        """Bring what is wanted into `store`, verified; raise SourceError if it cannot be had."""


@frozen
class Wanted:
    """Bytes to fetch: what they are, and where they may be had.

    `name` is for people; `urls` are tried in order; `absent` is the advice to give when every
    one of them answers that it has no such file. What only another program's settings can find
    has no URLs, but `through`, which runs that. With `settings`, npm's credentials, certificates
    and proxies count. What is `local` needs no network to be had.
    """

    name: str
    digest: Digest
    size: int | None
    urls: tuple[str, ...]
    absent: str = ""
    through: Through | None = field(default=None, eq=False, repr=False)
    settings: Npm | None = field(default=None, eq=False, repr=False)
    local: bool = False


@frozen
class Hashed:
    """Bytes of which another lock knows a SHA-512: any of those in `sha512`, in hex.

    Else as `Wanted`.
    """

    name: str
    sha512: tuple[str, ...]
    urls: tuple[str, ...]
    absent: str = ""
    settings: Npm | None = field(default=None, eq=False, repr=False)


def by_program(wanted: Iterable[Wanted]) -> Iterator[tuple[Through, list[Wanted]]]:
    """Yield each program that fetches some of `wanted`, with those."""
    shares: dict[int, tuple[Through, list[Wanted]]] = {}
    for one in wanted:
        if one.through is not None:
            shares.setdefault(id(one.through), (one.through, []))[1].append(one)
    yield from shares.values()
