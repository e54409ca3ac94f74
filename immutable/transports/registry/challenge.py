"""What a 401 asks for: the WWW-Authenticate header (RFC 9110, 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from attrs import frozen

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))')
_SCHEME: Final = re.compile(rf"({_WORD})(?:[ \t]+|(?=,)|$)")
_TOKEN68: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))")
_GAP: Final = re.compile(r"[ \t,]*")
_LONGEST: Final = 16 << 10


@frozen
class Challenge:
    """One way to log in: a scheme in lower case, and its parameters."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """Return the parameter `name`, empty where there is none."""
        return dict(self.parameters).get(name, "")


def parse(header: str) -> tuple[Challenge, ...]:
    """Return the challenges in `header`, up to the first that cannot be read.

    Of a parameter given twice the first counts.
    """
    return tuple(_challenges(header[:_LONGEST]))


def _challenges(header: str) -> Iterator[Challenge]:
    at = _after_gap(header, 0)
    while at < len(header):
        scheme = _SCHEME.match(header, at)
        if scheme is None:
            return
        parameters: dict[str, str] = {}
        at = _after_gap(header, scheme.end())
        while (match := _PARAMETER.match(header, at)) is not None:
            value = re.sub(r"\\(.)", r"\1", match[2]) if match[3] is None else match[3]
            parameters.setdefault(match[1].lower(), value)
            at = _after_gap(header, match.end())
        if not parameters and (match := _TOKEN68.match(header, at)) and "=" in match[0]:
            at = _after_gap(header, match.end())
        yield Challenge(scheme[1].lower(), tuple(parameters.items()))


def _after_gap(header: str, at: int) -> int:
    match = _GAP.match(header, at)
    return match.end() if match else at
