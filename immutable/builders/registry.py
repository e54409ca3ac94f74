"""The layer kinds there are, found through the entry-point group ``immutable.builders``."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Any, Final

from immutable.builders.base import Builder
from immutable.errors import SpecError

_GROUP: Final = "immutable.builders"
# A kind that no spec names: its layer comes of the spec's users and groups.
_UNNAMED: Final = EntryPoint("users", "immutable.builders.accounts:AccountsBuilder", _GROUP)


@functools.cache
def builders() -> Mapping[str, Builder]:
    """Return the layer kinds there are, by name; each is loaded when it is first asked for.

    Asking for one that cannot be loaded raises SpecError.
    """
    return _Builders((*importlib.metadata.entry_points(group=_GROUP), _UNNAMED))


def options() -> Mapping[str, type[Any]]:
    """Return the options class of each layer kind that specs name."""
    return _Options()


class _Builders(Mapping[str, Builder]):
    """The layer kinds that entry points name."""

    def __init__(self, points: tuple[EntryPoint, ...]) -> None:
        self._points = {point.name: point for point in points}
        self._loaded: dict[str, Builder] = {}

    def __getitem__(self, kind: str) -> Builder:
        if kind not in self._loaded:
            self._loaded[kind] = _made(self._points[kind])
        return self._loaded[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._points))

    def __len__(self) -> int:
        return len(self._points)


class _Options(Mapping[str, type[Any]]):
    """The options class of each layer kind but the unnamed one."""

    def __getitem__(self, kind: str) -> type[Any]:
        if kind == _UNNAMED.name:
            raise KeyError(kind)
        return builders()[kind].options

    def __iter__(self) -> Iterator[str]:
        return (kind for kind in builders() if kind != _UNNAMED.name)

    def __len__(self) -> int:
        return len(builders()) - 1


def _made(point: EntryPoint) -> Builder:
    try:
        builder: Builder = point.load()()
    except Exception as error:  # others' code: it may raise anything
        raise SpecError(
            f"layer kind {point.name!r}", [f"{point.value} cannot be loaded: {error!r}"]
        ) from error
    return builder
