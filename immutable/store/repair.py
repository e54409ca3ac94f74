"""`repair`: what can be put right in a store with what it has.

Nothing is thrown away that might be of use: what is moved away goes into the folder `damaged`
of the store. Every step looks again before it acts, as builds may go on beside it, and leaves
the store no worse if it is cut short.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from immutable.errors import BlobMissing, ImageError, StoreError
from immutable.oci.digest import Digest
from immutable.oci.documents import Index
from immutable.progress import SILENT, Progress
from immutable.store import files, memo_records, records
from immutable.store.check import DATABASE, check
from immutable.store.check_records import MALFORMED
from immutable.store.database import Database
from immutable.store.disk import Store
from immutable.store.faults import Fault, FaultKind
from immutable.store.layout import Layout
from immutable.store.refs import Refs
from immutable.store.repair_names import merge_names

_AWAY: Final = "damaged"
_ANY: Final = Digest.of(b"")
_PIECE: Final = 1 << 20
_OF_BLOBS: Final = (FaultKind.BLOB, FaultKind.MISSING)


def repair(
    root: Path,
    faults: Sequence[Fault],
    *,
    deep: bool = True,
    jobs: int | None = None,
    progress: Progress = SILENT,
) -> tuple[Fault, ...]:
    """Put right those of the `faults` of a store that can be; return what `check` finds then.

    Raises StoreError for a store that cannot be written here, and where its database would
    have to be replaced while a build uses it.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links
    if not faults:
        return ()
    for fault in faults:
        if fault.kind is FaultKind.PERMISSION:
            _take_rights(fault.key[0])
    with files.locked_directory(root):
        named = _repair_names(root, faults)
    if named:
        with Store.open(root, reclaim=True) as store:
            store.expect_writable()
        layout = Layout(root)
        _put_back(layout, _move_blobs(layout, faults), _lost(faults))
        _forget_records(layout, faults)
    return check(root, deep=deep, jobs=jobs, progress=progress)


def _take_rights(path: Path) -> None:
    with files.explained(path):
        path.chmod(path.stat().st_mode & 0o7755)


# Names; the caller holds the store's lock


def _repair_names(root: Path, faults: Sequence[Fault]) -> bool:
    """Make marker, database and names right; say whether anything tells the names.

    An `index.json` that is behind the database then is written when the store is opened.
    """
    layout, path = Layout(root), root / DATABASE
    kinds = {fault.kind for fault in faults}
    lost = any(fault.kind is FaultKind.DATABASE and fault.key == ("file",) for fault in faults)
    if FaultKind.LAYOUT in kinds:
        layout.write_marker()
    index = _index(layout)
    if index is None and (lost or not path.exists()):
        return False
    if lost:
        _expect_unused(root)
        for suffix in ("-wal", "-shm", ""):
            _move_away(root, path.with_name(path.name + suffix))
    if kinds & {FaultKind.DATABASE, FaultKind.NAME, FaultKind.INDEX}:
        database = Database.open(path, fill=_adopting(index))
        try:
            with database.write(durable=True) as connection:
                merge_names(connection, index, _there(layout))
        finally:
            database.close()
    if index is None:
        _move_away(root, layout.index_path)
    layout.complete()
    return True


def _there(layout: Layout) -> dict[Digest, int]:
    return dict(layout.blobs()) if layout.blob_path(_ANY).parent.is_dir() else {}


def _adopting(index: Index | None) -> Callable[[sqlite3.Connection], None]:
    def fill(connection: sqlite3.Connection) -> None:
        if index is not None:
            Refs(connection).adopt(index)

    return fill


def _index(layout: Layout) -> Index | None:
    try:
        return layout.index()
    except ImageError:
        return None


def _expect_unused(root: Path) -> None:
    """Raise StoreError if a build has a lease: the database that knows what it spares must stay."""
    leases = root / "leases"
    if leases.is_dir() and files.holds_any(leases):
        raise StoreError(f"{leases}: a build is running; repair the store when it is done")


# Blobs


