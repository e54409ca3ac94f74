"""Layer kind ``files``: a local tree, and entries written in the spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Final

from attrs import evolve, frozen
from typing_extensions import override

from immutable.builders import inline
from immutable.builders.base import (
    Beneath,
    Builder,
    Facts,
    Inputs,
    Questions,
    Scope,
    ids_of,
    owner_of,
)
from immutable.builders.inline import InlineEntry
from immutable.builders.outside import own_within
from immutable.config import Config
from immutable.content.entries import Entry, EntryKind, directory, safe_path, symlink
from immutable.errors import EntryError, SourceError
from immutable.oci.digest import Digest
from immutable.sources.ignoring import IgnoreFile
from immutable.sources.tree import Choice, Tree
from immutable.spec.derivation import Job, Snapshot
from immutable.spec.document import Layer
from immutable.spec.lock import LockedLayer
from immutable.spec.splitting import part_below
from immutable.spec.toml import FaultError
from immutable.spec.types import Glob, LayerCount, Mode, Owner, Target

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
    What `remove` matches in lower layers is gone before that. With `layers` the files are spread
    over at most so many: all that is in a directory of `target` is in one of them.
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
    remove: tuple[Glob, ...] = ()
    layers: LayerCount | None = None

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
            never=own_within(scope, source),
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
        # What is spread is likely to be there, but for a part of it.
        read = tree.unseen < _AHEAD or _is_spread(options)
        return self.digest_files(snapshot, scope.config) if read else snapshot

    @override
    def digest_files(self, snapshot: Snapshot, config: Config) -> Snapshot:
        tree: Tree = snapshot.data
        return Snapshot(tree.read(config.jobs), tree)

    @override
    def derive(self, facts: Facts) -> tuple[Job, ...]:
        """Return the one derivation, or one for each part; the same for all platforms.

        With parts, what is removed is a layer beneath them, so that all find it gone.
        """
        options: FilesOptions = facts.layer.options
        entries = [
            inline.plain(entry, options.owner, facts, f"entries[{number}]")
            for number, entry in enumerate(options.entries)
        ]
        parts = _spread(options, facts.snapshot, entries) if _is_spread(options) else ()
        if not parts:
            return (self._told(facts, options, facts.snapshot, entries),)
        jobs = [
            evolve(self._told(facts, evolve(options, remove=()), *part), parts=number)
            for number, part in enumerate(parts)
        ]
        if options.remove:
            jobs.insert(0, self._told(facts, FilesOptions(remove=options.remove), None, []))
        if len(jobs) == 1:
            return tuple(jobs)
        return tuple(evolve(job, part=f"{n}/{len(jobs)}") for n, job in enumerate(jobs, 1))

    def _told(
        self,
        facts: Facts,
        options: FilesOptions,
        snapshot: Snapshot | None,
        entries: Sequence[Mapping[str, Any]],
    ) -> Job:
        return self.job(
            facts,
            {
                "tree": str(snapshot.digest) if snapshot else None,
                "target": options.target,
                "owner": owner_of(facts, options.owner),
                "sets-owner": options.owner is not None,
                "mode": options.mode,
                "directory-mode": options.directory_mode,
                "entries": entries,
                **({"remove": options.remove} if options.remove else {}),
            },
            snapshot=snapshot,
        )

    @override
    def questions(self, job: Job) -> Questions:
        entries = job.options["entries"]
        owners = (job.options["owner"], *(one["owner"] for one in entries))
        return Questions(
            files=tuple(inline.path_of(one) for one in entries if inline.asks(one)),
            globs=tuple(job.options.get("remove", ())),
            owners=tuple(owner for owner in owners if isinstance(owner, str)),
        )

    @override
    def removes(self, job: Job, beneath: Beneath) -> Sequence[bytes]:
        """Return what the globs match; raise EntryError for one that matches nothing."""
        paths: list[bytes] = []
        for number, glob in enumerate(job.options.get("remove", ())):
            matched = beneath.matching(glob)
            if not matched:
                raise EntryError(f'remove[{number}]: nothing beneath matches "{glob}"')
            paths += matched
        return paths

    @override
    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Return the tree's entries, then those of the spec."""
        if job.snapshot is not None:
            yield _placed(job.snapshot.data, job.options, ids_of(job.options["owner"], inputs))
        entries = job.options["entries"]
        removed = self.removes(job, inputs.beneath) if any(map(inline.asks, entries)) else ()
        yield [
            inline.made(one, inputs, _place(number, one, job), frozenset(removed))
            for number, one in enumerate(entries)
        ]


def _place(number: int, entry: Mapping[str, Any], job: Job) -> str:
    """Return how messages name an entry: a part does not know which of the spec's it is."""
    return f"entries, {entry['path']}" if job.part else f"entries[{number}]"


def _is_spread(options: FilesOptions) -> bool:
    return options.layers not in (None, 1)


def _spread(
    options: FilesOptions, snapshot: Snapshot | None, entries: Sequence[Mapping[str, Any]]
) -> Sequence[tuple[Snapshot | None, Sequence[Mapping[str, Any]]]]:
    """Return the parts, bottom first, each its tree and its entries; none without any files.

    In all of them are the target and the directories on the way to it, as the spec has them.
    """
    most: int = options.layers or 1
    target = _path(options.target)
    tree: Tree | None = snapshot.data if snapshot else None
    trees: list[Snapshot | None] = [None] * most
    used = set[int]()
    top = b""
    if tree is not None and tree.is_folder:
        top = target
        trees = [Snapshot(one.digest, one) for one in tree.parts(most)]
        used.update(number for number, one in enumerate(tree.parts(most)) if any(one.items()))
    elif tree is not None:
        number = part_below(top, target, most)
        trees[number] = snapshot
        used.add(number)
    places: list[int | None] = []  # None for all parts
    for entry in entries:
        path = inline.path_of(entry)
        holds = (top + b"/").startswith(path + b"/") and inline.is_directory(entry)
        places.append(None if holds else part_below(top, path, most))
    used.update(place for place in places if place is not None)
    placed = list(zip(entries, places, strict=True))
    return [
        (trees[number], [entry for entry, place in placed if place in (None, number)])
        for number in sorted(used)
    ]


def _ignore_file(options: FilesOptions, folder: Path) -> IgnoreFile | None:
    return IgnoreFile.read(folder / options.ignore_file) if options.ignore_file else None


def _placed(tree: Tree, options: Mapping[str, Any], owner: tuple[int, int]) -> Iterable[Entry]:
    uid, gid = owner
    mode, directory_mode = options["mode"], options["directory-mode"]
    top = _path(options["target"])
    if tree.is_folder and top:
        sets = inline.sets_of(directory_mode, owner=options["sets-owner"])
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


def _path(text: str) -> bytes:
    return safe_path(text.encode(), reroot=True)


def _or(mode: int | None, usual: int) -> int:
    return usual if mode is None else mode
