"""A Docker engine as a place to prune: the images of this project that it holds.

Which those are their history tells: the last step of one is ``immutable KIND``. Others are not
listed, so no policy speaks about them, and images that something else built upon ours are others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import define, field

from immutable.lifecycle.retention import Item
from immutable.lifecycle.targets.base import Freed
from immutable.oci.digest import Digest
from immutable.progress import Progress
from immutable.transports import engine
from immutable.transports.engine import EngineImage

NAMELESS: Final = "<none>"  # as the engine's own list has it
_OURS: Final = re.compile(r"immutable [a-z]+")
# A registry's host: no part of what a policy's globs match.
_HOST: Final = re.compile(r"^(?:[^/]*[.:][^/]*|localhost)/")


@define
class EnginePlace:
    """The engine at `host`, or the one that Docker's own settings point to; list first."""

    host: str | None = None
    _names: dict[Item, tuple[str, ...]] = field(factory=dict, repr=False)
    _sizes: dict[Digest, int] = field(factory=dict, repr=False)

    def __str__(self) -> str:
        return "docker-daemon:"

    def items(self) -> tuple[Item, ...]:
        """Return this project's images, once for each name; those of containers are pinned."""
        self._names.clear()
        with engine.connected(str(self), self.host) as there:
            used = there.used_images()
            self._sizes = there.own_sizes()
            for image in there.images():
                if image.steps and _OURS.fullmatch(image.steps[0]):
                    self._names.update(_items(image, pinned=image.digest in used))
        return tuple(self._names)

    def preview(self, expired: Sequence[Item]) -> Freed:
        """Return the bytes that images have to themselves, for those that keep no name."""
        return self._freed(expired, expired)

    def delete(self, expired: Sequence[Item], progress: Progress) -> Freed:
        """Take names away, and an image with its last; what a container uses by now stays."""
        gone = []
        with (
            engine.connected(str(self), self.host) as there,
            progress.task(f"pruning {self}", len(expired), unit="images") as advance,
        ):
            used = there.used_images()
            for item in expired:
                if item.digest not in used and there.remove(item.digest, self._names[item]):
                    gone.append(item)
                advance(1)
        return self._freed(expired, gone)

    def _freed(self, expired: Sequence[Item], gone: Sequence[Item]) -> Freed:
        """Return what goes with those of `expired` that are `gone`."""
        left = {item.digest for item in self._names.keys() - set(gone)}
        sizes = {
            item.digest: self._sizes.get(item.digest, 0) for item in gone if item.digest not in left
        }
        spared = {*expired} - {*gone}
        return Freed.of(sizes, [(item.digest,) for item in expired], spared)


def _items(image: EngineImage, *, pinned: bool) -> Iterator[tuple[Item, tuple[str, ...]]]:
    """Yield an item for each of the image's names, with the names as the engine has them."""
    names: dict[str, dict[str, str]] = defaultdict(dict)
    for full in image.names:
        repository, _, tag = full.rpartition(":")
        names[_HOST.sub("", repository)][full] = tag
    for name, tags in (names or {NAMELESS: {}}).items():
        item = Item(
            name=name,
            digest=image.digest,
            created=image.tagged,
            tags=tuple(tags.values()),
            pinned=pinned,
            size=image.size,
        )
        yield item, tuple(tags)
