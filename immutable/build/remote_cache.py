"""The remote cache: realisations shared through a registry, as Nix's binary caches do it.

Each is a manifest of its own, under a tag made from the derivation's digest and the encoder: its
one layer is the realisation's blob, its config the record, its annotation the signatures. Any
registry holds it, and any tool can copy or delete it. What is found is taken only on the word of a
key that this user trusts, and only with the bytes that the record promises; everything else is as
if it were not there, with a warning, and the layer is built.
"""

from __future__ import annotations

import base64
import binascii
import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, Final

from attrs import define, field, frozen

from immutable.attest.signing import sign, vouches
from immutable.config import Config
from immutable.errors import BlobMissing, ImmutableError, RegistryError, StoreError, TransportError
from immutable.net.attempts import Run, in_threads
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Manifest
from immutable.progress import Progress
from immutable.spec.derivation import Realisation
from immutable.spec.keys import PublicKey, SecretKey
from immutable.store import AbstractStore, layers
from immutable.transports.registry.client import UNTOLD, Client
from immutable.transports.registry.transport import RegistryImage
from immutable.transports.sending import WORKERS, Locked

RECORD: Final = "application/vnd.immutable.realisation.v2+json"
SIGNATURES: Final = "immutable.signatures"  # "NAME:BASE64", several apart by blanks
_KEYS: Final = frozenset({"answers", "derivation", "diffID", "encoder"})
_MOST_SIGNATURES: Final = 32
# Answers that say nothing about other entries; after any else the cache is asked no more.
_OF_ONE_ENTRY: Final = frozenset({400, 404, 410})


@frozen
class RemoteCache:
    """A repository of a registry that holds realisations."""

    place: RegistryImage

    @classmethod
    def parse(cls, reference: str, config: Config) -> RemoteCache:
        """Return the cache at ``docker://HOST/NAME``; raise TransportError for anything else."""
        from immutable import transports

        place = transports.parse(reference, registries=config.registries)
        if not isinstance(place, RegistryImage) or place.name.tag or place.name.digest:
            raise TransportError(f"{reference}: expected a cache like docker://HOST/NAME")
        return cls(place)

    def __str__(self) -> str:
        return str(self.place)

    @contextmanager
    def reading(self, trusted: Iterable[PublicKey], run: Run) -> Iterator[CacheReader]:
        """Give the cache to take from, on the word of `trusted`, until `run` is given up."""
        with self.place.client() as client, client.ending_with(run) as ending:
            yield CacheReader(ending, tuple(trusted))

    @contextmanager
    def writing(self, key: SecretKey, run: Run) -> Iterator[CacheWriter]:
        """Give the cache to put into, signed with `key`, until `run` is given up."""
        with self.place.client("pull,push") as client, client.ending_with(run) as ending:
            yield CacheWriter(ending, key)


@frozen
class CacheReader:
    """A cache that can be asked; for many threads."""

    client: Client
    trusted: tuple[PublicKey, ...]

    def find(self, derivation: Digest, answers: Digest, encoder: str) -> Realisation | None:
        """Return what somebody trusted says that the derivation gave; None if nobody does.

        Raises ImmutableError for an entry that is damaged, foreign, or signed by nobody who is
        trusted, and for a registry that cannot be asked.
        """
        found = _entry(self.client, _tag(derivation, answers, encoder))
        if found is None:
            return None
        realisation, signatures = found
        present = (realisation.derivation, realisation.answers, realisation.encoder)
        if present != (derivation, answers, encoder):
            raise TransportError(f"{self.client.where}: the entry of another derivation")
        if not any(
            vouches(key, realisation, signature) for key in self.trusted for signature in signatures
        ):
            raise TransportError(
                f"{self.client.where}: an entry that no trusted key signed; `immutable key trust` "
                "adds one"
            )
        return realisation

    def fetch(self, realisation: Realisation, store: AbstractStore, progress: Progress) -> None:
        """Bring the realisation's layer into `store`, and record it there.

        Raises ImmutableError if the bytes are not those that the record promises.
        """
        blob = realisation.blob
        label = f"fetching layer {blob.digest.short}"
        with (
            progress.task(label, blob.size) as advance,
            self.client.open_blob(blob) as raw,
            store.ingest() as into,
        ):
            layers.take(raw, into, blob, realisation.diff_id, self.client.where, advance)
        store.record_realisation(realisation)


