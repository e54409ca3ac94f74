"""`copy`."""

import pytest

from immutable.store import Layout
from tests.support.command import Shell


def test_an_image_of_the_store_keeps_its_name(shell: Shell) -> None:
    spec = shell.hello(tags='"1.0", "1"')
    digest = shell.run("build", "-q", spec).out.strip()
    for source, name in (
        ("hello", "hello:1"),
        ("hello:1.0", "hello:1.0"),
        ("store:hello@1", "hello:1"),
        (f"hello@{digest}", "hello:1"),
    ):
        done = shell.run("copy", source, f"oci:{name.replace(':', '-')}")
        place = f"oci:{name.replace(':', '-')}:{name}"
        assert (0, f"{place}  {digest}\n", "") == (done.status, done.out, done.err)
        assert digest == shell.run("inspect", place, "--json").json["digest"]


def test_the_json_of_copy(shell: Shell) -> None:
    spec = shell.hello()
    built = shell.run("build", spec, "--json").json
    assert {
        "source": "store:hello",
        "destination": "oci-archive:out.tar:hello",
        "digest": built["digest"],
        "media_type": built["media_type"],
    } == shell.run("copy", "hello", "oci-archive:out.tar", "--json").json


def test_from_elsewhere_into_the_store(shell: Shell) -> None:
    spec = shell.hello(tags='"1.0"')
    digest = shell.run("build", "-q", spec, "-o", "oci:out").out.strip()
    done = shell.run("copy", "oci:out", "store:other:2.0")
    assert (0, f"store:other:2.0  {digest}\n") == (done.status, done.out)
    assert digest == shell.run("inspect", "other:2.0", "--json").json["digest"]
    assert 0 == shell.run("copy", "oci:out", "docker-archive:out.tar").status


def test_an_image_from_elsewhere_keeps_its_name_too(shell: Shell) -> None:
    digest = shell.run("build", "-q", shell.hello(tags='"1.0"'), "-o", "oci:out").out.strip()
    done = shell.run("copy", "oci:out:hello:1.0", "oci-archive:out.tar")
    assert f"oci-archive:out.tar:hello:1.0  {digest}\n" == done.out
    done = shell.run("copy", f"store:{digest}", "oci-archive:bare.tar")
    assert f"oci-archive:bare.tar  {digest}\n" == done.out


def test_a_tag_of_the_store_stays_where_it_is(shell: Shell) -> None:
    old = shell.run("build", "-q", shell.hello(tags='"1.0"'), "-o", "oci:out").out.strip()
    new = shell.run("build", "-q", shell.hello(tags='"1.0"', text="new")).out.strip()
    done = shell.run("copy", "oci:out", "store:hello:1.0", "--digest-file", "digest")
    assert (1, "") == (done.status, done.out)
    assert f"store:hello:1.0: the tag is on {new}, and was to be put on {old}" in done.err
    assert not (shell.folder / "digest").exists()
    again = ("copy", "oci:out", "store:hello:1.0", "--replace-tag", "--digest-file", "digest")
    done = shell.run(*again)
    assert 0 == done.status
    assert f"{old}\n" == (shell.folder / "digest").read_text()
    assert old == shell.run("inspect", "hello:1.0", "--json").json["digest"]


@pytest.mark.parametrize("place", ["no/digest", "."])
def test_a_digest_file_that_cannot_be_is_told_first(shell: Shell, place: str) -> None:
    shell.run("build", shell.hello())
    done = shell.run("copy", "hello", "oci:out", "--digest-file", place)
    assert ("", 2 if place == "." else 1) == (done.out, done.status)
    assert not (shell.folder / "out").exists()


def test_one_platform_of_several(shell: Shell) -> None:
    spec = shell.hello(platforms='"linux/amd64", "linux/arm64"')
    built = shell.run("build", spec, "--json").json
    done = shell.run("copy", "hello", "oci:out", "--platform", "linux/arm64", "--json")
    assert built["platforms"][1]["digest"] == done.json["digest"]
    assert 1 == shell.run("copy", "hello", "oci:other", "--platform", "linux/s390x").status


@pytest.mark.parametrize(
    ("source", "destination", "message"),
    [
        ("hallo", "oci:out", "no such image in the store; did you mean hello?"),
        ("hello", "out.tar", "oci-archive:out.tar or docker-archive:out.tar for a file"),
        ("oci:out", "out.tar", "oci-archive:out.tar or docker-archive:out.tar for a file"),
        ("hello", "docker-daemon:", "hello has no tag, and docker-daemon: takes none without"),
        ("oci:missing", "oci:out", "missing"),
        ("oci:missing", "docker-daemon:", "expected NAME:TAG"),
    ],
)
def test_what_cannot_be_copied(shell: Shell, source: str, destination: str, message: str) -> None:
    shell.run("build", shell.hello())
    done = shell.run("copy", source, destination)
    assert (1, "") == (done.status, done.out)
    assert message in done.err
    assert not (shell.folder / "out").exists()


def test_a_failed_copy_leaves_no_name(shell: Shell) -> None:
    built = shell.run("build", shell.hello(), "--json").json
    layer = built["platforms"][0]["layers"][0]["digest"]
    blob = shell.store / "blobs" / "sha256" / layer.removeprefix("sha256:")
    blob.chmod(0o644)
    blob.write_bytes(b"x" * blob.stat().st_size)
    done = shell.run("copy", "hello", "oci:out")
    assert (1, "") == (done.status, done.out)
    assert layer in done.err
    assert () == Layout.open(shell.folder / "out").index().manifests
