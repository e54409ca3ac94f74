"""Entries to test with: what is in them, and contents that are as odd as a test wants."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from immutable.content.entries import Entry


@frozen
class Sized:
    """Content that says one size and gives pieces of another, or none at all."""

    size: int
    pieces: tuple[bytes, ...] = ()

    def read(self) -> Iterator[bytes]:
        yield from self.pieces


def content(entry: Entry) -> bytes:
    """Return the bytes of a file."""
    assert entry.content is not None
    return b"".join(entry.content.read())
