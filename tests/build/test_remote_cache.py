"""The remote cache: what one machine has built, another fetches, if it trusts who says so."""

from __future__ import annotations

import base64
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen

import immutable
from immutable.attest.signing import sign
from immutable.build.cache_entries import RECORD, SIGNATURES, tag_of
from immutable.build.remote_cache import RemoteCache
from immutable.build.results import Image
from immutable.build.verify import verify
from immutable.config import Config, Keys, Registries
from immutable.content.compression import encoder
from immutable.errors import SpecError, TransportError
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Manifest
from immutable.spec.derivation import NO_ANSWERS, Realisation
from immutable.spec.keys import SecretKey
from immutable.store import AbstractStore
from immutable.store.memory import MemoryStore
from immutable.transports.registry.client import Client
from tests.support import distribution, needs, specs
from tests.support.command import PATIENCE, Shell
from tests.support.distribution import Distribution
from tests.support.progress import Notes
from tests.support.registry import Answer, Asked, FakeRegistry, Flood
from tests.support.specs import CONFIG

pytestmark = [pytest.mark.tools, needs.tool("docker-registry")]

PROMPT = 10.0  # seconds from an interrupt to the end, on a busy machine
TRUSTED, STRANGER = SecretKey.generate("ci"), SecretKey.generate("stranger")


@frozen
class Place:
    """A spec of two layers, and a cache of its own for them."""

    folder: Path
    registry: Distribution
    repository: str

    @property
    def spec(self) -> Path:
        return self.folder / "web.toml"

    @property
    def cache(self) -> RemoteCache:
        parsed = RemoteCache.parse(f"docker://{self.registry.host}/{self.repository}", CONFIG)
        return RemoteCache(evolve(parsed.place, sleep=lambda _: None))

    def config(self, *trusted: SecretKey) -> Config:
        nowhere = self.folder / "nowhere"
        named = tuple(key.public for key in trusted)
        return evolve(CONFIG, keys=Keys(nowhere, nowhere, named))

    def share(self, key: SecretKey = TRUSTED, store: AbstractStore | None = None) -> Image:
        """Build as a machine does that has a key."""
        own = self.folder / "keys"
        own.mkdir(exist_ok=True)
        path = own / "secret-key"
        path.touch(0o600)
        path.write_text(key.reveal())
        config = evolve(CONFIG, keys=Keys(path, self.folder / "nowhere"))
        made = MemoryStore() if store is None else store
        return immutable.build(self.spec, made, config=config, cache_to=self.cache)

    def build(self, *trusted: SecretKey) -> tuple[Image, list[str]]:
        """Build as another machine does; return what it was told too."""
        notes = Notes()
        image = immutable.build(
            self.spec,
            MemoryStore(),
            config=self.config(*trusted),
            cache_from=[self.cache],
            progress=notes,
        )
        return image, notes.notes

    def client(self) -> Any:
        return Client.connect(
            self.registry.host, self.repository, Registries(), actions="pull,push"
        )


@pytest.fixture
def place(tmp_path: Path, registry: Distribution) -> Place:
    for name in ("one", "two"):
        specs.fill(tmp_path / name, {f"{name}.txt": name * 5000})
    text = "".join(
        specs.layer("files", name, source=name, target=f"/{name}") for name in ("one", "two")
    )
    specs.write(tmp_path, text)
    return Place(tmp_path, registry, f"cache/{tmp_path.name.replace('_', '-').lower()}")


def fetched(image: Image) -> list[bool]:
    """For each layer, whether it came from elsewhere: what is packed here leaves chunks."""
    if image.store.info().chunks == 0:
        assert all(layer.cached for layer in image.layers)
    return [layer.cached for layer in image.layers]


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


def record_of(image: Image, number: int = 0) -> Realisation:
    layer = image.layers[number]
    # Neither has anything beneath that it meets.
    return Realisation(layer.derivation, NO_ANSWERS, encoder("gzip").key, layer.diff_id, layer.blob)


def put_entry(
    place: Place,
    record: Realisation,
    signature: bytes | None,
    *,
    tag: str = "",
    blob: Descriptor | None = None,
    config: bytes | None = None,
    media_type: str = RECORD,
) -> None:
    """Put an entry as anybody may who can write to the registry."""
    with place.client() as client:
        data = config or canonical.encode(
            {
                "derivation": str(record.derivation),
                "answers": str(record.answers),
                "encoder": record.encoder,
                "diffID": str(record.diff_id),
            }
        )
        described = Descriptor(media_type, Digest.of(data), len(data))
        store = MemoryStore()
        store.put_blob(data)
        from immutable.build.remote_cache import _Blobs

        client.upload(_Blobs("test", store, {}), described)
        signatures = {}
        if signature is not None:
            signatures = {SIGNATURES: f"ci:{base64.b64encode(signature).decode()}"}
        manifest = Manifest(described, (blob or record.blob,), signatures).encode()
        client.put_manifest(
            Descriptor(oci.MANIFEST, Digest.of(manifest), len(manifest)),
            manifest,
            tag or tag_of(record),
        )


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
    lie = evolve(one, diff_id=two.diff_id, blob=two.blob)
    put_entry(place, lie, sign(lie, TRUSTED))
    here, notes = place.build(TRUSTED)
    assert ([True, True], []) == (fetched(here), notes)
    assert there.digest != here.digest
    _, differences = verify(place.spec, here.store, config=CONFIG)
    assert 'layer "one": diffID' in str(differences[0])


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
