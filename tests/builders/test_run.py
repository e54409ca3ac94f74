"""Layers of kind ``run``: what a command changes, run twice in a sandbox that is made up."""

from __future__ import annotations

import pickle
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

import immutable
from immutable import lock
from immutable.build.loading import load
from immutable.build.plan import plan
from immutable.build.realise import Realiser
from immutable.builders.registry import options
from immutable.builders.written import Run, RunFetch, RunInput
from immutable.content.entries import EntryKind
from immutable.errors import (
    CommandError,
    EntryError,
    ImmutableError,
    LockMissing,
    LockStale,
    SourceError,
    SpecError,
)
from immutable.oci.digest import Digest
from immutable.progress import SILENT
from immutable.sandbox.command import Limits
from immutable.spec.document import Spec, parse
from immutable.store import AbstractStore, MemoryStore, Store
from tests.support import git
from tests.support.archives import directory, hardlink, member, symlink
from tests.support.progress import Notes
from tests.support.sandbox import Done, FakeMachine, Given
from tests.support.specs import CONFIG, State, attributes, contents, fill, layer, text, write
from tests.support.specs import build as build_with
from tests.support.web import WebServer

BASE = layer(
    "files",
    "base",
    entries=[
        {"path": "/etc/passwd", "text": "root:x:0:0::/:/bin/sh\nweb:x:7:8::/:/bin/sh\n"},
        {"path": "/etc/group", "text": "root:x:0:\nweb:x:8:\nadm:x:9:web\n"},
        {"path": "/srv/data", "directory": True, "mode": "0750", "owner": "5:6"},
        {"path": "/lib", "link": "usr/lib"},
        {"path": "/usr/lib", "directory": True},
    ],
)
OUTSIDE = "expected a path in the image, outside of /proc, /sys, /dev, /run and /tmp"
NO_NETWORK = (
    "a command has none: what it needs from outside is said with [[layer.fetch]], and pinned"
)
MADE = member(b"srv/data/made", b"1", mode=0o600, uid=7, mtime=5)


def made(given: Given) -> Done:
    """Write one file, below a directory that the image has."""
    return Done([directory(b"srv/data/", mode=0o750, uid=5, gid=6), MADE])


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    return FakeMachine.instead(tmp_path / "differences", monkeypatch, made)


def build(spec: Path, store: AbstractStore, **options: Any) -> immutable.Image:
    config = evolve(CONFIG, cache=spec.parent / "cache")
    return build_with(spec, store, **{"config": config, **options})


def blobs(state: State) -> set[str]:
    return {path for path in state.files if path.startswith("blobs/")}


def command(folder: Path, base: str = BASE, more: str = "", **options: Any) -> Path:
    """Write a spec with a command over a small root file system."""
    if "script" not in options:
        options = {"command": ["make", "it"], **options}
    return write(folder, base + layer("run", "made", **options) + more)


def derivation(folder: Path, **options: Any) -> Digest:
    planned = plan(load(command(folder, **options)), MemoryStore(), CONFIG, SILENT)
    *_, job = planned.graph
    assert job.kind == "run"
    return job.digest


def test_the_layer_is_what_the_command_changed(tmp_path: Path, machine: FakeMachine) -> None:
    store = MemoryStore()
    image = build(command(tmp_path), store)
    found = contents(store, image.platforms[0].layers[-1])

    assert {"srv": (0o755, 0, 0), "srv/data": (0o750, 5, 6), "srv/data/made": (0o600, 7, 0)} == (
        attributes(found)
    )
    assert ("1", 0) == (text(found["srv/data/made"]), found["srv/data/made"].mtime)


def test_the_command_runs_twice_over_the_same_files_some_time_apart(
    tmp_path: Path, machine: FakeMachine
) -> None:
    build(command(tmp_path), MemoryStore())
    first, second = machine.given

    assert [1, 2] == [first.number, second.number]
    assert evolve(first, number=2, command=second.command) == second
    assert {"etc/passwd", "etc/group"} == set(first.files)
    assert machine.waited >= 1.2


