"""`init`: the first minute with immutable."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.cli.init import image_name
from immutable.reference.grammar import is_repository
from tests.support.command import Shell


def test_what_init_writes_builds_offline_and_without_a_lock(shell: Shell) -> None:
    done = shell.run("init", "Web_App 2")
    assert (0, "Web_App 2/image.toml\n", "") == (done.status, done.out, done.err)
    built = shell.run("build", "Web_App 2/image.toml", "--offline", "--json")
    assert (0, "web-app-2") == (built.status, built.json["name"])
    assert 0 == shell.run("verify", "Web_App 2/image.toml").status


def test_without_a_folder_it_is_this_one(shell: Shell) -> None:
    assert {"path": "image.toml"} == shell.run("init", "--json").json
    assert "work" == shell.run("build", "image.toml", "--json").json["name"]


def test_what_is_there_stays_as_it_is(shell: Shell) -> None:
    shell.write("image.toml", "mine")
    done = shell.run("init")
    assert (1, "", "error: image.toml: is there already, and stays as it is\n") == (
        done.status,
        done.out,
        done.err,
    )
    assert "mine" == Path("image.toml").read_text()


def test_a_dangling_link_is_not_written_through(shell: Shell) -> None:
    Path("image.toml").symlink_to("elsewhere")
    assert 1 == shell.run("init").status
    assert not Path("elsewhere").exists()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/none"])
def test_where_no_folder_can_be(shell: Shell, place: str) -> None:
    shell.write("file", "")
    done = shell.run("init", place)
    assert done.status in (1, 2)
    assert "" == done.out
    assert place.split("/")[-2 if place.endswith("below") else -1] in done.err


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("web", "web"),
        ("Web_App 2", "web-app-2"),
        ("Café", "cafe"),
        ("--x--", "x"),
        ("日本", "image"),
        ("", "image"),
        ("a" * 300, "a" * 100),
    ],
)
def test_the_name_comes_from_the_folder(folder: str, name: str) -> None:
    assert name == image_name(folder)


@given(st.text())
def test_every_folder_gives_a_name_that_images_can_have(folder: str) -> None:
    assert is_repository(image_name(folder))
