"""Users and groups of a spec: primary groups, owners, and what is wrong between them."""

from __future__ import annotations

import pytest

from immutable.errors import SpecError
from immutable.spec import accounts as found
from immutable.spec import document as specs
from immutable.spec.document import Spec

HEAD = "spec-version = 1\n[image]\nname = 'web'\n"
STAFF = "group = [{ name = 'staff', gid = 50 }]"


def parsed(text: str) -> Spec:
    return specs.parse(f"{text}\n{HEAD}".encode(), {}, "web.toml")


def users(*rows: str) -> str:
    return f"user = [{', '.join(f'{{ {row} }}' for row in rows)}]\n"


def test_a_user_has_a_group_of_its_own_name_and_id() -> None:
    made = found.accounts(parsed(users("name = 'node', uid = 1001")))

    assert [(1001, None)] == [(one.gid, one.group) for one in made.users]
    assert [("node", 1001)] == [(group.name, group.gid) for group in made.groups]


def test_a_user_s_group_can_be_declared() -> None:
    rows = users("name = 'node', uid = 1001, group = 'staff'", "name = 'b', uid = 2, gid = 50")

    made = found.accounts(parsed(rows + STAFF))

    assert [(50, None), (50, None)] == [(one.gid, one.group) for one in made.users]
    assert [("staff", 50)] == [(group.name, group.gid) for group in made.groups]


@pytest.mark.parametrize(
    ("row", "gid", "group"),
    [
        ("gid = 0", 0, "root"),
        ("gid = 7", 7, "node"),
        ("group = 'root'", 0, "root"),
        ("group = 'users'", None, "users"),
        ("group = 'b'", 2, None),
        ("group = 'c'", 9, "c"),
        ("group = 'd'", 8, None),
        ("group = 'users', gid = 100", 100, None),
    ],
)
def test_a_group_that_a_lower_layer_may_have_is_left_to_it(
    row: str, gid: int | None, group: str | None
) -> None:
    rows = users(
        f"name = 'node', uid = 1, {row}",
        "name = 'b', uid = 2",
        "name = 'c', uid = 3, gid = 9",
        "name = 'e', uid = 4, gid = 8, group = 'd'",
    )

    first = found.accounts(parsed(rows)).users[0]

    assert (gid, group) == (first.gid, first.group)


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (
            ("name = 'a', uid = 1, group = 'b'", "name = 'b', uid = 50"),
            (
                "user[1]: its own group 'b' would have the id 50 of the group 'staff'; "
                "give it a gid or a group"
            ),
        ),
        (
            ("name = 'a', uid = 1", "name = 'b', uid = 2, group = 'staff', gid = 51"),
            "user[1].gid: expected 50, which group[0] gives 'staff', found 51; leave it out",
        ),
        (
            ("name = 'a', uid = 1", "name = 'b', uid = 2, group = 'c', gid = 50"),
            "user[1].gid: 50 is the id of the group 'staff'; expected that of 'c'",
        ),
        (
            (
                "name = 'a', uid = 1, group = 'c', gid = 9",
                "name = 'b', uid = 2, group = 'c', gid = 8",
            ),
            "user[1].gid: expected 9, which user[0] gives 'c', found 8; leave it out",
        ),
    ],
)
def test_a_fault_names_the_line_that_it_is_about(rows: tuple[str, ...], fault: str) -> None:
    with pytest.raises(SpecError) as caught:
        parsed(users(*rows) + STAFF)

    assert [fault] == list(caught.value.faults)


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("root", (0, 0)),
        ("node", (1001, 1001)),
        ("node:staff", (1001, 50)),
        ("node:0", (1001, 0)),
        ("7", (7, 7)),
        ("7:root", (7, 0)),
        ("0:8", (0, 8)),
        ("web", (1, 9)),
        ("web:web", (1, 9)),
        ("log:staff", (2, 50)),
    ],
)
def test_owners(owner: str, expected: tuple[int, int]) -> None:
    assert expected == found.owner_ids(declared(), owner)


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        ("nod", r"no \[\[user\]\] is called 'nod'; did you mean 'node'\?"),
        ("node:staf", r"no \[\[group\]\] is called 'staf'; did you mean 'staff'\?"),
        ("log", r"no \[\[group\]\] is called 'users', as the group of 'log' is"),
    ],
)
def test_unknown_owners(owner: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found.owner_ids(declared(), owner)


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("log", "2:users"),
        ("log:ssl-cert", "2:ssl-cert"),
        ("log:staff", "2:50"),
        ("nobody", "nobody"),
        ("nobody:staff", "nobody:50"),
    ],
)
def test_of_an_owner_only_what_the_spec_has_not_is_asked(owner: str, expected: str) -> None:
    assert expected == found.known_part(declared(), owner)


def declared() -> Spec:
    rows = users(
        "name = 'node', uid = 1001",
        "name = 'web', uid = 1, gid = 9",
        "name = 'log', uid = 2, group = 'users'",
    )
    return parsed(rows + STAFF)
