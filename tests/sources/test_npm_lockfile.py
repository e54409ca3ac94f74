"""``package-lock.json``: what is read of it, and that everything else is refused by its place."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.builders.npm.project import read_project
from immutable.errors import ResolutionError, SpecError
from immutable.sources.npm.lockfile import Edge, LockedPackage, Lockfile, parse
from immutable.sources.npm.selection import Target, select
from tests.support.npm import integrity

GOOD = {"version": "1.0.0", "integrity": integrity(b"a")}


def document(entry: Any = None, **packages: Any) -> dict[str, Any]:
    """Return a lockfile that has `entry` at node_modules/a."""
    return {
        "name": "app",
        "lockfileVersion": 3,
        "requires": True,
        "packages": {
            "": {"name": "app", "dependencies": {"a": "1"}},
            "node_modules/a": GOOD if entry is None else entry,
            **packages,
        },
    }


def read(document: Any) -> Lockfile:
    return parse(json.dumps(document).encode(), "package-lock.json")


def one(**entry: Any) -> LockedPackage:
    return read(document({**GOOD, **entry})).packages["node_modules/a"]


def refused(data: bytes, *said: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_project(data, "package-lock.json").words(())
    for part in said:
        assert part in str(caught.value)
    assert str(caught.value).startswith("package-lock.json: ")


def test_versions_two_and_three_say_the_same() -> None:
    three = document()
    legacy = {"a": {"version": "1.0.0", "integrity": integrity(b"other"), "bundled": True}}
    two = {**three, "lockfileVersion": 2, "dependencies": legacy}
    assert read(three).packages == read(two).packages
    assert "dependencies" not in read(two).head


def test_how_it_is_written_makes_no_difference_but_to_what_npm_writes_from_it() -> None:
    plain = json.dumps(document()).encode()
    tabs = json.dumps(document(), indent="\t").replace("\n", "\r\n").encode()
    with_mark = b"\xef\xbb\xbf" + tabs
    read_ones = [parse(data, "x") for data in (plain, tabs, with_mark)]
    assert [("  ", "\n"), ("\t", "\r\n"), ("\t", "\r\n")] == [
        (one.indent, one.newline) for one in read_ones
    ]
    assert read_ones[0].packages == read_ones[1].packages == read_ones[2].packages


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"[]", "expected an object, as npm writes it"),
        (b"\xff\xfe{}", "not UTF-8: byte 0"),
        (b'{"a": 1, "a": 2}', "duplicate key 'a'"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": 1e999}', "1e999 is beyond every float"),
        (b'{"a": ' + b"9" * 5000 + b"}", "an integer of 5000 digits"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"\\udfff": 1}', "half a surrogate pair"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", "nested too deeply"),
        (b'{"packages": {}}', "lockfileVersion: expected 2 or 3, found none"),
        (b'{"lockfileVersion": 1}', "found 1; run `npm install --package-lock-only"),
        (b'{"dependencies": {}}', "found 1; run `npm install --package-lock-only"),
        (b'{"lockfileVersion": 4}', "expected 2 or 3, found 4"),
        (b'{"lockfileVersion": true}', "expected 2 or 3, found true"),
        (b'{"lockfileVersion": 3.0, "packages": {}}', "expected 2 or 3, found 3.0"),
        (b'{"lockfileVersion": 3}', "packages: expected an object, found none"),
    ],
)
def test_what_is_no_lockfile_is_refused(data: bytes, said: str) -> None:
    refused(data, said)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ([], '["node_modules/a"]: expected an object'),
        ({"version": "1"}, "version: expected one like 1.2.3, found '1'"),
        ({}, "version: expected one like 1.2.3, found ''"),
        ({**GOOD, "version": "1.0.0/../.."}, "version: expected one like 1.2.3"),
        ({**GOOD, "version": 1}, ".version: expected a string, found 1"),
        ({**GOOD, "name": "../b"}, ".name: expected a package's name, found '../b'"),
        ({**GOOD, "name": "b c"}, ".name: expected a package's name"),
        ({**GOOD, "integrity": 5}, ".integrity: expected a string, found 5"),
        ({**GOOD, "integrity": "sha512-AAAA"}, ".integrity: expected 64 bytes in base64"),
        ({**GOOD, "integrity": "sha512-?"}, ".integrity: expected 64 bytes in base64"),
        ({**GOOD, "optional": "yes"}, '.optional: expected true or false, found "yes"'),
        ({**GOOD, "os": {"linux": 1}}, ".os: expected an array of strings"),
        ({**GOOD, "cpu": [64]}, ".cpu: expected an array of strings"),
        ({**GOOD, "dependencies": ["b"]}, ".dependencies: expected an object"),
        ({**GOOD, "bin": 5}, ".bin: expected an object"),
        ({"link": True, "resolved": "/etc"}, ".resolved: expected a folder of the project"),
        ({"link": True, "resolved": "a\nb"}, ".resolved: expected a string"),
        ({"link": True, "resolved": "gone"}, "a link to 'gone', which the lockfile does not hold"),
        ({"link": 1}, ".link: expected true or false, found 1"),
    ],
)
def test_faults_of_an_entry_name_it(entry: Any, said: str) -> None:
    refused(json.dumps(document(entry)).encode(), 'packages["node_modules/a"]', said)


@pytest.mark.parametrize(
    "location",
    [
        "/etc/node_modules/b",
        "a/../../node_modules/b",
        "node_modules/../b",
        "node_modules/b/..",
        "node_modules/.bin",
        "node_modules/.package-lock.json",
        "node_modules/@s/.b",
        "node_modules/b/",
        "node_modules//b",
        "node_modules/b/lib",
        "node_modules/node_modules/b",
        "a//b",
        "./a",
        "a\\b",
        "a\0b",
        "node_modules/" + "b" * 215,
        "a/" + "b" * 256,
        "/".join(["node_modules/b"] * 400),
    ],
)
def test_locations_that_are_none_are_refused(location: str) -> None:
    refused(json.dumps(document(**{location: GOOD})).encode(), "packages[")


@pytest.mark.parametrize(
    ("workspaces", "said"),
    [
        (5, 'packages[""].workspaces: expected an array of strings'),
        ({"packages": 5}, 'packages[""].workspaces: expected an array of strings'),
        ([5], 'packages[""].workspaces: expected an array of strings'),
        ("packages/*", 'packages[""].workspaces: expected an array of strings'),
    ],
)
def test_workspaces_have_to_be_patterns(workspaces: Any, said: str) -> None:
    root = {"workspaces": workspaces}
    refused(json.dumps(document(**{"": root})).encode(), said)


def test_all_faults_are_told_at_once() -> None:
    more = {"node_modules/b": {"bin": 5}, "../c/../d": {}}
    with pytest.raises(SpecError) as caught:
        read(document([], **more))
    assert 3 == len(caught.value.faults)


def test_of_several_hashes_only_sha512_counts_and_the_others_are_named() -> None:
    hashes = [integrity(b"x", name) for name in ("sha1", "sha256", "sha512")]
    found = one(integrity=" ".join([*hashes, hashes[-1] + "?opt"]))
    digest = base64.b64decode(hashes[-1].partition("-")[2]).hex()
    assert ((digest,), ("sha1", "sha256")) == (found.sha512, found.algorithms)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("cli.js", [("a", "cli.js")]),
        ({"x": "./bin/x.js", "y": "/bin/../y.js"}, [("x", "bin/x.js"), ("y", "y.js")]),
        (["bin/x.js"], [("x.js", "bin/x.js")]),
        ({"../../x": "../../../etc/passwd"}, [("x", "etc/passwd")]),
        ({"a\\b:c": "x"}, [("c", "x")]),
        ({"": "x", ".": "x", "..": "x", "n": 1, "m": ".", "o": "", "a\0b": "x"}, []),
        ({"x" * 256: "x"}, []),
    ],
)
def test_commands_stay_in_their_folders(given: Any, expected: list[tuple[str, str]]) -> None:
    assert expected == list(one(bin=given).bins)


def test_later_kinds_of_wishes_replace_earlier_ones() -> None:
    found = one(
        peerDependencies={"p": "1", "q": "1", "d": "0"},
        peerDependenciesMeta={"q": {"optional": True}, "p": 5},
        dependencies={"d": "1", "o": "0"},
        optionalDependencies={"o": "1"},
        devDependencies={"dev": "1"},
    )
    assert [
        Edge("p", "1", optional=False, peer=True),
        Edge("q", "1", optional=True, peer=True),
        Edge("d", "1", optional=False),
        Edge("o", "1", optional=True),
    ] == list(found.edges)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
_KEYS = st.sampled_from(
    [
        "version",
        "integrity",
        "resolved",
        "link",
        "bin",
        "dependencies",
        "os",
        "name",
        "inBundle",
        "optional",
        "dev",
        "license",
        "peerDependencies",
        "peerDependenciesMeta",
        "workspaces",
        "extraneous",
    ]
)
_LOCATIONS = st.sampled_from(
    ["", "node_modules/a", "node_modules/a/node_modules/b", "w", "node_modules/w", "../o"]
)


@given(st.lists(st.tuples(_LOCATIONS, _KEYS, _JSON), max_size=4))
def test_any_entry_is_read_or_refused_with_a_typed_error(
    changes: list[tuple[str, str, Any]],
) -> None:
    sample = document(
        {**GOOD, "dependencies": {"b": "1"}, "bin": {"a": "x"}, "optional": True},
        **{
            "node_modules/a/node_modules/b": GOOD,
            "w": {"name": "w"},
            "node_modules/w": {"resolved": "w", "link": True},
        },
    )
    sample = copy.deepcopy(sample)
    for location, key, value in changes:
        sample["packages"].setdefault(location, {})[key] = value
    with contextlib.suppress(SpecError, ResolutionError):
        project = read_project(json.dumps(sample).encode(), "package-lock.json")
        project.words(())
        chosen = select(project.tree, (), Target("linux", "x64", "glibc"))
        assert project.of(chosen).hidden.endswith(b"}\n")
