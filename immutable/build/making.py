"""Making a layer: what is done where nobody was asked for it over these layers before.

Nothing of this is imported by a build that finds all its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import BinaryIO, TypeAlias

from attrs import evolve, frozen

from immutable.build.below import Below
from immutable.build.beneath import BeneathLayer
from immutable.build.contents import LayerContents, Recording, StoredRootfs
from immutable.build.kinds import builder_of
from immutable.build.pack import pack
from immutable.build.realise import Realiser, Record
from immutable.builders.base import Builder, Inputs, Questions, Scope
from immutable.content.account_files import GROUP, MOST_READ, find_group
from immutable.content.compression import Encoder
from immutable.content.entries import Arrangement, EntryKind, arrange
from immutable.content.placing import Footprint, Ground, Standing, ground, place
from immutable.errors import EntryError, SandboxError
from immutable.oci import canonical
from immutable.oci.canonical import JSON
from immutable.oci.digest import Digest
from immutable.spec.derivation import Home, Job, Part, Realisation
from immutable.store import AbstractStore

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
class Layer:
    """One layer of a spec on its way to be realised, in one part or more."""

    build: Realiser
    parts: tuple[Job, ...]
    builder: Builder
    encoder: Encoder
    below: Below
    chain: Digest | None

    @property
    def job(self) -> Job:
        """The job of its lowest part."""
        return self.parts[0]

    @property
    def whole(self) -> Digest:
        """The identity of the undivided layer."""
        return self.job.derivation.whole

    def realised(self, other: StoredRootfs | None) -> tuple[Record, ...]:
        """Return the records, made where there are none; `other` is the root beside."""
        with _inputs(self.build.scope, self.build.check) as inputs, _naming(self.job):
            rootfs = self.below.rootfs(self.build.contents)
            asked = self.builder.questions(self.job)
            beneath = BeneathLayer(rootfs, asked, diff_ids=self.below.diff_ids)
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
            footprint = Footprint()
            if not self._meets_nothing:
                footprint = Footprint.of(arrangement, removed)
            answers, on = self._answered(rows, footprint, beneath)
            there = self._recorded(answers)
            if not all(there):
                replace, instead = job.derivation.replace, self.builder.instead
                placed = place(arrangement, on, mtime=mtime, replace=replace, instead=instead)
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
        on = ground(footprint, stored.rootfs, _to_come(self.below.homes, stored))
        return _digest([*rows, *on.rows()]), on

    def _footprint(self, rows: Digest) -> Footprint | None:
        """Return the layer's footprint, if it is known before its entries are made."""
        if self._meets_nothing:
            return Footprint()
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

    @property
    def _meets_nothing(self) -> bool:
        """Whether it does not matter what its entries meet, as with nothing beneath."""
        return self.chain is None or self.builder.in_place

    def _recorded(self, answers: Digest) -> list[Record | None]:
        """Return what the store has of each part; of unread files, what this build made."""
        store, key = self.build.scope.store, self.encoder.key
        found: Iterator[Realisation | None]
        if self.job.is_unread:
            found = (self.build.unread.get((part.digest, answers)) for part in self.parts)
        else:
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
        if job.is_unread:
            self.build.unread[job.digest, answers] = made
        else:
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
        rootfs, asked = below.rootfs(contents), builder_of(job).questions(job)
        rows = BeneathLayer(rootfs, asked, diff_ids=below.diff_ids).rows()
    return _key(job.derivation.whole, _digest(rows))


def _key(whole: Digest, rows: Digest) -> Digest:
    """Return what a question list is recorded under."""
    return _digest([str(whole), str(rows)])


def _digest(value: JSON) -> Digest:
    return Digest.of(canonical.encode(value))


def adopted(job: Job, scope: Scope, contents: LayerContents) -> Realisation:
    """Return what another image's layer is taken for, once it is verified."""
    nothing = BeneathLayer(contents.rootfs([]), Questions())
    with _inputs(scope) as inputs:
        return builder_of(job).adopt(job, inputs(nothing, nothing))


@contextmanager
def _inputs(scope: Scope, check: Callable[[], None] = lambda: None) -> Iterator[_Given]:
    """Give what makes a builder's inputs; scratch files live until the end of this."""
    with ExitStack() as stack:

        def scratch() -> BinaryIO:
            return stack.enter_context(scope.store.scratch())

        def inputs(beneath: BeneathLayer, beside: BeneathLayer) -> Inputs:
            given = (beneath.spooling(scratch), scope.progress, scope.config)
            return Inputs(scope.store, scratch, *given, beside.spooling(scratch), check)

        yield inputs


@contextmanager
def _naming(job: Job) -> Iterator[None]:
    """Name the layer in what is wrong with its entries."""
    try:
        yield
    except (EntryError, SandboxError) as error:
        raise type(error)(f'layer "{job.name}": {error}') from None


def _part(whole: Arrangement, part: Part | None) -> Arrangement:
    """Return what a part of a layer holds; all of it where it is in one part."""
    if part is None:
        return whole
    chosen = [source for source, number in enumerate(part.of) if number == part.number]
    if part.last:
        chosen += range(len(part.of), len(whole.sources))
    return whole.part(chosen, rest=part.last, marks=part.number == 0)


def _to_come(homes: Sequence[Home], stored: StoredRootfs) -> Mapping[bytes, Standing]:
    """Return the homes as directories that will be there, by path.

    Those of a group that `stored`, the layers' root file system, does not have are left out:
    the last layer will refuse such a group unless a layer between brings it.
    """
    table = b""
    if any(one.gid is None for one in homes):
        table = stored.read(GROUP, limit=MOST_READ) or b""
    found = {}
    for one in homes:
        gid = find_group(table, one.group) if one.gid is None else one.gid
        if gid is not None:
            standing = Standing(EntryKind.DIRECTORY, (one.mode, one.uid, gid, ()))
            found[one.path] = standing
    return found
