"""The verb `prune`: a policy applied to a place that holds images.

Every place works alike: it lists what it holds, the policy decides about each, and what expired is
deleted, oldest first. Nothing is deleted that was not listed and decided about.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen

from immutable.config import Config
from immutable.errors import AllVersionsExpired, ImageNotFound, SpecError, TransportError
from immutable.lifecycle import retention
from immutable.lifecycle.deployed import find_deployed
from immutable.lifecycle.retention import Decision, Deployed, Item, Policy, decide
from immutable.lifecycle.targets.base import Freed, Target
from immutable.progress import SILENT, Progress
from immutable.reading import read_file
from immutable.store import AbstractStore

_NEEDED_BY_NOW: Final = "kept: since it was listed, it has come to be needed"


@frozen
class Pruned:
    """What a prune decided, and what it freed or would free, in bytes.

    `decisions` stand by name, from old to new; `freed` has a number for each that expired.
    """

    place: str
    decisions: tuple[Decision, ...]
    freed: Freed

    @property
    def expired(self) -> tuple[Decision, ...]:
        """The decisions against an item."""
        return tuple(decision for decision in self.decisions if not decision.keep)

    @property
    def emptied(self) -> tuple[str, ...]:
        """The names of which no version is kept; signatures and other referrers are none."""
        return _emptied(self.decisions)


def pruned_document(
    pruned: Pruned, *, refused: Sequence[str] = (), dry_run: bool = False
) -> dict[str, Any]:
    """Return the JSON document of a prune, or of one that was only planned.

    It has place, dry_run, refused (the names of which every version would go, which is not
    done), items, caches (bytes of caches that no image needs) and bytes (all that is freed). Of
    each item there are name, generation (its number; None where the place has none), digest,
    tags, keep, rule (the number of the policy's rule; None without one), reason, and bytes that
    go with it.
    """
    freed = iter(pruned.freed.items)
    return {
        "place": pruned.place,
        "dry_run": dry_run,
        "refused": [*refused],
        "items": [
            {
                "name": decision.item.name,
                "generation": decision.item.number,
                "digest": str(decision.item.digest),
                "tags": [*decision.item.tags],
                "keep": decision.keep,
                "rule": decision.rule,
                "reason": decision.reason,
                "bytes": 0 if decision.keep else next(freed),
            }
            for decision in pruned.decisions
        ],
        "caches": pruned.freed.caches,
        "bytes": pruned.freed.total,
    }


@frozen
class Plan:
    """A prune that was decided and not yet done; `outlook` says what it would free."""

    place: Target
    decisions: tuple[Decision, ...]

    def outlook(self) -> Pruned:
        """Return what `carry_out` would do, as it looks now."""
        return Pruned(str(self.place), self.decisions, self.place.preview(self._expired()))

    def check(self) -> None:
        """Raise AllVersionsExpired if of some name every version would be deleted."""
        emptied = _emptied(self.decisions)
        if emptied:
            raise AllVersionsExpired(str(self.place), emptied)

    def carry_out(
        self, progress: Progress = SILENT, *, delete_all_versions: bool = False
    ) -> Pruned:
        """Delete what expired, and nothing that was not decided about; raise ImmutableError.

        Without `delete_all_versions` nothing is deleted if `check` refuses. What has come to be
        needed since stays: the decision that comes back says so.
        """
        if not delete_all_versions:
            self.check()
        expired = self._expired()
        freed = self.place.delete(expired, progress)
        decisions = tuple(
            evolve(decision, keep=True, rule=None, reason=_NEEDED_BY_NOW)
            if not decision.keep and decision.item in freed.spared
            else decision
            for decision in self.decisions
        )
        gone = zip(expired, freed.items, strict=True)
        items = tuple(size for item, size in gone if item not in freed.spared)
        return Pruned(str(self.place), decisions, evolve(freed, items=items))

    def _expired(self) -> list[Item]:
        return [decision.item for decision in self.decisions if not decision.keep]


def plan(
    place: AbstractStore | str,
    policy: Policy,
    *,
    deployed: Deployed | None = None,
    now: datetime.datetime | None = None,
    caches: bool = True,
    images: Sequence[str] = (),
    config: Config | None = None,
) -> Plan:
    """Decide as `prune` does, and leave the deleting to `Plan.carry_out`."""
    found = _place(place, policy, config or Config.load(), caches=caches)
    items = found.items()
    unknown = sorted({*images} - {item.name for item in items})
    if unknown:
        raise ImageNotFound(f"{', '.join(unknown)}: no such image in {found}")
    chosen = [item for item in items if not images or item.name in images]
    moment = now or datetime.datetime.now(datetime.UTC)
    return Plan(found, decide(policy, chosen, moment, deployed))


def prune(
    place: AbstractStore | str,
    policy: Policy,
    *,
    deployed: Deployed | None = None,
    now: datetime.datetime | None = None,
    dry_run: bool = False,
    delete_all_versions: bool = False,
    caches: bool = True,
    images: Sequence[str] = (),
    config: Config | None = None,
    progress: Progress = SILENT,
) -> Pruned:
    """Delete what `policy` lets go of in `place`; return every decision with its reason.

    `place` is a store, ``docker://HOST/NAME``, or ``docker-daemon:`` for the engine; `images`
    are the only names to look at, all if there are none. `deployed` is what the files mention
    that the policy's ``keep-deployed`` names (see `load_policy`). In a store, layers that
    expired images alone needed go too, and caches down to the policy's size; without `caches`,
    all of them. A `dry_run` deletes nothing. Raises ImmutableError: AllVersionsExpired, with
    nothing deleted, if every version of a name would go and not `delete_all_versions`.
    """
    decided = plan(
        place, policy, deployed=deployed, now=now, caches=caches, images=images, config=config
    )
    if dry_run:
        return decided.outlook()
    return decided.carry_out(progress, delete_all_versions=delete_all_versions)


def read_policy(path: Path) -> Policy:
    """Return the policy in a TOML file; raise SpecError with every fault."""
    try:
        data = read_file(path, given=True)
    except OSError as error:
        raise SpecError(str(path), [f"cannot be read: {error.strerror}"]) from None
    return retention.parse(data, str(path))


def load_policy(path: Path | str) -> tuple[Policy, Deployed | None]:
    """Return the policy in a TOML file, and what the files mention that it calls deployed.

    They are looked for beside the policy's file; None if it calls none so. Raises SpecError with
    every fault.
    """
    path = Path(path)
    policy = read_policy(path)
    patterns = policy.deployed_files()
    return policy, find_deployed(patterns, path.parent, str(path)) if patterns else None


def _emptied(decisions: Sequence[Decision]) -> tuple[str, ...]:
    images = [decision for decision in decisions if decision.item.refers_to is None]
    kept = {decision.item.name for decision in images if decision.keep}
    return tuple(sorted({decision.item.name for decision in images} - kept))


def _place(place: AbstractStore | str, policy: Policy, config: Config, *, caches: bool) -> Target:
    if isinstance(place, AbstractStore):
        from immutable.lifecycle.targets.store import StorePlace

        return StorePlace(place, policy.max_size, caches)
    if place == "docker-daemon:":
        from immutable.lifecycle.targets.engine import EnginePlace

        return EnginePlace()
    if not place.startswith("docker://"):
        raise TransportError(
            f"{place}: expected docker://HOST/NAME or docker-daemon: to prune, or a store"
        )
    from immutable import transports
    from immutable.lifecycle.targets.registry import RegistryPlace
    from immutable.transports.registry.transport import RegistryImage

    named = transports.parse(place, registries=config.registries)
    assert isinstance(named, RegistryImage)  # noqa: S101 - what docker:// means
    return RegistryPlace(named)
