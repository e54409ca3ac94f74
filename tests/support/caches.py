"""A spec, and a cache that machines share its layers through."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

import immutable
from immutable.attest.signing import Statement
from immutable.build import cache_entries as entries
from immutable.build.cache_entries import SIGNATURES
from immutable.build.remote_cache import RemoteCache, _Blobs
from immutable.build.results import Image
from immutable.config import Config, Keys, Registries
from immutable.content.compression import encoder
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Manifest
from immutable.spec.derivation import NO_ANSWERS, Realisation
from immutable.spec.keys import SecretKey
from immutable.store import AbstractStore
from immutable.store.memory import MemoryStore
from immutable.transports.registry.client import Client
from tests.support.distribution import Distribution
from tests.support.progress import Notes
from tests.support.specs import CONFIG

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


def fetched(image: Image) -> list[bool]:
    """For each layer, whether it came from elsewhere: what is packed here leaves chunks."""
    if image.store.info().chunks == 0:
        assert all(layer.cached for layer in image.layers)
    return [layer.cached for layer in image.layers]


def record_of(image: Image, number: int = 0) -> Realisation:
    layer = image.layers[number]
    # Neither has anything beneath that it meets.
    return Realisation(layer.derivation, NO_ANSWERS, encoder("gzip").key, layer.diff_id, layer.blob)


def put_entry(
    place: Place,
    statement: Statement,
    signature: bytes | None,
    *,
    tag: str = "",
    config: bytes = b"",
    media_type: str = "",
    data: bytes = b"",
) -> None:
    """Put an entry as anybody may who can write to the registry; `data` is a blob to go with it."""
    described, record = entries.record(statement)
    if config:
        record = config
        described = Descriptor(described.media_type, Digest.of(record), len(record))
    described = evolve(described, media_type=media_type or described.media_type)
    signatures = {}
    if signature is not None:
        signatures = {SIGNATURES: f"ci:{base64.b64encode(signature).decode()}"}
    manifest = Manifest(described, (statement.blob,), signatures).encode()
    with place.client() as client:
        documents = {described.digest: record, Digest.of(data): data}
        blobs = _Blobs("test", MemoryStore(), documents)
        client.upload(blobs, described)
        if data:
            client.upload(blobs, Descriptor("", Digest.of(data), len(data)))
        client.put_manifest(
            Descriptor(oci.MANIFEST, Digest.of(manifest), len(manifest)),
            manifest,
            tag or entries.tag_of(statement),
        )
