"""Realising what is missing of a graph, each layer as soon as those that it reads are there."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import frozen

from immutable.build.kinds import builder_of, encoder_of, key_of, scope_of
from immutable.build.plan import Plan
from immutable.build.realise import realise
from immutable.builders.base import Scope
from immutable.config import Config
from immutable.content.compression import Encoder
from immutable.errors import SourceError
from immutable.net.fetch import Fetcher, Wanted
from immutable.oci.digest import Digest
from immutable.progress import Progress
from immutable.spec.derivation import Derivation, Realisation
from immutable.store import AbstractStore

if TYPE_CHECKING:
    from immutable.build.remote_cache import RemoteCache


@frozen
class Record:
    """A derivation's realisation, and whether it was there before."""

    realisation: Realisation
    cached: bool


def realise_all(
    made: Plan,
    store: AbstractStore,
    config: Config,
    progress: Progress,
    *,
    offline: bool,
    new: Container[Digest] = (),
    caches: Sequence[RemoteCache] = (),
) -> Mapping[Digest, Record]:
    """Return a record for each derivation of the plan's graph, building those that have none.

    Those in `new` have one that this build made. What `caches` have is not built.
    """
    encoders = {
        derivation.digest: encoder_of(derivation, made.spec.image.compression)
        for derivation in made.graph
    }
    records: dict[Digest, Record] = {}
    for derivation in made.graph:
        known = store.find_realisation(derivation.digest, key_of(encoders[derivation.digest]))
        if known is not None:
            records[derivation.digest] = Record(known, cached=derivation.digest not in new)
    if caches:
        wanted = {d: chosen.key for d, chosen in encoders.items() if chosen and d not in records}
        from immutable.build import remote_cache as cache

        taken = cache.take_all(wanted, caches, store, config, progress)
        records |= {digest: Record(one, cached=True) for digest, one in taken.items()}
    missing = [derivation for derivation in made.graph if derivation.digest not in records]
    scope = scope_of(made, config, store, progress)
    _fetch(missing, scope, offline=offline)
    store.record_sources({digest for derivation in missing for digest in derivation.sources})
    with pool(config.jobs) as layers, pool(config.jobs) as frames:
        _in_parallel(missing, encoders, records, scope, layers, frames)
    return records


def _fetch(missing: Sequence[Derivation], scope: Scope, *, offline: bool) -> None:
    wanted: dict[Digest, Wanted] = {}
    for derivation in missing:
        for one in builder_of(derivation).wanted(derivation, scope):
            if not scope.store.has_blob(one.digest):
                wanted[one.digest] = one
    if not wanted:
        return
    if offline and (names := sorted(one.name for one in wanted.values() if not one.local)):
        raise SourceError(f"offline, and these are not in the store: {', '.join(names[:10])}")
    with Fetcher(scope.config) as fetcher:
        fetcher.fetch_all(
            list(wanted.values()), scope.store, scope.progress, jobs=scope.config.jobs
        )


def _in_parallel(
    missing: Sequence[Derivation],
    encoders: Mapping[Digest, Encoder | None],
    records: dict[Digest, Record],
    scope: Scope,
    layers: Executor,
    frames: Executor,
) -> None:
    """Realise `missing`, each as soon as those that it reads are there.

    Parts of one layer are realised together. The first failure is raised. The pool of frames
    closes first, so that the layers under way end at their next chunk and leave nothing.
    """
    waiting = _jobs(missing)
    running: dict[Future[tuple[Realisation, ...]], Sequence[Derivation]] = {}
    try:
        while waiting or running:
            for parts in [job for job in waiting if all(i in records for i in job[0].inputs)]:
                waiting.remove(parts)
                below = tuple(records[digest].realisation for digest in parts[0].inputs)
                chosen = encoders[parts[0].digest]
                work = layers.submit(
                    realise, parts, builder_of(parts[0]), chosen, below, scope, frames
                )
                running[work] = parts
            assert running, "derivations that wait for each other"  # noqa: S101
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                ended = running.pop(future)
                for derivation, made in zip(ended, future.result(), strict=True):
                    records[derivation.digest] = Record(made, cached=False)
    finally:
        for future in running:
            future.cancel()


def _jobs(missing: Iterable[Derivation]) -> list[list[Derivation]]:
    """Return the derivations in groups that are realised at once: the parts of each layer."""
    jobs: dict[tuple[Digest, str], list[Derivation]] = {}
    for derivation in missing:
        jobs.setdefault((derivation.whole, derivation.compression), []).append(derivation)
    return list(jobs.values())


@contextmanager
def pool(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads that does not finish what is queued when something fails."""
    pool = ThreadPoolExecutor(max(1, jobs))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
