"""`generations`, and `rollback` and `pin`, which choose among them."""

import json

import pytest

from tests.support.command import Shell


@pytest.fixture
def two(shell: Shell) -> Shell:
    for text in ("one", "two"):
        path = shell.hello(tags=f'"{text}"', text=text)
        assert 0 == shell.run("build", path).status
    return shell


def test_generations_are_listed_newest_first(two: Shell) -> None:
    lines = two.run("generations", "hello").out.splitlines()
    assert ["GENERATION", "AGE", "DIGEST", "TAGS", "SIZE", "OWN", "CHANGED"] == lines[0].split()
    assert ["*", "2"] == lines[1].split()[:2]
    assert "1" == lines[2].split()[0]
    documents = two.run("generations", "hello", "--json").json
    assert [(2, True, False), (1, False, False)] == [
        (one["generation"], one["current"], one["pinned"]) for one in documents
    ]
    assert {"changes", "created", "digest", "name", "own", "size", "tags"} <= documents[0].keys()


def test_rollback_and_pin(two: Shell) -> None:
    done = two.run("rollback", "hello")
    assert "hello: generation 2 → 1" in done.out
    assert "is current already" in two.run("rollback", "hello", "--to", 1).out
    assert 1 == two.run("rollback", "hello").status
    assert 2 == two.run("rollback", "hello", "--to", "0").status
    assert 2 == json.loads(two.run("rollback", "hello", "--to", "2", "--json").out)["generation"]
    assert "hello@1: pinned" in two.run("pin", "hello@1").out
    assert "1 pinned" in two.run("generations", "hello").out
    assert "hello@1: not pinned" in two.run("pin", "hello@1", "--remove").out
    assert 1 == two.run("pin", "hello:nothing").status
    assert 1 == two.run("generations", "nothing").status
