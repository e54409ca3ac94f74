"""A JSON object that others wrote, read field by field, each fault told with its path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Self, TypeVar

from attrs import frozen

from immutable.errors import ImageError
from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.redact import cut

T = TypeVar("T")

_KINDS: Final[Mapping[type[Any], str]] = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    dict: "an object",
    list: "an array",
}


def found(value: Any) -> str:
    """Return what a message calls `value`."""
    if value is None or isinstance(value, dict | list):
        return "nothing" if value is None else _KINDS[type(value)]
    return cut(canonical.encode(value).decode(), 80) if not isinstance(value, float) else str(value)


@frozen
class Fields:
    """A JSON object that others wrote, read field by field; `path` is its place in `where`."""

    where: str
    value: Mapping[str, Any]
    path: str = ""

    @classmethod
    def read(cls, data: bytes, where: str) -> Self:
        """Return the object in `data`, JSON; raise ImageError, which names it `where`."""
        try:
            value = canonical.decode(data)
        except ValueError as error:
            raise ImageError(f"{where}: not JSON: {error}") from None
        if not isinstance(value, dict):
            raise ImageError(f"{where}: expected an object, found {found(value)}")
        return cls(where, value)

    def error(self, key: str, what: str) -> ImageError:
        """Return the error for what is wrong with the member `key`."""
        return ImageError(f"{self.where}: {self._place(key)}: {what}")

    def _place(self, key: str) -> str:
        return f"{self.path}: {key}" if self.path else key

    def _get(self, key: str, kind: type[T], default: T | None) -> T:
        value = self.value.get(key)
        if value is None and default is not None:
            return default
        return self._expect(key, value, kind)

    def _expect(self, key: str, value: Any, kind: type[T]) -> T:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(key, f"expected {_KINDS[kind]}, found {found(value)}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string; `default` where there is none."""
        return self._get(key, str, default)

    def integer(self, key: str, default: int | None = None) -> int:
        """Return a number from 0 to 2**63 - 1; `default` where there is none."""
        value = self._get(key, int, default)
        if not 0 <= value < 1 << 63:
            raise self.error(key, f"out of range: {value}")
        return value

    def has(self, key: str) -> bool:
        """Tell whether there is a member `key` that is not null."""
        return self.value.get(key) is not None

    def flag(self, key: str) -> bool:
        """Return a truth value, false where there is none."""
        return self._get(key, bool, False)

    def object(self, key: str, *, optional: bool = False) -> Self:
        """Return an object; an empty one where it is `optional` and there is none."""
        value = self._get(key, dict, {} if optional else None)
        return type(self)(self.where, value, self._place(key))

    def objects(self, key: str, *, optional: bool = False) -> Iterable[Self]:
        """Yield the objects of an array."""
        for number, item in enumerate(self._get(key, list, [] if optional else None)):
            self._expect(f"{key}[{number}]", item, dict)
            yield type(self)(self.where, item, self._place(f"{key}[{number}]"))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the strings of an array, none where there is no array."""
        values = self._get(key, list, [])
        for number, item in enumerate(values):
            self._expect(f"{key}[{number}]", item, str)
        return tuple(values)

    def keys(self, key: str) -> tuple[str, ...]:
        """Return the names in an object, sorted."""
        return tuple(sorted(self._get(key, dict, {})))

    def strings(self, key: str) -> tuple[tuple[str, str], ...]:
        """Return the strings of an object by name, sorted."""
        values = self._get(key, dict, {})
        for name, item in values.items():
            self._expect(f"{key}.{name}", item, str)
        return tuple(sorted(values.items()))

    def checked(self, key: str, parse: Callable[[str], T], text: str) -> T:
        """Return what `parse` makes of `text`, whose ValueError is told with the place."""
        try:
            return parse(text)
        except ValueError as error:
            raise self.error(key, str(error)) from None

    def digests(self, key: str) -> Iterable[Digest]:
        """Return the digests of an array."""
        return [
            self.checked(f"{key}[{number}]", Digest.parse, text)
            for number, text in enumerate(self.texts(key))
        ]
