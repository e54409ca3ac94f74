"""`build` as a command."""

import subprocess

import pytest

from immutable.cli.output import size
from immutable.oci.digest import Digest
from immutable.oci.documents import INDEX, MANIFEST
from immutable.store import Layout
from tests.support.command import Shell
from tests.support.needs import engine as needs_engine


def test_the_json_of_a_build_is_a_contract(shell: Shell) -> None:
    shell.hello(tags='"1.0"')
    done = shell.run("build", "hello.toml", "--json")
    document = done.json
    assert (0, "") == (done.status, done.err)
    assert [
        "name", "digest", "media_type", "size", "generation", "tags", "outputs", "platforms",
    ] == [*document]  # fmt: skip
    (platform,) = document["platforms"]
    assert ["platform", "digest", "config", "layers"] == [*platform]
    (layer,) = platform["layers"]
    assert ["name", "kind", "derivation", "diff_id", "digest", "size", "cached"] == [*layer]
    assert ("hello", MANIFEST, 1, ["1.0"], []) == (
        document["name"],
        document["media_type"],
        document["generation"],
        document["tags"],
        document["outputs"],
    )
    assert ("linux/amd64", document["digest"]) == (platform["platform"], platform["digest"])
    assert ("files", "files", False) == (layer["name"], layer["kind"], layer["cached"])


def test_its_digests_and_sizes_are_those_of_the_blobs(shell: Shell) -> None:
    shell.hello()
    document = shell.run("build", "hello.toml", "--json").json
    (platform,) = document["platforms"]
    (layer,) = platform["layers"]
    layout = Layout.open(shell.store)
    sizes = [
        len(layout.read(Digest.parse(digest), 4096))
        for digest in (document["digest"], platform["config"], layer["digest"])
    ]
    assert (sum(sizes), layer["size"]) == (document["size"], sizes[2])


def test_the_second_build_finds_all_cached_and_makes_no_generation(shell: Shell) -> None:
    shell.hello()
    first, second = (shell.run("build", "hello.toml", "--json").json for _ in range(2))
    assert second["platforms"][0]["layers"][0].pop("cached") is True
    assert first["platforms"][0]["layers"][0].pop("cached") is False
    assert first == second


def test_several_platforms_are_an_index(shell: Shell) -> None:
    shell.hello(platforms='"linux/amd64", "linux/arm64"')
    document = shell.run("build", "hello.toml", "--json").json
    assert (INDEX, ["linux/amd64", "linux/arm64"]) == (
        document["media_type"],
        [platform["platform"] for platform in document["platforms"]],
    )
    one = shell.run("build", "hello.toml", "--json", "--platform", "linux/arm64").json
    assert [document["platforms"][1]["digest"]] == [p["digest"] for p in one["platforms"]]
    other = shell.run("build", "hello.toml", "--platform", "linux/s390x")
    assert (1, "") == (other.status, other.out)
    assert "linux/s390x is not among linux/amd64, linux/arm64" in other.err


def test_the_text_of_a_build(shell: Shell) -> None:
    shell.hello(tags='"1.0"')
    document = shell.run("build", "hello.toml", "--json").json
    whole, layer = (size(one["size"]) for one in (document, document["platforms"][0]["layers"][0]))
    done = shell.run("build", "hello.toml", "-o", "oci:out")
    engine = "docker-daemon:hello:1.0"
    assert [
        f"hello (1.0)  generation 1  {whole}",
        document["digest"],
        "  linux/amd64",
        f"    files  files  {layer}  cached",
        "  → oci:out:hello:1.0",
        "run it: podman run --rm oci:out:hello:1.0",
        f"run it: immutable copy oci:out:hello:1.0 {engine} && docker run --rm hello:1.0",
    ] == done.out.splitlines()
    assert "" == done.err


@pytest.mark.parametrize(
    ("place", "podman"),
    [
        ("oci:out", True),
        ("oci:a/b_c", True),
        ("oci:L", False),
        ("oci-archive:L.tar", True),
    ],
)
def test_podman_is_told_of_only_where_it_can_run_it(shell: Shell, place: str, podman: bool) -> None:
    shell.hello(tags='"1.0"')
    (shell.folder / "a").mkdir()
    done = shell.run("build", "hello.toml", "-o", place)
    assert podman == (f"run it: podman run --rm {place}" in done.out)
    assert f"run it: immutable copy {place}:hello:1.0 " in done.out


def test_quiet_prints_the_digest_alone(shell: Shell) -> None:
    shell.hello()
    document = shell.run("build", "hello.toml", "--json").json
    assert f"{document['digest']}\n" == shell.run("build", "-q", "hello.toml").out


def test_several_specs_are_an_array_and_one_is_an_object(shell: Shell) -> None:
    shell.hello("one.toml", image="one")
    shell.hello("two.toml", image="two")
    documents = shell.run("build", "one.toml", "two.toml", "--json").json
    assert ["one", "two"] == [document["name"] for document in documents]
    assert "one" == shell.run("build", "one.toml", "--json").json["name"]


