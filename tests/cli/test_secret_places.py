"""Passwords in settings, in other tools' files and in what servers say are not shown by commands.

Each place is tried with passwords of odd shapes, and with every form of output.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from immutable import cli, config
from immutable.config.apt import read_apt_sources
from tests.support import debian, npm, web, wheels
from tests.support.command import DEBIAN, Done, Shell
from tests.support.registry import Answer, FakeRegistry
from tests.support.specs import fill, layer, write

SECRET = "hunter2"
FORMS = [(), ("--json", "--debug")]
# What stands between two halves that must not be seen.
ODD = ["", "@", "/", ":", "%2F", " ", "é", "@/", "[", "\\"]
PASSWORDS = [f"{SECRET}{odd}{SECRET}" for odd in ODD]


@pytest.fixture(params=FORMS, ids=lambda form: " ".join(form) or "plain")
def form(request: pytest.FixtureRequest) -> tuple[str, ...]:
    chosen: tuple[str, ...] = request.param
    return chosen


@pytest.fixture(params=PASSWORDS, ids=lambda one: repr(one.replace(SECRET, "…")))
def password(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(autouse=True)
def surrounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set up no proxy, and wait for nothing between two attempts."""
    monkeypatch.setattr("immutable.net.attempts.LONGEST_DELAY", 0)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def run(shell: Shell, *args: object) -> Done:
    """Run a command; nothing that it writes holds any part of the secret."""
    done = shell.run(*args)
    for secret in (SECRET, base64.b64encode(SECRET.encode()).decode()[:8]):
        assert secret not in done.out + done.err
    assert "Traceback" not in done.err or "--debug" in args
    return done


def refused(shell: Shell, *args: object) -> str:
    """Run a command that is to fail by an error of ours; return what it says."""
    done = run(shell, *args)
    assert done.status in (1, 2)
    assert "unexpected" not in done.err
    return done.err + done.out


# Settings of other tools


