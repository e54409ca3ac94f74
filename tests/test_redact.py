"""What people are to see holds no user, password or token, and the rest stays as it was."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import immutable
from immutable.content.entries import show
from immutable.errors import DigestMismatch, ImmutableError, SpecError
from immutable.oci.digest import Digest
from immutable.redact import cut, quoted, redact, redact_document

SCHEMES = st.sampled_from(["http", "https", "HTTPS", "ftp", "git+https", "docker", "socks5h"])
HOSTS = st.sampled_from(["host", "h.test", "h.test:8080", "10.0.0.1", "[::1]", "[fe80::1]:5000"])
PATHS = st.sampled_from(["", "/", "/x/y", "/x?y=1#z", "/debian bookworm main"])
AROUND = st.sampled_from(
    [
        ("", ""),
        ("found '", "'"),
        ('["', '"]'),
        ("place: get <", ">\nand no more"),
        ("first\n", "\nlast"),
        ("http://other.test/x and ", " or name@1.0"),
        ("('http://a:b@c.test', '", "')"),
        ("--mirror=debian=", ""),
    ]
)
# Marks that no other part of the text has, with all that may stand between them.
_MARK = "Q7q"
_ODD = st.text(st.sampled_from("aZ09@:/?#%&=+-._~!$'\"()*,;[]{}\\<>|^` é"), max_size=12)
PASSWORDS = st.builds(lambda odd, more: f"{_MARK}{odd}{_MARK}{more}", _ODD, _ODD)
USERS = st.text(st.sampled_from("abcXYZ019._~%-+"), max_size=8)


@given(SCHEMES, USERS, PASSWORDS, HOSTS, PATHS, AROUND)
@example("http", "user", f"{_MARK}@ss{_MARK}", "host", "", ("", ""))
@example("http", "", f"{_MARK}{_MARK}", "host", "", ("", ""))
def test_no_password_of_a_url_stays(
    scheme: str, user: str, password: str, host: str, path: str, around: tuple[str, str]
) -> None:
    assume(scheme != "docker" or " " not in password)
    text = f"{around[0]}{scheme}://{user}:{password}@{host}{path}{around[1]}"

    assert password not in redact(text)


@given(USERS.filter(bool), PASSWORDS.filter(lambda one: " " not in one), HOSTS, AROUND)
def test_no_password_of_a_reference_without_scheme_stays(
    user: str, password: str, host: str, around: tuple[str, str]
) -> None:
    assert password not in redact(f"{around[0]}{user}:{password}@{host}/name:tag{around[1]}")


@given(
    st.sampled_from(["", "docker-daemon:", "docker://", "http://", "HTTPS://", "git+https://"]),
    st.text(st.sampled_from("abcXYZ019_~%-+"), min_size=1, max_size=8),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["31337", "8", f"{_MARK}", f"{_MARK}/x", "1.0"]),
        st.sampled_from([" ", "  ", "\t", "/ ", " /", "/", "/x y/", " x y z "]),
        st.sampled_from([_MARK, f"{_MARK}:", f":{_MARK}", f"/{_MARK}?", f"{_MARK} {_MARK}#"]),
    ),
    HOSTS,
    AROUND,
)
def test_no_password_stays_that_has_blanks_or_begins_as_a_port(
    start: str, user: str, password: str, host: str, around: tuple[str, str]
) -> None:
    shown = redact(f"{around[0]}{start}{user}:{password}@{host}/name:tag{around[1]}")

    assert _MARK not in shown
    assert f"{start}***@{host}" in shown


@given(
    st.sampled_from(["", "docker-daemon:", "docker://", "http://", "https://"]),
    st.text(st.sampled_from("abcXYZ_~-"), max_size=4),
    st.sampled_from(["31337/", "/", "31337", ""]),
    st.sampled_from(["@host", "@scope/x", "@h.test:8080/x"]),
    AROUND,
)
def test_no_user_stays_before_what_reads_as_a_scope(
    start: str, user: str, password: str, place: str, around: tuple[str, str]
) -> None:
    shown = redact(f"{around[0]}{start}{_MARK}{user}:{password}{place}{around[1]}")

    assert _MARK not in shown
    assert f"{start}***{place}" in shown


@given(SCHEMES, st.text(st.sampled_from("abcXYZ019_~-"), min_size=1), HOSTS, AROUND)
def test_a_user_alone_may_be_a_token_and_does_not_stay(
    scheme: str, token: str, host: str, around: tuple[str, str]
) -> None:
    token = f"{_MARK}{token}"

    assert token not in redact(f"{around[0]}{scheme}://{token}@{host}/x{around[1]}")
    assert token not in redact(f"{around[0]}{scheme}://{token}:@{host}/x{around[1]}")


@given(st.text() | st.builds("{}://{}:{}@{}{}".format, SCHEMES, USERS, PASSWORDS, HOSTS, PATHS))
def test_what_is_redacted_stays_as_it_is(text: str) -> None:
    once = redact(text)

    assert once == redact(once)


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("http://***@host", "http://user:p@ss@host"),
        ("http://***@host/x", "http://user:p/s?s#w@host/x"),
        ("pull ***@host/x", "pull user:pw@host/x"),
        ("found '***@host/x'", "found 'user:my pw@host/x'"),
        ("ftp://***@h.test/x", "ftp://user:pw@h.test/x"),
        ("http://***@h.test/x", "http://user:my long pw@h.test/x"),
        ("docker-daemon:***@host/x", "docker-daemon:user:pw@host/x"),
        ("//***@host/x", "//user:pw@host/x"),
        ('["http://***@h","http://***@i"]', '["http://u:p@h","http://v:q@i"]'),
        ("http://***' was cut", "http://user:passwor' was cut"),
        ("?to=http%3A%2F%2F***%40host&x=1", "?to=http%3A%2F%2Fu%3Apw%40host&x=1"),
        ("http://h/x?token=***&y=1", "http://h/x?token=pw&y=1"),
        ("http://h/x?y=1&access_token=***'", "http://h/x?y=1&access_token=pw'"),
        ("http://h/x?X-Amz-Signature=***", "http://h/x?X-Amz-Signature=pw#z"),
        ("http://h/x?X-Amz-Credential=***", "http://h/x?X-Amz-Credential=pw/eu/s3"),
        ("http://h/x?sv=1&sig=***", "http://h/x?sv=1&sig=pw%2B="),
        ("//h/:_authToken=*** //h/:_password=***", "//h/:_authToken=pw //h/:_password=pw"),
        ('{"Username":"u","Secret":***}', '{"Username":"u","Secret":"p\\"w"}'),
        ("Authorization: Bearer ***", "Authorization: Bearer pw"),
        ("nonnumeric port: '***'", "nonnumeric port: 'pw'"),
        ("in 'x': *** is not a valid host or port", "in 'x': 'u:pw' is not a valid host or port"),
        ("*** is not a valid host or port", '"u:p\'w" is not a valid host or port'),
        ("pull ***@host/x", "pull user:80 pw@host/x"),
        ("pull ***@host/x", "pull user:my long pw@host/x"),
        ("docker://***@host/x", "docker://user:my pw@host/x"),
        ("http://***@host/x", "http://user:80 pw@host/x"),
        ("http://***@host/x", "http://user:80/pw w@host/x"),
        ("http://***@host ***@host", "http://user:80/@host user:80/@host"),
        ("http://***@scope/x ***@scope/x", "http://token:@scope/x token:@scope/x"),
        ("http://***@1.0 http://***@3", "http://user:pw@1.0 http://user:pw@3"),
        # The host is hidden rather than a password shown that might hold it.
        ("http://***@b http://***@h/a@1.0", "http://u:p@h/a@b http://u:p@h/a@1.0"),
        ("http://***@scope/pkg@1.0", "http://u:p@h/@scope/pkg@1.0"),
    ],
)
def test_secrets_of_every_kind_are_left_out(expected: str, text: str) -> None:
    assert expected == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "name@sha256:" + "0a" * 32,
        "host:5000/name:tag@sha256:" + "0a" * 32,
        "docker://host/name@sha256:" + "0a" * 32,
        "docker://h.test:5000/name:tag@sha256:" + "0a" * 32,
        "docker://debian:bookworm, docker://alpine:3.18",
        "@scope/name@1.0 npm:@scope/name@^1.0.2 place:name@1.2.3-rc.1",
        "http://127.0.0.1:4873/@scope/name http://host/@scope/name",
        "Maintainer <a@b.c>, mailto:a@b.c: or a@b.c",
        "http://h.test: refused; ask a@b.c",
        "http://h.test:8080/x: refused; ask <a@b.c>",
        "http://h.test/a@b",
        "git@host:path/x.git",
        r"C:\Users\a:b@c /tmp/a:b@c ./a:b@c ~/a:b@c oci:/tmp/a@b:name",
        "layer[0].packages[1]: expected x@y, found 3",
        "http://[::1]:8080/x",
        "name@3 name:tag@3 NAME[:TAG|@N] file:///a/b@c",
        "the token is missing; authorization is needed; expected HOST:PORT",
        "https://host/path@1.0 https://h.test:8080/path@1.0 https://h.test/x/pkg@1.0.2/y",
        "https://h/@scope/pkg https://h/@scope/pkg@1.0 https://h.test/@scope/pkg/-/pkg-1.0.tgz",
        "http://h.test:4873/@scope/pkg http://h.test:4873/@scope%2fpkg localhost:4873/@scope/pkg",
        "https://host/name@sha256:" + "0a" * 32,
        "name:tag is asked for by @scope/name; see pkg@1.0, pkg@^2.1.0 and Maintainer: A <a@b.c>",
        "docker://web:1.0: refused; ask a@b.c",
        "at 12:30 by a@b.c, sha256:0a0a0a of a@b.c, oci:dir of x@y",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert text == redact(text)


@pytest.mark.parametrize(
    "piece",
    [
        *("@", ":", "/", "http://", "http://a:b␣", "://@", "a:b@", "a.", "%3A%2F%2F", "token="),
        *(
            "a:b ",
            "a:80 ␣x@h ",
            "http://a:80␣",
            "/@s/x:",
            "<a@b>␣",
            "'u:",
            "=http://",
            "@1.1.",
            "@sha256:",
            '"',
            "x:/@",
            "'auth'",
            "authorization:",
        ),
    ],
)
def test_a_hostile_megabyte_takes_time_in_proportion(piece: str) -> None:
    text = piece.replace("␣", " ") * (1_000_000 // len(piece))

    def taken(text: str) -> float:
        begun = time.process_time()
        redact(text)
        return time.process_time() - begun

    # Were it quadratic, the eightfold would take 64 times as long.
    assert taken(text) < 24 * max(taken(text[: len(text) // 8]), 0.02)


def test_an_error_holds_no_password_from_its_making_on() -> None:
    url = "http://user:hunter@2@h.test"
    digest = Digest.of(b"")
    errors = [
        ImmutableError(url),
        SpecError(url, [f"found {url!r}"]),
        DigestMismatch(url, expected=digest, actual=digest),
    ]
    for error in errors:
        for shown in (str(error), repr(error), repr(vars(error))):
            assert "hunter" not in shown


def test_a_secret_goes_before_a_quotation_is_cut() -> None:
    assert "'***@host/x'" == quoted("user:" + "pw" * 60 + "@host/x")
    assert "b'***@host/x'" == quoted(b"user:" + b"pw" * 60 + b"@host/x")
    assert "'abc'" == quoted("abcdef", 3)
    assert "***@h" == cut("user:" + "pw" * 60 + "@host/x", 5)


def test_a_document_is_redacted_throughout() -> None:
    url = "http://u:p@h"
    expected = {"http://***@h": ["http://***@h", 1, None, {"a": "http://***@h"}]}

    assert expected == redact_document({url: (url, 1, None, {"a": url})})


def test_no_part_of_the_house_cuts_a_text_that_it_shows_before_it_is_redacted() -> None:
    """Of a password that was cut, what follows it is gone, and nothing tells what it was."""
    place = Path(immutable.__file__).parent
    cuts = [
        f"{path.relative_to(place)}:{value.lineno}"
        for path in sorted(place.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.JoinedStr)
        for value in node.values
        if isinstance(value, ast.FormattedValue) and _cuts(value)
    ]
    # A number's digits; then what is redacted on the lines before.
    assert [
        "content/entry.py",
        "content/entry.py",
        "oci/canonical.py",
        "sources/pypi/requirements.py",
    ] == [one.partition(":")[0] for one in cuts]


def _cuts(value: ast.FormattedValue) -> bool:
    width = value.format_spec is not None and ".80" in ast.unparse(value.format_spec)
    shown = value.value
    return width or (
        isinstance(shown, ast.Subscript)
        and isinstance(shown.slice, ast.Slice)
        and shown.slice.step is None
    )


def test_a_long_path_is_redacted_before_it_is_cut() -> None:
    path = b"x/" * 55 + b"user:" + b"hunter2" * 20 + b"@host/" + b"y" * 100

    assert "hunt" not in redact(show(path))
