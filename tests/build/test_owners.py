"""Owners by name, looked up in the account files beneath the layer that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import immutable
from immutable.errors import EntryError, SpecError
from immutable.oci.digest import Digest
from immutable.store import MemoryStore, Store
from tests.support.archives import END, member
from tests.support.npm import Project
from tests.support.specs import CONFIG, attributes, build, contents, fill, layer, write
from tests.support.wheels import pylock, wheel

PASSWD = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:\nwww-data:x:33:34::/:\n"
GROUP = "root:x:0:\nssl-cert:x:111:\n"
OWNERS = [("www-data", 33, 34), ("nobody:ssl-cert", 65534, 111), ("7:ssl-cert", 7, 111)]


def base(
    passwd: str = PASSWD, group: str = GROUP, *more: dict[str, Any], at: str = "/etc/passwd"
) -> str:
    tables = [{"path": at, "text": passwd}, {"path": "/etc/group", "text": group}]
    return layer("files", "base", entries=[*tables, *more])


def owned(owner: str = "www-data") -> str:
    return layer("files", entries=[{"path": "/srv/a", "text": "", "owner": owner}])


def ids(folder: Path, body: str, path: str) -> tuple[int, int]:
    """Return the uid and gid of what the second layer has at `path`."""
    store = MemoryStore()
    found = contents(store, build(write(folder, body), store).layers[1])
    return found[path].uid, found[path].gid


@pytest.mark.parametrize(("owner", "uid", "gid"), OWNERS)
def test_of_an_inline_entry(tmp_path: Path, owner: str, uid: int, gid: int) -> None:
    assert (uid, gid) == ids(tmp_path, base() + owned(owner), "srv/a")


@pytest.mark.parametrize(("owner", "uid", "gid"), OWNERS)
def test_of_a_folder(tmp_path: Path, owner: str, uid: int, gid: int) -> None:
    fill(tmp_path / "app", {"a": "a"})
    body = base() + layer("files", source="app", target="/srv", owner=owner)

    assert (uid, gid) == ids(tmp_path, body, "srv/a")


@pytest.mark.parametrize(("owner", "uid", "gid"), OWNERS)
def test_of_an_archive(tmp_path: Path, owner: str, uid: int, gid: int) -> None:
    data = member(b"a", b"a") + END
    (tmp_path / "a.tar").write_bytes(data)
    more = {"path": "a.tar", "sha256": Digest.of(data).hex, "target": "/srv", "owner": owner}

    assert (uid, gid) == ids(tmp_path, base() + layer("archive", **more), "srv/a")


@pytest.mark.parametrize(("owner", "uid", "gid"), OWNERS)
def test_of_npm_packages(tmp_path: Path, owner: str, uid: int, gid: int) -> None:
    project, store = Project(tmp_path), MemoryStore()
    project.add("a", {"index.js": "a"})
    project.options |= {"owner": owner}
    project.image = base()

    found = contents(store, project.build(store).layers[1])

    assert (0o644, uid, gid) == attributes(found)["app/node_modules/a/index.js"]


@pytest.mark.parametrize(("owner", "uid", "gid"), OWNERS)
def test_of_wheels(tmp_path: Path, owner: str, uid: int, gid: int) -> None:
    made, store = wheel(), MemoryStore()
    store.put_blob(made.data)
    (tmp_path / "pylock.toml").write_text(pylock(made))
    options = {"lockfile": "pylock.toml", "python": "3.11", "target": "/srv", "owner": owner}
    spec = write(tmp_path, base() + layer("wheels", **options))
    immutable.lock(spec, store, config=CONFIG)

    found = contents(store, build(spec, store).layers[1])

    assert (0o644, uid, gid) == attributes(found)["srv/demo/__init__.py"]


def test_the_spec_s_own_users_come_first(tmp_path: Path) -> None:
    user = '[[user]]\nname = "web"\nuid = 5\nhome = "/nonexistent"\n'

    body = base(PASSWD + "web:x:5:5::/nonexistent:/usr/sbin/nologin\n") + owned("web") + user

    assert (5, 5) == ids(tmp_path, body, "srv/a")


def test_account_files_are_read_where_links_lead(tmp_path: Path) -> None:
    link = {"path": "/etc/passwd", "link": "../usr/lib/passwd"}

    body = base(PASSWD, GROUP, link, at="/usr/lib/passwd") + owned()

    assert (33, 34) == ids(tmp_path, body, "srv/a")


@pytest.mark.parametrize(
    "damage", ["\udcff\udcfe:x:1:2::/:\n", "short:x\n:\n\n#\n", "a:x:b:c::/:\n"]
)
def test_damaged_lines_of_others_do_no_harm(tmp_path: Path, damage: str) -> None:
    fill(tmp_path / "base", {"passwd": (damage + PASSWD).encode("utf-8", "surrogateescape")})
    body = layer("files", "base", source="base", target="/etc") + owned()

    assert (33, 34) == ids(tmp_path, body, "srv/a")


EXPECTED = "expected NAME:x:UID:GID with ids from 0 to 4294967294, found "


@pytest.mark.parametrize(
    ("passwd", "owner", "message"),
    [
        (PASSWD, "wwwdata", "expected a user of the spec or of a lower layer's /etc/passwd, found"),
        ("", "www-data", "expected a user of the spec or of a lower layer's /etc/passwd, found"),
        (
            PASSWD,
            "root:adm",
            "expected a group of the spec or of a lower layer's /etc/group, found",
        ),
        ("a:x:7\n", "a", f"/etc/passwd: {EXPECTED}'a:x:7'"),
        ("a:x:4294967295:1::/:\n", "a", f"/etc/passwd: {EXPECTED}'a:x:4294967295:1::/:'"),
        (f"a:x:{'9' * 5000}:1::/:\n", "a", f"/etc/passwd: {EXPECTED}'a:x:9999"),
        ("a:x:1:-1::/:\n", "a", f"/etc/passwd: {EXPECTED}'a:x:1:-1::/:'"),
    ],
)
def test_a_name_without_good_ids_is_refused(
    tmp_path: Path, passwd: str, owner: str, message: str
) -> None:
    with Store.open(tmp_path / "store") as store:
        with pytest.raises(EntryError) as caught:
            build(write(tmp_path, base(passwd) + owned(owner)), store)

        assert str(caught.value).startswith('layer "app": ')
        assert message in str(caught.value)
        assert () == store.images()


def test_without_account_files_beneath_no_name_is_known(tmp_path: Path) -> None:
    below = layer("files", "base", entries=[{"path": "/srv", "directory": True}])

    with pytest.raises(EntryError, match="found 'www-data'; declare a"):
        build(write(tmp_path, below + owned()), MemoryStore())


def test_without_a_layer_beneath_no_name_is_known(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no \[\[user\]\] is called 'www-data'"):
        build(write(tmp_path, owned()), MemoryStore())


def test_only_the_ids_count(tmp_path: Path) -> None:
    store = MemoryStore()
    build(write(tmp_path, base() + owned()), store)

    same = build(
        write(tmp_path, base("a:x:9:9::/:\n" + PASSWD, GROUP + "b:x:9:\n") + owned()), store
    )
    other = build(write(tmp_path, base(PASSWD.replace(":33:", ":32:")) + owned()), store)

    assert [False, True] == [one.cached for one in same.layers]
    assert [False, False] == [one.cached for one in other.layers]
    assert 32 == contents(store, other.layers[1])["srv/a"].uid
