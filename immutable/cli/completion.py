"""``completion``."""

from __future__ import annotations

import click

from immutable.cli import output
from immutable.cli.options import Command

_VARIABLE = "_IMMUTABLE_COMPLETE"


@click.command(cls=Command)
@click.argument("shell_name", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell_name: str) -> None:
    """Print the completion script for a SHELL.

    It completes commands, options, files, and images in the store.

    \b
      bash  eval "$(immutable completion bash)"    in ~/.bashrc
      zsh   eval "$(immutable completion zsh)"     in ~/.zshrc
      fish  immutable completion fish | source     in ~/.config/fish/config.fish
    """  # noqa: D301 - click's mark
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell_name)
    if found is None:
        raise click.UsageError(f"no completion for {shell_name}")
    script = found(ctx.find_root().command, {}, "immutable", _VARIABLE)
    output.say(script.source_template % script.source_vars(), verbatim=True)
