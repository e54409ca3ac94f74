"""Choosing packages: a deterministic search for a set in which every relation holds.

The best candidate is tried first, so what comes out is what apt would most likely choose; when
it does not fit, the search goes back to the choice that stands in the way (conflict-directed
backjumping) and takes the next best. The order of the indexes' stanzas has no influence.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from attrs import define, field, frozen

from immutable.errors import ResolutionError
from immutable.sources.debian.index import IndexedPackage
from immutable.sources.debian.relations import Alternatives, Relation, parse_version

_MOST_STEPS = 100_000  # choices; honest requests need about one a package

# Debian Policy, 2.5; most important first.
_PRIORITIES: Final = ("required", "important", "standard", "optional", "extra")


class Index(Protocol):
    """What the resolver needs of a suite's index; see PackageIndex."""

    @property
    def suite(self) -> str:
        """The suite it is of."""

    def find(self, name: str) -> tuple[IndexedPackage, ...]:
        """Return every package called `name`."""

    def providers(self, name: str) -> tuple[str, ...]:
        """Return the names of the packages that provide `name`."""

    def essential(self) -> tuple[str, ...]:
        """Return the names of the essential packages."""

    def names_like(self, name: str) -> Iterable[str]:
        """Return names that may be meant by `name`."""


@frozen
class Goal:
    """Something that has to be there: one of `alternatives`, for `by` or as asked for."""

    alternatives: Alternatives
    by: IndexedPackage | None = None

    def __str__(self) -> str:
        return " | ".join(map(str, self.alternatives))


@frozen
class Selection:
    """The answer: packages sorted by name, each with the sorted names of what needs it.

    What was asked for has ``("asked for",)``.
    """

    packages: tuple[tuple[IndexedPackage, tuple[str, ...]], ...]


class Universe:
    """What the indexes offer for one architecture.

    Of one version in several suites the first suite's counts. `preferred` versions (by name)
    come before higher ones, and their packages before other ways to meet a relation.
    """

    def __init__(
        self,
        indexes: Sequence[Index],
        architecture: str,
        preferred: Mapping[str, str] | None = None,
    ) -> None:
        self._indexes = indexes
        self.architecture = architecture
        self.preferred = dict(preferred or {})
        self._candidates: dict[str, tuple[IndexedPackage, ...]] = {}

    @property
    def suites(self) -> str:
        """The suites' names, for messages."""
        return ", ".join(dict.fromkeys(index.suite for index in self._indexes))

    def candidates(self, name: str) -> tuple[IndexedPackage, ...]:
        """Return the packages called `name`, best first."""
        if name not in self._candidates:
            found: dict[str, IndexedPackage] = {}
            for index in self._indexes:
                offered = [p for p in index.find(name) if self._fits(p)]
                # One index with two stanzas of one version: told apart by their bytes.
                for package in sorted(offered, key=lambda p: (p.path, p.sha256)):
                    found.setdefault(package.version, package)
            kept = self.preferred.get(name)
            versions = sorted(found, key=lambda v: (parse_version(v), v), reverse=True)
            versions.sort(key=lambda version: version != kept)
            self._candidates[name] = tuple(found[version] for version in versions)
        return self._candidates[name]

    def matching(self, relation: Relation) -> list[IndexedPackage]:
        """Return what meets `relation`: packages of the name, then what provides it."""
        if not relation.for_architecture(self.architecture):
            return []
        real = [p for p in self.candidates(relation.name) if relation.accepts(p.version)]
        return real + [p for p in self.providers(relation.name) if provides(p, relation)]

    def providers(self, name: str) -> list[IndexedPackage]:
        """Return the packages that provide `name` in some version, best first.

        One that is pinned stays; then the priority that Debian gives a package decides, as it
        does for apt, so that awk is mawk; then the name.
        """
        names = sorted({other for index in self._indexes for other in index.providers(name)})
        found = [
            package
            for other in names
            for package in self.candidates(other)
            if any(provided.name == name for provided in package.provides)
        ]
        return sorted(found, key=lambda p: (p.name not in self.preferred, _rank(p), p.name))

    def essential(self) -> list[str]:
        """Return the names of the essential packages."""
        names = {name for index in self._indexes for name in index.essential()}
        return sorted(name for name in names if self.candidates(name))

    def hint(self, name: str) -> str:
        """Return ``; did you mean …?``, or nothing."""
        names = sorted({other for index in self._indexes for other in index.names_like(name)})
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.75)
        return f"; did you mean {' or '.join(near)}?" if near else ""

    def _fits(self, package: IndexedPackage) -> bool:
        return package.architecture in ("all", self.architecture)


