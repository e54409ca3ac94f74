"""``inspect``: one image with its manifests, configs and layers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from immutable.cli import output
from immutable.cli.completers import complete_images
from immutable.cli.options import RegistryCommand
from immutable.cli.shell import Shell, pass_shell
from immutable.errors import ImageNotFound
from immutable.redact import redact_document
from immutable.store import AbstractStore


@click.command(cls=RegistryCommand)
@click.argument("reference", metavar="REF", shell_complete=complete_images)
@pass_shell
def inspect(shell: Shell, reference: str) -> None:
    """Show an image's manifests, config and layers.

    REF is a name in the store (NAME, NAME:TAG, NAME@3 for a generation, NAME@sha256:…), a
    digest (sha256:…), or an image elsewhere: oci:DIR[:REF], oci-archive:FILE,
    docker-archive:FILE, docker-daemon:NAME:TAG, docker://HOST/NAME:TAG.
    """
    from immutable.explain.inspect import inspect as inspect_image
    from immutable.explain.inspect import inspected_document

    config = shell.config()
    with shell.look_into_store(config) as store:
        _expect_image(reference, store)
        found = inspect_image(reference, store, registries=config.registries)
    document = _redacted(inspected_document(found))
    if shell.json:
        output.say_json(document, verbatim=True)
    else:
        output.say(_text(document), verbatim=True)


def _expect_image(reference: str, store: AbstractStore) -> None:
    """Raise ImageNotFound, saying what to write, for a file's path that is no reference."""
    path = Path(reference)
    if reference in {image.name for image in store.images()} or not path.exists():
        return
    if reference.endswith(".toml"):
        advice = f"`immutable build {reference}` builds the image of a spec and says its name"
    elif path.is_dir():
        advice = f"for the image in a layout write oci:{reference}"
    else:
        advice = f"for the image in a file write oci-archive:{reference} or docker-archive:…"
    raise ImageNotFound(f"{reference}: no such image in the store, but a file; {advice}")


def _redacted(document: dict[str, Any]) -> dict[str, Any]:
    """Return an image's document redacted, but for its content: how it is run, and annotations."""
    redacted: dict[str, Any] = redact_document(document)
    for shown, platform in zip(redacted["platforms"], document["platforms"], strict=True):
        shown["annotations"] = platform["annotations"]
        run = (platform["config"] or {}).get("config")
        if run is not None:
            shown["config"]["config"] = run
    return redacted


def _text(document: dict[str, Any]) -> str:
    head = [
        ("name", document["name"]),
        ("digest", document["digest"]),
        ("media type", document["media_type"]),
        ("size", output.size(document["size"])),
    ]
    if document["generation"] is not None:
        head.append(("generation", f"{document['generation']} of {document['created']}"))
    if document["tags"]:
        head.append(("tags", ", ".join(document["tags"])))
    return "\n".join([output.fields(head), *map(_platform_text, document["platforms"])])


def _platform_text(platform: dict[str, Any]) -> str:
    lines = [f"\n{platform['platform'] or 'no platform'}  {platform['digest']}"]
    pairs = [*_config_fields(platform["config"] or {})]
    pairs.append(("annotations", [f"{k}={v}" for k, v in platform["annotations"].items()]))
    lines.append(output.fields([pair for pair in pairs if pair[1]], indent="  "))
    rows = [
        (layer["digest"], output.size(layer["size"]), _origin(layer))
        for layer in platform["layers"]
    ]
    lines.append("  layers" if rows else "  no layers")
    if rows:
        lines.append(output.table(rows, right={1}, indent="    "))
    return "\n".join(line for line in lines if line)


def _origin(layer: dict[str, Any]) -> str:
    """Return what made a layer, its digests shortened, or else the layer's media type."""
    made_by = layer["created_by"] or layer["media_type"]
    return re.sub(r"sha256:([0-9a-f]{12})[0-9a-f]{52}", r"\1", made_by)


def _config_fields(config: dict[str, Any]) -> Iterator[tuple[str, str | Sequence[str]]]:
    """Yield what a config says of how the image is run, as names and lines."""
    run = config.get("config") or {}
    yield "created", str(config.get("created") or "")
    yield "user", run.get("User") or ""
    yield "workdir", run.get("WorkingDir") or ""
    for name, key in (("entrypoint", "Entrypoint"), ("cmd", "Cmd")):
        yield name, json.dumps(run[key], ensure_ascii=False) if run.get(key) else ""
    yield "env", run.get("Env") or ()
    yield "ports", ", ".join(sorted(run.get("ExposedPorts") or ()))
    yield "volumes", ", ".join(sorted(run.get("Volumes") or ()))
    yield "labels", [f"{k}={v}" for k, v in sorted((run.get("Labels") or {}).items())]
    yield "stop signal", run.get("StopSignal") or ""
    test = (run.get("Healthcheck") or {}).get("Test")
    yield "healthcheck", json.dumps(test, ensure_ascii=False) if test else ""
