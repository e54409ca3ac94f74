"""A changed language's lock makes ours stale, and what says so names the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import specs
from tests.support.command import Shell
from tests.support.npm import Project
from tests.support.wheels import Made, offer, pylock, wheel

Packages = Mapping[str, tuple[str, str]]  # name → version, content

BEFORE: Packages = {"kept": ("1.0.0", "k"), "changed": ("1.0.0", "c")}
CHANGES: Mapping[str, tuple[Packages, list[str], list[str]]] = {
    "another version": (
        {**BEFORE, "changed": ("1.1.0", "c")},
        ["asks for changed 1.1.0", "no longer asks for changed 1.0.0"],
        [],
    ),
    "one more": (
        {**BEFORE, "new": ("2.0.0", "n")},
        ["asks for new 2.0.0"],
        ["no longer", "changed"],
    ),
    "one less": (
        {"kept": BEFORE["kept"]},
        ["no longer asks for changed 1.0.0"],
        ["which the lock does not hold"],
    ),
    "another hash alone": (
        {**BEFORE, "changed": ("1.0.0", "other bytes")},
        ["asks for changed 1.0.0 sha", "no longer asks for changed 1.0.0 sha"],
        [],
    ),
}


class Npm:
    """A project with a ``package-lock.json``."""

    def __init__(self, shell: Shell, patch: pytest.MonkeyPatch) -> None:
        self.folder = shell.folder
        self.mirror = ("--mirror", f"npm={(shell.folder / 'registry').as_uri()}")

    def write(self, packages: Packages) -> Path:
        project = Project(self.folder)
        for name, (version, text) in packages.items():
            project.add(name, {"index.js": text}, version=version)
        return project.write()


class Wheels:
    """A project with a ``pylock.toml`` or a requirements file."""

    mirror = ()

    def __init__(self, shell: Shell, patch: pytest.MonkeyPatch, file: str) -> None:
        self.folder, self.patch, self.file = shell.folder, patch, file

    def write(self, packages: Packages) -> Path:
        made = [
            wheel(name, version, {f"{name}.py": text.encode()})
            for name, (version, text) in packages.items()
        ]
        offer(self.patch, self.folder / "offer", *made)
        text = pylock(*made) if self.file == "pylock.toml" else "".join(map(_line, made))
        (self.folder / self.file).write_text(text)
        layer = specs.layer("wheels", "dependencies", lockfile=self.file, python="3.11")
        return specs.write(self.folder, layer)


def _line(made: Made) -> str:
    return f"{made.name}=={made.version} --hash={made.digest}\n"


@pytest.fixture(params=["package-lock.json", "pylock.toml", "requirements.txt"])
def project(
    request: pytest.FixtureRequest, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> Npm | Wheels:
    if request.param == "package-lock.json":
        return Npm(shell, monkeypatch)
    return Wheels(shell, monkeypatch, request.param)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_named_and_locked_again(
    shell: Shell, project: Npm | Wheels, change: str
) -> None:
    after, said, unsaid = CHANGES[change]
    spec = project.write(BEFORE)
    assert 0 == shell.run("lock", spec, *project.mirror).status
    assert 0 == shell.run("lock", spec, "--check").status
    locked = spec.with_suffix(".lock.toml").read_bytes()

    project.write(after)

    check = shell.run("lock", spec, "--check")
    build = shell.run("build", spec, *project.mirror)
    assert (3, 1) == (check.status, build.status)
    for told in (check.out + check.err, build.out + build.err):
        assert 'layer "dependencies" ' in told
        for part in said:
            assert part in told
        for part in unsaid:
            assert part not in told
        assert "kept" not in told
    assert "run `immutable lock" in build.err
    assert [] == shell.run("images", "--json").json
    # Neither has touched the lock.
    assert locked == spec.with_suffix(".lock.toml").read_bytes()

    assert 0 == shell.run("lock", spec, *project.mirror).status
    assert 0 == shell.run("lock", spec, "--check").status
    assert 0 == shell.run("build", spec, *project.mirror).status


def test_what_npm_alone_sees_is_no_change(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = Npm(shell, monkeypatch)
    spec = npm.write(BEFORE)
    assert 0 == shell.run("lock", spec, *npm.mirror).status
    path = shell.folder / "app" / "package-lock.json"
    path.write_bytes(path.read_bytes().replace(b'"1.0.0"', b'"1.0.0", "license": "MIT"'))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert 0 == shell.run("lock", spec, "--check").status
    assert 0 == shell.run("build", spec, *npm.mirror).status
