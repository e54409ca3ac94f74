"""`load`."""

import json
import shutil
from pathlib import Path

import pytest

from immutable.transports import copy
from tests.support.built import built, refused
from tests.support.command import Shell
from tests.support.images import MemoryTransport, image, index, raw_tar, untar


def listed(shell: Shell) -> dict[str, list[str]]:
    return {one["name"]: one["tags"] for one in shell.run("images", "--json").json}


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
