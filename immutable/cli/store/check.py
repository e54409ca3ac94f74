"""``store check``: look for damage in the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from immutable.cli import output
from immutable.cli.options import Command
from immutable.cli.shell import Shell, pass_shell
from immutable.cli.statuses import FOUND
from immutable.store.reports import check_document

if TYPE_CHECKING:
    from immutable.store.faults import Fault


@click.command(cls=Command)
@click.option("--repair", "repairs", is_flag=True, help="Put right what can be.")
@click.option("--quick", is_flag=True, help="Read all blobs, but decompress none.")
@pass_shell
def check(shell: Shell, repairs: bool, quick: bool) -> int:
    """Look for damage in the store.

    Every blob is read, and every name and record is compared with what it stands for. With
    --repair, what is damaged is moved into the store's folder "damaged", and what the store can
    tell is put right; the images that have to be built again are named.

    Exit status: 0 nothing was found, 3 something was, repaired or not.
    """
    from immutable.store.check import check as look
    from immutable.store.repair import repair

    config = shell.config()
    with shell.watching() as progress:
        found = look(config.store, deep=not quick, jobs=config.jobs, progress=progress)
        left = found
        if repairs:
            left = repair(config.store, found, deep=not quick, jobs=config.jobs, progress=progress)
    if shell.json:
        output.say_json(check_document(str(config.store), found, left))
    else:
        output.say(_text(str(config.store), found, left, repaired=repairs))
    return FOUND if found else 0


def _text(store: str, found: Sequence[Fault], left: Sequence[Fault], *, repaired: bool) -> str:
    if not found:
        return f"{store}: whole"
    shown = left if repaired else found
    lines = [f"{fault}\n  {fault.hint}" for fault in shown]
    if repaired:
        lines.append(f"{output.plural(len(found), 'fault')} found, {len(left)} left")
    else:
        can = sum(fault.repairable for fault in found)
        lines.append(f"{output.plural(len(found), 'fault')} found; --repair can put {can} right")
    return "\n".join(lines)
