"""TOML to frozen types: strict, every fault at once, each with its path."""

from __future__ import annotations

import contextlib
import datetime
import tomllib
from collections.abc import Mapping
from typing import Any, NewType

import pytest
import tomli_w
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from immutable.errors import SpecError
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.spec import toml
from immutable.spec.toml import FaultError, Pairs
from tests.support import strategies


@frozen
class Inner:
    some_number: int
    flag: bool = False


@frozen
class Outer:
    title: str = ""
    inner: Inner | None = None
    rows: tuple[Inner, ...] = ()
    words: tuple[str, ...] = ()
    pairs: Pairs = ()
    free: Mapping[str, Any] = field(factory=dict)
    when: datetime.datetime | None = None
    digest: Digest | None = None
    platform: Platform | None = None
    from_: str = field(default="", metadata=toml.parsed_by(str.upper))


@frozen
class Either:
    this: str = ""
    that: str = ""

    def __attrs_post_init__(self) -> None:
        if bool(self.this) == bool(self.that):
            raise FaultError("expected either this or that", key="that")


@frozen
class Holder:
    one: tuple[Either, ...]


Broken = NewType("Broken", str)


@frozen
class BrokenHolder:
    value: Broken


def faults(text: str, cls: type[Any] = Outer) -> list[str]:
    with pytest.raises(SpecError) as caught:
        toml.build(toml.read_toml(text.encode(), "x.toml"), cls, "x.toml")
    assert str(caught.value) == "\n".join(f"x.toml: {fault}" for fault in caught.value.faults)
    return list(caught.value.faults)


def read_fault(data: bytes) -> str:
    with pytest.raises(SpecError) as caught:
        toml.read_toml(data, "x.toml")
    (fault,) = caught.value.faults
    return fault


def test_a_whole_document() -> None:
    text = f"""
        title = "t"
        inner.some-number = 3
        rows = [{{ some-number = -1, flag = true }}]
        words = ["b", "a"]
        pairs = {{ b = "2", a = "1" }}
        free = {{ x = [1, {{ y = 2.5 }}] }}
        when = 2024-05-06T09:08:07+02:00
        digest = "{"0" * 64}"
        platform = "linux/arm64/v8"
        from = "lower"
    """
    made = toml.build(toml.read_toml(text.encode(), "x.toml"), Outer, "x.toml")
    expected = Outer(
        "t",
        Inner(3),
        (Inner(-1, flag=True),),
        ("b", "a"),
        (("a", "1"), ("b", "2")),
        {"x": (1, {"y": 2.5})},
        datetime.datetime(2024, 5, 6, 7, 8, 7, tzinfo=datetime.UTC),
        Digest("0" * 64),
        Platform("linux", "arm64"),
        "LOWER",
    )
    assert expected == made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("title = 1.0", "title: expected a string, found the float 1.0"),
        ("title = 1", "title: expected a string, found the integer 1"),
        ("title = true", "title: expected a string, found the boolean true"),
        ("title = 1979-05-27", "title: expected a string, found the date 1979-05-27"),
        ("title = 07:32:00", "title: expected a string, found the time 07:32:00"),
        ("title = []", "title: expected a string, found an array"),
        ("title = {}", "title: expected a string, found a table"),
        ('title = "a\\u0000"', "title: a NUL in a string"),
        ("words = 'x'", "words: expected an array, found the string 'x'"),
        ("words = {}", "words: expected an array, found a table"),
        ("words = ['a', 2]", "words[1]: expected a string, found the integer 2"),
        ("inner = []", "inner: expected a table, found an array"),
        ("inner = {}", "inner.some-number: is required"),
        ("inner.some-number = 1.0", "inner.some-number: expected an integer, found the float 1.0"),
        (
            "inner.some-number = true",
            "inner.some-number: expected an integer, found the boolean true",
        ),
        ("inner = { some-number = 1, flag = 1 }",
         "inner.flag: expected true or false, found the integer 1"),
        ("rows = [{ some-number = 1 }, 3]", "rows[1]: expected a table, found the integer 3"),
        ("pairs = { a = 1 }", "pairs.a: expected a string, found the integer 1"),
        ('pairs = { a = "\\u0000" }', "pairs.a: a NUL in a string"),
        ('pairs = { "" = "x" }', "pairs.'': expected a key with neither NUL nor nothing in it"),
        ("free = 1", "free: expected a table, found the integer 1"),
        ("when = 1979-05-27",
         "when: expected a time with its offset from UTC, found the date 1979-05-27"),
        (
            "when = 1979-05-27T07:32:00",
            "when: expected a time with its offset from UTC, found the time 1979-05-27T07:32:00",
        ),
        (
            "when = 9999-12-31T23:00:00-01:00",
            ("when: expected a time from the year 1 to 9999, "
            "found the time 9999-12-31T23:00:00-01:00"),
        ),
        ("digest = 'x'", "digest: expected 64 hex digits, found 'x'"),
        ("from = 1", "from: expected a string, found the integer 1"),
        ("titel = 'x'", "titel: unknown key; did you mean 'title'?"),
        ("from_ = 'x'", "from_: unknown key; did you mean 'from'?"),
        ("inner = { some-number = 1, some_number = 2 }",
         "inner.some_number: unknown key; did you mean 'some-number'?"),
        ("rows = [{ some-number = 1, zzz = 2 }]",
         "rows[0].zzz: unknown key; expected one of flag, some-number"),
        ('"a\\u001b" = 1',
         (r"'a\x1b': unknown key; expected one of digest, free, from, inner, pairs, platform, "
         r"rows, title, when, words")),
    ],
)  # fmt: skip
def test_a_fault_names_its_place_and_what_was_found(text: str, expected: str) -> None:
    assert [expected] == faults(text)


