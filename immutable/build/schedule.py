"""The verb `build`: a spec to an image in the store."""

from __future__ import annotations

import datetime
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from immutable.build import assemble as images
from immutable.build.assemble import PlatformImage
from immutable.build.plan import Draft, Plan, draft, load
from immutable.build.realise import make, realise
from immutable.builders.base import Builder, Foundation, Scope
from immutable.builders.registry import builders
from immutable.config import Config
from immutable.content.compression import Encoder, encoder
from immutable.errors import SourceError
from immutable.net.fetch import Fetcher, Wanted
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, ImageConfig, Index, Manifest
from immutable.oci.platforms import Platform
from immutable.progress import SILENT, Progress
from immutable.spec.derivation import AS_IS, Derivation, Graph, Realisation
from immutable.spec.document import Spec
from immutable.store import AbstractStore, Generation

if TYPE_CHECKING:
    from immutable.build.remote_cache import RemoteCache

_PIECE: Final = 1 << 20


@frozen
class BuiltLayer:
    """One layer of a built image; `cached` tells that it was there already.

    `part` is like ``2/12`` where the spec's layer `name` is spread over several, else empty.
    """

    name: str
    kind: str
    derivation: Digest
    diff_id: Digest
    blob: Descriptor
    cached: bool
    part: str = ""


@frozen
class BuiltPlatform:
    """A built image for one platform."""

    image: PlatformImage
    layers: tuple[BuiltLayer, ...]

    @property
    def platform(self) -> Platform:
        """The platform."""
        return self.image.platform

    @property
    def manifest(self) -> Manifest:
        """The manifest."""
        return self.image.manifest

    @property
    def config(self) -> ImageConfig:
        """The config."""
        return self.image.config


@frozen
class Image:
    """A built image: its root's descriptor, its platforms, and the store that holds it."""

    name: str
    descriptor: Descriptor
    tags: tuple[str, ...]
    platforms: tuple[BuiltPlatform, ...]
    generation: Generation
    store: AbstractStore = field(eq=False, repr=False)

    @property
    def digest(self) -> Digest:
        """The digest of the manifest, or of the index where there are several platforms."""
        return self.descriptor.digest

    @property
    def manifest(self) -> Manifest:
        """The manifest of the first platform."""
        return self.platforms[0].manifest

    @property
    def config(self) -> ImageConfig:
        """The config of the first platform."""
        return self.platforms[0].config

    @property
    def layers(self) -> tuple[BuiltLayer, ...]:
        """The layers of the first platform, bottom first."""
        return self.platforms[0].layers


def build(
    spec: Spec | str | Path,
    store: AbstractStore,
    *,
    config: Config | None = None,
    platforms: Sequence[Platform] = (),
    tags: Sequence[str] = (),
    offline: bool = False,
    sources: AbstractStore | None = None,
    cache_from: Sequence[RemoteCache] = (),
    cache_to: RemoteCache | None = None,
    progress: Progress = SILENT,
) -> Image:
    """Build `spec` into `store` and return the image.

    `spec` is a path or what `load` returned; its lock and local files are looked for beside
    it. `platforms` are those to build, of the spec's; `tags` are added to the spec's. With
    `offline`, nothing is fetched: what is missing is an error. Pinned sources that the store
    `sources` holds are copied from it, verified, before any are fetched. Layers that the caches
    `cache_from` have, signed by a key that this user trusts, are fetched instead of being built;
    `cache_to` gets those of this image, signed with the user's own. Raises ImmutableError.
    """
    config = config or Config.load()
    if cache_to is not None:
        config.keys.secret()  # rather now than when everything is built
    spec = spec if isinstance(spec, Spec) else load(spec)
    with store.lease(), nullcontext() if sources is None else sources.lease():
        drafted = draft(
            spec,
            store,
            config,
            progress,
            platforms=platforms,
            tags=tags,
            sources=sources,
            offline=offline,
        )
        # What a cache has need not be made; only digests of files tell what it has.
        ahead = None if cache_from else _make_ahead(drafted, store, config, progress)
        made = drafted.settle()
        new = _record_ahead(ahead, made, store)
        if sources is not None:
            _take_sources(made, sources, store)
        records = realise_all(
            made, store, config, progress, offline=offline, new=new, caches=cache_from
        )
        image = _publish(made, records, store)
        if cache_to is not None:
            _offer(made, records, cache_to, store, config, progress)
        return image


@frozen
class Record:
    """A derivation's realisation, and whether it was there before."""

    realisation: Realisation
    cached: bool


@frozen
class _Ahead:
    """Layers that were made before the digests of their files were known.

    `graph` is the draft's; `made` has their realisations by its derivations' digests.
    """

    graph: Graph
    made: Mapping[Digest, Realisation]


def _make_ahead(
    drafted: Draft, store: AbstractStore, config: Config, progress: Progress
) -> _Ahead | None:
    """Make the layers whose files nobody has read yet, so that they are read only once.

    Which derivations they realise is known afterwards, so nothing is recorded yet. One layer
    comes after the other: two may be of one tree.
    """
    if drafted.settled:
        return None
    graph = drafted.graph()
    scope = _scope(drafted, config, store, progress)
    made = {}
    # Not in this thread: an interrupt has to find it waiting, as in `_in_parallel`.
    with _pool(1) as layers, _pool(config.jobs) as frames:
        for derivation in filter(_is_unread, graph):
            chosen = _encoder(derivation, drafted.spec.image.compression)
            builder = _builder(derivation)
            work = layers.submit(make, [derivation], builder, chosen, (), scope, frames)
            (made[derivation.digest],) = work.result()
    return _Ahead(graph, made)


