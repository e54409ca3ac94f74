"""Commands in namespaces over layers of busybox, as root and as an ordinary user."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from immutable.content.capabilities import XATTR
from immutable.content.entries import EntryKind
from immutable.errors import SandboxError
from immutable.progress import SILENT
from immutable.sandbox import unpacked
from immutable.sandbox.command import Bind, Command, Layer, Limits, Surroundings
from immutable.sandbox.run import Sandbox
from tests.support import needs, sandboxes
from tests.support.sandboxes import CAPABILITIES, Outcome, busybox, outcome, outcome_of

pytestmark = [needs.tool("busybox"), needs.tool("newuidmap"), needs.root()]

WHO = pytest.mark.parametrize("who", ["root", "user"])


@pytest.fixture(scope="module", autouse=True)
def _ordinary_user() -> Iterator[None]:
    with sandboxes.user():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose unpacked layers the tests share."""
    return tmp_path_factory.mktemp("machine") / "sandbox"


def paths(found: Outcome) -> list[str]:
    return [path for path, *_ in found.shown()]


@WHO
def test_the_difference_has_owners_whiteouts_opaque_folders_and_links(
    who: str, folder: Path
) -> None:
    script = (
        "chown 33:44 a; rm b; mv /bin/id c; ln a a2; rm -r old; mkdir old; touch old/new;"
        "chown 65535:65535 over/z; touch capped"
    )
    found = outcome_of(who, folder, script)
    assert [
        ("a", "FILE", 33, 44),
        ("a2", "HARDLINK", 33, 44),
        (".wh.b", "FILE", 0, 0),
        ("bin", "DIRECTORY", 0, 0),
        ("bin/.wh.id", "FILE", 0, 0),
        ("c", "SYMLINK", 0, 0),
        ("capped", "FILE", 0, 0),
        ("old", "DIRECTORY", 0, 0),
        ("old/.wh..wh..opq", "FILE", 0, 0),
        ("old/new", "FILE", 0, 0),
        ("over", "DIRECTORY", 0, 0),
        ("over/z", "FILE", 65535, 65535),
    ] == found.shown()
    by_path = {entry.path: entry for entry in found.entries}
    assert ((XATTR, CAPABILITIES),) == by_path[b"capped"].xattrs
    assert b"a" == by_path[b"a2"].target
    assert EntryKind.FILE is by_path[b"c"].kind or b"busybox" == by_path[b"c"].target


def test_root_and_a_user_get_the_same_bytes_on_disk_and_in_memory(folder: Path) -> None:
    script = (
        "umask; echo 1 >new; chown 7:8 new; chmod 6755 new; rm -r old; mkdir -p d/e;"
        "find . -xdev -newer bin/busybox | while read f; do touch -h -d @5 $f; done;"
        "touch -d @5 new d/e d . "
    )
    found = {
        outcome_of(who, folder, script, number).data
        for who in ("root", "user")
        for number in (1, 2)
    }
    assert 1 == len(found)


@WHO
def test_devices_mounts_and_namespaces_are_refused(who: str, folder: Path) -> None:
    script = (
        "mknod /x c 1 3 || echo 1; mount -t tmpfs x /root || echo 2; unshare -U true || echo 3;"
        "unshare -m true || echo 4; echo 1 >/proc/sys/kernel/printk || echo 5;"
        "chmod 600 /dev/null || echo 6"
    )
    found = outcome_of(who, folder, script)
    said = [line for line in found.output.splitlines() if line.isdecimal()]
    assert ["1", "2", "3", "4", "5", "6"] == said
    assert [] == found.shown()


@WHO
def test_there_is_no_network_but_its_own(who: str, folder: Path) -> None:
    found = outcome_of(who, folder, "ip -o link; ip route")
    assert ["lo"] == [line.split(": ")[1] for line in found.output.splitlines()]


@WHO
def test_no_mount_point_is_in_the_difference(who: str, folder: Path) -> None:
    script = "touch /tmp/x /run/x /dev/shm/x $HOME/x; ls -d /proc/1 /sys /dev/null; touch root/y"
    found = outcome_of(who, folder, script)
    assert ["root", "root/y"] == paths(found)
    assert 0 == found.status


def test_caches_are_empty_and_leave_nothing(folder: Path) -> None:
    script = "ls -A old root/.cache srv/deep; touch old/q root/.cache/q srv/deep/q"
    command = Command(("sh", "-c", script), {}, caches=("/old", "/root/.cache", "/srv/deep"))
    found = outcome(folder, "", command=command)
    assert [] == found.shown()
    assert not [line for line in found.output.splitlines() if line and not line.endswith(":")]


