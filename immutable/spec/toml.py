"""TOML documents to frozen types: strict, and with every fault at once, each with its path.

Keys are written in kebab-case (``stop-signal``) and held in snake_case (``stop_signal``).
Nothing is coerced: ``tag = 1.0`` is a fault, not ``"1.0"``.
"""

from __future__ import annotations

import codecs
import datetime
import difflib
import math
import re
import tomllib
import typing
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs
import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from immutable.errors import SpecError
from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.redact import cut, quoted, redact

T = TypeVar("T")
Pairs = tuple[tuple[str, str], ...]  # a table of strings, sorted by key

PARSE: Final = "immutable.spec.toml.parse"  # of an attrs field's metadata, as is the next
WRITE: Final = "immutable.spec.toml.write"
_MAX_INTEGER: Final = 1 << 63  # TOML 1.0, "Integer": 64 bits, signed
_MAX_DEPTH: Final = 50  # the same on every machine, as the interpreter's own limit is not
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_GIVEN_TWICE: Final = re.compile(r"(?:Cannot (?:declare|overwrite|redefine|mutate)|Duplicate) ")


class FaultError(ValueError):
    """A value that cannot be accepted; the message says what was expected and found.

    `key` is the part of the value that is at fault, where the value is a table.
    """

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(redact(message))
        self.key = key


