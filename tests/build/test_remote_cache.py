"""The remote cache: what one machine has built, another fetches, if it trusts who says so."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from attrs import evolve

import immutable
from immutable.attest.signing import sign
from immutable.build.cache_entries import RECORD, tag_of
from immutable.build.remote_cache import RemoteCache
from immutable.build.verify import verify
from immutable.config import Keys
from immutable.errors import SpecError, TransportError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.store.memory import MemoryStore
from tests.support import distribution, needs, specs
from tests.support.archives import member
from tests.support.caches import STRANGER, TRUSTED, Place, fetched, put_entry, record_of
from tests.support.command import PATIENCE, Shell
from tests.support.distribution import Distribution
from tests.support.progress import Notes
from tests.support.registry import Answer, Asked, FakeRegistry, Flood
from tests.support.sandbox import Done, FakeMachine
from tests.support.specs import CONFIG

pytestmark = [pytest.mark.tools, needs.tool("docker-registry")]

PROMPT = 10.0  # seconds from an interrupt to the end, on a busy machine


@pytest.fixture
def place(tmp_path: Path, registry: Distribution) -> Place:
    for name in ("one", "two"):
        specs.fill(tmp_path / name, {f"{name}.txt": name * 5000})
    text = "".join(
        specs.layer("files", name, source=name, target=f"/{name}") for name in ("one", "two")
    )
    specs.write(tmp_path, text)
    return Place(tmp_path, registry, f"cache/{tmp_path.name.replace('_', '-').lower()}")


def test_what_one_machine_built_another_fetches(place: Place) -> None:
    there = place.share()
    here, notes = place.build(TRUSTED)
    assert there.digest == here.digest
    assert [True, True] == fetched(here)
    assert 0 == here.store.info().chunks
    assert [] == notes
    # The next build needs no cache.
    again = immutable.build(place.spec, here.store, config=CONFIG, offline=True)
    assert [True, True] == fetched(again)


def test_only_what_changed_is_built(place: Place) -> None:
    place.share()
    specs.fill(place.folder / "two", {"two.txt": "changed"})
    here, _ = place.build(TRUSTED)
    assert [True, False] == fetched(here)
    assert immutable.build(place.spec, MemoryStore(), config=CONFIG).digest == here.digest


def test_a_layer_in_two_compressions_is_shared_in_both(place: Place) -> None:
    one = specs.layer("files", "one", entries=[{"path": "/x", "text": "1"}])
    gone = specs.layer("files", "gone", remove=["/x"])
    specs.write(place.folder, one, "base.toml", image='compression = "zstd"')
    base = specs.layer("image", "base", from_="base.toml")
    specs.write(place.folder, base + gone + one)
    image = place.share()
    assert image.layers[0].derivation == image.layers[2].derivation
    assert [True, True, True] == fetched(place.build(TRUSTED)[0])


def test_what_a_command_changed_goes_to_machines_that_cannot_run_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = FakeMachine.instead(
        tmp_path / "differences", monkeypatch, lambda _: Done([member(b"made", b"1")])
    )
    with place.spec.open("a") as spec:
        spec.write(specs.layer("run", "made", command=["make"]))
    there = place.share()
    config = evolve(place.config(TRUSTED), machine="aarch64")
    cache = place.cache
    here = immutable.build(place.spec, MemoryStore(), config=config, cache_from=[cache])

    assert there.digest == here.digest
    assert [True, True, True] == fetched(here)
    assert 2 == len(machine.given)


def test_what_is_there_is_not_shared_again(place: Place) -> None:
    notes = Notes()
    place.share()
    image = place.share()
    config = evolve(CONFIG, keys=Keys(place.folder / "keys/secret-key", place.folder / "nowhere"))
    immutable.build(place.spec, image.store, config=config, cache_to=place.cache, progress=notes)
    assert [f"{place.cache}: 0 of 2 layers are new there"] == notes.notes


def test_nobody_is_trusted_unasked(place: Place) -> None:
    there = place.share()
    here, notes = place.build()
    assert [False, False] == fetched(here)
    assert there.digest == here.digest
    assert ["no key is trusted, so nothing is taken from a cache; see `key trust`"] == notes


def test_the_word_of_a_stranger_does_not_count(place: Place) -> None:
    there = place.share(STRANGER)
    here, notes = place.build(TRUSTED)
    assert [False, False] == fetched(here)
    assert there.digest == here.digest
    assert 2 == len(notes)
    assert all("an entry that no trusted key signed" in note for note in notes)


def test_whoever_is_trusted_replaces_a_strangers_entries(place: Place) -> None:
    place.share(STRANGER)
    place.share(TRUSTED)
    assert [True, True] == fetched(place.build(TRUSTED)[0])


def test_an_empty_cache(place: Place) -> None:
    here, notes = place.build(TRUSTED)
    assert ([False, False], []) == (fetched(here), notes)


def test_a_cache_that_cannot_be_reached_is_told_of_once(place: Place) -> None:
    gone = evolve(place, registry=Distribution(f"127.0.0.1:{distribution.free_port()}"))
    here, notes = gone.build(TRUSTED)
    assert [False, False] == fetched(here)
    assert 1 == len(notes)
    assert "the cache is asked no more" in notes[0]


@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_cache_that_refuses_is_told_of_once(place: Place, status: int) -> None:
    fake = FakeRegistry()
    for _ in range(20):
        fake.plan("GET", "/manifests/", Answer(status))
    with fake.serve() as host:
        here, notes = evolve(place, registry=Distribution(host)).build(TRUSTED)
    assert [False, False] == fetched(here)
    assert 1 == len(notes)
    assert "the cache is asked no more" in notes[0]


@pytest.mark.parametrize("option", ["--cache-from", "--cache-to"])
def test_an_interrupt_ends_it_at_once(shell: Shell, option: str) -> None:
    fake, asked, release = FakeRegistry(), threading.Event(), threading.Event()

    def stall(_: Asked) -> None:
        asked.set()
        release.wait(PATIENCE)

    spec = shell.hello()
    assert 0 == shell.run("key", "generate", "ci").status
    with fake.serve() as host:
        if option == "--cache-from":
            there = ("--store", shell.folder / "there")
            assert 0 == shell.run("build", spec, "--cache-to", f"docker://{host}/c", *there).status
        fake.plan("GET" if option == "--cache-from" else "POST", "/blobs/", stall)
        try:
            with shell.start("build", spec, option, f"docker://{host}/c") as process:
                assert asked.wait(PATIENCE)
                os.killpg(process.pid, signal.SIGINT)
                out, err = process.communicate(timeout=PROMPT)
        finally:
            release.set()
    assert (130, "", "interrupted\n") == (process.returncode, out, err)
    assert [] == shell.drafts()


# Entries that are wrong


def test_an_unsigned_entry(place: Place) -> None:
    there = place.share()
    put_entry(place, record_of(there), None)
    here, notes = place.build(TRUSTED)
    assert ([False, True], there.digest) == (fetched(here), here.digest)
    assert "an entry that no trusted key signed" in notes[0]


def test_a_signature_of_another_record(place: Place) -> None:
    there = place.share()
    one, two = record_of(there, 0), record_of(there, 1)
    put_entry(place, evolve(one, diff_id=two.diff_id, blob=two.blob), sign(one, TRUSTED))
    here, notes = place.build(TRUSTED)
    assert ([False, True], there.digest) == (fetched(here), here.digest)
    assert "an entry that no trusted key signed" in notes[0]


def test_the_entry_of_another_derivation(place: Place) -> None:
    there = place.share()
    one, two = record_of(there, 0), record_of(there, 1)
    put_entry(place, two, sign(two, TRUSTED), tag=tag_of(one))
    here, notes = place.build(TRUSTED)
    assert ([False, True], there.digest) == (fetched(here), here.digest)
    assert "the entry of another derivation" in notes[0]


def test_a_layer_that_does_not_unpack_to_what_was_signed(place: Place) -> None:
    there = place.share()
    wrong = evolve(record_of(there), diff_id=Digest.of(b"another tar"))
    put_entry(place, wrong, sign(wrong, TRUSTED))
    here, notes = place.build(TRUSTED)
    assert ([False, True], there.digest) == (fetched(here), here.digest)
    assert "diffID: expected" in notes[0]


@pytest.mark.parametrize(
    ("config", "media_type", "said"),
    [
        (b"{}", RECORD, "expected answers, derivation, diffID, encoder"),
        (b"no JSON", RECORD, "not a record of a cache"),
        (b'{"answers":"","derivation":1,"encoder":"","diffID":""}', RECORD, "expected strings"),
        (b"{}", oci.CONFIG, "expected an entry of a cache, found another image"),
    ],
)
def test_what_is_no_entry(place: Place, config: bytes, media_type: str, said: str) -> None:
    there = place.share()
    record = record_of(there)
    put_entry(place, record, sign(record, TRUSTED), config=config, media_type=media_type)
    here, notes = place.build(TRUSTED)
    assert ([False, True], there.digest) == (fetched(here), here.digest)
    assert said in notes[0]


@pytest.mark.parametrize("damage", ["flipped", "short", "gone"])
def test_bytes_that_the_registry_lost_or_changed(place: Place, damage: str, tmp_path: Path) -> None:
    with distribution.serve(tmp_path) as own:
        place = evolve(place, registry=own)
        there = place.share()
        digest = there.layers[0].blob.digest.hex
        path = tmp_path / "blobs/docker/registry/v2/blobs/sha256" / digest[:2] / digest / "data"
        data = path.read_bytes()
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(
                data[:-1] if damage == "short" else data[:40] + bytes([data[40] ^ 1]) + data[41:]
            )
        here, notes = place.build(TRUSTED)
    assert ([False, True], there.digest) == (fetched(here), here.digest)
    assert 1 == len(notes)


def test_a_record_without_end_is_cut_off_whoever_signed_it(place: Place) -> None:
    fake, floods = FakeRegistry(), [Flood(), Flood()]
    with fake.serve() as host:
        at_fake = evolve(place, registry=Distribution(host))
        there = at_fake.share(STRANGER)
        one = record_of(there)
        with at_fake.client() as client:
            _, entry = client.manifest(tag_of(one))
        record = oci.decode_manifest(entry, "entry").config.digest
        for flood in floods:
            fake.plan("GET", str(record), Answer(pieces=flood))
        here, notes = at_fake.build(TRUSTED)
    assert there.digest == here.digest
    assert "expected sha256:" in "".join(notes)
    assert [True, True] == [flood.was_cut for flood in floods]


def test_verify_exposes_a_cache_that_lies(place: Place) -> None:
    there = place.share()
    one, two = record_of(there, 0), record_of(there, 1)
    # Whoever is trusted says that one layer is the other: nothing in the bytes speaks against it.
    lie = evolve(two, diff_id=one.diff_id, blob=one.blob)
    put_entry(place, lie, sign(lie, TRUSTED))
    here, notes = place.build(TRUSTED)
    assert ([True, True], []) == (fetched(here), notes)
    assert there.digest != here.digest
    _, differences = verify(place.spec, here.store, config=CONFIG)
    assert 'layer "two": diffID' in str(differences[0])


# What is asked for


def test_sharing_needs_a_key(place: Place) -> None:
    with pytest.raises(SpecError, match="there is no such key; run `immutable key generate NAME`"):
        immutable.build(place.spec, MemoryStore(), config=place.config(), cache_to=place.cache)


@pytest.mark.parametrize(
    "reference",
    ["oci:dir", "name", "docker://127.0.0.1:5000/name:tag", f"docker://h.test/n@{Digest.of(b'')}"],
)
def test_what_is_no_cache(reference: str) -> None:
    with pytest.raises(TransportError, match="expected a cache like docker://HOST/NAME"):
        RemoteCache.parse(reference, CONFIG)
