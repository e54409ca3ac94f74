"""Specs to TOML: what `immutable.spec.document.parse` reads, the other way round."""

from __future__ import annotations

import datetime
import functools
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import cattrs
import tomli_w
from cattrs.gen import make_dict_unstructure_fn, override

from immutable.errors import SpecError
from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.spec import toml
from immutable.spec.document import Layer, Spec, SpecTables, parse
from immutable.spec.toml import FaultError, Pairs, found
from immutable.spec.types import Created, Duration, Environment, Mode, Texts

_ARRAYS: Final = ("layer", "user", "group")
_HEADER: Final = re.compile(r"^\[", re.MULTILINE)  # strings and items of arrays never begin a line
_UNITS: Final = (("h", 3600 * 10**9), ("m", 60 * 10**9), ("s", 10**9), ("ms", 10**6))


def dumps(spec: Spec) -> str:
    """Return `spec` as TOML, which is parsed to an equal value; what is as by default is left out.

    Raises SpecError for options of another package's kind that come out as something else.
    """
    try:
        text = _text(_converter().unstructure(spec, SpecTables))
    except FaultError as fault:
        raise SpecError(spec.where, [str(fault)]) from None
    again = parse(text.encode(), {one.kind: type(one.options) for one in spec.layer}, spec.where)
    faults = [
        f'layer "{old.name}": comes back from TOML as something else; {_unsaid(old)}'
        for old, new in zip(spec.layer, again.layer, strict=True)
        if old != new
    ]
    if faults:
        raise SpecError(spec.where, faults)
    return text


def _unsaid(layer: Layer) -> str:
    how = "see `immutable.spec.toml.parsed_by`"
    return f"the kind {layer.kind!r} does not say how its options are written, {how}"


def _text(document: Mapping[str, Any]) -> str:
    """Return `document` as TOML, in the order in which people write it where that can be."""
    parts = []
    for name, value in document.items():
        if name not in _ARRAYS:
            parts.append(tomli_w.dumps({name: value}))
            continue
        for row in value:
            body = tomli_w.dumps(row)
            if _HEADER.search(body):  # of a table within it, which needs its whole path there
                return tomli_w.dumps(document)
            parts.append(f"[[{name}]]\n{body}")
    return "\n".join(parts)


@functools.cache
def _converter() -> cattrs.Converter:
    made = cattrs.Converter()
    made.register_unstructure_hook_factory(attrs.has, lambda cls: _class_hook(cls, made))
    made.register_unstructure_hook(Digest, lambda value: value.hex)
    made.register_unstructure_hook(Platform, str)
    made.register_unstructure_hook(Layer, lambda value: _layer(value, made))
    hooks: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
        (Mode, lambda value: f"{value:04o}"),
        (Duration, _duration),
        (Created, _created),
        (Environment, dict),
        (Texts, dict),
        (Pairs, dict),
    )
    for kind, hook in hooks:
        made.register_unstructure_hook_func(functools.partial(operator.eq, kind), hook)
    made.register_unstructure_hook_func(toml.is_mapping, canonical.thaw)
    return made


def _class_hook(cls: type[Any], made: cattrs.Converter) -> Callable[[Any], Any]:
    attrs.resolve_types(cls)
    changes = {
        field.name: override(rename=toml.key_of(field.name), unstruct_hook=_field_hook(field))
        for field in attrs.fields(cls)
    }
    return make_dict_unstructure_fn(cls, made, _cattrs_omit_if_default=True, **changes)  # type: ignore[arg-type]


def _field_hook(field: attrs.Attribute[Any]) -> Callable[[Any], Any] | None:
    if toml.PARSE not in field.metadata:
        return None
    write = field.metadata[toml.WRITE]

    def hook(value: Any) -> Any:
        written = value if write is None or value is None else write(value)
        if written is not None and not isinstance(written, str):
            raise FaultError(
                f"{toml.key_of(field.name)}: expected a string, found {found(written)}"
            )
        return written

    return hook


def _layer(layer: Layer, made: cattrs.Converter) -> Mapping[str, Any]:
    try:
        options = made.unstructure(layer.options)
    except FaultError as fault:
        raise FaultError(f'layer "{layer.name}": {fault}; {_unsaid(layer)}') from None
    replace = {"replace": True} if layer.replace else {}
    return {"name": layer.name, "kind": layer.kind, **replace, **options}


def _duration(value: int) -> str:
    text = ""
    for unit, length in _UNITS:
        count, value = divmod(value, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _created(value: str) -> str | datetime.datetime:
    return datetime.datetime.fromisoformat(value) if value[:1].isdigit() else value
