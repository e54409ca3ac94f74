"""Packing a layer: entries in their order → tar → chunks → frames → blob.

Chunks are framed in parallel and written in order. A chunk that an earlier layer held is
copied from that layer's blob, checked, instead of being compressed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from attrs import frozen

from immutable.build.contents import Recording
from immutable.content import tar
from immutable.content.compression import CHUNK, Encoder, cut
from immutable.content.entries import Arrangement
from immutable.errors import StoreError
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.store import AbstractStore, Chunk
from immutable.store.ordered import in_order

# Chunks made while the first of them is still being framed. Their lengths vary as chance has
# it, from nothing to twice the mean; with two, threads stood idle behind a long one.
_AHEAD: Final = 8


@frozen
class _Framed:
    """A chunk on its way into a blob."""

    chunk: bytearray
    digest: Digest
    frame: bytes


def pack(
    arrangement: Arrangement,
    encoder: Encoder,
    store: AbstractStore,
    pool: Executor,
    *,
    jobs: int,
    advance: Callable[[int], None] = lambda _: None,
    recording: Recording | None = None,
) -> tuple[Digest, Descriptor]:
    """Store the layer of `arrangement`; return its diffID and its blob's descriptor.

    `advance` is told how many bytes of the tar each further chunk has; `recording` is told what
    the layer's contents are.
    """
    diff_id = hashlib.sha256()
    placed: dict[Digest, tuple[int, int, Digest]] = {}
    offset = 0
    stream = tar.chunks(arrangement, cut, CHUNK, None if recording is None else recording.entry)
    with store.ingest() as blob:
        for framed in in_order(_framer(encoder, store), stream, pool, jobs + _AHEAD):
            diff_id.update(framed.chunk)
            blob.write(framed.frame)
            if recording is not None:
                recording.chunk(len(framed.chunk), offset)
            placed[framed.digest] = (offset, len(framed.frame), Digest.of(framed.frame))
            offset += len(framed.frame)
            advance(len(framed.chunk))
        digest, size = blob.commit(name="layer")
    if encoder.compresses:
        store.record_chunks(
            encoder.key, {key: Chunk(digest, *place) for key, place in placed.items()}
        )
    return Digest(diff_id.hexdigest()), Descriptor(encoder.media_type, digest, size)


def _framer(encoder: Encoder, store: AbstractStore) -> Callable[[bytearray], _Framed]:
    def frame(chunk: bytearray) -> _Framed:
        digest = Digest.of(chunk)
        known = _known_frame(store, digest, encoder) if encoder.compresses else None
        return _Framed(chunk, digest, encoder.frame(chunk) if known is None else known)

    return frame


def _known_frame(store: AbstractStore, chunk: Digest, encoder: Encoder) -> bytes | None:
    """Return the frame of `chunk` from a blob that holds it, if it is still whole there."""
    place = store.find_chunk(chunk, encoder.key)
    if place is None:
        return None
    try:
        frame = store.read_range(place.blob, place.offset, place.length)
    except StoreError:
        return None
    return frame if Digest.of(frame) == place.frame else None
