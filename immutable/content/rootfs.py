"""The root file system: what layers add up to.

The fold is what overlayfs shows of layers that were unpacked one by one, each into a directory of
its own (the kernel's documentation, "Overlay Filesystem"). It is done where somebody looks: a
directory is the list of the layers that have a part in it, top first, and nothing is copied.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from immutable.content.contents import IMPLIED, Contents, Inode
from immutable.content.entries import EntryKind, show
from immutable.errors import EntryError

__all__ = ["MAX_LINKS", "Found", "Resolved", "Rootfs"]

MAX_LINKS: Final = 40  # as many as Linux follows: path_resolution(7)
_CACHED: Final = 1 << 14  # directories that are remembered
_ROOT: Final = Inode(EntryKind.DIRECTORY, 0o755)

# What takes part in a directory: numbers of layers and of their nodes, top layer first. What is
# after an opaque one gives it only attributes.
_Parts = tuple[tuple[int, int], ...]


@frozen
class Found:
    """What stands at `path`, which goes through no link, and by which layer.

    `layer` counts from 0, the bottom; a directory has its attributes from there. It is None
    where no layer has an entry of its own for a directory.
    """

    path: bytes
    inode: Inode
    layer: int | None


@frozen
class Resolved:
    """Where a path leads: `path` goes through no link, and `found` is what stands there."""

    path: bytes
    found: Found | None


@frozen
class _Directory:
    """What takes part in a directory, and where in which layers what is in it is searched.

    That is: the layer's number and names, and between which of its nodes to look.
    """

    parts: _Parts
    search: tuple[tuple[int, tuple[bytes, ...], int, int], ...]


_UNKNOWN: Final = _Directory((), ())


class Rootfs:
    """The contents of `layers`, bottom first, as one file system.

    Paths are raw bytes; those that are asked for may begin with ``/`` and have ``.``, ``..`` and
    empty names where links are followed. The root is ``b""``. Every look raises EntryError where
    it meets what an overlay file system would take for its own mark: engines differ there. So
    they do over an opaque root above other layers, which raises EntryError at once. Threads may
    share one.
    """

    def __init__(self, layers: Sequence[Contents]) -> None:
        self._layers = tuple(layers)
        hiding = [n for n, layer in enumerate(self._layers) if n and layer.attributes_of(0).opaque]
        if hiding:
            raise EntryError(
                f"layer {hiding[-1] + 1} of {len(self._layers)} hides all layers under it "
                "(.wh..wh..opq in the root): some engines obey, overlay file systems do not; "
                "leave the layers under it out"
            )
        self._marks = tuple(tuple(one.mark for one in layer.attributes) for layer in self._layers)
        root = tuple((number, 0) for number in reversed(range(len(self._layers))))
        self._root = self._searched(root)
        self._directories: dict[bytes, _Directory | None] = {b"": self._root}

    @property
    def layers(self) -> tuple[Contents, ...]:
        """The layers' contents, bottom first."""
        return self._layers

    def find(self, path: bytes) -> Found | None:
        """Return what stands at the plain `path`; None if nothing, or if it goes through a link."""
        if not path:
            return Found(b"", _ROOT, None)
        if path.startswith(b"/"):
            return None  # no plain path: one path has one name
        folder, _, name = path.rpartition(b"/")
        directory = self._directory(folder)
        parts = () if directory is None else self._child(path, directory, name)
        return self._sure(path, parts) if parts else None

    def resolve(self, path: bytes, *, follow: bool = True) -> Resolved:
        """Return where `path` leads, links followed inside the root.

        As with openat2(2) and RESOLVE_IN_ROOT: ``/`` in a link and ``..`` at the root are the
        root. Without `follow`, a link at the end stands for itself. What comes after a name that
        is not there is taken as it is written, and is not there either; so is what comes after
        a file. Raises EntryError for more than 40 links on the way.
        """
        resolved = self.lead(path, follow=follow)
        if resolved is None:
            raise EntryError(f"{show(path)}: more than {MAX_LINKS} links on the way")
        return resolved

    def lead(self, path: bytes, *, follow: bool = True) -> Resolved | None:
        """Return what `resolve` does; None for more than 40 links on the way."""
        plain = self.find(path)
        if plain is not None and not (follow and plain.inode.kind is EntryKind.SYMLINK):
            return Resolved(path, plain)  # it goes through no link, nor through "." and ".."
        todo = _names(path)
        at: list[bytes] = []
        leaf = gone = False  # whether `at` leads to what is no directory, or to nothing
        links = 0
        while todo:
            name = todo.pop()
            leaf, gone = False, gone or leaf
            if name == b"..":
                del at[-1:]
            if name in (b".", b".."):
                continue
            at.append(name)
            place = b"/".join(at)
            if gone or self._directory(place) is not None:
                continue
            found = self.find(place)
            leaf, gone = found is not None, found is None
            if found is None or found.inode.kind is not EntryKind.SYMLINK or not (todo or follow):
                continue
            links += 1
            if links > MAX_LINKS:
                return None
            target = found.inode.target
            del at[0 if target.startswith(b"/") else -1 :]
            todo += _names(target)
            leaf = False
        end = b"/".join(at)
        return Resolved(end, None if gone else self.find(end))

    def names(self, path: bytes) -> tuple[bytes, ...]:
        """Return the sorted names in the directory at the plain `path`; none if it is none."""
        directory = self._directory(path)
        return () if directory is None else tuple(sorted(self._listing(path, directory.parts)))

    def children(self, path: bytes) -> Iterator[Found]:
        """Yield what is in the directory at the plain `path`, by name."""
        directory = self._directory(path)
        listing = {} if directory is None else self._listing(path, directory.parts)
        for name in sorted(listing):
            place = path + b"/" + name if path else name
            yield self._sure(place, listing[name])

    def walk(self, path: bytes = b"") -> Iterator[Found]:
        """Yield everything below the directory at the plain `path`, by raw path bytes."""
        directory = self._directory(path)
        stack = [] if directory is None else [(path, directory.parts, True)]
        while stack:
            place, child, inside = stack.pop()
            if not inside:
                yield self._sure(place, child)
                continue
            within = place and place + b"/"
            events = []
            for name, below in self._listing(place, child).items():
                here = within + name
                events.append((here, here, below, False))
                if self._is_directory(below):
                    # What is in a directory comes where its path and a "/" would.
                    events.append((here + b"/", here, below, True))
            events.sort(reverse=True)
            stack += [event[1:] for event in events]

    def __iter__(self) -> Iterator[Found]:
        """Yield everything but the root, by raw path bytes."""
        return self.walk()

    def _directory(self, path: bytes) -> _Directory | None:
        """Return what takes part in the directory at `path`; None if there is none."""
        known = self._directories.get(path, _UNKNOWN)
        if known is not _UNKNOWN:
            return known
        if path.startswith(b"/"):
            return None
        at, names = path, []
        while known is _UNKNOWN:
            at, _, name = at.rpartition(b"/")
            names.append(name)
            known = self._directories.get(at, _UNKNOWN) if at else self._root
        while names and known is not None:
            name = names.pop()
            at = at + b"/" + name if at else name
            parts = self._child(at, known, name)
            known = self._searched(parts) if parts and self._is_directory(parts) else None
            self._remember(at, known)
        return known

    def _searched(self, parts: _Parts) -> _Directory:
        search = []
        for number, node in parts:
            layer = self._layers[number]
            inside = layer.children(node)
            if inside:
                search.append((number, layer.names, inside.start, inside.stop))
            if layer.attributes_of(node).opaque:
                break
        return _Directory(parts, tuple(search))

    def _remember(self, path: bytes, directory: _Directory | None) -> None:
        if len(self._directories) >= _CACHED:
            self._directories = {b"": self._root}  # another thread may be looking in the old one
        self._directories[path] = directory

    def _child(self, path: bytes, directory: _Directory, name: bytes) -> _Parts:
        """Return what takes part in what a directory has under `name`; nothing if it is not there.

        That is one node, or those of the directories that lie over one another.
        """
        found: list[tuple[int, int]] = []
        for number, names, start, end in directory.search:
            node = bisect_left(names, name, start, end)
            if node < end and names[node] == name and self._add(found, number, node, path):
                break
        return tuple(found)

    def _add(self, found: list[tuple[int, int]], number: int, node: int, path: bytes) -> bool:
        """Lay a lower layer's node under those that were found; tell whether it is the last."""
        row = self._layers[number].rows[node]
        given = self._layers[number].attributes[row]
        if given.kind is None or (found and given.kind is not EntryKind.DIRECTORY):
            return True
        if self._marks[number][row]:
            raise self._marked(path, number, row)
        found.append((number, node))
        if given.kind is not EntryKind.DIRECTORY:
            return True
        # One that is opaque and has no entry still is as it is beneath; only what is in it is new.
        return given.opaque and not given.implied

    def _marked(self, path: bytes, number: int, row: int) -> EntryError:
        return EntryError(
            f"{show(path)}: layer {number + 1} of {len(self._layers)} has "
            f"{self._marks[number][row]} there, which engines understand differently"
        )

    def _listing(self, path: bytes, parts: _Parts) -> dict[bytes, _Parts]:
        """Return what is in a directory, by name, in no order."""
        if len(parts) == 1:
            return self._only(path, *parts[0])
        found: dict[bytes, list[tuple[int, int]]] = {}
        done: set[bytes] = set()
        for number, folder in parts:
            layer = self._layers[number]
            for node in layer.children(folder):
                name = layer.names[node]
                if name in done:
                    continue
                there = found.setdefault(name, [])
                place = path + b"/" + name if path else name
                if self._add(there, number, node, place):
                    done.add(name)
            if layer.attributes_of(folder).opaque:
                break
        return {name: tuple(there) for name, there in found.items() if there}

    def _only(self, path: bytes, number: int, folder: int) -> dict[bytes, _Parts]:
        layer = self._layers[number]
        found: dict[bytes, _Parts] = {}
        for node in layer.children(folder):
            row = layer.rows[node]
            name = layer.names[node]
            if self._marks[number][row]:
                place = path + b"/" + name if path else name
                raise self._marked(place, number, row)
            if layer.attributes[row].kind is not None:
                found[name] = ((number, node),)
        return found

    def _is_directory(self, parts: _Parts) -> bool:
        number, node = parts[0]
        return self._layers[number].attributes_of(node).kind is EntryKind.DIRECTORY

    def _sure(self, path: bytes, parts: _Parts) -> Found:
        for number, node in parts:
            layer = self._layers[number]
            if not layer.attributes_of(node).implied:
                return Found(path, layer.inode(node), number)
        return Found(path, _IMPLIED, None)


_IMPLIED: Final = Inode(EntryKind.DIRECTORY, IMPLIED.mode)


def _names(path: bytes) -> list[bytes]:
    """Return the names in a path, the first one last; one that ends in "/" ends in "."."""
    first, *others = reversed(path.split(b"/"))
    return [first or b".", *filter(None, others)]
