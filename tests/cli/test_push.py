"""`push`, and `build -o docker://…`: against a registry in memory."""

import base64
import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from immutable.build.build import build
from immutable.config import Registries
from immutable.errors import TransportError
from immutable.lifecycle.prune import prune
from immutable.lifecycle.retention import Policy
from immutable.oci.canonical import decode
from immutable.oci.documents import INDEX, MANIFEST
from immutable.reference.registry import RegistryName
from immutable.store import Store
from immutable.transports import copy
from immutable.transports.registry.transport import RegistryImage
from tests.support import distribution, needs
from tests.support.built import BOTH, refused, web
from tests.support.command import PATIENCE, Shell
from tests.support.images import image
from tests.support.registry import Answer, Asked, FakeRegistry, Repository

PROMPT = 10.0  # seconds from an interrupt to the end, on a busy machine


def tags(fake: FakeRegistry, name: str = "shop/web") -> dict[str, str]:
    return {tag: str(digest) for tag, digest in fake.repository(name).tags.items()}


# Pushing


def test_what_is_pushed_stays_what_its_name_meant(
    shell: Shell, fake: FakeRegistry, host: str
) -> None:
    digest = web(shell, "1.0")

    def meanwhile(_: Asked) -> None:
        newer = shell.hello(image="shop/web", tags='"2.0"', text="newer", platforms=BOTH)
        with Store.open(shell.store) as store:
            build(newer, store)
            prune(store, Policy(keep_tags=["2.0"]), caches=False)

    fake.plan("PUT", "/manifests/1.0", meanwhile)
    assert 0 == shell.run("push", "shop/web", f"{host}/one", f"{host}/two").status
    assert {"1.0": digest} == tags(fake, "one") == tags(fake, "two")


@pytest.mark.parametrize(
    ("reference", "place", "pushed"),
    [
        ("shop/web", "HOST/shop/web", ["1", "1.0"]),
        ("shop/web", "HOST/other:2", ["2"]),
        ("shop/web@1", "docker://HOST/team/web", ["1", "1.0"]),
        ("shop/web", "docker://HOST", ["1", "1.0"]),
        ("shop/web:1.0", "HOST/shop/web", ["1.0"]),
        ("store:shop/web:1.0", "docker://HOST", ["1.0"]),
    ],
)
def test_where_an_image_goes(
    shell: Shell, fake: FakeRegistry, host: str, reference: str, place: str, pushed: list[str]
) -> None:
    digest = web(shell, "1.0", "1")
    place = place.replace("HOST", host)
    done = shell.run("push", reference, place)
    name = place.removeprefix("docker://").partition("/")[2].partition(":")[0] or "shop/web"
    lines = "".join(f"docker://{host}/{name}:{tag}  {digest}\n" for tag in pushed)
    assert (0, lines, "") == (done.status, done.out, done.err)
    assert dict.fromkeys(pushed, digest) == tags(fake, name)


def test_a_name_that_begins_with_a_host_says_where_to(
    shell: Shell, fake: FakeRegistry, host: str
) -> None:
    spec = shell.hello(image="registry.test/shop/web", tags='"1"')
    digest = shell.run("build", "-q", spec).out.strip()
    done = shell.run("push", "registry.test/shop/web", f"{host}/shop/web")
    assert 0 == done.status
    assert {"1": digest} == tags(fake)
    done = shell.run("push", "registry.test/shop/web:2")
    refused(done, "registry.test/shop/web:2: no such tag")


def test_all_tags_though_the_name_says_one(shell: Shell, fake: FakeRegistry, host: str) -> None:
    digest = web(shell, "1.0", "1")
    assert 0 == shell.run("push", "shop/web:1", f"{host}/shop/web", "--all-tags").status
    assert {"1": digest, "1.0": digest} == tags(fake)


def test_several_places_and_what_a_program_reads(
    shell: Shell, fake: FakeRegistry, host: str
) -> None:
    digest = web(shell, "1.0")
    done = shell.run("push", "shop/web", f"{host}/a", f"{host}/b:2", "--json")
    assert {
        "source": "store:shop/web",
        "destinations": [f"docker://{host}/a:1.0", f"docker://{host}/b:2"],
        "digest": digest,
        "media_type": INDEX,
    } == done.json
    assert f"{digest}\n" == shell.run("push", "shop/web", f"{host}/c", "-q").out