def test_what_is_bound_is_roots_and_read_only(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/one").write_text("1")
    os.chown(tmp_path / "src/one", 1234, 1234)
    (tmp_path / "file").write_text("2")
    binds = (Bind(tmp_path / "src", "/in/src"), Bind(tmp_path / "file", "/in/file"))
    script = "cat /in/src/one /in/file; stat -c %u:%g /in/src/one; touch /in/src/q || echo no"
    found = outcome(folder, "", command=Command(("sh", "-c", script), {}, binds=binds))
    assert "120:0" == found.output.splitlines()[0]
    assert "no" == found.output.splitlines()[-1]
    assert [] == found.shown()


def test_a_command_has_the_user_the_input_and_the_folder_that_it_asked_for(folder: Path) -> None:
    command = Command(
        ("sh", "-c", "id; pwd; cat; touch $HOME/x || echo no home; echo $A$TZ"),
        {"A": "b"},
        workdir="/old",
        uid=5,
        gid=6,
        groups=(7,),
        stdin=b"given\n",
    )
    found = outcome(folder, "", command=command)
    assert ["uid=5 gid=6 groups=7", "/old", "given", "bUTC"] == found.output.splitlines()


def test_the_second_run_has_one_processor_and_other_process_ids(folder: Path) -> None:
    first, second = (outcome(folder, "nproc; echo $$", number).output for number in (1, 2))
    assert [str(os.cpu_count()), "2"] == first.split()
    assert ["1", "1001"] == second.split()


def test_a_program_that_is_not_there_is_status_127(folder: Path) -> None:
    found = outcome(folder, "", command=Command(("nothing",), {}))
    assert (127, "nothing: No such file or directory\n") == (found.status, found.output)


def test_a_signal_is_a_negative_status_and_what_it_left_is_over(folder: Path) -> None:
    found = outcome(folder, "sleep 1000 & kill -9 $$")
    assert -9 == found.status


def test_only_the_end_of_the_output_is_kept(folder: Path) -> None:
    found = outcome(folder, "yes | head -c 100000; echo the end", limits=Limits(output=100))
    assert 100 == len(found.output)
    assert found.output.endswith("the end\n")


@pytest.mark.parametrize(
    ("script", "limits", "said"),
    [
        ("sleep 100", {"seconds": 1}, "expected the command to be over in 1 seconds"),
        ("while :; do sleep 100 & done", {"processes": 50}, "at most 50 processes"),
        (
            "for i in 1 2 3; do dd if=/dev/zero of=/dev/null bs=60M count=100000 & done; wait",
            {"memory": 100 << 20},
            "bytes of memory",
        ),
    ],
)
def test_a_limit_ends_the_command(
    folder: Path, script: str, limits: dict[str, int], said: str
) -> None:
    with pytest.raises(SandboxError, match=said):
        outcome(folder, script, limits=Limits(**limits))


def test_names_that_mean_deletion_are_refused(folder: Path) -> None:
    with pytest.raises(SandboxError, match=r"\.wh\.a: names that start with"):
        outcome(folder, "touch .wh.a")


def test_closing_ends_what_runs(folder: Path) -> None:
    with Sandbox.open(folder, SILENT) as sandbox:
        timer = threading.Timer(0.3, sandbox.close)
        timer.start()
        with pytest.raises(SandboxError, match=r"ended before its time|closed"):
            sandbox.run(busybox(), Command(("sleep", "100"), {}), Surroundings(1), Limits())
        timer.join()
    assert [] == list((folder / "sessions").iterdir())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_lives_on_after_a_signal_and_the_next_start_sweeps(
    folder: Path, number: signal.Signals
) -> None:
    mark = f"{os.getpid()}{int(number)}"
    code = (
        "import sys; from pathlib import Path; from tests.support.sandboxes import outcome;"
        f"outcome(Path(sys.argv[1]), 'touch q; sleep {mark} & sleep {mark}')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.DEVNULL,
    )
    assert until(lambda: len(running(mark)) == 2)
    process.send_signal(number)
    process.wait()
    assert until(lambda: not running(mark))
    Sandbox.open(folder, SILENT).close()
    assert [] == list((folder / "sessions").iterdir())


def test_the_layers_that_were_used_last_are_kept_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome(tmp_path / "sandbox", "true")
    kept = tmp_path / "sandbox/unpacked/root"
    Sandbox.open(tmp_path / "sandbox", SILENT).close()
    assert 4 == len(list(kept.iterdir()))
    monkeypatch.setattr(unpacked, "MOST_BYTES", 20_000)
    Sandbox.open(tmp_path / "sandbox", SILENT).close()
    assert 2 == len(list(kept.iterdir()))


def test_a_layer_that_cannot_be_unpacked_leaves_nothing(tmp_path: Path) -> None:
    broken = Layer(busybox()[0].diff_id, lambda: io.BytesIO(b"x" * 2000))
    with (
        Sandbox.open(tmp_path / "sandbox", SILENT) as sandbox,
        pytest.raises(SandboxError, match=str(broken.diff_id)),
    ):
        sandbox.run([broken], Command(("true",), {}), Surroundings(1), Limits())
    kept = tmp_path / "sandbox/unpacked/root"
    assert [] == [path for path in kept.iterdir() if path.is_dir()]


def test_a_tree_that_is_deeper_than_a_path_can_be_is_refused_and_removed(tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 500 ]; do mkdir dddddddddd && cd dddddddddd; i=$((i+1)); done"
    with pytest.raises(SandboxError, match=r"a path of .* bytes; at most 4095"):
        outcome(tmp_path / "sandbox", script)
    assert [] == list((tmp_path / "sandbox/sessions").iterdir())


def running(mark: str) -> list[str]:
    """Return the processes that sleep for `mark` seconds."""
    words = f"sleep\0{mark}\0".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == words:
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def until(condition: object, seconds: float = 20) -> bool:
    """Wait until `condition` holds; tell whether it did in time."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False
