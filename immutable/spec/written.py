"""Tables of a spec as people write them in Python: what stands in TOML, with types.

Every field is a key of the table, `stop_signal` for ``stop-signal``. None means that the key is
not written. Nothing is checked here: `Spec` reads these tables as it reads those of a TOML file.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs
from attrs import field, frozen

from immutable.oci.canonical import Frozen
from immutable.spec.toml import key_of

# Not a Sequence of them, which a string would be too.
Strings: TypeAlias = list[str] | tuple[str, ...]


def frozen_value(value: Any) -> Any:
    """Return `value` with its lists as tuples, and its mappings as read-only and sorted."""
    if isinstance(value, Mapping):
        return Frozen({key: frozen_value(value[key]) for key in sorted(value, key=str)})
    if isinstance(value, list | tuple):
        return tuple(frozen_value(item) for item in value)
    return value


def plain(value: Any) -> Any:
    """Return `value` as a TOML document has it: tables as dicts, arrays as lists."""
    if isinstance(value, Table):
        return value.row()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@frozen
class Table:
    """A table of a spec."""

    def __attrs_post_init__(self) -> None:
        for one in attrs.fields(type(self)):
            object.__setattr__(self, one.name, frozen_value(getattr(self, one.name)))

    def row(self) -> dict[str, Any]:
        """Return the table as TOML has it."""
        values = ((key_of(one.name), getattr(self, one.name)) for one in attrs.fields(type(self)))
        return {key: plain(value) for key, value in values if value is not None}


@frozen
class Image(Table):
    """The ``[image]`` table."""

    name: str
    platforms: Strings | None
    tags: Strings | None
    created: datetime.datetime | str | None
    compression: str | None
    annotations: Mapping[str, str] | None


@frozen
class LayerTable(Table):
    """A ``[[layer]]`` of any kind; those of each are in `immutable.builders.written`."""

    name: str

    def kinds(self) -> Mapping[str, type[Any]]:
        """Return the options class of each layer kind that there is."""
        raise NotImplementedError


@frozen(kw_only=True)
class Healthcheck(Table):
    """``config.healthcheck``: how an engine finds out whether the container works.

    Either `cmd`, run as it is, or `shell`, run by the image's shell; or `none`, which turns off
    the base's. `interval`, `timeout`, `start_period` and `start_interval` are durations like
    ``"1m30s"``; `retries` is how often it may fail.
    """

    cmd: Strings | None = None
    shell: str | None = None
    interval: str | None = None
    timeout: str | None = None
    start_period: str | None = None
    start_interval: str | None = None
    retries: int | None = None
    none: bool | None = None


@frozen(kw_only=True)
class ContainerConfig(Table):
    """The ``[config]`` table: how a container is run; what it does not say is as the base has it.

    - `user`: ``name``, ``name:group``, ``uid`` or ``uid:gid``
    - `workdir`: an absolute path
    - `env`: variables and their values
    - `entrypoint`, `cmd`: run without a shell
    - `expose`: ports like ``"8080/tcp"``
    - `volumes`: absolute paths
    - `labels`: may hold ``{git.…}``
    - `stop_signal`: ``"SIGTERM"``, or a number from ``"1"`` to ``"64"``
    """

    user: str | None = None
    workdir: str | None = None
    env: Mapping[str, str] | None = None
    entrypoint: Strings | None = None
    cmd: Strings | None = None
    expose: Strings | None = None
    volumes: Strings | None = None
    labels: Mapping[str, str] | None = None
    stop_signal: str | None = None
    healthcheck: Healthcheck | None = None


@frozen
class User(Table):
    """A ``[[user]]``: an account that the image gets.

    - `gid` or `group`: its group, by number or name; else one of its own name and id
    - `groups`: further groups, by name
    - `home`: else ``/home/NAME``; ``"/nonexistent"`` for none
    - `shell`: else ``/usr/sbin/nologin``
    - `comment`: what /etc/passwd says of it
    """

    name: str
    uid: int
    gid: int | None = field(default=None, kw_only=True)
    group: str | None = field(default=None, kw_only=True)
    groups: Strings | None = field(default=None, kw_only=True)
    home: str | None = field(default=None, kw_only=True)
    shell: str | None = field(default=None, kw_only=True)
    comment: str | None = field(default=None, kw_only=True)


@frozen
class Group(Table):
    """A ``[[group]]`` that the image gets."""

    name: str
    gid: int
