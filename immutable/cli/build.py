"""``build``: the images of specs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from immutable.cli import output
from immutable.cli.completers import complete_files
from immutable.cli.options import RegistryCommand
from immutable.cli.params import load_spec, parse_platforms, parse_tags, replace_option
from immutable.cli.shell import Shell, pass_shell
from immutable.oci.platforms import Platform
from immutable.reference.grammar import is_repository
from immutable.spec.document import Spec
from immutable.transports import destinations

if TYPE_CHECKING:
    from immutable.build.remote_cache import RemoteCache
    from immutable.build.results import Image
    from immutable.config import Config
    from immutable.progress import Progress
    from immutable.store import AbstractStore


@click.command(cls=RegistryCommand)
@click.argument("specs", metavar="SPEC...", shell_complete=complete_files, nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="DEST",
    help="Also put the image there: oci:DIR[:REF], oci-archive:FILE[:REF], "
    "docker-archive:FILE[:NAME:TAG], docker-daemon:[NAME:TAG], docker://HOST[/NAME[:TAG]]. What "
    "is left out of the name is the image's own, with its first tag; in a registry, with all.",
)
@click.option(
    "-t",
    "--tag",
    "tags",
    callback=parse_tags,
    multiple=True,
    metavar="TAG",
    help="A tag beside the spec's.",
)
@click.option(
    "--platform",
    "platforms",
    callback=parse_platforms,
    multiple=True,
    metavar="PLATFORM",
    help="Build for this one, say linux/arm64, not for all that the spec names.",
)
@click.option("--offline", is_flag=True, help="Fetch nothing: what is missing is an error.")
@click.option(
    "--cache-from",
    "cache_from",
    multiple=True,
    metavar="CACHE",
    help="Fetch layers that docker://HOST/NAME has, signed by a trusted key, instead of building "
    "them.",
)
@click.option(
    "--cache-to",
    "cache_to",
    metavar="CACHE",
    help="Share the layers in docker://HOST/NAME, signed with this user's own key.",
)
@replace_option
@pass_shell
def build(
    shell: Shell,
    specs: tuple[str, ...],
    outputs: tuple[str, ...],
    tags: tuple[str, ...],
    platforms: tuple[Platform, ...],
    offline: bool,
    cache_from: tuple[str, ...],
    cache_to: str | None,
    replace_tag: bool,
) -> None:
    """Build the image of each SPEC.

    It becomes the newest generation of its name in the store, and is written to each DEST. Its
    tags move to it in the store, but not in a registry: there they stay on what they name.
    With --json the document is an object for one SPEC, and an array of such for several. With
    --quiet only the digests are printed, one a line.
    """
    from immutable.build.build import build as build_image
    from immutable.build.results import built_document

    if offline and (cache_from or cache_to):
        raise click.UsageError("--offline fetches nothing, and a cache is elsewhere")
    config = shell.config()
    caches, sharing = _caches(cache_from, cache_to, config)
    loaded = [load_spec(path) for path in specs]
    documents = []
    with shell.open_store(config) as store:
        _check_outputs(outputs, loaded, tags, store)
        for spec in loaded:
            with shell.watching() as progress:
                image = build_image(
                    spec,
                    store,
                    config=config,
                    platforms=platforms,
                    tags=tags,
                    offline=offline,
                    cache_from=caches,
                    cache_to=sharing,
                    progress=progress,
                )
                written = [
                    _deliver(image, output_, config, progress, replace_tag=replace_tag)
                    for output_ in outputs
                ]
            document = built_document(image, [one for places in written for one in places])
            documents.append(document)
            if not shell.json:
                output.say(document["digest"] if shell.quiet else _text(document))
                _say_how_to_run(shell, image, [places[0] for places in written])
    if shell.json:
        output.say_json(documents if len(specs) > 1 else documents[0])


def _caches(
    sources: Sequence[str], destination: str | None, config: Config
) -> tuple[list[RemoteCache], RemoteCache | None]:
    """Return the caches that the command line names."""
    if not sources and destination is None:
        return [], None
    from immutable.build.remote_cache import RemoteCache

    parsed = [RemoteCache.parse(source, config) for source in sources]
    return parsed, None if destination is None else RemoteCache.parse(destination, config)


def _check_outputs(
    outputs: Sequence[str], specs: Sequence[Spec], tags: Sequence[str], store: AbstractStore
) -> None:
    """Find out before any work that an image cannot go where it is to go."""
    from immutable.build.outputs import expect_distinct, expect_place

    places = []
    for destination in outputs:
        for spec in specs:
            tag = next(iter((*spec.image.tags, *tags)), None)
            # What git has to say comes later; any tag will do to see whether it is one.
            known = "0" if tag is not None and "{" in tag else tag
            place = destinations.check(destination, spec.image.name, known, store)
            expect_place(place, spec)
            places.append(place)
        if len(specs) > 1 and destinations.holds_one(destination):
            raise click.UsageError(
                f"-o {destination} takes one image; there are {len(specs)} specs. "
                "oci:DIR without a name holds them all."
            )
    expect_distinct(places)


def _deliver(
    image: Image, destination: str, config: Config, progress: Progress, *, replace_tag: bool
) -> tuple[str, ...]:
    """Copy a built image out of the store; return the whole references."""
    from immutable import transports
    from immutable.transports.store import StoreImage

    place = destinations.place(
        destination,
        image.name,
        image.tags,
        store=image.store,
        registries=config.registries,
        replace_tag=replace_tag,
    )
    source = StoreImage(f"{image.name}@{image.generation.number}", image.store)
    transports.copy(source, place, progress=progress)
    return destinations.references(place)


def _say_how_to_run(shell: Shell, image: Image, written: Sequence[str]) -> None:
    if shell.quiet:
        return
    for reference in written:
        output.say("".join(f"run it: {c}\n" for c in _how_to_run(reference, image)).rstrip())
    if not written:
        name = f"{image.name}:{next(iter(image.tags), 'TAG')}"
        shell.hint(f"to Docker: immutable copy {image.name} docker-daemon:{name}")


def _text(document: dict[str, Any]) -> str:
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


def _how_to_run(reference: str, image: Image) -> list[str]:
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
