"""`check`: everything in a store that does not hold.

The store is not opened for it: opening one puts right what killed processes left, and needs
what is to be checked. What they left is no fault: drafts, leases, and an `index.json` that is
one change behind, with a mark in the database that says so.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Final

from attrs import define, field

from immutable.errors import ImageError, StoreError
from immutable.oci.digest import Digest
from immutable.oci.documents import REF_NAME, Descriptor, Index
from immutable.progress import SILENT, Progress
from immutable.reference.store import Reference
from immutable.store import files
from immutable.store.access import OTHERS_WRITE
from immutable.store.check_blobs import ChunkRow, Inspector
from immutable.store.check_names import Walk, compare
from immutable.store.check_records import check_records, chunk_rows
from immutable.store.database import Database
from immutable.store.faults import Fault, FaultKind
from immutable.store.layout import Layout
from immutable.store.ordered import in_order
from immutable.store.refs import Refs

DATABASE: Final = "immutable.db"
_ALGORITHMS: Final = frozenset(
    {"sha512", "blake3"}
)  # other tools' blobs (descriptor.md, "Digests")
_AHEAD: Final = 4  # blobs a thread
# Rows whose values are not of their kinds: SQLite keeps whatever it is given.
_ODD_NAMES: Final = (
    ("image", "typeof(name) <> 'text' OR typeof(current) || typeof(next) <> 'integerinteger'"),
    (
        "generation",
        (
            "typeof(media_type) || typeof(created) <> 'texttext' OR pinned NOT IN (0, 1) "
            "OR typeof(number) || typeof(size) <> 'integerinteger'"
        ),
    ),
    ("tag", "typeof(media_type) || typeof(tag) <> 'texttext' OR typeof(size) <> 'integer'"),
)
# What rows that make no sense raise when names are made of them.
_SENSELESS: Final = (StoreError, ValueError, TypeError, KeyError, AttributeError)


def check(
    root: Path, *, deep: bool = True, jobs: int | None = None, progress: Progress = SILENT
) -> tuple[Fault, ...]:
    """Return every fault of the store at `root`; none for one that is not there yet.

    All blobs are read. With `deep`, layers and chunks are decompressed too, and compared with
    what manifests, realisations and chunks say of them. `jobs` threads read at a time. The
    store may be in use meanwhile. Raises StoreError for what is no store, for one of a newer
    version, and where this process cannot look.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links
    if not _is_begun(root):
        return ()
    threads = jobs or min(4, os.cpu_count() or 1)
    first = _Look(root, deep, threads, progress)
    found = first.faults()
    if not found:
        return ()
    # A build or a sweep beside this may have changed what was looked at one after the other:
    # a fault is what is found twice.
    again = _Look(root, deep, threads, progress, first.suspects)
    known = {(fault.kind, fault.place) for fault in found}
    return tuple(fault for fault in again.faults() if (fault.kind, fault.place) in known)


def _is_begun(root: Path) -> bool:
    """Whether there is a store; raise StoreError for something else."""
    with files.explained(root):
        if not root.exists() or not any(root.iterdir()):
            return False
    if not (root / DATABASE).exists() and not (root / "blobs" / "sha256").is_dir():
        try:
            Layout(root).expect_layout_or_empty()
        except ImageError as error:
            raise StoreError(str(error)) from None
        return (root / "oci-layout").exists()  # else it holds but the draft of one
    return True