def _is_unread(derivation: Derivation) -> bool:
    """Whether a layer takes files that have yet to be read, and nothing else."""
    snapshot = derivation.snapshot
    return (
        snapshot is not None
        and snapshot.settle is not None
        and not derivation.sources
        and not derivation.inputs
    )


def _record_ahead(ahead: _Ahead | None, made: Plan, store: AbstractStore) -> frozenset[Digest]:
    """Record what was made ahead under the plan's derivations; return those that were missing."""
    if ahead is None:
        return frozenset()
    new = set()
    for (_, drafted), (_, settled) in zip(ahead.graph.platforms, made.graph.platforms, strict=True):
        for before, after in zip(drafted, settled, strict=True):
            realisation = ahead.made.get(before.digest)
            if realisation is None or store.find_realisation(after.digest, realisation.encoder):
                continue
            store.record_realisation(evolve(realisation, derivation=after.digest))
            new.add(after.digest)
    return frozenset(new)


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
        derivation.digest: _encoder(derivation, made.spec.image.compression)
        for derivation in made.graph
    }
    records: dict[Digest, Record] = {}
    for derivation in made.graph:
        known = store.find_realisation(derivation.digest, _key(encoders[derivation.digest]))
        if known is not None:
            records[derivation.digest] = Record(known, cached=derivation.digest not in new)
    if caches:
        wanted = {d: chosen.key for d, chosen in encoders.items() if chosen and d not in records}
        from immutable.build import remote_cache as cache

        taken = cache.take_all(wanted, caches, store, config, progress)
        records |= {digest: Record(one, cached=True) for digest, one in taken.items()}
    missing = [derivation for derivation in made.graph if derivation.digest not in records]
    scope = _scope(made, config, store, progress)
    _fetch(missing, scope, offline=offline)
    store.record_sources({digest for derivation in missing for digest in derivation.sources})
    with _pool(config.jobs) as layers, _pool(config.jobs) as frames:
        _in_parallel(missing, encoders, records, scope, layers, frames)
    return records


def _offer(
    made: Plan,
    records: Mapping[Digest, Record],
    place: RemoteCache,
    store: AbstractStore,
    config: Config,
    progress: Progress,
) -> None:
    """Share the layers that were packed here or elsewhere; those of other images are theirs."""
    from immutable.build import remote_cache as cache

    own = {layer.digest for layer in made.graph if not _builder(layer).as_is}
    realisations = [records[digest].realisation for digest in own]
    new = cache.offer_all(realisations, place, store, config, progress)
    progress.note(f"{place}: {new} of {len(realisations)} layers are new there")


def _take_sources(made: Plan, sources: AbstractStore, store: AbstractStore) -> None:
    for digest in sorted({digest for layer in made.graph for digest in layer.sources}):
        if sources.has_blob(digest) and not store.has_blob(digest):
            with sources.verified(digest) as blob, store.ingest() as copy:
                while piece := blob.read(_PIECE):
                    copy.write(piece)
                copy.commit(expected=digest, name=str(digest))


def _fetch(missing: Sequence[Derivation], scope: Scope, *, offline: bool) -> None:
    wanted: dict[Digest, Wanted] = {}
    for derivation in missing:
        for one in _builder(derivation).wanted(derivation, scope):
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
                    realise, parts, _builder(parts[0]), chosen, below, scope, frames
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


def _publish(made: Plan, records: Mapping[Digest, Record], store: AbstractStore) -> Image:
    platforms = []
    for platform, layers in made.graph.platforms:
        found = [records[layer.digest] for layer in layers]
        image = made.assemble(platform, [record.realisation for record in found])
        for document in image.documents():
            store.put_blob(document)
        platforms.append(
            BuiltPlatform(image, tuple(map(_built_layer, layers, found)))
        )  # fmt: skip
    root = platforms[0].image.descriptor
    if len(platforms) > 1:
        index = images.index(made.spec, [built.image for built in platforms])
        root = _put_index(index, store)
    name, tags = str(made.spec.image.name), tuple(map(str, made.spec.image.tags))
    generation = store.commit_generation(
        name, root, tags=tags, created=datetime.datetime.now(datetime.UTC)
    )
    return Image(name, root, tags, tuple(platforms), generation, store)


def _put_index(index: Index, store: AbstractStore) -> Descriptor:
    data = index.encode()
    return Descriptor(index.media_type, store.put_blob(data), len(data))


def _built_layer(layer: Derivation, record: Record) -> BuiltLayer:
    made = record.realisation
    part = "" if layer.part is None else str(layer.part)
    return BuiltLayer(
        layer.name, layer.kind, layer.digest, made.diff_id, made.blob, record.cached, part
    )


def _builder(derivation: Derivation) -> Builder:
    return builders()[derivation.kind]


def _encoder(derivation: Derivation, compression: str) -> Encoder | None:
    """Return the derivation's encoder; None for layers that are taken as they are."""
    if _builder(derivation).as_is:
        return None
    return encoder(derivation.compression or compression)


def _key(chosen: Encoder | None) -> str:
    return AS_IS if chosen is None else chosen.key


def _scope(
    planned: Plan | Draft, config: Config, store: AbstractStore, progress: Progress
) -> Scope:
    folder = Path(planned.spec.where).parent
    return Scope(folder, planned.platforms, config, store, progress, _no_foundation)


def _no_foundation(path: Path) -> Mapping[Platform, Foundation]:
    raise AssertionError(f"{path}: planned already")


@contextmanager
def _pool(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads that does not finish what is queued when something fails."""
    pool = ThreadPoolExecutor(max(1, jobs))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
