"""Hypothesis strategies for immutable's values, in one place."""

from __future__ import annotations

import datetime
from typing import Any

from hypothesis import strategies as st

from immutable.content.entries import Entry, EntryKind, Inline
from immutable.lifecycle.retention import Condition, Item, Policy, Rule
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.spec.lock import IndexPin, Lock, LockedLayer, Pin

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
    kind = draw(
        st.sampled_from(
            (EntryKind.FILE, EntryKind.FILE, EntryKind.DIRECTORY, EntryKind.SYMLINK, EntryKind.FIFO)
        )
    )
    return Entry(
        draw(paths) if path is None else path,
        kind,
        draw(st.integers(0, 0o7777)),
        draw(st.integers(0, 2**32 - 2)),
        draw(st.integers(0, 2**32 - 2)),
        content=Inline(draw(st.binary(max_size=2000))) if kind is EntryKind.FILE else None,
        target=draw(st.binary(min_size=1, max_size=120)).replace(b"\0", b"/")
        if kind is EntryKind.SYMLINK
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
        if any(chosen.get(p, entry_is_directory).kind is not EntryKind.DIRECTORY for p in above):
            continue
        entry = draw(entries(path))
        if any(other.startswith(path + b"/") for other in chosen):
            entry = Entry(path, EntryKind.DIRECTORY, 0o755)
        chosen[path] = entry
    return tuple(chosen.values())


entry_is_directory = Entry(b"-", EntryKind.DIRECTORY)

# Retention

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
NAMES = ("shop/web", "shop/api", "ci/web/a", "base")
TAGS = (
    "v1.0.0",
    "v1.0.1",
    "v1.1.0",
    "v1.1.1-rc.1",
    "v2.0.0",
    "1.20",
    "1.21-alpine",
    "main",
    "pr-7",
    "latest",
)
SELECTORS = ("v*", "pr-?", ">=1 <2", "newest 1", "newest 1 of each minor", "newest 2 in v1*")
ages = st.integers(-5, 60).map(lambda days: datetime.timedelta(days=days))
spans = st.integers(1, 40).map(lambda days: datetime.timedelta(days=days))
_tag_words = st.lists(st.sampled_from(SELECTORS), max_size=2)


def _conditions(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[dict[str, Any]]:
    """The arguments of a Condition that keeps something."""
    negated = st.sampled_from(("pr-*", "v1*", "<2")).map(
        lambda tag: Condition(not_=Condition(keep_tags=(tag,)))
    )
    some = st.lists(inner | negated, max_size=2)
    return st.fixed_dictionaries(
        {
            "keep_last": st.none() | st.integers(1, 4),
            "keep_within": st.none() | spans,
            "keep_tags": _tag_words,
            "keep_deployed": st.sampled_from(((), (), ("deploy",))),
            "any_": some,
            "all_": some,
        }
    ).filter(lambda given: any(given.values()))


plain_conditions: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"keep_last": st.none() | st.integers(1, 4), "keep_within": st.none() | spans}
).filter(lambda given: any(given.values()))
conditions = _conditions(plain_conditions.map(lambda given: Condition(**given)))
images = st.lists(st.sampled_from(("**", "shop/*", "shop/web", "ci/**", "ba[a-s]e")), min_size=1)
rules = st.builds(
    lambda given, images, untagged: Rule(**given, images=images, delete_untagged_after=untagged),
    conditions,
    images,
    st.none() | spans,
)
policies = st.lists(rules, max_size=3).map(Policy)


@st.composite
def items(draw: st.DrawFn) -> list[Item]:
    """What a store or a registry may hold: each tag of a name once, and indexes with children."""
    numbered = draw(st.booleans())
    found: list[Item] = []
    for number in range(1, draw(st.integers(0, 9)) + 1):
        name = draw(st.sampled_from(NAMES))
        used = {tag for item in found if item.name == name for tag in item.tags}
        others = [item.digest for item in found if item.name == name]
        several = st.lists(st.sampled_from(others), max_size=2) if others else st.just([])
        found.append(
            Item(
                name=name,
                digest=Digest.of(b"%d" % draw(st.integers(1, number))),
                number=number if numbered else None,
                created=draw(st.none() | ages.map(lambda age: NOW - age)),
                tags=draw(st.sets(st.sampled_from(TAGS), max_size=2)) - used,
                current=numbered and draw(st.integers(0, 4)) == 0,
                pinned=draw(st.integers(0, 6)) == 0,
                children=draw(several),
                subject=draw(st.sampled_from((None, None, *others))),
            )
        )
    return found
