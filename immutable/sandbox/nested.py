"""Looking into two archives that differ, to name the member that does.

Bounded in depth and in bytes, and forgiving: what cannot be read is compared as it is.
"""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from attrs import frozen

from immutable.content.archives.decompress import open_stream
from immutable.content.entries import show
from immutable.content.tar.reader import read
from immutable.errors import ImmutableError

__all__ = ["Inside", "look"]

_DEPTH: Final = 4
_MOST: Final = 64 << 20  # bytes that are unpacked of one archive
_MEMBERS: Final = 20_000
_PACKED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
_AR: Final = b"!<arch>\n"
_ERRORS: Final = (
    ImmutableError,
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,  # an encrypted zip
)


@frozen
class Inside:
    """Where two files differ: the members that lead there, outermost first, and what is there.

    `what` says what differs, where it is not the `one` and the `other` content; `time` that it is
    a time that an archive keeps of its members, and `order` that of the members themselves.
    """

    members: tuple[str, ...]
    one: bytes
    other: bytes
    what: str = ""
    time: str = ""
    order: bool = False


@frozen
class _Member:
    name: str
    facts: Mapping[str, str]
    data: bytes


def look(one: bytes, other: bytes) -> Inside:
    """Return where `one` and `other`, which are not the same, differ."""
    members: tuple[str, ...] = ()
    for _ in range(_DEPTH):
        found = _step(one, other)
        if found is None:
            break
        members += found.members
        if found.what:
            return Inside(members, b"", b"", found.what, found.time, found.order)
        one, other = found.one, found.other
    return Inside(members, one, other)


def _step(one: bytes, other: bytes) -> Inside | None:
    """Return what differs one level down; None if they are no archives of one kind."""
    for kind, reader in _readers(one):
        if kind not in [name for name, _ in _readers(other)]:
            continue
        try:
            first, second = _all(reader(one)), _all(reader(other))
        except _ERRORS:
            continue
        if found := _compared(kind, first, second):
            return found
    return None


def _compared(kind: str, first: list[_Member], second: list[_Member]) -> Inside | None:
    names = [[one.name for one in members] for members in (first, second)]
    if names[0] != names[1]:
        return _other_members(*names)
    pairs = list(zip(first, second, strict=True))
    for one, other in pairs:
        if one.data != other.data:
            return Inside((one.name,) if one.name else (), one.data, other.data)
    for one, other in pairs:
        for key, value in one.facts.items():
            if other.facts[key] != value:
                time = kind if key == "time" else ""
                what = f"{kind}: {key} {value} and {other.facts[key]}"
                return Inside((one.name,) if one.name else (), b"", b"", what, time)
    return None


def _other_members(one: list[str], other: list[str]) -> Inside:
    if sorted(one) == sorted(other):
        name = next(a for a, b in zip(one, other, strict=True) if a != b)
        return Inside((), b"", b"", f"members in another order, from {name} on", order=True)
    alone = sorted(set(one).symmetric_difference(other)) or [min(one)]
    which = "first" if alone[0] in one else "second"
    return Inside((alone[0],), b"", b"", f"a member only in the {which} run")


def _all(members: Iterator[_Member]) -> list[_Member]:
    found, size = [], 0
    for member in members:
        size += len(member.data)
        found.append(member)
        if size > _MOST or len(found) > _MEMBERS:
            raise ValueError("too much in one archive")
    return found


_Reader = Callable[[bytes], Iterator[_Member]]


def _readers(data: bytes) -> list[tuple[str, _Reader]]:
    if data.startswith(_PACKED):
        return [("gzip" if data.startswith(b"\x1f\x8b") else "compressed", _unpacked)]
    if data.startswith(_AR):
        return [("ar", _ar)]
    if data[257:262] == b"ustar":
        return [("tar", _tar)]
    if data.startswith(b"PK") or data[-22:-18] == b"PK\5\6":
        return [("zip", _zip)]
    return []


def _unpacked(data: bytes) -> Iterator[_Member]:
    facts = {}
    if data.startswith(b"\x1f\x8b"):
        facts["time"] = str(int.from_bytes(data[4:8], "little"))
    stream = open_stream(io.BytesIO(data), name="nested", limit=2 * _MOST)
    yield _Member("", facts, stream.read(_MOST + 1))


def _tar(data: bytes) -> Iterator[_Member]:
    for member in read(io.BytesIO(data), name="nested", reroot=True, repeats=True):
        entry = member.entry
        facts = {
            "kind": entry.kind.name.lower(),
            "mode": f"{entry.mode:04o}",
            "owner": f"{entry.uid}:{entry.gid}",
            "target": show(entry.target),
            "time": str(entry.mtime),
        }
        yield _Member(show(entry.path), facts, member.read(_MOST + 1))


def _zip(data: bytes) -> Iterator[_Member]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            facts = {
                "mode": f"{info.external_attr >> 16:o}",
                "time": " ".join(f"{number:02}" for number in info.date_time),
            }
            with archive.open(info) as stream:
                yield _Member(show(info.filename.encode()), facts, stream.read(_MOST + 1))


def _ar(data: bytes) -> Iterator[_Member]:
    at = len(_AR)
    while at < len(data):
        name, date, uid, gid, mode, size, end = struct.unpack_from("16s12s6s6s8s10s2s", data, at)
        at += 60
        if end != b"`\n" or at + int(size) > len(data):
            raise ValueError("no member of ar")
        facts = {
            "mode": show(mode.strip()),
            "owner": f"{show(uid.strip())}:{show(gid.strip())}",
            "time": show(date.strip()),
        }
        yield _Member(show(name.strip().removesuffix(b"/")), facts, data[at : at + int(size)])
        at += int(size) + int(size) % 2
