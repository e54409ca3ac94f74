"""Hypothesis strategies for immutable's values, in one place."""

from __future__ import annotations

import datetime
import io
import struct
import tarfile
from typing import Any

from attrs import evolve, fields
from hypothesis import strategies as st
from typing_extensions import override

from immutable.builders import written
from immutable.content import tar
from immutable.content.entries import (
    Entry,
    EntryKind,
    Inline,
    ancestors,
    arrange,
    opaque,
    whiteout,
)
from immutable.lifecycle.retention import Condition, Item, Policy, Rule
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.spec.document import Spec
from immutable.spec.lock import IndexPin, Lock, LockedLayer, Pin
from immutable.spec.written import ContainerConfig, Healthcheck, User
from tests.support import archives

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
def trees(draw: st.DrawFn, places: st.SearchStrategy[bytes] = paths) -> tuple[Entry, ...]:
    """One source: no path twice, nothing below what is no directory, nothing like a whiteout."""
    chosen: dict[bytes, Entry] = {}
    for path in draw(st.lists(places, max_size=12, unique=True)):
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


@st.composite
def marked_trees(draw: st.DrawFn, places: st.SearchStrategy[bytes] = paths) -> tuple[Entry, ...]:
    """One source with whiteouts and opaque directories, which contradict nothing in it."""
    found = draw(trees(places))
    kinds = {entry.path: entry.kind for entry in found}
    kinds |= dict.fromkeys(ancestors(kinds) - kinds.keys(), EntryKind.DIRECTORY)
    # What is within a directory of the layer is marked more often than chance would have it.
    near = st.sampled_from(sorted(kinds, key=len)[-4:]) if kinds else places
    marked = near | places | st.tuples(near, places).map(b"/".join)
    hidden: list[bytes] = []
    marks = []
    for path in draw(st.lists(marked, max_size=6, unique=True)):
        above = {path} | ancestors([path])
        if b"/.wh." in b"/" + path or len(path.rpartition(b"/")[2]) > 251:
            continue
        if above.intersection(hidden) or any(path in ancestors([one]) for one in hidden):
            continue
        kind = kinds.get(path)
        through = {kinds.get(one, EntryKind.DIRECTORY) for one in above - {path}}
        if not through <= {EntryKind.DIRECTORY} or kind not in (None, EntryKind.DIRECTORY):
            continue
        marks.append(whiteout(path) if kind is None and draw(st.booleans()) else opaque(path))
        hidden.append(path)
    return (*found, *marks)


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


# Specs in Python

