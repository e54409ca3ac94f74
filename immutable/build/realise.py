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
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from immutable.build.below import Below
from immutable.build.kinds import builder_of, encoder_of, key_of
from immutable.builders.base import Scope
from immutable.content.compression import Encoder
from immutable.oci.digest import Digest
from immutable.spec.derivation import NO_ANSWERS, Job, Realisation

if TYPE_CHECKING:
    from immutable.build.contents import LayerContents, StoredRootfs
    from immutable.build.making import Met
    from immutable.build.remote_cache import AskedCaches


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
    the store. `unread` has, by derivation and answers, what was made of files that nobody had read.
    """

    scope: Scope
    compression: str
    frames: Executor
    fetch: Callable[[Sequence[Job]], None]
    caches: AskedCaches | None = None
    stop: threading.Event = field(factory=threading.Event, init=False)
    unread: dict[tuple[Digest, Digest], Realisation] = field(factory=dict, init=False)
    _adopted: dict[Digest, Record] = field(factory=dict, init=False)
    _locks: dict[Digest, threading.Lock] = field(factory=dict, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _contents: LayerContents | None = field(default=None, init=False)

    @property
    def contents(self) -> LayerContents:
        """The contents of the store's layers, each read once."""
        with self._lock:
            if self._contents is None:
                from immutable.build.contents import LayerContents

                store = self.scope.store
                self._contents = LayerContents(store, store, self.check)
            return self._contents

    def check(self) -> None:
        """Raise CancelledError when told to `stop`."""
        if self.stop.is_set():
            raise CancelledError

    def upwards(self, jobs: Sequence[Job]) -> tuple[Record, ...]:
        """Return the records of an image's layers, each made when those beneath are there.

        Raises CancelledError when told to `stop`.
        """
        records: list[Record] = []
        for parts in together(jobs):
            self.check()
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
        from immutable.build.making import adopted

        made = adopted(job, self.scope, self.contents)
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
        known = self._known(parts, encoder, below.chain)
        if known is not None:
            return known
        from immutable.build.making import Layer

        # Before the lock: what is beside may have a layer of this very derivation.
        beside = self._beside(job)
        # Another platform may want the same layer, which is to be made once.
        with self._locked(job.derivation.whole):
            layer = Layer(self, tuple(parts), builder_of(job), encoder, below, below.chain)
            return layer.realised(beside)

    def _known(
        self, parts: Sequence[Job], encoder: Encoder, chain: Digest | None
    ) -> tuple[Record, ...] | None:
        """Return the records that there are under what was answered over these layers before."""
        store, answers = self.scope.store, NO_ANSWERS
        if parts[0].is_unread:
            return None
        if chain is not None:
            remembered = store.find_answers(parts[0].derivation.whole, chain)
            if remembered is None:
                return None
            answers = remembered
        found = (store.find_realisation(part.digest, answers, encoder.key) for part in parts)
        records = tuple(Record(one, cached=True) for one in found if one is not None)
        return records if len(records) == len(parts) else None

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
