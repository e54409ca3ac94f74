"""Realising a layer on what is beneath it.

A derivation does not name the layers beneath. What it asks about them is answered from their root
file system; derivation, answers and encoder are what its realisation is found under. So a layer is
made again only where something that it asks about has changed:

1. Over these very layers it may have been answered before; then nothing is looked at.
2. Else its builder's questions are answered, and what its footprint meets, if that is known.
3. Else the layer's entries are made, which tell the footprint; they are placed, and packed.

The layers of an image beside one are realised where the first of these does not do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from attrs import define, evolve, field, frozen

from immutable.build.below import Below
from immutable.build.beneath import BeneathLayer
from immutable.build.contents import LayerContents, Recording, StoredRootfs
from immutable.build.kinds import builder_of, encoder_of, key_of
from immutable.build.pack import pack
from immutable.builders.base import Builder, Inputs, Questions, Scope
from immutable.content.compression import Encoder
from immutable.content.entries import Arrangement, arrange
from immutable.content.placing import Footprint, Ground, ground, place
from immutable.errors import EntryError
from immutable.oci import canonical
from immutable.oci.canonical import JSON
from immutable.oci.digest import Digest
from immutable.spec.derivation import NO_ANSWERS, Job, Part, Realisation
from immutable.store import AbstractStore

if TYPE_CHECKING:
    from immutable.build.remote_cache import AskedCaches

# Makes a builder's inputs from what is beneath a layer, and beside it.
_Given: TypeAlias = Callable[[BeneathLayer, BeneathLayer], Inputs]


@frozen
class Met:
    """What a layer met beneath, to be remembered once its derivation is known.

    `chain` names what is beneath, `rows` are what its builder was answered.
    """

    chain: Digest
    rows: Digest
    footprint: Footprint

    def remember(self, whole: Digest, answers: Digest, store: AbstractStore) -> None:
        """Record it for the undivided derivation `whole`."""
        store.record_questions(_key(whole, self.rows), self.footprint.encode())
        store.record_answers(whole, self.chain, answers)


@frozen
class Record:
    """A layer's realisation, and whether it was there before.

    `met` is there where files had yet to be read, and something is beneath.
    """

    realisation: Realisation
    cached: bool
    met: Met | None = None


@define
class Realiser:
    """Realises the layers of a build; for many threads.

    `compression` is the image's; `frames` frames chunks; `fetch` brings the sources of jobs into
    the store.
    """

    scope: Scope
    compression: str
    contents: LayerContents
    frames: Executor
    fetch: Callable[[Sequence[Job]], None]
    caches: AskedCaches | None = None
    stop: threading.Event = field(factory=threading.Event, init=False)
    _adopted: dict[Digest, Record] = field(factory=dict, init=False)
    _locks: dict[Digest, threading.Lock] = field(factory=dict, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def upwards(self, jobs: Sequence[Job]) -> tuple[Record, ...]:
        """Return the records of an image's layers, each made when those beneath are there.

        Raises CancelledError when told to `stop`.
        """
        records: list[Record] = []
        for parts in together(jobs):
            if self.stop.is_set():
                raise CancelledError
            if builder_of(parts[0]).as_is:
                records += map(self.adopt, parts)
                continue
            beneath = records[: len(records) - parts[0].parts]
            records += self.realise(parts, [one.realisation for one in beneath])
        return tuple(records)

    def adopt(self, job: Job) -> Record:
        """Return the record of another image's layer, which is taken as it is."""
        with self._locked(job.digest):
            if job.digest not in self._adopted:
                self._adopted[job.digest] = self._adopt(job)
            return self._adopted[job.digest]

    def _adopt(self, job: Job) -> Record:
        store = self.scope.store
        known = store.find_realisation(job.digest, NO_ANSWERS, key_of(None))
        if known is not None:
            return Record(known, cached=True)
        self.fetch([job])
        with self._inputs() as inputs:
            nothing = BeneathLayer(self.contents.rootfs([]), Questions())
            made = builder_of(job).adopt(job, inputs(nothing, nothing))
        store.record_realisation(made)
        return Record(made, cached=False)

    def realise(self, parts: Sequence[Job], layers: Sequence[Realisation]) -> tuple[Record, ...]:
        """Return a record for each of `parts`, of one layer, that lie upon `layers`, bottom first.

        Of a layer whose files nobody has read yet nothing is recorded: its derivation is not known.
        """
        job = parts[0]
        encoder = encoder_of(job, self.compression)
        assert encoder is not None  # noqa: S101 - only layers taken as they are have none
        below = Below(tuple(layers), job.homes, job.beside_chain)
        layer = _Layer(self, tuple(parts), builder_of(job), encoder, below, below.chain)
        known = layer.known()
        if known is not None:
            return known
        # Before the lock: what is beside may have a layer of this very derivation.
        beside = self._beside(job)
        # Another platform may want the same layer, which is to be made once.
        with self._locked(layer.whole), self._inputs() as inputs:
            return layer.realised(inputs, beside)

    def _beside(self, job: Job) -> StoredRootfs | None:
        """Return what the layers beside `job` add up to; None if there are none."""
        if not job.beside:
            return None
        find, as_is = self.scope.store.find_realisation, key_of(None)
        taken = [one for one in job.beside if builder_of(one).as_is]
        self.fetch([one for one in taken if find(one.digest, NO_ANSWERS, as_is) is None])
        records = self.upwards(job.beside)
        return self.contents.rootfs([one.realisation.blob for one in records])

    @contextmanager
    def _locked(self, derivation: Digest) -> Iterator[None]:
        with self._lock:
            lock = self._locks.setdefault(derivation, threading.Lock())
        with lock:
            yield

    @contextmanager
    def _inputs(self) -> Iterator[_Given]:
        """Give what makes a builder's inputs; scratch files live until the end of this."""
        scope = self.scope
        with ExitStack() as stack:

            def scratch() -> BinaryIO:
                return stack.enter_context(scope.store.scratch())

            def inputs(beneath: BeneathLayer, beside: BeneathLayer) -> Inputs:
                given = (beneath.spooling(scratch), scope.progress, scope.config)
                return Inputs(scope.store, scratch, *given, beside.spooling(scratch))

            yield inputs


