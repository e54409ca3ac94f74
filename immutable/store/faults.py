"""What can be wrong with a store."""

from __future__ import annotations

import enum
from typing import Any

from attrs import field, frozen

from immutable.findings import Finding, Severity


class FaultKind(enum.StrEnum):
    """What a fault is about."""

    PERMISSION = "permission"  # a directory that others can write
    LAYOUT = "layout"  # the layout's marker
    DATABASE = "database"  # the database as a whole, or its names as a whole
    INDEX = "index"  # index.json as a whole
    NAME = "name"  # a name on which index.json and the database do not agree
    FOREIGN = "foreign"  # what is no blob, where only blobs are
    BLOB = "blob"  # a blob whose bytes are not those of its name
    MISSING = "missing"  # a blob that something needs and that is not there
    DOCUMENT = "document"  # a manifest, index or config that says what is not so
    REALISATION = "realisation"
    SOURCE = "source"
    CHUNKS = "chunks"
    CONTENTS = "contents"
    QUESTIONS = "questions"
    ANSWERS = "answers"
    STATS = "stats"
    LEASE = "lease"


@frozen
class Fault:
    """One thing in a store that does not hold.

    `repairable` says whether a repair puts it right with what the store has. `hint` says what a
    repair does, or what else to do. `key` is what a repair goes by.
    """

    kind: FaultKind
    place: str
    expected: str
    found: str
    repairable: bool
    hint: str
    key: tuple[Any, ...] = field(default=(), eq=False, repr=False)

    @property
    def finding(self) -> Finding:
        """The fault as a finding; its code is ``store.`` and the kind."""
        words = f"expected {self.expected}, found {self.found}"
        return Finding(f"store.{self.kind}", Severity.ERROR, self.place, words)

    def __str__(self) -> str:
        return str(self.finding)