def _rank(package: IndexedPackage) -> int:
    known = package.priority in _PRIORITIES
    return _PRIORITIES.index(package.priority) if known else len(_PRIORITIES)


def provides(package: IndexedPackage, relation: Relation) -> bool:
    """Say whether `package` meets `relation` by what it provides."""
    return any(
        provided.name == relation.name and relation.accepts_provided(provided)
        for provided in package.provides
    )


def meets(package: IndexedPackage, relation: Relation) -> bool:
    """Say whether `package` meets `relation`, by its name or by what it provides."""
    if package.name == relation.name and relation.accepts(package.version):
        return True
    return provides(package, relation)


def select(
    universe: Universe,
    asked: Iterable[Relation],
    *,
    held: Mapping[str, IndexedPackage] | None = None,
    essential: bool = False,
    recommends: bool = False,
) -> Selection:
    """Return the packages to add to those that are `held` (by name) so that all relations hold.

    `asked` names real packages, or virtual ones with one provider. Raises ResolutionError,
    showing the chain of packages that asked, when no such set is found.
    """
    search = _Search(universe, held or {})
    requests = sorted({*asked}, key=str)
    goals = [Goal((_settled(universe, relation, requests),)) for relation in requests]
    if essential:
        goals += [Goal((Relation(name),)) for name in universe.essential()]
    if not search.run(goals):
        raise ResolutionError(search.failure)
    if recommends:
        search.add_recommended()
    return _attributed(search, goals, recommends=recommends)


def _settled(universe: Universe, relation: Relation, requests: Sequence[Relation]) -> Relation:
    """Return `relation`; raise ResolutionError for a virtual package that several provide."""
    if universe.candidates(relation.name):
        return relation
    providers = sorted({package.name for package in universe.matching(relation)})
    if len(providers) > 1 and not any(other.name in providers for other in requests):
        raise ResolutionError(
            f"{relation}: is a virtual package in {universe.suites}; ask for one of those that "
            f"provide it: {', '.join(providers)}"
        )
    return relation


@define
class _Choice:
    """A goal's candidates, those not yet tried last first, and what kept others from standing."""

    goal: Goal
    left: list[IndexedPackage]
    places: tuple[int, int, int, int, int]
    chosen: IndexedPackage | None = None
    conflict: set[str] = field(factory=set)


