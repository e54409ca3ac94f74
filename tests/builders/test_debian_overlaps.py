"""Paths that several packages ship."""

from __future__ import annotations

import pytest

from immutable.errors import ArchiveError, EntryError
from tests.support.debian import File, tar_member
from tests.support.debian_layer import build, package


def test_one_path_with_two_contents_is_refused_with_both_names() -> None:
    one = package("one", files={"/usr/bin/x": b"1"})
    two = package("two", "2.0", files={"/usr/bin/x": b"2"})
    with pytest.raises(EntryError, match=r"/usr/bin/x: shipped by one 1\.0.*two 2\.0"):
        build(one, two)


def test_merging_usr_makes_two_paths_one() -> None:
    one = package("one", files={"/bin/x": b"1"})
    two = package("two", files={"/usr/bin/x": b"2"})
    with pytest.raises(EntryError, match="/usr/bin/x"):
        build(one, two)
    with pytest.raises(EntryError, match="/usr/bin/x"):
        build(package("both", files={"/bin/x": b"1", "/usr/bin/x": b"2"}))


def test_identical_files_are_shared() -> None:
    one = package("one", files={"/usr/share/x": b"same"})
    two = package("two", files={"/usr/share/x": b"same"})
    layer = build(one, two)
    assert "same" == layer.text("/usr/share/x")
    assert "/usr/share/x" in layer.text("/var/lib/dpkg/info/one.list")
    assert "/usr/share/x" in layer.text("/var/lib/dpkg/info/two.list")


@pytest.mark.parametrize(("mode", "links"), [(0o600, {}), (0o644, {"/usr/share/x": "elsewhere"})])
def test_the_same_bytes_otherwise_are_not_the_same(mode: int, links: dict[str, str]) -> None:
    one = package("one", files={"/usr/share/x": File(b"", 0o644)})
    files = {} if links else {"/usr/share/x": File(b"", mode)}
    with pytest.raises(EntryError, match="/usr/share/x"):
        build(one, package("two", files=files, links=links))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_package_that_replaces_the_other_wins(order: tuple[int, int]) -> None:
    packages = [
        package("old", "1.5", files={"/usr/bin/x": b"old", "/usr/bin/y": b"y"}),
        package("new", files={"/usr/bin/x": b"new"}, replaces="other, old (<< 2)"),
    ]
    layer = build(*(packages[index] for index in order))
    assert "new" == layer.text("/usr/bin/x")
    assert "y" == layer.text("/usr/bin/y")
    assert "/usr/bin/x" not in layer.text("/var/lib/dpkg/info/old.list")
    assert "usr/bin/x" not in layer.text("/var/lib/dpkg/info/old.md5sums")
    assert "/usr/bin/x" in layer.text("/var/lib/dpkg/info/new.list")


@pytest.mark.parametrize("relation", ["<< 1.5", ">> 1.5", "= 1.4", ">= 1.6", "<= 1.4"])
def test_a_version_that_does_not_fit_replaces_nothing(relation: str) -> None:
    old = package("old", "1.5", files={"/usr/bin/x": b"old"})
    new = package("new", files={"/usr/bin/x": b"new"}, replaces=f"old ({relation})")
    with pytest.raises(EntryError, match="/usr/bin/x"):
        build(old, new)


def test_of_two_that_replace_each_other_the_later_wins() -> None:
    one = package("one", files={"/usr/bin/x": b"1"}, replaces="two")
    two = package("two", files={"/usr/bin/x": b"2"}, replaces="one")
    assert "2" == build(one, two).text("/usr/bin/x")


def test_a_field_that_cannot_be_read_is_an_error_that_names_it() -> None:
    one = package("one", files={"/usr/bin/x": b"1"})
    two = package("two", files={"/usr/bin/x": b"2"}, replaces="one (~ 1)")
    with pytest.raises(ArchiveError, match=r"two 1\.0: control file: Replaces"):
        build(one, two)


def folder(mode: int, gid: int) -> list[bytes]:
    return [tar_member("./srv/", kind=b"5", mode=mode, gid=gid)]


def test_of_a_directorys_attributes_the_first_packages_count() -> None:
    one, two = package("one", members=folder(0o750, 5)), package("two", members=folder(0o755, 0))
    entry = build(one, two).entry("/srv")
    assert (0o750, 5) == (entry.mode, entry.gid)


def test_base_files_word_on_directories_comes_first() -> None:
    one = package("a-first", members=folder(0o755, 0))
    base = package("base-files", members=folder(0o2775, 50))
    entry = build(one, base).entry("/srv")
    assert (0o2775, 50) == (entry.mode, entry.gid)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_directory_gives_way_to_a_link(order: tuple[int, int]) -> None:
    packages = [
        package("one", members=[tar_member("./usr/share/x/", kind=b"5", mode=0o755)]),
        package("two", links={"/usr/share/x": "y"}),
    ]
    assert "y" == build(*(packages[index] for index in order)).target("/usr/share/x")
