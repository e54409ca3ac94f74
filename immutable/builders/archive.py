"""Layer kind ``archive``: a tar or zip, from a path or a URL, pinned by its sha256."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final
from urllib.parse import urlsplit

from attrs import evolve, field, frozen
from typing_extensions import override

from immutable import reading
from immutable.builders.base import (
    Builder,
    Facts,
    Inputs,
    LockScope,
    Read,
    Scope,
    ids_of,
    owner_of,
)
from immutable.builders.outside import parse_url
from immutable.content import tar
from immutable.content.archives import refuse_special
from immutable.content.archives.decompress import open_stream
from immutable.content.archives.scratch import unpack
from immutable.content.archives.zip import read_zip
from immutable.content.entries import (
    Entry,
    EntryKind,
    Sets,
    ancestors,
    directory,
    safe_path,
    show,
)
from immutable.content.globs import compile_globs
from immutable.errors import ArchiveError, DigestMismatch, ImmutableError, SourceError
from immutable.net.fetch import Wanted
from immutable.oci.digest import Digest
from immutable.progress import Progress
from immutable.spec.derivation import Job, Part, Snapshot
from immutable.spec.document import Layer
from immutable.spec.lock import LockedLayer, Pin
from immutable.spec.splitting import part_of
from immutable.spec.toml import FaultError, parsed_by
from immutable.spec.types import Glob, LayerCount, Owner, Target

_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_SETUID: Final = 0o6000
_CAPABILITY: Final = b"security.capability"
_ROOT: Final = Target("/")
_PIECE: Final = 1 << 20
_HEADER: Final = 512


def _strip(value: int) -> int:
    if value < 0:
        raise FaultError(f"strip: expected 0 or more, found {value}")
    return value


@frozen
class ArchiveOptions:
    """An ``archive`` layer.

    Either `path`, relative to the spec's folder, with its `sha256`, or `url`, whose sha256 the
    lock holds. `strip` leading names are taken off each path, entries with fewer are left out;
    then `include` and `exclude` choose. Owners are root, or `owner`, never the archive's.
    Directories that lower layers have stay as they are; only the target itself gets an `owner` that
    is given. `setuid` allows setuid and setgid bits and file capabilities, `special` devices and
    FIFOs. With `layers` the files are spread over at most so many: all that is in a directory of
    `target` is in one of them, but for hard links to files in others.
    """

    path: str | None = None
    url: str | None = field(default=None, metadata=parsed_by(parse_url))
    sha256: Digest | None = None
    strip: int = field(default=0, converter=_strip)
    include: tuple[Glob, ...] = ()
    exclude: tuple[Glob, ...] = ()
    target: Target = _ROOT
    owner: Owner | None = None
    setuid: bool = False
    special: bool = False
    layers: LayerCount | None = None

    def __attrs_post_init__(self) -> None:
        if (self.path is None) == (self.url is None):
            raise FaultError("expected either path or url")
        if self.path is not None and self.sha256 is None:
            raise FaultError("sha256: is required for a path")


@frozen
class _Archive:
    """Where an archive is: on this machine's disk, or to be had as `wanted` says."""

    wanted: Wanted
    path: Path | None = None


