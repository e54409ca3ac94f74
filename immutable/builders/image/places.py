"""What ``from`` of an ``image`` layer writes: another spec, or a place that holds an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Final

from attrs import evolve, frozen

from immutable.errors import TransportError
from immutable.oci.tags import LATEST
from immutable.redact import quoted
from immutable.spec.toml import FaultError

if TYPE_CHECKING:
    from immutable.builders.base import Scope
    from immutable.oci.documents import Descriptor
    from immutable.reference.registry import RegistryName
    from immutable.transports import Source
    from immutable.transports.docker_archive import DockerArchive
    from immutable.transports.oci import LayoutDirectory
    from immutable.transports.oci_archive import OciArchive

_ON_DISK: Final = ("oci", "oci-archive", "docker-archive")
_DOCKER: Final = "docker://"
_EXPECTED: Final = (
    'expected a spec ("base.toml"), an image in a registry ("HOST/NAME:TAG"), '
    "oci:DIR[:REF], oci-archive:FILE[:REF] or docker-archive:FILE[:NAME:TAG]"
)


@frozen
class OtherSpec:
    """Another spec, by its path relative to the folder of the one that builds upon it."""

    path: str

    def __str__(self) -> str:
        return self.path


@frozen
class OnDisk:
    """An image in a layout or in an archive; `asked` is the reference as it was written.

    The path in `transport` is relative to the spec's folder.
    """

    asked: str
    transport: LayoutDirectory | OciArchive | DockerArchive

    local: ClassVar[bool] = True

    def __str__(self) -> str:
        return self.asked

    @property
    def pin_name(self) -> str:
        """What a lock calls the image."""
        return self.base_name

    @property
    def base_name(self) -> str:
        """What an image upon this one calls it: by its name in there, if it was given one."""
        name = getattr(self.transport, "ref", None) or getattr(self.transport, "name", None)
        return str(name or self.transport.path)

    @contextmanager
    def opened(
        self,
        scope: Scope,
        root: Descriptor | None = None,
        data: bytes | None = None,  # noqa: ARG002 - of use where asking is dear
    ) -> Iterator[Source]:
        """Open the image of that name, or the one of `root`."""
        from immutable.transports.docker_archive import DockerArchive
        from immutable.transports.oci import LayoutDirectory

        found = evolve(self.transport, path=scope.folder / self.transport.path)
        if not isinstance(found, LayoutDirectory):
            found = evolve(found, scratch=scope.store.scratch)
        if isinstance(found, DockerArchive):
            with found.open() as saved:  # it holds nothing by a manifest's digest
                yield saved
            return
        with found.open(root) as opened:
            yield opened


@frozen
class InRegistry:
    """An image in a registry."""

    name: RegistryName

    local: ClassVar[bool] = False

    def __str__(self) -> str:
        return f"{_DOCKER}{self.name}"

    @property
    def asked(self) -> str:
        """What is asked of a lock: all but the host, for locks say what and never where."""
        return str(self.name).partition("/")[2]

    @property
    def pin_name(self) -> str:
        """What a lock calls the image."""
        return str(evolve(self.name, digest=None)).partition("/")[2]

    @property
    def base_name(self) -> str:
        """What an image upon this one calls it; its digest is told beside, if a tag names it."""
        return str(evolve(self.name, digest=None) if self.name.tag else self.name)

    @contextmanager
    def opened(
        self, scope: Scope, root: Descriptor | None = None, data: bytes | None = None
    ) -> Iterator[Source]:
        """Open what the reference means now, or the image of `root`, whose bytes are `data`.

        With `data` nothing is asked of the registry before a blob is.
        """
        from immutable.transports.registry.transport import RegistryImage, RegistrySource

        name = self.name if root is None else evolve(self.name, digest=root.digest)
        image = RegistryImage(name, scope.config.registries)
        if root is None or data is None:
            with image.open() as source:
                yield source
            return
        with image.client() as client:
            yield RegistrySource(str(image), root, client, data)


Place = OnDisk | InRegistry


def parse(text: str) -> OtherSpec | Place:
    """Return what `text` names; raise FaultError, which repeats no password."""
    scheme, colon, _ = text.partition(":")
    if colon and scheme in _ON_DISK:
        return _on_disk(text)
    if text.startswith(_DOCKER):
        return _in_registry(text.removeprefix(_DOCKER))
    if text.endswith(".toml"):
        return OtherSpec(text)
    first, slash, _ = text.partition("/")
    if slash and first.strip(".") and "://" not in text:
        return _in_registry(text)
    raise FaultError(f"{_EXPECTED}; found {quoted(text)}")


def _on_disk(text: str) -> OnDisk:
    from immutable import transports
    from immutable.transports.docker_archive import DockerArchive
    from immutable.transports.oci import LayoutDirectory
    from immutable.transports.oci_archive import OciArchive

    try:
        found = transports.parse(text)
    except TransportError as error:
        raise FaultError(f"{_EXPECTED}; found {error}") from None
    assert isinstance(found, LayoutDirectory | OciArchive | DockerArchive)  # noqa: S101
    return OnDisk(text, found)


def _in_registry(text: str) -> InRegistry:
    from immutable.reference.registry import RegistryName

    try:
        name = RegistryName.parse(text)
    except ValueError as error:
        raise FaultError(str(error)) from None
    if not name.tag and name.digest is None:
        raise FaultError(f"say which: {name}:TAG or {name}@sha256:…; none is assumed")
    if name.tag == LATEST and name.digest is None:
        raise FaultError(
            f"{name}: latest names no version; write a tag that does, or add @sha256:…"
        )
    return InRegistry(name)
