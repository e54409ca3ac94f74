"""What pages and docstrings refer to is there."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.pages import ROOT, headings

PAGES: Final = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), ROOT / "specs/README.md", ROOT / "benchmarks/README.md")
)
MODULES: Final = sorted((ROOT / "immutable").rglob("*.py"))
_LINK: Final = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def dead_links(path: Path) -> Iterator[str]:
    """The links of the page at `path` to files and headings that are not there."""
    for target in _LINK.findall(path.read_text()):
        file, _, anchor = target.partition("#")
        if file.startswith(("https://", "http://")):
            continue
        place = path.parent / file if file else path
        there = place.exists()
        if there and anchor:
            there = anchor in map(_anchor, headings(place.read_text()))
        if not there:
            yield target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def mentioned(text: str) -> list[str]:
    """The whole names of ours that stand in backticks in `text`: ``immutable.net.wanted``."""
    return re.findall(r"`(immutable(?:\.\w+)+)`", text)


def is_there(name: str) -> bool:
    """Whether `name` is a module of ours, or something in one."""
    found: object = importlib.import_module("immutable")
    place = "immutable"
    for part in name.split(".")[1:]:
        place = f"{place}.{part}"
        if not hasattr(found, part):
            try:
                importlib.import_module(place)
            except ImportError:
                return False
        found = sys.modules.get(place) or getattr(found, part)
    return True


def test_there_are_pages() -> None:
    assert {"ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "specs/README.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    assert [] == list(dead_links(ROOT / page))


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "PAGE.md"
    page.write_text(
        "# A page: one\n[a](PAGE.md) [b](#a-page-one) [c](https://example.com)\n"
        "[d](OTHER.md) [e](#another)\n"
    )
    assert ["OTHER.md", "#another"] == list(dead_links(page))


def test_what_docstrings_name_of_the_package_exists() -> None:
    named = [(path.name, name) for path in MODULES for name in mentioned(path.read_text())]
    assert len(named) > 5
    assert [] == [(path, name) for path, name in named if not is_there(name)]


def test_a_name_that_is_nowhere_is_found() -> None:
    assert ["immutable.net.wanted.Through"] == mentioned("see `immutable.net.wanted.Through`")
    assert is_there("immutable.net.wanted.Through")
    assert not is_there("immutable.net.wanted.Across")
    assert not is_there("immutable.sources.wanted")
