"""Sending an image to a place that keeps blobs by digest."""

from __future__ import annotations

from typing import BinaryIO, Protocol

from immutable.oci import Descriptor
from immutable.progress import Progress
from immutable.store.streams import Ingest
from immutable.transports.base import Image, pieces


class Sink(Protocol):
    """A place for blobs: a layout, a store, a registry's repository."""

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there already, and need not be sent."""

    def put(self, descriptor: Descriptor, stream: BinaryIO) -> None:
        """Take a blob; `stream` raises before its end if the bytes are wrong: then keep none."""

    def put_manifest(self, descriptor: Descriptor, data: bytes) -> None:
        """Take a manifest or index; all that it refers to is there."""


def send(image: Image, sink: Sink, progress: Progress) -> None:
    """Put everything that `image` is made of into `sink`, each after what it refers to."""
    total = sum(blob.size for blob in image.blobs)
    with progress.task(f"copying {image.source.where}", total) as advance:
        for blob in image.blobs:
            if not sink.has(blob):
                with image.open(blob) as stream:
                    sink.put(blob, stream)
            advance(blob.size)
        for document in reversed(image.documents):
            sink.put_manifest(document.descriptor, document.data)


def ingest(blob: Ingest, descriptor: Descriptor, stream: BinaryIO) -> None:
    """Write all of `stream` as a new blob."""
    for piece in pieces(stream):
        blob.write(piece)
    blob.commit(expected=descriptor.digest, size=descriptor.size)
