"""Jobs as values: each can be pickled, and gives elsewhere the layer that it gives here."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest

from immutable import lock
from immutable.build.kinds import builder_of, scope_of
from immutable.build.loading import load
from immutable.build.plan import Plan, plan
from immutable.build.realise import Realiser
from immutable.builders.registry import builders
from immutable.net.fetch import Fetcher
from immutable.oci.digest import Digest
from immutable.progress import SILENT
from immutable.spec.derivation import Job, Realisation
from immutable.store import MemoryStore
from immutable.store.layout import Layout
from tests.support.archives import END, member
from tests.support.specs import CONFIG, fill, layer, layout_image, write

ONLY_FILES = layer(
    "files", source="tree", target="/srv", exclude=["*.log"], ignore_file="tree/.ignored"
)
ARCHIVE = member(b"x", b"1") + END
PACKED = layer("archive", "data", path="a.tar", sha256=Digest.of(ARCHIVE).hex, target="/opt")
# The specs' own examples hold Debian packages, wheels and npm's; their jobs have no more to them
# than pins.
SPECS = Path(__file__).parents[2] / "specs"
TRIED = ["hello", "node-web", "python-web"]


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def realised(jobs: list[Job], made: Plan, pool: Executor) -> list[Realisation]:
    """Realise `jobs`, bottom first, in a store that has nothing."""
    store = MemoryStore()
    scope = scope_of(made, CONFIG, store, SILENT)

    def fetch(wanted: Sequence[Job]) -> None:
        with Fetcher(CONFIG) as fetcher:
            for job in wanted:
                fetcher.fetch_all(builder_of(job).wanted(job, scope), store, SILENT)

    realiser = Realiser(scope, "gzip", pool, fetch)
    found: list[Realisation] = []
    for job in jobs:
        taken = builder_of(job).as_is
        (record,) = (realiser.adopt(job),) if taken else realiser.realise([job], found)
        found.append(record.realisation)
    return found


@pytest.mark.parametrize("kind", ["files", "archive", "spec", "image"])
def test_a_job_that_was_pickled_gives_the_same_layer(
    tmp_path: Path, pool: Executor, kind: str
) -> None:
    fill(tmp_path, {"tree/a": "1", "tree/deep/b": "2", "tree/c.log": "3", "tree/d": "4"})
    fill(tmp_path, {"tree/.ignored": "d\n.ignored\n", "a.tar": ARCHIVE})
    layout_image(Layout.create(tmp_path / "layout"), member(b"etc/y", b"1") + END, name="base")
    write(tmp_path, ONLY_FILES, "base.toml")
    text = {
        "files": ONLY_FILES,
        "archive": PACKED,
        "spec": layer("image", "base", from_="base.toml") + PACKED,
        "image": layer("image", "base", from_="oci:layout:base"),
    }[kind]
    user = '[[user]]\nname = "web"\nuid = 1000\n'
    spec = write(tmp_path, text + user)
    lock(spec, MemoryStore(), config=CONFIG)
    made = plan(load(spec), MemoryStore(), CONFIG, SILENT)
    jobs = list(made.graph)
    there = pickle.loads(pickle.dumps(jobs))

    assert jobs == there
    assert realised(jobs, made, pool) == realised(there, made, pool)


@pytest.mark.parametrize("name", TRIED)
def test_every_job_of_a_real_spec_can_be_pickled(name: str) -> None:
    made = plan(load(SPECS / f"{name}.toml"), MemoryStore(), CONFIG, SILENT)
    jobs = list(made.graph)

    assert jobs == pickle.loads(pickle.dumps(jobs))


def test_a_job_beside_another_image_can_be_pickled(tmp_path: Path) -> None:
    entries = [{"path": "/a", "text": "1"}]
    write(tmp_path, layer("files", entries=entries), "base.toml")
    spec = write(tmp_path, layer("copy", from_="base.toml", paths=["/a"]))
    jobs = list(plan(load(spec), MemoryStore(), CONFIG, SILENT).graph)
    again = pickle.loads(pickle.dumps(jobs))

    assert (jobs, jobs[0].beside) == (again, again[0].beside)
    assert ["files"] == [job.kind for job in again[0].beside]


def test_every_kind_was_tried() -> None:
    # A command's job is tried in tests/builders/test_run.py.
    tried = {"files", "archive", "copy", "image", "run", "users"}
    for name in TRIED:
        made = plan(load(SPECS / f"{name}.toml"), MemoryStore(), CONFIG, SILENT)
        tried |= {job.kind for job in made.graph}
    assert set(builders()) == tried
