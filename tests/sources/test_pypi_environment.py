"""An image's Python: its markers and tags, whatever this machine is."""

from __future__ import annotations

import pytest
from packaging.markers import Marker, default_environment

from immutable.oci.platforms import Platform
from immutable.sources.pypi import Environment, check_libc, check_python
from immutable.spec.toml import FaultError

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


def environment(
    platform: str = "linux/amd64", python: str = "3.11", libc: str = "glibc-2.36"
) -> Environment:
    return Environment(python, libc, Platform.parse(platform))


def test_every_marker_has_the_image_s_value() -> None:
    markers = environment("linux/arm64").markers()
    assert {
        "implementation_name": "cpython",
        "implementation_version": "3.11.0",
        "os_name": "posix",
        "platform_machine": "aarch64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": "3.11.0",
        "python_version": "3.11",
        "sys_platform": "linux",
        "extra": "",
    } == markers
    # Or this machine's value would fill in.
    assert default_environment().keys() <= markers.keys()


def test_a_full_version_counts_in_markers() -> None:
    marker = Marker("python_full_version < '3.11.3'")
    assert marker.evaluate(dict(environment().markers()))
    assert marker.evaluate(dict(environment(python="3.11.2").markers()))
    assert not marker.evaluate(dict(environment(python="3.11.3").markers()))


@pytest.mark.parametrize(
    ("platform", "machine"),
    [
        ("linux/386", "i686"),
        ("linux/amd64", "x86_64"),
        ("linux/arm/v6", "armv6l"),
        ("linux/arm/v7", "armv7l"),
        ("linux/arm64", "aarch64"),
        ("linux/ppc64le", "ppc64le"),
        ("linux/riscv64", "riscv64"),
        ("linux/s390x", "s390x"),
    ],
)
def test_machines_are_called_as_wheels_call_them(platform: str, machine: str) -> None:
    assert machine == environment(platform).machine
    assert environment(platform).platform_tags()[-1] == f"linux_{machine}"


def test_glibc_s_tags_go_from_its_own_version_down() -> None:
    tags = environment(libc="glibc-2.18").platform_tags()
    assert ["manylinux_2_18_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"] == tags[:3]
    assert ["manylinux_2_5_x86_64", "manylinux1_x86_64", "linux_x86_64"] == tags[-3:]
    assert "manylinux_2_5_aarch64" not in environment("linux/arm64").platform_tags()
    assert "manylinux_2_17_aarch64" in environment("linux/arm64").platform_tags()


def test_musl_s_tags() -> None:
    assert [
        "musllinux_1_2_x86_64",
        "musllinux_1_1_x86_64",
        "musllinux_1_0_x86_64",
        "linux_x86_64",
    ] == environment(libc="musl-1.2").platform_tags()


def test_tags_prefer_what_is_closest() -> None:
    tags = [str(tag) for tag in environment().tags()]
    order = [
        "cp311-cp311-manylinux_2_36_x86_64",
        "cp311-cp311-manylinux_2_17_x86_64",
        "cp311-abi3-manylinux_2_17_x86_64",
        "cp311-none-manylinux_2_17_x86_64",
        "cp38-abi3-manylinux_2_17_x86_64",
        "py3-none-manylinux_2_17_x86_64",
        "cp311-none-any",
        "py311-none-any",
        "py3-none-any",
    ]
    places = [tags.index(tag) for tag in order]
    assert places == sorted(places)
    assert "cp312-cp312-manylinux_2_17_x86_64" not in tags
    assert "cp311-cp311-manylinux_2_37_x86_64" not in tags


@pytest.mark.parametrize("text", ["", "3", "3.7", "2.7", "3.11.x", "3.11.2.1", "4.0", "٣.11"])
def test_versions_that_are_none(text: str) -> None:
    with pytest.raises(FaultError, match="expected a version of Python"):
        check_python(text)


@pytest.mark.parametrize("text", ["", "glibc", "glibc-3.1", "musl-2.1", "glibc-2.36.1"])
def test_c_libraries_that_are_none(text: str) -> None:
    with pytest.raises(FaultError, match="expected a C library"):
        check_libc(text)