class ArchiveBuilder(Builder):
    """Makes a layer of what an archive holds."""

    kind: ClassVar[str] = "archive"
    version: ClassVar[int] = 1
    options: ClassVar[type[Any]] = ArchiveOptions

    @override
    def request(self, options: ArchiveOptions, read: Read) -> Mapping[str, Any] | None:
        """Return the URL, unless the spec itself pins it."""
        if options.path is not None or options.sha256 is not None:
            return None
        return {"url": options.url}

    @override
    def lock(self, layer: Layer, given: LockScope) -> LockedLayer:
        """Fetch the URL into the store and pin what came; what is pinned already stays."""
        options: ArchiveOptions = layer.options
        request = self.request(options, given.read) or {}
        previous = given.previous
        if previous is not None and not given.upgrade and dict(previous.request) == request:
            pins = previous.pin
        else:
            name = _name(options)
            digest, size = given.fetcher.fetch_unpinned(
                (options.url or "",), given.scope.store, name=name, progress=given.scope.progress
            )
            pins = (Pin(name, "", "", name, size, digest, ("asked for",)),)
        return LockedLayer(layer.name, self.kind, request, given.platforms, (), pins)

    @override
    def scan(self, layer: Layer, locked: LockedLayer | None, scope: Scope) -> Snapshot:
        """Return the pinned digest, with where the archive is."""
        options: ArchiveOptions = layer.options
        if locked is not None:
            pin = locked.pin[0]
            wanted = Wanted(pin.name, pin.sha256, pin.size, _urls(options))
            return Snapshot(pin.sha256, _Archive(wanted))
        assert options.sha256 is not None  # noqa: S101 - or there would be a lock
        wanted = Wanted(_name(options), options.sha256, None, _urls(options))
        path = None if options.path is None else scope.folder / options.path
        return Snapshot(options.sha256, _Archive(wanted, path))

    @override
    def derive(self, facts: Facts) -> tuple[Job, ...]:
        """Return the one derivation, or its parts, made at once; the same for all platforms."""
        options: ArchiveOptions = facts.layer.options
        assert facts.snapshot is not None  # noqa: S101 - scan always returns one
        whole = self.job(
            facts,
            {
                "strip": options.strip,
                "include": list(options.include),
                "exclude": list(options.exclude),
                "target": options.target,
                "owner": owner_of(facts, options.owner),
                "sets-owner": options.owner is not None,
                "setuid": options.setuid,
                "special": options.special,
            },
            sources=(facts.snapshot.digest,),
            snapshot=facts.snapshot,
        )
        count = options.layers or 1
        if count == 1:
            return (whole,)
        of = tuple(range(count))
        return tuple(whole.parted(Part(number, count, of)) for number in of)

    @override
    def wanted(self, job: Job, scope: Scope) -> Sequence[Wanted]:
        """Return the archive, unless it is read where it lies.

        What lies on this machine's disk is not copied into the store: one that is refused
        would stay there. Raises SourceError if it neither is there nor in the store.
        """
        assert job.snapshot is not None  # noqa: S101 - derive sets it
        archive: _Archive = job.snapshot.data
        if archive.path is None:
            return (archive.wanted,)
        if not archive.path.exists() and not scope.store.has_blob(archive.wanted.digest):
            raise SourceError(f"{archive.path}: no such file")
        return ()

    @override
    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Return what the archive holds and the globs choose, within the target."""
        assert job.snapshot is not None  # noqa: S101 - derive sets it
        archive: _Archive = job.snapshot.data
        name = archive.wanted.name
        with (
            _opened(archive, inputs) as file,
            inputs.progress.task(f"unpacking {name}") as advance,
        ):
            unpacked = _unpacked(file, name, inputs.scratch(), advance)
        chosen = _chosen(unpacked, name, job.options)
        _check(chosen.values(), name, job.options)
        placed = _placed(chosen, job.options, ids_of(job.options["owner"], inputs))
        part = job.derivation.part
        if part is None:
            yield placed
        else:
            yield from _spread(list(placed), _top(job.options["target"]), part.count)


def _name(options: ArchiveOptions) -> str:
    """Return what messages and the lock call the archive."""
    if options.path is not None:
        return options.path
    name = urlsplit(options.url or "").path.rpartition("/")[2]
    return "archive" if name in ("", ".", "..") else name


def _urls(options: ArchiveOptions) -> tuple[str, ...]:
    return () if options.url is None else (options.url,)


@contextmanager
def _opened(archive: _Archive, inputs: Inputs) -> Iterator[BinaryIO]:
    """Give the archive: the file where it lies, verified, else the store's blob."""
    path, digest = archive.path, archive.wanted.digest
    if path is None or (not path.exists() and inputs.store.has_blob(digest)):
        with inputs.store.open_blob(digest) as file:
            yield file
        return
    with _open_regular(path) as file:
        before = _signature(file)
        _verify(file, path, digest, inputs.progress)
        try:
            yield file
        except ImmutableError:
            _expect_unchanged(file, path, before)
            raise
        _expect_unchanged(file, path, before)


