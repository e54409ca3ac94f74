"""``lock``: pin what a spec takes from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from immutable.cli import output
from immutable.cli.completers import complete_files
from immutable.cli.options import RegistryCommand
from immutable.cli.params import load_spec
from immutable.cli.shell import Shell, pass_shell
from immutable.cli.statuses import FOUND
from immutable.spec.document import Spec

if TYPE_CHECKING:
    from immutable.build.lock import Change, Locked


class LockCommand(RegistryCommand):
    """The command whose ``--upgrade`` may have a value, but only one that is joined to it.

    Otherwise ``lock --upgrade web.toml`` would take the spec for a layer.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give a bare ``--upgrade`` the empty value."""
        end = args.index("--") if "--" in args else len(args)
        bare = ["--upgrade=" if arg == "--upgrade" else arg for arg in args[:end]]
        return super().parse_args(ctx, [*bare, *args[end:]])


@click.command(cls=LockCommand)
@click.argument("spec", metavar="SPEC", shell_complete=complete_files)
@click.argument("layers", metavar="[LAYER]...", nargs=-1)
@click.option(
    "--upgrade",
    multiple=True,
    metavar="[=LAYER]",
    help="Take the newest of everything, or only for the layers that are named.",
)
@click.option("--check", is_flag=True, help="Only say why the lock is stale; 3 if it is.")
@pass_shell
def lock(
    shell: Shell, spec: str, layers: tuple[str, ...], upgrade: tuple[str, ...], check: bool
) -> int:
    """Pin what SPEC takes from outside.

    It is resolved, and written with its digests into SPEC's .lock.toml; a build takes nothing
    else. Only what must change changes. SPEC always comes first; the layers to upgrade follow it:

    \b
      immutable lock web.toml --upgrade            everything
      immutable lock web.toml --upgrade runtime    one layer
      immutable lock --upgrade=runtime web.toml    the same
    """  # noqa: D301 - click's mark
    if layers and not upgrade:
        raise click.UsageError(f"a LAYER comes with --upgrade only; found {' '.join(layers)}")
    if check and upgrade:
        raise click.UsageError("--check changes nothing, so it cannot be had with --upgrade")
    loaded = load_spec(spec)
    if check:
        return _check_lock(shell, loaded)
    named = tuple(dict.fromkeys((*layers, *filter(None, upgrade))))
    return _lock(shell, loaded, named or bool(upgrade))


def _check_lock(shell: Shell, spec: Spec) -> int:
    from immutable.build.loading import load_lock, lock_path
    from immutable.build.lock import check as check_lock
    from immutable.build.lock import stale_document

    path = lock_path(spec)
    reasons = check_lock(spec, config=shell.config())
    if shell.json:
        output.say_json(stale_document(path, reasons))
    elif reasons:
        # A missing lock is told with its path already.
        lines = [r if r.startswith(str(path)) else f"{path}: stale: {r}" for r in reasons]
        output.say("\n".join(lines))
        shell.hint(f"run `immutable lock {spec.where}`")
    elif load_lock(spec) is None:
        output.say(_needs_no_lock(spec.where))
    else:
        output.say(f"{path}: up to date")
    return FOUND if reasons else 0


def _lock(shell: Shell, spec: Spec, upgrade: bool | tuple[str, ...]) -> int:
    from immutable.build.lock import lock as lock_spec
    from immutable.build.lock import locked_document

    config = shell.config()
    with shell.open_store(config) as store, shell.watching() as progress:
        locked = lock_spec(spec, store, config=config, upgrade=upgrade, progress=progress)
    if shell.json:
        output.say_json(locked_document(locked))
    elif not shell.quiet:
        output.say(_text(locked, spec.where))
    return 0


def _text(result: Locked, where: str) -> str:
    """Return what `lock` changed, a pin a line."""
    if not result.lock.layer and not result.written:
        return _needs_no_lock(where)
    if not result.written:
        return f"{result.path}: up to date"
    count = output.plural(len(result.changes), "change")
    rows = [_change(change) for change in result.changes]
    head = f"{result.path}: written, {count}"
    return "\n".join([head, output.table(rows, indent="  ")] if rows else [head])


def _needs_no_lock(where: str) -> str:
    """Return what there is to say of a spec without anything to pin."""
    return f"{where} takes nothing from outside; it needs no lock"


def _change(change: Change) -> tuple[str, str, str, str]:
    if not change.old:
        what = f"added    {change.new}"
    elif not change.new:
        what = f"removed  {change.old}"
    else:
        what = f"{change.old} → {change.new}"
    return change.layer, change.name, change.architecture, what
