"""Whether two runs of a command left the same, byte for byte, and if not, what differs.

What is shown of a file is a few bytes, and none of a private key's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from immutable.content.entries import Content, Entry, EntryKind, described, parent, show
from immutable.redact import cut, quoted, redact
from immutable.sandbox import hints
from immutable.sandbox.nested import Inside, look

__all__ = ["MOST", "Differing", "differing", "told"]

MOST: Final = 10  # paths that are named
_WHOLE: Final = 64 << 20  # bytes of a file that is looked into
_SHOWN: Final = 24
_BEFORE: Final = 200  # bytes in which a word may stand that tells of a secret


@frozen
class Differing:
    """A path that the two runs left in different ways: what differs, and why that may be."""

    path: bytes
    what: str
    hint: str = ""

    def __str__(self) -> str:
        text = cut(f"/{show(self.path)}: {self.what}", 600)
        return f"{text}; {self.hint}" if self.hint else text


def differing(one: Sequence[Entry], other: Sequence[Entry]) -> tuple[Differing, ...]:
    """Return where two runs' entries differ, by path; of very many the first ten, and one more.

    Empty if they are the same byte for byte. Contents are read again; nothing is kept of them.
    """
    found = []
    for difference in _differing(_by_place(one), _by_place(other)):
        found.append(difference)
        if len(found) > MOST:
            break
    return tuple(found)


def told(layer: str, found: Sequence[Differing]) -> str:
    """Return the error's text for the layer of that name."""
    lines = [f'layer "{layer}": the command gave two results, so nothing is stored']
    lines += [str(one) for one in found[:MOST]]
    if len(found) > MOST:
        lines.append("and more")
    return "\n".join(lines)


def _by_place(entries: Sequence[Entry]) -> Mapping[bytes, Entry]:
    return {entry.tar_path: entry for entry in entries}


def _differing(one: Mapping[bytes, Entry], other: Mapping[bytes, Entry]) -> Iterator[Differing]:
    alone = (set(one) - set(other), set(other) - set(one))
    named: set[bytes] = set()
    for place in sorted(one.keys() | other.keys()):
        if place in one and place in other:
            difference = _compared(one[place], other[place])
            if difference is not None:
                yield difference
        elif place not in named and parent(place) not in alone[0] | alone[1]:
            yield _only(place, one, other, alone, named)


def _only(
    place: bytes,
    one: Mapping[bytes, Entry],
    other: Mapping[bytes, Entry],
    alone: tuple[set[bytes], set[bytes]],
    named: set[bytes],
) -> Differing:
    """Tell of what only one run left, and of what the other left under a name of its shape."""
    is_first = place in one
    entry = one[place] if is_first else other[place]
    what = f"{described(entry.kind)}, only in the {'first' if is_first else 'second'} run"
    for twin in sorted(alone[is_first] - named):
        if parent(twin) == parent(place) and hints.same_shape(_name(place), _name(twin)):
            named.add(twin)
            in_other = "second" if is_first else "first"
            return Differing(
                entry.path, f"{what}; the {in_other} has {show(_name(twin))}", hints.TEMPORARY
            )
    return Differing(entry.path, what)


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _compared(one: Entry, other: Entry) -> Differing | None:
    if _kind(one) is not _kind(other):
        return Differing(one.path, f"{described(one.kind)} and {described(other.kind)}")
    if what := _attributes(one, other):
        return Differing(one.path, what)
    if one.content is None or other.content is None:
        return None
    return _contents(one.path, one.content, other.content)


def _kind(entry: Entry) -> EntryKind:
    return EntryKind.FILE if entry.kind is EntryKind.HARDLINK else entry.kind


def _attributes(one: Entry, other: Entry) -> str:
    if one.mode != other.mode:
        return f"mode {one.mode:04o} and {other.mode:04o}"
    if (one.uid, one.gid) != (other.uid, other.gid):
        return f"owner {one.uid}:{one.gid} and {other.uid}:{other.gid}"
    if one.xattrs != other.xattrs:
        return f"xattr {show(min(set(one.xattrs) ^ set(other.xattrs))[0])}"
    if one.kind is not other.kind or one.target != other.target:
        if EntryKind.HARDLINK in (one.kind, other.kind):
            return "a hard link to other names"
        return f"a symlink to {quoted(one.target)} and to {quoted(other.target)}"
    if (one.device, one.mtime, one.sets) != (other.device, other.mtime, other.sets):
        return "a device, time or directory that is set in another way"
    return ""


def _contents(path: bytes, one: Content, other: Content) -> Differing | None:
    digests = (getattr(one, "digest", None), getattr(other, "digest", None))
    if digests[0] is not None and digests[0] == digests[1]:
        return None
    at = _first(one, other)
    if at is None:
        return None
    if max(one.size, other.size) > _WHOLE:
        return Differing(path, f"content differs at byte {at}{_sizes(one.size, other.size)}")
    return _looked_into(path, look(b"".join(one.read()), b"".join(other.read())))


def _looked_into(path: bytes, found: Inside) -> Differing:
    where = "".join(f"{cut(name, 120)}: " for name in found.members)
    if found.what:
        why = hints.ARCHIVE_TIMES.get(found.time, "") or (hints.ORDER if found.order else "")
        return Differing(path, where + found.what, why)
    one, other = found.one, found.other
    at = next(
        (n for n in range(min(len(one), len(other))) if one[n] != other[n]),
        min(len(one), len(other)),
    )
    what = f"{where}content differs at byte {at}{_sizes(len(one), len(other))}"
    inner = found.members[-1].encode() if found.members else path
    return Differing(path, what + _excerpts(one, other, at), hints.hint(inner, one, other, at))


def _sizes(one: int, other: int) -> str:
    return "" if one == other else f" ({one} and {other} bytes)"


def _excerpts(one: bytes, other: bytes, at: int) -> str:
    if hints.is_secret(one) or hints.is_secret(other):
        return ""
    before = (one[max(0, at - _BEFORE) : at + _BEFORE], other[max(0, at - _BEFORE) : at + _BEFORE])
    for text in (data.decode("latin-1") for data in before):
        if redact(text) != text:
            return ""  # what is cut out of it would not be known as a secret
    return f": {_excerpt(one, at)} and {_excerpt(other, at)}"


def _excerpt(data: bytes, at: int) -> str:
    """Return what is around `at`: as text from near its line's start on, or as hex."""
    start = max(data.rfind(b"\n", 0, at) + 1, at - _SHOWN)
    piece = data[start : at + _SHOWN].partition(b"\n")[0] if start < len(data) else b""
    if not piece:
        return "a line's end" if at < len(data) else "the end"
    if all(32 <= byte < 127 or byte == 9 for byte in piece):
        return quoted(piece)[1:]
    return "hex " + data[max(0, at - 4) : at + 8].hex()


def _first(one: Content, other: Content) -> int | None:
    """Return the first offset at which two contents differ; None if they are the same."""
    left, right = one.read(), other.read()
    at, a, b = 0, b"", b""
    while True:
        a, b = a or next(left, b""), b or next(right, b"")
        length = min(len(a), len(b))
        if a[:length] != b[:length]:
            return at + next(n for n in range(length) if a[n] != b[n])
        if not length:
            return at if a or b else None
        at, a, b = at + length, a[length:], b[length:]