def test_a_command_ends_where_the_build_is_given_up(
    tmp_path: Path, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_: object) -> None:
        if machine.given:
            raise CancelledError

    def endless(_: object) -> Done:
        assert machine.closed.wait(30)
        return Done()

    machine.program = endless
    monkeypatch.setattr(Realiser, "check", check)
    with pytest.raises(CancelledError):
        build(command(tmp_path), MemoryStore())
    assert 1 == len(machine.given)


def test_a_second_run_that_is_much_quicker_is_made_again_later(
    tmp_path: Path, machine: FakeMachine
) -> None:
    def program(given: Given) -> Done:
        machine.waited += 2 if given.number == 1 else 0.1
        return Done([member(b"time", b"%d" % machine.waited)])

    machine.program = program
    with pytest.raises(CommandError, match="/time: content differs"):
        build(command(tmp_path), MemoryStore())
    assert [1, 2, 2] == [given.number for given in machine.given]


def test_a_command_that_takes_longer_than_the_wait_runs_twice_without_one(
    tmp_path: Path, machine: FakeMachine
) -> None:
    def program(given: Given) -> Done:
        machine.waited += 2
        return Done([MADE])

    machine.program = program
    build(command(tmp_path), MemoryStore())
    assert ([1, 2], 4) == ([given.number for given in machine.given], machine.waited)


def test_what_the_second_run_makes_otherwise_is_named_and_nothing_is_stored(
    tmp_path: Path, machine: FakeMachine
) -> None:
    machine.program = lambda given: Done(
        [member(b"same", b"1"), member(b"srv/key", b"%d" % given.number)]
    )
    with Store.open(tmp_path / "store") as store:
        build(write(tmp_path, BASE), store)
        before = State.of(store)
        spec = command(tmp_path)
        with pytest.raises(CommandError, match=r'layer "made": .* two results.*\n/srv/key: '):
            build(spec, store)
        after = State.of(store)
    assert before.references == after.references
    assert blobs(before) == blobs(after)


@pytest.mark.parametrize(("number", "said"), [(1, "the command"), (2, "the second time, the")])
def test_a_command_that_fails_is_an_error_with_the_last_of_its_output(
    tmp_path: Path, machine: FakeMachine, number: int, said: str
) -> None:
    output = b"".join(b"line %d\n" % line for line in range(100)) + b"\x1b[1mno\xff way"

    def fails(given: Given) -> Done:
        return Done([MADE], 3, output) if given.number == number else Done([MADE])

    machine.program = fails
    with pytest.raises(CommandError) as caught:
        build(command(tmp_path), MemoryStore())
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f'layer "made": {said}')
    assert first.endswith("ended with status 3:")
    assert (40, "  line 61", r"  \x1b[1mno\xff way") == (len(lines), lines[0], lines[-1])


def test_a_command_that_a_signal_ended_says_which(tmp_path: Path, machine: FakeMachine) -> None:
    machine.program = lambda _: Done(status=-9)
    with pytest.raises(CommandError, match="was ended by signal 9, and wrote nothing"):
        build(command(tmp_path), MemoryStore())


def test_a_layer_that_is_there_is_not_run_again(tmp_path: Path, machine: FakeMachine) -> None:
    store = MemoryStore()
    one = build(command(tmp_path), store)
    again = build(command(tmp_path), store)

    assert one.digest == again.digest
    assert again.platforms[0].layers[-1].cached
    assert 2 == len(machine.given)


def test_any_change_beneath_runs_it_again(tmp_path: Path, machine: FakeMachine) -> None:
    store = MemoryStore()
    build(command(tmp_path), store)
    other = layer("files", "more", entries=[{"path": "/unrelated", "text": "1"}])
    build(command(tmp_path, base=BASE + other), store)
    assert 4 == len(machine.given)
    assert "unrelated" in machine.given[-1].files


def test_neither_its_name_nor_a_users_home_runs_it_again(
    tmp_path: Path, machine: FakeMachine
) -> None:
    store = MemoryStore()
    build(command(tmp_path), store)
    spec = write(
        tmp_path,
        BASE
        + layer("run", "renamed", command=["make", "it"])
        + '[[user]]\nname = "x"\nuid = 1\nhome = "/srv/data/made"\n',
    )
    with pytest.raises(EntryError):  # of the last layer, as a file is where the home is to be
        build(spec, store)
    assert 2 == len(machine.given)


