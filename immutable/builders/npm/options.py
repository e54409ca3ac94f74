"""What a spec says of an ``npm`` layer."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from immutable.redact import quoted
from immutable.spec.toml import FaultError, nearest
from immutable.spec.types import LayerCount, Owner, Target

_KINDS: Final = ("dev", "optional", "peer")
_LIBCS: Final = ("glibc", "musl")


@frozen
class NpmOptions:
    """An ``npm`` layer: `lockfile`'s packages, in the ``node_modules`` of `target`.

    `omit` are kinds of dependencies to leave out, as for ``npm ci --omit``. `libc` is the
    image's. Without `owner`, which is of everything in the layer, all is root's. `layers` spreads
    the packages over at most so many.
    """

    lockfile: str
    target: Target
    omit: tuple[str, ...] = ()
    libc: str = "glibc"
    owner: Owner | None = None
    layers: LayerCount | None = None

    def __attrs_post_init__(self) -> None:
        for kind in self.omit:
            if kind not in _KINDS:
                raise FaultError(
                    f"expected {', '.join(_KINDS)}; found {quoted(kind)}{nearest(kind, _KINDS)}",
                    key="omit",
                )
        if self.libc not in _LIBCS:
            raise FaultError(f"expected glibc or musl, found {quoted(self.libc)}", key="libc")
