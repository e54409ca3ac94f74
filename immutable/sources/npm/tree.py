"""A lockfile as a graph: which package asks for which, and how far the project reaches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from attrs import field, frozen

from immutable.content.globs import compile_globs
from immutable.errors import SpecError
from immutable.sources.npm.lockfile import Edge, LockedPackage, Lockfile, enclosing_locations

_MODULES: Final = "node_modules/"
_UNREAD: Final = frozenset("{}()")  # of minimatch's patterns, and not of ours

Edges = Mapping[str, tuple[tuple[Edge, str], ...]]


@frozen
class Tree:
    """A lockfile's packages with what they ask of each other, resolved.

    `targets` are location → (edge, the location that answers it), `sources` location → (edge, the
    location that asks). `workspaces` are folders. `reached` are the locations that the project
    leads to: npm takes all others out of the tree.
    """

    lockfile: Lockfile
    targets: Edges = field(init=False, repr=False)
    sources: Edges = field(init=False, repr=False)
    workspaces: frozenset[str] = field(init=False, repr=False)
    reached: frozenset[str] = field(init=False, repr=False)

    @targets.default
    def _targets(self) -> Edges:
        every = (self.lockfile.root, *self.lockfile.packages.values())
        return {package.location: tuple(self._resolved(package)) for package in every}

    @sources.default
    def _sources(self) -> Edges:
        found: defaultdict[str, list[tuple[Edge, str]]] = defaultdict(list)
        for source, edges in self.targets.items():
            for edge, location in edges:
                found[location].append((edge, source))
        return {location: tuple(edges) for location, edges in found.items()}

    @workspaces.default
    def _workspaces(self) -> frozenset[str]:
        matches = _workspace_globs(self.lockfile)
        links = (package.link for package in self.lockfile.packages.values() if package.link)
        return frozenset(link for link in links if matches(link.encode()))

    @reached.default
    def _reached(self) -> frozenset[str]:
        # Arborist's "calcDepFlags", for its flag "extraneous".
        packages = self.lockfile.packages
        found: set[str] = set()
        queue = ["", *(p.location for p in packages.values() if p.link in self.workspaces)]
        while queue:
            location = queue.pop()
            if location in found:
                continue
            found.add(location)
            queue += enclosing_locations(location)
            queue += [
                target
                for edge, target in self.targets.get(location, ())
                if not (edge.peer and edge.optional)
            ]
            if location in packages and (link := packages[location].link) is not None:
                queue.append(link)
        return frozenset(found)

    def _resolved(self, package: LockedPackage) -> Iterator[tuple[Edge, str]]:
        for edge in package.edges:
            location = self._find(package.location, edge.name)
            if location is not None:
                yield edge, location

    def _find(self, location: str, name: str) -> str | None:
        """Return where a package at `location` finds one called `name`, as Node does."""
        while True:
            found = f"{location}/{_MODULES}{name}" if location else _MODULES + name
            if found in self.lockfile.packages:
                return found
            if not location or location.startswith("../"):
                return None
            location = location.rpartition("/")[0]

    def brings(self, package: LockedPackage) -> bool:
        """Tell whether another package's archive holds `package`: Node's "inDepBundle".

        What the project itself bundles, and a lockfile marks likewise, is installed as usual.
        """
        if not package.bundled:
            return False
        packages = self.lockfile.packages
        around = map(packages.get, enclosing_locations(package.location))
        outermost = [package, *(one for one in around if one is not None and one.bundled)][-1]
        holder = packages.get(next(iter(enclosing_locations(outermost.location)), ""))
        return holder is not None and holder.is_installed

    def optional_set(self, location: str, gone: set[str]) -> set[str]:
        """Return what goes when the optional package at `location` cannot be had.

        Arborist's "optionalSet" and "gatherDepSet": up to where it was optional, then down to
        what nothing else needs. `gone` is what went before.
        """
        found = {location}
        queue = [location]
        while queue:
            for edge, source in self.sources.get(queue.pop(), ()):
                if not edge.optional and source not in found:
                    found.add(source)
                    queue.append(source)
        return self._only_needed_by(frozenset(found), gone)

    def _only_needed_by(self, start: frozenset[str], gone: set[str]) -> set[str]:
        def asked_by(source: str) -> Iterator[str]:
            """Yield what counts as asked for by `source`: not what went, nor by what did."""
            if source not in gone:
                yield from (one for _, one in self.targets.get(source, ()) if one not in start)

        found, queue = set(start), list(start)
        while queue:
            for target in asked_by(queue.pop()):
                if target not in found:
                    found.add(target)
                    queue.append(target)
        askers = {source for one in found for _, source in self.sources.get(one, ())} - found
        queue = [target for source in askers for target in asked_by(source) if target in found]
        while queue:
            needed = queue.pop()
            if needed in found:
                found.remove(needed)
                queue += [target for target in asked_by(needed) if target in found]
        return found


def _workspace_globs(lockfile: Lockfile) -> Callable[[bytes], bool]:
    """Return whether a folder is a workspace; raise SpecError if the project does not say it well.

    A pattern that is not read here takes every folder that the lockfile links to, and there are
    few other reasons for a link.
    """
    patterns = lockfile.root.raw.get("workspaces") or ()
    if isinstance(patterns, Mapping):
        patterns = patterns.get("packages") or ()
    if not isinstance(patterns, tuple) or not all(isinstance(word, str) for word in patterns):
        fault = 'packages[""].workspaces: expected an array of strings'
        raise SpecError(lockfile.where, [fault])
    words = [word for word in patterns if not word.startswith("!")]
    try:
        matches = compile_globs(words)
    except ValueError:
        return lambda _folder: True
    return (lambda _folder: True) if any(_UNREAD & {*word} for word in words) else matches
