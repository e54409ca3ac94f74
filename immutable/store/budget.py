"""Which caches go when a store grows beyond its budget. Images never do."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from attrs import field, frozen

from immutable.oci.digest import Digest


def _aware(_cache: object, _attribute: object, value: datetime | None) -> None:
    if value is not None and value.tzinfo is None:
        raise ValueError("last_used: expected a time with its offset from UTC")


@frozen
class Cache:
    """A blob of `size` bytes that no image needs; `last_used` is None where nobody knows."""

    digest: Digest
    size: int
    last_used: datetime | None = field(default=None, validator=_aware)


def evict(caches: Iterable[Cache], budget: int, used: int) -> tuple[Cache, ...]:
    """Return the caches to delete, in this order, so that `used` bytes become at most `budget`.

    The longest unused go first, those of unknown use before them, equals by digest; no more
    than needed, and none of no bytes. If all of them are not enough, all are returned: the rest
    is images.
    """
    never = datetime.min.replace(tzinfo=UTC)
    chosen = []
    for cache in sorted(caches, key=lambda c: (c.last_used or never, c.digest, c.size)):
        if used <= budget:
            break
        if cache.size > 0:
            chosen.append(cache)
            used -= cache.size
    return tuple(chosen)
