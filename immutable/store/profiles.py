"""Names in the database: images, their generations, their tags.

The same stands in `index.json`, one entry a name: ``shop/web`` for the current generation,
``shop/web:1.4.0`` for a tag, ``shop/web@3`` for generation 3 with its time. So other tools can
read every generation, their garbage collectors spare it, and a lost database is made again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from immutable.digest import Digest
from immutable.errors import ImageNotFound
from immutable.oci import REF_NAME, Descriptor, Index
from immutable.store.base import Generation, bare, in_utc
from immutable.store.names import Reference, is_name, not_found
from immutable.store.records import digest as parsed
from immutable.store.records import raw

_GENERATIONS: Final = (
    "SELECT generation.name, number, media_type, digest, size, created, number = current "
    "FROM generation JOIN image USING (name)"
)
CREATED: Final = "org.opencontainers.image.created"


class Profiles:
    """The names, within one transaction or query of `connection`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def names(self) -> list[str]:
        """Return the names of all images."""
        return [name for (name,) in self._connection.execute("SELECT name FROM image")]

    def generations(self, name: str) -> tuple[Generation, ...]:
        """Return the generations of `name`, oldest first; raise ImageNotFound."""
        found = tuple(self._select("WHERE generation.name = ?", name)) if is_name(name) else ()
        if not found:
            raise not_found(name, self.names())
        return found

    def current(self, name: str) -> Generation | None:
        """Return the current generation, or None if there is no such image."""
        return next(self._select("WHERE generation.name = ? AND number = current", name), None)

    def images(self) -> tuple[Generation, ...]:
        """Return every image's current generation, by name."""
        return tuple(self._select("WHERE number = current"))

    def generation(self, name: str, number: int) -> Generation:
        """Return generation `number` of `name`; raise ImageNotFound."""
        generations = self.generations(name)
        for generation in generations:
            if generation.number == number:
                return generation
        numbers = ", ".join(str(each.number) for each in generations)
        raise ImageNotFound(f"{name}@{number}: no such generation; there is {numbers}")

    def commit(
        self, name: str, descriptor: Descriptor, tags: Sequence[str], created: datetime
    ) -> Generation:
        """Make `descriptor` current, as a new generation unless it is already; set `tags`."""
        current = self.current(name)
        if current is None or current.descriptor != descriptor:
            number = self._next(name)
            self._insert(name, number, descriptor, created)
            self._point(name, number)
        else:
            number = current.number
        for tag in tags:
            self.set_tag(name, tag, descriptor)
        return self.generation(name, number)

    def set_current(self, name: str, number: int) -> Generation:
        """Make generation `number` the current one."""
        self.generation(name, number)
        self._point(name, number)
        return self.generation(name, number)

    def set_tag(self, name: str, tag: str, descriptor: Descriptor) -> None:
        """Put `tag` on a descriptor."""
        self._connection.execute(
            "REPLACE INTO tag (name, tag, media_type, digest, size) VALUES (?, ?, ?, ?, ?)",
            (name, tag, *_columns(descriptor)),
        )

    def tags(self, name: str) -> dict[str, Digest]:
        """Return the tags of `name`, and what each is on."""
        rows = self._connection.execute("SELECT tag, digest FROM tag WHERE name = ?", (name,))
        return {tag: parsed(digest) for tag, digest in rows}

    def with_digest(self, name: str, digest: Digest) -> Generation:
        """Return the newest generation of `name` with `digest`; raise ImageNotFound."""
        for generation in reversed(self.generations(name)):
            if generation.descriptor.digest == digest:
                return generation
        raise ImageNotFound(f"{name}@{digest}: in no generation of {name}")

    def references(self) -> dict[str, Descriptor]:
        """Return what `index.json` is to say: name → descriptor with its annotations."""
        result = {}
        for generation in self._select(""):
            by_number = str(Reference(generation.name, number=generation.number))
            created = {CREATED: generation.created.isoformat().replace("+00:00", "Z")}
            result[by_number] = _named(generation.descriptor, by_number).annotated(**created)
            if generation.current:
                result[generation.name] = _named(generation.descriptor, generation.name)
        rows = self._connection.execute("SELECT name, tag, media_type, digest, size FROM tag")
        for name, tag, media_type, digest, size in rows:
            by_tag = str(Reference(name, tag=tag))
            result[by_tag] = _named(Descriptor(media_type, parsed(digest), size), by_tag)
        return result

    def adopt(self, index: Index) -> None:
        """Take over the generations that `index` holds, with their tags; into an empty database.

        An entry that no ``name@number`` accounts for is another tool's, and stays its own.
        """
        entries = list(_references(index))
        numbers: dict[str, dict[int, Digest]] = {}
        for reference, descriptor in entries:
            if reference.number is not None:
                created = _created(descriptor)
                if created is not None:
                    numbers.setdefault(reference.name, {})[reference.number] = descriptor.digest
                    self._next_after(reference.name, reference.number)
                    self._insert(reference.name, reference.number, bare(descriptor), created)
        for reference, descriptor in entries:
            known = numbers.get(reference.name, {})
            if reference.tag is not None and known:
                self.set_tag(reference.name, reference.tag, bare(descriptor))
            elif reference.number is None and reference.digest is None:
                same = [n for n, digest in known.items() if digest == descriptor.digest]
                if same:
                    self._point(reference.name, max(same))

    def mark_index(self, *, lags: bool) -> None:
        """Remember whether `index.json` may lag behind."""
        self._connection.execute("DELETE FROM index_lags")
        if lags:
            self._connection.execute("INSERT INTO index_lags VALUES ('')")

    def index_lags(self) -> bool:
        """Whether a change of names may not have reached `index.json`."""
        return self._connection.execute("SELECT 1 FROM index_lags").fetchone() is not None

    def _select(self, where: str, *name: str) -> Iterator[Generation]:
        """Yield generations by name and number: all, or those of `name` that `where` lets in."""
        tags: dict[tuple[str, bytes], list[str]] = {}
        chosen = "WHERE name = ?" if name else ""
        query = f"SELECT name, tag, digest FROM tag {chosen}"  # noqa: S608 - our own clauses
        for owner, tag, digest in self._connection.execute(query, name):
            tags.setdefault((owner, digest), []).append(tag)
        query = f"{_GENERATIONS} {where} ORDER BY generation.name, number"
        rows = self._connection.execute(query, name)
        for owner, number, media_type, digest, size, created, current in rows:
            yield Generation(
                owner,
                number,
                Descriptor(media_type, parsed(digest), size),
                datetime.fromisoformat(created),
                tuple(sorted(tags.get((owner, digest), ()))),
                bool(current),
            )

    def _next(self, name: str) -> int:
        """Take the number of the next generation."""
        row = self._connection.execute("SELECT next FROM image WHERE name = ?", (name,)).fetchone()
        number: int = row[0] if row else 1
        self._next_after(name, number)
        return number

    def _next_after(self, name: str, number: int) -> None:
        self._connection.execute(
            "INSERT INTO image (name, current, next) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE "
            "SET current = max(current, excluded.current), next = max(next, excluded.next)",
            (name, number, number + 1),
        )

    def _insert(self, name: str, number: int, descriptor: Descriptor, created: datetime) -> None:
        self._connection.execute(
            "INSERT INTO generation (name, number, media_type, digest, size, created) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (name, number, *_columns(descriptor), in_utc(created).isoformat()),
        )

    def _point(self, name: str, number: int) -> None:
        self._connection.execute("UPDATE image SET current = ? WHERE name = ?", (number, name))


