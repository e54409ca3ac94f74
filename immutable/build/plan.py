"""From a spec and its lock to the graph: everything is known, nothing is built yet."""

from __future__ import annotations

import datetime
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import evolve, field, frozen

from immutable.build import assemble as image
from immutable.build.assemble import PlatformImage
from immutable.build.instantiate import instantiate
from immutable.build.loading import load, lock_path, own_files
from immutable.build.locked import checked_dependents, platforms_of, usable_lock
from immutable.builders.base import BaseImage, Builder, Foundation, Scope
from immutable.builders.registry import builders
from immutable.config import Config
from immutable.errors import SpecError
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.sources import git
from immutable.sources.tree import StatCache, Tree
from immutable.spec import document as specs
from immutable.spec.derivation import Graph, Realisation, Snapshot
from immutable.spec.document import Spec, Tag
from immutable.spec.lock import Lock
from immutable.store import AbstractStore


@frozen
class Input:
    """A local file or folder that an image is built from and nothing pins.

    It was `named` by a path that may lead through links to its own.
    """

    named: Path
    tree: Tree | None = None
    path: Path = field(init=False)

    @path.default
    def _follow(self) -> Path:
        return self.named.resolve()

    def holds(self, path: Path) -> bool:
        """Tell whether what is at `path`, absolute, gets into the image."""
        if path == self.path:
            return True
        if self.tree is not None:
            return self.tree.covers(os.fsencode(path))
        return self.path in path.parents


@frozen
class Plan:
    """A spec with its lock applied, for some platforms.

    `spec` has its placeholders filled; `created` is the image's time in RFC 3339; `inputs` are
    those of the base specs too.
    """

    spec: Spec
    platforms: tuple[Platform, ...]
    created: str
    graph: Graph
    foundations: Mapping[Platform, Foundation]
    inputs: tuple[Input, ...] = ()

    def filled(self, platform: Platform, realisations: Sequence[Realisation]) -> Sequence[int]:
        """Return the numbers of the layers that the image of `platform` has, bottom first.

        Those are all but parts that came out empty: what is in an archive is not known before it is
        unpacked, and so neither is which of its parts have anything. One layer is there at least.
        """
        pairs = zip(self.graph.layers(platform), realisations, strict=True)
        found = [
            number
            for number, (job, made) in enumerate(pairs)
            if job.derivation.part is None or made.diff_id != image.no_entries()
        ]
        return found or range(len(realisations))[-1:]

    def assemble(self, platform: Platform, realisations: Sequence[Realisation]) -> PlatformImage:
        """Return the image of `platform` from the realisations of its layers, bottom first."""
        base: BaseImage | None = None
        foundation = self.foundations.get(platform)
        if foundation is not None:
            base = foundation.finish(realisations[: len(foundation.layers)])
        derivations = (job.derivation for job in self.graph.layers(platform))
        given = list(zip(derivations, realisations, strict=True))
        layers = [given[number] for number in self.filled(platform, realisations)]
        return image.assemble(self.spec, platform, self.created, layers, base)


@frozen
class Draft:
    """A plan for which local files may have to be read yet.

    The derivations of its graph have stand-in digests where that is so; the finished plan's
    graph has the same shape.
    """

    spec: Spec
    platforms: tuple[Platform, ...]
    created: str
    inputs: tuple[Input, ...]
    _lock: Lock
    _snapshots: Mapping[str, Snapshot]

    @property
    def is_complete(self) -> bool:
        """Whether everything is known."""
        return not any(snapshot.unread for snapshot in self._snapshots.values())

    def graph(self) -> Graph:
        """Return the graph as far as it is known."""
        return instantiate(
            self.spec,
            self._lock,
            builders(),
            platforms=self.platforms,
            mtime=int(datetime.datetime.fromisoformat(self.created).timestamp()),
            snapshots=self._snapshots,
        )

    def finish(self, config: Config) -> Plan:
        """Read what has to be read yet, and return the plan."""
        known = dict(self._snapshots)
        for layer in self.spec.layer:
            snapshot = known.get(layer.name)
            if snapshot is not None and snapshot.unread:
                known[layer.name] = builders()[layer.kind].digest_files(snapshot, config)
        graph = evolve(self, snapshots=known).graph()
        foundations = _foundations(self.spec, builders(), known, self.platforms)
        return Plan(self.spec, self.platforms, self.created, graph, foundations, self.inputs)


def plan(
    spec: Spec,
    store: AbstractStore,
    config: Config,
    progress: Progress,
    *,
    platforms: Sequence[Platform] = (),
    tags: Sequence[str] = (),
) -> Plan:
    """Return what building `spec` takes, for `platforms` or those it names.

    `tags` are added to the spec's. Raises LockMissing and LockStale, naming the command to
    run; SpecError for specs that build on each other in a circle; and what builders raise for
    local files.
    """
    return draft(spec, store, config, progress, platforms=platforms, tags=tags).finish(config)


