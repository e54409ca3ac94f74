"""A store as a place to prune: its generations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from attrs import field, frozen

from immutable.errors import ImageNotFound, ImmutableError
from immutable.lifecycle.retention import Item
from immutable.lifecycle.targets.base import Freed
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.progress import Progress
from immutable.store import AbstractStore, Generation
from immutable.store.base import read_index


@frozen
class StorePlace:
    """The generations of `store`.

    With them go the layers that they alone had, and caches until all blobs have at most
    `max_size` bytes; without `caches`, all caches.
    """

    store: AbstractStore = field(eq=False)
    max_size: int | None = None
    caches: bool = True

    def __str__(self) -> str:
        return "store"

    def items(self) -> tuple[Item, ...]:
        """Return every generation of every image."""
        return tuple(
            _item(self.store, generation)
            for image in self.store.images()
            for generation in self.store.generations(image.name)
        )

    def preview(self, expired: Sequence[Item]) -> Freed:
        """Return what deleting `expired` would free."""
        closures = [self._closure(item) for item in expired]
        swept = self.store.sweep(
            caches=self.caches,
            max_size=self.max_size,
            spent=_joined(closures),
            dry_run=True,
            forgotten={name: _numbers(items) for name, items in _by_name(expired).items()},
        )
        return Freed.of(dict(swept.blobs), closures)

    def delete(self, expired: Sequence[Item], progress: Progress) -> Freed:
        """Forget the generations, then sweep.

        What has become current, been pinned or got a tag since it was listed stays; what somebody
        else has forgotten is gone.
        """
        closures = [self._closure(item) for item in expired]
        spared: set[Item] = set()
        for name, items in _by_name(expired).items():
            spared |= self._forget(name, items)
        with progress.task("sweeping the store"):
            swept = self.store.sweep(
                caches=self.caches, max_size=self.max_size, spent=_joined(closures)
            )
        return Freed.of(dict(swept.blobs), closures, spared)

    def _forget(self, name: str, items: Sequence[Item]) -> set[Item]:
        """Forget generations of `name`; return those that stay."""
        while True:
            there = {each.number: each for each in self._generations(name)}
            listed = [item for item in items if item.number in there]
            spared = {item for item in listed if _is_needed(there[item.number or 0], item)}
            try:
                self.store.forget(name, _numbers(item for item in listed if item not in spared))
            except ImageNotFound:
                continue  # another pruner was faster, so there are fewer now
            return spared

    def _generations(self, name: str) -> tuple[Generation, ...]:
        try:
            return self.store.generations(name)
        except ImageNotFound:
            return ()

    def _closure(self, item: Item) -> Collection[Digest]:
        size = self.store.blob_size(item.digest) if self.store.has_blob(item.digest) else 0
        return self.store.closure(Descriptor(item.media_type, item.digest, size))


def _item(store: AbstractStore, generation: Generation) -> Item:
    root = generation.descriptor
    return Item(
        name=generation.name,
        digest=root.digest,
        number=generation.number,
        created=generation.created,
        tags=generation.tags,
        current=generation.current,
        pinned=generation.pinned,
        size=sum(store.closure(root).values()),
        media_type=root.media_type,
        children=_children(store, root),
    )


def _children(store: AbstractStore, root: Descriptor) -> tuple[Digest, ...]:
    try:
        index = read_index(store, root)
    except ImmutableError:
        return ()  # damaged: `store check` tells
    return () if index is None else tuple(child.digest for child in index.children)


def _is_needed(now: Generation, listed: Item) -> bool:
    """Whether a generation has come to be needed since it was listed."""
    return now.current or now.pinned or not {*now.tags} <= {*listed.tags}


def _by_name(expired: Sequence[Item]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = defaultdict(list)
    for item in expired:
        found[item.name].append(item)
    return dict(found)


def _numbers(items: Iterable[Item]) -> list[int]:
    return [item.number for item in items if item.number is not None]  # `_item` sets it


def _joined(closures: Sequence[Collection[Digest]]) -> frozenset[Digest]:
    return frozenset(digest for closure in closures for digest in closure)
