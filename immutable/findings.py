"""Findings: what a check, a diff or a verification has to say, each in one form.

A fault of a spec, a difference between two builds, damage to a store and what a check finds all
come down to this value, so that whoever shows, counts or exports them needs to know no other.
"""

from __future__ import annotations

import enum
import re
from typing import Final, Self

from attrs import frozen

_PATH: Final = re.compile(r"[^\s:]+")  # of a key in a document: layer[2].packages[0]


class Severity(enum.StrEnum):
    """How much a finding matters: an error refuses, the others only tell."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@frozen
class Finding:
    """One thing found: `code` is for programs, `place` says where, `words` what."""

    code: str
    severity: Severity
    place: str
    words: str

    @classmethod
    def of_line(cls, code: str, severity: Severity, where: str, line: str) -> Self:
        """Return the finding that `line`, ``path: words`` or only words, tells of a document."""
        path, colon, words = line.partition(": ")
        if colon and _PATH.fullmatch(path):
            return cls(code, severity, f"{where}: {path}", words)
        return cls(code, severity, where, line)

    def __str__(self) -> str:
        return f"{self.place}: {self.words}"
