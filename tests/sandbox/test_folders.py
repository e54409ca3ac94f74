"""Folders that are held while somebody uses them, and swept when nobody does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import immutable
from immutable.sandbox.folders import own_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from immutable.sandbox.folders import own_folder
with own_folder(Path(sys.argv[1])) as folder:
    (folder / "secret").write_text("1")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_is_one_s_own_and_gone_afterwards(tmp_path: Path) -> None:
    parent = tmp_path / "sandbox" / "inputs"
    with own_folder(parent) as one, own_folder(parent) as other:
        assert one != other
        assert [0o700, 0o700] == [path.stat().st_mode & 0o777 for path in (one, other)]
        (one / "a").mkdir()
    assert [] == [*parent.iterdir()]


def test_what_was_killed_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(immutable.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False
    )
    assert -signal.SIGKILL == done.returncode
    assert 2 == len([*tmp_path.iterdir()])
    with own_folder(tmp_path) as folder:
        held = {folder, folder.with_suffix(".lock")}
        assert held == {*tmp_path.iterdir()}
    assert [] == [*tmp_path.iterdir()]
