"""``policy export``: a policy in the words of a registry that prunes itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from immutable.cli import output
from immutable.cli.options import Command
from immutable.cli.shell import Shell, pass_shell
from immutable.oci import canonical

if TYPE_CHECKING:
    from immutable.lifecycle.exports import Export
    from immutable.lifecycle.retention import Policy


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.argument("file", metavar="FILE", type=_FILE)
@click.option(
    "--to", type=click.Choice(["ecr", "zot", "harbor"]), required=True, help="Whose words to use."
)
@click.option("--repository", metavar="NAME", help="For ecr: the repository that it is for.")
@click.option("--project", metavar="NAME", help="For harbor: the project that it is for.")
@click.option("--project-id", type=int, metavar="N", help="For harbor: the project's number.")
@pass_shell
def export(
    shell: Shell,
    file: Path,
    to: str,
    repository: str | None,
    project: str | None,
    project_id: int | None,
) -> None:
    """Write the policy in FILE in the words of a registry that prunes itself.

    The document keeps what the policy keeps, and more where the registry has no words for a
    rule; what those are is told, a line each.
    """
    from immutable.lifecycle.exports import export_document
    from immutable.lifecycle.prune import read_policy

    given = {"repository": repository, "project": project, "project-id": project_id}
    wanted = {"ecr": {"repository"}, "zot": set(), "harbor": {"project", "project-id"}}[to]
    for name, value in given.items():
        if (value is not None) != (name in wanted):
            word = "is needed" if name in wanted else "means nothing"
            raise click.UsageError(f"--{name} {word} with --to {to}")
    made = _exported(read_policy(file), to, repository, project, project_id)
    if shell.json:
        output.say_json(export_document(made))
        return
    for line in made.cannot:
        output.tell(f"{to} cannot express: {line}")
    if made.document is None:
        output.tell(f"nothing is left that {to} could apply")
    else:
        output.say(json.dumps(canonical.thaw(made.document), indent=2))


def _exported(
    parsed: Policy, to: str, repository: str | None, project: str | None, number: int | None
) -> Export:
    from immutable.lifecycle.exports import ecr, harbor, zot

    if to == "ecr":
        return ecr.export(parsed, repository or "")
    if to == "harbor":
        return harbor.export(parsed, project or "", number or 0)
    return zot.export(parsed)
