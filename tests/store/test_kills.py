"""Killed at a system call or at any moment, or told that a call failed: the store is whole then.

Killed at every call with which a store is changed. Of the errors a sample is tried, evenly spread
over the calls in the order of their kinds; ``python -m tests.long.kills`` tries all of them.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.long import kills
from tests.support import needs

MOST = 40  # errors that are tried in a scene
MOMENTS = 75  # at which each act is killed

pytestmark = [pytest.mark.tools, needs.tool("strace")]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kills.Range]:
    with kills.waiting() as victims:
        yield kills.Range.prepare(tmp_path_factory.mktemp("range"), victims)


@pytest.mark.parametrize(("act", "fresh"), kills.SCENES)
def test_killed_anywhere_a_store_is_whole(ground: kills.Range, act: str, fresh: bool) -> None:
    trials = ground.trials(act, {kills.KILL: kills.CALLS}, fresh=fresh)
    assert len(trials) > 20
    for trial in trials:
        ground.attempt(trial)


@pytest.mark.parametrize(("act", "fresh"), [*kills.SCENES, ("spec", True), ("spec", False)])
def test_killed_at_any_moment_a_store_is_whole(ground: kills.Range, act: str, fresh: bool) -> None:
    whole = ground.duration(act, fresh=fresh)
    rng = random.Random(f"{act} {fresh}")
    struck = [ground.strike(act, rng.uniform(0, whole), fresh=fresh) for _ in range(MOMENTS)]
    assert any(struck)


@pytest.mark.parametrize(("act", "fresh"), kills.SCENES)
def test_whatever_fails_is_told_and_leaves_a_store_whole(
    ground: kills.Range, act: str, fresh: bool
) -> None:
    errors = {f"error={name}": calls for name, calls in kills.ERRORS.items()}
    trials = ground.trials(act, errors, fresh=fresh)
    assert len(trials) > MOST
    for trial in trials[:: -(-len(trials) // MOST)]:
        ground.attempt(trial)


def test_what_kills_is_what_is_tried(ground: kills.Range, tmp_path: Path) -> None:
    """A trial that could not fail would show nothing."""
    counts = ground.count("build", fresh=True)
    assert {"openat", "write", "pwrite64", "rename", "fsync", "unlink"} <= counts.keys()
    beyond = kills.Trial("build", True, "rename", counts["rename"] + 1, kills.KILL)
    with pytest.raises(AssertionError):
        ground.attempt(beyond)
