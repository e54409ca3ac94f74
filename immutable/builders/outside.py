"""What layers take from outside: the rules that several kinds have for URLs and folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from immutable.builders.base import Scope
from immutable.redact import quoted
from immutable.spec.toml import FaultError


def parse_url(text: str) -> str:
    """Return a URL that a spec names; raise FaultError for what is none, and for credentials."""
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise FaultError(f"expected an https URL, found {quoted(text)}")
    if parts.username or parts.password:
        raise FaultError("credentials in a URL; a spec is no place for secrets")
    return text


def own_within(scope: Scope, source: Path) -> frozenset[bytes]:
    """Return the paths in `source` of the spec and its lock: what is built is no part of itself."""
    return frozenset(_own(scope, source.resolve()))


def _own(scope: Scope, top: Path) -> Iterator[bytes]:
    for path in scope.own:
        for place in (path.resolve(), path.parent.resolve() / path.name):
            if top in place.parents:
                yield os.fsencode(place.relative_to(top))
