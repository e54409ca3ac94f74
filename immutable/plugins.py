"""What is found through entry points, ours and other packages' in one way.

===========================  ====================================================================
``immutable.builders``       a layer kind: a subclass of `immutable.builders.base.Builder`
``immutable.transports``     ``NAME:…`` as a reference: a function of what follows the colon and an
                             `immutable.transports.Around`, which gives the `Transport`
===========================  ====================================================================
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Any, Generic, TypeVar

from typing_extensions import override

from immutable.errors import ImmutableError

T = TypeVar("T")


class Plugins(Mapping[str, T], Generic[T]):
    """What the entry points of `group` name, and `own` besides: each made when first asked for.

    `make` is given what an entry point leads to. Where that fails, the error is what `failed`
    makes of the reason.
    """

    def __init__(
        self,
        group: str,
        make: Callable[[Any], T],
        failed: Callable[[str, str], ImmutableError],
        own: Iterable[EntryPoint] = (),
    ) -> None:
        points = (*importlib.metadata.entry_points(group=group), *own)
        self._points = {point.name: point for point in points}
        self._make, self._failed = make, failed
        self._made: dict[str, T] = {}

    @override
    def __getitem__(self, name: str) -> T:
        if name not in self._made:
            point = self._points[name]
            try:
                self._made[name] = self._make(point.load())
            except Exception as error:  # others' code: it may raise anything
                reason = f"{point.value} cannot be loaded: {error!r}"
                raise self._failed(name, reason) from error
        return self._made[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._points))

    @override
    def __len__(self) -> int:
        return len(self._points)
