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
from immutable.spec.derivation import NO_ANSWERS, Job, Realisation
from immutable.store import AbstractStore

if TYPE_CHECKING:
    from immutable.build.remote_cache import RemoteCache


@frozen
class Record:
    """A derivation's realisation, and whether it was there before."""

    realisation: Realisation
    cached: bool


def realise_all(
    planned: Plan,
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
        job.digest: encoder_of(job, planned.spec.image.compression) for job in planned.graph
    }
    records: dict[Digest, Record] = {}
    for job in planned.graph:
        known = store.find_realisation(job.digest, NO_ANSWERS, key_of(encoders[job.digest]))
        if known is not None:
            records[job.digest] = Record(known, cached=job.digest not in new)
    if caches:
        wanted = {d: chosen.key for d, chosen in encoders.items() if chosen and d not in records}
        from immutable.build import remote_cache as cache

        taken = cache.take_all(wanted, caches, store, config, progress)
        records |= {digest: Record(one, cached=True) for digest, one in taken.items()}
    missing = [job for job in planned.graph if job.digest not in records]
    scope = scope_of(planned, config, store, progress)
    _fetch(missing, scope, offline=offline)
    store.record_sources({digest for job in missing for digest in job.derivation.sources})
    with pool(config.jobs) as layers, pool(config.jobs) as frames:
        _in_parallel(missing, encoders, records, scope, layers, frames)
    return records


def _fetch(missing: Sequence[Job], scope: Scope, *, offline: bool) -> None:
    wanted: dict[Digest, Wanted] = {}
    for job in missing:
        for one in builder_of(job).wanted(job, scope):
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
    missing: Sequence[Job],
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
    waiting = _together(missing)
    running: dict[Future[tuple[Realisation, ...]], Sequence[Job]] = {}
    try:
        while waiting or running:
            for parts in [one for one in waiting if _is_ready(one, records)]:
                waiting.remove(parts)
                lower = tuple(records[digest].realisation for digest in parts[0].derivation.inputs)
                chosen = encoders[parts[0].digest]
                work = layers.submit(
                    realise, parts, builder_of(parts[0]), chosen, lower, scope, frames
                )
                running[work] = parts
            assert running, "derivations that wait for each other"  # noqa: S101
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                ended = running.pop(future)
                for job, made in zip(ended, future.result(), strict=True):
                    records[job.digest] = Record(made, cached=False)
    finally:
        for future in running:
            future.cancel()


def _is_ready(parts: Sequence[Job], records: Mapping[Digest, Record]) -> bool:
    """Whether all layers that `parts` read are there."""
    return all(digest in records for digest in parts[0].derivation.inputs)


def _together(missing: Iterable[Job]) -> list[list[Job]]:
    """Return the jobs in groups that are done at once: the parts of each layer."""
    together: dict[tuple[Digest, str], list[Job]] = {}
    for job in missing:
        together.setdefault((job.derivation.whole, job.compression), []).append(job)
    return list(together.values())


@contextmanager
def pool(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads that does not finish what is queued when something fails."""
    pool = ThreadPoolExecutor(max(1, jobs))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
