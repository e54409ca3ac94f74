"""What ``from`` of an ``image`` layer may write."""

from __future__ import annotations

import pytest

from immutable.builders.image.places import InRegistry, OnDisk, OtherSpec, Place, parse
from immutable.spec.toml import FaultError

SHA = "sha256:" + "ab" * 32


def place(text: str) -> Place:
    found = parse(text)
    assert not isinstance(found, OtherSpec)
    return found


@pytest.mark.parametrize("text", ["base.toml", "../specs/base.toml", "registry.test/x:v.toml"])
def test_another_spec(text: str) -> None:
    assert OtherSpec(text) == parse(text)


@pytest.mark.parametrize("scheme", ["", "docker://"])
@pytest.mark.parametrize(
    ("text", "pin_name", "base_name"),
    [
        ("registry.test/team/base:1", "team/base:1", "registry.test/team/base:1"),
        ("localhost/base:1", "base:1", "localhost/base:1"),
        ("host:5000/base:1", "base:1", "host:5000/base:1"),
        ("[::1]:5000/base:1", "base:1", "[::1]:5000/base:1"),
        (f"registry.test/base:1@{SHA}", "base:1", "registry.test/base:1"),
        (f"registry.test/base:latest@{SHA}", "base:latest", "registry.test/base:latest"),
        (f"registry.test/base@{SHA}", "base", f"registry.test/base@{SHA}"),
    ],
)
def test_an_image_in_a_registry(scheme: str, text: str, pin_name: str, base_name: str) -> None:
    found = place(scheme + text)
    assert isinstance(found, InRegistry)
    assert (f"docker://{text}", text.partition("/")[2]) == (str(found), found.asked)
    assert (pin_name, base_name) == (found.pin_name, found.base_name)
    assert not found.local


@pytest.mark.parametrize(
    ("text", "base_name"),
    [
        ("oci:../base", "../base"),
        ("oci:base:v1", "v1"),
        ("oci:base.toml", "base.toml"),
        ("oci-archive:base.tar", "base.tar"),
        ("oci-archive:base.tar:team/base:1", "team/base:1"),
        ("docker-archive:base.tar", "base.tar"),
        ("docker-archive:base.tar:team/base:1", "team/base:1"),
    ],
)
def test_an_image_on_this_machine(text: str, base_name: str) -> None:
    found = place(text)
    assert isinstance(found, OnDisk)
    assert (text, text, base_name, base_name) == (
        str(found),
        found.asked,
        found.pin_name,
        found.base_name,
    )
    assert found.local


@pytest.mark.parametrize(
    "text",
    [
        "",
        "base",
        "base:1",
        "./base:1",
        "../base",
        "oci:",
        "oci:base:",
        "oci:a\0b",
        "oci-archive:",
        "docker-archive:x:y",
        "docker-daemon:base:1",
        "store:base:1",
        "dir:base",
        "https://registry.test/base:1",
    ],
)
def test_other_references_are_refused(text: str) -> None:
    with pytest.raises(FaultError, match="expected a spec"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("registry.test/base", "say which: registry.test/base:TAG or "),
        ("registry.test/base:latest", "latest names no version"),
        ("docker://registry.test/base:latest", "latest names no version"),
        ("base/os:1", "write the registry's host before the name"),
        ("docker://base:1", "write the registry's host before the name"),
        ("registry.test/Base:1", "expected a name in lower case"),
        ("registry.test/base@sha256:12", "expected 64 hex digits, found 2"),
        ("registry.test/base@md5:12", "expected sha256"),
        ("registry.test/base:-", "expected a tag"),
    ],
)
def test_what_names_no_version_of_an_image_is_refused(text: str, message: str) -> None:
    with pytest.raises(FaultError, match=message):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "someone:secret@registry.test/base:1",
        "docker://someone:secret@registry.test/base:1",
        "https://someone:secret@registry.test/base:1",
    ],
)
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(FaultError) as caught:
        parse(text)
    assert "secret" not in str(caught.value)
