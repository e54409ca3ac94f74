"""What a shell completes of a command's arguments."""

from __future__ import annotations

import threading

import click
from click.shell_completion import CompletionItem

from immutable.errors import ImmutableError


def complete_files(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete files and folders, as the user's shell does it."""
    return click.Path().shell_complete(ctx, param, incomplete)


def complete_images(
    ctx: click.Context,
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """Complete what has a name in the store."""
    from immutable.cli.shell import Shell

    shell = ctx.find_object(Shell) or Shell(threading.Event())
    try:
        with shell.look_into_store() as store:
            names = {*store.references(), *(image.name for image in store.images())}
    except ImmutableError:
        return []
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]
