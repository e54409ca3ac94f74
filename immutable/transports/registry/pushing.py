"""Putting an image into a repository: blobs side by side, then manifests by digest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from attrs import define, evolve, field, frozen

from immutable.digest import Digest
from immutable.errors import RegistryError
from immutable.oci import BASE_NAME, Descriptor
from immutable.progress import Progress
from immutable.sources.attempts import Run, in_threads
from immutable.transports.base import Document, Image
from immutable.transports.registry.client import Client
from immutable.transports.registry.connections import WORKERS
from immutable.transports.registry.documents import subject
from immutable.transports.registry.lists import put_referrer
from immutable.transports.registry.names import RegistryName
from immutable.transports.registry.session import Exchange
from immutable.transports.sending import patiently

_UNKNOWN = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})


@define(eq=False)
class _Cut:
    """What a run cuts when it is given up."""

    exchanges: tuple[Exchange, ...]

    def shutdown(self) -> None:
        for exchange in self.exchanges:
            exchange.shutdown()


@frozen
class Push:
    """An image on its way into the repository of `client`.

    `known` says in which other repositories of the registry blobs are; `feeding` is what the
    image itself comes out of, if that is a registry.
    """

    image: Image
    client: Client
    known: Mapping[Digest, str] = field(factory=dict)
    feeding: Exchange | None = None

    def run(self, progress: Progress) -> None:
        """Put everything there, the root last; the image has no name but its digest then."""
        total = sum(blob.size for blob in self.image.blobs)
        with progress.task(f"copying {self.image.source.where}", total) as advance:
            self._blobs(self.image.blobs, _Locked(advance))
            try:
                self._manifests()
            except RegistryError as error:
                if not error.codes & _UNKNOWN:
                    raise
                self._blobs(self.image.blobs, lambda _: None, anew=True)
                self._manifests()

    def _blobs(
        self, blobs: Iterable[Descriptor], advance: Callable[[int], None], *, anew: bool = False
    ) -> None:
        """Bring all blobs there; with `anew` also those that the registry says to have."""

        def work(blob: Descriptor, run: Run) -> None:
            exchanges = (self.client.exchange, *filter(None, [self.feeding]))
            with run.interruptible(_Cut(exchanges)):
                self._blob(evolve(self.client, run=run), blob, advance, anew=anew)

        # The large ones first, so that no single one is left at the end.
        ordered = sorted(blobs, key=lambda blob: -blob.size)
        if ordered:
            run = Run(self.client.sleep)
            in_threads(work, ordered, min(WORKERS, len(ordered)), run)

    def _blob(
        self, client: Client, blob: Descriptor, advance: Callable[[int], None], *, anew: bool
    ) -> None:
        if not anew and client.has_blob(blob):
            advance(blob.size)
            return
        mount = "" if anew else self.known.get(blob.digest, "")
        once = _Once(advance)
        patiently(
            self.image.source,
            lambda: client.upload(self.image.source, blob, once.begun(), mount=mount),
        )

    def _manifests(self) -> None:
        """Put all manifests, each after what it refers to, by their digests."""
        for document in reversed(self.image.documents):
            if subject(document.data) is None:
                self.client.put_manifest(document.descriptor, document.data)
            else:
                put_referrer(self.client, document.descriptor, document.data)


@define
class _Once:
    """Tells `advance` of what a second try brings beyond the first alone."""

    advance: Callable[[int], None]
    _shown: int = 0

    def begun(self) -> Callable[[int], None]:
        """Return what to tell of the bytes of one more try."""
        reached = 0

        def tell(amount: int) -> None:
            nonlocal reached
            reached += amount
            if reached > self._shown:
                self.advance(reached - self._shown)
                self._shown = reached

        return tell


class _Locked:
    """Tells `advance` of one thread's progress at a time."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance
        self._lock = threading.Lock()

    def __call__(self, amount: int) -> None:
        with self._lock:
            self._advance(amount)


def siblings(documents: Iterable[Document], name: RegistryName) -> dict[Digest, str]:
    """Return in which other repositories of the registry blobs may be, by what manifests say.

    An image names its base; what is not there after all is uploaded.
    """
    found: dict[Digest, str] = {}
    for document in documents:
        base = dict(document.value.annotations).get(BASE_NAME, "")
        try:
            other = RegistryName.parse(base)
        except ValueError:
            continue
        if other.host == name.host and other.repository != name.repository:
            layers = getattr(document.value, "layers", ())
            found.update((layer.digest, other.repository) for layer in layers)
    return found