@frozen
class CacheWriter:
    """A cache that can be added to; for many threads."""

    client: Client
    key: SecretKey

    def offer(
        self,
        realisation: Realisation,
        store: AbstractStore,
        advance: Callable[[int], None] = lambda _: None,
    ) -> bool:
        """Put a realisation there with its layer, unless it is there; say whether it was not.

        An entry that says otherwise, or is not signed by this key, is replaced. `advance` is told
        of the layer's bytes. Raises ImmutableError.
        """
        tag = _tag(realisation.derivation, realisation.answers, realisation.encoder)
        if self._has(tag, realisation):
            advance(realisation.blob.size)
            return False
        record = canonical.encode(_plain(realisation))
        config = Descriptor(RECORD, Digest.of(record), len(record))
        source = _Blobs(f"{self.client.where}:{tag}", store, {config.digest: record})
        if self.client.has_blob(realisation.blob):
            advance(realisation.blob.size)
        else:
            self.client.upload(source, realisation.blob, advance)
        if not self.client.has_blob(config):
            self.client.upload(source, config)
        signature = base64.b64encode(sign(realisation, self.key)).decode()
        manifest = Manifest(
            config, (realisation.blob,), {SIGNATURES: f"{self.key.name}:{signature}"}
        ).encode()
        described = Descriptor(oci.MANIFEST, Digest.of(manifest), len(manifest))
        self.client.put_manifest(described, manifest, tag)
        return True

    def _has(self, tag: str, realisation: Realisation) -> bool:
        try:
            found = _entry(self.client, tag)
        except RegistryError as error:
            if error.status in UNTOLD:
                return False
            raise
        except ImmutableError:
            return False
        if found is None or found[0] != realisation:
            return False
        public = self.key.public
        return any(vouches(public, realisation, signature) for signature in found[1])


@frozen
class _Blobs:
    """The blobs of a store and some in memory, for uploads."""

    where: str
    store: AbstractStore
    documents: Mapping[Digest, bytes]

    @property
    def root(self) -> Descriptor:
        raise NotImplementedError  # uploads ask for blobs alone

    def open(self, descriptor: Descriptor) -> BinaryIO:
        document = self.documents.get(descriptor.digest)
        if document is not None:
            return io.BytesIO(document)
        return self.store.open_blob(descriptor.digest)


@contextmanager
def asking(
    caches: Sequence[RemoteCache], store: AbstractStore, config: Config, progress: Progress
) -> Iterator[AskedCaches | None]:
    """Give the caches to take layers from into `store`; None if there is none to be trusted.

    The first cache that has an entry that can be taken counts. What is wrong with one is told as
    a warning, and a cache that cannot be reached is asked no more.
    """
    trusted = config.keys.trusted()
    if not trusted:
        progress.warn("no key is trusted, so nothing is taken from a cache; see `key trust`")
        yield None
        return
    run = Run()
    with ExitStack() as stack:
        readers = [stack.enter_context(cache.reading(trusted, run)) for cache in caches]
        yield AskedCaches(readers, store, progress, run)


def offer_all(
    realisations: Iterable[Realisation],
    cache: RemoteCache,
    store: AbstractStore,
    config: Config,
    progress: Progress,
) -> int:
    """Put realisations into `cache`, signed with the user's own key; return how many were new.

    Raises ImmutableError: the entries that were put until then stay.
    """
    key = config.keys.secret()
    unique = {(one.derivation, one.answers): one for one in realisations}
    if not unique:
        return 0
    run, new = Run(), list[Digest]()
    total = sum(one.blob.size for one in unique.values())
    with (
        progress.task(f"sharing layers with {cache}", total) as advance,
        cache.writing(key, run) as writer,
    ):
        told = Locked(advance)

        def work(realisation: Realisation, _: Run) -> None:
            if writer.offer(realisation, store, told):
                new.append(realisation.derivation)

        in_threads(work, [*unique.values()], min(WORKERS, len(unique)), run)
    return len(new)


