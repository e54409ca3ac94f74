"""What a store is: the interface that everything above is written against."""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import BinaryIO, Final, NoReturn, Self

from attrs import frozen

from immutable.errors import ImageNotFound, StoreError, TagTaken
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Index
from immutable.reference.store import Reference
from immutable.spec.derivation import Realisation
from immutable.store.closure import MAX_DOCUMENT, Marker, Need
from immutable.store.memos import Memos
from immutable.store.names import no_such_generation, no_such_tag, not_found
from immutable.store.streams import Ingest

NOTHING: Final[Mapping[str, Collection[int]]] = MappingProxyType({})

USE_RESOLUTION: Final = 3600  # seconds: how exactly the times of last use are kept

Signature = tuple[int, int, int, int]
Stats = Mapping[bytes, tuple[Signature, Digest]]


@frozen
class Chunk:
    """Where the encoded bytes of a chunk stand: `length` bytes at `offset` of a blob.

    `frame` is the digest of those encoded bytes: whoever copies them checks them.
    """

    blob: Digest
    offset: int
    length: int
    frame: Digest


@frozen
class Generation:
    """One numbered version of the image `name`.

    `descriptor` is that of its manifest or index; `created` is in UTC; `tags` are those that
    stand on it now, sorted; `current` says whether the bare name means this one. One that is
    `pinned` is not forgotten.
    """

    name: str
    number: int
    descriptor: Descriptor
    created: datetime
    tags: tuple[str, ...] = ()
    current: bool = False
    pinned: bool = False


@frozen
class Swept:
    """What a sweep removed, or would remove: blobs, each with its size in bytes; records."""

    blobs: tuple[tuple[Digest, int], ...]
    realisations: int
    sources: int
    chunks: int

    @property
    def bytes(self) -> int:
        """The sum of the blobs' sizes."""
        return sum(size for _, size in self.blobs)


@frozen
class StoreInfo:
    """How much a store holds; `bytes` is the sum of the blobs' sizes. `root` is None in memory."""

    root: Path | None
    blobs: int
    bytes: int
    images: int
    generations: int
    realisations: int
    chunks: int
    sources: int = 0


