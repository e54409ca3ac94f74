"""Layer kind ``copy``: files out of another image, as a Dockerfile's ``COPY --from``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from attrs import evolve, field, frozen
from typing_extensions import override

from immutable.builders.base import Facts, Inputs, Questions, ids_of, owner_of
from immutable.builders.image.places import InRegistry, OnDisk, OtherSpec, parse
from immutable.builders.image.taking import TakingBuilder
from immutable.content.entries import Entry, EntryKind, Sets, directory, safe_path
from immutable.content.globs import is_plain
from immutable.redact import quoted
from immutable.spec.derivation import Job
from immutable.spec.toml import FaultError, parsed_by
from immutable.spec.types import CopiedPath, Glob, Owner
from immutable.spec.types import target as parse_target


def _target(text: str) -> str:
    """Return a target, which says with a "/" at its end that it is a directory."""
    path = parse_target(text)
    return f"{path}/" if text.endswith("/") and path != "/" else path


@frozen
class CopyOptions:
    """A ``copy`` layer: `paths` of the image `from`, and where they go.

    Without `target`, they go to the same paths. With one, what is in a directory goes into it; a
    file becomes it, unless it ends in ``/``: then the file goes into it under its own name. All
    that a glob matches, directories too, goes into it under its own name. Without `owner`,
    everything keeps its own.
    """

    from_: OtherSpec | OnDisk | InRegistry = field(metadata=parsed_by(parse, str))
    paths: tuple[CopiedPath, ...]
    target: str | None = field(default=None, metadata=parsed_by(_target))
    exclude: tuple[Glob, ...] = ()
    owner: Owner | None = None

    def __attrs_post_init__(self) -> None:
        if not self.paths:
            raise FaultError("expected at least one path", key="paths")
        several = len(self.paths) > 1 or not is_plain(self.paths[0])
        if several and self.target is not None and not self.target.endswith("/"):
            raise FaultError(
                'expected a directory, with "/" at its end, for several paths or a glob, found '
                f"{quoted(self.target)}",
                key="target",
            )


class CopyBuilder(TakingBuilder):
    """Copies files out of a spec's image, or of one in a registry, a layout or an archive.

    What the layer holds depends on what is copied alone: which image that came from is no part of
    its identity.
    """

    kind: ClassVar[str] = "copy"
    version: ClassVar[int] = 1
    options: ClassVar[type[Any]] = CopyOptions

    @override
    def derive(self, facts: Facts) -> tuple[Job, ...]:
        """Return the one derivation, beside the other image's layers for the platform."""
        options: CopyOptions = facts.layer.options
        assert facts.snapshot is not None  # noqa: S101 - `scan` always gives one
        job = self.job(
            facts,
            {
                "paths": list(options.paths),
                "exclude": list(options.exclude),
                "target": options.target,
                "owner": None if options.owner is None else owner_of(facts, options.owner),
            },
        )
        beside = self.foundation(facts.snapshot, facts.platform).layers
        return (evolve(job, beside=beside),)

    @override
    def questions_beside(self, job: Job) -> Questions:
        return Questions(copies=job.options["paths"], without=job.options["exclude"])

    @override
    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Return what each of the paths leads to, at its place in the target."""
        assert inputs.beside is not None  # noqa: S101 - there is always an image beside
        copies = inputs.beside.copies()
        paths: Sequence[str] = job.options["paths"]
        target, owner = job.options["target"], job.options["owner"]
        ids = None if owner is None else ids_of(owner, inputs)
        alone = len(paths) == 1 and is_plain(paths[0]) and _is_directory(copies[paths[0]][0])
        if target is not None and target.endswith("/") and not alone:
            yield from _folder(target, ids)
        for path in paths:
            for copy in copies[path]:
                place = _place(path, copy, target)
                merged = _is_directory(copy) and place == _path(target or "/")
                top = place != b"" and (alone or not merged)  # the root is no entry
                yield _placed(copy, place, ids, top=top)


def _is_directory(copy: Sequence[Entry]) -> bool:
    return copy[0].kind is EntryKind.DIRECTORY


def _folder(target: str, ids: tuple[int, int] | None) -> Iterator[Iterable[Entry]]:
    """Yield the directory that several things go into, unless it is the root."""
    if path := _path(target):
        uid, gid = ids or (0, 0)
        yield [directory(path, None, uid, gid, Sets.NOTHING if ids is None else Sets.OWNER)]


def _place(path: str, copy: Sequence[Entry], target: str | None) -> bytes:
    """Return where a thing that `path` leads to comes to stand."""
    there = copy[0].path
    if target is None:
        return there
    if _is_directory(copy) and is_plain(path):
        return _path(target)
    return (
        _joined(_path(target), there.rpartition(b"/")[2]) if target.endswith("/") else _path(target)
    )


def _placed(
    copy: Sequence[Entry], place: bytes, ids: tuple[int, int] | None, *, top: bool
) -> Iterator[Entry]:
    """Yield a thing and all that is in it at its `place`; without its `top`, what is in it."""
    start = len(copy[0].path) + 1 if copy[0].path else 0

    def moved(path: bytes) -> bytes:
        return _joined(place, path[start:]) if path[start:] else place

    for number, entry in enumerate(copy):
        path = moved(entry.path)
        if not path or (number == 0 and not top):
            continue
        target = moved(entry.target) if entry.kind is EntryKind.HARDLINK else entry.target
        uid, gid = ids or (entry.uid, entry.gid)
        # Of a directory that is there, only what the spec gives to what it names is set.
        sets = Sets.OWNER if ids is not None and number == 0 else Sets.NOTHING
        yield evolve(entry, path=path, target=target, uid=uid, gid=gid, sets=sets)


def _path(text: str) -> bytes:
    return safe_path(text.encode(), reroot=True)


def _joined(folder: bytes, path: bytes) -> bytes:
    return folder + b"/" + path if folder else path