def test_all_faults_come_at_once() -> None:
    text = """
        title = 3
        inner = { flag = 1, colour = "red" }
        rows = [{ some-number = "1" }, { some-number = 2 }, {}]
        pairs = { a = 1, b = [] }
    """
    assert [
        "title: expected a string, found the integer 3",
        "inner.some-number: is required",
        "inner.flag: expected true or false, found the integer 1",
        "inner.colour: unknown key; expected one of flag, some-number",
        "rows[0].some-number: expected an integer, found the string '1'",
        "rows[2].some-number: is required",
        "pairs.a: expected a string, found the integer 1",
        "pairs.b: expected a string, found an array",
    ] == faults(text)


def test_a_class_can_refuse_what_its_fields_are_together() -> None:
    assert ["one[1].that: expected either this or that"] == faults(
        "one = [{ this = 'x' }, {}]", Holder
    )


def test_an_exception_that_is_no_fault_of_the_document_is_not_hidden() -> None:
    made = toml.converter()
    made.register_structure_hook(Broken, lambda value, _: value.no_such_attribute)
    with pytest.raises(ExceptionGroup) as caught:
        made.structure({"value": "x"}, BrokenHolder)
    with pytest.raises(AttributeError, match="no_such_attribute"):
        list(toml.faults(caught.value))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xef\xbb\xbfa = 1", "starts with a byte-order mark; save it as plain UTF-8"),
        ("a = 1".encode("utf-16"), "not UTF-8: byte 0 is 0xff"),
        (b"a = 'x\xe9'", "not UTF-8: byte 6 is 0xe9"),
        (b"a = 1\na = 2\nb = 3", "not TOML: duplicate key or table (at line 2"),
        (b"[a]\n[a]\n", "not TOML: duplicate key or table (at line 2"),
        (b"a = { b = 1, b = 2 }\n", "not TOML: duplicate key or table (at line 1"),
        (b"a = 1\n[a.b]\n", "not TOML: duplicate key or table (at line 2"),
        (b"a = {}\n[a.b]\n", "not TOML: duplicate key or table (at line 2"),
        (b"a = " + b"[" * 5000, "not TOML: nested too deeply"),
        (b"a = " + b"{ a = " * 5000, "not TOML: nested too deeply"),
        (b"a = " + b"9" * 5000, "an integer beyond 64 bits"),
        (b"a = [{ b = 9223372036854775808 }]", "a[0].b: an integer beyond 64 bits"),
        (b"a = -9223372036854775809", "a: an integer beyond 64 bits"),
        (b"a.b = [0, nan]", "a.b[1]: nan is no number to build from"),
        (b"a = -inf", "a: -inf is no number to build from"),
        (b"a = 1e999", "a: inf is no number to build from"),
    ],
)
def test_a_document_that_is_no_honest_toml(data: bytes, expected: str) -> None:
    # Columns are the TOML reader's own and change with its version.
    assert expected == read_fault(data).partition(", column")[0]


def test_nesting_is_bounded_on_every_machine_alike() -> None:
    assert toml.read_toml(b"a = " + b"[" * 49 + b"]" * 49, "x")
    assert read_fault(b"a = " + b"[" * 60 + b"]" * 60).endswith("…: nested too deeply")
    assert read_fault(b".".join([b"x"] * 200) + b" = 1").endswith("…: nested too deeply")


def test_the_largest_integers_are_fine() -> None:
    text = b"a = [9223372036854775807, -9223372036854775808]"
    assert {"a": [2**63 - 1, -(2**63)]} == toml.read_toml(text, "x")


def test_line_ends_do_not_matter() -> None:
    text = b'a = 1\n[b]\nc = """x\ny"""\n'
    crlf = text.replace(b"\n", b"\r\n")
    assert toml.read_toml(text, "x") == toml.read_toml(crlf, "x")


@given(st.dictionaries(strategies.text, strategies.toml_values))
def test_a_document_gives_a_value_or_a_spec_error(document: dict[str, Any]) -> None:
    data = tomli_w.dumps(document).encode()
    with contextlib.suppress(SpecError):
        toml.build(toml.read_toml(data, "x"), Outer, "x")


@given(st.binary() | st.text().map(str.encode))
def test_bytes_give_a_document_or_a_spec_error(data: bytes) -> None:
    try:
        made = toml.read_toml(data, "x")
    except SpecError:
        return
    assert tomllib.loads(data.decode()) == made


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Web", "web"),
        ("Caf\u00e9", "cafe\u0301"),
        ("CAFE\u0301", "caf\u00e9"),
        ("stra\u00dfe", "STRASSE"),
        ("\u01c4", "\u01c6"),
        ("\u01f0", "J\u030c"),
        ("\u212b", "\u00e5"),
    ],
)
def test_names_that_differ_only_in_case_or_form_are_one(one: str, other: str) -> None:
    assert one != other
    assert toml.folded(one) == toml.folded(other)


def test_names_that_differ_are_two() -> None:
    assert toml.folded("cafe") != toml.folded("caf\u00e9")


@given(strategies.text)
def test_folding_twice_changes_nothing(name: str) -> None:
    assert toml.folded(name) == toml.folded(toml.folded(name))
