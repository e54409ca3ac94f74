"""Stores to test with, and what goes into them."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import immutable
from immutable.build.pack import pack
from immutable.content import compression as encode
from immutable.content.entries import Entry, EntryKind, Inline, arrange
from immutable.oci.digest import Digest
from immutable.oci.documents import CONFIG, MANIFEST, REF_NAME, Descriptor, ImageConfig, Manifest
from immutable.oci.platforms import Platform
from immutable.spec.derivation import NO_ANSWERS, Realisation
from immutable.store import AbstractStore

AMD64 = Platform("linux", "amd64")
CREATED = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)


def manifest(store: AbstractStore, name: str) -> Descriptor:
    """Put a manifest that is different for each `name`."""
    data = Manifest(
        Descriptor(CONFIG, Digest.of(b"{}"), 2), (), annotations={"name": name}
    ).encode()
    return Descriptor(MANIFEST, store.put_blob(data), len(data))


def commit(store: AbstractStore, name: str, what: str, *tags: str) -> Descriptor:
    descriptor = manifest(store, what)
    store.commit_generation(name, descriptor, tags=tags, created=CREATED)
    return descriptor


def image(
    store: AbstractStore,
    name: str,
    *texts: bytes,
    tags: Sequence[str] = (),
    encoder: str = "gzip",
    recorded: bool = True,
) -> Descriptor:
    """Build an image of a layer for each of `texts`, and commit it; `recorded` as a build does."""
    layers = [layer(store, text, encoder, recorded=recorded) for text in texts]
    config = ImageConfig(AMD64, "1970-01-01T00:00:00Z", tuple(one.diff_id for one in layers))
    data = config.encode()
    document = Manifest(
        Descriptor(CONFIG, store.put_blob(data), len(data)),
        tuple(one.blob for one in layers),
        {"name": name},
    ).encode()
    descriptor = Descriptor(MANIFEST, store.put_blob(document), len(document))
    store.commit_generation(name, descriptor, tags=tags, created=CREATED)
    return descriptor


def layer(
    store: AbstractStore, text: bytes, encoder: str = "gzip", *, recorded: bool = True
) -> Realisation:
    """Make a layer of one file, as a build does."""
    chosen = encode.encoder(encoder)
    arrangement = arrange([[Entry(b"file", EntryKind.FILE, 0o644, content=Inline(text))]], mtime=0)
    with ThreadPoolExecutor(1) as pool:
        diff_id, blob = pack(arrangement, chosen, store, pool, jobs=1)
    made = Realisation(Digest.of(b"derivation of " + text), NO_ANSWERS, chosen.key, diff_id, blob)
    if recorded:
        store.record_realisation(made)
    return made


def index_names(root: Path) -> dict[str, str]:
    entries = json.loads((root / "index.json").read_bytes())["manifests"]
    assert len(entries) == len({entry["annotations"][REF_NAME] for entry in entries})
    return {entry["annotations"][REF_NAME]: entry["digest"] for entry in entries}


def tree(path: Path) -> dict[str, bytes]:
    """Every file but the database, which may be rewritten without a change in what it says."""
    return {
        str(item.relative_to(path)): item.read_bytes()
        for item in sorted(path.rglob("*"))
        if item.is_file() and not item.name.startswith("immutable.db")
    }


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(immutable.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )


def realisation(
    blob: Descriptor,
    derivation: bytes = b"d",
    encoder: str = "gzip",
    answers: Digest = NO_ANSWERS,
) -> Realisation:
    return Realisation(Digest.of(derivation), answers, encoder, Digest.of(b"tar"), blob)
