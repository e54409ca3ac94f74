"""A store that an earlier version wrote is brought up; what nobody asks for any more is a miss."""

import sqlite3
from pathlib import Path

import pytest

from immutable.errors import StoreError
from immutable.store import Store
from immutable.store.check import check
from immutable.store.database import VERSION, Database
from tests.support.stores import image, layer

SIGNATURE = (1, 2, 3, 4)


@pytest.mark.parametrize("version", [1, 2])
def test_a_store_of_before_keeps_its_images_and_misses_its_realisations(
    root: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(root) as store:
        one = image(store, "web", b"one", tags=["1.0"])
        made = layer(store, b"one")
        store.save_stats(b"/src", {b"a": (SIGNATURE, one.digest)})
        before = store.images(), store.generations("web"), store.references()
        chunks = store.info().chunks
        assert 2 == chunks
    downgrade(root / "immutable.db", version)
    with monkeypatch.context() as patch:
        patch.setattr("immutable.store.access.is_writable", lambda _: False)
        with Store.open(root) as store:
            assert before == (store.images(), store.generations("web"), store.references())
            assert store.find_realisation(made.derivation, made.answers, made.encoder) is None
    assert () == check(root)
    for _ in range(2):
        with Store.open(root) as store:
            assert before == (store.images(), store.generations("web"), store.references())
            assert one == store.resolve("web:1.0")
            assert store.find_realisation(made.derivation, made.answers, made.encoder) is None
            assert not store.has_realisation(made.derivation)
            assert chunks == store.info().chunks
            assert {b"a": (SIGNATURE, one.digest)} == store.load_stats(b"/src")
            store.record_sources([made.blob.digest])
            assert store.pin("web", 1).pinned
            store.pin("web", 1, pinned=False)
    with Store.open(root) as store:
        assert made == layer(store, b"one")
        assert made == store.find_realisation(made.derivation, made.answers, made.encoder)
        assert 1 == store.info().sources
    assert () == check(root)


@pytest.mark.parametrize("version", [1, 2])
def test_a_store_of_before_has_the_tables_of_a_new_one(root: Path, version: int) -> None:
    with Store.open(root):
        new = schema(root / "immutable.db")
    downgrade(root / "immutable.db", version)
    assert new != schema(root / "immutable.db")
    with Store.open(root):
        assert {*new} == {*schema(root / "immutable.db")}


def test_the_release_before_refuses_this_one_s_store(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(root).close()
    monkeypatch.setattr("immutable.store.database.VERSION", VERSION - 1)
    with pytest.raises(StoreError, match="expected 2, found 3; it was written by a newer"):
        Database.open(root / "immutable.db", fill=lambda _: None)


def schema(path: Path) -> list[tuple[str, tuple[tuple[object, ...], ...]]]:
    """Return the tables and indexes, each with its columns: names, types, places in the key."""
    connection = sqlite3.connect(path)
    names = connection.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()
    columns = 'SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?) ORDER BY name'
    found = [(name, tuple(connection.execute(columns, (name,)))) for (name,) in names]
    connection.close()
    return found


def downgrade(path: Path, version: int) -> None:
    """Make a database what an earlier version made it, with a realisation for each of now."""
    connection = sqlite3.connect(path)
    with connection:
        rows = connection.execute(
            "SELECT derivation, encoder, diff_id, media_type, blob, size FROM realisation"
        ).fetchall()
        for table in ("realisation", "contents", "question", "answer"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute(
            """CREATE TABLE realisation (
                derivation BLOB NOT NULL, encoder TEXT NOT NULL, diff_id BLOB NOT NULL,
                media_type TEXT NOT NULL, blob BLOB NOT NULL, size INTEGER NOT NULL,
                PRIMARY KEY (derivation, encoder)) WITHOUT ROWID"""
        )
        connection.execute("CREATE INDEX realisation_blob ON realisation (blob)")
        connection.executemany("INSERT INTO realisation VALUES (?, ?, ?, ?, ?, ?)", rows)
        if version == 1:
            connection.execute("ALTER TABLE generation DROP COLUMN pinned")
            connection.execute("DROP TABLE source")
            connection.execute("DROP TABLE lagging")
            connection.execute("CREATE TABLE index_lags (since TEXT NOT NULL)")
        else:
            connection.execute("ALTER TABLE realisation ADD COLUMN used INTEGER NOT NULL DEFAULT 0")
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
