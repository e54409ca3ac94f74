"""The command line: the only part that prints, and that turns errors into exit statuses.

A command is in the module of its name: ``prune`` in `immutable.cli.prune`; a command of a group in
the group's folder: ``store check`` in `immutable.cli.store.check`. None is imported before it is
asked for. What they share: `root` (the command ``immutable``), `options` (those that all take) and
`shell` (what these open), `params` and `completers` (arguments, and how a shell completes them),
`digest_file`, `stored` (images of the store), `output`, `bars`, `interrupts`, `hooks` (what Python
prints by itself), `statuses`. They print: the documents of ``--json`` are functions of values,
beside these.

====  =========================================================
0     done
1     refused or failed; the reason is on stderr
2     wrong usage
3     a difference was found (``verify``, ``lock --check``, ``store check``)
130   interrupted (128 + SIGINT); 143 by SIGTERM
141   whoever read the output went away (128 + SIGPIPE)
====  =========================================================
"""

from __future__ import annotations

import errno
import gc
import io
import signal
import threading
import traceback
from collections.abc import Sequence

import click

from immutable.cli import hooks, output
from immutable.cli.interrupts import Interrupted, interruptible
from immutable.cli.output import OutputError
from immutable.cli.root import root
from immutable.cli.shell import Shell
from immutable.cli.statuses import REFUSED
from immutable.errors import ImmutableError

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command that `args` give, by default the process's own; return the exit status."""
    # A large tree is some hundred thousand objects, none of them garbage before the end: looking
    # for cycles every 700 took a twentieth of a build's time. A library leaves this to its user.
    gc.set_threshold(100_000, 50, 100)
    output.prepare()
    hooks.install()
    shell = Shell(threading.Event())
    try:
        with interruptible(shell.stopping):
            return _run(args, shell)
    except Interrupted as interrupted:
        output.tell("interrupted")
        return 128 + interrupted.number


def _run(args: Sequence[str] | None, shell: Shell) -> int:
    """Run the command; errors become messages and a status."""
    try:
        arguments = None if args is None else [*args]
        status = root.main(arguments, "immutable", standalone_mode=False, obj=shell)
    except click.ClickException as error:
        return _misused(error)
    except ImmutableError as error:
        return _refused(str(error))
    except OutputError as error:
        output.abandon()
        if error.errno == errno.EPIPE:
            return 128 + signal.SIGPIPE
        return _refused(str(error))
    except OSError as error:
        if shell.debug:
            return _traced(error)
        where = f"{error.filename}: " if error.filename is not None else ""
        return _refused(f"{where}{error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - a bug; few people want to read a traceback
        if shell.debug:
            return _traced(error)
        return _refused(f"a bug in immutable: {type(error).__name__}: {error}; --debug shows where")
    return status if isinstance(status, int) else 0


def _misused(error: click.ClickException) -> int:
    text = io.StringIO()
    error.show(text)
    output.tell(text.getvalue().rstrip("\n"))
    return error.exit_code


def _traced(error: Exception) -> int:
    # The interpreter's own traceback would show what the messages in it hold.
    output.tell("".join(traceback.format_exception(error)).rstrip("\n"))
    return REFUSED


def _refused(message: str) -> int:
    output.tell("error: " + message.replace("\n", "\n       "))
    return REFUSED