@define(eq=False)
class _Look:
    """One look at a store; `only` are the blobs to read, all if it is None.

    `suspects` are the blobs that were found to be other than something says.
    """

    root: Path
    deep: bool
    threads: int
    progress: Progress
    only: Collection[Digest] | None = None
    suspects: set[Digest] = field(factory=set)
    _faults: list[Fault] = field(factory=list)

    def faults(self) -> list[Fault]:
        """Return what is wrong."""
        layout = Layout(self.root)
        self._faults.extend(_places(self.root))
        database = self._open_database(layout)
        with nullcontext() if database is None else closing(database):
            there = dict(layout.blobs()) if (self.root / "blobs" / "sha256").is_dir() else {}
            walk = Walk(layout, there)
            try:
                self._check_records(walk, database)
                blobs = self._check_blobs(walk, database)
            except StoreError as error:
                if database is None or not isinstance(error.__cause__, sqlite3.Error):
                    raise
                self._faults.append(_damaged_database(self.root, str(error.__cause__)))
                return self._faults
        damaged = {fault.key[0] for fault in blobs if fault.kind is FaultKind.BLOB and fault.key}
        self._faults += [*blobs, *walk.faults, *walk.missized(damaged), *walk.absent()]
        return self._faults

    def _open_database(self, layout: Layout) -> Database | None:
        """Open the database to read; None if there is none that is whole."""
        path = self.root / DATABASE
        if not path.exists() or not path.stat().st_size:
            if _names_generations(layout):
                self._faults.append(_damaged_database(self.root, "nothing"))
            return None
        database = None
        try:
            database = Database.open_read_only(path)
            found = "one that cannot be opened" if database is None else _integrity(database)
        except StoreError as error:
            if not isinstance(error.__cause__, sqlite3.Error):
                raise
            found = str(error.__cause__)
        if found == "ok":
            return database
        if database is not None:
            database.close()
        self._faults.append(_damaged_database(self.root, found))
        return None

    def _check_records(self, walk: Walk, database: Database | None) -> None:
        """Check names and records, as they are at one moment."""
        with _snapshot(database) as connection:
            # Whoever changes names holds this lock until they stand in both.
            with files.locked_directory(self.root):
                index = self._read_index(walk.layout, database)
                wanted = None if connection is None else self._wanted(connection)
            self._check_names(walk, index, wanted)
            if connection is not None:
                self._faults.extend(check_records(connection, walk.there, walk))

    def _wanted(self, connection: sqlite3.Connection) -> tuple[dict[str, Descriptor], bool] | None:
        """Return what `index.json` should say of our names, and whether it may lag behind."""
        try:
            refs = Refs(connection)
            broken = connection.execute("PRAGMA foreign_key_check").fetchone()
            if broken is not None:
                raise StoreError(f"a row of {broken[0]} without its {broken[2]}")
            for table, condition in _ODD_NAMES:
                query = f"SELECT name FROM {table} WHERE {condition}"  # noqa: S608 - our own
                odd = connection.execute(query).fetchone()
                if odd is not None:
                    raise StoreError(f"a row of {table} for {odd[0]!r} with other values")
            return refs.references(), refs.index_lags() is not None
        except _SENSELESS as error:
            place = f"{self.root / DATABASE}: names"
            hint = "a repair takes what holds of them, and of index.json"
            self._faults.append(
                Fault(
                    FaultKind.DATABASE,
                    place,
                    "images with generations and tags",
                    str(error),
                    repairable=True,
                    hint=hint,
                    key=("names",),
                )
            )
            return None

    def _read_index(self, layout: Layout, database: Database | None) -> Index | None:
        if database is None and not layout.index_path.exists():
            return None  # not there yet
        try:
            return layout.index()
        except ImageError as error:
            place = str(layout.index_path)
            hint = "a repair writes it from the database; what other tools put there is lost"
            if database is None:
                hint = "restore it from a backup; blobs are still there by their digests"
            found = str(error).removeprefix(f"{place}: ")
            self._faults.append(
                Fault(
                    FaultKind.INDEX,
                    place,
                    "an OCI image index",
                    found,
                    repairable=database is not None,
                    hint=hint,
                )
            )
            return None

    def _check_names(
        self,
        walk: Walk,
        index: Index | None,
        wanted: tuple[dict[str, Descriptor], bool] | None,
    ) -> None:
        """Check that the names agree; follow each to what it needs."""
        entries = () if index is None else index.manifests
        ours, lags = ({}, True) if wanted is None else wanted
        if index is not None and not lags:
            self._faults.extend(compare(ours, index))
        for number, entry in enumerate(entries):
            name = dict(entry.annotations).get(REF_NAME, f"manifests[{number}]")
            if name not in ours:
                walk.follow(name, entry)
        named = {dict(entry.annotations).get(REF_NAME): entry for entry in reversed(entries)}
        for name, descriptor in ours.items():
            # Where the two do not agree, a repair takes what is there.
            other = named.get(name, descriptor)
            takes_other = descriptor.digest not in walk.there and other.digest in walk.there
            walk.follow(name, other if takes_other else descriptor)

    def _check_blobs(self, walk: Walk, database: Database | None) -> list[Fault]:
        """Read the blobs, several at a time."""

        def chunks(digest: Digest) -> Sequence[ChunkRow]:
            if database is None:
                return ()
            with database.read() as connection:
                return chunk_rows(connection, digest)

        chosen = [d for d in sorted(walk.there) if self.only is None or d in self.only]
        total = sum(walk.there[digest] for digest in chosen)
        with self.progress.task("checking", total) as advance:
            inspector = Inspector(
                walk.layout,
                self.deep,
                lambda digest: tuple(walk.claims.get(digest, {}).values()),
                chunks,
                walk.needed_by,
                advance,
            )
            found = []
            for digest, faults in _in_threads(inspector, chosen, self.threads):
                found += faults
                self.suspects.update([digest] if faults else [])
        return found