@pytest.mark.parametrize(
    "changed",
    [
        {"command": ["make", "that"]},
        {"script": "make it\n"},
        {"env": {"A": "1"}},
        {"workdir": "/srv"},
        {"user": "7"},
        {"keep": ["/srv"]},
        {"drop": ["/tmp"]},
        {"cache": ["/root/.cache"]},
        {"inputs": [{"path": "src", "to": "/src"}]},
        {"fetch": [{"url": "https://a.test/x", "to": "/x", "sha256": "1" * 64}]},
    ],
)
def test_all_that_can_change_the_result_is_in_its_identity(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    fill(tmp_path, {"src/a": "1"})
    assert derivation(tmp_path) != derivation(tmp_path, **changed)


def test_limits_are_no_part_of_its_identity(tmp_path: Path) -> None:
    assert derivation(tmp_path) == derivation(tmp_path, timeout="1m", memory="2GiB")


def test_limits_are_those_of_each_run(tmp_path: Path, machine: FakeMachine) -> None:
    build(command(tmp_path, timeout="1m30s1ms", memory="512MiB"), MemoryStore())
    assert [Limits(seconds=91, memory=512 << 20)] * 2 == [one.limits for one in machine.given]


def test_the_platform_is_in_its_identity(tmp_path: Path) -> None:
    spec = command(tmp_path)
    spec.write_text(spec.read_text().replace('["linux/amd64"]', '["linux/amd64", "linux/arm64"]'))
    jobs = list(plan(load(spec), MemoryStore(), CONFIG, SILENT).graph)
    assert ["files", "run", "run"] == [job.kind for job in jobs]


def test_another_platform_than_the_machines_is_refused(
    tmp_path: Path, machine: FakeMachine
) -> None:
    config = evolve(CONFIG, machine="aarch64")
    expected = "expected a machine of linux/amd64 .* found linux/arm64; .*--cache-from"
    with pytest.raises(CommandError, match=expected):
        build(command(tmp_path), MemoryStore(), config=config)
    assert [] == machine.given


def test_a_layer_of_another_platform_that_is_there_is_taken(
    tmp_path: Path, machine: FakeMachine
) -> None:
    store = MemoryStore()
    one = build(command(tmp_path), store)
    other = build(command(tmp_path), store, config=evolve(CONFIG, machine="aarch64"))
    assert one.digest == other.digest


def test_the_command_is_told_what_the_spec_says(tmp_path: Path, machine: FakeMachine) -> None:
    options: dict[str, Any] = {"env": {"A": "1"}, "workdir": "/srv", "cache": ["/root/.cache"]}
    build(command(tmp_path, **options), MemoryStore())
    told = machine.given[0].command

    assert ("make", "it") == told.argv
    assert {"A": "1", "SOURCE_DATE_EPOCH": "0"} == told.env
    assert ("/srv", ("/root/.cache",), (0, 0, ())) == (
        told.workdir,
        told.caches,
        (told.uid, told.gid, told.groups),
    )


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("7", (7, 7, ())),
        ("7:9", (7, 9, ())),
        ("web", (7, 8, (9,))),
        ("web:adm", (7, 9, ())),
        ("own", (1001, 1001, ())),
    ],
)
def test_a_user_is_one_of_the_spec_or_of_lower_layers(
    tmp_path: Path, machine: FakeMachine, user: str, expected: tuple[Any, ...]
) -> None:
    own = '[[user]]\nname = "own"\nuid = 1001\n'
    build(command(tmp_path, user=user, more=own), MemoryStore())
    told = machine.given[0].command
    assert expected == (told.uid, told.gid, told.groups)


def test_a_user_that_nobody_knows_is_refused(tmp_path: Path, machine: FakeMachine) -> None:
    with pytest.raises(EntryError, match=r'layer "made": .*nobody-knows'):
        build(command(tmp_path, user="nobody-knows"), MemoryStore())


