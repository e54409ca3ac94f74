"""The options that all commands take, and the commands and groups that take them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from immutable.cli.shell import Shell


class Command(click.Command):
    """A command that takes the global options too, as people write them last."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *global_options()]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then the global ones."""
        write_options(self, ctx, formatter)


class RegistryCommand(Command):
    """A command that talks to registries, and takes the options that say whom to trust there.

    What they say is in the shell's `config`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = len(self.params) - len(global_options())
        self.params = [*self.params[:own], *registry_options(), *self.params[own:]]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take ``--tls-verify=false`` too, as skopeo and podman write it."""
        end = args.index("--") if "--" in args else len(args)
        written = [_VERIFYING.get(arg, arg) for arg in args[:end]]
        return super().parse_args(ctx, [*written, *args[end:]])


_VERIFYING: Final = {
    "--tls-verify=true": "--tls-verify",
    "--tls-verify=false": "--no-tls-verify",
}


class Group(click.Group):
    """A group of commands that takes the global options, and knows what a misspelt one meant.

    The command of each of `names` is what its module in `package` calls so, and is imported when
    it is asked for: what one command needs does not slow the others down.
    """

    def __init__(self, *args: Any, package: str, names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *global_options()]
        self._package = package
        self._names = tuple(names)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, and the commands."""
        self.format_commands(ctx, formatter)
        write_options(self, ctx, formatter)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order in which they are likely to be used."""
        return [*self._names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command by its name."""
        if cmd_name not in self._names:
            return None
        module = importlib.import_module(f"{self._package}.{cmd_name}")
        found: click.Command = getattr(module, cmd_name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of `args`; raise UsageError with the nearest one."""
        from immutable.spec.toml import nearest

        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            ctx.fail(f"no command {name!r}{nearest(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def global_options() -> list[click.Option]:
    """Return the global options; each may stand before and after a command's name."""
    return [
        _option(
            "--store",
            type=click.Path(file_okay=False),
            metavar="DIR",
            help="The store; else IMMUTABLE_STORE, else the user's data folder.",
        ),
        _option(
            "--mirror",
            multiple=True,
            metavar="ARCHIVE=URL",
            help="Where an archive's files are, say debian=https://…; may be repeated.",
        ),
        _option(
            "--jobs",
            type=click.IntRange(1, 9999),
            metavar="N",
            help="Work on so many things at once; else one a processor.",
        ),
        _option("--json", is_flag=True, help="Print one JSON document instead of text."),
        _option("-q", "--quiet", is_flag=True, help="No progress, no notes; warnings stay."),
        _option("--debug", is_flag=True, help="Show a traceback for an unexpected error."),
    ]


def registry_options() -> list[click.Option]:
    """Return the options of commands that talk to registries."""
    return [
        _option(
            "--tls-verify/--no-tls-verify",
            default=True,
            help="Without, take any certificate, or none at all, of the registries named here.",
        ),
        _option(
            "--ca-file",
            type=click.Path(exists=True, path_type=Path),
            metavar="FILE",
            help="Trust the certificates in FILE too when talking to registries.",
        ),
    ]


def write_options(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    """Write a command's options into its help, those that all commands take apart."""
    shared = {option.name for option in global_options()}
    own: list[tuple[str, str]] = []
    common: list[tuple[str, str]] = []
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None and isinstance(param, click.Option):
            (common if param.name in shared else own).append(record)
    for title, records in (("Options", own), ("Global options", common)):
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


def _option(*declarations: str, **settings: Any) -> click.Option:
    return click.Option(declarations, expose_value=False, callback=_remember, **settings)


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Put an option's value into the shell; one after the command's name wins."""
    shell = ctx.find_object(Shell)
    if shell is None or param.name is None or value is None:
        return
    if value is False and param.name != "tls_verify":
        return
    if param.name == "mirror":
        shell.mirror.extend(value)
    elif param.name == "store":
        if not value:  # an unset variable is not this folder, nor the usual store
            raise click.BadParameter("expected a folder", ctx, param)
        shell.store = Path(value)
    else:
        setattr(shell, param.name, value)