def test_an_index_is_kept(shell: Shell, fake: FakeRegistry, host: str) -> None:
    digest = web(shell, "1.0")
    assert 0 == shell.run("push", "shop/web", f"{host}/shop/web").status
    there = {str(one): kind for one, (kind, _) in fake.repository("shop/web").manifests.items()}
    assert (INDEX, 3) == (there[digest], len(there))


def test_one_platform_of_an_index(shell: Shell, fake: FakeRegistry, host: str) -> None:
    web(shell, "1.0")
    platforms = shell.run("inspect", "shop/web", "--json").json["platforms"]
    for command in ("push", "copy"):
        place = f"docker://{host}/{command}:1.0-arm64"
        done = shell.run(command, "shop/web", place, "--platform", "linux/arm64", "--json")
        assert platforms[1]["digest"] == done.json["digest"]
        assert MANIFEST == done.json["media_type"]
    refused(
        shell.run("push", "shop/web", f"{host}/x", "--platform", "linux/s390x"),
        "nothing for linux/s390x; there is linux/amd64, linux/arm64",
    )
    refused(shell.run("push", "shop/web", host, "--platform", "x"), "linux/arm64", status=2)


# Immutable tags


@pytest.mark.parametrize("command", ["push", "copy", "build"])
def test_a_tag_stays_on_what_it_names(
    shell: Shell, fake: FakeRegistry, host: str, command: str
) -> None:
    old = web(shell, "1.0")
    assert 0 == shell.run("push", "shop/web", f"{host}/shop/web").status
    new = web(shell, "1.0", text="changed")
    place = f"docker://{host}/shop/web:1.0"
    act = (
        ["build", "hello.toml", "-o", place] if command == "build" else [command, "shop/web", place]
    )
    begun = len(fake.asked)
    done = shell.run(*act, "--digest-file", "digest") if command != "build" else shell.run(*act)
    refused(done, f"{place}: the tag is on {old}, and was to be put on {new}", "--replace-tag")
    assert {"GET", "HEAD"} == {asked.method for asked in fake.asked[begun:]}
    assert not Path("digest").exists()
    assert {"1.0": old} == tags(fake)
    assert 0 == shell.run(*act, "--replace-tag").status
    assert {"1.0": new} == tags(fake)


def test_all_tags_are_looked_at_before_any_is_put(
    shell: Shell, fake: FakeRegistry, host: str
) -> None:
    old = web(shell, "2")
    assert 0 == shell.run("push", "shop/web", f"{host}/shop/web").status
    web(shell, "1", "2", text="changed")
    refused(shell.run("push", "shop/web", f"{host}/shop/web"), f"shop/web:2: the tag is on {old}")
    assert {"2": old} == tags(fake)


def test_a_tag_that_is_there_already_is_not_put_again(
    shell: Shell, fake: FakeRegistry, host: str
) -> None:
    digest = web(shell, "1.0")
    assert 0 == shell.run("push", "shop/web", f"{host}/shop/web").status
    fake.plan("PUT", "/manifests/1.0$", Answer(409))
    assert 0 == shell.run("push", "shop/web", f"{host}/shop/web").status
    assert {"1.0": digest} == tags(fake)


def test_a_tag_that_is_taken_meanwhile_stays(shell: Shell, fake: FakeRegistry, host: str) -> None:
    web(shell, "1.0")
    other = web(shell, text="other")
    assert 0 == shell.run("push", "shop/web", f"{host}/shop/web:other").status
    repository = fake.repository("shop/web")

    def take(_: Asked) -> None:
        repository.tags["1.0"] = repository.tags["other"]

    fake.plan("PUT", "/manifests/sha256:", take)
    refused(shell.run("push", "shop/web:1.0", f"{host}/shop/web"), f"1.0: the tag is on {other}")
    assert {"1.0": other, "other": other} == tags(fake)


@pytest.mark.parametrize("command", ["push", "copy", "build"])
def test_latest_is_refused(shell: Shell, fake: FakeRegistry, host: str, command: str) -> None:
    web(shell, "1.0")
    place = f"docker://{host}/shop/web:latest"
    act = (
        ["build", "hello.toml", "-o", place] if command == "build" else [command, "shop/web", place]
    )
    refused(shell.run(*act), f"{place}: latest names no version")
    assert [] == fake.asked


