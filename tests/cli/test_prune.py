"""`prune`: it shows, asks, and then deletes."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from immutable.store.check import check
from tests.support import needs
from tests.support.command import Shell
from tests.support.disks import fill_up, mounted


@pytest.fixture
def three(shell: Shell) -> Shell:
    for text in ("one", "two", "three"):
        assert 0 == shell.run("build", shell.hello(tags=f'"{text}"', text=text)).status
    return shell


def test_the_command_shows_and_then_deletes(three: Shell) -> None:
    shown = three.run("prune", "--keep-last", "1", "--dry-run")
    assert 0 == shown.status
    lines = shown.out.splitlines()
    assert ["hello@1", "hello@2", "hello@3"] == [line.split()[0] for line in lines[:3]]
    assert "2 images to delete" in lines[-1]
    assert 3 == len(three.run("generations", "hello", "--json").json)
    done = three.run("prune", "--keep-last", "1", "--yes")
    assert "freed " in done.out
    assert [3] == [one["generation"] for one in three.run("generations", "hello", "--json").json]
    assert "0 images to delete" in three.run("prune", "--keep-last", "1", "--yes").out
    assert 0 == three.run("store", "check").status


def test_what_is_left_can_be_looked_at(three: Shell) -> None:
    before = three.run("inspect", "hello", "--json").json
    assert 0 == three.run("prune", "--keep-last", "1", "--yes", "--no-caches").status
    assert before == three.run("inspect", "hello", "--json").json
    assert ["hello"] == [one["name"] for one in three.run("images", "--json").json]
    gone = three.run("inspect", "hello@1")
    assert (1, True) == (gone.status, "no such generation" in gone.err)
    back = three.run("rollback", "hello", "--to", "1")
    assert (1, True) == (back.status, "there is 3" in back.err)


class Terminal(io.StringIO):
    """A stream that people are at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "left"), [("y\n", [3]), ("n\n", [1, 2, 3]), ("\n", [1, 2, 3])])
def test_a_terminal_is_asked(
    three: Shell, monkeypatch: pytest.MonkeyPatch, answer: str, left: list[int]
) -> None:
    with monkeypatch.context() as patch:
        said = Terminal()
        patch.setattr("sys.stdin", Terminal(answer))
        patch.setattr("sys.stderr", said)
        assert 0 == three.run("prune", "--keep-last", "1").status
    assert "delete 2 images, free " in said.getvalue()
    assert ("nothing was deleted" in said.getvalue()) == (len(left) == 3)
    numbers = [one["generation"] for one in three.run("generations", "hello", "--json").json]
    assert left == sorted(numbers)


@pytest.mark.parametrize("terminal", [True, False])
def test_where_it_cannot_ask_a_terminal_it_deletes_nothing(
    three: Shell, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdin", Terminal())
        if terminal:
            patch.setattr("sys.stderr", Terminal())
        options = ["--json"] if terminal else []
        assert 2 == three.run("prune", "--keep-last", "1", *options).status
        assert 3 == len(three.run("generations", "hello", "--json").json)
        shown = three.run("prune", "--keep-last", "1", "--dry-run", "--json").json
        done = three.run("prune", "--keep-last", "1", "--yes", "--json").json
    assert shown | {"dry_run": False} == done
    assert 1 == len(three.run("generations", "hello", "--json").json)


@needs.root()
def test_a_full_disk_is_pruned_by_the_command(shell: Shell, tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "4m") as mount:
        place = ("--store", mount / "store")
        for text in ("one", "two", "three"):
            assert 0 == shell.run("build", shell.hello(text=text), *place).status
        fill_up(mount)
        refused = shell.run("build", shell.hello(text="four"), *place)
        assert (1, True) == (refused.status, "full" in refused.err)
        again = shell.run("build", shell.hello(text="three"), *place)
        assert (0, "") == (again.status, again.err)
        done = shell.run("prune", "--keep-last", "1", "--yes", *place)
        assert (0, "") == (done.status, done.err)
        left = shell.run("generations", "hello", "--json", *place).json
        assert [3] == [one["generation"] for one in left]
        assert () == check(mount / "store")


def test_without_a_stdin_nobody_is_asked(three: Shell) -> None:
    done = three.spawn("prune", "--keep-last", "1", preexec_fn=lambda: os.close(0))
    assert (0, True) == (done.status, "freed " in done.out)


def test_the_commands_document(three: Shell) -> None:
    document = three.run("prune", "hello", "--keep-last", "2", "--json").json
    assert {"place", "dry_run", "refused", "items", "caches", "bytes"} == document.keys()
    gone, *kept = document["items"]
    assert (1, False, 1, ["one"]) == (
        gone["generation"], gone["keep"], gone["rule"], gone["tags"]
    )  # fmt: skip
    assert gone["bytes"] > 0
    assert [True, True] == [one["keep"] for one in kept]
    assert document["bytes"] == gone["bytes"] + document["caches"]


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("--policy", "missing.toml"), 2, "does not exist"),
        (("--keep-last", "0"), 2, "0 is not in the range"),
        (("--keep-within", "soon"), 2, "expected a time span"),
        (("--policy", "hello.toml", "--keep-last", "1"), 2, "belong into the policy"),
        (("--policy", "hello.toml"), 1, "unknown key"),
        (("docker://host.test/a", "hello"), 2, "prune one at a time"),
        (("nothing",), 1, "no such image"),
    ],
)
def test_wrong_usage(three: Shell, args: tuple[str, ...], status: int, said: str) -> None:
    done = three.run("prune", *args)
    assert status == done.status
    assert said in done.err
