"""``docker-daemon:NAME:TAG``: the images of a Docker engine, through its API.

An image goes as the archive that ``docker load`` takes, made while it is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import field, frozen

from immutable.content import tar
from immutable.errors import TransportError
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.reference.docker import DockerName
from immutable.transports import docker_saved, engine, members
from immutable.transports.base import Called, GatheredImage, Scratch, pieces, temporary
from immutable.transports.docker_archive import (
    Parts,
    SavedLayer,
    counting,
    distinct,
    documents,
    layer_name,
    take_apart,
)
from immutable.transports.docker_saved import SavedSource


@frozen
class DockerDaemon:
    """The image called `name` in a Docker engine.

    The engine is the one at `host` (``unix:///var/run/docker.sock``), or without it the one
    that Docker's own settings point to: DOCKER_HOST, then the current context. `scratch` gives
    the temporary file through which an image is read: engines send it as one stream, in no
    useful order.
    """

    name: DockerName
    host: str | None = None
    scratch: Scratch = field(default=temporary, eq=False, repr=False)

    def __str__(self) -> str:
        return f"docker-daemon:{self.name}"

    def called(self) -> Called:
        """Return what the reference calls the image."""
        return Called.parse(str(self.name))

    @contextmanager
    def open(self) -> Iterator[SavedSource]:
        """Open the image that is there: all of it is fetched at once."""
        with engine.connected(str(self), self.host) as there, self.scratch() as file:
            members.save(there.saved(self.name), file, str(self))
            yield docker_saved.source(members.index(file, str(self)), self.name, str(self))

    def takes(self) -> Platform | None:
        """Take the engine's own platform."""
        with engine.connected(str(self), self.host) as there:
            return there.platform()

    def receive(self, image: GatheredImage, progress: Progress) -> None:
        """Load the image, and check that it is what the engine then has by that name.

        Layers that the engine has already are not sent, nor anything of an image that it has.
        """
        parts = take_apart(image, str(self))
        with engine.connected(str(self), self.host) as there:
            if there.tag(parts.digest, self.name):
                return
            diff_ids = tuple(layer.diff_id for layer in parts.layers)
            known = there.known_layers(diff_ids)
            try:
                there.load(_archive(image, parts, self.name, known, progress))
            except TransportError:
                if not known:
                    raise
                # What the engine had may be gone since it was asked.
                there.load(_archive(image, parts, self.name, 0, progress))
            there.expect(self.name, parts.digest, diff_ids)


def _archive(
    image: GatheredImage, parts: Parts, name: DockerName, known: int, progress: Progress
) -> Iterator[bytes]:
    """Yield a docker archive without the `known` lowest layers."""
    yield from documents(parts, name)
    layers = distinct(parts.layers[known:])
    with counting(layers, image, progress) as counted:
        for layer in layers:
            yield from _layer(counted, layer)
    yield tar.END


def _layer(image: GatheredImage, layer: SavedLayer) -> Iterator[bytes]:
    """Yield a layer's member: the stored bytes, where every engine can unpack them.

    Engines before 23 know no zstd. Such a layer is decompressed twice: its length comes first.
    """
    path = layer_name(layer)
    if layer.compression == "zstd":
        size = sum(map(len, layer.read(image)))
        yield from members.member(path, size, layer.read(image))
    else:
        with image.open(layer.blob) as stream:
            yield from members.member(path, layer.blob.size, pieces(stream))