class _Search:
    """The state of a search: what is chosen, and what still has to be met."""

    def __init__(self, universe: Universe, held: Mapping[str, IndexedPackage]) -> None:
        self.universe = universe
        self.held = held
        self.present: dict[str, IndexedPackage] = {}
        self.failure = ""
        self._needed: dict[str, Goal] = {}
        self._provided: dict[str, list[IndexedPackage]] = {}
        self._enemies: dict[str, list[tuple[Relation, IndexedPackage]]] = {}
        # Goals with one way to be met come first: what they bring may meet the others.
        self._strict: list[Goal] = []
        self._loose: list[Goal] = []
        self._next_strict = self._next_loose = 0
        self._choices: list[_Choice] = []
        self._steps = 0
        for name in sorted(held):
            self._add(held[name])

    def run(self, goals: Iterable[Goal]) -> bool:
        """Meet the goals and all that follows from them, beside what is chosen already."""
        floor = len(self._choices)
        self._push(goals)
        while (goal := self._next_goal()) is not None:
            if self.met(goal) is not None:
                continue
            choice = _Choice(goal, self._options(goal), self._places())
            if not self._choose(choice) and not self._go_back(choice, floor):
                return False
        return True

    def add_recommended(self) -> None:
        """Add what is recommended, and needed for that, where it fits beside the rest."""
        waiting = sorted(self.present.values(), key=lambda package: package.name)
        done = set(self.held)
        while waiting:
            package = waiting.pop(0)
            if package.name in done:
                continue
            done.add(package.name)
            for group in package.recommends:
                places, floor = self._places(), len(self._choices)
                if self.run([Goal(group, package)]):
                    added = [choice.chosen for choice in self._choices[floor:]]
                    waiting += [new for new in added if new is not None]
                else:
                    self._restore(places)

    def met(self, goal: Goal) -> IndexedPackage | None:
        """Return what meets `goal` now; what is held counts first, then what has the name."""
        for relation in goal.alternatives:
            found = self._present_matches(relation)
            if found:
                return min(
                    found, key=lambda p: (p.name not in self.held, p.name != relation.name, p.name)
                )
        return None

    def _present_matches(self, relation: Relation) -> list[IndexedPackage]:
        if not relation.for_architecture(self.universe.architecture):
            return []
        named = self.present.get(relation.name)
        found = [named] if named is not None and relation.accepts(named.version) else []
        return found + [
            package
            for package in self._provided.get(relation.name, ())
            if provides(package, relation)
        ]

    def _push(self, goals: Iterable[Goal]) -> None:
        for goal in goals:
            names = {relation.name for relation in goal.alternatives}
            strict = len(names) == 1 and self.universe.candidates(goal.alternatives[0].name)
            (self._strict if strict else self._loose).append(goal)

    def _next_goal(self) -> Goal | None:
        if self._next_strict < len(self._strict):
            self._next_strict += 1
            return self._strict[self._next_strict - 1]
        if self._next_loose < len(self._loose):
            self._next_loose += 1
            return self._loose[self._next_loose - 1]
        return None

    def _options(self, goal: Goal) -> list[IndexedPackage]:
        """Return what could meet `goal`, the best last."""
        found: dict[tuple[str, str], IndexedPackage] = {}
        for relation in goal.alternatives:
            for package in self.universe.matching(relation):
                found.setdefault((package.name, package.version), package)
        # What the lock has already stays, so that it changes only where it must.
        kept = self.universe.preferred
        return sorted(found.values(), key=lambda p: kept.get(p.name) != p.version)[::-1]

    def _choose(self, choice: _Choice) -> bool:
        """Add the best candidate that is left and fits; note what stands against the others."""
        while choice.left:
            package = choice.left.pop()
            blockers = {other.name for other in self._blockers(package)}
            if blockers:
                choice.conflict |= blockers
                continue
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise ResolutionError(
                    f"gave up after {_MOST_STEPS} choices; ask for versions to narrow them. "
                    f"The first difficulty was: {self.failure}"
                )
            choice.chosen = package
            self._choices.append(choice)
            self._needed[package.name] = choice.goal
            self._add(package)
            self._push(Goal(group, package) for group in package.depends)
            return True
        if choice.goal.by is not None:
            choice.conflict.add(choice.goal.by.name)
        return False

    def _go_back(self, failed: _Choice, floor: int) -> bool:
        """Change the latest choice that had a part in the failure; False when none is left."""
        if not self.failure:
            self.failure = self._explain(failed.goal)
        conflict = failed.conflict
        while len(self._choices) > floor:
            choice = self._choices.pop()
            self._restore(choice.places)
            assert choice.chosen is not None  # noqa: S101 - for the type checker
            if choice.chosen.name in conflict:
                choice.conflict |= conflict - {choice.chosen.name}
                if self._choose(choice):
                    return True
                conflict = choice.conflict
        return False

    def _blockers(self, package: IndexedPackage) -> Iterator[IndexedPackage]:
        """Yield what is present and cannot stand beside `package`."""
        other = self.present.get(package.name)
        if other is not None:
            yield other
        for relation in package.conflicts:
            for present in self._present_matches(relation):
                if present.name != package.name:
                    yield present
        for name in {package.name, *(provided.name for provided in package.provides)}:
            for relation, enemy in self._enemies.get(name, ()):
                if enemy.name != package.name and meets(package, relation):
                    yield enemy

    def _add(self, package: IndexedPackage) -> None:
        self.present[package.name] = package
        for name in {provided.name for provided in package.provides}:
            self._provided.setdefault(name, []).append(package)
        for relation in package.conflicts:
            if relation.for_architecture(self.universe.architecture):
                self._enemies.setdefault(relation.name, []).append((relation, package))

    def _places(self) -> tuple[int, int, int, int, int]:
        return (
            len(self.present),
            len(self._strict),
            len(self._loose),
            self._next_strict,
            self._next_loose,
        )

    def _restore(self, places: tuple[int, int, int, int, int]) -> None:
        """Make everything as it was when `_places` gave `places`."""
        present, strict, loose, self._next_strict, self._next_loose = places
        while len(self.present) > present:
            _, package = self.present.popitem()
            del self._needed[package.name]
            for name in {provided.name for provided in package.provides}:
                self._provided[name].pop()
            for relation in package.conflicts:
                if relation.for_architecture(self.universe.architecture):
                    self._enemies[relation.name].pop()
        del self._strict[strict:], self._loose[loose:]

    # --- saying why not ---

    def chain(self, package: IndexedPackage | None) -> list[str]:
        """Return the names from what was asked for down to `package`."""
        names: list[str] = []
        while package is not None:
            names.insert(0, package.name)
            goal = self._needed.get(package.name)
            package = goal.by if goal else None
        return names

    def _explain(self, goal: Goal) -> str:
        reasons = [self._blocked(package) for package in self._options(goal)[::-1]]
        if not reasons:
            reasons = [self._not_on_offer(relation) for relation in goal.alternatives]
        shown = "; ".join(list(dict.fromkeys(reasons))[:6])
        return f"{' → '.join([*self.chain(goal.by), str(goal)])}: {shown}"

    def _blocked(self, package: IndexedPackage) -> str:
        for other in self._blockers(package):
            if other.name in self.held:
                whence = "which a layer below holds"
            else:
                whence = f"which is there for {' → '.join(self.chain(other))}"
            how = "cannot replace" if other.name == package.name else "conflicts with"
            return f"{package} {how} {other}, {whence}"
        return f"{package} does not fit"

    def _not_on_offer(self, relation: Relation) -> str:
        where = self.universe.suites
        if not relation.for_architecture(self.universe.architecture):
            return f"{relation} is for another architecture than {self.universe.architecture}"
        versions = [package.version for package in self.universe.candidates(relation.name)]
        if versions:
            return f"only {', '.join(versions)} is on offer in {where}"
        providers = sorted({package.name for package in self.universe.providers(relation.name)})
        if providers:
            return f"{where} only has it as a virtual package, provided by {', '.join(providers)}"
        hint = self.universe.hint(relation.name)
        return f"no package {relation.name} is on offer in {where}{hint}"


def _attributed(search: _Search, goals: Sequence[Goal], *, recommends: bool) -> Selection:
    """Return what the goals reach, each with what needs it.

    A choice that a later one made superfluous is reached by nothing, and left out.
    """
    why: dict[str, set[str]] = {}
    waiting = list(goals)
    while waiting:
        goal = waiting.pop()
        package = search.met(goal)
        if package is None or package.name in search.held:
            continue
        if package.name not in why:
            why[package.name] = set()
            groups = package.depends + (package.recommends if recommends else ())
            waiting += [Goal(group, package) for group in groups]
        if goal.by is None or goal.by.name != package.name:
            why[package.name].add(goal.by.name if goal.by else "")
    return Selection(
        tuple(
            (search.present[name], ("asked for",) if "" in names else tuple(sorted(names)))
            for name, names in sorted(why.items())
        )
    )
