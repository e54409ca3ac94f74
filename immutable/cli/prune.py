"""``prune``: let go of what a policy no longer keeps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from immutable.cli import output
from immutable.cli.completers import complete_images
from immutable.cli.options import RegistryCommand
from immutable.cli.shell import Shell, pass_shell

if TYPE_CHECKING:
    from immutable.lifecycle.prune import Pruned
    from immutable.lifecycle.retention import Deployed, Policy

_PLACES = ("docker://", "docker-daemon:")


@click.command(cls=RegistryCommand)
@click.argument("images", metavar="[IMAGES]...", nargs=-1, shell_complete=complete_images)
@click.option(
    "--policy",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What is kept, in TOML.",
)
@click.option(
    "--keep-last", type=click.IntRange(min=1), metavar="N", help="Without a FILE: the last N."
)
@click.option(
    "--keep-within", metavar="AGE", help="Without a FILE: what is at most so old, as 30d."
)
@click.option("--no-caches", is_flag=True, help="Let go of all layers and sources kept as caches.")
@click.option(
    "--delete-all-versions",
    is_flag=True,
    help="Delete also where the policy keeps no version of a name.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_shell
def prune(
    shell: Shell,
    images: tuple[str, ...],
    file: Path | None,
    keep_last: int | None,
    keep_within: str | None,
    no_caches: bool,
    delete_all_versions: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete what a policy no longer keeps.

    Each item is shown with the rule that keeps or expires it, and the bytes that go with it; on a
    terminal it asks before it deletes. IMAGES are names in the store, all by default; or one
    docker://HOST/NAME for a registry's repository; or docker-daemon: for the images of this
    project in the Docker engine. Without a policy no image goes, only what none needs.

    What has come to be needed since it was listed stays. A policy that would delete every version
    of a name is refused without --delete-all-versions.
    """
    from immutable.lifecycle.prune import plan, pruned_document

    asks = not (dry_run or yes) and _is_terminal(sys.stdin)
    if asks and (shell.json or not _is_terminal(sys.stderr)):
        raise click.UsageError("there is no way to ask here: say --yes or --dry-run")
    policy, deployed = _policy(file, keep_last, keep_within)
    place = _place(images)
    config = shell.config()
    opened = nullcontext(place) if place else shell.reclaim_store(config)
    with opened as there:
        decided = plan(
            there,
            policy,
            deployed=deployed,
            caches=not no_caches,
            images=() if place else images,
            config=config,
        )
        if not (dry_run or delete_all_versions):
            decided.check()
        found = decided.outlook()
        refused = () if delete_all_versions else found.emptied
        if not shell.json:
            output.say(_text(found))
        if dry_run or (asks and not _agreed(found)):
            done = found
        else:
            with shell.watching() as progress:
                done = decided.carry_out(progress, delete_all_versions=delete_all_versions)
    if shell.json:
        output.say_json(pruned_document(done, refused=refused, dry_run=dry_run))
    elif refused:
        output.say(_refusal(refused))
    elif done is not found:
        stayed = len(found.expired) - len(done.expired)
        if stayed:
            output.tell(f"{output.plural(stayed, 'image')} needed by now: kept")
        output.say(f"freed {output.size(done.freed.total)}")


def _policy(
    file: Path | None, keep_last: int | None, keep_within: str | None
) -> tuple[Policy, Deployed | None]:
    from immutable.lifecycle.prune import load_policy
    from immutable.lifecycle.retention import Policy

    given = {"keep_last": keep_last, "keep_within": keep_within}
    conditions: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if file is not None and conditions:
        raise click.UsageError("--keep-last and --keep-within belong into the policy's FILE")
    if file is not None:
        return load_policy(file)
    try:
        return Policy(**conditions), None
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _place(images: Sequence[str]) -> str:
    """Return the place that is no store, or nothing."""
    places = [image for image in images if image.startswith(_PLACES)]
    if places and len(images) > 1:
        raise click.UsageError(f"{places[0]} is a place of its own; prune one at a time")
    return places[0] if places else ""


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _agreed(found: Pruned) -> bool:
    if not (found.expired or found.freed.total):
        return False
    count = output.plural(len(found.expired), "image")
    agreed = click.confirm(f"delete {count}, free {output.size(found.freed.total)}?", err=True)
    if not agreed:
        output.tell("nothing was deleted")
    return agreed


def _refusal(names: Sequence[str]) -> str:
    said = ", ".join(names)
    return f"would be refused: deletes every version of {said}; say --delete-all-versions"


def _text(found: Pruned) -> str:
    freed = iter(found.freed.items)
    rows = [
        (
            str(decision.item),
            decision.item.digest.short,
            "" if decision.keep else output.size(next(freed)),
            decision.reason,
        )
        for decision in found.decisions
    ]
    lines = [output.table(rows, right={2})] if rows else []
    if found.freed.caches:
        lines.append(f"caches that no image needs: {output.size(found.freed.caches)}")
    count = output.plural(len(found.expired), "image")
    lines.append(f"{count} to delete, {output.size(found.freed.total)} to free")
    return "\n".join(lines)
