"""What commands print of images and locks: the JSON documents, and the same as text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from immutable import transports
from immutable.build.lock import Change, Locked
from immutable.build.results import BuiltPlatform, Image
from immutable.build.verify import Difference
from immutable.cli import output
from immutable.oci.documents import Descriptor
from immutable.reference.grammar import is_repository
from immutable.store import AbstractStore
from immutable.transports.store import StoreSource
from immutable.transports.tree import gather


def built(image: Image, outputs: Sequence[str]) -> dict[str, Any]:
    """Return the JSON document of a build; its keys are a contract."""
    return {
        "name": image.name,
        "digest": str(image.digest),
        "media_type": image.descriptor.media_type,
        "size": stored_size(image.store, image.descriptor, image.name),
        "generation": image.generation.number,
        "tags": [*image.tags],
        "outputs": [*outputs],
        "platforms": [_platform(platform) for platform in image.platforms],
    }


def how_to_run(reference: str, image: Image) -> list[str]:
    """Return commands that run an image which was written to `reference`, one for an engine."""
    transport, _, place = reference.partition(":")
    ports = [port.partition("/")[0] for port in image.config.execution.exposed_ports]
    options = " ".join(["--rm", *(f"-p {port}:{port}" for port in ports)])
    if transport == "docker-daemon":
        return [f"docker run {options} {place}"]
    if transport == "docker":
        return [f"docker run {options} {place.removeprefix('//')}"]
    if transport == "docker-archive":
        path, _, name = place.partition(":")
        return [f"docker load -i {path} && docker run {options} {name}"] if name else []
    if transport not in ("oci", "oci-archive"):
        return []
    name = f"{image.name}:{next(iter(image.tags), 'TAG')}"
    podman = [f"podman run {options} {reference}"] if _podman_takes(transport, place) else []
    return [
        *podman,
        f"immutable copy {reference} docker-daemon:{name} && docker run {options} {name}",
    ]


def _podman_takes(transport: str, place: str) -> bool:
    """Whether podman can run it from there: of a layout's path it makes the image's name."""
    return transport != "oci" or is_repository(place.partition(":")[0].removeprefix("/"))


def _platform(platform: BuiltPlatform) -> dict[str, Any]:
    return {
        "platform": str(platform.platform),
        "digest": str(platform.image.descriptor.digest),
        "config": str(platform.manifest.config.digest),
        "layers": [
            {
                "name": layer.name,
                **({"part": layer.part} if layer.part else {}),
                "kind": layer.kind,
                "derivation": str(layer.derivation),
                "diff_id": str(layer.diff_id),
                "digest": str(layer.blob.digest),
                "size": layer.blob.size,
                "cached": layer.cached,
            }
            for layer in platform.layers
        ],
    }


def built_text(document: dict[str, Any]) -> str:
    """Return the text for a build's document."""
    tags = f" ({', '.join(document['tags'])})" if document["tags"] else ""
    size = output.size(document["size"])
    lines = [
        f"{document['name']}{tags}  generation {document['generation']}  {size}",
        document["digest"],
    ]
    for platform in document["platforms"]:
        lines.append(f"  {platform['platform']}")
        rows = [
            (
                " ".join(filter(None, (layer["name"], layer.get("part")))),
                layer["kind"],
                output.size(layer["size"]),
                "cached" if layer["cached"] else "built",
            )
            for layer in platform["layers"]
        ]
        if rows:
            lines.append(output.table(rows, right={2}, indent="    "))
    lines += [f"  → {place}" for place in document["outputs"]]
    return "\n".join(lines)


def locked(result: Locked) -> dict[str, Any]:
    """Return the JSON document of `lock`; a change without `old` was added, without `new` went."""
    return {
        "path": str(result.path),
        "written": result.written,
        "changes": [
            {
                "layer": change.layer,
                "name": change.name,
                "architecture": change.architecture,
                "old": change.old or None,
                "new": change.new or None,
            }
            for change in result.changes
        ],
    }


def locked_text(result: Locked, where: str) -> str:
    """Return what `lock` changed, a pin a line."""
    if not result.lock.layer and not result.written:
        return needs_no_lock(where)
    if not result.written:
        return f"{result.path}: up to date"
    count = output.plural(len(result.changes), "change")
    rows = [_change(change) for change in result.changes]
    head = f"{result.path}: written, {count}"
    return "\n".join([head, output.table(rows, indent="  ")] if rows else [head])


def needs_no_lock(where: str) -> str:
    """Return what there is to say of a spec without anything to pin."""
    return f"{where} takes nothing from outside; it needs no lock"


def _change(change: Change) -> tuple[str, str, str, str]:
    if not change.old:
        what = f"added    {change.new}"
    elif not change.new:
        what = f"removed  {change.old}"
    else:
        what = f"{change.old} → {change.new}"
    return change.layer, change.name, change.architecture, what


def verified(image: Image, found: Sequence[Difference]) -> dict[str, Any]:
    """Return the JSON document of `verify`."""
    return {
        "name": image.name,
        "digest": str(image.digest),
        "reproducible": not found,
        "differences": [
            {"place": one.place, "expected": one.expected, "actual": one.actual} for one in found
        ],
    }


def stored_size(store: AbstractStore, root: Descriptor, name: str) -> int:
    """Return the bytes of all that an image in the store is made of, each blob once."""
    return total_size(gather(StoreSource(name, root, store)))


def total_size(image: transports.GatheredImage) -> int:
    """Return the bytes of all that an image is made of, each blob once."""
    documents = sum(document.descriptor.size for document in image.documents)
    return documents + sum(blob.size for blob in image.blobs)


def utc(moment: datetime) -> str:
    """Return a time in UTC as RFC 3339 with whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
