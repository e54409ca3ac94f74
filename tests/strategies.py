"""Hypothesis strategies for immutable's values, in one place."""

from __future__ import annotations

import datetime
from typing import Any

from hypothesis import strategies as st

from immutable.digest import Digest
from immutable.entries import Entry, Inline, Kind
from immutable.lock import IndexPin, Lock, LockedLayer, Pin
from immutable.platforms import Platform

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/s390x")

digests = st.binary(max_size=8).map(Digest.of)
platforms = st.sampled_from(PLATFORMS).map(Platform.parse)
some_platforms = st.sets(platforms, max_size=3).map(lambda found: tuple(sorted(found)))

# TOML and JSON hold what Unicode calls scalar values; NUL is refused where a string is read.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
times = st.datetimes(timezones=st.just(datetime.UTC))

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
toml_values: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | text | st.floats() | times | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)

# Lock

_requests: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | lines,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(lines, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def pins(draw: st.DrawFn) -> Pin:
    number = draw(st.integers(0, 1 << 40))
    return Pin(
        name=draw(lines),
        version=draw(lines),
        architecture=draw(st.sampled_from(("", "all", "amd64"))),
        path=f"pool/{number}.deb",
        size=number,
        sha256=draw(digests),
        why=tuple(draw(st.lists(lines, max_size=2))),
        suite=draw(st.sampled_from(("", "bookworm"))),
        platforms=draw(some_platforms),
    )


@st.composite
def locked_layers(draw: st.DrawFn) -> LockedLayer:
    return LockedLayer(
        name=draw(st.text("abcdefgh -.", min_size=1, max_size=6)),
        kind=draw(st.sampled_from(("debian", "archive"))),
        request=draw(st.dictionaries(lines, _requests, max_size=3)),
        platforms=draw(some_platforms),
        index=tuple(IndexPin(suite, draw(times)) for suite in draw(st.lists(lines, max_size=2))),
        pin=tuple(draw(st.lists(pins(), max_size=3, unique_by=lambda pin: pin.path))),
    )


locks = st.lists(locked_layers(), max_size=3, unique_by=lambda layer: layer.name).map(
    lambda layers: Lock(layer=tuple(layers))
)

# Entries

names = st.binary(min_size=1, max_size=6).filter(
    lambda name: not set(b"/\0") & set(name) and name not in (b".", b"..")
)
paths = st.lists(st.sampled_from((b"a", b"b", b"c")) | names, min_size=1, max_size=4).map(b"/".join)


@st.composite
def entries(draw: st.DrawFn, path: bytes | None = None) -> Entry:
    kind = draw(st.sampled_from((Kind.FILE, Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.FIFO)))
    return Entry(
        draw(paths) if path is None else path,
        kind,
        draw(st.integers(0, 0o7777)),
        draw(st.integers(0, 2**32 - 2)),
        draw(st.integers(0, 2**32 - 2)),
        content=Inline(draw(st.binary(max_size=2000))) if kind is Kind.FILE else None,
        target=draw(st.binary(min_size=1, max_size=120)).replace(b"\0", b"/")
        if kind is Kind.SYMLINK
        else b"",
        xattrs=draw(
            st.dictionaries(
                names.filter(lambda n: b"=" not in n).map(lambda n: b"user." + n),
                st.binary(max_size=9),
                max_size=2,
            )
        ).items(),
    )


@st.composite
def trees(draw: st.DrawFn) -> tuple[Entry, ...]:
    """One source: no path twice, nothing below what is no directory, nothing like a whiteout."""
    chosen: dict[bytes, Entry] = {}
    for path in draw(st.lists(paths, max_size=12, unique=True)):
        if b"/.wh." in b"/" + path:
            continue
        parts = path.split(b"/")
        above = [b"/".join(parts[:depth]) for depth in range(1, len(parts))]
        if any(chosen.get(p, entry_is_directory).kind is not Kind.DIRECTORY for p in above):
            continue
        entry = draw(entries(path))
        if any(other.startswith(path + b"/") for other in chosen):
            entry = Entry(path, Kind.DIRECTORY, 0o755)
        chosen[path] = entry
    return tuple(chosen.values())


entry_is_directory = Entry(b"-", Kind.DIRECTORY)
