"""Which ids a sandbox has, and what is said where there are none."""

from __future__ import annotations

import errno

import pytest

from immutable.sandbox import ids
from immutable.sandbox.ids import first_of


def test_the_first_line_with_enough_ids_counts() -> None:
    lines = ["other:1:65536", "me:5:100", "# me", "1000:300000:65536", "me:400000:65536"]
    assert 300000 == first_of(lines, {"me", "1000"})
    assert None is first_of(lines, {"nobody"})


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "apparmor_restrict_unprivileged_userns=0",
        ),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("", "", "seccomp=unconfined"),
    ],
)
def test_one_line_says_why_there_are_no_namespaces(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, said: str
) -> None:
    monkeypatch.setattr(ids, "_setting", lambda name: value if name == setting else "")
    line = ids.explain(errno.EPERM, "unshare 0x10000000")
    assert said in line
    assert "\n" not in line
