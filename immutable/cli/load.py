"""``load``: what comes into the store by file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from attrs import frozen

from immutable.cli import output
from immutable.cli.completers import complete_files, complete_images
from immutable.cli.options import Command
from immutable.cli.params import parse_name, replace_option
from immutable.cli.shell import Shell, pass_shell
from immutable.cli.stored import kept, kept_text
from immutable.errors import TransportError
from immutable.oci.tags import LATEST, NO_VERSION, is_tag
from immutable.reference.grammar import is_repository
from immutable.reference.store import Reference
from immutable.store import AbstractStore
from immutable.store.reports import kept_document

if TYPE_CHECKING:
    from immutable import transports
    from immutable.progress import Progress
    from immutable.transports.contents import Held


@click.command(cls=Command)
@click.argument("source", metavar="SRC", shell_complete=complete_files)
@click.argument(
    "under",
    metavar="[NAME[:TAG]]",
    required=False,
    callback=parse_name,
    shell_complete=complete_images,
)
@replace_option
@pass_shell
def load(shell: Shell, source: str, under: Reference | None, replace_tag: bool) -> None:
    """Load all images of an archive or a layout into the store.

    SRC is a path: what `docker save`, `immutable` or another OCI tool wrote, in a file or a
    folder; or oci:DIR[:REF], oci-archive:FILE[:REF] or docker-archive:FILE[:NAME:TAG]. Each image
    becomes the newest generation of its own name, without a host, and keeps its tags; but for
    `latest`, which names no version. A single image can be given the NAME.

    A tag of the store that is on another image stays there, and nothing is loaded. The JSON is an
    array of objects with name, generation, tags, digest and media_type. With --quiet only digests
    are printed, one a line.
    """
    from immutable.transports import contents

    with shell.open_store() as store, store.lease(), shell.watching() as progress:
        with contents.opened(source, store) as held:
            wanted = _wanted(source, held, under, progress)
            if not replace_tag:
                for one in wanted:
                    store.expect_tags(one.name, one.tags, one.image.root.digest)
            for one in wanted:
                one.keep(store, progress, replace_tag=replace_tag)
        documents = [kept_document(kept(store, one.name, one.image.root)) for one in wanted]
    if shell.json:
        output.say_json(documents)
    elif shell.quiet:
        output.say("\n".join(dict.fromkeys(str(one.image.root.digest) for one in wanted)))
    else:
        lines = [kept_text(one.name, one.tags, one.image.root) for one in wanted]
        output.say("\n".join(lines))


@frozen
class _Wanted:
    """An image that is to be loaded, and what it is to be called."""

    name: str
    tags: tuple[str, ...]
    image: transports.GatheredImage

    def keep(self, store: AbstractStore, progress: Progress, *, replace_tag: bool) -> None:
        """Put it into `store`."""
        from immutable.transports.store import StoreImage

        place = StoreImage(self.name, store, also=self.tags, replace_tag=replace_tag)
        place.receive(self.image, progress)


def _wanted(
    source: str, held: Sequence[Held], under: Reference | None, progress: Progress
) -> list[_Wanted]:
    """Return what to load, each name of each image once; raise TransportError."""
    from immutable.transports.tree import gather

    if not held:
        raise TransportError(f"{source}: expected an image, found none")
    if under is not None and len(held) > 1:
        raise TransportError(f"{source}: expected one image to call {under}, found {len(held)}")
    found = []
    for one in held:
        image = gather(one.source)
        for name, tags in _names(one, under, progress).items():
            found.append(_Wanted(name, tags, image))
    _expect_once(source, found)
    return found


def _names(held: Held, under: Reference | None, progress: Progress) -> dict[str, tuple[str, ...]]:
    """Return the names for an image, each with its tags."""
    where = f"{held.source.where}: {held.source.root.digest}"
    tags: dict[str, list[str]] = {} if under is None else {under.name: []}
    for called in held.called:
        name = called.name if under is None else under.name
        own = tags.setdefault(name, [])
        if called.tag == LATEST:
            progress.note(f"{where}: {NO_VERSION}; kept as {name} without a tag")
        elif called.tag and called.tag not in own:
            own.append(called.tag)
    if under is not None and under.tag is not None:
        tags = {under.name: [under.tag]}
    if not tags:
        raise TransportError(
            f"{where}: the image has no name; give it one: immutable load SRC NAME[:TAG]"
        )
    for name, own in tags.items():
        if not is_repository(name) or not all(map(is_tag, own)):
            raise TransportError(
                f"{where}: called {name!r}, which no image can be called in a store; give it "
                "another name: immutable load SRC NAME[:TAG]"
            )
    return {name: tuple(own) for name, own in tags.items()}


def _expect_once(source: str, wanted: Sequence[_Wanted]) -> None:
    """Raise TransportError if two images are to have one tag."""
    seen: dict[tuple[str, str], _Wanted] = {}
    for one in wanted:
        for tag_ in one.tags:
            other = seen.setdefault((one.name, tag_), one)
            if other.image.root.digest != one.image.root.digest:
                raise TransportError(
                    f"{source}: two images are called {one.name}:{tag_}: "
                    f"{other.image.root.digest} and {one.image.root.digest}"
                )
