"""Merged /usr, and links that lead where they led before."""

from __future__ import annotations

import pytest

from immutable.builders.debian.places import Places, is_merged
from immutable.content.entries import EntryKind, symlink
from immutable.errors import ArchiveError
from tests.support.debian import File, tar_member
from tests.support.debian_layer import Made, build, package

MERGED = Places.of(merged=True)


@pytest.mark.parametrize(
    ("suite", "expected"),
    [
        ("buster", False),
        ("bullseye", False),
        ("bullseye-backports", False),
        ("bookworm", True),
        ("bookworm-backports", True),
        ("trixie", True),
        ("sid", True),
        ("a-later-one", True),
    ],
)
def test_usr_is_merged_from_bookworm_on(suite: str, expected: bool) -> None:
    assert expected is is_merged(suite)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"bin/ls", b"usr/bin/ls"),
        (b"lib64/ld.so", b"usr/lib64/ld.so"),
        (b"lib/x/y", b"usr/lib/x/y"),
        (b"lib", b"usr/lib"),
        (b"library/x", b"library/x"),
        (b"usr/bin/ls", b"usr/bin/ls"),
        (b"var/run/x", b"run/x"),
        (b"var/lock", b"run/lock"),
        (b"var/lib/x", b"var/lib/x"),
        (b"var", b"var"),
    ],
)
def test_a_path_lies_where_the_links_lead(path: bytes, expected: bytes) -> None:
    assert expected == MERGED(path)


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        (b"lib/a/x.so", b"x.so.1", b"x.so.1"),
        (b"lib/a/x.so", b"../b/x.so", b"../b/x.so"),
        (b"lib/x", b"../usr/share/y", b"../share/y"),
        (b"lib/a/x", b"../../usr/share/y", b"../../share/y"),
        (b"lib/a/x", b"../../etc/y", b"../../../etc/y"),
        (b"bin/x", b"../sbin/y", b"../sbin/y"),
        (b"bin/x", b"/bin/y", b"/bin/y"),
        (b"bin/x", b"../bin/y", b"../bin/y"),
        (b"usr/bin/x", b"../../bin/y", b"../../bin/y"),
        (b"var/run/x", b"../lib/y", b"../var/lib/y"),
    ],
)
def test_a_moved_link_leads_where_it_led(path: bytes, target: bytes, expected: bytes) -> None:
    assert expected == MERGED.entry(symlink(path, target)).target


def test_packages_files_lie_below_usr_and_links_stand_for_the_old_places() -> None:
    layer = build(
        package("libc6", files={"/lib64/ld.so": File(b"ld", 0o755), "/bin/true": File(b"t", 0o755)})
    )
    assert "ld" == layer.text("/usr/lib64/ld.so")
    assert {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"} == {
        name: layer.target(name) for name in ("bin", "lib", "lib64", "sbin")
    }
    assert "/lib32" not in layer
    assert EntryKind.DIRECTORY is layer.entry("/usr/bin").kind


def test_a_loaders_link_is_there_when_packages_use_usr_themselves() -> None:
    layer = build(package("libc6", files={"/usr/lib64/ld.so": b"ld"}), suite="trixie")
    assert "usr/lib64" == layer.target("/lib64")


def test_links_that_a_package_ships_itself_are_kept() -> None:
    made = package("base-files", links={"/bin": "usr/bin", "/var/run": "/run"})
    layer = build(made, package("one", files={"/usr/bin/x": b""}), suite="trixie")
    assert "usr/bin" == layer.target("/bin")
    assert "/run" == layer.target("/var/run")


def test_a_later_layer_repeats_no_link_that_is_there() -> None:
    first = build(package("one"))
    for path in ("/usr/bin/two", "/bin/two"):
        upper = build(package("two", files={path: b"2"}), lower=first)
        assert {b"bin", b"lib", b"sbin"}.isdisjoint(e.path for e in upper.arrangement)
        assert "2" == upper.text("/usr/bin/two")


def test_a_later_layer_makes_a_link_that_its_packages_go_through_and_that_is_not_there() -> None:
    first = build(package("one"))
    upper = build(package("two", files={"/lib64/two": b""}), lower=first)
    assert "usr/lib64" == upper.target("/lib64")


def test_packages_that_go_through_a_link_bring_it_over_a_directory_that_is_in_its_place() -> None:
    first = build(package("one", files={"/bin/one": b""}), suite="bullseye")
    upper = build(package("two", files={"/bin/two": b""}), lower=first)
    assert "usr/bin" == upper.target("/bin")


def test_a_directory_below_that_no_package_goes_through_stays() -> None:
    first = build(package("one", files={"/bin/one": b""}), suite="bullseye")
    upper = build(package("two", files={"/usr/bin/two": b""}), lower=first)
    assert EntryKind.DIRECTORY is upper.entry("/bin").kind


def test_before_bookworm_bin_is_a_directory_of_its_own() -> None:
    layer = build(package("one", files={"/bin/x": b"x"}), suite="bullseye")
    assert "x" == layer.text("/bin/x")
    assert "/usr/bin/x" not in layer


def test_a_compatibility_link_that_merging_turns_on_itself_is_dropped() -> None:
    made = package("one", files={"/bin/touch": b"t"}, links={"/usr/bin/touch": "/bin/touch"})
    assert "t" == build(made).text("/usr/bin/touch")


def test_hard_links_move_with_their_targets() -> None:
    members = [
        tar_member("./bin/", kind=b"5", mode=0o755),
        tar_member("./bin/gunzip", b"data"),
        tar_member("./bin/uncompress", kind=b"1", target="./bin/gunzip"),
    ]
    layer = build(package("gzip", members=members))
    assert b"usr/bin/gunzip" == layer.entry("/usr/bin/uncompress").target


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (package("one", files={"/bin": b"x"}), "a file"),
        (package("one", links={"/bin": "opt/bin"}), "one to opt/bin"),
        (package("one", links={"/bin": "/opt"}), "one to /opt"),
    ],
)
def test_no_package_takes_the_place_of_a_link(made: Made, found: str) -> None:
    expected = f"one_.*: /bin: expected a directory or the link to /usr/bin, found {found}"
    with pytest.raises(ArchiveError, match=expected):
        build(made)


@pytest.mark.parametrize("text", ["usr/bin", "/usr/bin", "./usr/bin/"])
def test_the_link_itself_may_be_written_otherwise(text: str) -> None:
    assert text == build(package("one", links={"/bin": text})).target("/bin")
