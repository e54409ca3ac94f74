"""The command line as a whole: help, wrong usage, global options, exit statuses, streams."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import immutable
from immutable.cli.root import root
from tests.support.command import Shell

COMMANDS = [
    *("init", "lock", "build", "images", "inspect", "tag"),
    *("generations", "rollback", "pin", "prune", "policy"),
    *("push", "pull", "copy", "load", "verify", "store", "key", "completion"),
]


def test_the_version(shell: Shell) -> None:
    done = shell.run("--version")
    assert (0, f"immutable {immutable.__version__}\n", "") == (done.status, done.out, done.err)


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS), ("store", "info")])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_explains_itself_and_its_global_options(
    shell: Shell, command: tuple[str, ...], flag: str
) -> None:
    done = shell.run(*command, flag)
    assert (0, "") == (done.status, done.err)
    assert "Usage: immutable" in done.out
    assert "--store DIR" in done.out.partition("Global options:")[2]


def test_every_command_is_in_the_module_of_its_name() -> None:
    def places(group: click.Command, *names: str) -> Iterator[tuple[str, ...]]:
        assert group.callback is not None
        yield (".".join(("immutable.cli", *(names or ("root",)))), group.callback.__module__)
        if isinstance(group, click.Group):
            context = click.Context(group)
            for name in group.list_commands(context):
                command = group.get_command(context, name)
                assert command is not None
                yield from places(command, *names, name)

    found = [*places(root)]
    assert [expected for expected, _ in found] == [actual for _, actual in found]
    assert len(found) > len(COMMANDS)


def test_help_names_every_command_with_a_whole_sentence(shell: Shell) -> None:
    listed = shell.run("--help").out.partition("Commands:")[2].partition("Options:")[0]
    rows = [line.split(maxsplit=1) for line in listed.strip().splitlines()]
    assert COMMANDS == [name for name, _ in rows]
    assert all(text.endswith(".") and "..." not in text for _, text in rows)
    assert COMMANDS == root.list_commands(click.Context(root))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("biuld",), "no command 'biuld'; did you mean 'build'?"),
        (("store", "inof"), "no command 'inof'; did you mean 'info'?"),
        (("build",), "Missing argument 'SPEC...'"),
        (("build", "x.toml", "--of-line"), "--offline"),
        (("build", "x.toml", "--jobs", "0"), "0 is not in the range"),
        (("build", "x.toml", "--platform", "linux/amd46"), "found 'linux/amd46'"),
        (("build", "x.toml", "-t", "latest"), "latest names no version"),
        (("build", "x.toml", "-t", "a b"), "expected a tag"),
        (("images", "--store", ""), "expected a folder"),
        (("inspect",), "Missing argument 'REF'"),
        (("copy", "one"), "Missing argument 'DEST'"),
        (("push",), "Missing argument 'NAME[:TAG|@N]'"),
        (("push", "web", "--ca-file", "missing"), "'missing' does not exist"),
        (("pull",), "Missing argument 'SRC'"),
        (("pull", "oci:one", "Web"), "expected NAME or NAME:TAG"),
        (("pull", "oci:one", "web@2"), "expected NAME or NAME:TAG"),
        (("pull", "oci:one", "web:latest"), "latest names no version"),
        (("load",), "Missing argument 'SRC'"),
        (("load", "one.tar", "web:latest"), "latest names no version"),
        (("tag", "web"), "Missing argument 'TAG...'"),
        (("tag", "web", "latest"), "latest names no version"),
        (("tag", "web", "{git.sha}"), "expected a tag"),
        (("tag", "web", "web:2"), "expected a tag"),
        (("lock", "x.toml", "layer"), "a LAYER comes with --upgrade only"),
        (("lock", "x.toml", "--check", "--upgrade"), "--check changes nothing"),
        (("completion", "tcsh"), "'tcsh' is not one of"),
    ],
)
def test_wrong_usage_is_status_2_with_advice(
    shell: Shell, args: tuple[str, ...], message: str
) -> None:
    done = shell.run(*args)
    assert (2, "") == (done.status, done.out)
    assert message in done.err
    assert done.err.startswith("Usage: immutable")
    assert not shell.store.exists()


def test_no_command_at_all_is_wrong_usage(shell: Shell) -> None:
    assert 2 == shell.run().status


def test_global_options_stand_before_and_after_the_command(shell: Shell) -> None:
    spec = shell.hello()
    one, other = shell.folder / "one", shell.folder / "other"
    assert 0 == shell.run("--store", one, "build", spec).status
    assert 0 == shell.run("build", "--store", other, spec).status
    assert [True, True, False] == [path.exists() for path in (one, other, shell.store)]
    before, after = (
        shell.run("--json", "images", "--store", one),
        shell.run("--store", one, "images", "--json"),
    )
    assert ["hello"] == [image["name"] for image in before.json]
    assert before == after


def test_the_later_store_wins(shell: Shell) -> None:
    done = shell.run("--store", "early", "store", "--store", "later", "info", "--store", "last")
    assert "work/last " in done.out


def test_mirrors_add_up_and_are_checked(shell: Shell) -> None:
    good = "debian=http://mirror.test/debian"
    done = shell.run("--mirror", good, "images", "--mirror", "nonsense")
    assert (1, "", "error: --mirror: expected ARCHIVE=URL, found 'nonsense'\n") == (
        done.status,
        done.out,
        done.err,
    )


def test_several_faults_are_all_told(shell: Shell) -> None:
    shell.write("bad.toml", 'spec-version = 1\nextra = 1\n[image]\nname = "X"\n')
    done = shell.run("build", "bad.toml")
    assert (1, "") == (done.status, done.out)
    first, *more = done.err.splitlines()
    faults = [first.removeprefix("error: "), *(line.removeprefix("       ") for line in more)]
    assert ["extra", "image.name"] == sorted(fault.split(": ")[1] for fault in faults)


@pytest.mark.parametrize("command", ["build", "lock", "verify"])
def test_a_spec_that_is_not_there_is_named_with_what_may_be_meant(
    shell: Shell, command: str
) -> None:
    shell.hello("specs/hello.toml")
    for given, message in (
        ("nosuch.toml", "nosuch.toml: there is no such file"),
        (
            "specs/hell.toml",
            "specs/hell.toml: there is no such file; did you mean specs/hello.toml?",
        ),
        ("specs/hello", "specs/hello: there is no such file; did you mean specs/hello.toml?"),
        ("specs", "specs: is a folder, no spec; did you mean specs/hello.toml?"),
        (".", ".: is a folder, no spec; `immutable init .` writes one there"),
    ):
        done = shell.run(command, given)
        assert (1, "", f"error: {message}\n") == (done.status, done.out, done.err)
    assert not shell.store.exists()


def test_a_lock_is_no_spec(shell: Shell) -> None:
    shell.write("web.lock.toml", "lock-version = 1\n")
    done = shell.run("build", "web.lock.toml")
    assert "error: web.lock.toml: is a lock; the spec is web.toml\n" == done.err


def test_a_store_that_cannot_be_is_one_line(shell: Shell) -> None:
    spec = shell.hello()
    for store in ("/proc/nowhere", "/dev/null/store"):
        done = shell.run("build", spec, "--store", store)
        assert (1, "") == (done.status, done.out)
        assert done.err.startswith("error: /")
        assert 1 == done.err.count("\n")


def test_a_bug_is_one_line_and_debug_shows_where(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_settings: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("immutable.config.Config.load", broken)
    done = shell.run("images")
    message = "error: a bug in immutable: KeyError: 'lost'; --debug shows where\n"
    assert (1, "", message) == (done.status, done.out, done.err)
    traced = shell.run("images", "--debug")
    assert (1, "") == (traced.status, traced.out)
    assert traced.err.startswith("Traceback (most recent call last):\n")
    assert traced.err.endswith("\nKeyError: 'lost'\n")


def test_importing_the_library_loads_neither_click_nor_rich() -> None:
    code = "import immutable, sys; print({'click', 'rich', 'docker', 'requests'} & {*sys.modules})"
    assert "set()\n" == subprocess.check_output([sys.executable, "-c", code], text=True)


def test_the_command_line_starts_without_what_few_commands_need() -> None:
    code = (
        "import sys; from immutable import cli; cli.main(['--help']);"
        "sys.exit(str({'rich', 'docker', 'requests', 'pysequoia', 'debian'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "set()\n" == done.stderr


def test_results_go_to_stdout_and_errors_to_stderr(shell: Shell) -> None:
    shell.hello()
    done = shell.spawn("build", "hello.toml")
    assert (0, "") == (done.status, done.err)
    assert done.out.startswith("hello  generation 1  ")
    done = shell.spawn("build", "nosuch.toml", "--json")
    assert (1, "", "error: nosuch.toml: there is no such file") == (
        done.status,
        done.out,
        done.err.partition(";")[0].rstrip(),
    )


@pytest.mark.parametrize("args", [("images",), ("images", "--json"), ("build", "hello.toml")])
def test_a_reader_that_goes_away_is_no_error(shell: Shell, args: tuple[str, ...]) -> None:
    shell.hello()
    with shell.start(*args) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "" == process.stderr.read()
    assert 141 == process.returncode


def test_a_full_disk_under_stdout_is_one_line(shell: Shell) -> None:
    with Path("/dev/full").open("w") as full:
        done = shell.spawn("images", stdout=full)
    assert (1, "error: standard output: No space left on device\n") == (done.status, done.err)


@pytest.mark.parametrize(
    ("closed", "status", "message"), [(1, 1, "error: standard output: closed\n"), (2, 0, "")]
)
def test_closed_streams_harm_nothing(shell: Shell, closed: int, status: int, message: str) -> None:
    shell.hello()
    script = f'exec "$0" -m immutable build hello.toml {closed}>&-'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable],
        cwd=shell.folder,
        env=dict(shell.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (status, message) == (done.returncode, done.stderr)
    assert ["hello"] == [image["name"] for image in shell.run("images", "--json").json]


def test_names_that_are_no_text_do_not_end_it(shell: Shell) -> None:
    done = shell.run("build", "bad\udcff\x1b[31m.toml")
    assert 1 == done.status
    assert "\x1b" not in done.err
    assert r"\x1b[31m" in done.err
