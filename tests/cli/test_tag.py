"""`tag`."""

import json

import pytest

from immutable.oci.documents import REF_NAME
from tests.support.built import built, refused
from tests.support.command import Shell


def test_tags_are_put(shell: Shell) -> None:
    digest = built(shell, "shop/web", "1.0")
    done = shell.run("tag", "shop/web", "1", "stable")
    lines = f"store:shop/web:1  {digest}\nstore:shop/web:stable  {digest}\n"
    assert (0, lines, "") == (done.status, done.out, done.err)
    assert {
        "name": "shop/web",
        "generation": 1,
        "tags": ["1", "1.0", "again", "stable"],
        "digest": digest,
        "media_type": "application/vnd.oci.image.manifest.v1+json",
    } == shell.run("tag", "shop/web@1", "again", "--json").json
    index_json = json.loads((shell.store / "index.json").read_bytes())
    names = {entry["annotations"][REF_NAME] for entry in index_json["manifests"]}
    assert {"shop/web:again", "shop/web:stable"} < names


def test_an_older_image_is_tagged_by_its_digest(shell: Shell) -> None:
    old = built(shell, "web", "1")
    built(shell, "web", "2", text="new")
    assert 0 == shell.run("tag", f"web@{old}", "old").status
    assert 0 == shell.run("tag", "web:1", "older").status
    for name in ("web:old", "web:older"):
        assert old == shell.run("inspect", name, "--json").json["digest"]


def test_a_tag_on_another_image_stays_there(shell: Shell) -> None:
    old = built(shell, "web", "1")
    new = built(shell, "web", text="new")
    done = shell.run("tag", "web", "2", "1")
    refused(done, f"store:web:1: the tag is on {old}, and was to be put on {new}; tags do not move")
    assert [] == shell.run("inspect", "web", "--json").json["tags"]
    assert 0 == shell.run("tag", "web", "2", "1", "--replace-tag").status
    assert ["1", "2"] == shell.run("inspect", "web", "--json").json["tags"]
    assert 0 == shell.run("tag", "web", "1").status


def test_a_build_moves_its_own_tags(shell: Shell) -> None:
    built(shell, "web", "1")
    new = built(shell, "web", "1", text="new")
    assert new == shell.run("inspect", "web:1", "--json").json["digest"]


@pytest.mark.parametrize(
    ("image", "status", "message"),
    [
        ("wep", 1, "did you mean web?"),
        ("web@7", 1, "no such generation"),
        ("oci:web:x", 2, "expected NAME, NAME:TAG, NAME@N"),
        (f"sha256:{'0' * 64}", 2, "expected NAME, NAME:TAG, NAME@N"),
    ],
)
def test_what_cannot_be_tagged(shell: Shell, image: str, status: int, message: str) -> None:
    built(shell, "web", "1")
    refused(shell.run("tag", image, "2"), message, status=status)
