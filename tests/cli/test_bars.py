"""What a watcher tells where there is no terminal; bars are drawn in test_interrupts."""

import threading
from collections.abc import Callable

import pytest

from immutable.cli.bars import Watcher
from immutable.progress import Progress


def test_notes_and_warnings_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    watcher: Progress = Watcher(threading.Event())
    for _ in range(2):
        watcher.note("a note")
        watcher.warn("careful")
    assert "a note\nwarning: careful\n" == capsys.readouterr().err


def test_quiet_leaves_the_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    watcher = Watcher(threading.Event(), quiet=True)
    watcher.note("a note")
    watcher.warn("careful")
    with watcher.task("work", 10) as advance:
        advance(10)
    watcher.close()
    assert ("", "warning: careful\n") == capsys.readouterr()


def test_a_task_says_nothing_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    watcher = Watcher(threading.Event())
    with watcher.task("work", None, unit="packages") as advance:
        advance(3)
    watcher.close()
    assert ("", "") == capsys.readouterr()


def in_thread(work: Callable[[], None]) -> list[str]:
    """Return the names of what `work` raises in another thread."""
    raised: list[str] = []

    def caught() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            raised.append(type(error).__name__)

    thread = threading.Thread(target=caught)
    thread.start()
    thread.join()
    return raised


def test_once_stopped_threads_that_report_anything_end() -> None:
    stopping = threading.Event()
    watcher = Watcher(stopping)
    with watcher.task("work", 10) as advance:
        assert [] == in_thread(lambda: advance(1))
        stopping.set()
        assert ["_StoppedError"] == in_thread(lambda: advance(1))
        advance(1)  # the main thread is told by the signal