def _open_regular(path: Path) -> BinaryIO:
    try:
        descriptor = reading.open_regular(path)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor; the caller closes it


def _verify(file: BinaryIO, path: Path, expected: Digest, progress: Progress) -> None:
    """Read all of `file` and rewind it; raise DigestMismatch for other bytes than expected."""
    hasher = hashlib.sha256()
    size = os.fstat(file.fileno()).st_size
    with progress.task(f"reading {path.name}", size) as advance:
        try:
            while piece := file.read(_PIECE):
                hasher.update(piece)
                advance(len(piece))
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from None
    actual = Digest(hasher.hexdigest())
    if actual != expected:
        raise DigestMismatch(str(path), expected=expected, actual=actual)
    file.seek(0)


def _signature(file: BinaryIO) -> tuple[int, ...]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _expect_unchanged(file: BinaryIO, path: Path, before: tuple[int, ...]) -> None:
    if _signature(file) != before:
        raise SourceError(f"{path}: changed while it was read; build again when it is at rest")


def _unpacked(
    file: BinaryIO, name: str, scratch: BinaryIO, advance: Callable[[int], None]
) -> list[Entry]:
    magic = file.read(4)
    if magic in _ZIP:
        return read_zip(file, name=name, scratch=scratch, advance=advance)
    _refuse_embedded_zip(file, name)
    return unpack(tar.read(open_stream(file, name=name), name=name), scratch, advance)


def _refuse_embedded_zip(file: BinaryIO, name: str) -> None:
    """Raise ArchiveError for a zip after something else, as what unpacks itself; rewind `file`."""
    file.seek(0)
    begin = file.read(1 << 16)
    file.seek(0)
    if b"PK\x03\x04" in begin and open_stream(file, name=name).read(_HEADER)[257:262] != b"ustar":
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - (1 << 16)))
        if b"PK\x05\x06" in file.read():
            raise ArchiveError(f"{name}: neither a tar nor a zip that begins at its first byte")
    file.seek(0)


def _nothing(options: Mapping[str, Any]) -> str:
    strip = f"strip = {options['strip']}" if options["strip"] else ""
    patterns = ", ".join(f'"{pattern}"' for pattern in options["include"])
    given = [strip, f"include = [{patterns}]" if patterns else ""]
    return f"{' and '.join(filter(None, given))} leave nothing"


def _chosen(entries: Sequence[Entry], name: str, options: Mapping[str, Any]) -> dict[bytes, Entry]:
    """Return the entries that are wanted, by their path in the archive, with the stripped one.

    Raises ArchiveError if `strip` and `include` leave nothing: that is a slip of the pen.
    """
    excluded, included = compile_globs(options["exclude"]), compile_globs(options["include"])
    chosen, folders = {}, {}
    for entry in entries:
        path = b"/".join(entry.path.split(b"/")[options["strip"] :])
        if not path or excluded(path):
            continue
        if not options["include"] or included(path):
            chosen[entry.path] = evolve(entry, path=path)
        elif entry.kind is EntryKind.DIRECTORY:
            folders[path] = entry
    if entries and not chosen and (options["include"] or options["strip"]):
        raise ArchiveError(f"{name}: {_nothing(options)} of its {len(entries)} entries")
    if options["include"]:
        # Folders come along with what is in them, and only then.
        needed = ancestors(e.path for e in chosen.values() if e.kind is not EntryKind.DIRECTORY)
        for path, entry in folders.items():
            if path in needed:
                chosen[entry.path] = evolve(entry, path=path)
    return chosen


