"""For people's own tests: assert that an image is reproducible bit for bit."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve

from immutable.build.build import build
from immutable.build.loading import spec_of
from immutable.build.results import Image
from immutable.build.verify import differences
from immutable.config import Config
from immutable.spec.document import Spec, placed
from immutable.store import AbstractStore, Store

__all__ = ["assert_reproducible"]


def assert_reproducible(
    spec: Spec | str | Path,
    *,
    folder: str | Path | None = None,
    store: AbstractStore | None = None,
    config: Config | None = None,
) -> Image:
    """Build `spec` twice, from nothing, in different surroundings; fail on any difference.

    The two builds have two empty stores, umasks, time zones, working folders and numbers of
    threads. Sources are taken from `store` where it holds them, else fetched. Returns the image of
    the first build; `folder` is as for `immutable.build`. Raises AssertionError naming every digest
    that differs, and ImmutableError if the spec does not build.

    Changes process-wide settings while it runs, so run nothing beside it in the process.
    """
    config = config or Config.load()
    spec = spec_of(spec, folder)
    spec = placed(spec, Path(spec.where).resolve())
    with _surroundings(0o022, "UTC0") as place, Store.open(place / "store") as first_store:
        first = build(spec, first_store, config=evolve(config, jobs=1), sources=store)
        with (
            _surroundings(0o077, "NPT-5:45") as place,
            Store.open(place / "store") as second_store,
        ):
            second = build(
                spec, second_store, config=evolve(config, jobs=4), sources=first_store
            )  # fmt: skip
            found = differences(first, second)
    if found:
        raise AssertionError("\n".join(["not reproducible:", *map(str, found)]))
    return first


@contextmanager
def _surroundings(umask: int, zone: str) -> Iterator[Path]:
    """Work in a new empty folder, with this umask and POSIX time zone."""
    there, old_umask, old_zone = Path.cwd(), os.umask(umask), os.environ.get("TZ")
    os.environ["TZ"] = zone
    time.tzset()
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                yield Path(folder)
            finally:
                os.chdir(there)
    finally:
        os.umask(old_umask)
        if old_zone is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = old_zone
        time.tzset()
