"""Ctrl-C and SIGTERM while work is under way: quick, quiet, and nothing is left."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from tests.support.command import DEBIAN, PATIENCE, Shell, until
from tests.support.debian import DebianMirror
from tests.support.web import Answer

PROMPT = 10.0  # seconds from the signal to the end, on a busy machine
TREE = """\
spec-version = 1
[image]
name = "big"
[[layer]]
name = "big"
kind = "files"
source = "big"
"""


# The system may give a signal to any thread. Python's own handler runs in the main one alone, which
# nobody wakes then; nor does a signal that comes just before it begins to wait.
ELSEWHERE = """\
import queue, signal, sys, threading, time
from immutable.cli.interrupts import Interrupted, interruptible

def receive():
    time.sleep(0.2)
    signal.pthread_kill(threading.get_ident(), signal.{name})

try:
    with interruptible(threading.Event()):
        threading.Thread(target=receive).start()
        queue.SimpleQueue().get()
except Interrupted as interrupted:
    sys.exit(interrupted.number)
"""


@frozen
class Stuck:
    """A mirror that sends all but the last byte of a package: `asked` is set by then."""

    asked: threading.Event
    environ: dict[str, str]


@pytest.fixture
def stuck(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    mirror = DebianMirror(tmp_path / "debian")
    package = mirror.add("hello", files={"/usr/bin/hello": b"1"})
    shell.write("runtime.toml", DEBIAN)
    asked, release = threading.Event(), threading.Event()

    def gate() -> None:
        asked.set()
        release.wait(PATIENCE)

    with mirror.serve() as url:
        environ = mirror.environ(url)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        assert 0 == shell.run("lock", "runtime.toml").status
        mirror.web.answers[f"/debian/{package.path}"] = [Answer(body=package.deb, gate=gate)] * 9
        try:
            yield Stuck(asked, environ)
        finally:
            release.set()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_while_a_thread_waits_for_a_server(
    shell: Shell, stuck: Stuck, number: signal.Signals, status: int
) -> None:
    with shell.start("build", "runtime.toml", "--json", environ=stuck.environ) as process:
        assert stuck.asked.wait(PATIENCE)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=PROMPT)
    assert (status, "", "interrupted\n") == (process.returncode, out, err)
    assert [] == shell.drafts()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_another_thread_gets_ends_the_main_one_s_waiting(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE.format(name=name)], timeout=PATIENCE, check=False
    )
    assert signal.Signals[name].value == done.returncode


def test_while_a_large_tree_is_packed(shell: Shell) -> None:
    shell.write("big.toml", TREE)
    shell.write("big/file", "")
    os.truncate(shell.folder / "big" / "file", 400_000_000)
    with shell.start("build", "big.toml") as process:
        until(lambda: any((shell.store / "tmp").glob("*")) or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PROMPT)
    assert (130, "", "interrupted\n") == (process.returncode, out, err)
    assert [] == shell.drafts()
    assert [] == shell.run("images", "--json").json


def test_what_is_ignored_stays_ignored(shell: Shell, stuck: Stuck) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with shell.start("build", "runtime.toml", environ=stuck.environ, preexec_fn=ignore) as process:
        assert stuck.asked.wait(PATIENCE)
        os.killpg(process.pid, signal.SIGINT)
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=PROMPT)
    assert 143 == process.returncode


@contextmanager
def terminal() -> Iterator[tuple[int, Callable[[str], str]]]:
    """Give a terminal's descriptor, and what reads what it shows until a text stands there."""
    screen, line = pty.openpty()
    seen = ""

    def shown(text: str) -> str:
        nonlocal seen
        while text not in seen:
            try:
                seen += os.read(screen, 65536).decode(errors="replace")
            except OSError:  # the other side is closed
                break
        return seen

    try:
        yield line, shown
    finally:
        os.close(screen)


@pytest.mark.parametrize("environ", [{}, {"NO_COLOR": "1"}], ids=["colour", "NO_COLOR"])
def test_a_terminal_gets_bars_and_gets_its_cursor_back(
    shell: Shell, stuck: Stuck, environ: dict[str, str]
) -> None:
    with terminal() as (line, shown):
        environ = {**stuck.environ, **environ}
        with shell.start("build", "runtime.toml", environ=environ, stderr=line) as process:
            os.close(line)
            drawn = shown(" of ")
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=PROMPT)
        drawn = shown("interrupted")
    assert 130 == process.returncode
    assert "fetching" in drawn
    assert drawn.rindex("\x1b[?25l") < drawn.rindex("\x1b[?25h")
    coloured = re.search(r"\x1b\[[0-9;]*[39][0-9]", drawn) is not None
    assert coloured == ("NO_COLOR" not in environ)
    assert drawn.rstrip().endswith("interrupted")


@pytest.mark.parametrize("how", ["--quiet", "dumb"])
def test_no_bars_where_they_are_not_wanted(shell: Shell, stuck: Stuck, how: str) -> None:
    flags = [how] if how.startswith("-") else []
    environ = {**stuck.environ, **({} if flags else {"TERM": how})}
    with terminal() as (line, shown):
        with shell.start("build", "runtime.toml", *flags, environ=environ, stderr=line) as process:
            os.close(line)
            assert stuck.asked.wait(PATIENCE)
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=PROMPT)
        assert "interrupted\r\n" == shown("interrupted\r\n")
    assert 130 == process.returncode
