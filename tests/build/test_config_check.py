"""What the spec says of the user and the working directory, against the finished image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from immutable import lock
from immutable.build.contents import LayerContents
from immutable.errors import SpecError
from immutable.store import MemoryStore, Store
from immutable.store.layout import Layout
from tests.support.archives import END, member
from tests.support.progress import Notes
from tests.support.specs import CONFIG, build, layer, layout_image, write

PASSWD = "root:x:0:0::/:/bin/sh\nweb:x:5:50::/srv:/bin/sh\nbad:x:5000000000:1::/:\nshort:x:7\n"
GROUP = "root:x:0:\nstaff:x:50:\nssl:x:60:web\nodd:x:y:\n"


def base(*entries: dict[str, Any], passwd: str = PASSWD) -> str:
    tables = [
        {"path": "/etc/passwd", "text": passwd},
        {"path": "/etc/group", "text": GROUP},
    ]
    return layer("files", "base", entries=[*tables, *entries])


def folder(path: str, mode: str = "0755", owner: str = "0:0") -> dict[str, Any]:
    return {"path": path, "directory": True, "mode": mode, "owner": owner}


def config(user: str | None = None, workdir: str | None = None) -> str:
    lines = ["[config]"]
    lines += [] if user is None else [f'user = "{user}"']
    lines += [] if workdir is None else [f'workdir = "{workdir}"']
    return "\n".join(lines)


def fault(path: Path, body: str) -> str:
    """Return the one fault that refuses the image; nothing gets a name."""
    with Store.open(path / "store") as store:
        with pytest.raises(SpecError) as caught:
            build(write(path, body), store)
        assert () == store.images()
    (found,) = caught.value.faults
    return found


@pytest.mark.parametrize(
    "user", ["root", "web", "web:ssl", "web:77", "1234", "1234:staff", "root:ssl"]
)
def test_users_that_the_image_has_and_numbers_are_as_good(tmp_path: Path, user: str) -> None:
    image = build(write(tmp_path, base() + config(user)), MemoryStore())

    assert user == image.config.execution.user


def test_a_user_of_the_spec_is_in_the_image(tmp_path: Path) -> None:
    body = layer("files", entries=[folder("/srv")]) + '[[user]]\nname = "node"\nuid = 9\n'

    image = build(write(tmp_path, body + config("node", "/home/node")), MemoryStore())

    assert "node" == image.config.execution.user


@pytest.mark.parametrize(
    ("user", "message"),
    [
        (
            "nobody",
            (
                "config.user: expected a user in the image's /etc/passwd, found 'nobody'; declare "
                "a [[user]], or write the number"
            ),
        ),
        (
            "web:adm",
            (
                "config.user: expected a group in the image's /etc/group, found 'adm'; declare a "
                "[[group]], or write the number"
            ),
        ),
        (
            "bad",
            (
                "config.user: /etc/passwd: expected NAME:x:UID:GID with ids from 0 to 4294967294, "
                "found 'bad:x:5000000000:1::/:'"
            ),
        ),
        (
            "short",
            (
                "config.user: /etc/passwd: expected NAME:x:UID:GID with ids from 0 to 4294967294, "
                "found 'short:x:7'"
            ),
        ),
        (
            "web:odd",
            (
                "config.user: /etc/group: expected NAME:x:GID: with ids from 0 to 4294967294, "
                "found 'odd:x:y:'"
            ),
        ),
    ],
)
def test_names_that_engines_would_not_find_are_refused(
    tmp_path: Path, user: str, message: str
) -> None:
    assert message == fault(tmp_path, base() + config(user))


@pytest.mark.parametrize("body", ["", layer("files", entries=[folder("/srv")])])
def test_without_accounts_there_is_no_user_of_a_name(tmp_path: Path, body: str) -> None:
    assert "found 'web'; declare a [[user]]" in fault(tmp_path, body + config("web"))


@pytest.mark.parametrize(
    ("user", "workdir", "entries"),
    [
        ("web", "/app", [folder("/app")]),
        ("web", "/app", [folder("/app", "0700", "5:0")]),
        ("web", "/app", [folder("/app", "0710", "0:50")]),
        ("web", "/app", [folder("/app", "0710", "0:60")]),
        ("web:77", "/app", [folder("/app", "0710", "0:77")]),
        ("5", "/app", [folder("/app", "0710", "0:60")]),
        ("root", "/app", [folder("/app", "0000", "5:5")]),
        ("0", "/app", [folder("/app", "0000", "5:5")]),
        (
            "web",
            "/l",
            [folder("/srv"), folder("/app/x", "0711"), {"path": "/l", "link": "srv/..//app/./x"}],
        ),
        ("web", "/app", [folder("/srv"), {"path": "/app", "link": "srv"}]),
        ("web", "/", []),
    ],
)
def test_a_working_directory_that_the_user_enters(
    tmp_path: Path, user: str, workdir: str, entries: list[dict[str, Any]]
) -> None:
    said = Notes()

    build(write(tmp_path, base(*entries) + config(user, workdir)), MemoryStore(), progress=said)

    assert [] == [note for note in said.notes if "workdir" in note]


@pytest.mark.parametrize(
    ("user", "workdir", "entries", "message"),
    [
        (
            "web",
            "/app",
            [folder("/app", "0700")],
            "found /app with mode 0700 of 0:0; say { path = ",
        ),
        ("web", "/app", [folder("/app", "0677", "5:0")], "found /app with mode 0677 of 5:0"),
        ("web", "/app", [folder("/app", "0701", "0:60")], "found /app with mode 0701 of 0:60"),
        ("web:77", "/app", [folder("/app", "0710", "0:60")], "found /app with mode 0710 of 0:60"),
        ("7:1", "/a/b", [folder("/a", "0750"), folder("/a/b")], "that 7:1 can enter, found /a"),
        ("web", "/a/new", [folder("/a", "0700")], "found /a with mode 0700 of 0:0"),
        (
            "web",
            "/app",
            [folder("/a", "0700"), folder("/a/b"), {"path": "/app", "link": "/a/b"}],
            "found /a with mode 0700 of 0:0",
        ),
        (
            "root",
            "/app",
            [{"path": "/app", "text": ""}],
            "expected a directory, a layer has a file",
        ),
        ("web", "/f/x", [{"path": "/f", "text": ""}], "a layer has a file at /f; write another"),
        ("web", "/l", [{"path": "/l", "link": "l"}], "more than 40 links on the way to /l"),
    ],
)
def test_a_working_directory_that_cannot_be_entered_is_refused(
    tmp_path: Path, user: str, workdir: str, entries: list[dict[str, Any]], message: str
) -> None:
    found = fault(tmp_path, base(*entries) + config(user, workdir))

    assert found.startswith("config.workdir: ")
    assert message in found


@pytest.mark.parametrize(("user", "expected"), [("web", 1), ("root", 0)])
def test_a_working_directory_that_is_not_there_is_noted_for_who_cannot_write_there(
    tmp_path: Path, user: str, expected: int
) -> None:
    store = MemoryStore()
    spec = write(tmp_path, base() + config(user, "/app"))
    for _ in range(2):
        said = Notes()
        build(spec, store, progress=said)
        notes = [note for note in said.notes if note.startswith("config.workdir: /app is in no")]
        assert expected == len(notes)


def test_the_base_s_own_user_is_not_checked_but_enters_the_working_directory(
    tmp_path: Path,
) -> None:
    private = folder("/app", "0700")
    write(tmp_path, base(private) + config("5"), "base.toml")
    write(tmp_path, base(private, passwd="") + config("6:7"), "other.toml")
    body = layer("image", "base", from_="base.toml")
    other = layer("image", "base", from_="other.toml")

    build(write(tmp_path, body), MemoryStore())
    build(write(tmp_path, other), MemoryStore())

    assert "that 5 can enter, found /app" in fault(tmp_path, body + config(None, "/app"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (layer("files", remove=["/etc/passwd"]), "config.user: expected a user in the image's"),
        (
            layer("files", entries=[folder("/srv", "0700")]),
            "config.workdir: expected a directory that web can enter, found /srv with mode 0700",
        ),
        (
            layer("files", replace=True, entries=[{"path": "/srv", "text": ""}]),
            "config.workdir: expected a directory, a layer has a file at /srv",
        ),
        (config("7"), "config.workdir: expected a directory that 7 can enter"),
    ],
)
def test_what_a_spec_breaks_of_its_base_is_refused(tmp_path: Path, more: str, said: str) -> None:
    write(tmp_path, base(folder("/srv", "0700", "5:50")) + config("web", "/srv"), "base.toml")
    body = layer("image", "base", from_="base.toml")
    build(write(tmp_path, body), MemoryStore())
    assert said in fault(tmp_path, body + more)


def test_what_is_broken_in_a_base_is_for_whoever_made_it(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "layout")
    run = {"user": "web", "workdir": "/srv"}
    layout_image(layout, member(b"srv", b"no directory") + END, name="base", config=run)
    more = layer("files", entries=[{"path": "/a", "text": ""}])
    spec = write(tmp_path, layer("image", "base", from_="oci:layout:base") + more)
    lock(spec, MemoryStore(), config=CONFIG)
    build(spec, MemoryStore())


def test_what_was_checked_is_not_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    spec = write(tmp_path, base(folder("/app")) + config("web", "/app"))
    image = build(spec, store)

    def nothing(*_args: object, **_more: object) -> None:
        raise AssertionError("a look at the root file system")

    monkeypatch.setattr(LayerContents, "of", nothing)

    assert image.digest == build(spec, store).digest


def test_another_root_file_system_is_looked_at(tmp_path: Path) -> None:
    store = MemoryStore()
    build(write(tmp_path, base(folder("/app")) + config("web", "/app")), store)

    with pytest.raises(SpecError, match="found /app with mode 0700"):
        build(write(tmp_path, base(folder("/app", "0700")) + config("web", "/app")), store)


def test_a_fault_of_all_platforms_is_said_once(tmp_path: Path) -> None:
    both = 'platforms = ["linux/amd64", "linux/arm64"]'

    with pytest.raises(SpecError) as caught:
        build(write(tmp_path, base() + config("nobody"), image=both), MemoryStore())

    assert 1 == len(caught.value.faults)
    assert "linux/" not in caught.value.faults[0]
