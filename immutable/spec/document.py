"""Specs: what a person writes, parsed once into frozen values.

`specs/README.md` is the reference of the format.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from attrs import Factory, evolve, field, fields, frozen
from cattrs.errors import ClassValidationError

from immutable.errors import SpecError
from immutable.oci.platforms import Platform
from immutable.redact import cut, quoted
from immutable.spec import toml, types
from immutable.spec.accounts import Group, User, account_faults
from immutable.spec.toml import FaultError
from immutable.spec.types import (
    COMPRESSIONS,
    EPOCH,
    NO_ENVIRONMENT,
    NO_TEXTS,
    PLACEHOLDER,
    PLACEHOLDERS,
    VERSION,
    AccountID,
    AccountName,
    AccountPath,
    Comment,
    Compression,
    Created,
    Duration,
    Environment,
    Glob,
    ImageName,
    LayerName,
    Mode,
    Owner,
    Port,
    Retries,
    RunAs,
    Signal,
    SpecVersion,
    Tag,
    Target,
    Texts,
    checked_tag,
    target,
)

if TYPE_CHECKING:
    from immutable.spec import written
    from immutable.spec.written import LayerTable, Strings

# A NewType's call gives back what it is given.
# ruff: noqa: RUF009

__all__ = [
    "COMPRESSIONS",
    "EPOCH",
    "PLACEHOLDER",
    "PLACEHOLDERS",
    "VERSION",
    "AccountID",
    "AccountName",
    "AccountPath",
    "Comment",
    "Compression",
    "Config",
    "Created",
    "Duration",
    "Environment",
    "Glob",
    "Group",
    "Healthcheck",
    "ImageName",
    "ImageTable",
    "Layer",
    "LayerName",
    "Mode",
    "Owner",
    "Port",
    "Retries",
    "RunAs",
    "Signal",
    "Spec",
    "SpecTables",
    "SpecVersion",
    "Tag",
    "Target",
    "Texts",
    "User",
    "checked_tag",
    "parse",
    "placed",
    "replaced",
    "substitute",
    "target",
]


@frozen
class ImageTable:
    """The ``[image]`` table."""

    name: ImageName
    platforms: tuple[Platform, ...] = ()
    tags: tuple[Tag, ...] = ()
    created: Created = EPOCH
    compression: Compression = Compression("gzip")
    annotations: Texts = NO_TEXTS


@frozen
class Layer:
    """One ``[[layer]]``: `options` is an instance of its kind's own options class.

    With `replace` it may hide what lower layers have of another kind: a file a link, say.
    """

    name: LayerName
    kind: str
    options: Any
    replace: bool = False


@frozen
class Healthcheck:
    """``config.healthcheck``: one of `cmd`, run as it is, `shell`, run by the shell, or `none`.

    `none` turns off the base's.
    """

    cmd: tuple[str, ...] = ()
    shell: str = ""
    interval: Duration = Duration(0)
    timeout: Duration = Duration(0)
    start_period: Duration = Duration(0)
    start_interval: Duration = Duration(0)
    retries: Retries = Retries(0)
    none: bool = False


@frozen
class Config:
    """The ``[config]`` table: how a container is run. None means: as the base has it."""

    user: RunAs | None = None
    workdir: Target | None = None
    env: Environment = NO_ENVIRONMENT
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    expose: tuple[Port, ...] = ()
    volumes: tuple[Target, ...] = ()
    labels: Texts = NO_TEXTS
    stop_signal: Signal | None = None
    healthcheck: Healthcheck | None = None


@frozen
class SpecTables:
    """The tables of a spec, parsed."""

    spec_version: SpecVersion
    image: ImageTable
    layer: tuple[Layer, ...] = ()
    user: tuple[User, ...] = ()
    group: tuple[Group, ...] = ()
    config: Config = Factory(Config)


@frozen(init=False)
class Spec(SpecTables):
    """A whole spec, as it is parsed from TOML or made here.

    `where` is the path of its file, or what stands for one in its folder where it is not `in_file`.
    It names the spec in messages, and is no part of its value.
    """

    where: str = field(default="spec", eq=False)
    in_file: bool = field(default=False, eq=False)

    def __init__(
        self,
        name: str,
        *,
        layers: Sequence[LayerTable] = (),
        users: Sequence[written.User] = (),
        groups: Sequence[written.Group] = (),
        config: written.ContainerConfig | None = None,
        platforms: Strings | None = None,
        tags: Strings | None = None,
        created: datetime.datetime | Literal["git", "source-date-epoch"] | None = None,
        compression: Literal["gzip", "zstd", "none"] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Make a spec of what TOML would say; ``specs/README.md`` says what each key means.

        - `name`: of the repository, like ``"shop/web"``
        - `layers`: bottom first, instances of `immutable.Files`, `immutable.Debian` and the like
        - `users`, `groups`: accounts that the image gets
        - `config`: how a container is run
        - `platforms`: like ``"linux/amd64"``; else this machine's
        - `tags`: versions; may hold ``{git.…}``, as may `annotations`
        - `created`: a time with its offset, else the epoch
        - `compression`: of the layers, else gzip

        Raises SpecError with the faults that the TOML would have.
        """
        from immutable.spec import written  # whoever reads TOML does without

        image = written.Image(name, platforms, tags, created, compression, annotations)
        document = {"spec-version": VERSION, "image": image.row(), "layer": written.plain(layers)}
        document |= {"user": written.plain(users), "group": written.plain(groups)}
        if config is not None:
            document["config"] = written.plain(config)
        rows = layers if isinstance(layers, Sequence) else ()
        kinds = next((one.kinds() for one in rows if isinstance(one, written.LayerTable)), {})
        where = cut(name, 80) if isinstance(name, str) else "spec"
        if faults := list(toml.bad_values(document)):
            raise SpecError(where, faults)
        self._set(_tables(document, kinds, where), name.rpartition("/")[2], in_file=False)

    @classmethod
    def of(cls, tables: SpecTables, where: str = "spec", *, in_file: bool = False) -> Self:
        """Return the spec that has these tables."""
        made = object.__new__(cls)
        made._set(tables, where, in_file=in_file)
        return made

    def _set(self, tables: SpecTables, where: str, *, in_file: bool) -> None:
        parts = {one.name: getattr(tables, one.name) for one in fields(SpecTables)}
        self.__attrs_init__(**parts, where=where, in_file=in_file)

    def dumps(self) -> str:
        """Return the spec as TOML, which is parsed to an equal value.

        Raises SpecError for a layer of another package's kind that does not say how its options
        are written.
        """
        from immutable.spec.writing import dumps

        return dumps(self)

    @property
    def to_lock(self) -> str:
        """What a message tells people to do for a new lock."""
        return f"run `immutable lock {self.where}`" if self.in_file else "call `immutable.lock`"

    def placeholders(self) -> frozenset[str]:
        """Return what the spec takes from git: ``sha``, ``tag`` and the like."""
        texts = [*self.image.tags, *(v for _, v in self.image.annotations)]
        texts += [v for _, v in self.config.labels]
        wanted = {match[1] for text in texts for match in PLACEHOLDER.finditer(text)}
        return frozenset(wanted | ({"time"} if self.image.created == "git" else set()))


