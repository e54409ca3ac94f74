"""`load` and `tag`."""

import json
import shutil
from pathlib import Path

import pytest

from immutable.oci.documents import REF_NAME
from immutable.transports import copy
from tests.support.command import Done, Shell
from tests.support.images import MemoryTransport, image, index, raw_tar, untar


def built(shell: Shell, name: str, *tags: str, text: str = "hello") -> str:
    spec = shell.hello(image=name, tags=", ".join(f'"{tag}"' for tag in tags), text=text)
    return shell.run("build", "-q", spec).out.strip()


def refused(done: Done, message: str, status: int = 1) -> None:
    assert (status, "") == (done.status, done.out)
    assert message in done.err


def listed(shell: Shell) -> dict[str, list[str]]:
    return {one["name"]: one["tags"] for one in shell.run("images", "--json").json}


# Loading


def test_all_images_of_a_layout(shell: Shell) -> None:
    one, two = built(shell, "one", "1.0", "1"), built(shell, "two", "2", text="two")
    for name in ("one:1.0", "one:1", "two:2"):
        assert 0 == shell.run("copy", name, "oci:out").status
    shutil.rmtree(shell.store)
    done = shell.run("load", "out")
    lines = f"store:one:1.0  {one}\nstore:one:1  {one}\nstore:two:2  {two}\n"
    assert (0, lines, "") == (done.status, done.out, done.err)
    assert {"one": ["1", "1.0"], "two": ["2"]} == listed(shell)
    assert f"{one}\n{two}\n" == shell.run("load", "oci:out", "-q").out


def test_a_store_is_a_layout(shell: Shell, tmp_path: Path) -> None:
    built(shell, "one", "1.0")
    newest = built(shell, "one", "2.0", text="two")
    done = shell.run("load", shell.store, "--store", tmp_path / "other", "--json")
    assert [("one", 1, ["1.0"]), ("one", 2, ["2.0"])] == [
        (each["name"], each["generation"], each["tags"]) for each in done.json
    ]
    found = shell.run("inspect", "one", "--store", tmp_path / "other", "--json").json
    assert newest == found["digest"]


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
@pytest.mark.parametrize("written", ["out.tar", "KIND:out.tar", "KIND:out.tar:shop/web:1.0"])
def test_an_archive(shell: Shell, kind: str, written: str) -> None:
    built(shell, "shop/web", "1.0")
    digest = shell.run("copy", "shop/web", f"{kind}:out.tar", "--json").json["digest"]
    shutil.rmtree(shell.store)
    done = shell.run("load", written.replace("KIND", kind), "--json")
    tags = {"name": "shop/web", "generation": 1, "tags": ["1.0"]}
    assert tags == {key: done.json[0][key] for key in tags}
    if kind == "oci-archive":
        assert digest == done.json[0]["digest"]


def test_what_docker_saves_of_several_images(shell: Shell) -> None:
    files: dict[str, bytes] = {}
    listing = []
    for seed, names in enumerate([["reg.test:5000/a/b:1", "c:latest"], ["d:2"]]):
        copy(image(seed), f"docker-archive:{seed}.tar")
        found = untar(Path(f"{seed}.tar"))
        entry = json.loads(found.pop("manifest.json"))[0]
        listing.append({**entry, "RepoTags": names})
        files |= found
    files["manifest.json"] = json.dumps(listing).encode()
    Path("all.tar").write_bytes(raw_tar([*files.items()]))
    done = shell.run("load", "all.tar")
    assert 0 == done.status
    assert ["store:a/b:1", "store:c", "store:d:2"] == [
        line.partition(" ")[0] for line in done.out.splitlines()
    ]
    assert "latest names no version" in done.err
    assert {"a/b": ["1"], "c": [], "d": ["2"]} == listed(shell)