def test_latest_is_refused_among_other_tags(fake: FakeRegistry, host: str) -> None:
    place = RegistryImage(RegistryName(host, "web", "1"), Registries(), also=("latest",))
    with pytest.raises(
        TransportError, match=f"docker://{host}/web:latest: latest names no version"
    ):
        copy(image(), place)
    assert {} == fake.repositories.get("web", Repository()).manifests


# Wrong usage, and what cannot be pushed


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["shop/web"], 2, "say where to: immutable push shop/web HOST/shop/web"),
        (["shop/web", "other"], 1, "write the registry's host before the name"),
        (["shop/web", "other/web:1"], 1, "write the registry's host before the name"),
        (["shop/web", "oci:out"], 1, "`immutable copy` is for all other places"),
        (["shop/web", "me:geheim@registry.test/web"], 1, "no user and no password"),
        (["shop/web", "registry.test/web:1", "--all-tags"], 2, "only one of them"),
        (["shop/web", "registry.test/Web"], 1, "in lower case"),
        (["shop/wep", "registry.test/web"], 1, "did you mean shop/web?"),
        (["shop/web:9", "registry.test/web"], 1, "no such tag; shop/web has none"),
        (["oci:out", "registry.test/web:1"], 1, "immutable copy oci:out docker://HOST/NAME:TAG"),
        (["shop/web", "registry.test/web"], 1, "write docker://registry.test/web:TAG"),
        (["shop/web", "docker://registry.test"], 1, "docker://registry.test/shop/web:TAG"),
        (["shop/web", "registry.test/web:1", "--digest-file", "no/such"], 1, "no such directory"),
    ],
)
def test_what_cannot_be_pushed(shell: Shell, args: list[str], status: int, message: str) -> None:
    web(shell)
    done = shell.run("push", *args)
    refused(done, message, status=status)
    assert "geheim" not in done.err


def test_nothing_is_made_to_say_that_there_is_nothing(shell: Shell) -> None:
    refused(shell.run("push", "shop/web", "registry.test/web:1"), "no such image in the store")
    assert not shell.store.exists()


# The digest file


def test_the_digest_file(shell: Shell, host: str) -> None:
    digest = web(shell, "1.0")
    for act in (
        ("push", "shop/web", f"{host}/shop/web"),
        ("copy", "shop/web", f"docker://{host}/copied"),
        ("pull", f"{host}/shop/web:1.0", "pulled"),
    ):
        shell.write("digest", f"sha256:{64 * '0'}\n")
        assert 0 == shell.run(*act, "--digest-file", "digest").status
        assert f"{digest}\n" == Path("digest").read_text()
    assert ["digest", "hello.toml"] == sorted(path.name for path in Path().iterdir())


# Building and copying


def test_a_build_goes_to_a_registry_with_all_its_tags(
    shell: Shell, fake: FakeRegistry, host: str
) -> None:
    spec = shell.hello(image="shop/web", tags='"1.0", "1"', platforms=BOTH)
    done = shell.run(
        "build", spec, "-o", f"docker://{host}", "-o", f"docker://{host}/b:2", "--json"
    )
    whole = [f"docker://{host}/shop/web:1.0", f"docker://{host}/shop/web:1"]
    assert [*whole, f"docker://{host}/b:2"] == done.json["outputs"]
    assert dict.fromkeys(["1.0", "1"], done.json["digest"]) == tags(fake)
    assert (
        f"run it: docker run --rm {host}/shop/web:1.0\n"
        in shell.run("build", spec, "-o", f"docker://{host}").out
    )


