"""Links between the project's pages lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.pages import ROOT, headings

PAGES: Final = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), ROOT / "specs/README.md", ROOT / "benchmarks/README.md")
)
_LINK: Final = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def dead_links(path: Path) -> Iterator[str]:
    """The links of the page at `path` to files and headings that are not there."""
    text = path.read_text()
    for target in _LINK.findall(text):
        file, _, anchor = target.partition("#")
        if file.startswith(("https://", "http://")):
            continue
        place = path.parent / file if file else path
        if not place.exists() or (anchor and anchor not in map(_anchor, headings(text))):
            yield target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


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
