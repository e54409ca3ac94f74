"""The layer kinds there are, found through the entry-point group ``immutable.builders``."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Any, Final

from immutable.builders.base import Builder
from immutable.errors import SpecError
from immutable.plugins import Plugins

_GROUP: Final = "immutable.builders"
# A kind that no spec names: its layer comes of the spec's users and groups.
_UNNAMED: Final = EntryPoint("users", "immutable.builders.accounts:AccountsBuilder", _GROUP)


@functools.cache
def builders() -> Mapping[str, Builder]:
    """Return the layer kinds there are, by name; each is loaded when it is first asked for.

    Asking for one that cannot be loaded raises SpecError.
    """
    return Plugins[Builder](_GROUP, lambda kind: kind(), _failed, own=[_UNNAMED])


def options() -> Mapping[str, type[Any]]:
    """Return the options class of each layer kind that specs name."""
    return _Options()


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


def _failed(kind: str, reason: str) -> SpecError:
    return SpecError(f"layer kind {kind!r}", [reason])
