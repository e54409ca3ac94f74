"""What a command is given: local files and fetched ones, and where it finds them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from immutable.builders.base import Inputs, Scope
from immutable.builders.outside import own_within
from immutable.builders.run.options import RunFetch, RunInput, RunOptions
from immutable.content.entries import EntryKind
from immutable.errors import SourceError
from immutable.net.fetch import Wanted
from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.sandbox.command import Bind, Limits
from immutable.sources.ignoring import IgnoreFile
from immutable.sources.tree import Choice, Tree
from immutable.spec.derivation import Job, Snapshot
from immutable.spec.document import Layer
from immutable.spec.lock import LockedLayer

SCRIPT: Final = "/run/immutable/script"  # where the command's own machine has it; no part of layers
_SECOND: Final = 10**9


@frozen
class Taken:
    """What was found of the `inputs` and the `fetch` of a layer, in their order, and its limits."""

    trees: tuple[Tree, ...]
    wanted: tuple[Wanted, ...]
    limits: Limits

    @property
    def digest(self) -> Digest:
        """What tells it from anything else that can get into the layer."""
        of_trees: list[canonical.JSON] = [str(tree.digest) for tree in self.trees]
        return Digest.of(canonical.encode([of_trees, [str(one.digest) for one in self.wanted]]))


def taken_by(layer: Layer, locked: LockedLayer | None, scope: Scope) -> Taken:
    """Return what `layer` takes; raise SourceError for local files that cannot be read."""
    options: RunOptions = layer.options
    trees = tuple(_listed(layer, number, scope) for number in range(len(options.inputs)))
    for tree in trees:
        tree.read(scope.config.jobs)
    given = Limits()
    seconds = given.seconds if options.timeout is None else -(-options.timeout // _SECOND)
    limits = Limits(seconds=seconds, memory=options.memory)
    return Taken(trees, tuple(_wanted(options.fetch, locked)), limits)


def choice(given: RunInput, folder: Path) -> Choice:
    """Return what is chosen of an input; `folder` is the spec's own."""
    return Choice(given.include, given.exclude, _ignore_file(given, folder))


def _listed(layer: Layer, number: int, scope: Scope) -> Tree:
    given: RunInput = layer.options.inputs[number]
    source = scope.folder / given.path
    tree = Tree.listed(
        source,
        include=given.include,
        exclude=given.exclude,
        ignore=_ignore_file(given, scope.folder),
        never=own_within(scope, source),
        stats=scope.store,
    )
    if given.include and tree.is_folder and not any(tree.items()):
        patterns = ", ".join(f'"{pattern}"' for pattern in given.include)
        raise SourceError(
            f'layer "{layer.name}": inputs[{number}].include: nothing in {given.path} matches '
            f"{patterns}"
        )
    return tree


def _ignore_file(given: RunInput, folder: Path) -> IgnoreFile | None:
    return IgnoreFile.read(folder / given.ignore_file) if given.ignore_file else None


def _wanted(fetches: Sequence[RunFetch], locked: LockedLayer | None) -> Iterator[Wanted]:
    """Yield what is to be fetched; the lock's pins are of those that the spec does not pin."""
    pins = iter(() if locked is None else locked.pin)
    for one in fetches:
        name = one.to.lstrip("/")
        if one.sha256 is not None:
            yield Wanted(name, one.sha256, None, (one.url,))
        else:
            pin = next(pins)
            yield Wanted(name, pin.sha256, pin.size, (one.url,))


def laid_out(job: Job, inputs: Inputs, folder: Path) -> Iterator[Bind]:
    """Put what the command is given into `folder`, and yield its places.

    Names, bytes, and who may execute them are the same on every machine; times and owners, the
    sandbox says.
    """
    assert job.snapshot is not None  # noqa: S101 - `scan` always gives one
    taken: Taken = job.snapshot.data
    options = job.options
    for number, (tree, one) in enumerate(zip(taken.trees, options["inputs"], strict=True)):
        place = folder / f"input-{number}"
        _copy(tree, os.fsencode(place))
        yield Bind(place, one["to"])
    for number, (wanted, to) in enumerate(zip(taken.wanted, options["fetch"], strict=True)):
        place = folder / f"fetched-{number}"
        with inputs.store.verified(wanted.digest) as blob, place.open("xb") as file:
            shutil.copyfileobj(blob, file)
        place.chmod(0o644)
        yield Bind(place, to)
    if "script" in options:
        place = folder / "script"
        place.write_bytes(options["script"].encode())
        place.chmod(0o755)
        yield Bind(place, SCRIPT)


def _copy(tree: Tree, top: bytes) -> None:
    """Write the files of `tree` to `top`, which is not there yet."""
    if tree.is_folder:
        os.mkdir(top)  # noqa: PTH102 - bytes
    for path, kind, mode, content, target in tree.items():
        place = top + b"/" + path if path else top
        if kind is EntryKind.DIRECTORY:
            os.mkdir(place)  # noqa: PTH102 - bytes
        elif kind is EntryKind.SYMLINK:
            os.symlink(target, place)  # noqa: PTH211 - bytes
        else:
            assert content is not None  # noqa: S101 - files have some
            with open(place, "xb") as file:  # noqa: PTH123 - bytes
                file.writelines(content.read())
            os.chmod(place, mode)  # noqa: PTH101 - bytes


def argv_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what is run: the command, or what the script says in its first line, else a shell."""
    if "command" in options:
        return tuple(options["command"])
    first = options["script"].partition("\n")[0]
    if not first.startswith("#!") or not first[2:].strip():
        return ("/bin/sh", "-e", SCRIPT)
    # As the kernel does: all after the interpreter is one argument.
    return (*first[2:].strip().split(None, 1), SCRIPT)


def snapshot_of(taken: Taken) -> Snapshot:
    """Return what was taken as a job has it."""
    return Snapshot(taken.digest, taken)
