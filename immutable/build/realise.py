"""Realising a derivation: builder's entries → tar → frames → blob → record.

Chunks are framed in parallel and written in order. A chunk that an earlier layer held is
copied from that layer's blob, checked, instead of being compressed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from typing import BinaryIO, Final

from attrs import frozen

from immutable.build.contents import Recording
from immutable.build.lower import LowerLayers
from immutable.builders.base import Builder, Inputs, Scope
from immutable.content import tar
from immutable.content.compression import CHUNK, Encoder, cut
from immutable.content.entries import Arrangement, arrange
from immutable.errors import EntryError, StoreError
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.spec.derivation import NO_ANSWERS, Job, Part, Realisation
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


def realise(
    parts: Sequence[Job],
    builder: Builder,
    encoder: Encoder | None,
    lower: tuple[Realisation, ...],
    scope: Scope,
    pool: Executor,
) -> tuple[Realisation, ...]:
    """Build `parts`, which are one derivation or parts of one layer; store and record them.

    Their sources have to be in the store. `lower` are the layers that they name as inputs,
    bottom first. `pool` frames chunks.
    """
    realisations = make(parts, builder, encoder, lower, scope, pool)
    for realisation in realisations:
        scope.store.record_realisation(realisation)
    return realisations


def make(
    parts: Sequence[Job],
    builder: Builder,
    encoder: Encoder | None,
    lower: tuple[Realisation, ...],
    scope: Scope,
    pool: Executor,
) -> tuple[Realisation, ...]:
    """Do what `realise` does, but leave the records to the caller."""
    job = parts[0]
    with ExitStack() as stack:
        advance = stack.enter_context(scope.progress.task(f"building {job.name}"))

        def scratch() -> BinaryIO:
            return stack.enter_context(scope.store.scratch())

        layers = LowerLayers(scope.store, lower)
        inputs = Inputs(scope.store, scratch, layers, scope.progress, scope.config)
        if builder.as_is:
            return tuple(builder.adopt(one, inputs) for one in parts)
        assert encoder is not None  # noqa: S101 - only layers taken as they are have none
        arrangement = _arranged(job, builder, inputs)
        jobs = scope.config.jobs
        made = []
        for one in parts:
            layer = _part(arrangement, one.derivation.part)
            diff_id, blob = pack(layer, encoder, scope.store, pool, jobs=jobs, advance=advance)
            made.append(Realisation(one.digest, NO_ANSWERS, encoder.key, diff_id, blob))
        return tuple(made)


def _arranged(job: Job, builder: Builder, inputs: Inputs) -> Arrangement:
    try:
        return arrange(builder.entries(job, inputs), mtime=job.derivation.mtime)
    except EntryError as error:
        raise EntryError(f'layer "{job.name}": {error}') from None


def _part(whole: Arrangement, part: Part | None) -> Arrangement:
    if part is None:
        return whole
    chosen = [source for source, number in enumerate(part.of) if number == part.number]
    if part.last:
        chosen += range(len(part.of), len(whole.sources))
    return whole.part(chosen, rest=part.last)


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