def parse(data: bytes, kinds: Mapping[str, type[Any]], where: str = "spec") -> Spec:
    """Return the spec in the TOML document `data`.

    `kinds` gives the options class of each layer kind; `where` names the file in messages.
    Raises SpecError with every fault, each with its path and, for a misspelt key or kind,
    the nearest known one.
    """
    return Spec.of(_tables(toml.read_toml(data, where), kinds, where), where, in_file=True)


def _tables(document: Mapping[str, Any], kinds: Mapping[str, type[Any]], where: str) -> SpecTables:
    converter = toml.converter()
    types.register(converter)
    converter.register_structure_hook(Layer, lambda value, _: _layer(converter, value, kinds))
    faults: list[str] = []
    spec = None
    try:
        spec = converter.structure(document, SpecTables)
    except ClassValidationError as error:
        faults += toml.faults(error)
    faults += _cross_faults(document)
    if spec is not None and not faults:
        faults += [*_repeats(spec), *account_faults(spec)]
    if faults or spec is None:
        raise SpecError(where, faults)
    return spec


def substitute(spec: Spec, facts: Mapping[str, str]) -> Spec:
    """Return `spec` with ``{git.…}`` replaced by `facts`; raise SpecError for a missing one."""
    faults: list[str] = []

    def fill(text: str, place: str) -> str:
        def fact(match: re.Match[str]) -> str:
            value = facts.get(match[1])
            if value is None:
                faults.append(f"{place}: {match[0]}: git has no {match[1]} for this commit")
            return value or ""

        return PLACEHOLDER.sub(fact, text)

    tags = tuple(Tag(fill(t, f"image.tags[{n}]")) for n, t in enumerate(spec.image.tags))
    annotations = tuple((k, fill(v, f"image.annotations.{k}")) for k, v in spec.image.annotations)
    labels = tuple((k, fill(v, f"config.labels.{k}")) for k, v in spec.config.labels)
    for number, tag in enumerate(tags):
        try:
            checked_tag(tag)
        except FaultError as fault:
            faults.append(f"image.tags[{number}]: {spec.image.tags[number]}: {fault}")
    if faults:
        raise SpecError(spec.where, faults)
    return replaced(
        spec,
        image=evolve(spec.image, tags=tuple(dict.fromkeys(tags)), annotations=Texts(annotations)),
        config=evolve(spec.config, labels=Texts(labels)),
    )


