"""Whatever is done to them, the store on disk and the one in memory answer the same."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from operator import methodcaller
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from immutable.errors import ImmutableError
from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.oci.documents import MANIFEST, Descriptor, Index
from immutable.spec.derivation import NO_ANSWERS, Realisation
from immutable.store import AbstractStore, Chunk, MemoryStore, Store
from immutable.store.refs import Refs

NAMES = st.sampled_from(["web", "shop/web", "api", "Bad", "a/b/c"])
TAGS = st.sampled_from(["1.0", "2.0", "stable", "-bad"])
ENCODERS = st.sampled_from(["gzip", "zstd"])
KEYS = st.integers(0, 5).map(lambda number: Digest.of(b"key %d" % number))
ANSWERS = st.sampled_from([NO_ANSWERS, Digest.of(b"other answers")])
NUMBERS = st.integers(1, 6)
SIGNATURES = st.tuples(*[st.integers(-2, 1 << 65)] * 4)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StoreMachine(RuleBasedStateMachine):
    """Every rule does the same to both; what comes back, or is raised, must be equal."""

    digests: Bundle[Digest] = Bundle("digests")

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.now = 1_700_000_000
        self.crashes = 0
        self.disk = Store.open(self.directory / "store", clock=lambda: self.now)
        self.memory = MemoryStore(clock=lambda: self.now)
        self.leases = ExitStack()

    def teardown(self) -> None:
        self.leases.close()
        self.disk.close()
        shutil.rmtree(self.directory)

    def both(self, act: Callable[[AbstractStore], Any]) -> Any:
        expected, actual = answer(act, self.memory), answer(act, self.disk)
        assert expected == actual
        return expected

    @initialize(target=digests)
    def begin(self) -> Any:
        data = Index(()).encode()
        return multiple(Digest.of(b"missing"), self.both(lambda store: store.put_blob(data)))

    @rule(target=digests, data=st.binary(max_size=8))
    def put(self, data: bytes) -> Any:
        return self.both(lambda store: store.put_blob(data))

    @rule(data=st.binary(max_size=8), expected=digests, size=st.none() | st.integers(0, 8))
    def ingest(self, data: bytes, expected: Digest, size: int | None) -> None:
        def act(store: AbstractStore) -> tuple[Digest, int]:
            with store.ingest() as blob:
                blob.write(data)
                return blob.commit(expected=expected, size=size, name="it")

        self.both(act)

    @rule(digest=digests, offset=st.integers(0, 8), length=st.integers(0, 8))
    def read(self, digest: Digest, offset: int, length: int) -> None:
        self.both(lambda store: store.has_blob(digest))
        self.both(lambda store: store.blob_size(digest))
        self.both(lambda store: store.read_blob(digest, limit=length))
        self.both(lambda store: store.read_range(digest, offset, length))

        def verified(store: AbstractStore) -> bytes:
            with store.verified(digest, size=length) as blob:
                return blob.read()

        self.both(verified)

    @rule(key=KEYS, answers=ANSWERS, encoder=ENCODERS, blob=digests, size=st.integers(0, 8))
    def record_realisation(
        self, key: Digest, answers: Digest, encoder: str, blob: Digest, size: int
    ) -> None:
        layer = Descriptor("layer", blob, size)
        record = Realisation(key, answers, encoder, Digest.of(b"tar"), layer)
        self.both(lambda store: store.record_realisation(record))

    @rule(blob=digests, key=KEYS, data=st.binary(max_size=3))
    def record_memos(self, blob: Digest, key: Digest, data: bytes) -> None:
        self.both(lambda store: store.record_contents(blob, data))
        self.both(lambda store: store.record_questions(key, data))
        self.both(lambda store: store.record_answers(key, Digest.of(data), Digest.of(data[1:])))

    @rule(blob=digests, key=KEYS, data=st.binary(max_size=3))
    def find_memos(self, blob: Digest, key: Digest, data: bytes) -> None:
        self.both(lambda store: store.find_contents(blob))
        self.both(lambda store: store.find_questions(key))
        self.both(lambda store: store.find_answers(key, Digest.of(data)))

    @rule(
        encoder=ENCODERS,
        keys=st.sets(KEYS),
        blob=digests,
        offset=st.integers(0, 8),
        length=st.integers(0, 8),
    )
    def record_chunks(
        self, encoder: str, keys: set[Digest], blob: Digest, offset: int, length: int
    ) -> None:
        chunks = {key: Chunk(blob, offset, length, Digest.of(b"frame")) for key in keys}
        self.both(lambda store: store.record_chunks(encoder, chunks))

    @rule(keys=st.sets(KEYS), answers=ANSWERS, encoder=ENCODERS)
    def find(self, keys: set[Digest], answers: Digest, encoder: str) -> None:
        self.both(lambda store: store.find_chunks(keys, encoder))
        for key in keys:
            self.both(methodcaller("has_realisation", key))
            self.both(methodcaller("find_realisation", key, answers, encoder))
            self.both(methodcaller("find_chunk", key, encoder))

    @rule(
        root=st.sampled_from([b"/a", b"\xff"]),
        rows=st.dictionaries(st.binary(min_size=1, max_size=3), st.tuples(SIGNATURES, KEYS)),
    )
    def stats(self, root: bytes, rows: Any) -> None:
        self.both(lambda store: store.save_stats(root, rows))
        self.both(lambda store: sorted(store.load_stats(root).items()))

    @rule(
        name=NAMES,
        blob=digests,
        tags=st.lists(TAGS, max_size=2),
        day=st.integers(0, 3),
        replace=st.booleans(),
    )
    def commit(self, name: str, blob: Digest, tags: list[str], day: int, replace: bool) -> None:
        def act(store: AbstractStore) -> Any:
            size = store.blob_size(blob) if store.has_blob(blob) else 0
            created = EPOCH + timedelta(days=day)
            descriptor = Descriptor(MANIFEST, blob, size)
            return store.commit_generation(
                name, descriptor, tags=tags, created=created, replace_tags=replace
            )

        self.both(act)

    @rule(name=NAMES, number=NUMBERS)
    def set_current(self, name: str, number: int) -> None:
        self.both(lambda store: store.set_current(name, number))

    @rule(name=NAMES, tag=TAGS, digest=digests, replace=st.booleans())
    def tag(self, name: str, tag: str, digest: Digest, replace: bool) -> None:
        self.both(lambda store: store.expect_tags(name, (tag,), digest))
        self.both(lambda store: store.tag(name, tag, digest, replace=replace))

    @rule(target=digests, lower=st.lists(digests, max_size=2), subject=st.none() | digests)
    def put_document(self, lower: list[Digest], subject: Digest | None) -> Any:
        def plain(digest: Digest) -> Any:
            return Descriptor(MANIFEST, digest, 0).plain()

        document: Any = {"schemaVersion": 2, "manifests": [plain(digest) for digest in lower]}
        if subject is not None:
            document["subject"] = plain(subject)
        return self.both(lambda store: store.put_blob(canonical.encode(document)))

    @rule(wanted=st.lists(digests, max_size=3))
    def record_sources(self, wanted: list[Digest]) -> None:
        self.both(lambda store: store.record_sources(wanted))

    @rule(name=NAMES, tag=TAGS)
    def untag(self, name: str, tag: str) -> None:
        self.both(lambda store: store.untag(name, tag))

    @rule(name=NAMES, number=NUMBERS, pinned=st.booleans())
    def pin(self, name: str, number: int, pinned: bool) -> None:
        self.both(lambda store: store.pin(name, number, pinned=pinned))

    @rule(name=NAMES, numbers=st.sets(NUMBERS, max_size=2))
    def forget(self, name: str, numbers: set[int]) -> None:
        before = answer(lambda store: store.generations(name), self.memory)
        self.both(lambda store: store.sweep(dry_run=True, forgotten={name: numbers}))
        assert before == self.both(lambda store: store.generations(name))
        self.both(lambda store: store.forget(name, numbers))

    @rule(hours=st.integers(-2, 100))
    def wait(self, hours: int) -> None:
        self.now += hours * 3600

    @rule(caches=st.booleans(), max_size=st.none() | st.integers(0, 2000), spent=st.lists(digests))
    def sweep(self, caches: bool, max_size: int | None, spent: list[Digest]) -> None:
        def look(store: AbstractStore) -> Any:
            return store.sweep(caches=caches, max_size=max_size, spent=spent, dry_run=True)

        def sweep(store: AbstractStore) -> Any:
            return store.sweep(caches=caches, max_size=max_size, spent=spent)

        assert self.both(look) == self.both(sweep)
        again = self.both(sweep)
        assert ((), 0, 0, 0) == (again.blobs, again.realisations, again.sources, again.chunks)

    @rule()
    def begin_lease(self) -> None:
        for store in (self.memory, self.disk):
            self.leases.enter_context(store.lease())

    @rule()
    def end_leases(self) -> None:
        self.leases.close()

    @rule(name=NAMES, tag=TAGS, number=NUMBERS, digest=digests)
    def resolve(self, name: str, tag: str, number: int, digest: Digest) -> None:
        for reference in (name, f"{name}:{tag}", f"{name}@{number}", f"{name}@{digest}", digest):
            self.both(methodcaller("resolve", str(reference)))

    @rule(name=NAMES)
    def generations(self, name: str) -> None:
        self.both(lambda store: store.generations(name))

    @rule()
    def open_again(self) -> None:
        self.leases.close()
        self.disk.close()
        self.disk = Store.open(self.disk.root, clock=lambda: self.now)

    @rule()
    def crash(self) -> None:
        """What a process leaves that is killed now: its files, and locks that nobody holds."""
        self.crashes += 1
        left = self.directory / f"store-{self.crashes}"
        shutil.copytree(self.disk.root, left)
        self.leases.close()
        self.disk.close()
        self.disk = Store.open(left, clock=lambda: self.now)

    @rule()
    def lose_the_names_in_the_database(self) -> None:
        """Only `index.json` says them then; what is known about blobs is not lost on purpose."""
        with self.disk._database.write() as connection:
            connection.execute("PRAGMA defer_foreign_keys = ON")
            for table in ("tag", "generation", "image"):
                connection.execute(f"DELETE FROM {table}")
            Refs(connection).adopt(self.disk._layout.index())

    @invariant()
    def same(self) -> None:
        self.both(lambda store: store.images())
        self.both(lambda store: store.references())
        self.both(lambda store: (store.info().blobs, store.info().bytes, store.info().generations))

    @invariant()
    def nothing_is_left_over(self) -> None:
        assert [] == list((self.disk.root / "tmp").iterdir())


def answer(act: Callable[[AbstractStore], Any], store: AbstractStore) -> Any:
    """Return what `act` returns, or the kind of the error it raises."""
    try:
        return act(store)
    except ImmutableError as error:
        return type(error)


StoreMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
test_the_stores_answer_the_same = StoreMachine.TestCase
