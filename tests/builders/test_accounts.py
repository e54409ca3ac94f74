"""The last layer: users and groups added to what the layers below left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from immutable.errors import EntryError, SpecError
from immutable.store import MemoryStore, Store
from tests.support.specs import State, attributes, build, contents, layer, text, write

PASSWD = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
LINE = "nodejs:x:1001:1001::/home/nodejs:/usr/sbin/nologin\n"
GROUP = "root:x:0:\nstaff:x:50:old\nwww-data:x:33:\n"


def user(name: str = "nodejs", uid: int = 1001, **more: Any) -> str:
    lines = [f"{key} = {value!r}" for key, value in more.items()]
    return "\n".join(["[[user]]", f'name = "{name}"', f"uid = {uid}", *lines, ""])


def base(**files: str) -> str:
    """Return a layer with account files in /etc."""
    entries: list[dict[str, Any]] = [
        {"path": f"/etc/{name}", "text": data, "mode": "0640" if "shadow" in name else "0644"}
        for name, data in files.items()
    ]
    return layer("files", "base", entries=entries)


def last(folder: Path, body: str, store: MemoryStore | None = None) -> dict[str, Any]:
    """Return the entries of the accounts layer of a spec with `body`."""
    store = store or MemoryStore()
    return contents(store, build(write(folder, body), store).layers[-1])


def test_from_nothing_there_is_root_and_the_user(tmp_path: Path) -> None:
    found = last(tmp_path, user())

    assert {
        "etc": (0o755, 0, 0),
        "etc/group": (0o644, 0, 0),
        "etc/passwd": (0o644, 0, 0),
        "home": (0o755, 0, 0),
        "home/nodejs": (0o700, 1001, 1001),
    } == attributes(found)
    expected = "root:x:0:0:root:/root:/bin/sh\nnodejs:x:1001:1001::/home/nodejs:/usr/sbin/nologin\n"
    assert expected == text(found["etc/passwd"])
    assert "root:x:0:\nnodejs:x:1001:\n" == text(found["etc/group"])


def test_what_is_there_is_extended(tmp_path: Path) -> None:
    found = last(
        tmp_path,
        base(passwd=PASSWD, group=GROUP)
        + user(groups=["staff"], home="/app", shell="/bin/sh", comment="Node")
        + '[[group]]\nname = "tools"\ngid = 2000\n',
    )

    assert PASSWD + "nodejs:x:1001:1001:Node:/app:/bin/sh\n" == text(found["etc/passwd"])
    assert (
        "root:x:0:\nstaff:x:50:old,nodejs\nwww-data:x:33:\ntools:x:2000:\nnodejs:x:1001:\n"
        == text(found["etc/group"])
    )


def test_shadow_files_are_extended_where_they_are(tmp_path: Path) -> None:
    found = last(
        tmp_path,
        base(passwd=PASSWD, group=GROUP, shadow="root:*:19000::::::\n", gshadow="staff:*::\n")
        + user(groups=["staff"]),
    )

    assert "root:*:19000::::::\nnodejs:!::0:99999:7:::\n" == text(found["etc/shadow"])
    assert "staff:*::nodejs\nnodejs:!::\n" == text(found["etc/gshadow"])
    assert 0o640 == found["etc/shadow"].mode


def test_whatever_bytes_are_there_come_out_again(tmp_path: Path) -> None:
    odd = "root:x:0:0:r\u2028\x0b\x85:/root:/bin/sh\n\n# note"
    found = last(tmp_path, base(passwd=odd) + user())

    assert odd + "\nnodejs:x:1001:1001::/home/nodejs:/usr/sbin/nologin\n" == text(
        found["etc/passwd"]
    )


CANNOT = (
    "/etc/passwd: cannot add 'nodejs:x:1001:1001::/home/nodejs:/usr/sbin/nologin': "
    "a layer below has "
)


@pytest.mark.parametrize(
    ("files", "given", "message"),
    [
        (
            {"passwd": "app:x:1001:1001::/app:/bin/sh\n"},
            user(),
            f"{CANNOT}'app:x:1001:1001::/app:/bin/sh'",
        ),
        (
            {"passwd": "nodejs:x:1002:1002::/app:/bin/sh\n"},
            user(),
            f"{CANNOT}'nodejs:x:1002:1002::/app:/bin/sh'",
        ),
        (
            {"passwd": "nodejs:x:1001:7::/app:/bin/sh\n"},
            user(),
            "a layer below has 'nodejs:x:1001:7::/app:/bin/sh'",
        ),
        (
            {"passwd": "nodejs:x:1001:1001::/app:/bin/sh\n"},
            user(home="/srv"),
            "a layer below has 'nodejs:x:1001:1001::/app:/bin/sh'",
        ),
        (
            {"group": "app:x:1001:\n"},
            user(),
            (
                "/etc/group: cannot add 'nodejs:x:1001:': a layer below has 'app:x:1001:'; a user "
                "joins that by gid = 1001"
            ),
        ),
        (
            {"group": "nodejs:x:7:\n"},
            user(),
            "a layer below has 'nodejs:x:7:'; a user joins that by gid = 7",
        ),
        (
            {"group": "staff:x:7:\n"},
            user(gid=8, group="staff"),
            "cannot add 'staff:x:8:': a layer below has 'staff:x:7:'",
        ),
        (
            {"group": "tools:x:8:\n"},
            user(gid=8, group="staff"),
            "cannot add 'staff:x:8:': a layer below has 'tools:x:8:'",
        ),
        (
            {"group": "nodejs:x:7:\n"},
            user(gid=8),
            "cannot add 'nodejs:x:8:': a layer below has 'nodejs:x:7:'",
        ),
        (
            {"group": "tools:x:8:\n"},
            user(group="staff"),
            (
                "/etc/group: expected the group 'staff' of the user 'nodejs' in the spec or in a "
                "lower layer, found none; declare a [[group]], or give the user its gid too"
            ),
        ),
        (
            {"group": "staff:x:5000000000:\n"},
            user(group="staff"),
            (
                "/etc/group: expected NAME:x:GID: with ids from 0 to 4294967294, found "
                "'staff:x:5000000000:'"
            ),
        ),
        (
            {},
            user(groups=["staff"]),
            (
                "/etc/group: no group 'staff' to put 'nodejs' into, neither in the spec nor in a "
                "lower layer; declare it as a [[group]]"
            ),
        ),
    ],
)
def test_conflicts_name_both_lines(
    tmp_path: Path, files: dict[str, str], given: str, message: str
) -> None:
    spec = write(tmp_path, base(**files) + given)
    with Store.open(tmp_path / "store") as store:
        with pytest.raises(EntryError) as caught:
            build(spec, store)

        assert str(caught.value).startswith('layer "users": ')
        assert message in str(caught.value)
        assert () == store.images()


def test_who_is_there_already_stays(tmp_path: Path) -> None:
    found = last(tmp_path, base(passwd=PASSWD, group=GROUP) + user("www-data", 33))

    assert PASSWD == text(found["etc/passwd"])
    assert GROUP == text(found["etc/group"])
    assert "home" not in found


def test_two_names_of_one_id_are_told_apart(tmp_path: Path) -> None:
    passwd = "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n"
    given = user("toor", 0, group="root") + '[[group]]\nname = "root"\ngid = 0\n'

    found = last(tmp_path, base(passwd=passwd, group="root:x:0:\n") + given)

    assert passwd == text(found["etc/passwd"])


def test_the_files_keep_their_attributes_and_so_do_the_folders_above(tmp_path: Path) -> None:
    entries = [
        {"path": "/etc", "directory": True, "mode": "0711"},
        {"path": "/etc/passwd", "text": PASSWD, "mode": "0604", "owner": "3:4"},
        {"path": "/home", "directory": True, "mode": "0751", "owner": "5"},
    ]

    found = attributes(last(tmp_path, layer("files", entries=entries) + user()))

    assert (0o711, 0, 0) == found["etc"]
    assert (0o604, 3, 4) == found["etc/passwd"]
    assert (0o751, 5, 5) == found["home"]


def test_a_home_that_is_there_is_left_alone(tmp_path: Path) -> None:
    entries = [{"path": "/home/nodejs", "directory": True, "mode": "0755"}]

    assert "home/nodejs" not in last(tmp_path, layer("files", entries=entries) + user())


@pytest.mark.parametrize("home", ["/", "/nonexistent"])
def test_some_homes_are_none(tmp_path: Path, home: str) -> None:
    assert ["etc", "etc/group", "etc/passwd"] == sorted(last(tmp_path, user(home=home)))


def test_a_home_is_a_directory(tmp_path: Path) -> None:
    entries = [{"path": "/srv/web", "text": ""}]
    spec = write(tmp_path, layer("files", entries=entries, replace=True) + user(home="/srv/web"))

    with pytest.raises(EntryError, match=r"/srv/web: expected a directory as the home of nodejs"):
        build(spec, MemoryStore())


def test_account_files_have_to_be_files(tmp_path: Path) -> None:
    entries = [{"path": "/etc/passwd", "directory": True}]
    spec = write(tmp_path, layer("files", entries=entries) + user())

    with pytest.raises(EntryError, match="/etc/passwd: expected a file, a layer below has a dir"):
        build(spec, MemoryStore())


def test_account_files_are_extended_where_links_lead(tmp_path: Path) -> None:
    entries = [
        {"path": "/etc/passwd", "link": "../lib/passwd"},
        {"path": "/lib/passwd", "text": PASSWD},
    ]

    found = last(tmp_path, layer("files", entries=entries) + user())

    assert "etc/passwd" not in found
    assert PASSWD + LINE == text(found["lib/passwd"])


def test_a_link_that_leads_nowhere_is_not_replaced(tmp_path: Path) -> None:
    entries = [{"path": "/etc/passwd", "link": "../lib/passwd"}]
    spec = write(tmp_path, layer("files", entries=entries) + user())

    with pytest.raises(EntryError, match="/etc/passwd: a file would hide a symlink"):
        build(spec, MemoryStore())


@pytest.mark.parametrize(
    ("lower", "given", "gid", "expected"),
    [
        (GROUP, {"gid": 0}, 0, GROUP),
        (None, {"gid": 0}, 0, "root:x:0:\n"),
        (None, {"group": "root"}, 0, "root:x:0:\n"),
        (GROUP, {"gid": 50}, 50, GROUP),
        (GROUP, {"group": "staff"}, 50, GROUP),
        (GROUP, {"group": "staff", "gid": 50}, 50, GROUP),
        (GROUP + "nodejs:x:1001:\n", {}, 1001, GROUP + "nodejs:x:1001:\n"),
        (GROUP + "a:x:b:\n# \xff\n", {"group": "staff"}, 50, GROUP + "a:x:b:\n# \xff\n"),
        (GROUP, {"gid": 7}, 7, GROUP + "nodejs:x:7:\n"),
        (GROUP, {"group": "tools", "gid": 7}, 7, GROUP + "tools:x:7:\n"),
    ],
)
def test_users_join_the_group_that_is_there(
    tmp_path: Path, lower: str | None, given: dict[str, Any], gid: int, expected: str
) -> None:
    below = "" if lower is None else base(group=lower)

    found = last(tmp_path, below + user(**given))

    line = f"nodejs:x:1001:{gid}::/home/nodejs:/usr/sbin/nologin\n"
    assert "root:x:0:0:root:/root:/bin/sh\n" + line == text(found["etc/passwd"])
    assert expected == text(found["etc/group"])
    assert (0o700, 1001, gid) == attributes(found)["home/nodejs"]


def test_a_user_joins_another_s_group_that_is_made_only_for_want_of_one(tmp_path: Path) -> None:
    given = user("web", 1, gid=7, home="/") + user("log", 2, group="web", home="/")

    found = last(tmp_path, given)

    assert "log:x:2:7::/:/usr/sbin/nologin" in text(found["etc/passwd"]).splitlines()
    assert "root:x:0:\nweb:x:7:\n" == text(found["etc/group"])


def test_what_is_put_into_the_home_of_a_user_finds_it_in_the_group_of_a_lower_layer(
    tmp_path: Path,
) -> None:
    entries = [{"path": "/home/nodejs/a", "text": "", "owner": "nodejs"}]
    spec = base(group=GROUP) + layer("files", entries=entries) + user(group="staff")
    store = MemoryStore()

    built = build(write(tmp_path, spec), store)

    found = attributes(contents(store, built.layers[1]))
    assert (0o700, 1001, 50) == found["home/nodejs"]
    assert (0o644, 1001, 50) == found["home/nodejs/a"]


def test_a_home_follows_the_id_that_its_group_has_beneath(tmp_path: Path) -> None:
    entries = [{"path": "/home/nodejs/a", "text": ""}]
    rest = layer("files", entries=entries) + user(group="staff")
    store = MemoryStore()
    build(write(tmp_path, base(group=GROUP) + rest), store)

    same = build(write(tmp_path, base(group=GROUP + "other:x:9:\n") + rest), store)
    other = build(write(tmp_path, base(group=GROUP.replace("50", "51")) + rest), store)

    assert same.layers[1].cached
    assert (0o700, 1001, 51) == attributes(contents(store, other.layers[1]))["home/nodejs"]


def test_an_owner_whose_group_no_lower_layer_has_is_refused(tmp_path: Path) -> None:
    entries = [{"path": "/a", "text": "", "owner": "nodejs"}]
    spec = layer("files", entries=entries) + user(group="staff")

    with pytest.raises(SpecError, match=r"no \[\[group\]\] is called 'staff'"):
        build(write(tmp_path, spec), MemoryStore())


def test_another_table_below_is_another_layer(tmp_path: Path) -> None:
    store = MemoryStore()
    one = build(write(tmp_path, base(passwd=PASSWD) + user()), store)
    same = build(write(tmp_path, base(passwd=PASSWD) + user()), store)
    other = build(write(tmp_path, base(passwd=PASSWD + "a:x:9:9:::\n") + user()), store)

    assert same.layers[-1].cached
    assert one.layers[-1].derivation == other.layers[-1].derivation
    assert one.layers[-1].diff_id != other.layers[-1].diff_id


def test_a_refused_account_leaves_the_names_as_they_were(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        build(write(tmp_path, base(passwd=PASSWD) + user()), store)
        before = State.of(store).references

        with pytest.raises(EntryError):
            build(write(tmp_path, base(passwd=PASSWD) + user("other", 33)), store)

        assert before == State.of(store).references
