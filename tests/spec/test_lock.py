"""Locks: what, never where; compared by value, and never taken for whole when they are not."""

from __future__ import annotations

import contextlib
import datetime
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
import tomli_w
from attrs import evolve
from hypothesis import given

from immutable.errors import LockError
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.spec.lock import IndexPin, Lock, LockedLayer, Pin, dumps, parse, stale
from tests.support import strategies

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
DATE = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
REQUEST: Mapping[str, Any] = {
    "suite": "bookworm",
    "packages": ["nodejs", "tini"],
    "essential": False,
}

LOCK = Lock(
    layer=(
        LockedLayer(
            "runtime",
            "debian",
            REQUEST,
            (AMD64, ARM64),
            (IndexPin("bookworm", DATE),),
            (
                Pin("libc6", "2.36-9", "amd64", "pool/main/g/glibc/libc6_2.36-9_amd64.deb", 2_756_000,  # noqa: E501
                    Digest.of(b"libc6"), ("nodejs",), "bookworm", (AMD64,)),
                Pin("nodejs", "18.19", "amd64", "pool/main/n/nodejs/nodejs_18.19_amd64.deb", 320_000,  # noqa: E501
                    Digest.of(b"nodejs"), ("asked for",), "bookworm"),
            ),
        ),
        LockedLayer("tool", "archive", {"url": "x"}, (AMD64,), (),
                    (Pin("tool.tar", "", "", "tool.tar", 3, Digest.of(b"tool"), ("asked for",)),)),
    )
)  # fmt: skip
TEXT = dumps(LOCK)


def reject(text: str | bytes) -> str:
    with pytest.raises(LockError) as caught:
        parse(text.encode() if isinstance(text, str) else text, "web.lock.toml")
    lines = str(caught.value).split("\n")
    assert all(line.startswith("web.lock.toml: ") for line in lines)
    return "\n".join(line.removeprefix("web.lock.toml: ") for line in lines)


def unsealed(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.startswith("content-sha256"))


def test_the_document() -> None:
    only = Lock(layer=LOCK.layer[1:])
    assert f"""\
# Written by `immutable lock`; pins every outside input by sha256.
content-sha256 = "9875ea9f16bd700c17440065bdd1d7ead561587dbd398f4f42f647ca16091bd9"
lock-version = 1

[[layer]]
name = "tool"
kind = "archive"
platforms = [
    "linux/amd64",
]
index = []

[layer.request]
url = "x"

[[layer.pin]]
name = "tool.tar"
version = ""
architecture = ""
path = "tool.tar"
size = 3
sha256 = "{Digest.of(b"tool").hex}"
why = [
    "asked for",
]
""" == dumps(only)


@given(strategies.locks)
def test_what_is_written_is_read(lock: Lock) -> None:
    text = dumps(lock)
    assert lock == parse(text.encode(), "x")
    assert text == dumps(parse(text.encode(), "x"))


def test_the_order_of_a_request_s_keys_is_no_part_of_a_lock() -> None:
    layer = LOCK.layer[0]
    turned = evolve(layer, request=dict(reversed(list(layer.request.items()))))
    assert TEXT == dumps(evolve(LOCK, layer=(turned, *LOCK.layer[1:])))


# BAD-INPUTS: "a lock edited by hand, truncated, of a newer version, with CRLF line ends (accept:
# the parsed value counts, not its bytes)"


def test_other_bytes_of_the_same_value_are_the_same_lock() -> None:
    assert LOCK == parse(TEXT.replace("\n", "\r\n").encode(), "x")
    assert LOCK == parse(("# a comment\n" + TEXT.replace(" = ", "=")).encode(), "x")
    document = tomllib.loads(TEXT)
    document["layer"] = [dict(reversed(layer.items())) for layer in document["layer"]]
    assert LOCK == parse(tomli_w.dumps(dict(reversed(document.items()))).encode(), "x")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('version = "18.19"', 'version = "18.20"'),
        ("size = 320000", "size = 320001"),
        (Digest.of(b"nodejs").hex, Digest.of(b"evil").hex),
        ('"tini",\n', ""),
        ("essential = false", "essential = 0"),
        ("2024-05-06 07:08:09", "2024-05-06 07:08:10"),
        ('platforms = [\n    "linux/amd64",\n    "linux/arm64",\n]', 'platforms = ["linux/arm64"]'),
        ('name = "tool"', 'name = "tools"'),
    ],
)
def test_a_change_by_hand_is_found(old: str, new: str) -> None:
    assert 1 == TEXT.count(old)
    changed = TEXT.replace(old, new)
    assert (
        "content-sha256: the lock was changed by hand or cut short; restore it, or delete it and "
        "lock again, or remove this line to keep the change"
    ) == reject(changed)
    assert TEXT != dumps(parse(unsealed(changed).encode(), "x"))


