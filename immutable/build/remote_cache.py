"""The remote cache: realisations shared through a registry, as Nix's binary caches do it.

What it holds are entries: realisations with their layers, and the paths that layers ask about,
without which nobody could tell what to look for. Any registry holds them, and any tool can copy or
delete them. What is found is taken only on the word of a key that this user trusts, and only with
the bytes that the record promises; everything else is as if it were not there, with a warning, and
the layer is built.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, Final, TypeVar

from attrs import define, field, frozen

from immutable.attest.signing import QuestionList, Statement, sign, vouches
from immutable.build import cache_entries as entries
from immutable.build.cache_entries import Kind
from immutable.config import Config
from immutable.content.placing import Footprint
from immutable.errors import BlobMissing, ImmutableError, RegistryError, StoreError, TransportError
from immutable.net.attempts import Run, in_threads
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.progress import Progress
from immutable.spec.derivation import Realisation
from immutable.spec.keys import PublicKey, SecretKey
from immutable.store import AbstractStore, layers
from immutable.transports.registry.client import UNTOLD, Client
from immutable.transports.registry.transport import RegistryImage
from immutable.transports.sending import WORKERS, Locked

# Answers that say nothing about other entries; after any else the cache is asked no more.
_OF_ONE_ENTRY: Final = frozenset({400, 404, 410})

S = TypeVar("S", bound=Statement)
T = TypeVar("T")


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
        return self._vouched(entries.layer_tag(derivation, answers, encoder), entries.REALISATIONS)

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

    def questions(self, asked: Digest, store: AbstractStore) -> Footprint | None:
        """Return what somebody trusted says that a layer asks about, recorded in `store` by then.

        None if nobody does. Raises what `find` does.
        """
        found = self._vouched(entries.questions_tag(asked), entries.QUESTION_LISTS)
        if found is None:
            return None
        data = self.client.read_blob(found.blob, most=entries.MOST_QUESTIONS)
        try:
            footprint = Footprint.decode(data)
        except ValueError as error:
            name = f"{self.client.where}: blob {found.blob.digest}"
            raise TransportError(f"{name}: {error}") from None
        store.record_questions(asked, data)
        return footprint

    def _vouched(self, tag: str, kind: Kind[S]) -> S | None:
        """Return what somebody trusted states under `tag`."""
        found = entries.read(self.client, tag, kind)
        if found is None:
            return None
        statement, signatures = found
        if entries.tag_of(statement) != tag:
            raise TransportError(f"{self.client.where}: the entry of another derivation")
        if not any(
            vouches(key, statement, signature) for key in self.trusted for signature in signatures
        ):
            raise TransportError(
                f"{self.client.where}: an entry that no trusted key signed; `immutable key trust` "
                "adds one"
            )
        return statement


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
        if self._has(entries.tag_of(realisation), entries.REALISATIONS) == realisation:
            advance(realisation.blob.size)
            return False
        self._put(realisation, store, {}, advance)
        return True

    def offer_questions(self, asked: Digest, store: AbstractStore) -> None:
        """Put there what `store` knows to be asked about, unless it is there, signed by this key.

        Raises ImmutableError.
        """
        # Of one list there may be several encodings, and each is as good.
        if self._has(entries.questions_tag(asked), entries.QUESTION_LISTS) is not None:
            return
        data = store.find_questions(asked)
        if data is not None and len(data) <= entries.MOST_QUESTIONS:
            blob = Descriptor(entries.FOOTPRINT, Digest.of(data), len(data))
            self._put(QuestionList(asked, blob), store, {blob.digest: data})

    def _put(
        self,
        statement: Statement,
        store: AbstractStore,
        documents: Mapping[Digest, bytes],
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Put an entry there, of which the blob is in `store` or one of the `documents`."""
        tag = entries.tag_of(statement)
        config, record = entries.record(statement)
        where = f"{self.client.where}:{tag}"
        source = _Blobs(where, store, {config.digest: record, **documents})
        if self.client.has_blob(statement.blob):
            advance(statement.blob.size)
        else:
            self.client.upload(source, statement.blob, advance)
        if not self.client.has_blob(config):
            self.client.upload(source, config)
        manifest = entries.manifest(statement, [(self.key.name, sign(statement, self.key))])
        described = Descriptor(oci.MANIFEST, Digest.of(manifest), len(manifest))
        self.client.put_manifest(described, manifest, tag)

    def _has(self, tag: str, kind: Kind[S]) -> S | None:
        """Return what is stated under its `tag`, signed by this key."""
        try:
            found = entries.read(self.client, tag, kind)
        except RegistryError as error:
            if error.status in UNTOLD:
                return None
            raise
        except ImmutableError:
            return None
        if found is None or entries.tag_of(found[0]) != tag:
            return None
        public = self.key.public
        return found[0] if any(vouches(public, found[0], one) for one in found[1]) else None


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
    asked: Collection[Digest],
    cache: RemoteCache,
    store: AbstractStore,
    config: Config,
    progress: Progress,
) -> int:
    """Put realisations into `cache`, signed with the user's own key; return how many were new.

    With them go the paths that their layers ask about, as far as `store` knows them by what is
    `asked`. Raises ImmutableError: the entries that were put until then stay.
    """
    key = config.keys.secret()
    unique = {*realisations}
    if not unique:
        return 0
    run, new = Run(), list[Digest]()
    total = sum(one.blob.size for one in unique)
    with (
        progress.task(f"sharing layers with {cache}", total) as advance,
        cache.writing(key, run) as writer,
    ):
        told = Locked(advance)

        def work(one: Realisation | Digest, _: Run) -> None:
            if isinstance(one, Digest):
                writer.offer_questions(one, store)
            elif writer.offer(one, store, told):
                new.append(one.derivation)

        offered: list[Realisation | Digest] = [*unique, *asked]
        in_threads(work, offered, min(WORKERS, len(offered)), run)
    return len(new)