def test_between_two_registries_through_nothing(
    shell: Shell, fake: FakeRegistry, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = web(shell, "1.0")
    shell.run("push", "shop/web", f"{host}/shop/web")
    other = FakeRegistry()
    # Whatever wanted to make a temporary file could not.
    monkeypatch.setattr("tempfile.tempdir", str(shell.folder / "nowhere"))
    with other.serve() as there:
        done = shell.run("copy", f"docker://{host}/shop/web:1.0", f"docker://{there}")
        assert (0, f"docker://{there}/shop/web:1.0  {digest}\n") == (done.status, done.out)
    assert fake.repository("shop/web") == other.repository("shop/web")


def test_a_registry_is_inspected(shell: Shell, host: str) -> None:
    digest = web(shell, "1.0")
    shell.run("push", "shop/web", f"{host}/shop/web")
    found = shell.run("inspect", f"docker://{host}/shop/web:1.0", "--json").json
    assert digest == found["digest"]
    assert ["linux/amd64", "linux/arm64"] == [one["platform"] for one in found["platforms"]]


def test_what_was_pushed_is_what_was_built(shell: Shell, fake: FakeRegistry, host: str) -> None:
    digest = web(shell, "1.0")
    shell.run("push", "shop/web", f"{host}/shop/web")
    repository = fake.repository("shop/web")
    for one, (_, data) in repository.manifests.items():
        if str(one) != digest:
            manifest = decode(data)
            wanted = [manifest["config"], *manifest["layers"]]
            assert {item["digest"] for item in wanted} <= {str(blob) for blob in repository.blobs}


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_an_interrupt_ends_it_at_once(
    shell: Shell, fake: FakeRegistry, host: str, method: str
) -> None:
    web(shell, "1.0")
    shell.run("push", "shop/web", f"{host}/pulled")
    asked, release = threading.Event(), threading.Event()

    def stall(_: Asked) -> None:
        asked.set()
        release.wait(PATIENCE)

    fake.plan(method, "/blobs/", stall)
    act = (
        ("push", "shop/web", f"{host}/new")
        if method == "POST"
        else ("pull", f"{host}/pulled:1.0", "n")
    )
    if method == "GET":
        shutil.rmtree(shell.store)
    try:
        with shell.start(*act, "--digest-file", "digest") as process:
            assert asked.wait(PATIENCE)
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=PROMPT)
    finally:
        release.set()
    assert (130, "", "interrupted\n") == (process.returncode, out, err)
    assert not (shell.folder / "digest").exists()
    assert {} == tags(fake, "new")
    assert [] == shell.drafts()


@pytest.mark.tools
@needs.tool("docker-registry")
@needs.tool("skopeo")
def test_a_real_registry_gives_others_what_was_pushed(shell: Shell, tmp_path: Path) -> None:
    digest = web(shell, "1.0")
    (tmp_path / "registry").mkdir()
    with distribution.serve(tmp_path / "registry") as registry:
        place = f"docker://{registry.host}/shop/web:1.0"
        assert 0 == shell.run("push", "shop/web", registry.host + "/shop/web").status
        command = ["skopeo", "copy", "--all", "--src-tls-verify=false", place, "oci:theirs:web:1.0"]
        subprocess.run(command, check=True, capture_output=True)
        theirs = shell.run("inspect", "oci:theirs:web:1.0", "--json").json
        new = web(shell, "1.0", text="changed")
        refused(shell.run("push", "shop/web", place), f"the tag is on {digest}", new)
        assert 0 == shell.run("push", "shop/web", place, "--replace-tag").status
        assert f"{new}\n" == shell.run("pull", place, "other", "-q").out
    assert digest == theirs["digest"]


@pytest.mark.tools
@needs.tool("docker-registry")
@needs.tool("openssl")
@pytest.mark.parametrize(
    ("option", "trusted"),
    [
        ("--ca-file=FILE", True),
        ("--no-tls-verify", True),
        ("--tls-verify=false", True),
        ("--tls-verify=true", False),
        ("--tls-verify", False),
    ],
)
def test_whom_to_trust(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, trusted: bool
) -> None:
    web(shell, "1.0")
    (tmp_path / "registry").mkdir()
    login = base64.b64encode(f"{distribution.USER}:{distribution.PASSWORD}".encode()).decode()
    with distribution.serve(tmp_path / "registry", secure=True) as registry:
        logins = {"auths": {registry.host: {"auth": login}}}
        path = shell.write("auth.json", json.dumps(logins))
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
        place = f"{registry.host}/shop/web"
        done = shell.run("push", "shop/web", place, option.replace("FILE", str(registry.ca_file)))
        assert trusted == (done.status == 0)
        assert trusted or "certificate" in done.err