@frozen
class _Layer:
    """One layer of a spec on its way to be realised, in one part or more."""

    build: Realiser
    parts: tuple[Job, ...]
    builder: Builder
    encoder: Encoder
    below: Below
    chain: Digest | None

    @property
    def job(self) -> Job:
        return self.parts[0]

    @property
    def whole(self) -> Digest:
        return self.job.derivation.whole

    def known(self) -> tuple[Record, ...] | None:
        """Return the records that there are under what was answered over these layers before."""
        if self.job.is_unread:
            return None
        answers = NO_ANSWERS
        if self.chain is not None:
            remembered = self.build.scope.store.find_answers(self.whole, self.chain)
            if remembered is None:
                return None
            answers = remembered
        return self._complete(self._recorded(answers))

    def realised(self, inputs: _Given, other: StoredRootfs | None) -> tuple[Record, ...]:
        """Return the records, made where there are none; `other` is the root beside."""
        with _naming(self.job):
            rootfs = self.below.rootfs(self.build.contents)
            beneath = BeneathLayer(rootfs, self.builder.questions(self.job))
            rows = beneath.rows()
            beside = BeneathLayer(self.build.contents.rootfs([]), Questions())
            if other is not None:
                beside = BeneathLayer(other, self.builder.questions_beside(self.job))
                rows.append(["beside", beside.rows()])
            footprint = self._footprint(_digest(rows))
            if footprint is not None:
                answers, _ = self._answered(rows, footprint, beneath)
                found = self._complete(self._found(answers))
                if found is not None:
                    self._remember(answers)
                    return found
            return self._made(rows, beneath, inputs(beneath, beside))

    def _made(self, rows: list[JSON], beneath: BeneathLayer, inputs: Inputs) -> tuple[Record, ...]:
        """Make the layer's entries, and of these what is not recorded yet."""
        scope, job = self.build.scope, self.job
        self.build.fetch(self.parts)
        with scope.progress.task(f"building {job.name}") as advance:
            mtime = job.derivation.mtime
            arrangement = arrange(self.builder.entries(job, inputs), mtime=mtime)
            removed = self.builder.removes(job, inputs.beneath)
            footprint = Footprint() if self.chain is None else Footprint.of(arrangement, removed)
            answers, on = self._answered(rows, footprint, beneath)
            there = self._recorded(answers)
            if not all(there):
                placed = place(arrangement, on, replace=job.derivation.replace, mtime=mtime)
                there = [
                    old or self._packed(part, placed, answers, advance)
                    for part, old in zip(self.parts, there, strict=True)
                ]
        records = tuple(one for one in there if one is not None)
        if self.chain is None:
            return records
        met = Met(self.chain, _digest(rows), footprint)
        if job.is_unread:
            return tuple(evolve(one, met=met) for one in records)
        met.remember(self.whole, answers, scope.store)
        return records

    def _answered(
        self, rows: Sequence[JSON], footprint: Footprint, beneath: BeneathLayer
    ) -> tuple[Digest, Ground]:
        """Return the digest of all answers, and what the footprint meets."""
        stored = beneath.stored
        on = ground(footprint, stored.rootfs, self.below.to_come(stored))
        return _digest([*rows, *on.rows()]), on

    def _footprint(self, rows: Digest) -> Footprint | None:
        """Return the layer's footprint, if it is known before its entries are made."""
        if self.chain is None:
            return Footprint()  # with nothing beneath, nothing is met
        if self.job.is_unread:
            return None
        asked = _key(self.whole, rows)
        data = self.build.scope.store.find_questions(asked)
        if data is not None:
            with suppress(ValueError):  # one that is damaged is as good as none
                return Footprint.decode(data)
        if self.build.caches is None:
            return None
        return self.build.caches.questions(asked)

    def _recorded(self, answers: Digest) -> list[Record | None]:
        """Return what the store has of each part."""
        if self.job.is_unread:
            return [None for _ in self.parts]
        store, key = self.build.scope.store, self.encoder.key
        found = (store.find_realisation(part.digest, answers, key) for part in self.parts)
        return [None if one is None else Record(one, cached=True) for one in found]

    def _found(self, answers: Digest) -> list[Record | None]:
        """Return what the store has of each part, or gets from a cache."""
        recorded = self._recorded(answers)
        if self.build.caches is None or self.job.is_unread:
            return recorded
        missing = [
            part.digest for part, old in zip(self.parts, recorded, strict=True) if old is None
        ]
        taken = self.build.caches.take_all(missing, answers, self.encoder.key)
        made = {one.derivation: Record(one, cached=True) for one in taken}
        return [
            old or made.get(part.digest) for part, old in zip(self.parts, recorded, strict=True)
        ]

    def _complete(self, found: Sequence[Record | None]) -> tuple[Record, ...] | None:
        there = tuple(one for one in found if one is not None)
        return there if len(there) == len(self.parts) else None

    def _packed(
        self, job: Job, whole: Arrangement, answers: Digest, advance: Callable[[int], None]
    ) -> Record:
        """Store a part of the layer, and record it."""
        scope, contents = self.build.scope, self.build.contents
        recording = Recording()
        diff_id, blob = pack(
            _part(whole, job.derivation.part),
            self.encoder,
            scope.store,
            self.build.frames,
            jobs=scope.config.jobs,
            advance=advance,
            recording=recording,
        )
        contents.add(blob, recording.contents(self.encoder))
        made = Realisation(job.digest, answers, self.encoder.key, diff_id, blob)
        if not job.is_unread:
            scope.store.record_realisation(made)
        return Record(made, cached=False)

    def _remember(self, answers: Digest) -> None:
        if self.chain is not None and not self.job.is_unread:
            self.build.scope.store.record_answers(self.whole, self.chain, answers)


