"""Realising a graph: each platform's layers from the bottom up, the platforms side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from attrs import define, evolve, field

from immutable.build.kinds import builder_of, scope_of
from immutable.build.plan import Draft, Plan
from immutable.build.realise import Realiser, Record, together
from immutable.builders.base import Scope
from immutable.config import Config
from immutable.errors import SourceError
from immutable.net.attempts import Run
from immutable.net.fetch import Fetcher, Wanted
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.spec.derivation import Graph, Job
from immutable.store import AbstractStore

if TYPE_CHECKING:
    from immutable.build.remote_cache import AskedCaches

Records: TypeAlias = Mapping[Platform, tuple[Record, ...]]
_Result = TypeVar("_Result")


def realise_all(
    planned: Plan | Draft,
    graph: Graph,
    store: AbstractStore,
    config: Config,
    progress: Progress,
    *,
    offline: bool,
    caches: AskedCaches | None = None,
) -> Records:
    """Return a record for each layer of each platform, building those that have none.

    `graph` is that of what is `planned`. What `caches` have is not built. Of layers whose files
    nobody has read yet nothing is recorded.
    """
    scope = scope_of(planned, config, store, progress)
    fetching = _Fetching(scope, offline)
    if caches is None:
        made = store.has_realisation
        fetching.fetch([job for job in graph.with_beside(made) if not made(job.digest)])
    with pool(config.jobs) as layers, pool(config.jobs) as frames:
        realiser = Realiser(
            scope,
            planned.spec.image.compression,
            frames,
            fetching.fetch,
            caches,
        )
        try:
            return _in_parallel(graph, realiser, layers)
        finally:
            fetching.halt()


@define
class _Fetching:
    """Brings sources into the store, one list after the other."""

    scope: Scope
    offline: bool
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _run: Run = field(factory=Run, init=False)  # the one that is under way, or was
    _halted: bool = field(default=False, init=False)

    def halt(self) -> None:
        """Give up what is being fetched, and fetch no more."""
        self._halted = True
        self._run.halt()

    def fetch(self, jobs: Sequence[Job]) -> None:
        """Fetch what is missing of the jobs' sources; raise SourceError if that is not to be."""
        scope = self.scope
        wanted: dict[Digest, Wanted] = {}
        for job in jobs:
            for one in builder_of(job).wanted(job, scope):
                if not scope.store.has_blob(one.digest):
                    wanted[one.digest] = one
        if wanted:
            names = sorted(one.name for one in wanted.values() if not one.local)
            if self.offline and names:
                raise SourceError(
                    f"offline, and these are not in the store: {', '.join(names[:10])}"
                )
            with self._lock, Fetcher(scope.config) as fetcher:
                self._run = Run()
                if self._halted:
                    raise CancelledError
                threads = scope.config.jobs
                fetcher.fetch_all(
                    [*wanted.values()], scope.store, scope.progress, threads, self._run
                )
        scope.store.record_sources({one for job in jobs for one in job.derivation.sources})


def _in_parallel(graph: Graph, realiser: Realiser, layers: ThreadPoolExecutor) -> Records:
    """Realise other images' layers, all at once, and then what is upon them.

    The first failure is raised. The pool of frames closes first, so that the layers under way end
    at their next chunk and leave nothing.
    """
    taken = [job for job in graph if builder_of(job).as_is]
    _done([layers.submit(realiser.adopt, job) for job in taken])
    try:
        made = _done([layers.submit(realiser.upwards, jobs) for _, jobs in graph.platforms])
    finally:
        realiser.stop.set()
        if realiser.caches is not None:
            realiser.caches.halt()
    return {platform: one for (platform, _), one in zip(graph.platforms, made, strict=True)}


def _done(work: Sequence[Future[_Result]]) -> list[_Result]:
    """Return what all of `work` gave; raise the first failure, and let nothing more begin."""
    try:
        done, _ = wait(work, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        return [future.result() for future in work]
    finally:
        for future in work:
            future.cancel()


def recorded(records: Records, graph: Graph, store: AbstractStore) -> Records:
    """Return the records as those of `graph`, for which all files have been read.

    What was made before its derivation was known is recorded now.
    """
    return {
        platform: tuple(map(partial(_recorded, store), jobs, records[platform]))
        for platform, jobs in graph.platforms
    }


def _recorded(store: AbstractStore, job: Job, record: Record) -> Record:
    made = record.realisation
    if made.derivation == job.digest:
        return record
    if record.met is not None:
        record.met.remember(job.derivation.whole, made.answers, store)
    known = store.find_realisation(job.digest, made.answers, made.encoder)
    if known is not None:
        return Record(known, cached=True)
    made = evolve(made, derivation=job.digest)
    store.record_realisation(made)
    return Record(made, cached=False)


def asked_in(graph: Graph, records: Records, store: AbstractStore) -> frozenset[Digest]:
    """Return what the question lists of a realised graph's layers are recorded under."""
    from immutable.build.contents import LayerContents
    from immutable.build.making import asked_by

    contents = LayerContents(store, store)
    asked = set[Digest]()
    for platform, jobs in graph.platforms:
        layers = [one.realisation for one in records[platform]]
        lower = 0
        for parts in together(jobs):
            if not builder_of(parts[0]).as_is:
                one = asked_by(parts[0], layers[: lower - parts[0].parts], contents)
                asked.update(() if one is None else (one,))
            lower += len(parts)
    return frozenset(asked)


@contextmanager
def pool(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads that does not finish what is queued when something fails."""
    pool = ThreadPoolExecutor(max(1, jobs))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
