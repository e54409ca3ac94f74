"""Names in the database: images, their generations, their tags.

The same stands in `index.json`, one entry a name: ``shop/web`` for the current generation,
``shop/web:1.4.0`` for a tag, ``shop/web@3`` for generation 3 with its time and its pin. So other
tools can read every generation, their garbage collectors spare it, and a lost database is made
again. Of a forgotten generation only the number stays, so that it is never given again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from immutable.errors import ImageNotFound
from immutable.oci.digest import Digest
from immutable.oci.documents import REF_NAME, Descriptor, Index
from immutable.reference.grammar import is_repository
from immutable.reference.store import Reference
from immutable.store.base import Generation, in_utc
from immutable.store.names import no_such_generation, no_such_tag, not_found
from immutable.store.preconditions import check_forget
from immutable.store.records import digest as parsed
from immutable.store.records import raw

_GENERATIONS: Final = (
    "SELECT generation.name, number, media_type, digest, size, created, number = current, pinned "
    "FROM generation JOIN image USING (name)"
)
CREATED: Final = "org.opencontainers.image.created"
PINNED: Final = "immutable.generation.pinned"  # "true", on the entry of a generation
# On an image's own entry, where its generations do not tell: the current one, the next one.
CURRENT: Final = "immutable.generation.current"
NEXT: Final = "immutable.generation.next"


class Refs:
    """The names, within one transaction or query of `connection`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def names(self) -> list[str]:
        """Return the names of all images."""
        return [name for (name,) in self._connection.execute("SELECT name FROM image")]

    def generations(self, name: str) -> tuple[Generation, ...]:
        """Return the generations of `name`, oldest first; raise ImageNotFound."""
        found = (
            tuple(self._select("WHERE generation.name = ?", name)) if is_repository(name) else ()
        )
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
        raise no_such_generation(name, number, (each.number for each in generations))

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

    def pin(self, name: str, number: int, *, pinned: bool) -> Generation:
        """Pin generation `number`, or let go of it."""
        self.generation(name, number)
        self._connection.execute(
            "UPDATE generation SET pinned = ? WHERE name = ? AND number = ?", (pinned, name, number)
        )
        return self.generation(name, number)

    def forget(self, name: str, numbers: Iterable[int]) -> None:
        """Remove generations, and the tags that stand on none of those left."""
        generations = self.generations(name)
        gone = check_forget(name, generations, numbers)
        left = {each.descriptor.digest for each in generations if each.number not in gone}
        for generation in generations:
            if generation.number in gone:
                self._connection.execute(
                    "DELETE FROM generation WHERE name = ? AND number = ?",
                    (name, generation.number),
                )
                if generation.descriptor.digest not in left:
                    self._connection.execute(
                        "DELETE FROM tag WHERE name = ? AND digest = ?",
                        (name, raw(generation.descriptor.digest)),
                    )

    def untag(self, name: str, tag: str) -> None:
        """Take `tag` away; raise ImageNotFound if there is none."""
        self.generations(name)
        rows = self._connection.execute("SELECT tag FROM tag WHERE name = ?", (name,)).fetchall()
        tags = {row[0] for row in rows}
        if tag not in tags:
            raise no_such_tag(name, tag, tags)
        self._connection.execute("DELETE FROM tag WHERE name = ? AND tag = ?", (name, tag))

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
        newest: dict[tuple[str, Digest], int] = {}
        for generation in self._select(""):
            newest[generation.name, generation.descriptor.digest] = generation.number
            by_number = str(Reference(generation.name, number=generation.number))
            said = {CREATED: generation.created.isoformat().replace("+00:00", "Z")}
            said |= {PINNED: "true"} if generation.pinned else {}
            result[by_number] = _named(generation.descriptor, by_number).annotated(**said)
            if generation.current:
                result[generation.name] = _named(generation.descriptor, generation.name)
        told = "SELECT name, current, next, (SELECT max(number) FROM generation AS g "
        told += "WHERE g.name = image.name) FROM image"
        for name, current, following, last in self._connection.execute(told):
            if newest[name, result[name].digest] != current:
                result[name] = result[name].annotated(**{CURRENT: str(current)})
            if following != last + 1:
                result[name] = result[name].annotated(**{NEXT: str(following)})
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
                    self._insert(
                        reference.name,
                        reference.number,
                        descriptor.bare(),
                        created,
                        pinned=dict(descriptor.annotations).get(PINNED) == "true",
                    )
        for reference, descriptor in entries:
            known = numbers.get(reference.name, {})
            if reference.tag is not None and known:
                self.set_tag(reference.name, reference.tag, descriptor.bare())
            elif reference.number is None and reference.digest is None:
                same = [n for n, digest in known.items() if digest == descriptor.digest]
                if same:
                    current = _told(descriptor, CURRENT)
                    self._point(reference.name, current if current in same else max(same))
                    self._connection.execute(
                        "UPDATE image SET next = max(next, ?) WHERE name = ?",
                        (_told(descriptor, NEXT), reference.name),
                    )

    def mark_index(self, gone: Iterable[str]) -> None:
        """Remember that `index.json` may lag behind, and the names that are to go from it."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO lagging VALUES (?)", ((name,) for name in ("", *gone))
        )

    def unmark_index(self) -> None:
        """Remember that `index.json` says what is in here."""
        self._connection.execute("DELETE FROM lagging")

    def index_lags(self) -> frozenset[str] | None:
        """Return the names that may still have to go from `index.json`; None if it is up to date.

        An empty one may be among them: it says only that there is a difference.
        """
        rows = self._connection.execute("SELECT name FROM lagging").fetchall()
        return frozenset(name for (name,) in rows) if rows else None

    def _select(self, where: str, *name: str) -> Iterator[Generation]:
        """Yield generations by name and number: all, or those of `name` that `where` lets in."""
        tags: dict[tuple[str, bytes], list[str]] = {}
        chosen = "WHERE name = ?" if name else ""
        query = f"SELECT name, tag, digest FROM tag {chosen}"  # noqa: S608 - our own clauses
        for owner, tag, digest in self._connection.execute(query, name):
            tags.setdefault((owner, digest), []).append(tag)
        query = f"{_GENERATIONS} {where} ORDER BY generation.name, number"
        rows = self._connection.execute(query, name)
        for owner, number, media_type, digest, size, created, current, pinned in rows:
            yield Generation(
                owner,
                number,
                Descriptor(media_type, parsed(digest), size),
                datetime.fromisoformat(created),
                tuple(sorted(tags.get((owner, digest), ()))),
                bool(current),
                bool(pinned),
            )

    def _next(self, name: str) -> int:
        """Take the number of the next generation."""
        row = self._connection.execute("SELECT next FROM image WHERE name = ?", (name,)).fetchone()
        number: int = row[0] if row else 1
        self._next_after(name, number)
        return number

    def _next_after(self, name: str, number: int) -> None:
        """Make room for generation `number`, and make it current if it is the newest."""
        self._connection.execute(
            "INSERT INTO image (name, current, next) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE "
            "SET current = max(current, excluded.current), next = max(next, excluded.next)",
            (name, number, number + 1),
        )

    def _insert(
        self,
        name: str,
        number: int,
        descriptor: Descriptor,
        created: datetime,
        *,
        pinned: bool = False,
    ) -> None:
        self._connection.execute(
            "INSERT INTO generation (name, number, media_type, digest, size, created, pinned) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (name, number, *_columns(descriptor), in_utc(created).isoformat(), pinned),
        )

    def _point(self, name: str, number: int) -> None:
        self._connection.execute("UPDATE image SET current = ? WHERE name = ?", (number, name))


def with_references(
    index: Index, wanted: Mapping[str, Descriptor], gone: Container[str] = ()
) -> Index:
    """Return `index` saying what `wanted` does, without the names that are `gone`.

    Entries under other names stay as they are. An entry that stood for one of our names and
    still says the same stays where it is.
    """
    left = dict(wanted)
    kept = []
    for entry in index.manifests:
        name = dict(entry.annotations).get(REF_NAME)
        if name not in wanted:
            if name is None or name not in gone:
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


def _told(descriptor: Descriptor, annotation: str) -> int:
    """Return the generation's number that an annotation tells; 0 if it tells none."""
    told = Reference.parse(f"x@{dict(descriptor.annotations).get(annotation, '')}")
    return 0 if told is None or told.number is None else told.number


def _named(descriptor: Descriptor, name: str) -> Descriptor:
    return descriptor.bare().annotated(**{REF_NAME: name})


def _columns(descriptor: Descriptor) -> tuple[str, bytes, int]:
    return descriptor.media_type, raw(descriptor.digest), descriptor.size