def draft(
    spec: Spec,
    store: AbstractStore,
    config: Config,
    progress: Progress,
    *,
    platforms: Sequence[Platform] = (),
    tags: Sequence[str] = (),
    sources: AbstractStore | None = None,
    offline: bool = False,
    _dependents: tuple[Path, ...] = (),
    _planned: dict[Path, Plan] | None = None,
) -> Draft:
    """Return what `plan` does, as far as it is known before many local files are read.

    Manifests of images to build upon come from the stores `store` and `sources`, or from where
    those images are; with `offline`, not from a registry.
    """
    chosen = _platforms(spec, platforms, config)
    inputs: list[Input] = []
    planned = {} if _planned is None else _planned  # several layers may take from one spec

    def foundation(path: Path) -> Mapping[Platform, Foundation]:
        dependents = checked_dependents(spec, path, _dependents)
        base = planned.get(path.resolve())
        if base is None:
            drafted = draft(
                load(path),
                store,
                config,
                progress,
                platforms=chosen,
                sources=sources,
                offline=offline,
                _dependents=dependents,
                _planned=planned,
            )
            base = planned[path.resolve()] = drafted.finish(config)
        inputs.extend(one for one in base.inputs if not any(one is other for other in inputs))
        return foundations_of(base)

    folder = Path(spec.where).parent
    own = tuple(own_files(spec).values())
    scope = Scope(folder, chosen, config, store, progress, foundation, sources, offline, own)
    locked = usable_lock(spec, chosen)
    spec = evolve_tags(spec, tags)
    snapshots = _snapshots(spec, locked, builders(), scope)
    inputs += _inputs(spec, folder, snapshots)
    facts = _git_facts(spec, folder, inputs, store)
    created = _created(spec, facts, config, progress)
    filled = specs.substitute(spec, facts)
    return Draft(filled, chosen, created, tuple(inputs), locked, snapshots)


def evolve_tags(spec: Spec, tags: Sequence[str]) -> Spec:
    """Return `spec` with further tags."""
    if not tags:
        return spec
    merged = tuple(dict.fromkeys((*spec.image.tags, *map(specs.checked_tag, tags))))
    return specs.replaced(spec, image=evolve(spec.image, tags=tuple(map(Tag, merged))))


def foundations_of(base: Plan) -> Mapping[Platform, Foundation]:
    """Return `base` as something to build upon: its layers keep their own compression."""

    def finish(platform: Platform, realisations: Sequence[Realisation]) -> BaseImage:
        made = base.assemble(platform, realisations)
        return BaseImage(base.spec.image.name, made.descriptor.digest, made.config)

    return {
        platform: Foundation(
            tuple(
                evolve(layer, compression=layer.compression or base.spec.image.compression)
                for layer in layers
            ),
            functools.partial(finish, platform),
        )
        for platform, layers in base.graph.platforms
    }


def _platforms(spec: Spec, wanted: Sequence[Platform], config: Config) -> tuple[Platform, ...]:
    there = platforms_of(spec, config)
    if not wanted:
        return there
    unknown = [
        str(platform) for platform in wanted if spec.image.platforms and platform not in there
    ]
    if unknown:
        known = ", ".join(map(str, there))
        raise SpecError(spec.where, [f"image.platforms: {', '.join(unknown)} is not among {known}"])
    return tuple(wanted)


def _inputs(spec: Spec, folder: Path, snapshots: Mapping[str, Snapshot]) -> Iterator[Input]:
    for own in own_files(spec).values():
        if own != lock_path(spec) or own.exists():
            yield Input(own.absolute())
    for layer in spec.layer:
        kind, snapshot = builders()[layer.kind], snapshots.get(layer.name)
        for path in kind.paths(layer.options):
            yield Input((folder / path).absolute(), kind.tree(layer, snapshot, path))


def _git_facts(
    spec: Spec, folder: Path, inputs: Sequence[Input], stats: StatCache
) -> Mapping[str, str]:
    if not spec.placeholders():
        return {}
    if not spec.in_file:
        fault = (
            'git: expected a spec in a file for {git.…} and created = "git", found one made in '
            "Python, which git does not know to be as committed; write what its `dumps` returns "
            "to a file, and commit that"
        )
        raise SpecError(spec.where, [fault])
    paths = dict.fromkeys(one.named for one in inputs)
    return git.facts(folder, paths, lambda path: any(one.holds(path) for one in inputs), stats)


def _created(spec: Spec, facts: Mapping[str, str], config: Config, progress: Progress) -> str:
    created: str = spec.image.created
    if created == "git":
        return facts["time"]
    if created == "source-date-epoch":
        if config.source_date_epoch is None:
            raise SpecError(
                spec.where, ["image.created: the spec wants SOURCE_DATE_EPOCH, which is not set"]
            )
        try:
            moment = datetime.datetime.fromtimestamp(config.source_date_epoch, datetime.UTC)
        except (OverflowError, ValueError, OSError):
            raise SpecError(
                "SOURCE_DATE_EPOCH",
                [f"expected a time before the year 10000, found {config.source_date_epoch}"],
            ) from None
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    if config.source_date_epoch is not None:
        progress.note(
            "SOURCE_DATE_EPOCH is set and does not count: "
            f'{spec.where} does not say created = "source-date-epoch"'
        )
    return created


def _snapshots(
    spec: Spec, locked: Lock, kinds: Mapping[str, Builder], scope: Scope
) -> dict[str, Snapshot]:
    found = {}
    for layer in spec.layer:
        snapshot = kinds[layer.kind].scan(layer, locked.find(layer.name), scope)
        if snapshot is not None:
            found[str(layer.name)] = snapshot
    return found


def _foundations(
    spec: Spec,
    kinds: Mapping[str, Builder],
    snapshots: Mapping[str, Snapshot],
    platforms: Sequence[Platform],
) -> dict[Platform, Foundation]:
    for layer in spec.layer[:1]:
        kind = kinds[layer.kind]
        if kind.as_is:
            return {p: kind.foundation(snapshots[layer.name], p) for p in platforms}
    return {}
