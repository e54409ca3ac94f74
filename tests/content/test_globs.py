"""Globs: anchored, a star within a name, ``**`` across, and linear time."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.content.globs import check, compile_globs


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.js", b"server.js", True),
        ("*.js", b".js", True),
        ("*.js", b"lib/server.js", False),
        ("**/*.js", b"server.js", True),
        ("**/*.js", b"a/b/server.js", True),
        ("**/*.js", b"a/b/server.jsx", False),
        ("*.js", b"bundle.js/inner", True),
        ("public", b"public", True),
        ("public", b"public/a/b", True),
        ("public/", b"public/a", True),
        ("public", b"publicity", False),
        ("public", b"a/public", False),
        ("public/**", b"public", False),
        ("public/**", b"public/a", True),
        ("public/**", b"public/a/b", True),
        ("/usr/share/doc/**", b"usr/share/doc/nginx/copyright", True),
        ("/usr/share/doc/*/copyright", b"usr/share/doc/nginx/copyright", True),
        ("/usr/share/doc/*/copyright", b"usr/share/doc/nginx/x/copyright", False),
        ("**", b"anything/at/all", True),
        ("**/node_modules/**", b"node_modules/a", True),
        ("**/node_modules/**", b"x/y/node_modules/a/b", True),
        ("**/node_modules/**", b"x/node_modules", False),
        ("a/**/b/**/c", b"a/b/c", True),
        ("a/**/b/**/c", b"a/x/b/y/z/c", True),
        ("a/**/b/**/c", b"a/x/c", False),
        ("a/**/b/c", b"a/b/x/b/c", True),
        ("**/a/**/a/b", b"a/a/a/b", True),
        ("./a//b", b"a/b", True),
        ("a?c", "aäc".encode(), True),
        ("a?c", b"a/c", False),
        ("a?c", b"a\xffc", True),
        ("a??c", "aäc".encode(), False),
        ("[a-c]x", b"bx", True),
        ("[!a-c]x", b"bx", False),
        ("[!a-c]x", b"dx", True),
        ("x[!a]b", b"x/b", False),
        ("x[+-0]b", b"x/b", False),
        ("[]]", b"]", True),
        ("[^a]", b"b", True),
        ("[a-]", b"-", True),
        (r"\*", b"*", True),
        (r"\*", b"x", False),
        ("a.c", b"abc", False),
        ("*a*b*", b"xaxbx", True),
        ("*a*b", b"xabab", True),
        ("*ab*ab", b"xab", False),
        ("ü*", "über".encode(), True),
        ("*\n", b"a\n", True),
        ("a", b"a\n", False),
    ],
)
def test_a_pattern_matches_as_its_description_says(
    pattern: str, path: bytes, expected: bool
) -> None:
    assert expected == compile_globs([pattern])(path)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("shop/*", b"shop/web", True),
        ("shop/*", b"shop/web/a", False),
        ("shop", b"shop/web", False),
        ("shop/**", b"shop/a/b", True),
        ("shop/**", b"shop", False),
        ("**", b"a/b", True),
        ("**/web", b"web/a/web", True),
        ("**/web", b"a/web/b", False),
        ("**/a/b", b"a/b/a/b", True),
        ("**/a/*", b"a/b/a/b", True),
        ("a/**/b", b"a/b/c/b", True),
        ("a/**/b/**/c", b"a/b/c/b/c", True),
    ],
)
def test_a_pattern_may_have_to_match_the_whole(pattern: str, path: bytes, expected: bool) -> None:
    assert expected == compile_globs([pattern], whole=True)(path)


def test_any_of_several_patterns_is_enough_and_none_match_nothing() -> None:
    either = compile_globs(["a", "b/*"])
    assert either(b"a")
    assert either(b"b/c")
    assert not either(b"b")
    assert not compile_globs([])(b"a")


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("", "within the tree"),
        ("/", "within the tree"),
        ("a/../b", "leaves the tree"),
        ("a\0", "leaves the tree"),
        ("!a", "cannot start with !"),
        ("a**", "stand alone"),
        ("**a", "stand alone"),
        ("[a", "[ without ]"),
        ("[]", "[ without ]"),
        ("[b-a]", "backwards"),
        ("[ä]", "ASCII"),
        ("a\\", "nothing after"),
    ],
)
def test_a_pattern_that_cannot_be_understood_is_refused_by_name(pattern: str, fault: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        check(pattern)
    assert fault in str(caught.value)
    assert repr(pattern) in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 200 + "b", b"a" * 255),
        ("?*" * 100 + "b", b"a" * 255),
        ("**/a/" * 200 + "b", b"a/" * 2000 + b"c"),
        ("**/*a*a*a*a*a*b/" * 30 + "b", (b"a" * 200 + b"/") * 20 + b"c"),
        ("**/**/" * 200 + "b", b"a/" * 2000 + b"c"),
    ],
)
def test_hostile_patterns_take_no_time(pattern: str, path: bytes) -> None:
    match = compile_globs([pattern])
    begin = time.process_time()
    assert not match(path)
    assert time.process_time() - begin < 1.0


@given(
    st.text("ab*?", min_size=1, max_size=8).filter(lambda t: "**" not in t),
    st.text("ab", min_size=1, max_size=8),
)
def test_one_name_matches_as_fnmatch_has_it(pattern: str, name: str) -> None:
    assert fnmatch.fnmatchcase(name, pattern) == compile_globs([pattern])(name.encode())


@given(
    st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6),
)
def test_many_names_match_as_plain_backtracking_has_it(names: list[str], path: list[str]) -> None:
    pattern = "/".join(names)
    assert _matches(names, path) == compile_globs([pattern])("/".join(path).encode())


def _matches(names: list[str], path: list[str]) -> bool:
    if not names:
        return True  # what lies below a match matches too
    if names[0] == "**":
        rest = names[1:]
        if not rest:
            return bool(path)
        return any(_matches(rest, path[start:]) for start in range(len(path) + 1))
    return bool(path) and names[0] in ("*", path[0]) and _matches(names[1:], path[1:])
