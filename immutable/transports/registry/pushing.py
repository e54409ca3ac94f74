"""Putting an image into a repository: blobs side by side, then manifests by digest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from attrs import field, frozen

from immutable.errors import RegistryError
from immutable.net.attempts import Run, in_threads
from immutable.oci.digest import Digest
from immutable.oci.documents import BASE_NAME, Descriptor
from immutable.progress import HighWaterMark, Progress
from immutable.reference.registry import RegistryName
from immutable.transports.base import Document, GatheredImage, ending_with
from immutable.transports.registry.client import Client
from immutable.transports.registry.documents import subject
from immutable.transports.registry.lists import put_referrer
from immutable.transports.sending import WORKERS, Locked, largest_first, patiently

_UNKNOWN = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})


@frozen
class Push:
    """An image on its way into the repository of `client`.

    `known` says in which other repositories of the registry blobs are.
    """

    image: GatheredImage
    client: Client
    known: Mapping[Digest, str] = field(factory=dict)

    def run(self, progress: Progress) -> None:
        """Put everything there, the root last; the image has no name but its digest then."""
        total = sum(blob.size for blob in self.image.blobs)
        with progress.task(f"copying {self.image.source.where}", total) as advance:
            self._blobs(self.image.blobs, Locked(advance))
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
        run = Run()
        ordered = largest_first(blobs)
        with self.client.ending_with(run) as client, ending_with(self.image.source, run) as source:

            def work(blob: Descriptor, _: Run) -> None:
                if not anew and client.has_blob(blob):
                    advance(blob.size)
                    return
                mount = "" if anew else self.known.get(blob.digest, "")
                mark = HighWaterMark(advance)
                patiently(
                    source, lambda: client.upload(source, blob, _from_start(mark), mount=mount)
                )

            if ordered:
                in_threads(work, ordered, min(WORKERS, len(ordered)), run)

    def _manifests(self) -> None:
        """Put all manifests, each after what it refers to, by their digests."""
        for document in reversed(self.image.documents):
            if subject(document.data) is None:
                self.client.put_manifest(document.descriptor, document.data)
            else:
                put_referrer(self.client, document.descriptor, document.data)


def _from_start(mark: HighWaterMark) -> Callable[[int], None]:
    """Return what to tell of each further amount of one more try."""
    reached = 0

    def advance(amount: int) -> None:
        nonlocal reached
        reached += amount
        mark.reach(reached)

    return advance


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
