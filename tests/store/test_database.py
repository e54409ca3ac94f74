"""The database: made once, shared, refused when damaged or newer."""

import sqlite3
import threading
from pathlib import Path

import pytest

from immutable.errors import StoreError
from immutable.oci.digest import Digest
from immutable.store import Store, records
from immutable.store.base import Chunk
from immutable.store.database import VERSION, Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a ?#%ä database.db"


def opened(path: Path) -> Database:
    return Database.open(path, fill=lambda _: None)


def count(database: Database, table: str = "chunk") -> int:
    with database.read() as connection:
        found: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return found


def insert(connection: sqlite3.Connection, number: int) -> None:
    key = Digest.of(b"%d" % number)
    records.record_chunks(connection, "gzip", {key: Chunk(key, 0, 1, key)})


def test_it_is_made_once_and_filled_in_the_same_transaction(path: Path) -> None:
    fills: list[sqlite3.Connection] = []
    for _ in range(2):
        database = Database.open(path, fill=fills.append)
        assert 0 == count(database)
        database.close()
    assert 1 == len(fills)


def test_a_fill_that_fails_makes_none(path: Path) -> None:
    def fail(_: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            Database.open(path, fill=fail)
    database = opened(path)
    assert 0 == count(database)
    database.close()


def test_a_transaction_is_whole_or_nothing(path: Path) -> None:
    database = opened(path)

    def broken() -> None:
        with database.write() as connection:
            insert(connection, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert 0 == count(database)
    with database.write(durable=True) as connection:
        insert(connection, 1)
    assert 1 == count(database)
    database.close()


def test_threads_take_turns(path: Path) -> None:
    database = opened(path)

    def work(first: int) -> None:
        for number in range(first, first + 50):
            with database.write() as connection:
                insert(connection, number)

    threads = [threading.Thread(target=work, args=(n * 50,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 200 == count(database)
    database.close()


def test_a_reader_sees_the_last_commit_beside_a_writer(path: Path) -> None:
    writer, reader = opened(path), opened(path)
    with writer.write() as connection:
        insert(connection, 1)
        assert 0 == count(reader)
    assert 1 == count(reader)
    writer.close()
    reader.close()


@pytest.mark.parametrize("content", [b"garbage " * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_one_is_named_and_can_be_moved_away(tmp_path: Path, content: bytes) -> None:
    Store.open(tmp_path / "store").close()
    path = tmp_path / "store" / "immutable.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"immutable\.db: .*; move it away"):
        Store.open(tmp_path / "store")
    assert content == path.read_bytes()
    path.rename(tmp_path / "away")
    Store.open(tmp_path / "store").close()


def test_an_emptied_one_is_made_again(path: Path) -> None:
    opened(path).close()
    path.write_bytes(b"")
    database = opened(path)
    assert 0 == count(database)
    database.close()


def test_a_newer_one_is_refused(path: Path) -> None:
    opened(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(
        StoreError, match=f"expected {VERSION}, found {VERSION + 1}; it was written"
    ):
        opened(path)
    with pytest.raises(StoreError, match="written by a newer immutable"):
        Database.open_read_only(path)


def test_another_program_s_database_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreError, match="expected immutable's database, found another"):
        opened(path)


def test_the_current_generation_cannot_be_deleted(path: Path) -> None:
    database = opened(path)
    with database.write() as connection:
        connection.execute("INSERT INTO image VALUES ('web', 1, 2)")
        connection.execute("INSERT INTO generation VALUES ('web', 1, 'm', x'00', 1, '', 0)")
    with pytest.raises(StoreError, match="FOREIGN KEY"), database.write() as connection:
        connection.execute("DELETE FROM generation")
    assert 1 == count(database, "generation")
    database.close()


def test_a_record_that_is_no_digest_is_refused(path: Path) -> None:
    database = opened(path)
    with database.write() as connection:
        insert(connection, 1)
        connection.execute("UPDATE chunk SET frame = x'00'")
    with pytest.raises(StoreError, match="a digest of 1 bytes"), database.read() as connection:
        records.find_chunks(connection, [Digest.of(b"1")], "gzip")
    database.close()


@pytest.mark.parametrize("content", [None, b""])
def test_none_to_read_is_none(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    assert Database.open_read_only(path) is None


def test_reading_only_refuses_writes(path: Path) -> None:
    opened(path).close()
    database = Database.open_read_only(path)
    assert database is not None
    assert 0 == count(database)
    with pytest.raises(StoreError, match="readonly"), database.write() as connection:
        insert(connection, 1)
    database.close()


def test_an_unclosed_one_closes_itself(path: Path) -> None:
    opened(path)
    assert not path.with_name(path.name + "-wal").exists()
