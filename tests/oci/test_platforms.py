"""Platforms: OCI's words, containerd's normal forms, Debian's names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.oci.platforms import Platform
from tests.support import strategies


@pytest.mark.parametrize(
    ("text", "expected", "debian"),
    [
        ("linux/amd64", "linux/amd64", "amd64"),
        ("linux/arm64", "linux/arm64", "arm64"),
        ("linux/arm64/v8", "linux/arm64", "arm64"),
        ("linux/arm", "linux/arm/v7", "armhf"),
        ("linux/arm/v7", "linux/arm/v7", "armhf"),
        ("linux/arm/v6", "linux/arm/v6", "armel"),
        ("linux/386", "linux/386", "i386"),
        ("linux/mips64le", "linux/mips64le", "mips64el"),
        ("linux/ppc64le", "linux/ppc64le", "ppc64el"),
        ("linux/riscv64", "linux/riscv64", "riscv64"),
    ],
)
def test_platforms_have_one_form(text: str, expected: str, debian: str) -> None:
    platform = Platform.parse(text)
    assert (expected, debian) == (str(platform), platform.debian)
    assert platform == Platform.parse(expected)


@pytest.mark.parametrize(
    "text",
    ["", "linux", "amd64", "linux/", "linux/amd46", "linux/amd64/", "linux/amd64/v9", "Linux/amd64",
     "linux/arm/v7/x", "windows/amd64", "darwin/arm64", "unknown/unknown", "/linux/amd64"],
)  # fmt: skip
def test_what_cannot_be_built_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected one of linux/386, linux/amd64, .*; found"):
        Platform.parse(text)


@given(st.text())
def test_text_gives_a_platform_or_a_value_error(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except ValueError:
        return
    assert platform == Platform.parse(str(platform))


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", "linux/amd64"),
        ("AMD64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("arm64", "linux/arm64"),
        ("armv7l", "linux/arm/v7"),
        ("armv8l", "linux/arm/v7"),
        ("i686", "linux/386"),
        ("s390x", "linux/s390x"),
    ],
)
def test_machines(machine: str, expected: str) -> None:
    assert expected == str(Platform.of_machine(machine))


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="no OCI architecture is known for a machine 'vax'"):
        Platform.of_machine("vax")


@given(st.lists(strategies.platforms))
def test_they_sort_by_what_is_written(platforms: list[Platform]) -> None:
    assert sorted(platforms) == sorted(platforms, key=lambda p: (p.os, p.architecture, p.variant))
