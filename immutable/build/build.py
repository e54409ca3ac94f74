"""The verb `build`: a spec to an image in the store."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

from immutable.build.config_check import check_config
from immutable.build.kinds import builder_of
from immutable.build.loading import spec_of
from immutable.build.plan import Draft, Plan, draft
from immutable.build.publish import publish
from immutable.build.results import Image
from immutable.build.schedule import Records, asked_in, realise_all, recorded
from immutable.config import Config
from immutable.oci.platforms import Platform
from immutable.progress import SILENT, Progress
from immutable.spec.derivation import Graph
from immutable.spec.document import Spec
from immutable.store import AbstractStore

if TYPE_CHECKING:
    from immutable.build.remote_cache import RemoteCache

_PIECE: Final = 1 << 20


def build(
    spec: Spec | str | Path,
    store: AbstractStore,
    *,
    folder: str | Path | None = None,
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

    `spec` is a path or what `load` returned; its lock and local files are looked for beside it.
    Those of a spec made in Python are looked for in `folder`, by default the working folder: the
    lock of ``shop/web`` is ``web.lock.toml`` there. `platforms` are those to build, of the spec's;
    `tags` are added to the spec's. With `offline`, nothing is fetched: what is missing is an error.
    Pinned sources that the store `sources` holds are copied from it, verified, before any are
    fetched. Layers that the caches `cache_from` have, signed by a key that this user trusts, are
    fetched instead of being built; `cache_to` gets those of this image, signed with the user's own.
    Raises ImmutableError.
    """
    config = config or Config.load()
    if cache_to is not None:
        config.keys.secret()  # rather now than when everything is built
    spec = spec_of(spec, folder)
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
        if sources is not None:
            _take_sources(drafted.graph(), sources, store)
        planned, records = _realised(drafted, store, config, progress, offline, cache_from)
        if any(job.parts and job.derivation.part is None for job in planned.graph):
            from immutable.build.parts import check_parts

            check_parts(planned.graph, records, store)
        check_config(planned, records, store, progress)
        image = publish(planned, records, store)
        if cache_to is not None:
            _offer(planned, records, cache_to, store, config, progress)
        return image


def _realised(
    drafted: Draft,
    store: AbstractStore,
    config: Config,
    progress: Progress,
    offline: bool,
    caches: Sequence[RemoteCache],
) -> tuple[Plan, Records]:
    """Return the finished plan and its records.

    Layers whose files nobody has read yet are packed before their derivations are known, so that
    the files are read once. A remote cache is asked by derivation: then they are read first.
    """
    if not caches:
        early = realise_all(drafted, drafted.graph(), store, config, progress, offline=offline)
        planned = drafted.finish(config)
        return planned, recorded(early, planned.graph, store)
    from immutable.build import remote_cache

    planned = drafted.finish(config)
    with remote_cache.asking(caches, store, config, progress) as asked:
        made = realise_all(
            planned, planned.graph, store, config, progress, offline=offline, caches=asked
        )
    return planned, made


def _offer(
    planned: Plan,
    records: Records,
    place: RemoteCache,
    store: AbstractStore,
    config: Config,
    progress: Progress,
) -> None:
    """Share the layers that were packed here or elsewhere; those of other images are theirs."""
    from immutable.build import remote_cache as cache

    realisations = {
        record.realisation
        for platform, layers in planned.graph.platforms
        for layer, record in zip(layers, records[platform], strict=True)
        if not builder_of(layer).as_is
    }
    asked = asked_in(planned.graph, records, store)
    new = cache.offer_all(realisations, asked, place, store, config, progress)
    progress.note(f"{place}: {new} of {len(realisations)} layers are new there")


def _take_sources(graph: Graph, sources: AbstractStore, store: AbstractStore) -> None:
    jobs = graph.with_beside(lambda _: False)
    for digest in sorted({digest for job in jobs for digest in job.derivation.sources}):
        if sources.has_blob(digest) and not store.has_blob(digest):
            with sources.verified(digest) as blob, store.ingest() as copy:
                while piece := blob.read(_PIECE):
                    copy.write(piece)
                copy.commit(expected=digest, name=str(digest))
