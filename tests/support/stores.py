"""Stores to test with, and what goes into them."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import immutable
from immutable.derivation import Realisation
from immutable.digest import Digest
from immutable.oci import CONFIG, MANIFEST, REF_NAME, Descriptor, Manifest
from immutable.store import AbstractStore

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


def realisation(blob: Descriptor, derivation: bytes = b"d", encoder: str = "gzip") -> Realisation:
    return Realisation(Digest.of(derivation), encoder, Digest.of(b"tar"), blob)