def _move_blobs(layout: Layout, faults: Iterable[Fault]) -> list[Path]:
    """Move away what is damaged and what is no blob; return where the files are now."""
    moved = []
    for fault in faults:
        if fault.kind is FaultKind.FOREIGN:
            moved.append(_move_away(layout.path, fault.key[0]))
        elif fault.kind is FaultKind.BLOB and fault.key:
            moved.append(_move_damaged(layout, fault.key[0]))
    return [path for path in moved if path is not None]


def _move_damaged(layout: Layout, digest: Digest) -> Path | None:
    """Move a blob away unless it has been put right meanwhile."""
    path = layout.blob_path(digest)
    try:
        with layout.open_blob(digest) as file:
            if _digest(file) == digest:
                return None
            damaged = os.fstat(file.fileno()).st_ino
    except BlobMissing:
        return None
    except (OSError, StoreError):
        damaged = path.stat().st_ino  # it cannot be read
    away = _move_away(layout.path, path)
    if away is not None and away.stat().st_ino != damaged:
        with suppress(FileExistsError):  # a build has put it again since
            os.link(away, path)
        away.unlink()
        return None
    return away


def _put_back(layout: Layout, moved: Iterable[Path], lost: set[Digest]) -> None:
    """Give back its name to what is a blob that is missed."""
    for path in moved:
        if not path.is_file() or path.is_symlink():
            continue
        with suppress(OSError), path.open("rb") as file:
            digest = _digest(file)
            if digest in lost:
                final = layout.blob_path(digest)
                os.fchmod(file.fileno(), files.FILE_MODE)
                os.link(path, final)  # unless it is there by now
                files.sync_directory(final.parent)
                path.unlink()


def _lost(faults: Iterable[Fault]) -> set[Digest]:
    """Return the blobs that are missed."""
    found = {fault.key[0] for fault in faults if fault.kind in _OF_BLOBS and fault.key}
    found |= {fault.key[1] for fault in faults if fault.key[:1] == ("blob",)}
    missed = (fault.key[-1] for fault in faults if fault.kind is FaultKind.REALISATION)
    return found | {blob.digest for blob in missed if blob is not None}


def _move_away(root: Path, path: Path) -> Path | None:
    """Move a file or folder away; return where it is now, or None if it is gone."""
    folder = root / _AWAY
    files.make_directory(folder, 0o700)
    number = 0
    while (away := folder / f"{path.name}.{number}").exists():
        number += 1
    with files.explained(path):
        try:
            path.rename(away)
        except FileNotFoundError:
            return None
    return away


def _digest(file: BinaryIO) -> Digest:
    hasher = hashlib.sha256()
    while piece := file.read(_PIECE):
        hasher.update(piece)
    return Digest(hasher.hexdigest())


# Records


def _forget_records(layout: Layout, faults: Sequence[Fault]) -> None:
    """Forget what is recorded of blobs and is not so."""
    with files.locked_directory(layout.path):
        database = Database.open(layout.path / DATABASE, fill=_adopting(None))
    try:
        for fault in faults:
            with database.write() as connection:
                _forget_record(connection, layout, fault)
    finally:
        database.close()


def _forget_record(connection: sqlite3.Connection, layout: Layout, fault: Fault) -> None:
    key = fault.key
    if not key and fault.kind in MALFORMED:
        table, condition = MALFORMED[fault.kind]
        connection.execute(f"DELETE FROM {table} WHERE {condition}")  # noqa: S608 - our own
    elif fault.kind is FaultKind.REALISATION:
        *row, missed = key
        if missed is None or not layout.holds(missed.digest, missed.size):
            connection.execute(
                "DELETE FROM realisation WHERE derivation IS ? AND answers IS ? AND encoder IS ?",
                row,
            )
    elif key[:1] == ("rows",):
        connection.executemany("DELETE FROM chunk WHERE digest IS ? AND encoder IS ?", key[1])
    elif key[:1] == ("blob",) or (fault.kind is FaultKind.BLOB and key):
        blob = key[1] if key[0] == "blob" else key[0]
        if not layout.has(blob):
            records.forget(connection, [blob])
            records.forget_chunks(connection, [blob], -1)
            memo_records.forget_contents(connection, [blob], 1)
