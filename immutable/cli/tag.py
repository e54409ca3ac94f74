"""``tag``: what images of the store are called."""

from __future__ import annotations

import click

from immutable.cli import output
from immutable.cli.completers import complete_images
from immutable.cli.options import Command
from immutable.cli.params import parse_versions, replace_option
from immutable.cli.shell import Shell, pass_shell
from immutable.cli.stored import kept_text
from immutable.store.reports import kept_document


@click.command(cls=Command)
@click.argument("image", metavar="NAME[:TAG|@N|@sha256:…]", shell_complete=complete_images)
@click.argument("tags", metavar="TAG...", nargs=-1, required=True, callback=parse_versions)
@replace_option
@pass_shell
def tag(shell: Shell, image: str, tags: tuple[str, ...], replace_tag: bool) -> None:
    """Put tags on an image of the store.

    A tag that is on another image stays there; only `build` moves those that it is given. The
    JSON has name, generation, tags (all that the image has), digest and media_type.
    """
    from immutable.transports.store import named

    parsed = named(image)
    if parsed is None:
        raise click.UsageError(
            f"{image}: expected NAME, NAME:TAG, NAME@N or NAME@sha256:…, an image of the store"
        )
    with shell.open_store() as store:
        root = store.resolve(image)
        if not replace_tag:
            store.expect_tags(parsed.name, tags, root.digest)
        for one in tags:
            generation = store.tag(parsed.name, one, root.digest, replace=replace_tag)
    if shell.json:
        output.say_json(kept_document(generation))
    else:
        output.say(kept_text(parsed.name, tags, root))
