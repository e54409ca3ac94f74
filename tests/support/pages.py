"""Pages of the project, read for tests that hold them to what the code says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

_HEADING: Final = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_CODE: Final = re.compile(r"`([^`]+)`")
_FENCED: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    """Return the text of a page, by its path in the project."""
    return (ROOT / name).read_text()


def headings(text: str) -> list[str]:
    """Return the headings of a page, without their number signs."""
    return [match[2] for match in _HEADING.finditer(_without_code(text))]


def section(text: str, heading: str) -> str:
    """Return what stands below `heading`, up to the next one of its level or a higher one."""
    found = [match for match in _HEADING.finditer(_without_code(text)) if match[2] == heading]
    assert 1 == len(found), f"{heading!r}: {len(found)} sections of that name"
    (start,) = found
    following = _HEADING.finditer(_without_code(text), start.end())
    ends = (match.start() for match in following if len(match[1]) <= len(start[1]))
    return text[start.end() : next(ends, len(text))]


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables in `text`, row by row, without the tables' heads."""
    lines = text.splitlines()
    is_head = [line.startswith("|---") for line in lines]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for number, line in enumerate(lines)
        if line.startswith("|") and not any(is_head[number : number + 2])
    ]


def code(text: str) -> list[str]:
    """Return what stands in backticks in `text`."""
    return _CODE.findall(text)


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of code in `text` that are said to be in `language`."""
    return [body for name, body in _FENCED.findall(text) if name == language]


def _without_code(text: str) -> str:
    """Return `text` with its blocks of code blanked, where a number sign is no heading."""
    return _FENCED.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
