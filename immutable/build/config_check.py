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
    """Check what the spec itself says of the user and the working directory; not what a base does.

    Raises SpecError for a user or group that the image does not have by that name, and for a
    working directory that is none, or that the user cannot enter.
    """
    config = planned.spec.config
    if config.user is None and config.workdir is None:
        return
    faults: dict[str, list[Platform]] = {}
    absent: list[str] = []
    for platform, _ in planned.graph.platforms:
        layers = [record.realisation for record in records[platform]]
        user = config.user or _base_user(planned, platform, layers)
        check = _Check(user, config.workdir, names=config.user is not None)
        try:
            if check.verdict(layers, store) == _ABSENT:
                absent.append(user)
        except _RefusedError as refused:
            for fault in refused.faults:
                faults.setdefault(fault, []).append(platform)
    if faults:
        raise SpecError(planned.spec.where, [*_told(faults, len(planned.graph.platforms))])
    if absent:
        from immutable.build.runner import directory_entry

        progress.note(
            f"config.workdir: {config.workdir} is in no layer, so engines make it, and it is "
            "root's; for a user to write there, say "
            f"{directory_entry(config.workdir or '', absent[0])} in a files layer"
        )


def _base_user(planned: Plan, platform: Platform, layers: Sequence[Realisation]) -> str:
    """Return whom the base image runs as; nobody's name means root."""
    foundation = planned.foundations.get(platform)
    if foundation is None:
        return ""
    return foundation.finish(layers[: len(foundation.layers)]).config.execution.user


def _told(faults: dict[str, list[Platform]], count: int) -> list[str]:
    """Return each fault once, with its platforms where it is not one of them all."""
    return [
        fault if len(there) == count else f"{fault} ({', '.join(map(str, there))})"
        for fault, there in faults.items()
    ]


class _RefusedError(Exception):
    """What cannot be run, in words."""

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults = faults


@frozen
class _Check:
    """What is checked of one platform's image; the user's names only where the spec has them."""

    user: str
    workdir: str | None
    names: bool

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
        if self.workdir is None:
            return _FINE
        try:
            there = running.check_workdir(self.workdir, self.user, runner, stored)
        except EntryError as error:
            raise _RefusedError(f"config.workdir: {error}") from None
        return _FINE if there or runner.uid == 0 else _ABSENT
