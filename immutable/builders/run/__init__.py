"""Layer kind ``run``: what a command changes in the root file system beneath, proven or refused.

It runs without a network, twice, in surroundings that differ. What it depends on is what is beneath
and what it is given, all of which is pinned; so the layer is made again where any of that changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from attrs import evolve
from typing_extensions import override

from immutable.builders.base import (
    Beneath,
    Builder,
    Facts,
    Inputs,
    LockScope,
    Questions,
    Read,
    Scope,
    ids_of,
    owner_of,
)
from immutable.builders.run import twice
from immutable.builders.run.options import RunOptions
from immutable.builders.run.taken import Taken, argv_of, choice, laid_out, snapshot_of, taken_by
from immutable.config import Config
from immutable.content.account_files import GROUP, find_memberships
from immutable.content.entries import Entry
from immutable.errors import CommandError, SpecError
from immutable.net.fetch import Wanted
from immutable.oci.platforms import Platform
from immutable.redact import quoted
from immutable.sandbox.command import Command
from immutable.sandbox.folders import own_folder
from immutable.sources.tree import Tree
from immutable.spec.derivation import Job, Snapshot
from immutable.spec.document import Layer
from immutable.spec.lock import LockedLayer, Pin

__all__ = ["RunBuilder", "RunOptions"]


class RunBuilder(Builder):
    """Makes a layer of what a command changes."""

    kind: ClassVar[str] = "run"
    version: ClassVar[int] = 1
    options: ClassVar[type[Any]] = RunOptions
    in_place: ClassVar[bool] = True

    @override
    def request(self, options: RunOptions, read: Read) -> Mapping[str, Any] | None:
        """Return the URLs that the spec itself does not pin."""
        urls = [one.url for one in options.fetch if one.sha256 is None]
        return {"fetch": urls} if urls else None

    @override
    def lock(self, layer: Layer, given: LockScope) -> LockedLayer:
        """Fetch what has no pin yet into the store, and pin what came."""
        options: RunOptions = layer.options
        request = self.request(options, given.read) or {}
        known: dict[str, Pin] = {}
        if given.previous is not None and not given.upgrade:
            known = dict(zip(given.previous.request["fetch"], given.previous.pin, strict=False))
        pins = []
        for one in options.fetch:
            if one.sha256 is not None:
                continue
            name = one.to.lstrip("/")
            pin = known.get(one.url)
            if pin is None:
                store, progress = given.scope.store, given.scope.progress
                digest, size = given.fetcher.fetch_unpinned(
                    (one.url,), store, name=name, progress=progress
                )
                pin = Pin(name, "", "", name, size, digest, ("asked for",))
            known[one.url] = pin
            pins.append(evolve(pin, name=name, path=name))
        return LockedLayer(layer.name, self.kind, request, given.platforms, (), tuple(pins))

    @override
    def paths(self, options: RunOptions) -> tuple[str, ...]:
        """Return the inputs, and what says what to leave out of them."""
        given = (path for one in options.inputs for path in (one.path, one.ignore_file))
        return tuple(filter(None, given))

    @override
    def chooses(self, options: RunOptions, path: bytes, folder: Path) -> bool:
        """Tell whether any of the inputs would take `path`, were it in its folder."""
        return any(choice(one, folder)(path) for one in options.inputs)

    @override
    def scan(self, layer: Layer, locked: LockedLayer | None, scope: Scope) -> Snapshot:
        """Read the inputs, and say where to fetch what is fetched."""
        return snapshot_of(taken_by(layer, locked, scope))

    @override
    def tree(self, layer: Layer, snapshot: Snapshot | None, path: str) -> Tree | None:
        """Return the input that is at `path`."""
        taken: Taken | None = None if snapshot is None else snapshot.data
        named = [one.path for one in layer.options.inputs]
        if taken is None or named.count(path) != 1:
            return None
        return taken.trees[named.index(path)]

    @override
    def derive(self, facts: Facts) -> tuple[Job, ...]:
        """Return the one derivation for the platform: programs run on it."""
        options: RunOptions = facts.layer.options
        assert facts.snapshot is not None  # noqa: S101 - `scan` always gives one
        taken: Taken = facts.snapshot.data
        _expect_possible(facts)
        trees = zip(options.inputs, taken.trees, strict=True)
        job = self.job(
            facts,
            {
                **({"command": options.command} if options.command else {"script": options.script}),
                "env": dict(options.env),
                "workdir": options.workdir,
                "user": owner_of(facts, options.user, "user"),
                "keep": options.keep,
                "drop": options.drop,
                "cache": options.cache,
                "inputs": [{"to": one.to, "tree": str(tree.digest)} for one, tree in trees],
                "fetch": [one.to for one in options.fetch],
            },
            sources=tuple(one.digest for one in taken.wanted),
            platform=facts.platform,
            snapshot=facts.snapshot,
        )
        # What the command makes where a user's home will be is as the command makes it.
        return (evolve(job, homes=()),)

    @override
    def wanted(self, job: Job, scope: Scope) -> tuple[Wanted, ...]:
        assert job.snapshot is not None  # noqa: S101 - `scan` always gives one
        taken: Taken = job.snapshot.data
        return taken.wanted

    @override
    def questions(self, job: Job) -> Questions:
        user = job.options["user"]
        if not isinstance(user, str):
            return Questions(everything=True)
        return Questions(everything=True, owners=(user,), files=(GROUP,))

    @override
    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        """Return what the command changes; raise CommandError where that is not proven."""
        _expect_machine(job, inputs.config)
        assert job.snapshot is not None  # noqa: S101 - `scan` always gives one
        taken: Taken = job.snapshot.data
        options = job.options
        uid, gid = ids_of(options["user"], inputs)
        with own_folder(inputs.config.cache / "sandbox" / "inputs") as folder:
            binds = tuple(laid_out(job, inputs, folder))
            command = Command(
                argv_of(options),
                {"SOURCE_DATE_EPOCH": str(job.derivation.mtime), **options["env"]},
                options["workdir"],
                uid,
                gid,
                _groups(options["user"], gid, inputs.beneath),
                binds,
                tuple(options["cache"]),
            )
            mounts = (*(one.target for one in binds), *options["cache"])
            run = twice.Twice(job, command, taken.limits, mounts, inputs, twice.MACHINE)
            return [run.entries()]


def _expect_possible(facts: Facts) -> None:
    """Raise SpecError for a layer that cannot be made anywhere."""
    faults = []
    if not facts.upper:
        faults.append("a command needs a root file system; put a layer before it that brings one")
    if facts.layer.replace:
        faults.append("replace: what a command hides, it hides; leave this out")
    if faults:
        place = f'layer "{facts.layer.name}"'
        raise SpecError(facts.spec.where, [f"{place}: {fault}" for fault in faults])


def _expect_machine(job: Job, config: Config) -> None:
    """Raise CommandError where this machine does not run the platform's programs."""
    platform = job.derivation.platform
    try:
        own = Platform.of_machine(config.machine)
    except ValueError:
        own = None
    if platform != own:
        here = quoted(config.machine) if own is None else own
        raise CommandError(
            f'layer "{job.name}": expected a machine of {platform} to run its command on, found '
            f"{here}; build it on one, or take it from a cache (--cache-from)"
        )


def _groups(user: object, gid: int, beneath: Beneath) -> tuple[int, ...]:
    """Return the further groups of a user that lower layers have, where no group is named."""
    if not isinstance(user, str) or ":" in user or user.isdecimal():
        return ()
    return tuple(sorted(find_memberships(beneath.read(GROUP) or b"", user) - {gid}))
