"""The files of a layer while what packages' scripts would make is added to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from immutable.builders.debian.places import Places
from immutable.content.entries import Entry, EntryKind, parent, safe_path, show
from immutable.errors import EntryError

_MOST_BYTES = 16 << 20
_MOST_LINKS = 40  # Linux's own bound, path_resolution(7)


class Tree:
    """A layer's entries by path; what is added goes to its place and never over what is there.

    What `left_out` says is not added. Paths are raw bytes, with or without a leading ``/``.
    """

    def __init__(
        self, entries: Iterable[Entry], places: Places, left_out: Callable[[bytes], bool]
    ) -> None:
        self._places = places
        self._left_out = left_out
        self._entries = {entry.path: entry for entry in entries}
        self._added: list[Entry] = []

    @property
    def added(self) -> tuple[Entry, ...]:
        """What was added, in its order."""
        return tuple(self._added)

    def add(self, *entries: Entry) -> None:
        """Put each of `entries` at its place unless something is there."""
        for given in entries:
            if given.path != safe_path(given.path):
                raise EntryError(f"{show(given.path)}: no path for a file")
            entry = self._places.entry(given)
            if entry.path not in self._entries and not self._left_out(entry.path):
                self._entries[entry.path] = entry
                self._added.append(entry)

    def get(self, path: bytes) -> Entry | None:
        """Return what stands at `path` itself, links in front of it followed."""
        path = path.strip(b"/")
        parent_path = self._resolve(parent(path), _MOST_LINKS)
        if parent_path is None:
            return None
        name = path.rpartition(b"/")[2]
        return self._entries.get(self._places(parent_path + b"/" + name if parent_path else name))

    def find(self, path: bytes) -> Entry | None:
        """Return what `path` leads to, links followed; None where it leads nowhere."""
        resolved = self._resolve(path.strip(b"/"), _MOST_LINKS)
        return None if resolved is None else self._entries.get(resolved)

    def real(self, path: bytes) -> bytes | None:
        """Return `path` with all links followed; None where that leads nowhere."""
        return self._resolve(path.strip(b"/"), _MOST_LINKS)

    def read(self, path: bytes) -> bytes | None:
        """Return the content of the file that `path` leads to; None if there is none.

        Raises EntryError for one that is too large to be the kind of file that is read here.
        """
        entry = self.find(path)
        if (
            entry is None
            or entry.kind not in (EntryKind.FILE, EntryKind.HARDLINK)
            or entry.content is None
        ):
            return None
        if entry.content.size > _MOST_BYTES:
            raise EntryError(f"{show(path)}: expected at most {_MOST_BYTES} bytes")
        return b"".join(entry.content.read())

    def within(self, folder: bytes) -> Iterator[bytes]:
        """Yield the paths within `folder`, sorted."""
        prefix = self._places(folder.strip(b"/")) + b"/"
        yield from sorted(path for path in self._entries if path.startswith(prefix))

    def _resolve(self, path: bytes, links: int) -> bytes | None:
        """Return the real path; a missing last name is fine, as for ``realpath``."""
        resolved = b""
        names = [name for name in path.split(b"/") if name not in (b"", b".")]
        while names:
            name = names.pop(0)
            if name == b"..":
                resolved = parent(resolved)
                continue
            there = self._places(resolved + b"/" + name if resolved else name)
            entry = self._entries.get(there)
            if entry is not None and entry.kind is EntryKind.SYMLINK:
                links -= 1
                if links < 0:
                    return None
                if entry.target.startswith(b"/"):
                    resolved = b""
                target = [part for part in entry.target.split(b"/") if part not in (b"", b".")]
                names = target + names
                continue
            resolved = there
        return resolved
