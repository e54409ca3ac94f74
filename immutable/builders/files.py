"""Layer kind ``files``: a local tree, and entries written in the spec."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Final

from attrs import field, frozen
from typing_extensions import override

from immutable.builders.base import Builder, Facts, Inputs, Questions, Scope, ids_of, owner_of
from immutable.config import Config
from immutable.content.entries import (
    MAX_PATH,
    Entry,
    EntryKind,
    Sets,
    directory,
    file,
    safe_path,
    symlink,
)
from immutable.errors import SourceError
from immutable.oci.digest import Digest
from immutable.sources.ignoring import IgnoreFile
from immutable.sources.tree import Choice, Tree
from immutable.spec.derivation import Job, Snapshot
from immutable.spec.document import Layer
from immutable.spec.lock import LockedLayer
from immutable.spec.toml import FaultError, parsed_by
from immutable.spec.types import Glob, Mode, Owner, Target
from immutable.spec.types import target as parse_target


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FaultError(f"expected base64 text: {error}") from None
    return text


def _link(text: str) -> str:
    if not 0 < len(text.encode()) <= MAX_PATH:
        raise FaultError(f"expected a link's target of 1 to {MAX_PATH} bytes")
    return text


def _below_root(text: str) -> str:
    path = parse_target(text)
    if path == "/":
        raise FaultError("expected a path below the root, found the root itself")
    return path


@frozen
class InlineEntry:
    """One of a layer's ``entries``: exactly one of text, base64, directory and link.

    Without `owner` it has the layer's; without `mode` a file has 0644 and a directory what is
    usual, 0755 as a rule.
    """

    path: str = field(metadata=parsed_by(_below_root))
    text: str | None = None
    base64: str | None = field(default=None, metadata=parsed_by(_base64))
    directory: bool = False
    link: str | None = field(default=None, metadata=parsed_by(_link))
    mode: Mode | None = None
    owner: Owner | None = None

    def __attrs_post_init__(self) -> None:
        given = (self.text, self.base64, self.directory or None, self.link)
        if sum(one is not None for one in given) != 1:
            raise FaultError("expected one of text, base64, directory and link")
        if self.link is not None and self.mode is not None:
            raise FaultError("mode: a link has none")


_IGNORE_FILE: Final = ".dockerignore"
_ROOT: Final = Target("/")
# From so many bytes of files that were never seen here, a layer is packed as they are read for
# the first time. Files that are only new in their times, as after a checkout, do not count:
# their layer is likely to be there, and to find that out takes reading them alone.
_AHEAD: Final = 8 << 20


@frozen
class FilesOptions:
    """A ``files`` layer: `source` is a file or folder, relative to the spec's own folder.

    A folder's content goes into `target`; a file becomes `target`. `ignore_file`, relative to the
    spec's folder too, says in Docker's way what of a folder to leave out. Without `mode`, files are
    0755 where their owner may execute them and 0644 elsewhere. Directories that lower layers have
    stay as they are; only the target itself gets an `owner` and a `directory_mode` that are given.
    """

    source: str = ""
    target: Target = _ROOT
    include: tuple[Glob, ...] = ()
    exclude: tuple[Glob, ...] = ()
    ignore_file: str = ""
    owner: Owner | None = None
    mode: Mode | None = None
    directory_mode: Mode | None = None
    entries: tuple[InlineEntry, ...] = ()

    def __attrs_post_init__(self) -> None:
        if self.ignore_file and not self.source:
            raise FaultError("expected a source to apply it to", key="ignore-file")


class FilesBuilder(Builder):
    """Makes a layer of files from this machine and from the spec."""

    kind: ClassVar[str] = "files"
    version: ClassVar[int] = 1
    options: ClassVar[type[Any]] = FilesOptions

    @override
    def paths(self, options: FilesOptions) -> tuple[str, ...]:
        """Return the source, and what says what to leave out of it."""
        return tuple(filter(None, (options.source, options.ignore_file)))

    @override
    def chooses(self, options: FilesOptions, path: bytes, folder: Path) -> bool:
        """Tell whether the globs and the ignore file choose `path`."""
        return Choice(options.include, options.exclude, _ignore_file(options, folder))(path)

    @override
    def scan(self, layer: Layer, locked: LockedLayer | None, scope: Scope) -> Snapshot | None:
        """List the files that are chosen; read them, unless packing does that better."""
        options: FilesOptions = layer.options
        if not options.source:
            return None
        source = scope.folder / options.source
        tree = Tree.listed(
            source,
            include=options.include,
            exclude=options.exclude,
            ignore=_ignore_file(options, scope.folder),
            never=frozenset(_own(scope, source)),
            stats=scope.store,
        )
        if tree.is_folder and not options.ignore_file and (source / _IGNORE_FILE).is_file():
            there = PurePosixPath(options.source, _IGNORE_FILE)
            scope.progress.note(
                f'layer "{layer.name}": {there} is not applied; say ignore-file = "{there}" '
                "to leave out what it names"
            )
        if options.include and tree.is_folder and not any(tree.items()):
            patterns = ", ".join(f'"{pattern}"' for pattern in options.include)
            raise SourceError(
                f'layer "{layer.name}": include: nothing in {options.source} matches {patterns}'
            )
        if not tree.is_folder and options.target == _ROOT:
            raise SourceError(
                f'layer "{layer.name}": {options.source} is a file; say what it becomes: '
                f'target = "/{Path(options.source).name}"'
            )

        snapshot = Snapshot(Digest.of(b"unread " + layer.name.encode()), tree, unread=True)
        return self.digest_files(snapshot, scope.config) if tree.unseen < _AHEAD else snapshot

    @override
    def digest_files(self, snapshot: Snapshot, config: Config) -> Snapshot:
        tree: Tree = snapshot.data
        return Snapshot(tree.read(config.jobs), tree)

    @override
    def derive(self, facts: Facts) -> tuple[Job, ...]:
        """Return the one derivation, the same for all platforms."""
        options: FilesOptions = facts.layer.options
        inline = [
            _plain(entry, options, facts, f"entries[{number}].owner")
            for number, entry in enumerate(options.entries)
        ]
        return (
            self.job(
                facts,
                {
                    "tree": str(facts.snapshot.digest) if facts.snapshot else None,
                    "target": options.target,
                    "owner": owner_of(facts, options.owner),
                    "sets-owner": options.owner is not None,
                    "mode": options.mode,
                    "directory-mode": options.directory_mode,
                    "entries": inline,
                },
                snapshot=facts.snapshot,
            ),
        )

    @override
    def questions(self, job: Job) -> Questions:
        owners = (job.options["owner"], *(one["owner"] for one in job.options["entries"]))
        return Questions(owners=tuple(owner for owner in owners if isinstance(owner, str)))

    @override
    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Return the tree's entries, then those of the spec."""
        if job.snapshot is not None:
            yield _placed(job.snapshot.data, job.options, ids_of(job.options["owner"], inputs))
        yield [_entry(one, ids_of(one["owner"], inputs)) for one in job.options["entries"]]