_names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
_paths = st.lists(_names, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
_words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_modes = st.sampled_from(["0750", "640", "4755", "000"])
_owners = st.sampled_from(["root", "web", "web:staff", "7", "7:8"])
_texts = st.dictionaries(_words.filter(bool), _words, max_size=3)
_globs = st.lists(st.sampled_from(["*.py", "a/**", "/x", "ä*"]), max_size=2)
_xattrs = st.dictionaries(
    _words.map("user.{}a".format).filter(lambda name: "=" not in name), _words.filter(bool)
)
_durations = st.sampled_from(["0s", "30s", "90s", "61m", "1h2m3s4ms", "5ms", "2562047h"])
_flags = st.booleans()
_layer_counts = st.integers(1, 100)


def _maybe(cls: Any, *given: st.SearchStrategy[Any], **some: st.SearchStrategy[Any]) -> Any:
    """Instances of `cls` with what is given, and some of the other fields."""
    return st.builds(cls, *given, **{key: st.none() | value for key, value in some.items()})


_inline_entries = st.builds(
    written.InlineEntry,
    _paths,
    text=st.none() | _words,
    mode=st.none() | _modes,
    owner=st.none() | _owners,
    xattrs=st.none() | _xattrs,
    capabilities=st.none() | st.sampled_from(["cap_net_raw+ep", "all=", ""]),
).filter(lambda one: len({key for key in one.row() if one.row()[key] != {}}) > 1) | st.builds(
    written.InlineEntry, _paths, link=_words.filter(bool), owner=_owners
)
_entries = st.lists(_inline_entries, max_size=2)


def _layer(name: st.SearchStrategy[str]) -> st.SearchStrategy[written.WrittenLayer]:
    shared = {"owner": _owners, "layers": _layer_counts, "replace": _flags}
    return st.one_of(
        _maybe(
            written.Files,
            name,
            source=_names,
            target=_paths,
            include=_globs,
            exclude=_globs,
            owner=_owners,
            mode=_modes,
            directory_mode=_modes,
            entries=_entries,
            remove=_globs,
            replace=_flags,
            layers=_layer_counts,
        ),
        st.builds(
            written.Archive,
            name,
            path=_names,
            sha256=digests.map(lambda digest: digest.hex),
            strip=st.integers(0, 9),
            setuid=_flags,
            layers=st.none() | _layer_counts,
        ),
        _maybe(written.Archive, name, url=st.just("https://a.test/t.tar"), special=_flags).filter(
            lambda one: one.url
        ),
        st.builds(
            written.Debian,
            name,
            suite=st.sampled_from(["bookworm", "sid"]),
            packages=st.lists(st.sampled_from(["nginx", "curl=7.1", "a0 (>= 1)"]), min_size=1),
            pockets=st.none() | st.lists(st.sampled_from(["updates", "security"]), max_size=2),
            essential=st.none() | _flags,
            exclude=st.none() | _globs,
            layers=st.none() | _layer_counts,
        ),
        st.builds(
            written.Wheels,
            name,
            lockfile=_names,
            python=st.sampled_from(["3.11", "3.12.1"]),
            target=st.none() | _paths,
            libc=st.none() | st.sampled_from(["glibc-2.36", "musl-1.2"]),
            extras=st.none() | st.lists(_names, max_size=2),
            **{key: st.none() | value for key, value in shared.items()},
        ),
        st.builds(
            written.Npm,
            name,
            lockfile=_names,
            target=_paths,
            omit=st.none() | st.just(["dev"]),
            libc=st.none() | st.sampled_from(["glibc", "musl"]),
            **{key: st.none() | value for key, value in shared.items()},
        ),
        st.builds(written.FromImage, name, st.sampled_from(["base.toml", "a.test/web:1"])),
        st.builds(
            written.Copy,
            name,
            from_=st.sampled_from(["base.toml", "a.test/web:1"]),
            paths=st.lists(_paths, min_size=1, max_size=2),
            target=st.none() | st.sampled_from(["/", "/a/"]),
            exclude=st.none() | _globs,
            owner=st.none() | _owners,
        ),
        *_runs(name),
    )


def _runs(name: st.SearchStrategy[str]) -> list[st.SearchStrategy[written.WrittenLayer]]:
    told: dict[str, st.SearchStrategy[Any]] = {
        "env": st.dictionaries(_names, _words, max_size=2),
        "workdir": _paths,
        "user": _owners,
        "keep": _globs,
        "drop": _globs,
        "cache": st.just(["/root/.cache"]),
        "inputs": st.lists(
            _maybe(written.RunInput, _names, to=st.just("/src/a"), exclude=_globs).filter(
                lambda one: one.to
            ),
            max_size=1,
        ),
        "fetch": st.builds(
            written.RunFetch,
            st.just("https://a.test/t.tar"),
            to=st.just("/src/t.tar"),
            sha256=st.none() | digests.map(lambda digest: digest.hex),
        ).map(lambda one: [one]),
        "timeout": st.sampled_from(["90s", "1h"]),
        "memory": st.sampled_from(["1024MiB", "3KiB"]),
    }
    told = {key: st.none() | value for key, value in told.items()}
    return [
        st.builds(written.Run, name, command=st.just(["make", "it"]), **told),
        st.builds(written.Run, name, script=_words.map("x {}\n".format), **told),
    ]


_healthchecks = _maybe(
    Healthcheck,
    interval=_durations,
    timeout=_durations,
    start_period=_durations,
    retries=st.integers(0, 9),
).flatmap(lambda one: st.sampled_from([evolve(one, cmd=["a"]), evolve(one, shell="a")]))
_configs = _maybe(
    ContainerConfig,
    user=_owners,
    workdir=_paths,
    env=st.dictionaries(_names, _words, max_size=3),
    entrypoint=st.lists(_words, max_size=2),
    cmd=st.lists(_words, max_size=2),
    expose=st.lists(st.sampled_from(["80", "53/udp"]), max_size=2),
    volumes=st.lists(_paths, max_size=2),
    labels=_texts,
    stop_signal=st.sampled_from(["SIGTERM", "9"]),
    healthcheck=_healthchecks,
)
_created: Any = st.sampled_from(["git", "source-date-epoch"]) | st.integers(0, 253402300799).map(
    lambda seconds: datetime.datetime.fromtimestamp(seconds, datetime.UTC)
)
_users = st.builds(
    User, _names, st.integers(1, 99), gid=st.none() | st.integers(1, 99), home=st.none() | _paths
)

written_specs = st.builds(
    Spec,
    st.sampled_from(["web", "shop/web"]),
    layers=st.lists(_names, unique=True, max_size=4).flatmap(
        lambda names: st.tuples(*(_layer(st.just(name)) for name in names))
    ),
    users=st.lists(_users, max_size=1),
    config=st.none() | _configs,
    platforms=st.none() | st.lists(st.sampled_from(PLATFORMS), unique=True, max_size=2),
    tags=st.none() | st.lists(st.sampled_from(["1.0", "{git.sha}"]), unique=True, max_size=2),
    created=st.none() | _created,
    compression=st.sampled_from([None, "gzip", "zstd", "none"]),
    annotations=st.none() | _texts,
)
"""Specs made in Python that have no fault."""


def _wild(cls: Any) -> st.SearchStrategy[Any]:
    """Instances of `cls` that hold whatever TOML can say."""
    return st.builds(cls, **{one.name: st.none() | toml_values for one in fields(cls)})


wild_layers: st.SearchStrategy[written.WrittenLayer] = st.one_of(
    *map(_wild, (written.Files, written.Archive, written.Debian, written.Npm, written.FromImage)),
    _wild(written.Copy),
    _wild(written.Run),
)
wild_configs: st.SearchStrategy[ContainerConfig] = _wild(ContainerConfig)


# Layers' tars, as others make them

_OWNERS = st.sampled_from((0, 1, 1000, 65534, 2097151, 2097152, 2**32 - 2))
_MOST_OWNER = 0o7777777  # that a tar's header can name; PAX records name others
_NAMES = (b"a", b"a-b", b"b", b"c", b"\xff")
_PLACES = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3).map(b"/".join)
_TARGETS = st.sampled_from((b"a", b"b/c", b"/a/b", b"../a", b"..", b"/", b"./c/", b"a/../b"))
_MADE = ("file", "directory", "symlink", "hard link", "sparse", "character", "block", "fifo")
_HIDDEN = ("whiteout", "whiteout", "opaque")
_FLAGS = ("file", "hard link", "symlink", "character", "block", "directory", "fifo")
_NODES = {"character": (b"3", (1, 3)), "block": (b"4", (7, 1)), "fifo": (b"6", (0, 0))}