def test_a_layout_that_docker_saved_says_the_name_elsewhere(shell: Shell) -> None:
    copy(index(), "oci:out:1.4")
    path = Path("out/index.json")
    document = json.loads(path.read_bytes())
    name = "reg.test/library/web:1.4"
    document["manifests"][0]["annotations"]["io.containerd.image.name"] = name
    path.write_text(json.dumps(document))
    assert 0 == shell.run("load", "out").status
    assert {"library/web": ["1.4"]} == listed(shell)


def test_an_image_without_a_name_is_given_one(shell: Shell) -> None:
    copy(image(), "oci:out")
    refused(shell.run("load", "out"), "the image has no name; give it one")
    for name, tags in (("web", []), ("api:1", ["1"])):
        assert 0 == shell.run("load", "out", name).status
        assert tags == listed(shell)[name.partition(":")[0]]
    copy(image(), "oci:other:web:1.0")
    assert 0 == shell.run("load", "other", "mine").status
    assert 0 == shell.run("load", "other", "yours:3").status
    assert {"api": ["1"], "mine": ["1.0"], "web": [], "yours": ["3"]} == listed(shell)


def test_loading_moves_no_tag_and_is_all_or_nothing(shell: Shell) -> None:
    one = built(shell, "one", "1.0")
    shell.run("copy", "one", "oci:out")
    two = built(shell, "two", "1.0", text="two")
    shell.run("copy", "two", "oci:out")
    shutil.rmtree(shell.store)
    other = built(shell, "two", "1.0", text="other")
    blobs = sorted(shell.store.glob("blobs/*/*"))
    done = shell.run("load", "out")
    refused(done, f"store:two:1.0: the tag is on {other}, and was to be put on {two}")
    assert {"two": ["1.0"]} == listed(shell)
    assert blobs == sorted(shell.store.glob("blobs/*/*"))
    assert 0 == shell.run("load", "out", "--replace-tag").status
    assert one == shell.run("inspect", "one:1.0", "--json").json["digest"]
    assert two == shell.run("inspect", "two:1.0", "--json").json["digest"]


def test_what_cannot_be_loaded(shell: Shell) -> None:
    copy(image(1), "oci:two:a:1")
    copy(image(2), "oci:two:b:1")
    copy(image(2), "oci:odd:Upper:1")
    copy(image(1), "oci:same:reg.test/a:1")
    copy(image(2), "oci:same:a:1")
    copy(image(1), "oci:none")
    path = Path("none/index.json")
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"manifests": []}))
    Path("plain.tar").write_bytes(raw_tar([("a", b"a")]))
    shell.write("text", "no tar")
    for args, message in (
        (["two", "mine"], "two: expected one image to call mine, found 2"),
        (["odd"], "called 'Upper', which no image can be called in a store"),
        (["same"], "same: two images are called a:1"),
        (["none"], "none: expected an image, found none"),
        (["plain.tar"], "expected oci-layout or manifest.json in it"),
        (["text"], "text"),
        (["docker-archive:plain.tar"], "this is no docker archive"),
        (["oci-archive:plain.tar"], "this is no OCI archive"),
        (["oci:two:c:1"], "expected one image called c:1"),
        (["missing.tar"], "expected the path of a layout or an archive"),
        (["docker://registry.test/web:1"], "expected the path of a layout or an archive"),
        (["web"], "expected the path of a layout or an archive"),
        (["oci:missing"], "missing"),
    ):
        refused(shell.run("load", *args), message)
    assert {} == listed(shell)


def test_wrong_bytes_are_not_kept(shell: Shell) -> None:
    source = MemoryTransport()
    image(into=source)
    copy(source, "oci:out:web:1")
    layer = source.manifest.layers[0].digest
    blob = Path("out/blobs/sha256") / layer.hex
    blob.chmod(0o644)
    blob.write_bytes(bytes(blob.stat().st_size))
    refused(shell.run("load", "out"), str(layer))
    assert {} == listed(shell)


# Tagging


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
    refused(shell.run("tag", image, "2"), message, status)
