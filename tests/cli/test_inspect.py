"""`inspect`."""

import json
from pathlib import Path

import pytest

from immutable.oci.documents import MANIFEST, Descriptor
from immutable.store import Store
from tests.support.command import Shell

RUN = """
[config]
user = "1000"
workdir = "/app"
env = { MODE = "test" }
expose = ["80"]
volumes = ["/data"]
labels = { "a.label" = "its value" }
entrypoint = ["/bin/one"]
cmd = ["two words", "ü"]
stop-signal = "SIGINT"
healthcheck = { cmd = ["/bin/ok"] }
"""


def test_the_json_of_inspect(shell: Shell) -> None:
    spec = shell.hello(tags='"1.0"', platforms='"linux/amd64", "linux/arm64"')
    built = shell.run("build", spec, "--json").json
    shown = shell.run("inspect", "hello", "--json").json
    for key in ("name", "digest", "media_type", "size", "generation", "tags"):
        assert built[key] == shown[key]
    for one, other in zip(built["platforms"], shown["platforms"], strict=True):
        assert (one["platform"], one["digest"], one["config"]) == (
            other["platform"],
            other["digest"],
            other["config_digest"],
        )
        config = other["config"]
        assert one["platform"] == f"{config['os']}/{config['architecture']}"
        (layer,) = other["layers"]
        assert [layer["diff_id"]] == config["rootfs"]["diff_ids"]
        assert (one["layers"][0]["digest"], one["layers"][0]["size"]) == (
            layer["digest"],
            layer["size"],
        )


def test_all_references_to_one_image(shell: Shell) -> None:
    spec = shell.hello(tags='"1.0"')
    digest = shell.run("build", "-q", spec, "-o", "oci:out", "-o", "oci-archive:a.tar").out.strip()
    for reference in (
        "hello",
        "hello:1.0",
        "hello@1",
        f"hello@{digest}",
        digest,
        "store:hello",
        "oci:out",
        "oci:out:hello:1.0",
        "oci-archive:a.tar",
    ):
        assert digest == shell.run("inspect", reference, "--json").json["digest"]


def test_the_text_of_inspect_says_how_the_image_runs(shell: Shell) -> None:
    spec = shell.hello(tags='"1.0"')
    spec.write_text(spec.read_text() + RUN)
    digest = shell.run("build", "-q", spec).out.strip()
    lines = shell.run("inspect", "hello").out.splitlines()
    told = {line.strip() for line in lines}
    assert {
        "name        hello",
        f"digest      {digest}",
        f"media type  {MANIFEST}",
        "tags        1.0",
        f"linux/amd64  {digest}",
        "created      1970-01-01T00:00:00Z",
        "user         1000",
        "workdir      /app",
        'entrypoint   ["/bin/one"]',
        'cmd          ["two words", "ü"]',
        "MODE=test",
        "ports        80/tcp",
        "volumes      /data",
        "labels       a.label=its value",
        "stop signal  SIGINT",
        'healthcheck  ["CMD", "/bin/ok"]',
    } <= told
    assert any(line.endswith("  immutable files") and " B  " in line for line in lines)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("hell", "no such image in the store; did you mean hello?"),
        ("hello:2", "no such tag; hello has 1.0"),
        ("hello@7", "no such generation; there is 1"),
        ("hello.toml", "`immutable build hello.toml` builds the image of a spec"),
        ("folder", "for the image in a layout write oci:folder"),
        ("file.tar", "write oci-archive:file.tar or docker-archive:"),
        ("oci:nowhere", "nowhere"),
        ("docker:hello", "expected docker://HOST/NAME:TAG"),
    ],
)
def test_what_is_no_image_is_told_with_what_may_be_meant(
    shell: Shell, reference: str, message: str
) -> None:
    shell.run("build", shell.hello(tags='"1.0"'))
    Path("folder").mkdir()
    shell.write("file.tar", "")
    done = shell.run("inspect", reference)
    assert (1, "") == (done.status, done.out)
    assert message in done.err


def test_control_characters_of_an_image_do_not_reach_the_terminal(shell: Shell) -> None:
    spec = shell.hello()
    spec.write_text(spec.read_text() + '[config]\nlabels = { a = "\\u001b[2J\\u202e" }\n')
    shell.run("build", spec)
    done = shell.run("inspect", "hello")
    assert r"a=\x1b[2J\u202e" in done.out
    assert {"a": "\x1b[2J\u202e"} == shell.run("inspect", "hello", "--json").json["platforms"][0][
        "config"
    ]["config"]["Labels"]


def test_what_is_no_image_to_run_is_shown_all_the_same(shell: Shell) -> None:
    with Store.open(shell.store) as store:
        empty = store.put_blob(b"{}")
        data = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": "application/vnd.oci.empty.v1+json",
                    "digest": str(empty),
                    "size": 2,
                },
                "layers": [
                    {"mediaType": "text/plain", "digest": str(store.put_blob(b"a")), "size": 1}
                ],
                "annotations": {"note": "text"},
            }
        ).encode()
        root = Descriptor(MANIFEST, store.put_blob(data), len(data))
    done = shell.run("inspect", str(root.digest), "--json")
    (platform,) = done.json["platforms"]
    assert (None, None, {"note": "text"}) == (
        platform["platform"],
        platform["config"],
        platform["annotations"],
    )
    text = shell.run("inspect", str(root.digest)).out
    assert "no platform  sha256:" in text
    assert "annotations  note=text" in text
