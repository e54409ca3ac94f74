"""What specs/README.md says of specs is what the code takes."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from immutable.builders.inline import InlineEntry
from immutable.builders.registry import options
from immutable.lifecycle.retention.policy import Rule
from immutable.spec import document
from immutable.spec.toml import key_of
from tests.support.pages import code, headings, page, rows, section

PAGE = page("specs/README.md")
KINDS = sorted(options())


def keys(cls: type[Any]) -> list[str]:
    """The keys by which a spec fills an instance of `cls`."""
    return sorted(key_of(one.name) for one in attrs.fields(cls))


def listed(heading: str) -> list[str]:
    """The keys in the first columns of the tables below `heading`, but not below a subheading."""
    own = section(PAGE, heading).split("\n#")[0]
    return sorted(key for row in rows(own) for key in code(row[0]))


def test_the_page_has_a_section_for_each_layer_kind() -> None:
    assert len(KINDS) >= 6
    found = [heading for heading in headings(PAGE) if heading.startswith("`kind = ")]
    assert sorted(f'`kind = "{kind}"`' for kind in KINDS) == sorted(found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_of_a_layer_kind_lists_its_options_and_no_others(kind: str) -> None:
    assert keys(options()[kind]) == listed(f'`kind = "{kind}"`')


@pytest.mark.parametrize(
    ("heading", "cls"),
    [
        ("`[image]`", document.ImageTable),
        ("`[config]`", document.Config),
        ("Retention policies", Rule),
    ],
)
def test_the_table_of_another_part_lists_its_keys_and_no_others(
    heading: str, cls: type[Any]
) -> None:
    assert keys(cls) == listed(heading)


@pytest.mark.parametrize(
    ("heading", "cls"),
    [
        ("`[[user]]` and `[[group]]`", document.User),
        ("`[[user]]` and `[[group]]`", document.Group),
        ("`[config]`", document.Healthcheck),
        ('`kind = "files"`', InlineEntry),
    ],
)
def test_the_text_on_a_table_without_a_list_names_its_keys(heading: str, cls: type[Any]) -> None:
    said = {word.split(" = ")[0] for word in code(section(PAGE, heading))}
    assert [] == [key for key in keys(cls) if key not in said]