def placed(spec: Spec, where: object) -> Spec:
    """Return `spec` as the one at `where`: its file, or what stands for it."""
    return Spec.of(spec, str(where), in_file=spec.in_file)


def replaced(spec: Spec, **changes: Any) -> Spec:
    """Return `spec` with other values, still named by its file."""
    parts = {one.name: getattr(spec, one.name) for one in fields(SpecTables)}
    return Spec.of(SpecTables(**{**parts, **changes}), spec.where, in_file=spec.in_file)


def _layer(made: Any, value: Any, kinds: Mapping[str, type[Any]]) -> Layer:
    rest = dict(toml.table(value))
    head = {key: rest.pop(key) for key in ("name", "kind", "replace") if key in rest}
    problems: list[Exception] = []
    try:
        named = made.structure(head, _LayerHead)
    except ClassValidationError as error:
        problems.append(error)
    try:
        kind = _kind(head.get("kind"), kinds)
        options = made.structure(rest, kinds[kind])
    except (ClassValidationError, FaultError) as error:
        problems.append(error)
    if problems:
        raise toml.together(problems)
    return Layer(named.name, kind, options, named.replace)


@frozen
class _LayerHead:
    name: LayerName
    kind: Any = None  # `_kind` says what is wrong with it
    replace: bool = False


def _kind(value: Any, kinds: Mapping[str, type[Any]]) -> str:
    if isinstance(value, str) and value in kinds:
        return value
    known = f"; expected one of {', '.join(sorted(kinds))}"
    if value is None:
        raise FaultError(f"is required{known}", key="kind")
    if not isinstance(value, str):
        raise FaultError(f"expected a string, found {toml.found(value)}{known}", key="kind")
    hint = toml.nearest(value, kinds) or known
    raise FaultError(f"no layer kind is called {quoted(value)}{hint}", key="kind")


_UNIQUE: Final = (("layer", ("name",)), ("user", ("name", "uid")), ("group", ("name", "gid")))


def _cross_faults(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong between tables; looks at the raw document, whatever its faults."""
    for table, keys in _UNIQUE:
        for key in keys:
            yield from _duplicates(document.get(table), table, key)
    config = document.get("config")
    health = config.get("healthcheck") if isinstance(config, Mapping) else None
    if isinstance(health, Mapping):
        yield from _health_faults(health)


def _health_faults(health: Mapping[str, Any]) -> Iterator[str]:
    if health.get("none") is True:
        if others := [key for key in health if key != "none"]:
            yield f"config.healthcheck: expected nothing beside none, found {', '.join(others)}"
    elif bool(health.get("cmd")) == bool(health.get("shell")):
        yield "config.healthcheck: expected either cmd or shell, and not empty"


def _duplicates(rows: Any, table: str, key: str) -> Iterator[str]:
    seen: dict[str | int, tuple[int, str | int]] = {}
    for number, row in enumerate(rows if isinstance(rows, list) else ()):
        value = row.get(key) if isinstance(row, Mapping) else None
        if not isinstance(value, str | int) or isinstance(value, bool):
            continue
        folded = toml.folded(value) if isinstance(value, str) else value
        first, present = seen.setdefault(folded, (number, value))
        if first != number:
            but = "" if value == present else f", {present!r}, but for case or Unicode form"
            yield f"{table}[{number}].{key}: {value!r} is already {table}[{first}].{key}{but}"


def _repeats(spec: SpecTables) -> Iterator[str]:
    for key, values in (("platforms", spec.image.platforms), ("tags", spec.image.tags)):
        for number, value in enumerate(values):
            if value in values[:number]:
                yield f"image.{key}[{number}]: {str(value)!r} is there already"
