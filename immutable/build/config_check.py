"""Whether a container can be run as the spec's ``[config]`` says: its user, its working directory.

Engines find out when they start it. Here the finished root file system tells, before anything gets
a name; the verdict is remembered for the layers that it is about, so that the next build of the
same looks at nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from attrs import frozen

from immutable.build.below import Below
from immutable.build.plan import Plan
from immutable.build.schedule import Records
from immutable.errors import EntryError, SpecError
from immutable.oci import canonical
from immutable.oci.canonical import JSON
from immutable.oci.digest import Digest
from immutable.oci.documents import Execution
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.spec.derivation import Realisation
from immutable.store import AbstractStore

if TYPE_CHECKING:
    from immutable.build.contents import StoredRootfs

_VERSION: Final = 1  # rises when the same layers would get another verdict
_FINE: Final = Digest.of(b"fine")
_ABSENT: Final = Digest.of(b"fine, but the working directory is not there")


def check_config(planned: Plan, records: Records, store: AbstractStore, progress: Progress) -> None:
    """Check the user and the working directory: the spec's own, and what it leaves of its base's.

    Raises SpecError for a user or group that the image does not have by that name, and for a
    working directory that is none, or that the user cannot enter. What was so in the base already
    is for whoever made that to put right.
    """
    config = planned.spec.config
    faults: dict[str, list[Platform]] = {}
    absent: list[str] = []
    for platform, _ in planned.graph.platforms:
        layers = [record.realisation for record in records[platform]]
        base, lower = _base(planned, platform, layers)
        if config.user is None and config.workdir is None and lower in (0, len(layers)):
            continue
        user = base.user if config.user is None else config.user
        workdir = base.workdir if config.workdir is None else config.workdir
        own = _Check(user, config.workdir, names=config.user is not None)
        try:
            found = _Check(user, workdir, names=True).verdict(layers, store)
            if found != _FINE and config.workdir is not None:
                absent.append(user)
        except _RefusedError as refused:
            was_so = lower and _Check(base.user, base.workdir, names=True).is_refused(
                layers[:lower], store
            )
            if not was_so or own.is_refused(layers, store):
                faults.setdefault(refused.fault, []).append(platform)
    if faults:
        raise SpecError(planned.spec.where, [*_told(faults, len(planned.graph.platforms))])
    if absent:
        from immutable.build.runner import directory_entry

        progress.note(
            f"config.workdir: {config.workdir} is in no layer, so engines make it, and it is "
            "root's; for a user to write there, say "
            f"{directory_entry(config.workdir or '', absent[0])} in a files layer"
        )


def _base(
    planned: Plan, platform: Platform, layers: Sequence[Realisation]
) -> tuple[Execution, int]:
    """Return how the base's containers are run, and how many of the layers are the base's."""
    foundation = planned.foundations.get(platform)
    if foundation is None:
        return Execution(), 0
    lower = len(foundation.layers)
    return foundation.finish(layers[:lower]).config.execution, lower


def _told(faults: dict[str, list[Platform]], count: int) -> list[str]:
    """Return each fault once, with its platforms where it is not one of them all."""
    return [
        fault if len(there) == count else f"{fault} ({', '.join(map(str, there))})"
        for fault, there in faults.items()
    ]


class _RefusedError(Exception):
    """What cannot be run, in words."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


@frozen
class _Check:
    """What is checked of one platform's image; the user's names only where the spec has them."""

    user: str
    workdir: str | None
    names: bool

    def is_refused(self, layers: Sequence[Realisation], store: AbstractStore) -> bool:
        """Whether it cannot be run."""
        try:
            self.verdict(layers, store)
        except _RefusedError:
            return True
        return False

    def verdict(self, layers: Sequence[Realisation], store: AbstractStore) -> Digest:
        """Return the verdict, remembered or new; raise _RefusedError for a bad one."""
        below = Below(tuple(layers))
        if below.chain is None:
            return self._look(None)
        asked: list[JSON] = [_VERSION, self.user, self.workdir, self.names, str(below.chain)]
        key = Digest.of(canonical.encode(["config", *asked]))
        # It is kept with the top layer: what is remembered of no derivation is swept away.
        top = layers[-1].derivation
        known = store.find_answers(top, key)
        if known is None:
            from immutable.build.contents import LayerContents

            known = self._look(below.rootfs(LayerContents(store, store)))
            store.record_answers(top, key, known)
        return known

    def _look(self, stored: StoredRootfs | None) -> Digest:
        from immutable.build import runner as running

        try:
            runner = running.runner_of(self.user, stored)
        except EntryError as error:
            if self.names:
                raise _RefusedError(f"config.user: {error}") from None
            return _FINE  # it is for whoever made the base to put right
        if not self.workdir:
            return _FINE
        try:
            there = running.check_workdir(self.workdir, self.user, runner, stored)
        except EntryError as error:
            raise _RefusedError(f"config.workdir: {error}") from None
        return _FINE if there or runner.uid == 0 else _ABSENT
