"""What layers ask about, shared through the remote cache: so upper layers are found there."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

import immutable
from immutable.attest.signing import QuestionList, sign
from immutable.build import cache_entries as entries
from immutable.build.cache_entries import (
    FOOTPRINT,
    MOST_QUESTIONS,
    QUESTIONS,
    layer_tag,
    questions_tag,
    tag_of,
)
from immutable.build.results import Image
from immutable.builders import files
from immutable.content.placing import Footprint
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.spec.keys import SecretKey
from immutable.store.memory import MemoryStore
from tests.support import specs
from tests.support.archives import END, directory, member, symlink
from tests.support.caches import STRANGER, TRUSTED, Place, fetched, put_entry
from tests.support.command import PATIENCE, Shell
from tests.support.distribution import Distribution
from tests.support.progress import Notes
from tests.support.registry import Answer, Asked, FakeRegistry
from tests.support.specs import CONFIG
from tests.support.web import WebServer

PROMPT = 10.0  # seconds from an interrupt to the end, on a busy machine
NAMES = ("base", "tool", "app", "own")
ALL = [True, True, True, True]
TARS = {
    "base": [
        directory(b"srv/", mode=0o1777, uid=1000, gid=1000),
        directory(b"usr/"),
        directory(b"usr/lib/"),
        symlink(b"lib", b"usr/lib"),
    ],
    "tool": [directory(b"lib/"), member(b"lib/tool.so", b"tool"), member(b"srv/tool", b"tool")],
    "app": [directory(b"srv/"), member(b"srv/app", b"app")],
}


decode = Footprint.decode


def packed(*members: bytes) -> bytes:
    return b"".join([*members, END])


class World:
    """A spec of four layers, three of them fetched; their sources, and a cache."""

    def __init__(self, folder: Path) -> None:
        self.web = WebServer(folder / "web")
        self.fake = FakeRegistry()
        self.folder = folder
        self.url = ""
        specs.fill(self.web.folder, {f"{name}.tar": packed(*TARS[name]) for name in TARS})
        specs.fill(folder / "own", {"own.txt": "own"})
        self.place = Place(folder, Distribution(""), "cache")

    def begin(self, web: str, registry: str) -> None:
        self.url = web
        self.place = evolve(self.place, registry=Distribution(registry))
        self.change_base(*TARS["base"])

    def change_base(self, *members: bytes) -> None:
        specs.fill(self.web.folder, {"base.tar": packed(*members)})
        tars = {name: (self.web.folder / f"{name}.tar").read_bytes() for name in TARS}
        layers = [
            specs.layer(
                "archive",
                name,
                url=f"{self.url}/{name}.tar",
                sha256=hashlib.sha256(data).hexdigest(),
            )
            for name, data in tars.items()
        ]
        layers.append(specs.layer("files", "own", source="own", target="/srv/own"))
        specs.write(self.folder, "".join(layers))

    def asked(self, image: Image, number: int) -> Digest:
        """Return what the question list of a layer is under: it is told by one of its paths."""
        path = {1: b"lib/tool.so", 2: b"srv/app", 3: b"srv/own/own.txt"}[number]
        keys = [Digest(tag.rpartition("-")[2]) for tag in self.tags("questions-")]
        lists = {key: image.store.find_questions(key) for key in keys}
        (found,) = [key for key, data in lists.items() if data and path in decode(data).others]
        return found

    def tags(self, prefix: str) -> list[str]:
        return sorted(t for t in self.fake.repository("cache").tags if t.startswith(prefix))

    def questions(self, image: Image, number: int = 1) -> tuple[QuestionList, bytes]:
        asked = self.asked(image, number)
        data = image.store.find_questions(asked)
        assert data is not None
        return listed(asked, data), data

    def put(self, statement: QuestionList, data: bytes, key: SecretKey = TRUSTED) -> None:
        put_entry(self.place, statement, sign(statement, key), data=data)

    def requests(self, *words: str) -> int:
        return sum(
            all(word in f"{one.method} {one.path}" for word in words) for one in self.fake.asked
        )


def listed(asked: Digest, data: bytes) -> QuestionList:
    return QuestionList(asked, Descriptor(FOOTPRINT, Digest.of(data), len(data)))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.web.serve() as web, made.fake.serve() as registry:
        made.begin(web, registry)
        yield made


def test_a_cold_machine_takes_every_layer_without_a_source(world: World) -> None:
    there = world.place.share()
    world.web.requests.clear()
    here, notes = world.place.build(TRUSTED)
    assert (ALL, [], []) == (fetched(here), notes, world.web.requests)
    assert there.digest == here.digest
    # What was asked is remembered: the next build needs no cache.
    again = immutable.build(world.place.spec, here.store, config=CONFIG, offline=True)
    assert ALL == fetched(again)


def test_layers_over_another_base_are_taken_where_their_answers_agree(world: World) -> None:
    world.place.share()
    base = [*TARS["base"], member(b"usr/share/new", b"new")]
    world.change_base(*base)
    here, notes = world.place.build(TRUSTED)
    assert ([False, True, True, True], []) == ([one.cached for one in here.layers], notes)
    world.change_base(directory(b"srv/", mode=0o700), *base[1:])
    here, notes = world.place.build(TRUSTED)
    assert ([False] * 4, []) == ([one.cached for one in here.layers], notes)


def test_a_store_that_has_all_shares_what_it_asked(world: World) -> None:
    store = MemoryStore()
    immutable.build(world.place.spec, store, config=CONFIG)
    assert ALL == [one.cached for one in world.place.share(store=store).layers]
    assert (4, 3) == (len(world.tags("layer-v2-")), len(world.tags("questions-v1-")))
    here, notes = world.place.build(TRUSTED)
    assert (ALL, []) == (fetched(here), notes)


def test_files_that_nobody_had_read_are_asked_about_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_AHEAD", 0)  # so it is packed before its derivation is known
    there = world.place.share()
    here, notes = world.place.build(TRUSTED)
    assert (ALL, []) == (fetched(here), notes)
    assert there.digest == here.digest


@pytest.mark.parametrize("with_cache", [True, False])
def test_a_damaged_list_of_the_store_is_as_good_as_none(world: World, *, with_cache: bool) -> None:
    store, notes = MemoryStore(), Notes()
    questions, data = world.questions(world.place.share(store=store))
    store.record_questions(questions.asked, b"damaged")
    world.change_base(*TARS["base"], member(b"usr/share/new", b"new"))
    image = immutable.build(
        world.place.spec,
        store,
        config=world.place.config(TRUSTED),
        cache_from=[world.place.cache] if with_cache else [],
        progress=notes,
    )
    assert [False, True, True, True] == [one.cached for one in image.layers]
    assert with_cache == ("building tool" not in notes.tasks)
    assert data == store.find_questions(questions.asked)


def test_what_is_there_is_not_put_again(world: World) -> None:
    store = MemoryStore()
    world.place.share(store=store)
    world.fake.asked.clear()
    world.place.share(store=store)
    assert 0 == world.requests("PUT")
    # Another encoding says the same.
    asked = world.asked(immutable.build(world.place.spec, store, config=CONFIG), 1)
    data = store.find_questions(asked)
    assert data is not None
    store.record_questions(asked, zlib.compress(zlib.decompress(data), 0))
    world.place.share(store=store)
    assert 0 == world.requests("PUT")


def test_requests_of_a_cold_build(world: World) -> None:
    world.place.share()
    world.fake.asked.clear()
    world.place.build(TRUSTED)
    # Of each entry the manifest, the record and the blob; of the lowest layer no questions.
    assert (7, 14) == (world.requests("GET", "/manifests/"), world.requests("GET", "/blobs/"))


def test_an_interrupt_ends_the_wait_for_questions(shell: Shell) -> None:
    fake, asked, release = FakeRegistry(), threading.Event(), threading.Event()

    def stall(_: Asked) -> None:
        asked.set()
        release.wait(PATIENCE)

    specs.fill(shell.folder / "app", {"app.txt": "app"})
    layers = [specs.layer("files", name, source="app", target=f"/{name}") for name in NAMES]
    spec = specs.write(shell.folder, "".join(layers))
    assert 0 == shell.run("key", "generate", "ci").status
    with fake.serve() as host:
        cache, there = f"docker://{host}/c", shell.folder / "there"
        assert 0 == shell.run("build", spec, "--cache-to", cache, "--store", there).status
        fake.plan("GET", "/manifests/questions-", stall)
        try:
            with shell.start("build", spec, "--cache-from", cache) as process:
                assert asked.wait(PATIENCE)
                os.killpg(process.pid, signal.SIGINT)
                out, err = process.communicate(timeout=PROMPT)
        finally:
            release.set()
    assert (130, "", "interrupted\n") == (process.returncode, out, err)
    assert [] == shell.drafts()


# Entries that are wrong


def test_the_questions_of_a_stranger_are_not_asked(world: World) -> None:
    there = world.place.share()
    world.put(*world.questions(there), STRANGER)
    here, notes = world.place.build(TRUSTED)
    assert ([True, False, True, True], 1) == ([one.cached for one in here.layers], len(notes))
    assert "an entry that no trusted key signed" in notes[0]
    assert there.digest == here.digest
    # Whoever is trusted puts his own in their place.
    world.place.share(store=there.store)
    assert ALL == fetched(world.place.build(TRUSTED)[0])


def test_paths_left_out_are_not_what_was_signed(world: World) -> None:
    there = world.place.share()
    honest, data = world.questions(there)
    less = Footprint((b"srv",), (b"srv/tool",)).encode()
    lie = listed(honest.asked, less)
    put_entry(world.place, lie, sign(honest, TRUSTED), data=less)
    here, notes = world.place.build(TRUSTED)
    assert ([True, False, True, True], 1) == ([one.cached for one in here.layers], len(notes))
    assert "an entry that no trusted key signed" in notes[0]
    assert data == here.store.find_questions(honest.asked)
    assert there.digest == here.digest


def test_the_questions_of_another_layer(world: World) -> None:
    there = world.place.share()
    (one, _), (two, data) = world.questions(there, 1), world.questions(there, 2)
    put_entry(world.place, two, sign(two, TRUSTED), tag=tag_of(one), data=data)
    here, notes = world.place.build(TRUSTED)
    assert ([True, False, True, True], 1) == ([one.cached for one in here.layers], len(notes))
    assert "the entry of another derivation" in notes[0]
    assert there.digest == here.digest


@pytest.mark.parametrize(
    "data",
    [
        b"no zlib",
        zlib.compress(b"lib\0srv"),
        zlib.compress(b"lib\0srv\0\0../passwd"),
        zlib.compress(b"lib\0srv\0\0etc/passwd"),
    ],
)
def test_signed_bytes_that_are_no_question_list(world: World, data: bytes) -> None:
    there = world.place.share()
    asked = world.questions(there)[0].asked
    world.put(listed(asked, data), data)
    here, notes = world.place.build(TRUSTED)
    assert ([True, False, True, True], 1) == ([one.cached for one in here.layers], len(notes))
    assert "no footprint: " in notes[0]
    assert data != here.store.find_questions(asked)
    assert there.digest == here.digest


@pytest.mark.parametrize("damage", ["flipped", "short", "gone", "large"])
def test_questions_that_the_registry_lost_or_changed(world: World, damage: str) -> None:
    there = world.place.share()
    questions, data = world.questions(there)
    blobs = world.fake.repository("cache").blobs
    match damage:
        case "flipped":
            blobs[questions.blob.digest] = data[:5] + bytes([data[5] ^ 1]) + data[6:]
        case "short":
            blobs[questions.blob.digest] = data[:-1]
        case "gone":
            del blobs[questions.blob.digest]
        case "large":
            blob = evolve(questions.blob, size=MOST_QUESTIONS + 1)
            world.put(evolve(questions, blob=blob), b"")
    here, notes = world.place.build(TRUSTED)
    assert ([True, False, True, True], 1) == ([one.cached for one in here.layers], len(notes))
    assert there.digest == here.digest


@pytest.mark.parametrize(
    ("config", "media_type", "said"),
    [
        (b"{}", QUESTIONS, "expected asked, footprint"),
        (b'{"asked":1,"footprint":""}', QUESTIONS, "expected strings"),
        (b'{"asked":"","footprint":""}', QUESTIONS, "not a record of a cache"),
        (b"{}", oci.CONFIG, "expected an entry of a cache, found another image"),
    ],
)
def test_what_is_no_entry(world: World, config: bytes, media_type: str, said: str) -> None:
    there = world.place.share()
    questions, _ = world.questions(there)
    signature = sign(questions, TRUSTED)
    put_entry(world.place, questions, signature, config=config, media_type=media_type)
    here, notes = world.place.build(TRUSTED)
    assert ([True, False, True, True], 1) == ([one.cached for one in here.layers], len(notes))
    assert said in notes[0]
    assert there.digest == here.digest


def test_a_record_of_another_footprint(world: World) -> None:
    there = world.place.share()
    questions, _ = world.questions(there)
    other = evolve(questions, blob=evolve(questions.blob, digest=Digest.of(b"")))
    _, record = entries.record(other)
    put_entry(world.place, questions, sign(questions, TRUSTED), config=record)
    here, notes = world.place.build(TRUSTED)
    assert [True, False, True, True] == [one.cached for one in here.layers]
    assert "of another footprint" in notes[0]


@pytest.mark.parametrize("status", [403, 500])
def test_a_cache_that_refuses_questions_is_told_of_once(world: World, status: int) -> None:
    there = world.place.share()
    for _ in range(6):
        world.fake.plan("GET", "/manifests/questions-", Answer(status))
    world.fake.asked.clear()
    here, notes = world.place.build(TRUSTED)
    assert ([True, False, False, False], 1) == ([one.cached for one in here.layers], len(notes))
    assert "the cache is asked no more" in notes[0]
    assert 2 == len({one.path for one in world.fake.asked if "/manifests/" in one.path})
    assert there.digest == here.digest


def test_layers_of_which_nothing_is_said_are_built(world: World) -> None:
    world.place.share()
    repository = world.fake.repository("cache")
    for tag in world.tags("questions-"):
        del repository.tags[tag]
    here, notes = world.place.build(TRUSTED)
    assert ([True, False, False, False], []) == ([one.cached for one in here.layers], notes)


def test_entries_made_before_are_not_read(world: World) -> None:
    there = world.place.share()
    repository = world.fake.repository("cache")
    for tag in world.tags("layer-v2-"):
        repository.tags[tag.replace("-v2-", "-")] = repository.tags.pop(tag)
    here, notes = world.place.build(TRUSTED)
    assert ([False, False, False, False], []) == ([one.cached for one in here.layers], notes)
    assert there.digest == here.digest


def test_the_tags_are_the_released_ones() -> None:
    one, two = Digest.of(b"one"), Digest.of(b"two")
    assert f"questions-v1-{one.hex}" == questions_tag(one)
    assert "layer-v2-87ccfec171c9a6d058397aada88be3d4ad20d4ae42d92a7d19b5fd98af13d127" == layer_tag(
        one, two, "gzip-1"
    )


def test_each_part_of_spread_files_is_taken_by_itself(world: World) -> None:
    own = world.folder / "own"
    specs.fill(own, {f"{name}/x": name for name in "abcdefgh"})
    base = specs.layer("files", "base", entries=[{"path": "/lib", "link": "usr/lib"}])
    spread = specs.layer("files", "own", source="own", target="/lib/own", layers=3)
    specs.write(world.folder, base + spread)
    there = world.place.share()
    here, notes = world.place.build(TRUSTED)
    assert (ALL, []) == (fetched(here), notes)
    assert there.digest == here.digest
    specs.fill(own, {"a/x": "edited"})
    again, _ = world.place.build(TRUSTED)
    assert 1 == fetched(again).count(False)
