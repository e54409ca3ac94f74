"""Alternatives: what scripts ask for, what is chosen, and dpkg's record of it."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path

import pytest

from immutable.builders.debian.alternatives import calls, merged
from immutable.builders.debian.package import UnpackedPackage
from immutable.content.archives.deb import open_deb
from tests.support import needs
from tests.support.debian import File
from tests.support.debian_layer import Built, Made, build, package
from tests.support.trees import unpack

MAWK = """#!/bin/sh
set -e
if [ "$1" = "configure" ]; then
        update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5 \\
            --slave /usr/share/man/man1/awk.1.gz awk.1.gz /usr/share/man/man1/mawk.1.gz \\
            --slave /usr/bin/nawk nawk /usr/bin/mawk
fi
"""


def provider(name: str, priority: int, link: str = "/usr/bin/awk", **more: bytes) -> Made:
    script = f"update-alternatives --quiet --install {link} awk /usr/bin/{name} {priority}\n"
    return package(
        name, files={f"/usr/bin/{name}": File(b"", 0o755), **more}, scripts={"postinst": script}
    )


def mawk() -> Made:
    return package("mawk", files={"/usr/bin/mawk": b""}, scripts={"postinst": MAWK})


def test_an_alternative_has_its_links_its_slaves_and_dpkgs_record() -> None:
    layer = build(mawk())
    assert "/etc/alternatives/awk" == layer.target("/usr/bin/awk")
    assert "/usr/bin/mawk" == layer.target("/etc/alternatives/awk")
    assert "/etc/alternatives/nawk" == layer.target("/usr/bin/nawk")
    assert "/usr/bin/mawk" == layer.target("/etc/alternatives/nawk")
    expected = (
        "auto\n/usr/bin/awk\nawk.1.gz\n/usr/share/man/man1/awk.1.gz\nnawk\n/usr/bin/nawk\n\n"
        "/usr/bin/mawk\n5\n/usr/share/man/man1/mawk.1.gz\n/usr/bin/mawk\n\n"
    )
    assert expected == layer.text("/var/lib/dpkg/alternatives/awk")


def test_a_slave_whose_file_is_not_there_has_no_link() -> None:
    layer = build(mawk())
    assert "/usr/share/man/man1/awk.1.gz" not in layer
    assert "/etc/alternatives/awk.1.gz" not in layer


@pytest.mark.parametrize(
    ("priorities", "expected"), [((5, 10), "b"), ((10, 5), "a"), ((5, 5), "a"), ((-5, 0), "b")]
)
def test_the_highest_priority_wins_and_of_equal_ones_the_first_path(
    priorities: tuple[int, int], expected: str
) -> None:
    layer = build(provider("b", priorities[1]), provider("a", priorities[0]))
    assert f"/usr/bin/{expected}" == layer.target("/etc/alternatives/awk")


def test_a_choice_that_is_left_out_is_none() -> None:
    layer = build(provider("a", 50), provider("b", 1), exclude=("/usr/bin/a",))
    assert "/usr/bin/b" == layer.target("/etc/alternatives/awk")
    alone = build(provider("a", 50), exclude=("/usr/bin/a",))
    assert "/usr/bin/awk" not in alone
    assert "/var/lib/dpkg/alternatives/awk" not in alone


def test_no_link_takes_a_files_place() -> None:
    layer = build(provider("a", 1), package("real", files={"/usr/bin/awk": b"real"}))
    assert "real" == layer.text("/usr/bin/awk")
    assert "/etc/alternatives/awk" not in layer


def test_a_link_in_bin_goes_to_its_place() -> None:
    layer = build(provider("a", 1, link="/bin/awk"))
    assert "/etc/alternatives/awk" == layer.target("/usr/bin/awk")


@pytest.mark.parametrize(
    "call",
    [
        "update-alternatives --install /usr/bin/$i $i /usr/bin/a 5",
        "update-alternatives --install /usr/bin/awk awk /usr/bin/a $priority",
        "update-alternatives --install /usr/bin/awk awk /usr/bin/a high",
        "update-alternatives --install /usr/bin/awk awk /usr/bin/a",
        "update-alternatives --install /usr/bin/../x awk /usr/bin/a 5",
        "update-alternatives --install usr/bin/awk awk /usr/bin/a 5",
        "update-alternatives --install /usr/bin/awk ../awk /usr/bin/a 5",
        "update-alternatives --install /usr/bin/awk .. /usr/bin/a 5",
        "update-alternatives --install /usr/bin/awk 'a\nb' /usr/bin/a 5",
        "update-alternatives --remove awk /usr/bin/a",
        "echo update-alternatives --install /usr/bin/awk awk /usr/bin/a 5",
        "# update-alternatives --install /usr/bin/awk awk /usr/bin/a 5",
    ],
)
def test_a_call_that_cannot_be_read_is_passed_over(call: str) -> None:
    layer = build(package("a", files={"/usr/bin/a": b""}, scripts={"postinst": call}))
    assert "/usr/bin/awk" not in layer
    assert not [p for p in layer.entries if p.startswith(b"var/lib/dpkg/alternatives/")]


def lower() -> tuple[Built, Made]:
    return build(provider("a", 5)), provider("b", 9)


def test_a_layer_above_adds_its_choice_to_the_record_below() -> None:
    first, better = lower()
    second = build(better, lower=first)
    assert "/usr/bin/b" == second.target("/etc/alternatives/awk")
    expected = "auto\n/usr/bin/awk\n\n/usr/bin/a\n5\n/usr/bin/b\n9\n\n"
    assert expected == second.text("/var/lib/dpkg/alternatives/awk")


def test_a_lesser_choice_above_leaves_the_link_as_it_is() -> None:
    first, _ = lower()
    second = build(provider("c", 1), lower=first)
    assert "/usr/bin/a" == second.target("/etc/alternatives/awk")
    assert "/usr/bin/c\n1" in second.text("/var/lib/dpkg/alternatives/awk")


def test_calls_of_several_packages_are_one_alternative() -> None:
    made = [mawk(), provider("gawk", 10)]
    found = merged(calls(_packages(*made)))
    assert {"awk"} == set(found)
    assert {"/usr/bin/mawk", "/usr/bin/gawk"} == set(found["awk"].choices)
    assert {"awk.1.gz", "nawk"} == set(found["awk"].slaves)


def _packages(*made: Made) -> list[UnpackedPackage]:
    debs = [open_deb(BytesIO(one.deb), name=one.name) for one in made]
    return [
        UnpackedPackage(one.name, deb.control, deb.members, ())
        for one, deb in zip(made, debs, strict=True)
    ]


@needs.tool("update-alternatives")
def test_update_alternatives_itself_understands_the_record(tmp_path: Path) -> None:
    layer = build(mawk(), provider("gawk", 10))
    unpack(layer.arrangement, tmp_path)
    answer = subprocess.run(
        [
            "update-alternatives",
            "--root",
            str(tmp_path),
            "--query",
            "awk",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
    )
    assert "Status: auto" in answer.stdout
    assert "Best: /usr/bin/gawk\nValue: /usr/bin/gawk\n" in answer.stdout
    assert "Alternative: /usr/bin/mawk\nPriority: 5\n" in answer.stdout
    assert "Alternative: /usr/bin/gawk\nPriority: 10\n" in answer.stdout