def test_a_change_with_its_seal_removed_is_kept() -> None:
    assert LOCK == parse(unsealed(TEXT).encode(), "x")


def test_a_lock_cut_short_anywhere_is_refused() -> None:
    whole = TEXT.rstrip("\n")
    for end in range(0, len(whole), 7):
        reject(whole[:end])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("lock-version = 1", "lock-version = 2",
         "lock-version: expected 1, found the integer 2; it was written by a newer immutable"),
        ("lock-version = 1", "lock-version = 0", "lock-version: expected 1, found the integer 0"),
        ("lock-version = 1", "lock-version = true", "lock-version: expected 1, found the boolean true"),  # noqa: E501
        ("lock-version = 1", "lock-version = 1.0", "lock-version: expected 1, found the float 1.0"),
        ("lock-version = 1", "", "lock-version: expected 1, found nothing"),
        ("lock-version = 1", "lock-version = 1\nlock-version = 1",
         "not TOML: duplicate key or table (at line 4, column 17)"),
        ('name = "nodejs"', "name = 3", "layer[0].pin[1].name: expected a string, found the integer 3"),  # noqa: E501
        ("size = 320000", 'size = "320000"',
         "layer[0].pin[1].size: expected an integer, found the string '320000'"),
        ("size = 320000", "size = -1", "layer[0].pin[1].size: expected a size in bytes, found -1"),
        ("size = 320000", "size = 18446744073709551616",
         "layer[0].pin[1].size: an integer beyond 64 bits"),
        ("size = 320000", "sise = 320000", ("layer[0].pin[1].size: is required\n"
         "layer[0].pin[1].sise: unknown key; did you mean 'size'?")),
        (Digest.of(b"nodejs").hex, "00", "layer[0].pin[1].sha256: expected 64 hex digits, found 2"),
        (Digest.of(b"nodejs").hex, f"sha256:{Digest.of(b'nodejs').hex}",
         f"layer[0].pin[1].sha256: expected 64 hex digits, found '{Digest.of(b'nodejs')}'"),
        ("2024-05-06 07:08:09+00:00", "2024-05-06T07:08:09",
         ("layer[0].index[0].date: expected a time with its offset from UTC, "
         "found the time 2024-05-06T07:08:09")),
        ('name = "tool"', 'name = "RunTime"', "layer[1].name: a second layer 'RunTime'"),
        ('path = "tool.tar"', 'path = "../tool.tar"',
         "layer[1].pin[0].path: leaves the mirror: '../tool.tar'"),
        ('path = "tool.tar"', 'path = "a/../../b"', "layer[1].pin[0].path: leaves the mirror: 'a/../../b'"),  # noqa: E501
        ('path = "tool.tar"', "path = 'a\\..\\b'", "layer[1].pin[0].path: leaves the mirror: 'a\\\\..\\\\b'"),  # noqa: E501
        ('path = "tool.tar"', 'path = "/tool.tar"',
         "layer[1].pin[0].path: expected a path relative to a mirror, found '/tool.tar'"),
        ('path = "tool.tar"', 'path = "//mirror.test/tool.tar"',
         "layer[1].pin[0].path: expected a path relative to a mirror, found '//mirror.test/tool.tar'"),  # noqa: E501
        ('path = "tool.tar"', 'path = "https://mirror.test/tool.tar"',
         ("layer[1].pin[0].path: expected a path relative to a mirror, "
         "found 'https://mirror.test/tool.tar'")),
        ('path = "tool.tar"', 'path = "tool\\n.tar"',
         "layer[1].pin[0].path: expected a path relative to a mirror, found 'tool\\n.tar'"),
    ],
)  # fmt: skip
def test_one_fault(old: str, new: str, expected: str) -> None:
    assert old in TEXT
    assert expected == reject(TEXT.replace(old, new))


