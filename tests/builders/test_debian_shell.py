"""Reading scripts: plain words of commands, and nothing that depends on the run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.builders.debian.shell import Word, commands


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("a b  c\n", [("a", "b", "c")]),
        ("a b # c\n#d\ne", [("a", "b"), ("e",)]),
        ("a; b && c || d | e & f", [(c,) for c in "abcdef"]),
        ("a \\\n  b", [("a", "b")]),
        ("a 'b c' \"d e\" f\\ g", [("a", "b c", "d e", "f g")]),
        ("a 'b\nc' d", [("a", "b\nc", "d")]),
        ('a "" ""b', [("a", "", "b")]),
        ('a "\\$x \\" \\a"', [("a", '$x " \\a')]),
        ("if a; then b; fi", [("if", "a"), ("then", "b"), ("fi",)]),
        (
            "case x in (y) a;; z) b;; esac",
            [("case", "x", "in"), ("y",), ("a",), ("z",), ("b",), ("esac",)],
        ),
        ("f() { a; }", [("f",), ("{", "a"), ("}",)]),
        ("a $x ${y:-z} $1 b", [("a", None, None, None, "b")]),
        ('a "x$y" z', [("a", None, "z")]),
        ("a $(b 'c' (d)) e", [("a", None, "e")]),
        ("a `b c` d", [("a", None, "d")]),
        ("a *.x [b] c?", [("a", None, None, None)]),
        ("a '*' \"?\"", [("a", "*", "?")]),
        (
            'a "$DPKG_ROOT/x" $DPKG_ROOT/y ${DPKG_ROOT}/z ${DPKG_ROOT:-}',
            [("a", "/x", "/y", "/z", "")],
        ),
        ("a $DPKG_ROOTS", [("a", None)]),
        ("a >b 2>&1 c", [("a",), ("b",), ("1", "c")]),
        ("a <<EOF b\nx y\nEOF\nc", [("a",), ("b",), ("c",)]),
        ("a <<-'EOF'\n\tx\n\tEOF\nc", [("a",), ("c",)]),
        ("a <<'X Y'\n'\nX Y\nc", [("a",), ("c",)]),
        ("a <<< b\nc", [("a",), ("b",), ("c",)]),
        ("a <<A <<B\n1\nA\n2\nB\nc", [("a",), ("c",)]),
        ("a 'open", [("a", "open")]),
        ('a "open', [("a", "open")]),
        ("a $(open", [("a", None)]),
        ("a <<EOF\nopen", [("a",)]),
        ("a$", [(None,)]),
        ("", []),
    ],
)
def test_commands(script: str, expected: list[tuple[Word, ...]]) -> None:
    assert expected == list(commands(script))


@given(st.text("ab \t\n'\"\\$`(){};&|<>#*EOF-", max_size=60))
def test_any_text_can_be_read(script: str) -> None:
    assert all(words for words in commands(script))