@pytest.mark.parametrize(
    ("script", "argv"),
    [
        ("make it\n", ("/bin/sh", "-e")),
        ("#!/usr/bin/env python3 -I\nprint()\n", ("/usr/bin/env", "python3 -I")),
        ("#!\n", ("/bin/sh", "-e")),
    ],
)
def test_a_script_is_run_by_a_shell_or_by_what_it_says(
    tmp_path: Path, machine: FakeMachine, script: str, argv: tuple[str, ...]
) -> None:
    build(command(tmp_path, script=script), MemoryStore())
    given = machine.given[0]
    assert (*argv, "/run/immutable/script") == given.command.argv
    assert {"/run/immutable/script": script.encode()} == given.mounted


def test_what_the_globs_do_not_choose_is_no_part_of_the_layer(
    tmp_path: Path, machine: FakeMachine
) -> None:
    machine.program = lambda _: Done([member(b"a/b"), member(b"a/c"), member(b"d")])
    store = MemoryStore()
    image = build(command(tmp_path, keep=["/a"], drop=["**/c"]), store)
    assert {"a", "a/b"} == set(contents(store, image.platforms[0].layers[-1]))


def test_a_directory_in_the_place_of_a_link_is_written_where_it_is(
    tmp_path: Path, machine: FakeMachine
) -> None:
    machine.program = lambda _: Done([directory(b"lib/", mode=0o700), member(b"lib/x", b"1")])
    store = MemoryStore()
    image = build(command(tmp_path), store)
    found = contents(store, image.platforms[0].layers[-1])
    assert {"lib": EntryKind.DIRECTORY, "lib/x": EntryKind.FILE} == {
        path: entry.kind for path, entry in found.items()
    }


def test_a_link_in_the_place_of_a_directory_and_whiteouts_are_kept(
    tmp_path: Path, machine: FakeMachine
) -> None:
    machine.program = lambda _: Done(
        [symlink(b"srv", b"etc"), member(b"etc/.wh.group"), member(b"a"), hardlink(b"b", b"a")]
    )
    store = MemoryStore()
    image = build(command(tmp_path), store)
    found = contents(store, image.platforms[0].layers[-1])
    assert {"a", "b", "etc", "etc/.wh.group", "srv"} == set(found)
    assert (EntryKind.SYMLINK, EntryKind.HARDLINK) == (found["srv"].kind, found["b"].kind)


# Inputs


def with_input(folder: Path, **more: Any) -> Path:
    return command(folder, inputs=[{"path": "src", "to": "/usr/src/app", **more}])


def test_the_command_finds_local_files(tmp_path: Path, machine: FakeMachine) -> None:
    fill(tmp_path, {"src/a.c": "1", "src/sub/b.c": "2", "src/c.o": "3", "src/.ignored": "sub\n"})
    (tmp_path / "src/link").symlink_to("a.c")
    build(with_input(tmp_path, exclude=["*.o"]), MemoryStore())
    expected = {
        "/usr/src/app/a.c": b"1",
        "/usr/src/app/link": b"1",
        "/usr/src/app/sub/b.c": b"2",
        "/usr/src/app/.ignored": b"sub\n",
    }
    assert expected == machine.given[0].mounted == machine.given[1].mounted

    options = {"ignore-file": "src/.ignored", "include": ["**/*.c"]}
    build(with_input(tmp_path, **options), MemoryStore())
    assert {"/usr/src/app/a.c": b"1"} == machine.given[-1].mounted


def test_an_input_may_be_a_file(tmp_path: Path, machine: FakeMachine) -> None:
    fill(tmp_path, {"src": "1"})
    build(with_input(tmp_path), MemoryStore())
    assert {"/usr/src/app": b"1"} == machine.given[0].mounted


def test_a_changed_input_runs_it_again_and_one_that_is_not_chosen_does_not(
    tmp_path: Path, machine: FakeMachine
) -> None:
    store = MemoryStore()
    fill(tmp_path, {"src/a.c": "1"})
    build(with_input(tmp_path, exclude=["*.o"]), store)
    fill(tmp_path, {"src/a.o": "2"})
    build(with_input(tmp_path, exclude=["*.o"]), store)
    assert 2 == len(machine.given)
    fill(tmp_path, {"src/a.c": "other"})
    build(with_input(tmp_path, exclude=["*.o"]), store)
    assert 4 == len(machine.given)


