"""A suite's Packages index: verified, parsed once, and kept for look-ups.

A kept index is one SQLite file under the cache, named after the digest of the text it was made
of, so it can never be a stale one, and after the digest of its own bytes, so an edited one is found
out. It is made anew where others could have written it. A stanza is only understood when its
package is looked up.
"""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import re
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, Self

from attrs import field, frozen

from immutable.config import Config, Mirrors
from immutable.config.private import open_for_owner
from immutable.errors import FetchError, SourceError, StoreError
from immutable.net.fetch import Fetcher, Wanted
from immutable.oci.digest import Digest
from immutable.redact import quoted
from immutable.sources.debian import kept
from immutable.sources.debian.relations import (
    Alternatives,
    Relation,
    parse_relations,
    parse_version,
)
from immutable.sources.debian.release import IndexFile, Release
from immutable.sources.debian.stanza import parse_stanza, unfold

_SCHEMA = 1
_READING = "mode=ro&immutable=1"  # the bytes whose digest was checked, and no journal beside them
_PIECE = 1 << 18
_NAME = re.compile(r"[a-z0-9][a-z0-9+.\-]*", re.ASCII)
_PATH = re.compile(r"[!-~]{1,1000}", re.ASCII)
_SIZE = re.compile(r"[0-9]{1,15}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_STANZA = 1 << 22  # bytes; the largest of Debian's is below 100 KiB


@frozen
class IndexedPackage:
    """One stanza of an index, checked.

    `path` is relative to the archive's root; `depends` holds Pre-Depends and Depends;
    `conflicts` Conflicts and Breaks.
    """

    name: str
    version: str
    architecture: str
    suite: str
    path: str
    size: int
    sha256: Digest
    depends: tuple[Alternatives, ...] = field(default=(), eq=False)
    recommends: tuple[Alternatives, ...] = field(default=(), eq=False)
    conflicts: tuple[Relation, ...] = field(default=(), eq=False)
    provides: tuple[Relation, ...] = field(default=(), eq=False)
    priority: str = field(default="optional", eq=False)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class PackageIndex:
    """One kept index, open for look-ups. Use as a context manager, from one thread."""

    def __init__(self, file: Path, suite: str, name: str) -> None:
        self.suite, self.name = suite, name
        self._file = file
        self._database = _open_kept(file)
        self._found: dict[str, tuple[IndexedPackage, ...]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._database.close()

    def find(self, name: str) -> tuple[IndexedPackage, ...]:
        """Return every package called `name`, in the order of the index.

        Raises SourceError, naming the index, the package and the field, for a bad stanza.
        """
        if name not in self._found:
            rows = self._rows("SELECT stanza FROM package WHERE name = ? ORDER BY rowid", name)
            self._found[name] = tuple(
                read_stanza(stanza, self.suite, f"{self.name}: {name}") for (stanza,) in rows
            )
        return self._found[name]

    def providers(self, name: str) -> tuple[str, ...]:
        """Return the names of the packages that provide `name` in some version, sorted."""
        query = "SELECT DISTINCT provider FROM provides WHERE name = ? ORDER BY provider"
        return tuple(provider for (provider,) in self._rows(query, name))

    def essential(self) -> tuple[str, ...]:
        """Return the names of the packages marked ``Essential: yes``, sorted."""
        query = "SELECT DISTINCT name FROM package WHERE essential ORDER BY name"
        return tuple(name for (name,) in self._rows(query))

    def names_like(self, name: str) -> Iterator[str]:
        """Yield the names that are about as long as `name`, for hints."""
        query = "SELECT DISTINCT name FROM package WHERE abs(length(name) - length(?)) <= 3"
        for (other,) in self._rows(query, name):
            yield other

    def _rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise SourceError(
                f"{self._file}: the kept index {self.name} is damaged ({error}); delete it"
            ) from None


def open_index(
    release: Release,
    component: str,
    architecture: str,
    *,
    config: Config,
    mirrors: Mirrors,
    fetcher: Fetcher,
) -> PackageIndex:
    """Return the index that `release` vouches for; fetched and parsed unless it is kept.

    Raises SourceError when the suite has no such component, FetchError when no mirror has the
    index in the size and with the digest of the Release, or its text is not the vouched one;
    StoreError when the cache cannot be written to, or is another user's.
    """
    folder = f"{component}/binary-{architecture}"
    name = f"{release.suite}/{folder}"
    text = _vouched_text(release, folder)
    place = config.cache / "debian"
    with _keeping(place):
        kept.prepare(place)
        file = kept.find(place, text.sha256)
    try:
        index = PackageIndex(file, release.suite, name) if file else None
    except sqlite3.DatabaseError:
        index = None
    if file is None or index is None:
        with _keeping(place), tempfile.TemporaryFile(dir=place) as packed:
            chosen = _fetch(release, folder, packed, mirrors, fetcher)
            pieces = _unpacked(packed, chosen.path, text, name)
            file = _build(place, text.sha256, pieces, name)
            index = PackageIndex(file, release.suite, name)
    _forget_superseded(file, f"{release.suite}_{folder.replace('/', '_')}")
    return index


def _vouched_text(release: Release, folder: str) -> IndexFile:
    text = release.files.get(f"{folder}/Packages")
    if text is None:
        raise SourceError(
            f"{release.suite}: has no {folder}/Packages; its components are "
            f"{', '.join(release.components)}, its architectures "
            f"{', '.join(release.architectures)}"
        )
    return text


# --- fetching and unpacking ---


def _fetch(
    release: Release, folder: str, file: IO[bytes], mirrors: Mirrors, fetcher: Fetcher
) -> IndexFile:
    """Fetch the index into `file`, in the smallest form that a mirror has."""
    failures = []
    for ending in (".xz", ".gz", ""):
        offered = release.files.get(f"{folder}/Packages{ending}")
        if offered is None:
            continue
        plain = [f"dists/{release.suite}/{offered.path}"]
        hashed = [f"dists/{release.suite}/{folder}/by-hash/SHA256/{offered.sha256.hex}"]
        paths = hashed + plain if release.by_hash else plain
        urls = tuple(f"{url}/{path}" for url in mirrors.urls for path in paths)
        wanted = Wanted(f"{release.suite}/{offered.path}", offered.sha256, offered.size, urls)
        try:
            fetcher.fetch_into(wanted, file)
        except FetchError as error:
            failures.append(str(error))
        else:
            return offered
    raise FetchError("\n".join(failures))


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _unpacked(packed: IO[bytes], path: str, text: IndexFile, name: str) -> Iterator[bytes]:
    """Yield the index's text in pieces; raise FetchError unless it is the vouched one.

    No more than the vouched size is ever unpacked.
    """
    pieces: Iterator[bytes]
    if path.endswith(".xz"):
        pieces = _decompressed(packed, lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=128 << 20))
    elif path.endswith(".gz"):
        pieces = _gunzipped(packed)
    else:
        pieces = iter(lambda: packed.read(_PIECE), b"")
    hasher = hashlib.sha256()
    length = 0
    try:
        for piece in pieces:
            length += len(piece)
            if length > text.size:
                break
            hasher.update(piece)
            yield piece
    except (lzma.LZMAError, zlib.error, EOFError) as error:
        raise FetchError(f"{name}: Packages cannot be unpacked: {error}") from None
    if length != text.size:
        more = "more" if length > text.size else str(length)
        raise FetchError(f"{name}: expected {text.size} bytes of Packages, found {more}")
    if hasher.hexdigest() != text.sha256.hex:
        raise FetchError(
            f"{name}: expected Packages with {text.sha256}, found sha256:{hasher.hexdigest()}"
        )


def _decompressed(packed: IO[bytes], unpacker: _Decompressor) -> Iterator[bytes]:
    data = b""
    while not unpacker.eof:
        if not data:
            data = packed.read(_PIECE)
        piece = unpacker.decompress(data, _PIECE)
        if not piece and not data:
            raise EOFError("it ends in the middle")
        data = b""
        yield piece


def _gunzipped(packed: IO[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(31)
    data = b""
    while not unpacker.eof:
        data = unpacker.unconsumed_tail or packed.read(_PIECE)
        piece = unpacker.decompress(data, _PIECE)
        if not piece and not data:
            raise EOFError("it ends in the middle")
        yield piece


# --- keeping ---


@contextlib.contextmanager
def _keeping(folder: Path) -> Iterator[None]:
    """Raise StoreError, naming `folder`, where the disk refuses."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"{folder}: the index cannot be kept: {error}; free some space, or set IMMUTABLE_CACHE"
        ) from None


def _open_kept(file: Path) -> sqlite3.Connection:
    """Open a kept index; raise sqlite3.DatabaseError when it is not there or of another form."""
    database = sqlite3.connect(f"{file.absolute().as_uri()}?{_READING}", uri=True)
    try:
        (schema,) = database.execute("PRAGMA user_version").fetchone()
    except BaseException:
        database.close()
        raise
    if schema != _SCHEMA:
        database.close()
        raise sqlite3.DatabaseError(f"schema {schema}")
    return database


def _build(place: Path, text: Digest, pieces: Iterator[bytes], name: str) -> Path:
    """Write the index in `pieces` to a file in `place`, which appears only when it is complete."""
    handle, temporary = tempfile.mkstemp(dir=place, prefix="new-", suffix=".sqlite")
    os.close(handle)
    try:
        with contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as database:
            database.executescript(
                f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                f"PRAGMA user_version = {_SCHEMA};"
                "CREATE TABLE package (name TEXT, essential INTEGER, stanza BLOB);"
                "CREATE TABLE provides (name TEXT, provider TEXT);"
                "BEGIN"
            )
            for stanza in _split(pieces, name):
                _insert(database, stanza, name)
            database.execute("CREATE INDEX package_name ON package (name)")
            database.execute("CREATE INDEX provides_name ON provides (name)")
            database.execute("CREATE INDEX package_essential ON package (name) WHERE essential")
            database.execute("COMMIT")
        with Path(temporary).open("rb") as written:
            os.fsync(written.fileno())
            file = place / kept.name_of(text, written)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return file


def _insert(database: sqlite3.Connection, stanza: bytes, name: str) -> None:
    package = raw_field(stanza, b"Package")
    if not package:
        start = quoted(stanza.decode("utf-8", "replace"), 60)
        raise SourceError(f"{name}: expected a stanza with Package, found {start}")
    essential = raw_field(stanza, b"Essential") == "yes"
    database.execute("INSERT INTO package VALUES (?, ?, ?)", (package, essential, stanza))
    provides = raw_field(stanza, b"Provides")
    if provides:
        database.executemany(
            "INSERT INTO provides VALUES (?, ?)",
            [
                (re.split(r"[\s(:]", item.strip(), maxsplit=1)[0], package)
                for item in provides.split(",")
            ],
        )


def _split(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Yield the stanzas of a text that comes in pieces."""
    rest = b""
    for piece in pieces:
        *stanzas, rest = (rest + piece).split(b"\n\n")
        for stanza in stanzas:
            if stanza.strip():
                yield stanza.lstrip(b"\n")
        if len(rest) > _MAX_STANZA:
            raise SourceError(f"{name}: a stanza of more than {_MAX_STANZA} bytes")
    if rest.strip():
        yield rest.strip(b"\n")


def _forget_superseded(file: Path, label: str) -> None:
    """Note that `label`'s index is now `file`, and delete the one it takes the place of."""
    note = file.parent / f"{label}.current"
    before = _read(note)
    if before == file.name:
        return
    # Another suite's index may be the same; and a cache that cannot be written to still serves.
    with contextlib.suppress(OSError):
        with open(note, "w", opener=open_for_owner) as written:
            written.write(file.name)
        if before and before not in map(_read, file.parent.glob("*.current")):
            (file.parent / Path(before).name).unlink()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


# --- stanzas ---


def raw_field(stanza: bytes, name: bytes) -> str:
    """Return a field's value with its lines joined; empty when there is none."""
    start = 0 if stanza.startswith(name + b":") else stanza.find(b"\n" + name + b":") + 1
    if start == 0 and not stanza.startswith(name + b":"):
        return ""
    start += len(name) + 1
    end = stanza.find(b"\n", start)
    while end != -1 and stanza[end + 1 : end + 2] in (b" ", b"\t"):
        end = stanza.find(b"\n", end + 1)
    value = stanza[start : end if end != -1 else len(stanza)]
    return " ".join(value.decode("utf-8", "replace").split())


def read_stanza(stanza: bytes, suite: str, where: str) -> IndexedPackage:
    """Return the package that `stanza` describes; `where` names it in errors.

    Raises SourceError for a field that is missing or not in the expected form.
    """
    try:
        fields = parse_stanza(stanza)
        return IndexedPackage(
            name=_matching(fields, "Package", _NAME),
            version=_version(fields),
            architecture=_matching(fields, "Architecture", _NAME),
            suite=suite,
            path=_path(fields),
            size=int(_matching(fields, "Size", _SIZE)),
            sha256=Digest(_matching(fields, "SHA256", _SHA256)),
            depends=(*_groups(fields, "Pre-Depends"), *_groups(fields, "Depends")),
            recommends=_groups(fields, "Recommends"),
            conflicts=(*_singles(fields, "Conflicts"), *_singles(fields, "Breaks")),
            provides=_singles(fields, "Provides"),
            priority=fields.get("priority", "optional"),
        )
    except ValueError as error:
        raise SourceError(f"{where}: {error}") from None


def _matching(fields: Mapping[str, str], name: str, pattern: re.Pattern[str]) -> str:
    value = fields.get(name.lower())
    if value is None:
        raise ValueError(f"{name}: is missing")
    if not pattern.fullmatch(value):
        raise ValueError(f"{name}: found {quoted(value)}, which is none")
    return value


def _version(fields: Mapping[str, str]) -> str:
    version = fields.get("version", "")
    try:
        parse_version(version)
    except ValueError as error:
        raise ValueError(f"Version: {error}") from None
    return version


def _path(fields: Mapping[str, str]) -> str:
    path = _matching(fields, "Filename", _PATH)
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"Filename: expected a path within the mirror, found {quoted(path)}")
    return path


def _groups(fields: Mapping[str, str], name: str) -> tuple[Alternatives, ...]:
    try:
        return parse_relations(unfold(fields.get(name.lower(), "")))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _singles(fields: Mapping[str, str], name: str) -> tuple[Relation, ...]:
    groups = _groups(fields, name)
    for group in groups:
        if len(group) > 1:
            raise ValueError(f"{name}: found alternatives, {' | '.join(map(str, group))}")
    return tuple(relation for (relation,) in groups)