class LayerTar(bytes):
    """A tar that says of itself what is in it."""

    @override
    def __repr__(self) -> str:
        with tarfile.open(fileobj=io.BytesIO(self)) as tar:
            members = [self._said(one) for one in tar]
        return f"LayerTar({', '.join(members)})"

    def _said(self, one: tarfile.TarInfo) -> str:
        kind = _FLAGS[int(one.type)]
        link = f" -> {one.linkname}" if one.linkname else ""
        more = {key: value for key, value in one.pax_headers.items() if "xattr" in key}
        return f"{kind} {one.name!r}{link} {one.mode:o} {one.uid}:{one.gid} {more or ''}".strip()


@st.composite
def marked_layers(draw: st.DrawFn) -> bytes:
    """Return a tar of ours that meets those of `layer_tars`, with whiteouts more often than not."""
    tree = [evolve(entry, xattrs=()) for entry in draw(marked_trees(_PLACES))]
    return b"".join(tar.chunks(arrange([tree], mtime=0), lambda *_: False, 1 << 20))


@st.composite
def layer_tars(draw: st.DrawFn, *, plain: bool = False) -> bytes:
    """Return a tar that is a layer: of few names, so that layers meet; with what may stand twice.

    It is one that our reader takes: no path goes through what is no directory, and nothing comes
    in the place of one. With `plain` it is one that all engines unpack alike: every directory
    has an entry before what is in it, it never comes in the place of something else of the same
    tar, and hard links have the attributes of their targets.
    """
    kinds: dict[bytes, str] = {}
    attributes: dict[bytes, dict[str, Any]] = {}
    tar = bytearray()
    for _ in range(draw(st.integers(0, 10))):
        path, what = draw(_PLACES), draw(st.sampled_from(_MADE + _HIDDEN))
        folder, _, name = path.rpartition(b"/")
        if what == "opaque":
            folder, name = path, b".wh..wh..opq"
        elif what == "whiteout":
            name = b".wh." + name
        path = b"/".join(filter(None, (folder, name)))
        above = [folder.rsplit(b"/", n)[0] for n in range(folder.count(b"/") + 1) if folder]
        if any(kinds.get(one, "directory") != "directory" for one in above):
            continue
        if kinds.get(path) == "directory" != what:
            continue
        if plain and kinds.get(path, what) != "directory" == what:
            continue
        others = sorted(p for p, k in kinds.items() if k not in ("directory", "") and p != path)
        if what == "hard link" and not others:
            continue
        if plain:
            missing = [one for one in reversed(above) if one not in kinds]
            tar += b"".join(draw(_layer_member(one, "directory", {}, plain)) for one in missing)
        kinds |= dict.fromkeys(above, "directory")
        kinds[path] = what if what not in _HIDDEN else ""
        if what in _HIDDEN:
            tar += archives.member(path)
        elif what == "hard link":
            target = draw(st.sampled_from(others))
            attributes[path] = attributes[target]
            tar += archives.hardlink(path, target, **(attributes[path] if plain else {}))
        else:
            attributes[path] = {}
            tar += draw(_layer_member(path, what, attributes[path], plain))
    return LayerTar(bytes(tar) + archives.END)


