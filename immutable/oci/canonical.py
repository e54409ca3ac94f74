"""The one JSON encoding: sorted keys, no spaces, no floats, UTF-8; and its strict reader."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from typing_extensions import override

from immutable.redact import quoted

JSON: TypeAlias = (
    "bool | int | str | list[JSON] | tuple[JSON, ...] | dict[str, JSON] | Mapping[str, JSON] | None"
)

_MAX_DEPTH: Final = 100
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def encode(value: JSON) -> bytes:
    """Return the canonical bytes of `value`.

    Mappings come out sorted by key (by code point), so equal values have equal bytes. Raises
    TypeError for floats, sets, bytes and keys that are not strings: none has one encoding; and
    ValueError for text that UTF-8 cannot hold.
    """
    return json.dumps(
        _plain(value, 0), ensure_ascii=False, sort_keys=True, separators=(",", ":")
    ).encode("utf-8")


def text(raw: bytes) -> str:
    """Return bytes that may be no text as a string for JSON: every byte has its own character."""
    return raw.decode("latin-1")


def decode(data: bytes) -> Any:
    """Return the value of the JSON document `data`, read strictly.

    Raises ValueError, saying what is wrong, for duplicate keys, NaN and infinities, a byte-order
    mark, text that is not UTF-8, half a surrogate pair, integers of thousands of digits, and
    nesting too deep to be honest.
    """
    try:
        if data.startswith(codecs.BOM_UTF8):
            raise ValueError("starts with a byte-order mark")
        value = _DECODER.decode(data.decode("utf-8"))
        if _SURROGATE.search(data):
            _refuse_halves(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte {error.start} is {data[error.start]:#04x}") from None
    return value


def _plain(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise TypeError("nested too deeply")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"a key must be a string, found {key!r}")
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    raise TypeError(f"{type(value).__name__} has no canonical encoding")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"duplicate key {key!r}")
            seen.add(key)
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is beyond every float")
    return value


def _integer(digits: str) -> int:
    if len(digits) > 100:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _refuse_halves(value: Any) -> None:
    """Raise ValueError for a lone surrogate, which JSON can escape and UTF-8 cannot hold."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f"half a surrogate pair in {quoted(value, 40)}")
    elif isinstance(value, list):
        for item in value:
            _refuse_halves(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_halves(key)
            _refuse_halves(item)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_constant=_refuse_constant,
    parse_float=_finite,
    parse_int=_integer,
)


class Frozen(Mapping[str, Any]):
    """A mapping that nobody changes; unlike the standard library's, it can be pickled."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any]) -> None:
        self._items = dict(items)

    @override
    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    @override
    def __len__(self) -> int:
        return len(self._items)

    @override
    def __repr__(self) -> str:
        return repr(self._items)


def freeze(value: Any) -> Any:
    """Return `value` with its lists as tuples and its mappings as read-only, sorted ones."""
    if isinstance(value, Mapping):
        return Frozen({key: freeze(value[key]) for key in sorted(value)})
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


def thaw(value: Any) -> Any:
    """Return `value` with its tuples as lists and its mappings as plain dicts."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    return value
