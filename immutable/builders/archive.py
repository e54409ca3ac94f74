"""Layer kind ``archive``: a tar or zip, from a path or a URL, pinned by its sha256."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, ClassVar, Final
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from immutable import tar
from immutable.archives import refuse_special
from immutable.archives.decompress import open_stream
from immutable.archives.spool import unpack
from immutable.archives.zip import read_zip
from immutable.builders import parents
from immutable.builders.base import Inputs, LockScope, Scope, owner_of
from immutable.builders.parents import Attributes
from immutable.derivation import Derivation, Facts, Snapshot
from immutable.digest import Digest
from immutable.entries import Entry, Kind, directory, safe_path, show
from immutable.errors import ArchiveError, SourceError
from immutable.globs import compile_globs
from immutable.lock import LockedLayer, Pin
from immutable.notation import Glob, Owner, Target
from immutable.sources.fetch import Wanted
from immutable.spec import Layer
from immutable.structure import FaultError, parsed_by

_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_SETUID: Final = 0o6000
_CAPABILITY: Final = b"security.capability"
_ROOT: Final = Target("/")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise FaultError(f"expected an https URL, found {text[:80]!r}")
    if parts.username or parts.password:
        raise FaultError("credentials in a URL; a spec is no place for secrets")
    return text


def _strip(value: int) -> int:
    if value < 0:
        raise FaultError(f"strip: expected 0 or more, found {value}")
    return value


@frozen
class ArchiveOptions:
    """An ``archive`` layer.

    Either `path`, relative to the spec's folder, with its `sha256`, or `url`, whose sha256 the
    lock holds. `strip` leading names are taken off each path, entries with fewer are left out;
    then `include` and `exclude` choose. Owners are root, or `owner`, never the archive's; without
    it, the target itself stays as the layers beneath describe it. `setuid` allows setuid and
    setgid bits and file capabilities, `special` devices and FIFOs.
    """

    path: str | None = None
    url: str | None = field(default=None, metadata=parsed_by(_url))
    sha256: Digest | None = None
    strip: int = field(default=0, converter=_strip)
    include: tuple[Glob, ...] = ()
    exclude: tuple[Glob, ...] = ()
    target: Target = _ROOT
    owner: Owner | None = None
    setuid: bool = False
    special: bool = False

    def __attrs_post_init__(self) -> None:
        if (self.path is None) == (self.url is None):
            raise FaultError("expected either path or url")
        if self.path is not None and self.sha256 is None:
            raise FaultError("sha256: is required for a path")


class ArchiveBuilder:
    """Makes a layer of what an archive holds."""

    kind: ClassVar[str] = "archive"
    version: ClassVar[int] = 1
    options: ClassVar[type[Any]] = ArchiveOptions

    def request(self, options: ArchiveOptions) -> Mapping[str, Any] | None:
        """Return the URL, unless the spec itself pins it."""
        if options.path is not None or options.sha256 is not None:
            return None
        return {"url": options.url}

    def paths(self, options: ArchiveOptions) -> tuple[str, ...]:  # noqa: ARG002
        """Return nothing: wherever the archive is, it is pinned."""
        return ()

    def lock(self, layer: Layer, given: LockScope) -> LockedLayer:
        """Fetch the URL into the store and pin what came; what is pinned already stays."""
        options: ArchiveOptions = layer.options
        request = self.request(options) or {}
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

    def scan(self, layer: Layer, locked: LockedLayer | None, scope: Scope) -> Snapshot:
        """Return the pinned digest, with where the archive is."""
        options: ArchiveOptions = layer.options
        if locked is not None:
            pin = locked.pin[0]
            return Snapshot(pin.sha256, Wanted(pin.name, pin.sha256, pin.size, _urls(options)))
        assert options.sha256 is not None  # noqa: S101 - or there would be a lock
        name, urls = _name(options), _urls(options)
        if options.path is not None:
            path = (scope.folder / options.path).resolve()
            if not path.is_file() and not scope.store.has_blob(options.sha256):
                raise SourceError(f"{scope.folder / options.path}: no such file")
            urls = (path.as_uri(),)
        return Snapshot(options.sha256, Wanted(name, options.sha256, None, urls))

    def derive(self, facts: Facts) -> tuple[Derivation, ...]:
        """Return the one derivation, the same for all platforms."""
        options: ArchiveOptions = facts.layer.options
        assert facts.snapshot is not None  # noqa: S101 - scan always returns one
        return (
            Derivation(
                kind=self.kind,
                version=self.version,
                mtime=facts.mtime,
                options={
                    "strip": options.strip,
                    "include": list(options.include),
                    "exclude": list(options.exclude),
                    "target": options.target,
                    "owner": owner_of(facts.spec, facts.layer, options.owner),
                    "setuid": options.setuid,
                    "special": options.special,
                    **parents.option(_parents(options, facts)),
                },
                sources=(facts.snapshot.digest,),
                name=facts.layer.name,
                snapshot=facts.snapshot,
            ),
        )

    def wanted(self, derivation: Derivation, scope: Scope) -> Sequence[Wanted]:  # noqa: ARG002
        """Return the archive."""
        assert derivation.snapshot is not None  # noqa: S101 - derive sets it
        return (derivation.snapshot.data,)

    def entries(self, derivation: Derivation, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Return what the archive holds and the globs choose, below the target."""
        assert derivation.snapshot is not None  # noqa: S101 - derive sets it
        name = derivation.snapshot.data.name
        with inputs.store.open_blob(derivation.sources[0]) as file:
            unpacked = _unpacked(file, name, inputs.scratch())
        chosen = _chosen(unpacked, derivation.options)
        _check(chosen.values(), name, derivation.options)
        yield _placed(chosen, derivation.options)


