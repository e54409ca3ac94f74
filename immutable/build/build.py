"""The verb `build`: a spec to an image in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

from immutable.build.ahead import make_ahead, record_ahead
from immutable.build.kinds import builder_of
from immutable.build.loading import spec_of
from immutable.build.plan import Plan, draft
from immutable.build.publish import publish
from immutable.build.results import Image
from immutable.build.schedule import Record, realise_all
from immutable.config import Config
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.progress import SILENT, Progress
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
        # Ask the remote cache before packing. It is asked by digest, so files are hashed first.
        ahead = None if cache_from else make_ahead(drafted, store, config, progress)
        planned = drafted.finish(config)
        new = record_ahead(ahead, planned, store)
        if sources is not None:
            _take_sources(planned, sources, store)
        records = realise_all(
            planned, store, config, progress, offline=offline, new=new, caches=cache_from
        )
        image = publish(planned, records, store)
        if cache_to is not None:
            _offer(planned, records, cache_to, store, config, progress)
        return image


def _offer(
    planned: Plan,
    records: Mapping[Digest, Record],
    place: RemoteCache,
    store: AbstractStore,
    config: Config,
    progress: Progress,
) -> None:
    """Share the layers that were packed here or elsewhere; those of other images are theirs."""
    from immutable.build import remote_cache as cache

    own = {layer.digest for layer in planned.graph if not builder_of(layer).as_is}
    realisations = [records[digest].realisation for digest in own]
    new = cache.offer_all(realisations, place, store, config, progress)
    progress.note(f"{place}: {new} of {len(realisations)} layers are new there")


def _take_sources(planned: Plan, sources: AbstractStore, store: AbstractStore) -> None:
    for digest in sorted(
        {digest for layer in planned.graph for digest in layer.derivation.sources}
    ):
        if sources.has_blob(digest) and not store.has_blob(digest):
            with sources.verified(digest) as blob, store.ingest() as copy:
                while piece := blob.read(_PIECE):
                    copy.write(piece)
                copy.commit(expected=digest, name=str(digest))
