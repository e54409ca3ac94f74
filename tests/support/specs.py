"""Specs written to a folder, built, and looked into."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

import immutable
from immutable.build.results import BuiltLayer, Image
from immutable.config import Config
from immutable.content import tar
from immutable.content.archives.decompress import open_stream
from immutable.content.entries import Entry, EntryKind, Inline
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, ImageConfig, Index, Manifest
from immutable.oci.platforms import Platform
from immutable.store import AbstractStore, Store
from immutable.store.layout import Layout
from tests.support.archives import gzipped
from tests.support.entries import content

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
CONFIG = Config(Path("/nonexistent"), Path("/nonexistent"), jobs=2, machine="x86_64")


def write(folder: Path, text: str, name: str = "web.toml", *, image: str = "") -> Path:
    """Write a spec of the image ``test/<name>``; `image` is more for its ``[image]`` table."""
    head = f'spec-version = 1\n[image]\nname = "test/{Path(name).stem}"\n'
    if "platforms" not in image:
        head += 'platforms = ["linux/amd64"]\n'
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"{head}{image}\n{text}\n")
    return path


def layer(kind: str, name: str = "app", **options: Any) -> str:
    """Return a ``[[layer]]`` table; underscores in keys stand for dashes, ``from_`` for from."""
    lines = ["[[layer]]", f'name = "{name}"', f'kind = "{kind}"']
    for key, value in options.items():
        lines.append(f"{key.strip('_').replace('_', '-')} = {toml(value)}")
    return "\n".join(lines) + "\n"


def toml(value: Any) -> str:
    """Return a value as TOML writes it inline."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case dict():
            return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False)


def fill(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write `files` below `folder`, old enough for times to tell a change."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return folder


def build(spec: Path, store: AbstractStore, **options: Any) -> Image:
    """Build as `immutable.build` does, with settings that look at nothing on this machine."""
    return immutable.build(spec, store, **{"config": CONFIG, **options})


def contents(store: AbstractStore, built: BuiltLayer) -> dict[str, Entry]:
    """Return a layer's entries by path, with their contents; checks the blob and the diffID."""
    hasher = hashlib.sha256()
    with store.verified(built.blob.digest, built.blob.size) as raw:
        stream = open_stream(raw, name="layer")
        while piece := stream.read(1 << 16):
            hasher.update(piece)
    assert built.diff_id.hex == hasher.hexdigest()
    found = {}
    with store.verified(built.blob.digest, built.blob.size) as raw:
        for member in tar.read(open_stream(raw, name="layer"), name="layer"):
            entry = member.entry
            if entry.kind is EntryKind.FILE:
                entry = evolve(entry, content=Inline(member.read()))
            found[entry.path.decode("utf-8", "surrogateescape")] = entry
    return found


def text(entry: Entry) -> str:
    """Return a file's content."""
    return content(entry).decode()


def attributes(entries: Mapping[str, Entry]) -> dict[str, tuple[int, int, int]]:
    """Return path → (mode, uid, gid)."""
    return {path: (entry.mode, entry.uid, entry.gid) for path, entry in entries.items()}


@frozen
class State:
    """All that a store holds, to compare before and after."""

    files: Mapping[str, bytes]
    info: object
    references: Mapping[str, Descriptor]

    @classmethod
    def of(cls, store: Store) -> State:
        """Return what `store` holds now; the database counts by what it says."""
        from tests.support.stores import tree

        assert store.root is not None
        return cls(tree(store.root), store.info(), store.references())


_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    oci.LAYER: bytes,
    oci.LAYER_GZIP: gzipped,
}


def layout_image(
    layout: Layout,
    *tars: bytes,
    name: str | None = None,
    media_type: str = oci.LAYER_GZIP,
    platform: Platform = AMD64,
    packed: Callable[[bytes], bytes] | None = None,
    diff_ids: tuple[Digest, ...] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Descriptor:
    """Put an image with `tars` as its layers into `layout`, under `name` if one is given."""
    pack = packed or _PACKERS[oci.family(media_type)]
    layers = []
    for data in tars:
        blob = pack(data)
        layers.append(Descriptor(media_type, layout.put(blob), len(blob)))
    made = ImageConfig(
        platform,
        "1970-01-01T00:00:00Z",
        tuple(map(Digest.of, tars)) if diff_ids is None else diff_ids,
        oci.Execution(**({"env": ("PATH=/bin", "A=base"), "cmd": ("sh",)} | dict(config or {}))),
        tuple(oci.History("1970-01-01T00:00:00Z", f"base {n}") for n in range(len(tars))),
    ).encode()
    manifest = Manifest(Descriptor(oci.CONFIG, layout.put(made), len(made)), tuple(layers)).encode()
    root = Descriptor(oci.MANIFEST, layout.put(manifest), len(manifest), platform=platform)
    if name is not None:
        publish(layout, name, root)
    return root


def layout_index(layout: Layout, name: str, *images: Descriptor) -> Descriptor:
    """Put an index over `images` into `layout`."""
    data = Index(images).encode()
    root = Descriptor(oci.INDEX, layout.put(data), len(data))
    publish(layout, name, root)
    return root


def publish(layout: Layout, name: str, root: Descriptor) -> None:
    """Make `name` mean `root` in `layout`."""
    named = evolve(root, annotations={oci.REF_NAME: name})

    def change(index: Index) -> Index:
        others = [d for d in index.manifests if dict(d.annotations).get(oci.REF_NAME) != name]
        return evolve(index, manifests=(*others, named))

    layout.update_index(change)