def _name(options: ArchiveOptions) -> str:
    """Return what messages and the lock call the archive."""
    if options.path is not None:
        return options.path
    name = urlsplit(options.url or "").path.rpartition("/")[2]
    return "archive" if name in ("", ".", "..") else name


def _urls(options: ArchiveOptions) -> tuple[str, ...]:
    return () if options.url is None else (options.url,)


def _parents(options: ArchiveOptions, facts: Facts) -> dict[bytes, Attributes]:
    """Return what the layers beneath say of directories that this one may pass through."""
    top = _top(options.target)
    above = parents.above([top])
    if options.owner is None:
        above.add(top)
    below = top + b"/" if top else b""
    return {
        path: attributes
        for path, attributes in parents.known(facts).items()
        if path in above or path.startswith(below)
    }


def _unpacked(file: BinaryIO, name: str, scratch: BinaryIO) -> list[Entry]:
    magic = file.read(4)
    file.seek(0)
    if magic in _ZIP:
        return read_zip(file, name=name, scratch=scratch)
    return unpack(tar.read(open_stream(file, name=name), name=name), scratch)


def _chosen(entries: Sequence[Entry], options: Mapping[str, Any]) -> dict[bytes, Entry]:
    """Return the entries that are wanted, by their path in the archive, with the stripped one."""
    excluded, included = compile_globs(options["exclude"]), compile_globs(options["include"])
    chosen, folders = {}, {}
    for entry in entries:
        path = b"/".join(entry.path.split(b"/")[options["strip"] :])
        if not path or excluded(path):
            continue
        if not options["include"] or included(path):
            chosen[entry.path] = evolve(entry, path=path)
        elif entry.kind is Kind.DIRECTORY:
            folders[path] = entry
    if options["include"]:
        # Folders come along with what is in them, and only then.
        needed = parents.above(e.path for e in chosen.values() if e.kind is not Kind.DIRECTORY)
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
        if entry.mode & _SETUID and entry.kind is not Kind.DIRECTORY:
            raise ArchiveError(
                f"{name}: {show(entry.path)}: mode {entry.mode:04o} is setuid or setgid; "
                "say setuid = true if it is to be so"
            )
        if any(key == _CAPABILITY for key, _ in entry.xattrs):
            raise ArchiveError(
                f"{name}: {show(entry.path)}: has file capabilities; "
                "say setuid = true if it is to have them"
            )


def _placed(chosen: Mapping[bytes, Entry], options: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield the layer's entries: those chosen, below the target, and the folders above them."""
    top = _top(options["target"])
    uid, gid = options["owner"]
    paths = set()
    for entry in _relinked(chosen):
        path = _below(top, entry.path)
        target = _below(top, entry.target) if entry.kind is Kind.HARDLINK else entry.target
        paths.add(path)
        # A link's own mode is 0777 on Linux, whatever the archive was made on.
        mode = 0o777 if entry.kind is Kind.SYMLINK else entry.mode
        yield evolve(entry, path=path, target=target, mode=mode, uid=uid, gid=gid)
    known = parents.entries(options)
    for path in sorted((parents.above([*paths, top]) | {top}) - paths - {b""}):
        if path in known:
            yield known[path]
        elif path == top or path.startswith(top + b"/"):
            yield directory(path, parents.usual_mode(path), uid, gid)


def _relinked(chosen: Mapping[bytes, Entry]) -> Iterator[Entry]:
    """Yield the entries, hard links leading to paths that are there.

    Of links to a file that was not chosen, the first becomes the file.
    """
    firsts: dict[bytes, bytes] = {}
    for entry in chosen.values():
        if entry.kind is not Kind.HARDLINK:
            yield entry
            continue
        there = chosen.get(entry.target)
        target = there.path if there is not None else firsts.get(entry.target)
        if target is None:
            firsts[entry.target] = entry.path
            yield evolve(entry, kind=Kind.FILE, target=b"")
        else:
            yield evolve(entry, target=target)


def _top(target: str) -> bytes:
    return safe_path(target.encode(), reroot=True)


def _below(top: bytes, path: bytes) -> bytes:
    return b"/".join(filter(None, (top, path)))
