"""RECORD: what a wheel says of its own files, held to what it has, and that of an installation.

https://packaging.python.org/en/latest/specifications/recording-installed-packages/
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from attrs import frozen

from immutable.content.entries import Content, Entry, show
from immutable.redact import quoted

# The wheel's format wants sha256 or better, and names md5 and sha1 as those that are not.
_ALGORITHMS: Final = frozenset({"sha256", "sha384", "sha512"})
# A RECORD cannot hold its own hash, nor those of its signatures.
_UNHASHED: Final = ("RECORD", "RECORD.jws", "RECORD.p7s")


class RecordError(ValueError):
    """A RECORD that is not of the files that it stands beside."""


@frozen
class Row:
    """One file: its path, its hash as RECORD writes it (``sha256=…``), its size in bytes."""

    path: str
    hash: str = ""
    size: int | None = None

    @classmethod
    def of(cls, path: str, content: Content) -> Row:
        """Return the row of a file with this content."""
        return cls(path, _hash("sha256", content), content.size)


def check(text: str, files: Mapping[str, Entry], dist_info: str) -> dict[str, Row]:
    """Return, by path, a row for each of a wheel's `files`, their sha256 verified or computed.

    Raises RecordError for what RECORD, whose content is `text`, leaves out or has besides, for a
    hash or a size that is not the file's, and for paths that leave the wheel.
    """
    listed = _parsed(text)
    unhashed = {f"{dist_info}/{name}" for name in _UNHASHED}
    missing = sorted(files.keys() - listed.keys() - unhashed)
    phantom = sorted(listed.keys() - files.keys())
    if missing:
        raise RecordError(f"RECORD does not name {_some(missing)}")
    if phantom:
        raise RecordError(f"RECORD names {_some(phantom)}, which the wheel does not hold")
    return {
        path: _checked(listed.get(path, Row(path)), entry, optional=path in unhashed)
        for path, entry in files.items()
    }


def write(rows: Iterable[Row]) -> bytes:
    """Return a RECORD of `rows`, by path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in sorted(rows, key=lambda row: row.path):
        writer.writerow((row.path, row.hash, "" if row.size is None else row.size))
    return text.getvalue().encode()


def _parsed(text: str) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for row in _rows(text):
        if row.path.endswith("/"):
            continue  # a directory: nothing is said of it
        if rows.setdefault(row.path, row) != row:
            raise RecordError(f"RECORD names {_shown(row.path)} twice, differently")
    return rows


def _rows(text: str) -> Iterator[Row]:
    try:
        for number, fields in enumerate(csv.reader(io.StringIO(text, newline="")), 1):
            if not fields:
                continue
            if len(fields) != 3:
                raise RecordError(f"RECORD, row {number}: expected 3 fields, found {len(fields)}")
            path, hashed, size = fields
            _check_path(path)
            if size and not (size.isascii() and size.isdigit() and len(size) < 20):
                raise RecordError(
                    f"RECORD: {_shown(path)}: expected a size in bytes, found {quoted(size, 40)}"
                )
            yield Row(path, hashed, int(size) if size else None)
    except csv.Error as error:
        raise RecordError(f"RECORD: {error}") from None


def _check_path(path: str) -> None:
    parts = path.replace("\\", "/").split("/")
    if ".." in parts or path.startswith("/") or "\\" in path or "\0" in path or not path:
        raise RecordError(f"RECORD: expected a path within the wheel, found {_shown(path)}")


def _checked(row: Row, entry: Entry, *, optional: bool) -> Row:
    """Return the row that an installation has for the file `entry`."""
    assert entry.content is not None  # noqa: S101 - only files are asked about
    algorithm, equals, value = row.hash.partition("=")
    if not row.hash and not optional:
        raise RecordError(f"RECORD: {_shown(row.path)}: expected a hash, found none")
    if row.hash and (not equals or algorithm not in _ALGORITHMS):
        raise RecordError(
            f"RECORD: {_shown(row.path)}: expected a hash by sha256, sha384 or sha512, "
            f"found {quoted(row.hash, 40)}"
        )
    if row.size is not None and row.size != entry.content.size:
        raise RecordError(
            f"RECORD: {_shown(row.path)}: expected {row.size} bytes, found {entry.content.size}"
        )
    if row.hash:
        found = _hash(algorithm, entry.content)
        if found != f"{algorithm}={value.rstrip('=')}":
            raise RecordError(f"RECORD: {_shown(row.path)}: expected {row.hash}, found {found}")
        if algorithm == "sha256":
            return Row(row.path, found, entry.content.size)
    return Row.of(row.path, entry.content)


def _hash(algorithm: str, content: Content) -> str:
    hasher = hashlib.new(algorithm)
    for piece in content.read():
        hasher.update(piece)
    return f"{algorithm}={base64.urlsafe_b64encode(hasher.digest()).decode().rstrip('=')}"


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(map(_shown, paths[:3])) + more


def _shown(path: str) -> str:
    return show(path.encode("utf-8", "surrogateescape"))
