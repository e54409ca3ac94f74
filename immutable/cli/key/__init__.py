"""``key``: who vouches for layers that come from a remote cache."""

from __future__ import annotations

import click

from immutable.cli.options import Group


@click.group(cls=Group, package=__name__, names=("generate", "trust", "list"))
def key() -> None:
    """Keep the keys that vouch for layers in a remote cache."""