@st.composite
def _layer_member(
    draw: st.DrawFn, path: bytes, what: str, attributes: dict[str, Any], plain: bool
) -> bytes:
    """Return a member with its PAX header, if it has one; what is drawn goes into `attributes`."""
    attributes["mode"] = draw(st.integers(0, 0o7777))
    records = draw(_xattr_records(what, 1 if plain else 0))
    for one in ("uid", "gid"):
        attributes[one] = owner = draw(_OWNERS)
        if owner > _MOST_OWNER:
            attributes[one] = 0
            records.append((one.encode(), b"%d" % owner))
    if what == "sparse":
        data, after = draw(st.binary(min_size=1, max_size=9)), draw(st.sampled_from((0, 1000)))
        return archives.sparse(path, data, *records, after=after, **attributes)
    before = archives.pax(*records) if records else b""
    if what == "symlink":
        return before + archives.symlink(path, draw(_TARGETS), **attributes)
    if what == "directory":
        return before + archives.directory(path + b"/", **attributes)
    if what == "file":
        return before + archives.member(path, draw(st.binary(max_size=700)), **attributes)
    flag, device = _NODES[what]
    return before + archives.block(path, flag=flag, device=device, **attributes)


@st.composite
def _xattr_records(draw: st.DrawFn, what: str, least: int) -> list[tuple[bytes, bytes]]:
    """Return PAX records of xattrs that Linux lets such a thing have, values of `least` bytes."""
    records = []
    values = st.binary(min_size=least, max_size=4)
    if draw(st.integers(0, 3)) == 0:
        records.append((b"SCHILY.xattr.security.note", draw(values)))
    if what in ("file", "directory", "sparse") and draw(st.integers(0, 3)) == 0:
        records.append((b"SCHILY.xattr.user.a", draw(values)))
    if what == "file" and draw(st.integers(0, 3)) == 0:
        permitted = draw(st.integers(0, 2**32 - 1))
        capability = struct.pack("<5I", 0x02000001, permitted, 0, 0, 0)  # capabilities(7), v2
        records.append((b"SCHILY.xattr.security.capability", capability))
    return records