def asked_by(job: Job, layers: Sequence[Realisation], contents: LayerContents) -> Digest | None:
    """Return what the question list of a layer upon `layers` is recorded under.

    None where nothing is beneath: then there is nothing to ask; and for a layer that takes files of
    an image beside it, which is made first in any case.
    """
    if job.beside:
        return None
    below = Below(tuple(layers), job.homes)
    if below.chain is None:
        return None
    with _naming(job):
        rows = BeneathLayer(below.rootfs(contents), builder_of(job).questions(job)).rows()
    return _key(job.derivation.whole, _digest(rows))


def _key(whole: Digest, rows: Digest) -> Digest:
    """Return what a question list is recorded under."""
    return _digest([str(whole), str(rows)])


def _digest(value: JSON) -> Digest:
    return Digest.of(canonical.encode(value))


def together(jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
    """Yield the jobs, bottom first, those that are made of one derivation's parts at once."""
    parts: list[Job] = []
    for job in jobs:
        part = job.derivation.part
        if parts and (part is None or part.number == 0):
            yield parts
            parts = []
        parts.append(job)
    if parts:
        yield parts


@contextmanager
def _naming(job: Job) -> Iterator[None]:
    """Name the layer in what is wrong with its entries."""
    try:
        yield
    except EntryError as error:
        raise EntryError(f'layer "{job.name}": {error}') from None


def _part(whole: Arrangement, part: Part | None) -> Arrangement:
    """Return what a part of a layer holds; all of it where it is in one part."""
    if part is None:
        return whole
    chosen = [source for source, number in enumerate(part.of) if number == part.number]
    if part.last:
        chosen += range(len(part.of), len(whole.sources))
    return whole.part(chosen, rest=part.last, marks=part.number == 0)
