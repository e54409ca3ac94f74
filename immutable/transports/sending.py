"""Sending an image to a place that keeps blobs by digest."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import BinaryIO, Protocol

from immutable.errors import DigestMismatch
from immutable.oci import Descriptor
from immutable.progress import Progress
from immutable.store.streams import Ingest
from immutable.transports.base import Image, Source, is_remote, pieces


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
        counted = image.counted(advance)
        for blob in image.blobs:
            if sink.has(blob):
                advance(blob.size)
            else:
                patiently(image.source, functools.partial(_put, counted, sink, blob))
        for document in reversed(image.documents):
            sink.put_manifest(document.descriptor, document.data)


def _put(image: Image, sink: Sink, blob: Descriptor) -> None:
    with image.open(blob) as stream:
        sink.put(blob, stream)


def patiently(source: Source, put: Callable[[], None]) -> None:
    """Call `put`; once more if wrong bytes came from a source that may give the right ones."""
    try:
        put()
    except DigestMismatch:
        if not is_remote(source):
            raise
        put()


def ingest(blob: Ingest, descriptor: Descriptor, stream: BinaryIO) -> None:
    """Write all of `stream` as a new blob."""
    for piece in pieces(stream):
        blob.write(piece)
    blob.commit(expected=descriptor.digest, size=descriptor.size)
