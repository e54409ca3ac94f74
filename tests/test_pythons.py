"""The program that holds the specs' digests on each Python finds them, and tells a difference."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.long import pythons
from tests.long.pythons import Python
from tests.support.shipped import DIGESTS


def interpreter(folder: Path, version: str, status: int = 0) -> Path:
    """Return a program that says it is a Python of this version."""
    major, minor, _ = version.split(".")
    path = folder / f"python-{version}-{status}"
    path.write_text(f"#!/bin/sh\necho {major} {minor}\necho {version}\nexit {status}\n")
    path.chmod(0o755)
    return path


def test_each_supported_version_is_found_once_and_what_does_not_start_is_left_out(
    tmp_path: Path,
) -> None:
    shim = interpreter(tmp_path, "3.12.0", status=127)
    old = interpreter(tmp_path, "3.9.18")
    later, first = interpreter(tmp_path, "3.12.1"), interpreter(tmp_path, "3.11.7")
    again = interpreter(tmp_path, "3.11.2")

    found = pythons.pythons([shim, tmp_path / "none", old, later, first, again])

    assert [Python("3.11.7", first), Python("3.12.1", later)] == found


def test_a_difference_on_any_python_fails_and_names_the_spec(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    built = [dict(DIGESTS), {**DIGESTS, "hello": "sha256:0"}]
    monkeypatch.setattr(Python, "prepare", lambda _, folder: folder)
    monkeypatch.setattr(pythons, "digests", lambda python, _: built["3.12" in python.name])

    agree = pythons.compare([Python("3.11.7", tmp_path), Python("3.12.1", tmp_path)])

    expected = DIGESTS["hello"]
    assert not agree
    assert [
        "python 3.11.7: 5 specs have their golden digests",
        f"python 3.12.1: hello: expected {expected}, found sha256:0",
    ] == capsys.readouterr().out.splitlines()


def test_a_command_that_fails_on_one_python_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good, bad = (interpreter(tmp_path, "3.11.7", status) for status in (0, 1))
    monkeypatch.setattr(Python, "prepare", lambda one, *_: one.path)

    assert pythons.run([Python("3.11.7", good)], ["-m", "pytest"])
    assert not pythons.run([Python("3.12.1", bad), Python("3.13.0", good)], ["-m", "pytest"])


def test_an_installation_that_fails_is_an_error(tmp_path: Path) -> None:
    broken = Python("3.11.7", interpreter(tmp_path, "3.11.7", status=1))
    with pytest.raises(subprocess.CalledProcessError):
        broken.prepare(tmp_path / "venv")