def test_a_fault_in_the_second_spec_keeps_the_first_from_being_built(shell: Shell) -> None:
    shell.hello("one.toml", image="one")
    shell.write("two.toml", "nonsense")
    assert 1 == shell.run("build", "one.toml", "two.toml").status
    assert [] == shell.run("images", "--json").json


def test_tags_of_the_command_line_come_after_those_of_the_spec(shell: Shell) -> None:
    shell.hello(tags='"1.0"')
    document = shell.run(
        "build", "hello.toml", "-t", "nightly", "-t", "1.0", "-o", "oci:out", "--json"
    ).json
    assert (["1.0", "nightly"], ["oci:out:hello:1.0"]) == (document["tags"], document["outputs"])


@pytest.mark.parametrize(
    ("tags", "destination", "expected"),
    [
        ("", "oci:out", "oci:out:hello"),
        ('"1.0"', "oci:out", "oci:out:hello:1.0"),
        ('"1.0"', "oci:out:mine", "oci:out:mine"),
        ('"1.0"', "oci-archive:out.tar", "oci-archive:out.tar:hello:1.0"),
        ("", "docker-archive:out.tar", "docker-archive:out.tar"),
        ('"1.0"', "docker-archive:out.tar", "docker-archive:out.tar:hello:1.0"),
        ('"1.0"', "docker-archive:out.tar:mine", "docker-archive:out.tar:mine:1.0"),
        ("", "docker-archive:out.tar:host:5000/mine:2", "docker-archive:out.tar:host:5000/mine:2"),
        ('"1.0"', "store:copy", "store:copy"),
    ],
)
def test_an_output_gets_the_name_that_it_leaves_out(
    shell: Shell, tags: str, destination: str, expected: str
) -> None:
    shell.hello(tags=tags)
    document = shell.run("build", "hello.toml", "-o", destination, "--json").json
    assert [expected] == document["outputs"]
    shown = shell.run("inspect", expected, "--json").json
    configs = [platform["config_digest"] for platform in shown["platforms"]]
    assert [platform["config"] for platform in document["platforms"]] == configs


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ("out.tar", "oci-archive:out.tar or docker-archive:out.tar for a file"),
        ("./out", "oci:./out for a folder"),
        ("hello:2", "for a name in the store write store:hello:2"),
        ("oic:out", "did you mean 'oci'?"),
        ("oci:", "expected a path"),
        ("oci:out:", "expected a name after the path's colon"),
        ("docker-daemon:", "docker-daemon: takes none without; write docker-daemon:hello:TAG"),
        ("docker-daemon:mine", "write docker-daemon:mine:TAG"),
    ],
)  # fmt: skip
def test_an_output_that_cannot_be_is_refused_before_any_work(
    shell: Shell, destination: str, message: str
) -> None:
    shell.hello()
    done = shell.run("build", "hello.toml", "-o", destination)
    assert (1, "") == (done.status, done.out)
    assert message in done.err
    assert [] == shell.run("images", "--json").json


@pytest.mark.parametrize("destination", ["oci:out:name", "oci-archive:x", "docker-archive:x"])
def test_several_images_do_not_go_where_one_does(shell: Shell, destination: str) -> None:
    shell.hello("one.toml", image="one")
    shell.hello("two.toml", image="two")
    done = shell.run("build", "one.toml", "two.toml", "-o", destination)
    assert (2, "") == (done.status, done.out)
    assert "takes one image; there are 2 specs" in done.err
    assert 0 == shell.run("build", "one.toml", "two.toml", "-o", "oci:out").status
    assert ["one", "two"] == sorted(
        dict(entry.annotations)["org.opencontainers.image.ref.name"]
        for entry in Layout.open(shell.folder / "out").index().manifests
    )


def test_an_output_that_cannot_be_written_is_an_error(shell: Shell) -> None:
    shell.hello()
    done = shell.run("build", "hello.toml", "-o", "oci-archive:missing/out.tar")
    assert (1, "") == (done.status, done.out)
    assert done.err.startswith("error: ")


@needs_engine()
def test_an_image_goes_to_docker(shell: Shell, repository: str) -> None:
    shell.hello(image=repository, tags='"1.0"')
    document = shell.run("build", "hello.toml", "-o", "docker-daemon:", "--json").json
    assert [f"docker-daemon:{repository}:1.0"] == document["outputs"]


def test_a_tag_from_git_names_the_output(shell: Shell) -> None:
    shell.hello(tags='"{git.sha}"')
    for command in ("init -q", "add .", "commit -qm all"):
        identity = ["-c", "user.name=t", "-c", "user.email=t@mirror.test"]
        subprocess.run(["git", *identity, *command.split()], check=True)
    sha = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
    document = shell.run("build", "hello.toml", "-o", "oci:out", "--json").json
    assert ([sha], [f"oci:out:hello:{sha}"]) == (document["tags"], document["outputs"])
