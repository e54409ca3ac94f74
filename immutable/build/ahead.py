"""Packing layers whose files nobody has read yet, so that they are read only once."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen

from immutable.build.kinds import builder_of, encoder_of, scope_of
from immutable.build.plan import Draft, Plan
from immutable.build.realise import make
from immutable.build.schedule import pool
from immutable.config import Config
from immutable.oci.digest import Digest
from immutable.progress import Progress
from immutable.spec.derivation import Graph, Job, Realisation
from immutable.store import AbstractStore


@frozen
class _Ahead:
    """Layers that were made before the digests of their files were known.

    `graph` is the draft's; `made` has their realisations by its derivations' digests.
    """

    graph: Graph
    made: Mapping[Digest, Realisation]


def make_ahead(
    drafted: Draft, store: AbstractStore, config: Config, progress: Progress
) -> _Ahead | None:
    """Make the layers whose files nobody has read yet, so that they are read only once.

    Which derivations they realise is known afterwards, so nothing is recorded yet. One layer
    comes after the other: two may be of one tree.
    """
    if drafted.is_complete:
        return None
    graph = drafted.graph()
    scope = scope_of(drafted, config, store, progress)
    made = {}
    # Not in this thread: an interrupt has to find it waiting, as in `_in_parallel`.
    with pool(1) as layers, pool(config.jobs) as frames:
        for job in filter(_is_unread, graph):
            chosen = encoder_of(job, drafted.spec.image.compression)
            builder = builder_of(job)
            work = layers.submit(make, [job], builder, chosen, (), scope, frames)
            (made[job.digest],) = work.result()
    return _Ahead(graph, made)


def _is_unread(job: Job) -> bool:
    """Whether a layer takes files that have yet to be read, and nothing else."""
    snapshot = job.snapshot
    return (
        snapshot is not None
        and snapshot.unread
        and not job.derivation.sources
        and not job.derivation.inputs
    )


def record_ahead(ahead: _Ahead | None, planned: Plan, store: AbstractStore) -> frozenset[Digest]:
    """Record what was made ahead under the plan's derivations; return those that were missing."""
    if ahead is None:
        return frozenset()
    new = set()
    platforms = zip(ahead.graph.platforms, planned.graph.platforms, strict=True)
    for (_, drafted), (_, finished) in platforms:
        for before, after in zip(drafted, finished, strict=True):
            realisation = ahead.made.get(before.digest)
            if realisation is None or store.find_realisation(
                after.digest, realisation.answers, realisation.encoder
            ):
                continue
            store.record_realisation(evolve(realisation, derivation=after.digest))
            new.add(after.digest)
    return frozenset(new)
