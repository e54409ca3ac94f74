"""What is beneath a layer, for builders that are asked alone: entries by path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from immutable.builders.base import Everything
from immutable.content.entries import Entry, EntryKind
from tests.support.entries import content


@frozen
class Beneath:
    """Lower layers, as one tree; links are not followed."""

    entries: Mapping[bytes, Entry] = field(factory=dict)

    def find(self, path: bytes) -> Entry | None:
        return self.entries.get(path)

    def read(self, path: bytes) -> bytes | None:
        entry = self.entries.get(path)
        return content(entry) if entry is not None and entry.kind is EntryKind.FILE else None

    def within(self, path: bytes) -> Mapping[bytes, Entry]:
        return {one: e for one, e in self.entries.items() if one.startswith(path + b"/")}

    def matching(self, glob: str) -> Mapping[bytes, EntryKind]:
        raise NotImplementedError(glob)

    def copies(self) -> Mapping[str, Sequence[Sequence[Entry]]]:
        raise NotImplementedError

    def owner(self, owner: str) -> tuple[int, int]:
        raise NotImplementedError(owner)

    def everything(self) -> Everything:
        raise NotImplementedError
