"""Realising: chunks kept, never trusted; nothing left of what fails."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, field, frozen

from immutable.build.pack import pack
from immutable.content.archives.decompress import open_stream
from immutable.content.compression import Encoder, encoder
from immutable.content.entries import Arrangement, Entry, EntryKind, arrange, file
from immutable.errors import SourceError
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.store import AbstractStore, Chunk, MemoryStore, Store
from tests.support.specs import State


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as made:
        yield made


class Counted:
    """An encoder that takes down the chunks it compresses."""

    def __init__(self, name: str = "gzip") -> None:
        real = encoder(name)
        self.chunks: list[Digest] = []

        def frame(chunk: Any, level: int) -> bytes:
            self.chunks.append(Digest.of(chunk))
            return real.frame(chunk)

        self.encoder: Encoder = evolve(real, frame=frame)


def tree(**changed: bytes) -> Arrangement:
    """Return some four hundred files of 20 KB, and what is `changed` of them."""
    rng = random.Random(7)
    files = {f"f{number:03}": rng.randbytes(2_000) * 10 for number in range(400)} | changed
    entries = [file(name.encode(), data) for name, data in files.items()]
    return arrange([entries], mtime=0)


def packed(
    arrangement: Arrangement, store: AbstractStore, pool: Executor, counted: Counted, jobs: int = 2
) -> tuple[Digest, Descriptor]:
    return pack(arrangement, counted.encoder, store, pool, jobs=jobs)


def test_a_changed_file_costs_its_own_chunk(pool: Executor) -> None:
    store = MemoryStore()
    first, second = Counted(), Counted()
    packed(tree(), store, pool, first)

    packed(tree(f200=b"c" * 20_000), store, pool, second)

    assert len(first.chunks) >= 5
    assert 1 == len(second.chunks)


def test_an_inserted_file_costs_its_neighbours(pool: Executor) -> None:
    store = MemoryStore()
    packed(tree(), store, pool, Counted())
    counted = Counted()

    packed(tree(f2001=b"new" * 1000), store, pool, counted)

    assert 0 < len(counted.chunks) <= 2


def test_copied_chunks_give_the_blob_that_compressing_gives(pool: Executor) -> None:
    store = MemoryStore()
    packed(tree(), store, pool, Counted())
    copied = packed(tree(f200=b"changed"), store, pool, Counted())

    assert copied == packed(tree(f200=b"changed"), MemoryStore(), pool, Counted())
    with store.verified(copied[1].digest, copied[1].size) as raw:
        data = open_stream(raw, name="test").read()
    assert copied[0] == Digest.of(data)


def test_encoders_do_not_share_chunks(pool: Executor) -> None:
    store = MemoryStore()
    packed(tree(), store, pool, Counted("gzip"))
    counted = Counted("zstd")

    packed(tree(), store, pool, counted)

    assert len(counted.chunks) >= 5


def test_what_is_not_compressed_is_not_remembered(pool: Executor) -> None:
    store = MemoryStore()
    packed(tree(), store, pool, Counted("none"))

    assert 0 == store.info().chunks


@pytest.mark.parametrize("harm", ["flipped", "cut", "lying row", "gone"])
def test_a_damaged_chunk_is_compressed_again(tmp_path: Path, pool: Executor, harm: str) -> None:
    with Store.open(tmp_path / "store") as store:
        counted = Counted()
        _, blob = packed(tree(), store, pool, counted)
        chunk = counted.chunks[2]
        place = store.find_chunk(chunk, counted.encoder.key)
        assert place is not None
        path = store.blob_path(blob.digest)
        data = bytearray(path.read_bytes())
        path.chmod(0o644)
        match harm:
            case "flipped":
                data[place.offset + place.length // 2] ^= 1
                path.write_bytes(data)
            case "cut":
                path.write_bytes(data[: place.offset + 5])
            case "gone":
                path.unlink()
            case "lying row":
                other = store.find_chunk(counted.chunks[1], counted.encoder.key)
                assert other is not None
                lie = Chunk(other.blob, other.offset, other.length, place.frame)
                store.record_chunks(counted.encoder.key, {chunk: lie})
        again = Counted()

        made = packed(tree(f399=b"x"), store, pool, again)

        assert chunk in again.chunks
        with store.verified(made[1].digest, made[1].size):
            pass
        assert made == packed(tree(f399=b"x"), MemoryStore(), pool, Counted())


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_the_number_of_threads_changes_nothing(jobs: int) -> None:
    with ThreadPoolExecutor(jobs) as threads:
        expected = packed(tree(), MemoryStore(), threads, Counted(), jobs=jobs)

    with ThreadPoolExecutor(3) as threads:
        assert expected == packed(tree(), MemoryStore(), threads, Counted(), jobs=3)


@frozen
class Watched:
    """A large file that knows how far it was read."""

    size: int
    read_so_far: list[int] = field(factory=list)

    def read(self) -> Iterable[bytes]:
        for _ in range(self.size >> 20):
            self.read_so_far.append(1)
            yield bytes(1 << 20)


def test_a_large_file_is_not_held_in_memory(pool: Executor) -> None:
    store = MemoryStore()
    ahead: list[int] = []
    content = Watched(64 << 20)
    real = encoder("gzip")
    framed = []

    def frame(chunk: Any, level: int) -> bytes:
        framed.append(1)
        ahead.append(len(content.read_so_far) - len(framed))
        return real.frame(chunk)

    arrangement = arrange([[Entry(b"large", EntryKind.FILE, content=content)]], mtime=0)  # type: ignore[arg-type]
    pack(arrangement, evolve(real, frame=frame), store, pool, jobs=2)

    assert max(ahead) <= 12


@frozen
class Changing:
    """A file that turns out to have changed in the middle."""

    size: int = 5 << 20

    def read(self) -> Iterator[bytes]:
        yield bytes(3 << 20)
        raise SourceError("changed while it was being read")


def test_nothing_is_left_of_a_layer_that_fails(tmp_path: Path, pool: Executor) -> None:
    arrangement = arrange([[Entry(b"a", EntryKind.FILE, content=Changing())]], mtime=0)
    with Store.open(tmp_path / "store") as store:
        before = State.of(store)

        with pytest.raises(SourceError, match="changed"):
            packed(arrangement, store, pool, Counted())

        assert before == State.of(store)
