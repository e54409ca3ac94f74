"""What a place is that a policy can be applied to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from attrs import frozen

from immutable.lifecycle.retention import Item
from immutable.oci.digest import Digest
from immutable.progress import Progress


@frozen
class Freed:
    """How many bytes go with each of some items, in their order, and with nobody's caches.

    What several items have goes with the first of them. `spared` are those of the items that
    stay, as they have come to be needed.
    """

    items: tuple[int, ...] = ()
    caches: int = 0
    spared: frozenset[Item] = frozenset()

    @property
    def total(self) -> int:
        """All bytes that go."""
        return sum(self.items) + self.caches

    @classmethod
    def of(
        cls,
        gone: Mapping[Digest, int],
        closures: Iterable[Iterable[Digest]],
        spared: Iterable[Item] = (),
    ) -> Freed:
        """Return how the sizes of the blobs that are `gone` spread over items' `closures`."""
        left = dict(gone)
        items = tuple(sum(left.pop(digest, 0) for digest in closure) for closure in closures)
        return cls(items, sum(left.values()), frozenset(spared))


class Target(Protocol):
    """A place that holds images; its ``str()`` is how the command line writes it."""

    def items(self) -> tuple[Item, ...]:
        """Return all that may be pruned; raise ImmutableError if it cannot be listed."""

    def preview(self, expired: Sequence[Item]) -> Freed:
        """Return what deleting `expired` would free; change nothing."""

    def delete(self, expired: Sequence[Item], progress: Progress) -> Freed:
        """Delete `expired` and return what it freed.

        What has come to be needed since it was listed stays, and what is gone by now is gone.
        Raises ImmutableError; what was deleted until then is.
        """
