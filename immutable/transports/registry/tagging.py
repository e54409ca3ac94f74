"""Tags in a registry: put last, and never moved unless that is asked for."""

from __future__ import annotations

from attrs import frozen

from immutable.errors import RegistryError, TagTaken
from immutable.oci.digest import Digest
from immutable.transports.base import Called, Document, expect_version
from immutable.transports.registry.client import UNTOLD, Client


@frozen
class Tagging:
    """The tags that an image is to get in the repository of `client`.

    Those that are on another image stay there, unless `replace`. The standard has no way to put
    a tag on the condition that it is free: of two pushes at once both may find it so. Nor do all
    registries tell: a tag of which nothing is told, by a 403 or 405, counts as free.
    """

    client: Client
    tags: tuple[str, ...]
    replace: bool = False

    def missing(self, digest: Digest) -> tuple[str, ...]:
        """Return the tags that are not on `digest` yet.

        Raises TagTaken for one that is on another and stays there, TransportError for `latest`.
        """
        found = []
        for tag in self.tags:
            expect_version(Called(self.client.repository, tag), self._reference(tag))
            holds = self._holds(tag)
            if holds not in (None, digest) and not self.replace:
                raise TagTaken(self._reference(tag), holds=holds, wanted=digest)
            if holds != digest:
                found.append(tag)
        return tuple(found)

    def put(self, root: Document) -> None:
        """Put the tags on `root`, which is there; one that is on it already is left alone.

        A registry that keeps tags from moving by itself may refuse even that.
        """
        for tag in self.missing(root.descriptor.digest):
            self.client.put_manifest(root.descriptor, root.data, tag)

    def _holds(self, tag: str) -> Digest | None:
        try:
            return self.client.head_manifest(tag)
        except RegistryError as error:
            if error.status in UNTOLD:
                return None  # whether it may be put is for the registry to say
            raise

    def _reference(self, tag: str) -> str:
        return f"{self.client.where}:{tag}"