class AbstractStore(Memos, abc.ABC):
    """Blobs by digest, what is known about them, and images by name.

    A store may be used by many threads at once. It is a context manager that closes itself.
    Descriptors come back as media type, digest and size: annotations and the platform belong
    to where a descriptor stands, not to what it refers to.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what the store holds open."""

    # Blobs

    @abc.abstractmethod
    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there. Its bytes are not looked at."""

    @abc.abstractmethod
    def blob_size(self, digest: Digest) -> int:
        """Return the blob's length in bytes; raise BlobMissing if it is not there."""

    @abc.abstractmethod
    def open_blob(self, digest: Digest) -> BinaryIO:
        """Open the blob as a seekable file whose bytes nobody has verified.

        Raises BlobMissing.
        """

    @abc.abstractmethod
    def verified(self, digest: Digest, size: int | None = None) -> AbstractContextManager[BinaryIO]:
        """Open the blob as a stream that verifies what it gives.

        DigestMismatch, naming the blob's place, comes with the read that would give the last
        byte, with the first read beyond `size` bytes, or at the end of the block for bytes
        that the block did not read. Raises BlobMissing.
        """

    @abc.abstractmethod
    def read_blob(self, digest: Digest, limit: int = MAX_DOCUMENT) -> bytes:
        """Return the verified bytes of a blob of at most `limit` bytes.

        Raises BlobMissing, DigestMismatch, and StoreError for a longer one.
        """

    def read_range(self, digest: Digest, offset: int, length: int) -> bytes:
        """Return `length` bytes at `offset` of a blob, which nobody has verified.

        Raises BlobMissing, and StoreError where the blob ends before.
        """
        with self.open_blob(digest) as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) != length:
            raise StoreError(
                f"blob {digest}: expected {length} bytes at {offset}, found {len(data)}; "
                "it is damaged: remove the blob's file and build again"
            )
        return data

    def put_blob(self, data: bytes) -> Digest:
        """Keep `data` as a blob; return its digest. Raises StoreError when the disk refuses."""
        with self.ingest() as blob:
            blob.write(data)
            return blob.commit()[0]

    @abc.abstractmethod
    def ingest(self) -> AbstractContextManager[Ingest]:
        """Begin a blob; nothing is left of it if the block ends without a commit."""

    @abc.abstractmethod
    def scratch(self) -> AbstractContextManager[BinaryIO]:
        """Give an empty nameless file, open for reading and writing, gone after the block."""

    # What is known about blobs: may be forgotten at any time, costs only time

    @abc.abstractmethod
    def find_realisation(
        self, derivation: Digest, answers: Digest, encoder: str
    ) -> Realisation | None:
        """Return what the derivation gave over these answers, if its blob is there in its size."""

    @abc.abstractmethod
    def has_realisation(self, derivation: Digest) -> bool:
        """Whether a realisation is recorded, for whatever answers and encoder."""

    @abc.abstractmethod
    def record_realisation(self, realisation: Realisation) -> None:
        """Remember a realisation; a newer one for the same key replaces it.

        It is of use now, as it is whenever it is found. Raises BlobMissing if its blob is not
        there.
        """

    @abc.abstractmethod
    def record_sources(self, digests: Iterable[Digest]) -> None:
        """Record that these blobs were fetched and are used now; missing ones are skipped.

        So a sweep knows them from garbage. Fails only where a blob could not be put either.
        """

    def find_chunk(self, digest: Digest, encoder: str) -> Chunk | None:
        """Return where a chunk stands encoded, if its blob still reaches so far.

        `digest` is that of the chunk's bytes before encoding.
        """
        return self.find_chunks((digest,), encoder).get(digest)

    @abc.abstractmethod
    def find_chunks(self, digests: Iterable[Digest], encoder: str) -> dict[Digest, Chunk]:
        """Return those of the chunks that `find_chunk` would find."""

    @abc.abstractmethod
    def record_chunks(self, encoder: str, chunks: Mapping[Digest, Chunk]) -> None:
        """Remember where chunks stand, all or none; newer places replace older ones."""

    @abc.abstractmethod
    def load_stats(self, root: bytes) -> dict[bytes, tuple[Signature, Digest]]:
        """Return the stat cache of the tree `root`: path → (signature, content digest).

        A signature is (size in bytes, mtime in ns, ctime in ns, inode).
        """

    @abc.abstractmethod
    def save_stats(self, root: bytes, rows: Stats) -> None:
        """Make `rows` the whole stat cache of the tree `root`.

        Rows with a number beyond 64 bits are left out; a store that can only be read stays
        as it is, silently: the cache is only a matter of time.
        """

    # Images

    @abc.abstractmethod
    def commit_generation(
        self,
        name: str,
        descriptor: Descriptor,
        *,
        tags: Sequence[str] = (),
        created: datetime,
        replace_tags: bool = True,
    ) -> Generation:
        """Make `descriptor` the current generation of `name`, and put `tags` on it.

        The digest that is current already makes no new generation, but its tags still move.
        Numbers start at 1 and are never given again. Raises BlobMissing if the manifest is
        not there, StoreError for names and tags that cannot be, ValueError for a `created`
        without a time zone; without `replace_tags` TagTaken for tags of another digest.
        """

    @abc.abstractmethod
    def generations(self, name: str) -> tuple[Generation, ...]:
        """Return the generations of `name`, oldest first; raise ImageNotFound."""

    @abc.abstractmethod
    def images(self) -> tuple[Generation, ...]:
        """Return the current generation of every image, by name."""

    @abc.abstractmethod
    def set_current(self, name: str, number: int) -> Generation:
        """Make generation `number` of `name` the current one; raise ImageNotFound."""

    @abc.abstractmethod
    def tag(self, name: str, tag: str, digest: Digest, *, replace: bool = True) -> Generation:
        """Put `tag` on the newest generation of `name` with `digest`; raise ImageNotFound.

        Without `replace`, raises TagTaken for a tag of another digest.
        """

    def expect_tags(self, name: str, tags: Collection[str], digest: Digest) -> None:
        """Raise TagTaken if one of `tags` of `name` is on another digest than `digest`."""
        try:
            generations = self.generations(name)
        except ImageNotFound:
            return
        held = {tag: one.descriptor.digest for one in generations for tag in one.tags}
        expect_free(name, held, tags, digest)

    @abc.abstractmethod
    def untag(self, name: str, tag: str) -> None:
        """Take `tag` away from `name`; raise ImageNotFound if there is none."""

    @abc.abstractmethod
    def pin(self, name: str, number: int, *, pinned: bool = True) -> Generation:
        """Pin generation `number` of `name`, or let go of it; raise ImageNotFound."""

    @abc.abstractmethod
    def forget(self, name: str, numbers: Iterable[int]) -> None:
        """Remove generations of `name`, all or none, with the tags that stand on them alone.

        Their blobs stay until a sweep; their numbers are never given again. Raises StoreError
        for one that is current or pinned, ImageNotFound for one that is not there.
        """

    @abc.abstractmethod
    def references(self) -> dict[str, Descriptor]:
        """Return everything that has a name: reference as `index.json` writes it → descriptor.

        With those that other tools put there.
        """

    def resolve(self, reference: str) -> Descriptor:
        """Return the descriptor that `reference` means.

        A reference is ``name`` (its current generation), ``name:tag``, ``name@3`` (its
        generation 3), ``name@sha256:…`` (one of its generations, or a manifest in one),
        ``sha256:…`` (any manifest or index in the store), or exactly what another tool wrote
        into `index.json`. Raises ImageNotFound with what there is instead.
        """
        parsed = Reference.parse(reference)
        found = None if parsed is None else self._generation(parsed)
        if found is not None:
            return found.descriptor
        known = self.references()  # all of index.json: not read where it can be spared
        if reference in known:
            return known[reference]
        if reference.startswith("sha256:"):
            return self._manifest(reference, known)
        if parsed is None or parsed.name not in known:
            raise not_found(reference, (name for name in known if "@" not in name))
        if parsed.digest is not None:
            return self._listed(parsed, parsed.digest)
        return self._missing(parsed)

    @abc.abstractmethod
    def lease(self) -> AbstractContextManager[None]:
        """Spare, for the block, every blob that is found or put through this store.

        Of a manifest or index, all that it refers to is spared too. Leases of several threads
        are one; it ends with the last of them, or with the process.
        """

    @abc.abstractmethod
    def sweep(
        self,
        *,
        caches: bool = True,
        max_size: int | None = None,
        spent: Collection[Digest] = frozenset(),
        dry_run: bool = False,
        forgotten: Mapping[str, Collection[int]] = NOTHING,
    ) -> Swept:
        """Remove every blob that nothing needs, and what is known about it.

        Needed is what a generation, a tag, a name that another tool gave, or a live lease
        refers to, directly or through indexes and manifests; and a manifest whose `subject` is
        needed, with what it refers to in turn.

        Blobs that only a realisation or a source accounts for are caches: they spare a build or
        a fetch. With `caches` they stay, save that the least recently used go until all blobs
        together have at most `max_size` bytes; without, all of them go. Those that are `spent`
        go in any case: the blobs of images that were given up, say.

        Memos that can be of no more use go too, and are not counted.

        A `dry_run` changes nothing. It may take generations as `forgotten`: numbers by name.
        Raises StoreError where a needed manifest is damaged: what it refers to is not known.
        """

    def closure(self, root: Descriptor) -> dict[Digest, int]:
        """Return the blobs that the image `root` is made of, with their sizes; itself included.

        What is not there is left out.
        """
        marker = Marker(self)
        marker.mark([Need.of(root)])
        return {digest: self.blob_size(digest) for digest in marker.live if self.has_blob(digest)}

    @abc.abstractmethod
    def info(self) -> StoreInfo:
        """Return how much there is."""

    def _expect_blob(self, descriptor: Descriptor) -> None:
        """Raise BlobMissing or StoreError unless the blob is there in its size."""
        found = self.blob_size(descriptor.digest)
        if found != descriptor.size:
            raise StoreError(
                f"blob {descriptor.digest}: expected {descriptor.size} bytes, found {found}"
            )

    def _manifest(self, reference: str, known: Mapping[str, Descriptor]) -> Descriptor:
        """Return the descriptor of a manifest or index that need not have a name."""
        try:
            digest = Digest.parse(reference)
        except ValueError as error:
            raise ImageNotFound(f"{reference}: {error}") from None
        for descriptor in known.values():
            if descriptor.digest == digest:
                return descriptor
        if not self.has_blob(digest):
            raise ImageNotFound(f"{reference}: no such manifest or index in the store")
        size = self.blob_size(digest)
        media_type = _manifest_type(self.read_blob(digest)) if size <= MAX_DOCUMENT else None
        if media_type is None:
            raise ImageNotFound(f"{reference}: expected a manifest or index, found another blob")
        return Descriptor(media_type, digest, size)

    def _generation(self, reference: Reference) -> Generation | None:
        """Return the newest of the image's generations that `reference` means, or None."""
        try:
            generations = self.generations(reference.name)
        except ImageNotFound:
            return None
        for generation in reversed(generations):
            if reference.digest is not None:
                meant = generation.descriptor.digest == reference.digest
            elif reference.number is not None:
                meant = generation.number == reference.number
            elif reference.tag is not None:
                meant = reference.tag in generation.tags
            else:
                meant = generation.current
            if meant:
                return generation
        return None

    def _listed(self, reference: Reference, digest: Digest) -> Descriptor:
        """Return the manifest that the index of one of the image's generations lists."""
        for generation in reversed(self.generations(reference.name)):
            root = generation.descriptor
            index = read_index(self, root) if self.has_blob(root.digest) else None
            for listed in () if index is None else index.children:
                if listed.digest == digest:
                    return listed.bare()
        raise ImageNotFound(f"{reference}: in no generation of {reference.name}")

    def _missing(self, reference: Reference) -> NoReturn:
        generations = self.generations(reference.name)
        if reference.tag is not None:
            tags = {tag for generation in generations for tag in generation.tags}
            raise no_such_tag(reference.name, reference.tag, tags)
        numbers = [generation.number for generation in generations]
        raise no_such_generation(reference.name, reference.number or 0, numbers)