def with_references(index: Index, wanted: dict[str, Descriptor]) -> Index:
    """Return `index` saying what `wanted` does; entries under other names stay as they are.

    An entry that stood for one of our names and still says the same stays where it is.
    """
    left = dict(wanted)
    kept = []
    for entry in index.manifests:
        name = dict(entry.annotations).get(REF_NAME)
        if name not in wanted:
            kept.append(entry)
        elif name in left:
            ours = left.pop(name)
            kept.append(entry if entry == ours else ours)
    return Index((*kept, *left.values()), index.annotations, index.media_type)


def _references(index: Index) -> Iterator[tuple[Reference, Descriptor]]:
    seen: set[str] = set()
    for entry in index.manifests:
        name = dict(entry.annotations).get(REF_NAME, "")
        reference = Reference.parse(name)
        if reference is not None and name not in seen:
            seen.add(name)
            yield reference, entry


def _created(descriptor: Descriptor) -> datetime | None:
    try:
        return in_utc(datetime.fromisoformat(dict(descriptor.annotations).get(CREATED, "")))
    except ValueError:
        return None


def _named(descriptor: Descriptor, name: str) -> Descriptor:
    return bare(descriptor).annotated(**{REF_NAME: name})


def _columns(descriptor: Descriptor) -> tuple[str, bytes, int]:
    return descriptor.media_type, raw(descriptor.digest), descriptor.size
