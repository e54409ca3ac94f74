"""The command line shows no password, whatever the command, the output and the error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from immutable.oci import documents as oci
from immutable.transports import copy
from tests.support.command import Shell
from tests.support.images import image

SECRET = "hunter2"
FORMS = [(), ("--json",), ("--debug",), ("--json", "--debug")]
ARCHIVE = """\
spec-version = 1
[image]
name = "web"
platforms = ["linux/amd64"]
[[layer]]
name = "data"
kind = "archive"
url = "{url}"
"""


@pytest.fixture(params=FORMS, ids=lambda form: " ".join(form) or "plain")
def form(request: pytest.FixtureRequest) -> tuple[str, ...]:
    chosen: tuple[str, ...] = request.param
    return chosen


def refused(shell: Shell, *args: str | Path) -> str:
    """Run a command that is to fail; return what it wrote, without the secret."""
    done = shell.run(*args)
    assert done.status in (1, 2)
    assert SECRET not in done.out + done.err
    return done.err


@pytest.mark.parametrize(
    "userinfo", [f"user:{SECRET}", f"user:p@{SECRET}", f"u:p/{SECRET}", f":{SECRET}"]
)
def test_a_reference_with_a_login(shell: Shell, form: tuple[str, ...], userinfo: str) -> None:
    for command in ("pull", "inspect"):
        for start in ("", "docker://", "http://", "docker-daemon:"):
            refused(shell, command, f"{start}{userinfo}@host.test/x", *form)
    refused(shell, "push", "none", f"docker://{userinfo}@host.test/x", *form)


@pytest.mark.parametrize("scheme", ["ftp", "http", "https", "HTTPS", "file"])
def test_a_spec_with_a_login(
    shell: Shell, form: tuple[str, ...], scheme: str, tmp_path: Path
) -> None:
    for end in ("", "x" * 100):
        spec = tmp_path / "web.toml"
        spec.write_text(ARCHIVE.format(url=f"{scheme}://user:{SECRET}{end}@host.test/x.tar"))
        assert "layer" in refused(shell, "lock", spec, *form)


@pytest.mark.parametrize("mirror", ["debian=ftp://user:{}@m.test", "http://u:{}@m.test", "u:{}@m"])
def test_a_mirror_with_a_login(shell: Shell, form: tuple[str, ...], mirror: str) -> None:
    refused(shell, "images", "--mirror", mirror.format(SECRET), *form)


def test_a_mirror_that_is_not_there(shell: Shell, form: tuple[str, ...]) -> None:
    spec = shell.hello()
    spec.write_text(
        spec.read_text()
        + '[[layer]]\nname = "d"\nkind = "debian"\nsuite = "bookworm"\npackages = ["hello"]\n'
    )
    for login in (f"user:{SECRET}", f"user:p/{SECRET}", f"user:p@{SECRET}"):
        mirror = f"debian=http://{login}@127.0.0.1:9/debian?token={SECRET}"
        refused(shell, "lock", spec, "--mirror", mirror, *form)


def test_words_that_are_no_arguments(shell: Shell, form: tuple[str, ...]) -> None:
    url = f"http://user:{SECRET}@host.test"
    refused(shell, "images", url, url, *form)
    refused(shell, url, *form)
    refused(shell, "images", f"--{url}", *form)
    refused(shell, "images", "--jobs", url, *form)


@pytest.mark.parametrize("kind", [KeyError, OSError, ValueError])
def test_a_bug_and_what_led_to_it(
    shell: Shell, form: tuple[str, ...], kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_settings: object) -> None:
        cause = ValueError(f"http://user:{SECRET}@host.test/")
        raise kind(f"https://h.test/?X-Amz-Signature={SECRET}") from cause

    monkeypatch.setattr("immutable.config.Config.load", broken)
    err = refused(shell, "images", *form)
    assert "***" in err
    assert ("--debug" in form) == ("direct cause" in err)


def test_notes_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    import threading

    from immutable.cli.bars import Watcher

    watcher = Watcher(threading.Event())
    watcher.note(f"from http://user:{SECRET}@host.test/")
    watcher.warn(f"to http://user:{SECRET}@host.test/")
    assert (
        "from http://***@host.test/\nwarning: to http://***@host.test/\n" == capsys.readouterr().err
    )


def test_results_are_redacted_but_for_content(capsys: pytest.CaptureFixture[str]) -> None:
    from immutable.cli import output

    output.say_json({"source": f"http://user:{SECRET}@host.test/"})
    output.say(f"from http://user:{SECRET}@host.test/")
    assert SECRET not in capsys.readouterr().out
    output.say_json({"Env": [f"URL=http://user:{SECRET}@host.test/"]}, verbatim=True)
    output.say(f"URL=http://user:{SECRET}@host.test/", verbatim=True)
    assert 2 == capsys.readouterr().out.count(SECRET)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_inspect_shows_how_an_image_is_run_as_it_is_and_nothing_else(
    shell: Shell, form: tuple[str, ...]
) -> None:
    """The environment is the user's own; what made a layer may name a place with a login."""
    there = image()
    config = oci.decode_config(there.config, "test")
    made = oci.History("1970-01-01T00:00:00Z", f"curl http://user:{SECRET}@host.test/")
    mine = "URL=http://user:mine@host.test/"
    config = evolve(
        config,
        execution=oci.Execution(env=("PATH=/bin", mine)),
        history=(made,) * len(config.diff_ids),
    )
    manifest = evolve(
        there.manifest,
        config=there.add(config.encode(), oci.CONFIG),
        annotations={"org.test.source": mine},
    )
    there.add_manifest(manifest)
    copy(there, "oci:layout")

    done = shell.run("inspect", "oci:layout", *form)

    assert 0 == done.status
    assert 2 == done.out.count(mine)
    assert SECRET not in done.out
    assert "curl http://***@host.test/" in done.out


URL = f"http://user:{SECRET}@host.test/"
BROKEN = {
    "a warning": "warnings.warn(URL)",
    "a thread": "t = threading.Thread(target=fail); t.start(); t.join()",
    "a finaliser": "finalised()",
    "a log": "logging.getLogger('some').warning('from %s', URL)",
    "a log's traceback": """
try:
    fail()
except ValueError:
    logging.getLogger('some').exception('no')
""",
    "the end of the process": "fail()",
}
PROGRAM = """\
import gc, logging, threading, warnings
from immutable import cli

def fail():
    raise ValueError(URL)

def finalised():
    class Finalised:
        def __del__(self):
            fail()
    Finalised()
    gc.collect()

URL = {url!r}.replace("-", "")
assert 0 == cli.main(["images"])
{broken}
"""


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_python_prints_by_itself(shell: Shell, broken: str) -> None:
    hidden = URL.replace(SECRET, "-".join(SECRET))  # the traceback shows lines of the source
    program = PROGRAM.format(url=hidden, broken=broken)

    done = subprocess.run(
        [sys.executable, "-c", program], env=shell.environ, capture_output=True, text=True
    )

    assert "http://***@host.test/" in done.stderr
    assert SECRET not in done.stdout + done.stderr
