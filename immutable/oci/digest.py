"""The digest of exact bytes: OCI image-spec, descriptor.md, "Digests"."""

from __future__ import annotations

import hashlib
import re
from typing import Self

from attrs import field, frozen

from immutable.redact import quoted

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


def _check(_digest: object, _attribute: object, value: str) -> None:
    if not _HEX.fullmatch(value):
        raise ValueError(_fault(value))


@frozen(order=True, repr=False)
class Digest:
    """A sha256 digest, ``sha256:<64 lower-case hex digits>``; the only algorithm there is."""

    hex: str = field(validator=_check)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the digest written as ``sha256:<hex>``; raise ValueError for anything else."""
        algorithm, colon, digits = text.partition(":")
        if not colon or algorithm != "sha256":
            raise ValueError(f"expected sha256:<64 hex digits>, found {quoted(text)}")
        return cls(digits)

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Self:
        """Return the digest of `data`."""
        return cls(hashlib.sha256(data).hexdigest())

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    def __repr__(self) -> str:
        return f"Digest({self.hex!r})"

    @property
    def short(self) -> str:
        """The first twelve hex digits, for people."""
        return self.hex[:12]


def _fault(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]+", text):
        return f"expected 64 hex digits, found {quoted(text)}"
    if len(text) != 64:
        return f"expected 64 hex digits, found {len(text)}"
    return f"expected lower-case hex digits, found {text!r}"
