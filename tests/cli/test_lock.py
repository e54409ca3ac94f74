"""`lock` as a command."""

from pathlib import Path

import pytest

from tests.support.command import DEBIAN, Shell
from tests.support.debian import DebianMirror, File


def test_a_spec_with_nothing_from_outside_needs_no_lock(shell: Shell) -> None:
    shell.hello()
    for args in ((), ("--check",)):
        done = shell.run("lock", "hello.toml", *args)
        text = "hello.toml takes nothing from outside; it needs no lock\n"
        assert (0, text, "") == (done.status, done.out, done.err)
    document = shell.run("lock", "hello.toml", "--json").json
    assert {"path": "hello.lock.toml", "written": False, "changes": []} == document
    assert not Path("hello.lock.toml").exists()


@pytest.fixture
def mirror(tmp_path: Path) -> DebianMirror:
    mirror = DebianMirror(tmp_path / "debian")
    mirror.add("hello", "1.0", depends="libhello", files={"/usr/bin/hello": File(b"1", 0o755)})
    mirror.add("libhello", "1.0", files={"/usr/lib/libhello.so": b"1"})
    return mirror


def test_a_debian_layer_from_lock_to_image(
    shell: Shell, mirror: DebianMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMMUTABLE_DEBIAN_KEYRING", str(mirror.keyring))
    shell.write("runtime.toml", DEBIAN)
    unlocked = shell.run("build", "runtime.toml")
    assert 1 == unlocked.status
    assert "run `immutable lock runtime.toml`" in unlocked.err
    missing = shell.run("lock", "runtime.toml", "--check")
    assert (3, "runtime.lock.toml: there is no lock\n", "") == (
        missing.status,
        missing.out,
        missing.err,
    )

    with mirror.serve() as url:
        archive = f"debian={url}/debian"
        done = shell.run("lock", "runtime.toml", "--mirror", archive)
        assert (0, "") == (done.status, done.err)
        assert [
            "runtime.lock.toml: written, 2 changes",
            "  runtime  hello     all  added    1.0",
            "  runtime  libhello  all  added    1.0",
        ] == done.out.splitlines()
        offline = shell.run("build", "runtime.toml", "--offline")
        assert (1, "") == (offline.status, offline.out)
        assert "offline, and these are not in the store: " in offline.err
        built = shell.run("build", "runtime.toml", "--mirror", archive, "--json")
        assert 0 == built.status
    again = shell.run("build", "runtime.toml", "--offline", "--json")
    assert built.json["digest"] == again.json["digest"]
    assert "runtime.lock.toml: up to date\n" == shell.run("lock", "runtime.toml").out
    assert 0 == shell.run("lock", "runtime.toml", "--check").status
    assert 0 == shell.run("verify", "runtime.toml").status

    shell.write("runtime.toml", DEBIAN.replace('["hello"]', '["hello", "more"]'))
    stale = shell.run("lock", "runtime.toml", "--check")
    assert 3 == stale.status
    assert stale.out.startswith("runtime.lock.toml: stale: ")
    assert "more" in stale.out
    assert {"path": "runtime.lock.toml"} == {
        "path": shell.run("lock", "--check", "runtime.toml", "--json").json["path"]
    }


@pytest.mark.parametrize(
    "args",
    [
        ("runtime.toml", "--upgrade"),
        ("--upgrade", "runtime.toml"),
        ("runtime.toml", "--upgrade", "runtime"),
        ("runtime.toml", "runtime", "--upgrade"),
        ("--upgrade=runtime", "runtime.toml"),
        ("runtime.toml", "--upgrade=runtime"),
        ("--upgrade", "--", "runtime.toml", "runtime"),
    ],
)
def test_upgrade_never_takes_the_spec_for_a_layer(
    shell: Shell, mirror: DebianMirror, args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMMUTABLE_DEBIAN_KEYRING", str(mirror.keyring))
    shell.write("runtime.toml", DEBIAN)
    with mirror.serve() as url:
        monkeypatch.setenv("IMMUTABLE_MIRROR_DEBIAN", f"{url}/debian")
        assert 0 == shell.run("lock", "runtime.toml").status
        mirror.add("hello", "2.0", depends="libhello", files={"/usr/bin/hello": b"2"})
        mirror.publish()
        done = shell.run("lock", *args)
    assert (0, "") == (done.status, done.err)
    assert ["runtime", "hello", "all", "1.0", "→", "2.0"] == done.out.splitlines()[1].split()


def test_a_layer_that_is_none_is_named(shell: Shell) -> None:
    shell.write("runtime.toml", DEBIAN)
    done = shell.run("lock", "runtime.toml", "--upgrade", "runtme")
    assert (1, "") == (done.status, done.out)
    assert "no layer 'runtme' takes from outside; did you mean 'runtime'?" in done.err


def test_the_spec_comes_first(shell: Shell) -> None:
    shell.write("runtime.toml", DEBIAN)
    done = shell.run("lock", "--upgrade", "runtime", "runtime.toml")
    assert (1, "error: runtime: there is no such file; did you mean runtime.toml?\n") == (
        done.status,
        done.err,
    )


def test_a_quiet_lock_says_nothing(shell: Shell) -> None:
    shell.hello()
    done = shell.run("lock", "-q", "hello.toml")
    assert (0, "", "") == (done.status, done.out, done.err)
