"""Relations between packages: Debian Policy, chapter 7, and what a spec may ask for."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from attrs import frozen
from debian.debian_support import NativeVersion

from immutable.errors import ResolutionError
from immutable.redact import quoted

_OPERATORS: Final[Mapping[str, Callable[[NativeVersion, NativeVersion], bool]]] = {
    "<<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">=": operator.ge,
    ">>": operator.gt,
}
# Policy 7.1: the single ones are deprecated, and mean what nobody would expect.
_DEPRECATED = {"<": "<=", ">": ">="}

_NAME = r"[a-z0-9][a-z0-9+.\-]+"  # Policy 5.6.7
_VERSION = r"(?:[0-9]+:)?[0-9A-Za-z][0-9A-Za-z.+:~\-]*"  # Policy 5.6.12
_RELATION = re.compile(
    rf"(?P<name>{_NAME})(?::(?P<arch>[a-z0-9\-]+))?\s*"
    rf"(?:\(\s*(?P<operator><<|<=|=|>=|>>|<|>)\s*(?P<version>{_VERSION})\s*\))?",
    re.ASCII,
)
_REQUEST = re.compile(rf"(?P<name>{_NAME})=(?P<version>{_VERSION})", re.ASCII)


@frozen
class Relation:
    """A name, with a version and how it compares where one is given, and an architecture.

    An empty `operator` means any version; an empty `architecture` the one resolved for.
    """

    name: str
    operator: str = ""
    version: str = ""
    architecture: str = ""

    def accepts(self, version: str) -> bool:
        """Say whether a package of that version is meant."""
        if not self.operator:
            return True
        return _OPERATORS[self.operator](parse_version(version), parse_version(self.version))

    def accepts_provided(self, provided: Relation) -> bool:
        """Say whether what a package provides is meant: Policy 7.5.

        A bare name that is provided never answers a relation with a version.
        """
        if not self.operator:
            return True
        return bool(provided.version) and self.accepts(provided.version)

    def for_architecture(self, architecture: str) -> bool:
        """Say whether packages of `architecture` are meant: Policy 7.1 and multiarch."""
        return self.architecture in ("", "any", "native", "all", architecture)

    def __str__(self) -> str:
        arch = f":{self.architecture}" if self.architecture else ""
        version = f" ({self.operator} {self.version})" if self.operator else ""
        return f"{self.name}{arch}{version}"


Alternatives = tuple[Relation, ...]


@cache
def parse_version(text: str) -> NativeVersion:
    """Return a version that compares as Policy 5.6.12 has it; raise ValueError for none."""
    if not re.fullmatch(_VERSION, text, re.ASCII):
        raise ValueError(f"expected a version, found {quoted(text, 60)}")
    return NativeVersion(text)


def parse_relations(text: str) -> tuple[Alternatives, ...]:
    """Return the groups of a dependency field, each with its alternatives.

    Raises ValueError, saying what was found, for what Policy 7.1 does not allow.
    """
    # A trailing comma is common enough that dpkg lets it pass.
    groups = [group for group in text.split(",") if group.strip()]
    return tuple(tuple(_relation(part) for part in group.split("|")) for group in groups)


def parse_request(text: str) -> Relation:
    """Return what a spec asks for: ``name``, ``name=version`` or ``name (>= version)``.

    Raises ResolutionError for anything else; architectures come from the spec's platforms.
    """
    exact = _REQUEST.fullmatch(text.strip())
    if exact:
        return Relation(exact["name"], "=", exact["version"])
    try:
        relation = _relation(text)
    except ValueError:
        relation = None
    if relation is None or relation.architecture:
        raise ResolutionError(
            f"{text!r}: expected a package as name, name=version or name (>= version)"
        )
    return relation


def _relation(text: str) -> Relation:
    match = _RELATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a relation to a package, found {quoted(text.strip(), 60)}")
    comparison = match["operator"] or ""
    return Relation(
        match["name"],
        _DEPRECATED.get(comparison, comparison),
        match["version"] or "",
        match["arch"] or "",
    )