@define
class AskedCaches:
    """Several caches asked in turn, each until it cannot be reached; for many threads."""

    readers: list[CacheReader]
    store: AbstractStore
    progress: Progress
    run: Run
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def halt(self) -> None:
        """Ask no more, and wake every thread that waits for an answer: it ends by HaltedError."""
        self.run.halt()

    def questions(self, asked: Digest) -> Footprint | None:
        """Return the paths that a layer asks about, which are in the store by then.

        `asked` is the digest of its derivation and of what its builder was answered.
        """
        return self._first(lambda reader: reader.questions(asked, self.store))

    def take_all(
        self, derivations: Sequence[Digest], answers: Digest, encoder: str
    ) -> list[Realisation]:
        """Return what the caches have of the derivations, in the store by then."""
        taken: list[Realisation] = []

        def work(derivation: Digest, _: Run) -> None:
            found = self._first(lambda reader: self._take(reader, derivation, answers, encoder))
            if found is not None:
                taken.append(found)

        if derivations:
            # That these are done is no reason to give up what other layers ask.
            in_threads(work, [*derivations], min(WORKERS, len(derivations)), Run())
            self.run.check()
        return taken

    def _take(
        self, reader: CacheReader, derivation: Digest, answers: Digest, encoder: str
    ) -> Realisation | None:
        found = reader.find(derivation, answers, encoder)
        if found is not None:
            reader.fetch(found, self.store, self.progress)
        return found

    def _first(self, ask: Callable[[CacheReader], T | None]) -> T | None:
        """Return what the first cache gives that gives something."""
        for reader in tuple(self.readers):
            try:
                found = ask(reader)
            except ImmutableError as error:
                if isinstance(error, StoreError) and not isinstance(error, BlobMissing):
                    raise  # ours, not the cache's
                self._told(reader, error)
            else:
                if found is not None:
                    return found
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
