"""``pull``: from a registry, or any other place, into the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from immutable.cli import output
from immutable.cli.completers import complete_images
from immutable.cli.digest_file import digest_option, digest_written
from immutable.cli.options import RegistryCommand
from immutable.cli.params import parse_name, platform_option, replace_option
from immutable.cli.shell import Shell, pass_shell
from immutable.cli.stored import kept, kept_text
from immutable.errors import TransportError
from immutable.oci.platforms import Platform
from immutable.oci.tags import LATEST, NO_VERSION
from immutable.reference.grammar import is_repository
from immutable.reference.store import Reference
from immutable.store import AbstractStore
from immutable.transports import destinations

if TYPE_CHECKING:
    from immutable.progress import Progress
    from immutable.transports import Transport


@click.command(cls=RegistryCommand)
@click.argument("source", metavar="SRC")
@click.argument(
    "under",
    metavar="[NAME[:TAG]]",
    required=False,
    callback=parse_name,
    shell_complete=complete_images,
)
@platform_option("Pull")
@replace_option
@digest_option
@pass_shell
def pull(
    shell: Shell,
    source: str,
    under: Reference | None,
    platform: Platform | None,
    replace_tag: bool,
    digest_file: Path | None,
) -> None:
    """Pull an image into the store.

    SRC is HOST[:PORT]/NAME:TAG or HOST[:PORT]/NAME@sha256:… in a registry, or any other place
    that `copy` knows. The image becomes the newest generation of NAME, by default its own name
    without the host, and keeps its tag; but for `latest`, which names no version.

    A tag of the store that is on another image stays there, and the image is not kept. The JSON
    has source, name, generation, tags, digest and media_type. With --quiet only the digest is
    printed.
    """
    from immutable import transports
    from immutable.transports.reports import pulled_document

    config = shell.config()
    with digest_written(digest_file) as written, shell.open_store(config) as store:
        taken = _source(source, store, shell)
        with shell.watching() as progress:
            name = _name_for(taken, under, progress)
            given = transports.parse(f"store:{name}", store=store, replace_tag=replace_tag)
            root = transports.copy(taken, given, platform=platform, progress=progress)
        written(root)
        generation = kept(store, name.name, root)
    if shell.json:
        output.say_json(pulled_document(str(taken), generation))
    elif shell.quiet:
        output.say(str(root.digest))
    else:
        output.say(kept_text(name.name, [name.tag] if name.tag else [], root))


def _source(source: str, store: AbstractStore, shell: Shell) -> Transport:
    """Return the place that `source` writes, where a bare name is one with a host."""
    from immutable import transports

    if not destinations.has_transport(source) and destinations.registry_name(source) is not None:
        source = destinations.in_registry(source)
    registries = shell.config().registries
    place = transports.parse(source, store=store, registries=registries)
    if str(place) == f"store:{source}":
        raise TransportError(
            f"{source}: expected HOST/NAME:TAG or TRANSPORT:…; a name without a host is in no "
            "registry"
        )
    return place


def _name_for(taken: Transport, under: Reference | None, progress: Progress) -> Reference:
    """Return the name to keep an image under; raise UsageError if nothing says which."""
    called = taken.called()
    if under is None and not is_repository(called.name):
        raise click.UsageError(f"{taken} does not say what to call the image; write NAME behind it")
    name = Reference(called.name) if under is None else under
    if name.tag is not None or not called.tag:
        return name
    if called.tag == LATEST:
        progress.note(f"{taken}: {NO_VERSION}; kept as {name} without a tag")
        return name
    return Reference(name.name, tag=called.tag)
