"""``store``: the store itself, and its health."""

from __future__ import annotations

import click

from immutable.cli.options import Group


@click.group(cls=Group, package=__name__, names=("info", "check"))
def store() -> None:
    """Look after the store."""
