"""What ARCHITECTURE.md says is where is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.pages import ROOT, page, rows, section
from tests.support.rooms import ROOMS

PAGE: Final = page("ARCHITECTURE.md")
BUILD: Final = "One build, step by step"
_LINK: Final = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


def faults(text: str, root: Path = ROOT) -> Iterator[str]:
    """What does not hold of the links in `text`: a path, or a name in the file at it."""
    for said, target in _LINK.findall(text):
        path = root / target
        if not path.exists():
            yield f"{target}: there is no such path"
        elif said.startswith("`"):
            place, _, names = said.strip("`").partition(": ")
            if place not in (inside := target.removeprefix("immutable/"), _room(inside)):
                yield f"{said}: leads to {target}"
            missing = set(filter(None, names.split(", "))) - _names(path)
            yield from (f"{target}: there is no {name}" for name in sorted(missing))


def _room(inside: str) -> str:
    return "immutable" if inside == "__init__.py" else inside.removesuffix(".py")


def _names(path: Path) -> set[str]:
    """The names of the functions and classes at `path`, and of the methods as ``Class.method``."""
    if path.is_dir():
        return set()
    found = set()
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (one for one in node.body if isinstance(one, ast.FunctionDef))
            found |= {f"{node.name}.{method.name}" for method in methods}
    return found


def test_every_path_and_name_that_the_page_links_to_exists() -> None:
    assert len(_LINK.findall(PAGE)) > 100
    assert [] == list(faults(PAGE))


def test_every_room_is_on_the_map_in_the_order_in_which_it_may_import() -> None:
    drawn = [tuple(re.findall(r"\[`(\w+)`\]", row[0])) for row in rows(section(PAGE, "The rooms"))]
    assert list(ROOMS) == drawn


def test_every_folder_and_module_of_the_package_is_a_room_on_the_map() -> None:
    there = {
        _room(path.name)
        for path in (ROOT / "immutable").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there == {room for row in ROOMS for room in row}


def test_the_steps_of_a_build_lead_through_the_rooms() -> None:
    steps = re.findall(
        r"^\d+\. \*\*.+?(?=^\d+\. |\Z)", section(PAGE, BUILD), re.MULTILINE | re.DOTALL
    )
    assert len(steps) >= 10
    assert [] == [step for step in steps if "](immutable/" not in step]


@pytest.mark.parametrize(("heading", "least"), [("Where do I find …", 34), ("Glossary", 24)])
def test_each_row_of_a_table_leads_to_the_code(heading: str, least: int) -> None:
    found = rows(section(PAGE, heading))
    assert len(found) >= least
    assert [] == [row for row in found if "](immutable/" not in row[-1]]


def test_at_least_ten_rows_answer_a_question() -> None:
    found = rows(section(PAGE, "Where do I find …"))
    assert len([row for row in found if row[0].endswith("?")]) >= 10


def test_the_map_can_be_wrong(tmp_path: Path) -> None:
    module = tmp_path / "immutable" / "oci" / "tags.py"
    module.parent.mkdir(parents=True)
    module.write_text("def is_tag(): ...\nclass Tag:\n    def show(self): ...\n")
    links = (
        ("`oci/tags.py: is_tag, Tag, Tag.show`", "immutable/oci/tags.py"),
        ("`oci`", "immutable/oci"),
        ("`oci/tags.py: is_label`", "immutable/oci/tags.py"),
        ("`oci/names.py`", "immutable/oci/tags.py"),
        ("`oci/names.py`", "immutable/oci/names.py"),
        ("elsewhere", "OTHER.md"),
    )
    text = "\n".join(f"[{said}]({target})" for said, target in links)
    assert [
        "immutable/oci/tags.py: there is no is_label",
        "`oci/names.py`: leads to immutable/oci/tags.py",
        "immutable/oci/names.py: there is no such path",
        "OTHER.md: there is no such path",
    ] == list(faults(text, tmp_path))
