"""Sending an image to a place that keeps blobs by digest."""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final, Protocol, cast

from attrs import evolve

from immutable.errors import DigestMismatch
from immutable.net.attempts import Run, in_threads
from immutable.oci.documents import Descriptor
from immutable.progress import Progress
from immutable.store.streams import Ingest
from immutable.transports.base import PIECE, GatheredImage, Source, ending_with, is_remote

WORKERS: Final = 4  # blobs on their way at a time, from or to a registry


class Sink(Protocol):
    """A place for blobs: a layout, a store; for many threads."""

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there already, and need not be sent."""

    def ingest(self) -> AbstractContextManager[Ingest]:
        """Begin a blob."""

    def put_manifest(self, descriptor: Descriptor, data: bytes) -> None:
        """Take a manifest or index; all that it refers to is there."""


def send(image: GatheredImage, sink: Sink, progress: Progress) -> None:
    """Put everything that `image` is made of into `sink`, each after what it refers to."""
    total = sum(blob.size for blob in image.blobs)
    with progress.task(f"copying {image.source.where}", total) as advance:
        _send_blobs(image, sink, Locked(advance))
        for document in reversed(image.documents):
            sink.put_manifest(document.descriptor, document.data)


def _send_blobs(image: GatheredImage, sink: Sink, advance: Callable[[int], None]) -> None:
    """Put all blobs into `sink`; those that come over a network side by side."""
    run = Run()
    with ending_with(image.source, run) as source:
        counted = evolve(image, source=source).counted(advance).source

        def work(blob: Descriptor, _: Run) -> None:
            if sink.has(blob):
                advance(blob.size)
            else:
                patiently(source, functools.partial(_put, counted, sink, blob))

        if is_remote(source) and image.blobs:
            ordered = largest_first(image.blobs)
            in_threads(work, ordered, min(WORKERS, len(ordered)), run)
        else:
            for blob in image.blobs:
                work(blob, run)


def _put(source: Source, sink: Sink, blob: Descriptor) -> None:
    """Bring one blob into `sink`, hashed once: as it is written."""
    name = f"{source.where}: blob {blob.digest}"
    buffer = memoryview(bytearray(min(PIECE, blob.size + 1)))
    with source.open(blob) as file, sink.ingest() as into:
        stream = cast("io.RawIOBase", file)
        left = blob.size + 1  # one more than there may be: a longer one is seen to be longer
        while left and (count := stream.readinto(buffer[:left])):
            into.write(buffer[:count])
            left -= count
        if not left:
            name = f"{name}: longer than its {blob.size} bytes"
        into.commit(expected=blob.digest, size=blob.size, name=name)


def largest_first(blobs: Iterable[Descriptor]) -> list[Descriptor]:
    """Return `blobs` in the order in which threads take them: no large one is left at the end."""
    return sorted(blobs, key=lambda blob: -blob.size)


def patiently(source: Source, put: Callable[[], None]) -> None:
    """Call `put`; once more if wrong bytes came from a source that may give the right ones."""
    try:
        put()
    except DigestMismatch:
        if not is_remote(source):
            raise
        put()


class Locked:
    """Tells `advance` of one thread's progress at a time."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance
        self._lock = threading.Lock()

    def __call__(self, amount: int) -> None:
        """Tell of `amount` more."""
        with self._lock:
            self._advance(amount)
