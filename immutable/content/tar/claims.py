"""The paths that one archive has claimed: duplicates, and paths that do not lead where they say.

An unpacker that follows a symbolic link out of its directory, or replaces a directory with one,
is how archives escape; so is a hard link to what the archive does not hold. All are refused
while the archive is read, whatever is done with its entries later.
"""

from __future__ import annotations

from typing import Final

from immutable.content.entries import EntryKind, parent, show
from immutable.errors import EntryError

_SHOWN = {
    EntryKind.FILE: "a file",
    EntryKind.HARDLINK: "a hard link",
    EntryKind.SYMLINK: "a symlink",
    EntryKind.CHARACTER: "a character device",
    EntryKind.BLOCK: "a block device",
    EntryKind.DIRECTORY: "a directory",
    EntryKind.FIFO: "a FIFO",
}
_DIRECTORY = EntryKind.DIRECTORY
_IMPLIED: Final = None  # a directory that has not had an entry of its own yet


class Claims:
    """What stands where, so far; directories that are only implied count, and may still come.

    At most `members` paths of `names` bytes in all are held: deep paths imply many directories.
    With `repeats`, as in OCI layers, a later entry may replace an earlier one, but nothing
    may take a directory's place.
    """

    def __init__(self, *, members: int, names: int, repeats: bool = False) -> None:
        self._members, self._names, self._repeats = members, names, repeats
        self._kinds: dict[bytes, EntryKind | None] = {}
        self._bytes = 0

    def add(self, path: bytes, kind: EntryKind) -> None:
        """Claim `path`; raise EntryError when it is taken or goes through no directory."""
        if not path:
            raise EntryError(f"the root as {_SHOWN[kind]}")
        if path in self._kinds:
            self._check_repeat(path, kind)
        parent_path = parent(path)
        if parent_path and self._kinds.get(parent_path) is not _DIRECTORY:
            self._imply(parent_path, path)
        self._put(path, kind)

    def check_link(self, path: bytes, target: bytes) -> None:
        """Raise EntryError unless the hard link `path` repeats an earlier entry of its own name."""
        if target not in self._kinds:
            raise EntryError(
                f"{show(path)}: a hard link to {show(target)}, which is not there before it"
            )
        if self._kinds[target] in (_DIRECTORY, _IMPLIED):
            raise EntryError(f"{show(path)}: a hard link to {show(target)}, a directory")
        if path == target:
            raise EntryError(f"{show(path)}: a hard link to itself")

    def _check_repeat(self, path: bytes, kind: EntryKind) -> None:
        present = self._kinds[path]
        if present is _IMPLIED:
            if kind is _DIRECTORY:
                return
            present = _DIRECTORY
        if not self._repeats:
            raise EntryError(
                f"{show(path)}: claimed twice, as {_SHOWN[present]} and as {_SHOWN[kind]}"
            )
        if present is _DIRECTORY and kind is not _DIRECTORY:
            raise EntryError(f"{show(path)}: {_SHOWN[kind]} in the place of a directory")

    def _imply(self, directory: bytes, path: bytes) -> None:
        while directory:
            if directory in self._kinds:
                present = self._kinds[directory]
                if present is _DIRECTORY or present is _IMPLIED:
                    return
                raise EntryError(
                    f"{show(path)}: goes through {show(directory)}, which is {_SHOWN[present]}"
                )
            self._put(directory, _IMPLIED)
            directory = parent(directory)

    def _put(self, path: bytes, kind: EntryKind | None) -> None:
        before = len(self._kinds)
        self._kinds[path] = kind
        if len(self._kinds) == before:
            return
        self._bytes += len(path)
        if before >= self._members:
            raise EntryError(f"{show(path)}: more than {self._members} paths in one archive")
        if self._bytes > self._names:
            raise EntryError(f"{show(path)}: more than {self._names} bytes of paths in one archive")