def read_index(store: AbstractStore, root: Descriptor) -> Index | None:
    """Return the index that an image's `root` is; None if it is one platform's manifest."""
    if oci.family(root.media_type) != oci.INDEX:
        return None
    return oci.decode_index(store.read_blob(root.digest), str(root.digest))


def in_utc(created: datetime) -> datetime:
    """Return `created` in UTC; raise ValueError if it has no time zone."""
    if created.tzinfo is None:
        raise ValueError(f"created: expected a time with a time zone, found {created.isoformat()}")
    return created.astimezone(UTC)


def expect_free(
    name: str, held: Mapping[str, Digest], tags: Collection[str], digest: Digest
) -> None:
    """Raise TagTaken if one of `tags` is on another digest than `digest`, by what `held` says."""
    for tag in tags:
        if held.get(tag, digest) != digest:
            reference = f"store:{Reference(name, tag=tag)}"
            raise TagTaken(reference, holds=held[tag], wanted=digest)


def _manifest_type(data: bytes) -> str | None:
    """Return the media type of the manifest or index in `data`; None for anything else."""
    try:
        document = canonical.decode(data)
    except ValueError:
        return None
    if not isinstance(document, dict) or not {"manifests", "layers"} & document.keys():
        return None
    media_type = document.get("mediaType", oci.INDEX if "manifests" in document else oci.MANIFEST)
    known = isinstance(media_type, str) and oci.family(media_type) in (oci.INDEX, oci.MANIFEST)
    return media_type if known else None
