"""``policy``: what is done with a retention policy but to prune by it."""

from __future__ import annotations

import click

from immutable.cli.options import Group


@click.group(cls=Group, package=__name__, names=("export",))
def policy() -> None:
    """Work with retention policies."""