@define
class AskedCaches:
    """Several caches asked in turn, each until it cannot be reached; for many threads."""

    readers: list[CacheReader]
    store: AbstractStore
    progress: Progress
    run: Run
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def questions(self, asked: Digest) -> bytes | None:  # noqa: ARG002
        """Return what a derivation asks, by the digest of it and of what is known already."""
        return None

    def take_all(
        self, derivations: Sequence[Digest], answers: Digest, encoder: str
    ) -> list[Realisation]:
        """Return what the caches have of the derivations, in the store by then."""
        taken: list[Realisation] = []

        def work(derivation: Digest, _: Run) -> None:
            found = self._take(derivation, answers, encoder)
            if found is not None:
                taken.append(found)

        if derivations:
            in_threads(work, [*derivations], min(WORKERS, len(derivations)), self.run)
        return taken

    def _take(self, derivation: Digest, answers: Digest, encoder: str) -> Realisation | None:
        for reader in tuple(self.readers):
            try:
                found = reader.find(derivation, answers, encoder)
                if found is not None:
                    reader.fetch(found, self.store, self.progress)
                    return found
            except ImmutableError as error:
                if isinstance(error, StoreError) and not isinstance(error, BlobMissing):
                    raise  # ours, not the cache's
                self._told(reader, error)
        return None

    def _told(self, reader: CacheReader, error: ImmutableError) -> None:
        if isinstance(error, RegistryError) and error.status not in _OF_ONE_ENTRY:
            with self._lock:
                if reader not in self.readers:
                    return  # said already, by another thread
                self.readers.remove(reader)
            self.progress.warn(f"the cache is asked no more: {error}")
        else:
            self.progress.warn(f"the cache is not used for a layer: {error}")


def _tag(derivation: Digest, answers: Digest, encoder: str) -> str:
    """Return the tag of an entry: 71 characters of the 128 that a tag may have."""
    key: list[canonical.JSON] = [str(derivation), str(answers), encoder]
    return f"layer-{Digest.of(canonical.encode(key)).hex}"


def _entry(client: Client, tag: str) -> tuple[Realisation, tuple[bytes, ...]] | None:
    """Return the record under `tag` and its signatures, of which nothing is checked yet."""
    try:
        _, data = client.manifest(tag)
    except RegistryError as error:
        if error.status == 404:
            return None
        raise
    where = f"{client.where}:{tag}"
    manifest = oci.decode_manifest(data, where)
    if manifest.config.media_type != RECORD or len(manifest.layers) != 1:
        raise TransportError(f"{where}: expected an entry of a cache, found another image")
    try:
        record = canonical.decode(client.read_blob(manifest.config))
        realisation = _realisation(record, manifest.layers[0])
        signatures = tuple(_signatures(dict(manifest.annotations).get(SIGNATURES, "")))
    except ValueError as error:
        raise TransportError(f"{where}: not a record of a realisation: {error}") from None
    return realisation, signatures


def _plain(realisation: Realisation) -> dict[str, canonical.JSON]:
    return {
        "derivation": str(realisation.derivation),
        "answers": str(realisation.answers),
        "encoder": realisation.encoder,
        "diffID": str(realisation.diff_id),
    }


def _realisation(record: Any, blob: Descriptor) -> Realisation:
    if not isinstance(record, dict) or record.keys() != _KEYS:
        raise ValueError(f"expected {', '.join(sorted(_KEYS))}")
    if not all(isinstance(value, str) for value in record.values()):
        raise ValueError("expected strings")
    return Realisation(
        Digest.parse(record["derivation"]),
        Digest.parse(record["answers"]),
        record["encoder"],
        Digest.parse(record["diffID"]),
        blob.bare(),
    )


def _signatures(text: str) -> Iterator[bytes]:
    for word in text.split()[:_MOST_SIGNATURES]:
        try:
            yield base64.b64decode(word.partition(":")[2], validate=True)
        except binascii.Error:
            continue  # as good as none
