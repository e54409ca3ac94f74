"""What a store remembers to save time: found again, forgotten when it is of no more use."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from immutable.oci.digest import Digest
from immutable.oci.documents import LAYER, Descriptor
from immutable.spec.derivation import NO_ANSWERS
from immutable.store import AbstractStore, MemoryStore, Store, Swept
from immutable.store.base import USE_RESOLUTION
from immutable.store.check import check
from immutable.store.faults import FaultKind
from immutable.store.memos import ANSWERS_KEPT, QUESTIONS_KEPT
from immutable.store.repair import repair
from tests.support import needs
from tests.support.disks import fill_up, mounted
from tests.support.stores import layer, realisation

A, B, C = (Digest.of(letter) for letter in (b"a", b"b", b"c"))
START = 1_700_000_000


class Clock:
    """The time, set by hand."""

    now = float(START)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, root: Path, clock: Clock) -> Iterator[AbstractStore]:
    opened = (
        MemoryStore(clock=clock) if request.param == "memory" else Store.open(root, clock=clock)
    )
    with opened:
        yield opened


def rows(root: Path, table: str) -> int:
    connection = sqlite3.connect(root / "immutable.db")
    found: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    connection.close()
    return found


def run(root: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(root / "immutable.db")
    with connection:
        connection.execute(statement, values)
    connection.close()


# Found again


def test_a_derivation_has_a_realisation_for_each_of_its_answers(store: AbstractStore) -> None:
    one = Descriptor(LAYER, store.put_blob(b"one"), 3)
    two = Descriptor(LAYER, store.put_blob(b"two"), 3)
    first, second = realisation(one, answers=A), realisation(two, answers=B)
    assert not store.has_realisation(first.derivation)
    store.record_realisation(first)
    assert store.find_realisation(second.derivation, B, second.encoder) is None
    store.record_realisation(second)
    assert first == store.find_realisation(first.derivation, A, first.encoder)
    assert second == store.find_realisation(first.derivation, B, first.encoder)
    assert store.find_realisation(first.derivation, NO_ANSWERS, first.encoder) is None
    assert store.has_realisation(first.derivation)
    assert not store.has_realisation(A)
    assert 2 == store.info().realisations


def test_memos_are_found_under_their_keys_and_newer_ones_replace_older(
    store: AbstractStore,
) -> None:
    assert (None, None) == (store.find_contents(A), store.find_questions(A))
    assert store.find_answers(A, B) is None
    for data, answers in ((b"old", A), (b"", B), (b"new\0" * 9999, C)):
        store.record_contents(A, data)
        store.record_questions(B, data)
        store.record_answers(A, B, answers)
        assert data == store.find_contents(A)
        assert data == store.find_questions(B)
        assert answers == store.find_answers(A, B)
    assert (None, None) == (store.find_contents(B), store.find_questions(A))
    assert (None, None) == (store.find_answers(B, A), store.find_answers(A, A))


def test_memos_outlive_the_process(root: Path) -> None:
    with Store.open(root) as store:
        store.record_contents(A, b"contents")
        store.record_questions(A, b"questions")
        store.record_answers(A, B, C)
    with Store.open(root) as store:
        assert (b"contents", b"questions") == (store.find_contents(A), store.find_questions(A))
        assert store.find_answers(A, B) == C


@pytest.mark.parametrize("database", ["there", "lost"])
def test_a_store_that_is_only_read_finds_memos_and_records_none(
    root: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(root) as store:
        store.record_contents(A, b"contents")
        store.record_questions(A, b"questions")
        store.record_answers(A, B, C)
    if database == "lost":
        (root / "immutable.db").unlink()
    monkeypatch.setattr("immutable.store.access.is_writable", lambda _: False)
    found = (b"contents", b"questions", C) if database == "there" else (None, None, None)
    with Store.open(root, clock=lambda: START * 2) as store:
        for _ in range(2):
            memos = (store.find_contents(A), store.find_questions(A), store.find_answers(A, B))
            assert found == memos
            store.record_contents(A, b"new")
            store.record_questions(A, b"new")
            store.record_answers(A, B, A)


def test_each_layer_of_a_build_that_changes_nothing_costs_two_searches_by_key(root: Path) -> None:
    with Store.open(root) as store:
        made = layer(store, b"one")
        store.record_answers(made.derivation, A, made.answers)
    with Store.open(root) as store, store._database.read() as connection:
        searches: list[str] = []
        connection.set_trace_callback(searches.append)
        answers = store.find_answers(made.derivation, A)
        assert answers is not None
        assert made == store.find_realisation(made.derivation, answers, made.encoder)
        connection.set_trace_callback(None)
        assert 2 == len(searches)
        for search in searches:
            ((*_, plan),) = connection.execute(f"EXPLAIN QUERY PLAN {search}").fetchall()
            assert "USING PRIMARY KEY" in plan


# Forgotten


def test_contents_go_with_their_blob(store: AbstractStore) -> None:
    kept, spent = layer(store, b"kept").blob.digest, layer(store, b"spent").blob.digest
    store.record_contents(kept, b"of kept")
    store.record_contents(spent, b"of spent")
    store.record_contents(A, b"of no blob")
    store.sweep(spent=[spent], dry_run=True)
    assert b"of spent" == store.find_contents(spent)
    assert {spent} == {digest for digest, _ in store.sweep(spent=[spent]).blobs}
    assert b"of kept" == store.find_contents(kept)
    assert (None, None) == (store.find_contents(spent), store.find_contents(A))


def test_contents_that_outlive_their_blob_are_found_and_forgotten(root: Path) -> None:
    with Store.open(root) as store:
        store.record_contents(layer(store, b"kept").blob.digest, b"contents")
        store.record_contents(A, b"of no blob")
    (fault,) = check(root)
    assert FaultKind.CONTENTS is fault.kind
    assert f"contents records of blob {A}" == fault.place
    assert () == repair(root, [fault])
    assert 1 == rows(root, "contents")


def test_answers_go_with_the_last_realisation_of_their_derivation(store: AbstractStore) -> None:
    kept, spent = layer(store, b"kept"), layer(store, b"spent")
    for made in (kept, spent):
        store.record_answers(made.derivation, A, made.answers)
    assert Swept((), 0, 0, 0) == store.sweep()
    assert NO_ANSWERS == store.find_answers(spent.derivation, A)
    store.sweep(spent=[spent.blob.digest], dry_run=True)
    assert NO_ANSWERS == store.find_answers(spent.derivation, A)
    store.sweep(spent=[spent.blob.digest])
    assert NO_ANSWERS == store.find_answers(kept.derivation, A)
    assert store.find_answers(spent.derivation, A) is None


def test_a_sweep_bounds_questions_and_answers_and_keeps_those_last_of_use(
    store: AbstractStore, clock: Clock
) -> None:
    made = layer(store, b"one")
    keys = [Digest.of(b"%d" % number) for number in range(50)]
    for key in keys:
        clock.now += USE_RESOLUTION
        store.record_questions(key, b"data")
        store.record_answers(made.derivation, key, made.answers)
    clock.now += USE_RESOLUTION
    store.find_questions(keys[0])
    store.find_answers(made.derivation, keys[1])
    store.sweep()
    questions = [key for key in keys if store.find_questions(key)]
    answers = [key for key in keys if store.find_answers(made.derivation, key)]
    assert [keys[0], *keys[1 - QUESTIONS_KEPT :]] == questions
    assert [keys[1], *keys[1 - ANSWERS_KEPT :]] == answers


def test_with_the_last_realisation_all_questions_and_answers_go(store: AbstractStore) -> None:
    made = layer(store, b"one")
    store.record_questions(A, b"data")
    store.record_answers(made.derivation, A, made.answers)
    store.sweep(caches=False)
    assert store.find_questions(A) is None
    assert store.find_answers(made.derivation, A) is None


def test_a_use_within_the_resolution_changes_nothing(root: Path, clock: Clock) -> None:
    with Store.open(root, clock=clock) as store:
        store.record_questions(A, b"data")
        store.record_answers(A, B, C)

        def used() -> tuple[int, int]:
            with store._database.read() as connection:
                found = connection.execute(
                    "SELECT used FROM question UNION ALL SELECT used FROM answer"
                )
                (question,), (answer,) = found.fetchall()
            return question, answer

        for now, expected in (
            (START + USE_RESOLUTION - 1, START),
            (START + USE_RESOLUTION, START + USE_RESOLUTION),
            (START, START + USE_RESOLUTION),
        ):
            clock.now = now
            store.find_questions(A)
            store.find_answers(A, B)
            assert (expected, expected) == used()
            assert b"data" == store.find_questions(A)
        store.record_questions(A, b"new")
        store.record_answers(A, B, A)
        assert (START + USE_RESOLUTION, START + USE_RESOLUTION) == used()


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE contents SET blob = x'00'", FaultKind.CONTENTS),
        ("UPDATE contents SET data = 'text'", FaultKind.CONTENTS),
        ("UPDATE question SET key = 'text'", FaultKind.QUESTIONS),
        ("UPDATE question SET data = 7", FaultKind.QUESTIONS),
        ("UPDATE question SET used = 'never'", FaultKind.QUESTIONS),
        ("UPDATE answer SET derivation = x'00'", FaultKind.ANSWERS),
        ("UPDATE answer SET chain = 'text'", FaultKind.ANSWERS),
        ("UPDATE answer SET answers = x'00'", FaultKind.ANSWERS),
        ("UPDATE answer SET used = 'never'", FaultKind.ANSWERS),
    ],
)
def test_a_damaged_memo_is_not_found_but_by_a_check(
    root: Path, statement: str, kind: FaultKind
) -> None:
    with Store.open(root) as store:
        made = layer(store, b"one")
        store.record_contents(made.blob.digest, b"contents")
        store.record_questions(A, b"questions")
        store.record_answers(made.derivation, B, C)
    run(root, statement)
    with Store.open(root) as store:
        found = {
            FaultKind.CONTENTS: store.find_contents(made.blob.digest),
            FaultKind.QUESTIONS: store.find_questions(A),
            FaultKind.ANSWERS: store.find_answers(made.derivation, B),
        }
    assert ("SET used" in statement) == (found.pop(kind) is not None)
    assert None not in found.values()
    (fault,) = check(root)
    assert kind is fault.kind
    assert () == repair(root, [fault])
    assert 2 == sum(rows(root, table) for table in ("contents", "question", "answer"))


@needs.root()
def test_what_a_full_disk_remembers_goes_with_little_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "12m") as mount:
        root = mount / "store"
        with Store.open(root) as store:
            blobs = [store.put_blob(b"%d" % number) for number in range(8)]
            for number, blob in enumerate(blobs):
                store.record_contents(blob, bytes(100_000))
                store.record_questions(blob, bytes(100_000))
                for chain in range(100):
                    store.record_answers(blob, Digest.of(b"%d %d" % (number, chain)), blob)
        fill_up(mount)
        with Store.open(root, reclaim=True) as store:
            assert len(blobs) == len(store.sweep().blobs)
        assert () == check(root)
        assert [0, 0, 0] == [rows(root, table) for table in ("contents", "question", "answer")]