def _places(root: Path) -> Iterator[Fault]:
    """Yield what is wrong with the directories, and what is in them that is no blob."""
    blobs = root / "blobs" / "sha256"
    there = [path for path in (root, blobs.parent, blobs) if path.is_dir()]
    for path in there:
        mode = path.stat().st_mode & 0o7777
        if mode & OTHERS_WRITE:
            yield Fault(
                FaultKind.PERMISSION,
                str(path),
                "a directory that only its owner can write",
                f"mode {mode:04o}",
                repairable=True,
                hint=f"a repair takes these rights away, as `chmod go-w {path}` does",
                key=(path,),
            )
    try:
        Layout(root).check_marker()
    except ImageError as error:
        place = str(root / "oci-layout")
        found = str(error).removeprefix(f"{place}: ")
        hint = "a repair writes it again"
        yield Fault(FaultKind.LAYOUT, place, "the mark of an image layout", found, True, hint)
    if blobs in there:
        yield from _strangers(blobs)


def _strangers(blobs: Path) -> Iterator[Fault]:
    with files.explained(blobs):
        beside = [path for path in blobs.parent.iterdir() if path != blobs]
        inside = [path for path in blobs.iterdir() if not (_is_hex(path.name) and path.is_file())]
    for path in sorted([*inside, *beside]):
        if path.parent != blobs and path.is_dir() and path.name in _ALGORITHMS:
            continue
        found = "a directory" if path.is_dir() and not path.is_symlink() else "another file"
        hint = "a repair moves it away"
        yield Fault(FaultKind.FOREIGN, str(path), "blobs", found, True, hint, (path,))


def _is_hex(name: str) -> bool:
    try:
        Digest(name)
    except ValueError:
        return False
    return True


def _names_generations(layout: Layout) -> bool:
    """Whether `index.json` holds generations, of which only a database can have told it."""
    try:
        entries = layout.index().manifests
    except (ImageError, StoreError):
        return False
    names = (dict(entry.annotations).get(REF_NAME, "") for entry in entries)
    return any((found := Reference.parse(name)) and found.number is not None for name in names)


def _integrity(database: Database) -> str:
    """Return "ok", or what SQLite finds wrong."""
    with database.read() as connection:
        found: str = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    return found


def _damaged_database(root: Path, found: str) -> Fault:
    return Fault(
        FaultKind.DATABASE,
        str(root / DATABASE),
        "a database",
        found,
        repairable=True,
        hint="a repair moves it away and makes another from index.json; what was known of blobs "
        "is found again by the next builds",
        key=("file",),
    )


@contextmanager
def _snapshot(database: Database | None) -> Iterator[sqlite3.Connection | None]:
    """Give the database as it is at one moment."""
    if database is None:
        yield None
        return
    with database.read() as connection:
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("ROLLBACK")


def _in_threads(
    inspector: Inspector, digests: Sequence[Digest], threads: int
) -> Iterator[tuple[Digest, list[Fault]]]:
    """Yield what is wrong with each blob, in order; a bounded number is under way."""
    with ThreadPoolExecutor(threads) as pool:
        found = in_order(inspector.inspect, digests, pool, threads * _AHEAD)
        yield from zip(digests, found, strict=True)
