"""The transport ``docker://``: an image in a registry."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO, ClassVar

from attrs import evolve, field, frozen

from immutable.config import Config, Registries
from immutable.errors import ImageError, RegistryError, TransportError
from immutable.net.attempts import Run
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.reference.registry import RegistryName
from immutable.transports.base import Called, GatheredImage
from immutable.transports.registry.client import Client, Sleep
from immutable.transports.registry.pushing import Push, siblings
from immutable.transports.registry.tagging import Tagging
from immutable.transports.registry.uploads import SMALL


@frozen
class RegistryImage:
    """The image `name` in its registry; `registries` are this user's own settings if None.

    `known` says in which other repositories of the registry blobs are, to be mounted from
    there. `sleep` is given the seconds to wait between two attempts. As a destination it gets
    the tags `also` beside that of `name`; a tag that is on another image is refused, or with
    `replace_tag` moved.
    """

    name: RegistryName
    registries: Registries | None = field(default=None, eq=False, repr=False)
    known: Mapping[Digest, str] = field(factory=dict, eq=False, repr=False)
    sleep: Sleep | None = field(default=None, eq=False, repr=False)
    also: tuple[str, ...] = ()
    replace_tag: bool = False

    def __str__(self) -> str:
        return f"docker://{self.name}"

    def called(self) -> Called:
        """Return what the reference calls the image."""
        return Called(self.name.repository, self.name.tag)

    @contextmanager
    def open(self) -> Iterator[RegistrySource]:
        """Open the image that is there."""
        reference = self.name.digest or self.name.tag
        self._expect_reference()
        with self.client("pull") as client:
            try:
                root, data = client.manifest(reference)
            except RegistryError as error:
                if error.status == 404:
                    raise TransportError(f"{self}: there is no such image") from None
                raise
            yield RegistrySource(str(self), root, client, data)

    def takes(self) -> Platform | None:
        """Take all platforms."""
        self._expect_reference()
        return None

    def receive(self, image: GatheredImage, progress: Progress) -> None:
        """Put the image there: blobs, then manifests by digest, then the tags.

        Raises TagTaken, before anything is sent if it is known by then.
        """
        self._expect_reference()
        if self.name.digest not in (None, image.root.digest):
            raise TransportError(f"{self}: expected that digest, found {image.root.digest}")
        source = image.source if isinstance(image.source, RegistrySource) else None
        with self.client("pull,push") as client:
            tagging = Tagging(client, tuple(filter(None, self._tags())), self.replace_tag)
            tagging.missing(image.root.digest)
            Push(image, client, self._known(image, source)).run(progress)
            tagging.put(image.documents[0])

    def client(self, actions: str = "pull") -> AbstractContextManager[Client]:
        """Give a client of the image's repository; `actions` are those of token scopes."""
        registries = Config.load().registries if self.registries is None else self.registries
        return Client.connect(
            self.name.host, self.name.repository, registries, actions=actions, sleep=self.sleep
        )

    def references(self) -> tuple[str, ...]:
        """Return what the image is called here, once for each of its tags."""
        return tuple(str(evolve(self, name=evolve(self.name, tag=tag))) for tag in self._tags())

    def _tags(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.name.tag, *self.also)))

    def _known(self, image: GatheredImage, source: RegistrySource | None) -> Mapping[Digest, str]:
        found = siblings(image.documents, self.name)
        if source is not None and source.client.exchange.host == self.name.host:
            other = source.client.repository
            found.update((blob.digest, other) for blob in image.blobs)
        return {**found, **self.known}

    def _expect_reference(self) -> None:
        if not self.name.tag and self.name.digest is None:
            raise TransportError(
                f"{self}: say which: {self}:TAG or {self}@sha256:…; none is assumed"
            )


@frozen
class RegistrySource:
    """An image in a registry; what comes wrong from there may come right the next time."""

    where: str
    root: Descriptor
    client: Client
    data: bytes = field(repr=False)

    remote: ClassVar[bool] = True

    @contextmanager
    def ending_with(self, run: Run) -> Iterator[RegistrySource]:
        """Give this source as one whose connections are cut when `run` is given up."""
        with self.client.ending_with(run) as client:
            yield evolve(self, client=client)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob or a manifest; small ones come verified."""
        if descriptor.digest == self.root.digest:
            return io.BytesIO(self.data)
        if oci.family(descriptor.media_type) in (oci.INDEX, oci.MANIFEST):
            found, data = self.client.manifest(descriptor.digest)
            if found.media_type != descriptor.media_type:
                raise ImageError(
                    f"{self.where}: {descriptor.digest}: expected {descriptor.media_type}, the "
                    f"registry says {found.media_type}"
                )
            return io.BytesIO(data)
        if descriptor.size <= SMALL:
            return io.BytesIO(self.client.read_blob(descriptor))
        return self.client.open_blob(descriptor)