def _check(entries: Iterable[Entry], name: str, options: Mapping[str, Any]) -> None:
    """Raise ArchiveError for what the spec has to allow and does not."""
    for entry in entries:
        if not options["special"]:
            refuse_special(entry, name)
        if options["setuid"]:
            continue
        if entry.mode & _SETUID and entry.kind is not EntryKind.DIRECTORY:
            raise ArchiveError(
                f"{name}: {show(entry.path)}: mode {entry.mode:04o} is setuid or setgid; "
                "say setuid = true if it is to be so"
            )
        if any(key == _CAPABILITY for key, _ in entry.xattrs):
            raise ArchiveError(
                f"{name}: {show(entry.path)}: has file capabilities; "
                "say setuid = true if it is to have them"
            )


def _placed(
    chosen: Mapping[bytes, Entry], options: Mapping[str, Any], owner: tuple[int, int]
) -> Iterator[Entry]:
    """Yield the layer's entries: those chosen, within the target, and their parent folders."""
    top = _top(options["target"])
    uid, gid = owner
    paths = set()
    for entry in _relinked(chosen):
        path = _joined(top, entry.path)
        target = _joined(top, entry.target) if entry.kind is EntryKind.HARDLINK else entry.target
        paths.add(path)
        # A link's own mode is 0777 on Linux, whatever the archive was made on.
        mode = 0o777 if entry.kind is EntryKind.SYMLINK else entry.mode
        yield evolve(entry, path=path, target=target, mode=mode, uid=uid, gid=gid)
    if top:
        yield directory(top, None, uid, gid, Sets.OWNER if options["sets-owner"] else Sets.NOTHING)
    for path in sorted(ancestors(paths) - paths - {top}):
        if path.startswith(top + b"/"):
            yield directory(path, None, uid, gid)


def _spread(entries: Sequence[Entry], top: bytes, count: int) -> Sequence[Sequence[Entry]]:
    """Return the entries of each of `count` parts; all names of one file are in one part."""
    firsts = _first_names(entries)
    parts: list[list[Entry]] = [[] for _ in range(count)]
    number = functools.cache(functools.partial(part_of, most=count))
    inside = top + b"/" if top else b""
    for entry in entries:
        path = firsts.get(entry.path, entry.path).removeprefix(inside)
        parts[number(path.partition(b"/")[0])].append(entry)
    return parts


def _first_names(entries: Iterable[Entry]) -> Mapping[bytes, bytes]:
    """Return the first name of each file that has several, by all of its names."""
    lower: dict[bytes, bytes] = {}  # another name of the same file, in the end the first

    def first(path: bytes) -> bytes:
        while (found := lower.setdefault(path, path)) != path:
            lower[path] = path = lower[found]
        return path

    for entry in entries:
        if entry.kind is EntryKind.HARDLINK:
            one, other = first(entry.path), first(entry.target)
            lower[max(one, other)] = min(one, other)
    return {path: first(path) for path in lower}


def _relinked(chosen: Mapping[bytes, Entry]) -> Iterator[Entry]:
    """Yield the entries, hard links leading to paths that are there.

    Of links to a file that was not chosen, the first becomes the file.
    """
    firsts: dict[bytes, bytes] = {}
    for entry in chosen.values():
        if entry.kind is not EntryKind.HARDLINK:
            yield entry
            continue
        there = chosen.get(entry.target)
        target = there.path if there is not None else firsts.get(entry.target)
        if target is None:
            firsts[entry.target] = entry.path
            yield evolve(entry, kind=EntryKind.FILE, target=b"")
        else:
            yield evolve(entry, target=target)


def _top(target: str) -> bytes:
    return safe_path(target.encode(), reroot=True)


def _joined(top: bytes, path: bytes) -> bytes:
    return b"/".join(filter(None, (top, path)))
