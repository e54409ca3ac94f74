"""Names that stand in the database and in `index.json`, made one again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from attrs import define, field

from immutable.oci.digest import Digest
from immutable.oci.documents import REF_NAME, Descriptor, Index
from immutable.reference.grammar import is_repository
from immutable.reference.store import Reference
from immutable.store.base import Generation, in_utc
from immutable.store.database import Database
from immutable.store.records import raw
from immutable.store.refs import Refs


@define
class _Image:
    """What is said of one name."""

    current: int = 0
    following: int = 0
    generations: dict[int, Generation] = field(factory=dict)
    tags: dict[str, Descriptor] = field(factory=dict)


def merge_names(
    connection: sqlite3.Connection, index: Index | None, there: Mapping[Digest, int]
) -> None:
    """Make the database's names those that hold: its own, or else those of `index`.

    A name holds whose blob is `there`. What holds nowhere stays as the database has it, or goes
    if only the index has it. The index has to be written after this, and the database says so.
    """
    ours = _of_database(connection)
    theirs = _of_index(index) if index is not None else {}
    merged = {}
    for name in sorted(ours.keys() | theirs.keys()):
        image = _merged(ours.get(name, _Image()), theirs.get(name, _Image()), there)
        if image.generations:
            merged[name] = image
    _replace(connection, merged)
    refs = Refs(connection)
    wanted = refs.references()
    refs.mark_index(name for name in _of_generations(index) if name not in wanted)


def _merged(ours: _Image, theirs: _Image, there: Mapping[Digest, int]) -> _Image:
    def holds(descriptor: Descriptor) -> bool:
        return there.get(descriptor.digest) == descriptor.size

    result = _Image(tags=dict(ours.tags))
    for number in sorted(ours.generations.keys() | theirs.generations.keys()):
        mine, other = ours.generations.get(number), theirs.generations.get(number)
        if other is not None and holds(other.descriptor):
            better = mine is None or not holds(mine.descriptor)
            result.generations[number] = other if better or mine is None else mine
        elif mine is not None:
            result.generations[number] = mine
    digests = {generation.descriptor.digest for generation in result.generations.values()}
    for tag, descriptor in theirs.tags.items():
        # A tag that stands on none of them is another tool's.
        if descriptor.digest in digests and not (tag in ours.tags and holds(ours.tags[tag])):
            result.tags[tag] = descriptor
    numbers = [*result.generations]
    known = (number for number in (ours.current, theirs.current) if number in numbers)
    result.current = next(known, max(numbers, default=0))
    result.following = max([ours.following, theirs.following, *(n + 1 for n in numbers)])
    return result


def _of_database(connection: sqlite3.Connection) -> dict[str, _Image]:
    """Return what makes sense of the database's names."""
    images: dict[str, _Image] = {}
    rows = connection.execute(
        "SELECT name, number, media_type, digest, size, created, pinned FROM generation"
    )
    for name, number, media_type, digest, size, created, pinned in rows:
        descriptor = _descriptor(media_type, digest, size)
        time = _time(created)
        if _is_name(name) and _is_number(number) and descriptor is not None and time is not None:
            generation = Generation(name, number, descriptor, time, pinned=pinned not in (0, None))
            images.setdefault(name, _Image()).generations[number] = generation
    for name, tag, *columns in connection.execute(
        "SELECT name, tag, media_type, digest, size FROM tag"
    ):
        descriptor = _descriptor(*columns)
        parsed = Reference.parse(f"{name}:{tag}")
        if descriptor is not None and name in images and parsed is not None and parsed.tag == tag:
            images[name].tags[tag] = descriptor
    for name, current, following in connection.execute("SELECT name, current, next FROM image"):
        if name in images:
            images[name].current = current if _is_number(current) else 0
            images[name].following = following if _is_number(following) else 0
    return images


def _of_index(index: Index) -> dict[str, _Image]:
    """Return what `index.json` says, as a lost database is made again from it."""
    database = Database.in_memory()
    try:
        with database.write() as connection:
            Refs(connection).adopt(index)
        with database.read() as connection:
            return _of_database(connection)
    finally:
        database.close()


def _of_generations(index: Index | None) -> Iterator[str]:
    for entry in () if index is None else index.manifests:
        name = dict(entry.annotations).get(REF_NAME, "")
        reference = Reference.parse(name)
        if reference is not None and reference.number is not None:
            yield name


def _replace(connection: sqlite3.Connection, images: Mapping[str, _Image]) -> None:
    connection.execute("PRAGMA defer_foreign_keys = ON")
    for table in ("tag", "generation", "image"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own
    for name, image in images.items():
        connection.execute(
            "INSERT INTO image (name, current, next) VALUES (?, ?, ?)",
            (name, image.current, image.following),
        )
        connection.executemany(
            "INSERT INTO generation (name, number, media_type, digest, size, created, pinned) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (name, g.number, *_columns(g.descriptor), g.created.isoformat(), g.pinned)
                for g in image.generations.values()
            ),
        )
        connection.executemany(
            "INSERT INTO tag (name, tag, media_type, digest, size) VALUES (?, ?, ?, ?, ?)",
            ((name, tag, *_columns(descriptor)) for tag, descriptor in image.tags.items()),
        )


def _columns(descriptor: Descriptor) -> tuple[str, bytes, int]:
    return descriptor.media_type, raw(descriptor.digest), descriptor.size


def _descriptor(media_type: Any, digest: Any, size: Any) -> Descriptor | None:
    if not isinstance(media_type, str) or not isinstance(size, int) or size < 0:
        return None
    if not isinstance(digest, bytes) or len(digest) != 32:
        return None
    return Descriptor(media_type, Digest(digest.hex()), size)


def _time(created: Any) -> datetime | None:
    try:
        return in_utc(datetime.fromisoformat(created))
    except (TypeError, ValueError):
        return None


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and is_repository(name)


def _is_number(number: Any) -> bool:
    return isinstance(number, int) and number > 0