def test_an_apt_source_with_a_login(
    shell: Shell, form: tuple[str, ...], password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shell.folder / "apt"
    folder.mkdir()
    for line in (
        f"deb http://user:{password}@127.0.0.1:9/debian bookworm main\n",
        f"deb [trusted=yes] http://user:{password}@127.0.0.1:9/debian bookworm main\n",
    ):
        (folder / "sources.list").write_text(line)
        sources = tuple(read_apt_sources(folder))
        monkeypatch.setattr(config, "read_apt_sources", lambda _, sources=sources: sources)
        spec = shell.write("runtime.toml", DEBIAN)
        assert refused(shell, "lock", spec, *form)


def test_an_apt_source_with_a_login_that_works(
    shell: Shell, form: tuple[str, ...], password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = debian.DebianMirror(shell.folder / "mirror")
    mirror.add("hello")
    with mirror.serve() as url:
        place = url.replace("//", f"//user:{quote(password, safe='')}@")
        folder = shell.folder / "apt"
        folder.mkdir()
        text = f"deb [signed-by={mirror.keyring}] {place}/debian bookworm main\n"
        (folder / "sources.list").write_text(text)
        sources = tuple(read_apt_sources(folder))
        monkeypatch.setattr(config, "read_apt_sources", lambda _: sources)
        spec = shell.write("runtime.toml", DEBIAN)
        assert 0 == run(shell, "lock", spec, *form).status
        assert SECRET not in spec.with_name("runtime.lock.toml").read_text()
        for deb in mirror.folder.glob("debian/pool/**/*.deb"):
            deb.write_bytes(b"other")
        assert "hello" in refused(shell, "build", spec, *form)


def test_npm_s_settings_with_logins(
    shell: Shell, form: tuple[str, ...], password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"http://user:{password}@127.0.0.1:9"
    project = npm.Project(shell.folder)
    project.add("left", resolved=f"{place}/left/-/left-1.0.0.tgz")
    project.add("@own/right", resolved=f"{place}/@own/right/-/right-1.0.0.tgz")
    spec = project.write()
    encoded = base64.b64encode(password.encode()).decode()
    for setting in (f"registry={place}\n@own:registry={place}/own", f"proxy={place}"):
        shell.write(
            "../.npmrc",
            f"{setting}\n//127.0.0.1:9/:_authToken={password}\n"
            f"//127.0.0.1:9/own/:username=user\n//127.0.0.1:9/own/:_password={encoded}\n",
        )
        for mirror in ((), ("--mirror", f"npm={place}")):
            refused(shell, "build", spec, *mirror, *form)
    monkeypatch.setenv("IMMUTABLE_MIRROR_NPM", place)
    refused(shell, "build", spec, *form)


def test_a_lockfile_of_npm_with_logins(shell: Shell, form: tuple[str, ...], password: str) -> None:
    project = npm.Project(shell.folder)
    for resolved in (
        f"git+ssh://user:{password}@127.0.0.1/left.git#abc",
        f"http://user:{password}@127.0.0.1:9/left.zip",
        f"user:{password}@127.0.0.1:9/left.zip",
    ):
        project.add("left", resolved=resolved, integrity=None)
        refused(shell, "lock", project.write(), *form)


def test_pip_s_index_with_a_login(
    shell: Shell, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = wheels.wheel()
    shell.write("pylock.toml", wheels.pylock(made))
    spec = write(shell.folder, layer("python", lock="pylock.toml"))
    wheels.offer(monkeypatch, shell.folder / "offer")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:{password}@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_PROXY", f"http://user:{password}@127.0.0.1:9")
    refused(shell, "build", spec, "--debug")


def test_a_login_of_netrc(
    shell: Shell, form: tuple[str, ...], password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = web.WebServer(shell.folder / "served")
    netrc = shell.write("../.netrc", f'machine 127.0.0.1 login user password "{password}"\n')
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with server.serve() as url:
        text = layer("archive", "data", url=f"{url}/x.tar")
        assert "404" in refused(shell, "lock", write(shell.folder, text), *form)
    netrc.write_text(f"machine 127.0.0.1 login user {password} pass\n{password}\n")
    with server.serve() as url:
        text = layer("archive", "data", url=f"{url}/x.tar")
        refused(shell, "lock", write(shell.folder, text), *form)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "ftp", ""])
def test_a_proxy_with_a_login(
    shell: Shell,
    form: tuple[str, ...],
    password: str,
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = f"{scheme}://" if scheme else ""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"{start}user:{password}@127.0.0.1:9")
    text = layer("archive", "data", url="http://host.test/x.tar")
    refused(shell, "lock", write(shell.folder, text), *form)


@pytest.mark.parametrize("scheme", ["http", "socks5", ""])
def test_a_proxy_with_a_login_before_a_registry(
    shell: Shell,
    password: str,
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = f"{scheme}://" if scheme else ""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"{start}user:{password}@127.0.0.1:9")
    refused(shell, "inspect", "docker://host.test/web:1", "--debug")


# What servers say


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    fake = FakeRegistry()
    with fake.serve():
        yield fake


def test_a_realm_with_a_login(
    shell: Shell, form: tuple[str, ...], password: str, registry: FakeRegistry
) -> None:
    registry.login = "token"
    for sent in (password.encode().decode("latin-1"), quote(password, safe="")):
        registry.realm = f"http://user:{sent}@127.0.0.1:9/token"
        refused(shell, "inspect", f"docker://{registry.host}/web:1", *form)


def test_a_redirect_of_a_registry_with_a_login(
    shell: Shell, form: tuple[str, ...], password: str, registry: FakeRegistry
) -> None:
    for sent in (password.encode().decode("latin-1"), quote(password, safe="")):
        for start in ("http://", "https://", "//", "ftp://"):
            location = f"{start}user:{sent}@127.0.0.1:9/x"
            registry.plan("GET", "/v2/web/manifests/1", Answer(307, {"Location": location}))
            refused(shell, "inspect", f"docker://{registry.host}/web:1", *form)


def test_a_refusal_of_a_registry_that_repeats_a_login(
    shell: Shell, form: tuple[str, ...], password: str, registry: FakeRegistry
) -> None:
    said = {"code": "DENIED", "message": f"no: http://user:{password}@127.0.0.1:9/x"}
    body = json.dumps({"errors": [said]}).encode()
    registry.plan("GET", "/v2/web/manifests/1", Answer(403, {}, body))
    refused(shell, "inspect", f"docker://{registry.host}/web:1", *form)


def test_a_redirect_of_a_web_server_with_a_login(
    shell: Shell, form: tuple[str, ...], password: str
) -> None:
    server = web.WebServer(shell.folder / "served")
    with server.serve() as url:
        spec = write(shell.folder, layer("archive", "data", url=f"{url}/x.tar"))
        for sent in (password.encode().decode("latin-1"), quote(password, safe="")):
            location = f"http://user:{sent}@127.0.0.1:9/x"
            server.answers["/x.tar"] = [web.Answer(302, headers={"Location": location})] * 9
            refused(shell, "lock", spec, *form)


# Logins of registries

HELPER = """#!/bin/sh
echo '{said}' >&2
{does}
"""


@pytest.mark.parametrize(
    "does", ["echo '{said}'; exit 1", """echo '{{"Username": "user", "Secret": {json}}}'"""]
)
def test_a_credential_helper(
    tmp_path: Path,
    form: tuple[str, ...],
    password: str,
    does: str,
    registry: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    registry.login = "token"
    does = does.format(said=password, json=json.dumps(password))
    program = tmp_path / "bin/docker-credential-odd"
    fill(program.parent, {program.name: HELPER.format(said=password, does=does)})
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    fill(tmp_path, {"docker/config.json": json.dumps({"credsStore": "odd"})})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    assert refused_by_descriptor(capfd, f"docker://{registry.host}/web:1", *form)


def refused_by_descriptor(capfd: pytest.CaptureFixture[str], *args: object) -> str:
    """Run ``inspect``, which is to fail; what programs write that it starts counts, too."""
    capfd.readouterr()
    status = cli.main(["inspect", *map(str, args)])
    written = capfd.readouterr()
    assert status in (1, 2)
    assert SECRET not in written.out + written.err
    return written.out + written.err