def test_the_spec_and_its_lock_are_no_inputs(tmp_path: Path, machine: FakeMachine) -> None:
    fill(tmp_path, {"a": "1", "differences/x": ""})
    inputs = [{"path": ".", "to": "/src", "exclude": ["differences", "cache"]}]
    build(command(tmp_path, inputs=inputs), MemoryStore())
    assert {"/src/a": b"1"} == machine.given[0].mounted


def test_what_git_says_holds_while_the_chosen_inputs_are_as_committed(
    tmp_path: Path, machine: FakeMachine
) -> None:
    folder = tmp_path / "work"
    fill(folder, {"src/a.c": "1", "src/a.o": "2", "other/b": "3"})
    inputs = [
        {"path": "src", "to": "/src", "exclude": ["*.o"]},
        {"path": "other", "to": "/other"},
    ]
    labels = '[config]\nlabels = { commit = "{git.sha}" }\n'
    spec = command(folder, inputs=inputs, more=labels)
    git.run(folder, "init", "-q")
    git.run(folder, "add", ".")
    git.run(folder, "commit", "-qm", "all")

    fill(folder, {"src/a.o": "other", "src/b.o": "new"})
    build(spec, MemoryStore())
    fill(folder, {"other/c": "new"})
    with pytest.raises(ImmutableError, match="other/c"):
        build(spec, MemoryStore())


def test_an_input_that_is_not_there_or_of_which_nothing_is_chosen_is_refused(
    tmp_path: Path, machine: FakeMachine
) -> None:
    with pytest.raises(SourceError, match="src"):
        build(with_input(tmp_path), MemoryStore())
    fill(tmp_path, {"src/a.c": "1"})
    expected = r'layer "made": inputs\[0\]\.include: nothing in src matches "\*\.h"'
    with pytest.raises(SourceError, match=expected):
        build(with_input(tmp_path, include=["*.h"]), MemoryStore())


def test_what_is_mounted_is_no_part_of_the_layer(tmp_path: Path, machine: FakeMachine) -> None:
    fill(tmp_path, {"src/a.c": "1"})
    machine.program = lambda _: Done(
        [directory(b"usr/src/"), directory(b"usr/src/app/"), directory(b"root/.cache/"), MADE]
    )
    store = MemoryStore()
    inputs = [{"path": "src", "to": "/usr/src/app"}]
    image = build(command(tmp_path, inputs=inputs, cache=["/root/.cache"]), store)
    found = contents(store, image.platforms[0].layers[-1])
    assert {"srv", "srv/data", "srv/data/made"} == set(found)


# Fetches


def test_what_is_fetched_is_pinned_by_the_lock_and_given_to_the_command(
    tmp_path: Path, machine: FakeMachine
) -> None:
    store = MemoryStore()
    fill(tmp_path / "web", {"one.tgz": "one", "two.tgz": "two"})
    with WebServer(tmp_path / "web").serve() as url:
        fetch = [
            {"url": f"{url}/one.tgz", "to": "/src/one.tgz"},
            {"url": f"{url}/two.tgz", "to": "/src/2.tgz", "sha256": Digest.of(b"two").hex},
        ]
        spec = command(tmp_path, fetch=fetch)
        with pytest.raises(LockMissing):
            build(spec, store)
        locked = lock(spec, store, config=CONFIG)
        build(spec, store)
    (pin,) = locked.lock.layer[0].pin

    assert ("src/one.tgz", 3, Digest.of(b"one")) == (pin.name, pin.size, pin.sha256)
    assert {"/src/one.tgz": b"one", "/src/2.tgz": b"two"} == machine.given[0].mounted


def test_a_new_url_makes_the_lock_stale_and_pins_that_one_alone(tmp_path: Path) -> None:
    store = MemoryStore()
    fill(tmp_path / "web", {"one": "one", "two": "two"})
    with WebServer(tmp_path / "web").serve() as url:
        one, two = ({"url": f"{url}/{name}", "to": f"/src/{name}"} for name in ("one", "two"))
        lock(command(tmp_path, fetch=[one]), store, config=CONFIG)
        spec = command(tmp_path, fetch=[two, one])
        with pytest.raises(LockStale, match=r'"made" asks for .*/two, which the lock'):
            build(spec, store)
        fill(tmp_path / "web", {"one": "changed"})
        locked = lock(spec, store, config=CONFIG)
        assert [Digest.of(b"two"), Digest.of(b"one")] == [
            pin.sha256 for pin in locked.lock.layer[0].pin
        ]
        locked = lock(spec, store, config=CONFIG, upgrade=True)
    assert Digest.of(b"changed") == locked.lock.layer[0].pin[1].sha256


