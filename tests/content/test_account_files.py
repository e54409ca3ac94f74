"""Accounts in the bytes of /etc/passwd and /etc/group."""

from __future__ import annotations

import pytest

from immutable.content import account_files as files
from immutable.errors import EntryError

PASSWD = b"# \xff\n\nroot:x:0:0::/:/bin/sh\nweb\n"
PASSWD += b"web:x:5:50::/:\ntwo:x:5:51::/:\nodd:x:6:z::/:\nlow:x:6:60\n"
GROUP = b"root:x:0:\nstaff:x:50:web,two\nshort:x:60\nodd:x:y:web\ntools:x:70:two,web\n\xff:x:80:\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("root", (0, 0)), ("web", (5, 50)), ("two", (5, 51)), ("nobody", None), ("", None)],
)
def test_a_user_has_the_ids_of_his_first_line(name: str, expected: tuple[int, int] | None) -> None:
    assert expected == files.find_user(PASSWD, name)


@pytest.mark.parametrize(
    ("uid", "expected"), [(0, ("root", 0)), (5, ("web", 50)), (6, ("low", 60)), (7, None)]
)
def test_an_id_is_that_of_the_first_good_line(uid: int, expected: tuple[str, int] | None) -> None:
    assert expected == files.find_user_of(PASSWD, uid)


@pytest.mark.parametrize(
    ("name", "expected"), [("staff", 50), ("short", 60), ("\udcff", 80), ("adm", None)]
)
def test_a_group_has_the_id_of_its_first_line(name: str, expected: int | None) -> None:
    assert expected == files.find_group(GROUP, name)


@pytest.mark.parametrize(("gid", "expected"), [(50, "staff"), (80, "\udcff"), (9, None)])
def test_a_group_is_found_by_its_id(gid: int, expected: str | None) -> None:
    assert expected == files.find_group_of(GROUP, gid)


@pytest.mark.parametrize(
    ("user", "expected"), [("web", {50, 70}), ("two", {50, 70}), ("root", set())]
)
def test_members_are_in_groups_whose_lines_are_good(user: str, expected: set[int]) -> None:
    assert expected == files.find_memberships(GROUP, user)


@pytest.mark.parametrize(
    "ids", [b"4294967295:1", b"1:4294967295", b"-1:1", b"1", b":1", b"9" * 5000 + b":1", b" 1:1"]
)
def test_ids_that_are_none_are_refused(ids: bytes) -> None:
    with pytest.raises(EntryError, match="/etc/passwd: expected NAME:x:UID:GID with ids from 0 to"):
        files.find_user(b"a:x:" + ids + b"\n", "a")


def test_the_id_of_a_group_that_is_none_is_refused() -> None:
    with pytest.raises(EntryError, match="/etc/group: expected NAME:x:GID: with ids from 0 to"):
        files.find_group(GROUP, "odd")