def test_one_pin_twice() -> None:
    layer = LOCK.layer[1]
    twice = Lock(layer=(evolve(layer, pin=layer.pin * 2),))
    assert "layer[0].pin[1]: a second pin of 'tool.tar'" == reject(dumps(twice))


def test_all_faults_come_at_once() -> None:
    text = TEXT.replace("size = 320000", "size = true").replace('kind = "archive"', "")
    assert [
        "layer[0].pin[1].size: expected an integer, found the boolean true",
        "layer[1].kind: is required",
    ] == reject(text).split("\n")


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf", b"\xff", b"a = " + b"[" * 5000, b"\0", b"{}"])
def test_what_is_no_document(data: bytes) -> None:
    reject(data)


@given(strategies.toml_values)
def test_a_document_gives_a_lock_or_a_lock_error(value: Any) -> None:
    data = tomli_w.dumps({"lock-version": 1, "layer": [{"name": "x", "request": value}]}).encode()
    with contextlib.suppress(LockError):
        parse(data, "x")


# Staleness


def reasons(
    request: Mapping[str, Any], *platforms: Platform, lock: Lock = LOCK, kind: str = "debian"
) -> tuple[str, ...]:
    return stale(
        lock, {"runtime": (kind, request), "tool": ("archive", {"url": "x"})}, platforms or (AMD64,)
    )


def test_a_lock_that_answers_is_not_stale() -> None:
    assert () == reasons(REQUEST)
    assert () == reasons(dict(reversed(list(REQUEST.items()))))
    read = parse(TEXT.replace("\n", "\r\n").encode(), "x")
    assert () == reasons(REQUEST, lock=read)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"packages": ["nodejs", "tini", "curl"]},
         ['layer "runtime" asks for curl, which the lock does not hold (packages)']),
        ({"packages": ["tini"]}, ['layer "runtime" no longer asks for nodejs (packages)']),
        ({"packages": ["curl", "jq", "tini"]},
         ['layer "runtime" asks for curl, jq, which the lock does not hold (packages)',
          'layer "runtime" no longer asks for nodejs (packages)']),
        ({"packages": ["tini", "nodejs"]}, ['layer "runtime" has another order of packages']),
        ({"packages": ["nodejs", "tini", "tini"]},
         ['layer "runtime" asks for tini, which the lock does not hold (packages)']),
        ({"suite": "trixie"}, ['layer "runtime" has suite = "trixie", the lock has "bookworm"']),
        ({"essential": True}, ['layer "runtime" has essential = true, the lock has false']),
        ({"essential": 0}, ['layer "runtime" has essential = 0, the lock has false']),
        ({"keyring": "a.gpg"}, ['layer "runtime" has keyring = "a.gpg", the lock has nothing']),
    ],
)  # fmt: skip
def test_what_changed_is_said(changes: Mapping[str, Any], expected: list[str]) -> None:
    assert expected == list(reasons({**REQUEST, **changes}))


def test_a_key_that_is_gone() -> None:
    assert ('layer "runtime" has essential = nothing, the lock has false',) == reasons(
        {key: value for key, value in REQUEST.items() if key != "essential"}
    )


def test_a_platform_that_is_not_locked() -> None:
    assert ('layer "tool" is not locked for linux/arm64',) == reasons(REQUEST, AMD64, ARM64)


def test_layers_that_came_and_went() -> None:
    assert (
        'layer "new" is not in the lock',
        'layer "runtime" is in the lock but takes nothing from outside in the spec',
    ) == stale(
        LOCK, {"tool": ("archive", {"url": "x"}), "new": ("archive", {"url": "y"})}, (AMD64,)
    )
    assert ('layer "runtime" is not in the lock',) == reasons(REQUEST, kind="archive")


@given(strategies.locks)
def test_every_lock_answers_what_it_was_asked(lock: Lock) -> None:
    asked = {layer.name: (layer.kind, layer.request) for layer in lock.layer}
    assert () == stale(lock, asked, ())


def test_pins_of_a_platform() -> None:
    assert ["libc6", "nodejs"] == [pin.name for pin in LOCK.layer[0].pins_for(AMD64)]
    assert ["nodejs"] == [pin.name for pin in LOCK.layer[0].pins_for(ARM64)]


def test_finding_a_layer() -> None:
    assert LOCK.layer[1] is LOCK.find("tool")
    assert LOCK.find("Tool") is None