# What is refused


def faults(folder: Path, **options: Any) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        load(command(folder, **options))
    return tuple(caught.value.faults)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"command": []}, "layer[1]: expected either command or script"),
        ({"script": "x", "command": ["x"]}, "layer[1]: expected either command or script"),
        ({"command": [""]}, "layer[1].command: expected a program, found nothing"),
        ({"timeout": "0s"}, "layer[1].timeout: expected more than 0s"),
        (
            {"memory": "2G"},
            'layer[1].memory: expected a size like "512MiB" or "4GiB", found \'2G\'',
        ),
        (
            {"cache": ["/"]},
            "layer[1]: cache[0]: expected a path below the root, found the root itself",
        ),
        (
            {"inputs": [{"path": "a", "to": "/src"}], "cache": ["/src/c"]},
            "layer[1]: cache[0]: expected a path apart from /src of inputs[0].to, found '/src/c'",
        ),
        (
            {"inputs": [{"path": "a", "to": "/tmp/src"}]},
            f"layer[1].inputs[0].to: {OUTSIDE}, found '/tmp/src'",
        ),
        (
            {"fetch": [{"url": "ftp://a.test/x", "to": "/x"}]},
            "layer[1].fetch[0].url: expected an https URL, found 'ftp://a.test/x'",
        ),
        (
            {"network": True},
            f"layer[1].network: unknown key; {NO_NETWORK}",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, options: dict[str, Any], fault: str
) -> None:
    assert (fault,) == faults(tmp_path, **options)


def test_a_command_with_nothing_beneath_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match='layer "made": a command needs a root file system'):
        build(command(tmp_path, base=""), MemoryStore())


def test_replace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match='layer "made": replace: what a command hides, it hides'):
        build(command(tmp_path, replace=True), MemoryStore())


# In Python, and elsewhere


def test_a_layer_in_python_is_the_one_in_toml() -> None:
    written = Run(
        "made",
        script="make it\n",
        env={"A": "1"},
        inputs=[RunInput("src", to="/src", exclude=["*.o"])],
        fetch=[RunFetch("https://a.test/x", to="/x.tar")],
        memory="2048MiB",
        timeout="90s",
    )
    toml = """
spec-version = 1
[image]
name = "web"
[[layer]]
name = "made"
kind = "run"
script = '''
make it
'''
env = { A = "1" }
memory = "2GiB"
timeout = "1m30s"
[[layer.inputs]]
path = "src"
to = "/src"
exclude = ["*.o"]
[[layer.fetch]]
url = "https://a.test/x"
to = "/x.tar"
"""
    spec = Spec("web", layers=[written])
    assert parse(toml.encode(), options()) == spec
    assert spec == parse(spec.dumps().encode(), options())


def test_a_job_can_be_pickled(tmp_path: Path) -> None:
    fill(tmp_path, {"src/a": "1"})
    jobs = list(plan(load(with_input(tmp_path)), MemoryStore(), CONFIG, SILENT).graph)
    again = pickle.loads(pickle.dumps(jobs))
    assert jobs == again
    one, other = jobs[-1].snapshot, again[-1].snapshot
    assert one is not None
    assert other is not None
    assert one.data.digest == other.data.digest


def test_what_is_left_out_is_told(tmp_path: Path, machine: FakeMachine) -> None:
    machine.program = lambda _: Done([member(b"etc/ssh/ssh_host_rsa_key", b"secret")])
    notes = Notes()
    build(command(tmp_path), MemoryStore(), progress=notes)
    (said,) = [one for one in notes.notes if "is left out" in one]
    assert said.startswith('layer "made": /etc/ssh/ssh_host_rsa_key is left out: ')
