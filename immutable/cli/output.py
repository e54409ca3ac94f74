"""What goes to people and programs: results to stdout, messages to stderr, tables, JSON."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, Final, TextIO

from immutable.redact import redact, redact_document

_GAP: Final = "  "
_UNITS: Final = ("kB", "MB", "GB", "TB")
# Names and labels come from images that anyone may have made: a terminal must not obey them.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class OutputError(Exception):
    """Standard output does not take what there is to say."""

    def __init__(self, number: int, reason: str) -> None:
        self.errno = number
        super().__init__(f"standard output: {reason}")


def prepare() -> None:
    """Make the standard streams fit for use.

    Descriptors 0 to 2 that came closed are opened on the null device: a file of the store must
    not become the standard error of a child process. Text that a stream's encoding lacks is
    escaped instead of ending the program.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str, *, verbatim: bool = False) -> None:
    """Write a result to standard output; raise OutputError where that is not possible.

    It is redacted, unless it is `verbatim`: a program, or what was redacted but for its content.
    """
    _write(shown(text if verbatim else redact(text)) + "\n")


def say_json(document: object, *, verbatim: bool = False) -> None:
    """Write `document`, the one JSON document of a command, to standard output.

    It is redacted, unless it is `verbatim`: what was redacted already, but for its content.
    """
    if not verbatim:
        document = redact_document(document)
    _write(json.dumps(document, indent=2, ensure_ascii=True) + "\n")


def tell(text: str) -> None:
    """Write a message, redacted, to standard error, or nowhere if that is gone."""
    with suppress(OSError, ValueError):
        stream: TextIO | None = sys.stderr
        if stream is not None:
            stream.write(shown(redact(text)) + "\n")
            stream.flush()


def abandon() -> None:
    """Drop what standard output would not take, or it is tried again, loudly, at the exit."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def shown(text: str) -> str:
    """Return `text` with its control characters spelt out; newlines and tabs stay."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def size(count: int) -> str:
    """Return `count` bytes as people read it: ``812 B``, ``31.2 MB``."""
    if count < 1000:
        return f"{count} B"
    power = 1
    while power < len(_UNITS) and count >= 999.95 * 1000**power:
        power += 1
    return f"{count / 1000**power:.1f} {_UNITS[power - 1]}"


def table(rows: Sequence[Sequence[str]], *, right: Collection[int] = (), indent: str = "") -> str:
    """Return `rows` as lines with aligned columns, those in `right` to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + _GAP.join(cells)).rstrip())
    return "\n".join(lines)


def fields(pairs: Sequence[tuple[str, str | Sequence[str]]], *, indent: str = "") -> str:
    """Return names with their values, one a line; a name stands beside the first of several."""
    rows: list[tuple[str, str]] = []
    for name, value in pairs:
        values = (value,) if isinstance(value, str) else value
        rows += [(name if number == 0 else "", line) for number, line in enumerate(values)]
    return table(rows, indent=indent) if rows else ""


def plural(count: int, noun: str) -> str:
    """Return ``1 image`` or ``2 images``."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _write(text: str) -> None:
    stream: Any = sys.stdout
    if stream is None:
        raise OutputError(errno.EBADF, "closed")
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        raise OutputError(error.errno or 0, error.strerror or str(error)) from None
