"""`pull`: against a registry in memory."""

import pytest

from immutable.oci.documents import INDEX
from tests.support.built import refused, web
from tests.support.command import Shell
from tests.support.registry import FakeRegistry


def test_a_pulled_image_keeps_its_name_and_its_tag(shell: Shell, host: str) -> None:
    digest = web(shell, "1.0")
    shell.run("push", "shop/web", f"{host}/team/api")
    done = shell.run("pull", f"{host}/team/api:1.0")
    assert (0, f"store:team/api:1.0  {digest}\n") == (done.status, done.out)
    assert {
        "source": f"docker://{host}/team/api:1.0",
        "name": "mine",
        "generation": 1,
        "tags": ["1.0"],
        "digest": digest,
        "media_type": INDEX,
    } == shell.run("pull", f"docker://{host}/team/api:1.0", "mine", "--json").json
    assert digest == shell.run("inspect", "mine:1.0", "--json").json["digest"]
    done = shell.run("pull", f"{host}/team/api@{digest}")
    assert (0, f"store:team/api  {digest}\n") == (done.status, done.out)
    assert f"{digest}\n" == shell.run("pull", f"{host}/team/api:1.0", "x:2", "-q").out


def test_one_platform_is_pulled(shell: Shell, host: str) -> None:
    web(shell, "1.0")
    platforms = shell.run("inspect", "shop/web", "--json").json["platforms"]
    shell.run("push", "shop/web", f"{host}/shop/web")
    act = ("pull", f"{host}/shop/web:1.0", "one", "--platform", "linux/arm64")
    assert platforms[1]["digest"] == shell.run(*act, "--json").json["digest"]


def test_latest_is_read_and_not_kept(shell: Shell, fake: FakeRegistry, host: str) -> None:
    digest = web(shell, "1.0")
    shell.run("push", "shop/web", f"{host}/api")
    repository = fake.repository("api")
    repository.tags["latest"] = repository.tags["1.0"]
    done = shell.run("pull", f"{host}/api:latest")
    assert (0, f"store:api  {digest}\n") == (done.status, done.out)
    assert "latest names no version; tags are for versions; kept as api without a tag" in done.err
    assert 0 == shell.run("copy", f"docker://{host}/api:latest", "oci:out").status
    refused(
        shell.run("copy", f"docker://{host}/api:latest", f"docker://{host}/other"),
        "api has no tag",
    )


def test_pulling_moves_no_tag(shell: Shell, host: str) -> None:
    theirs = web(shell, "1.0")
    shell.run("push", "shop/web", f"{host}/shop/web")
    ours = web(shell, "1.0", text="changed")
    done = shell.run("pull", f"{host}/shop/web:1.0")
    refused(done, f"store:shop/web:1.0: the tag is on {ours}, and was to be put on {theirs}")
    assert 0 == shell.run("pull", f"{host}/shop/web:1.0", "--replace-tag").status
    assert theirs == shell.run("inspect", "shop/web:1.0", "--json").json["digest"]


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["shop/web"], 1, "a name without a host is in no registry"),
        (["shop/web:1.0"], 1, "a name without a host is in no registry"),
        (["registry.test/shop/web"], 1, "say which"),
        (["oci:out"], 2, "does not say what to call the image; write NAME behind it"),
        (["ocy:out:1"], 1, "did you mean oci:?"),
        (["HOST/missing:1"], 1, "there is no such image"),
    ],
)
def test_what_cannot_be_pulled(
    shell: Shell, host: str, args: list[str], status: int, message: str
) -> None:
    web(shell, "1.0")
    args = [arg.replace("HOST", host) for arg in args]
    refused(shell.run("pull", *args), message, status=status)


def test_from_any_place(shell: Shell) -> None:
    digest = web(shell, "1.0")
    shell.run("copy", "shop/web", "oci-archive:web.tar")
    done = shell.run("pull", "oci-archive:web.tar:shop/web:1.0", "from-a-file")
    assert (0, f"store:from-a-file:1.0  {digest}\n") == (done.status, done.out)
