"""A pinned image: its manifests and configs kept in the store, its layers brought there."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from attrs import define, field, frozen

from immutable.errors import ArchiveError, ImageError, SourceError
from immutable.net.attempts import Run, in_threads
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, ImageConfig, Manifest
from immutable.redact import cut
from immutable.store import layers

if TYPE_CHECKING:
    from immutable.builders.base import Scope
    from immutable.builders.image.places import Place
    from immutable.net.wanted import Wanted
    from immutable.oci.platforms import Platform
    from immutable.progress import Progress
    from immutable.store import AbstractStore
    from immutable.transports import GatheredImage, Source


@frozen
class PinnedLayer:
    """A layer of another image: its blob, and the digest of its tar."""

    blob: Descriptor
    diff_id: Digest


@frozen
class PlatformBase:
    """The image for one platform: the digest of its manifest, its config, its layers."""

    manifest: Digest
    config: ImageConfig
    layers: tuple[PinnedLayer, ...]


@define(eq=False)
class Pinned:
    """The image whose manifest or index has the digest `root`, at `place`.

    It fetches what it has told of (`immutable.net.wanted.Through`). One that was pickled has lost
    where it is looked at from, and which layers it has brought.
    """

    place: Place
    root: Descriptor
    scope: Scope | None
    _layers: dict[Digest, PinnedLayer] = field(factory=dict, init=False)
    _seen: set[PinnedLayer] = field(factory=set, init=False)

    def __getstate__(self) -> tuple[object, ...]:
        return self.place, self.root, self._layers

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.place, self.root, self._layers = state
        self.scope, self._seen = None, set()

    def seen_from(self, scope: Scope) -> Self:
        """Return it, looked at from `scope` if it has been pickled."""
        if self.scope is None:
            self.scope = scope
        return self

    def platforms(self, platforms: Sequence[Platform]) -> Mapping[Platform, PlatformBase]:
        """Return the image for each of `platforms`.

        Raises TransportError where there is none, ImageError for one that none can build upon,
        and SourceError when its documents are not in the store and nothing may be fetched.
        """
        assert self.scope is not None, "pickled"  # noqa: S101
        with documents(self.place, self.scope, self.root) as source:
            found = {platform: read(source, platform) for platform in platforms}
        for base in found.values():
            self._layers.update((layer.blob.digest, layer) for layer in base.layers)
        return found

    def bring(self, wanted: Sequence[Wanted], store: AbstractStore, progress: Progress) -> None:
        """Bring layers into `store`, each checked against its digest and its diffID on the way.

        Nothing is kept of a layer that does not hold.
        """
        assert self.scope is not None, "pickled"  # noqa: S101
        some = [self._layers[one.digest] for one in wanted]
        data = store.read_blob(self.root.digest) if store.has_blob(self.root.digest) else None
        with self.place.opened(self.scope, self.root, data) as source:
            _bring(some, source, store, progress, self.place.base_name)
        self._seen.update(some)

    def expect(self, layer: PinnedLayer, store: AbstractStore) -> None:
        """Raise unless the blob in `store` is that layer; one that was just brought is."""
        if layer in self._seen:
            return
        with store.verified(layer.blob.digest, layer.blob.size) as raw:
            layers.expect(raw, layer.blob, layer.diff_id, str(self.place))


# Documents


@contextmanager
def documents(place: Place, scope: Scope, root: Descriptor | None = None) -> Iterator[Source]:
    """Give the manifests and configs of the image of `root`, or of what `place` means now.

    Those that were read are kept in the store once the block ends well, and from then on need
    neither a registry nor an archive.
    """
    with ExitStack() as stack:

        def reach() -> Source:
            return stack.enter_context(place.opened(scope, root))

        if root is None:
            source = reach()
            given = _Documents(str(place), source.root, scope, lambda: source)
        else:
            given = _Documents(str(place), root, scope, reach, local=place.local)
            given.root = _typed(root, given)
        yield given
        for data in given.new.values():
            scope.store.put_blob(data)


@define
class _Documents:
    """A source of small blobs; `reach` opens the place of those that no store has.

    `new` are those that this store lacks.
    """

    where: str
    root: Descriptor
    scope: Scope
    reach: Callable[[], Source]
    local: bool = True
    new: dict[Digest, bytes] = field(factory=dict, init=False)
    _source: Source | None = field(default=None, init=False)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        data = self._data(descriptor)
        if len(data) != descriptor.size:
            raise ImageError(
                f"{self.where}: {descriptor.digest}: expected {descriptor.size} bytes, "
                f"found {len(data)}"
            )
        return io.BytesIO(data)

    def _data(self, descriptor: Descriptor) -> bytes:
        digest = descriptor.digest
        store, others = self.scope.store, self.scope.sources
        if digest in self.new:
            return self.new[digest]
        if store.has_blob(digest):
            return store.read_blob(digest)
        if others is not None and others.has_blob(digest):
            self.new[digest] = others.read_blob(digest)
        else:
            self.new[digest] = self._fetched(descriptor)
        return self.new[digest]

    def _fetched(self, descriptor: Descriptor) -> bytes:
        from immutable.transports import base

        if self.scope.offline and not self.local:
            raise SourceError(f"{self.where}: offline, and {descriptor.digest} is not in the store")
        if self._source is None:
            self._source = self.reach()
        return base.read(self._source, descriptor)


def _typed(root: Descriptor, source: Source) -> Descriptor:
    """Return the bare `root` with its media type, as its bytes tell it."""
    from immutable.transports import base

    where = f"{source.where}: {root.digest}"
    data = base.read(source, root)
    media_type = oci.INDEX if oci.is_index(data, where) else oci.MANIFEST
    return Descriptor(media_type, root.digest, root.size)


def read(source: Source, platform: Platform) -> PlatformBase:
    """Return the image that `source` has for `platform`.

    Raises TransportError if there is none, and ImageError for one that none can build upon.
    """
    from immutable.transports.tree import expect_platform, gather

    image = gather(source, platform)
    expect_platform(image, platform)
    document = image.documents[0]
    manifest = document.value
    assert isinstance(manifest, Manifest)  # noqa: S101 - one platform's
    where = f"{source.where}: {document.descriptor.digest}"
    if oci.family(manifest.config.media_type) != oci.CONFIG:
        raise ImageError(
            f"{where}: config.mediaType: expected an image's config, found "
            f"{cut(manifest.config.media_type, 80)}"
        )
    config = oci.decode_config(
        image.read(manifest.config), f"{source.where}: {manifest.config.digest}"
    )
    if len(manifest.layers) != len(config.diff_ids):
        raise ImageError(
            f"{where}: {len(manifest.layers)} layers, but {len(config.diff_ids)} diffIDs"
        )
    _check_layers(canonical.decode(document.data)["layers"], where)
    pairs = zip(manifest.layers, config.diff_ids, strict=True)
    return PlatformBase(
        document.descriptor.digest,
        config,
        tuple(PinnedLayer(_typed_by_oci(blob), diff) for blob, diff in pairs),
    )


def _typed_by_oci(blob: Descriptor) -> Descriptor:
    return Descriptor(oci.family(blob.media_type), blob.digest, blob.size)


def _check_layers(found: Sequence[Mapping[str, Any]], where: str) -> None:
    for number, layer in enumerate(found):
        place = f"{where}: layers[{number}]"
        if oci.family(layer["mediaType"]) not in oci.LAYERS:
            raise ImageError(
                f"{place}.mediaType: expected a tar, plain, gzip or zstd, to build upon; found "
                f"{cut(layer['mediaType'], 80)}"
            )
        if layer.get("urls"):
            raise ImageError(
                f"{place}.urls: found {cut(repr(layer['urls']), 80)}; layers are taken from the "
                "image's own place alone"
            )


# Layers


def _bring(
    some: Sequence[PinnedLayer], source: Source, store: AbstractStore, progress: Progress, name: str
) -> None:
    from immutable.transports.base import GatheredImage, ending_with
    from immutable.transports.sending import WORKERS, Locked, patiently

    total = sum(layer.blob.size for layer in some)
    what = f"{len(some)} layers" if len(some) > 1 else "a layer"
    run = Run()
    with (
        ending_with(source, run) as ending,
        progress.task(f"fetching {what} of {name}", total) as advance,
    ):

        def told(amount: int) -> None:
            run.check()
            advance(amount)

        image = GatheredImage(ending, (), ()).counted(Locked(told))

        def work(layer: PinnedLayer, _: Run) -> None:
            # Once more if wrong bytes came from where right ones may yet come from.
            patiently(image.source, lambda: _take(layer, image, store))

        ordered = sorted(some, key=lambda layer: -layer.blob.size)
        in_threads(work, ordered, min(WORKERS, len(ordered)), run)


def _take(layer: PinnedLayer, image: GatheredImage, store: AbstractStore) -> None:
    from immutable.transports.base import pieces

    with image.open(layer.blob) as raw, store.ingest() as blob:
        try:
            layers.take(raw, blob, layer.blob, layer.diff_id, image.source.where)
        except ArchiveError:
            # If they are not the pinned bytes at all, that is what there is to say of them.
            for _ in pieces(raw):
                pass
            raise