def read_toml(data: bytes, where: str) -> dict[str, Any]:
    """Return the TOML document in `data`; `where` names it in the SpecError of a bad one.

    CRLF line ends are fine; a byte-order mark, text that is not UTF-8, nan, infinities, integers
    beyond 64 bits and more than 50 levels are not.
    """
    if data.startswith(codecs.BOM_UTF8):
        raise SpecError(where, ["starts with a byte-order mark; save it as plain UTF-8"])
    try:
        document = tomllib.loads(data.decode("utf-8"))
        faults = list(bad_values(document))
    except UnicodeDecodeError as error:
        raise SpecError(
            where, [f"not UTF-8: byte {error.start} is {data[error.start]:#04x}"]
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(where, [f"not TOML: {_syntax_fault(str(error))}"]) from None
    except RecursionError:
        raise SpecError(where, ["not TOML: nested too deeply"]) from None
    except ValueError:  # of more digits than Python converts
        raise SpecError(where, ["an integer beyond 64 bits"]) from None
    if faults:
        raise SpecError(where, faults)
    return document


def build(document: Mapping[str, Any], cls: type[T], where: str) -> T:
    """Return `document` as a `cls`; raise SpecError with every fault, `where` before each."""
    try:
        return converter().structure(document, cls)
    except (ClassValidationError, IterableValidationError) as error:
        raise SpecError(where, faults(error)) from None


def converter() -> cattrs.Converter:
    """Return a new strict converter, to be extended with the hooks of further types."""
    made = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
    made.register_structure_hook_factory(attrs.has, lambda cls: _class_hook(cls, made))
    made.register_structure_hook_factory(_is_tuple, lambda cls: _tuple_hook(cls, made))
    for kind in (str, int, bool):
        made.register_structure_hook(kind, _scalar_hook(kind))
    made.register_structure_hook(Digest, parsed(_hex_digest))
    made.register_structure_hook(Platform, parsed(Platform.parse))
    made.register_structure_hook(datetime.datetime, _instant)
    made.register_structure_hook_func(lambda cls: cls == Pairs, _pairs)
    made.register_structure_hook_func(is_mapping, lambda value, _: canonical.freeze(table(value)))
    return made


def parsed(parse: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    """Return a hook that takes a string and gives what `parse` makes of it."""

    def hook(value: Any, _: Any) -> Any:
        return parse(_expect(str, value))

    return hook


def parsed_by(
    parse: Callable[[str], Any], write: Callable[[Any], str] | None = None
) -> dict[str, Any]:
    """Return metadata for an attrs field that is written as a string and parsed by `parse`.

    `write` gives a string that `parse` makes the same value of; without it, the value is one.
    """
    return {PARSE: parse, WRITE: write}


def together(problems: Sequence[Exception]) -> Exception:
    """Return one exception for all faults of one value, for a hook to raise."""
    return ClassValidationError("several faults", problems, object)


def faults(error: BaseException, path: str = "") -> Iterator[str]:
    """Yield one line, ``path: what``, for every fault that a converter's exception holds.

    Of a key that is not known, the class may have something to say in its `hints`. An exception
    that is no fault of the document, but ours, is raised again.
    """
    for inner in getattr(error, "exceptions", ()):
        place, rest = path, []
        for note in getattr(inner, "__notes__", ()):
            if isinstance(note, AttributeValidationNote):
                place = _join(path, key_of(note.name))
            elif isinstance(note, IterableValidationNote):
                place = f"{path}[{note.index}]"
            rest.append(note)
        if isinstance(inner, ClassValidationError | IterableValidationError):
            yield from faults(inner, place)
        elif isinstance(inner, ForbiddenExtraKeysError):
            known = [key_of(field.name) for field in attrs.fields(inner.cl) if field.init]
            for key in sorted(inner.extra_fields):
                hint = getattr(inner.cl, "hints", {}).get(key) or nearest(key, known)
                yield f"{_join(path, key)}: unknown key{hint}"
        elif isinstance(inner, KeyError) and rest:
            yield f"{place}: is required"
        elif isinstance(inner, ValueError):
            if isinstance(inner, FaultError) and inner.key is not None:
                place = _join(place, inner.key)
            yield f"{place}: {inner}" if place else str(inner)
        else:
            raise inner


def key_of(name: str) -> str:
    """Return how an attribute's name is written in TOML."""
    return name.strip("_").replace("_", "-")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean …?`` with the nearest of `known`, or what there is."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; expected one of {', '.join(known)}" if known and len(known) <= 30 else ""


def found(value: Any) -> str:
    """Return how a message names a TOML value."""
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the {'integer' if isinstance(value, int) else 'float'} {value}"
    if isinstance(value, str):
        return f"the string {quoted(value, 60)}"
    if isinstance(value, datetime.datetime):
        return f"the time {value.isoformat()}"
    if isinstance(value, datetime.date | datetime.time):
        return f"the {type(value).__name__} {value.isoformat()}"
    if isinstance(value, list | tuple):
        return "an array"
    return "a table" if isinstance(value, Mapping) else f"a Python {type(value).__name__}"


def table(value: Any) -> Mapping[str, Any]:
    """Return `value`; raise FaultError unless it is a table."""
    if not isinstance(value, Mapping):
        raise FaultError(f"expected a table, found {found(value)}")
    return value


def strings(value: Any, check: Callable[[str, str], None] | None = None) -> Pairs:
    """Return a table of strings, sorted by key.

    `check` is given each key and its string, and raises ValueError for what it cannot accept.
    All faults are raised together.
    """
    problems: list[Exception] = []
    for key, item in table(value).items():
        try:
            if not key or "\0" in key:
                raise FaultError("expected a key with neither NUL nor nothing in it")
            text = _expect(str, item)
            if check is not None:
                check(key, text)
        except ValueError as error:
            problems.append(FaultError(str(error), key=key))
    if problems:
        raise together(problems)
    return tuple(sorted(value.items()))


def instant(value: Any) -> datetime.datetime:
    """Return a time in UTC; raise FaultError unless `value` is one with its offset."""
    if not isinstance(value, datetime.datetime) or value.tzinfo is None:
        raise FaultError(f"expected a time with its offset from UTC, found {found(value)}")
    try:
        return value.astimezone(datetime.UTC)
    except OverflowError:
        raise FaultError(f"expected a time from the year 1 to 9999, found {found(value)}") from None


def folded(name: str) -> str:
    """Return what names have in common that differ only in case or in Unicode's forms.

    The Unicode standard's canonical caseless matching (D145): file systems and registries
    that fold case or normalise take such names for one.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _join(path: str, key: str) -> str:
    key = key if _BARE_KEY.fullmatch(key) else quoted(key)
    return f"{path}.{key}" if path else key


def _class_hook(cls: type[Any], made: cattrs.Converter) -> Callable[[Any, Any], Any]:
    attrs.resolve_types(cls)
    renames = {
        field.name: override(rename=key_of(field.name), struct_hook=_field_hook(field))
        for field in attrs.fields(cls)
    }
    inner = make_dict_structure_fn(cls, made, **renames)  # type: ignore[arg-type]

    def hook(value: Any, kind: Any) -> Any:
        return inner(table(value), kind)

    return hook


def _field_hook(field: attrs.Attribute[Any]) -> Callable[[Any, Any], Any] | None:
    parse = field.metadata.get(PARSE)
    return parsed(parse) if parse else None


def _tuple_hook(cls: Any, made: cattrs.Converter) -> Callable[[Any, Any], Any]:
    items: Any = list[typing.get_args(cls)[0]]  # type: ignore[misc]

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise FaultError(f"expected an array, found {found(value)}")
        return tuple(made.structure(list(value), items))

    return hook


def _is_tuple(cls: Any) -> bool:
    return typing.get_origin(cls) is tuple and cls != Pairs and typing.get_args(cls)[1:] == (...,)


def is_mapping(cls: Any) -> bool:
    """Whether `cls` is a table of anything, which is held as it is."""
    return typing.get_origin(cls) is typing.get_origin(Mapping[str, Any])


def _scalar_hook(kind: type[Any]) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        return _expect(kind, value)

    return hook


def _expect(kind: type[T], value: object) -> T:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        name = {"str": "a string", "int": "an integer", "bool": "true or false"}[kind.__name__]
        raise FaultError(f"expected {name}, found {found(value)}")
    if "\0" in str(value):
        raise FaultError("a NUL in a string")
    return value


def _pairs(value: Any, _: Any) -> Pairs:
    return strings(value)


def _hex_digest(text: str) -> Digest:
    return Digest(text)


def _instant(value: Any, _: Any) -> datetime.datetime:
    return instant(value)


def _syntax_fault(message: str) -> str:
    """Return the TOML reader's message without its way to speak of keys that stand twice."""
    if not _GIVEN_TWICE.match(message):
        return message
    place = message.rfind(" (at ")
    return "duplicate key or table" + (message[place:] if place >= 0 else "")


def bad_values(value: Any, path: str = "", depth: int = 0) -> Iterator[str]:
    """Yield what no document holds that is read, `path: what`.

    The values may be Python's own, of which TOML has no keys but strings, and no other text than
    UTF-8 holds.
    """
    if depth > _MAX_DEPTH:
        yield f"{cut(path, 80)}…: nested too deeply"
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{path}: expected a string for a key, found {found(key)}"
            elif not _is_text(key):
                yield f"{path}: a key that is not UTF-8: {quoted(key)}"
            else:
                yield from bad_values(item, _join(path, key), depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from bad_values(item, f"{path}[{number}]", depth + 1)
    elif isinstance(value, str) and not _is_text(value):
        yield f"{path}: not UTF-8: {quoted(value)}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{path}: {value} is no number to build from"
    elif isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        yield f"{path}: an integer beyond 64 bits"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