def _ignore_file(options: FilesOptions, folder: Path) -> IgnoreFile | None:
    return IgnoreFile.read(folder / options.ignore_file) if options.ignore_file else None


def _own(scope: Scope, source: Path) -> Iterable[bytes]:
    """Yield the paths in `source` of the spec and its lock: what is built is no part of itself."""
    top = source.resolve()
    for path in scope.own:
        for place in (path.resolve(), path.parent.resolve() / path.name):
            if top in place.parents:
                yield os.fsencode(place.relative_to(top))


def _placed(tree: Tree, options: Mapping[str, Any], owner: tuple[int, int]) -> Iterable[Entry]:
    uid, gid = owner
    mode, directory_mode = options["mode"], options["directory-mode"]
    top = _path(options["target"])
    if tree.is_folder and top:
        sets = _sets(directory_mode, owner=options["sets-owner"])
        yield directory(top, directory_mode, uid, gid, sets)
    inside = top + b"/" if top else b""
    for path, kind, given_mode, content, target in tree.items():
        place = inside + path if path else top
        if kind is EntryKind.DIRECTORY:
            yield directory(place, _or(directory_mode, given_mode), uid, gid)
        elif kind is EntryKind.SYMLINK:
            yield symlink(place, target, uid, gid)
        else:
            yield Entry(place, kind, _or(mode, given_mode), uid, gid, content=content)


def _sets(mode: int | None, *, owner: bool) -> Sets:
    """Return what is said of a directory: a mode that is given, and whether an `owner` is."""
    return (Sets.NOTHING if mode is None else Sets.MODE) | (Sets.OWNER if owner else Sets.NOTHING)


def _plain(entry: InlineEntry, options: FilesOptions, facts: Facts, place: str) -> dict[str, Any]:
    return {
        "path": entry.path,
        "text": entry.text,
        "base64": entry.base64,
        "directory": entry.directory,
        "link": entry.link,
        "mode": entry.mode,
        "owner": owner_of(facts, entry.owner or options.owner, place),
        "sets-owner": bool(entry.owner or options.owner),
    }


def _entry(plain: Mapping[str, Any], owner: tuple[int, int]) -> Entry:
    path = _path(plain["path"])
    uid, gid = owner
    if plain["directory"]:
        sets = _sets(plain["mode"], owner=plain["sets-owner"])
        return directory(path, plain["mode"], uid, gid, sets)
    if plain["link"] is not None:
        return symlink(path, plain["link"].encode(), uid, gid)
    if plain["text"] is not None:
        data = plain["text"].encode()
    else:
        data = base64.b64decode(plain["base64"])
    return file(path, data, _or(plain["mode"], 0o644), uid, gid)


def _path(text: str) -> bytes:
    return safe_path(text.encode(), reroot=True)


def _or(mode: int | None, usual: int) -> int:
    return usual if mode is None else mode
