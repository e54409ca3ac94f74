"""Tables, sizes, and text that a terminal may show."""

import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from immutable.cli import output


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (31_249_999, "31.2 MB"),
        (10**9, "1.0 GB"),
        (10**12, "1.0 TB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes_are_in_powers_of_a_thousand(count: int, text: str) -> None:
    assert text == output.size(count)


def test_columns_are_aligned_and_lines_end_with_text() -> None:
    rows = [("NAME", "SIZE", "NOTE"), ("a", "5", ""), ("long name", "12345", "x")]
    assert [
        "NAME        SIZE  NOTE",
        "a              5",
        "long name  12345  x",
    ] == output.table(rows, right={1}).splitlines()
    assert "" == output.fields([])
    assert "  a   1\n  bc  2\n      3" == output.fields(
        [("a", "1"), ("bc", ["2", "3"])], indent="  "
    )


@given(st.text())
@example("\x1b]0;title\x07\x9b\u202e\r")
def test_nothing_shown_steers_a_terminal(text: str) -> None:
    assert not [
        c for c in output.shown(text) if unicodedata.category(c) == "Cc" and c not in "\n\t"
    ]
    assert output.shown(text) == output.shown(output.shown(text))


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    assert text == output.shown(text)


def test_json_is_one_document_of_plain_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"ü": ["\udcff", 1, None, True]}
    output.say_json(document)
    written = capsys.readouterr().out
    assert written.isascii()
    assert document == json.loads(written)


def test_words_have_their_number() -> None:
    assert ["0 images", "1 image", "2 images"] == [output.plural(n, "image") for n in range(3)]
