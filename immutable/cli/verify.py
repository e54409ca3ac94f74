"""``verify``: prove that an image is reproducible."""

from __future__ import annotations

import click

from immutable.cli import output
from immutable.cli.completers import complete_files
from immutable.cli.options import RegistryCommand
from immutable.cli.params import load_spec
from immutable.cli.shell import Shell, pass_shell
from immutable.cli.statuses import FOUND


@click.command(cls=RegistryCommand)
@click.argument("spec", metavar="SPEC", shell_complete=complete_files)
@pass_shell
def verify(shell: Shell, spec: str) -> int:
    """Prove that SPEC's image is reproducible.

    It is built into the store first, as by `build`; then again with nothing cached, and every
    digest is compared. Exit status 3 when anything differs.
    """
    from immutable.build.verify import verified_document
    from immutable.build.verify import verify as verify_spec

    config = shell.config()
    loaded = load_spec(spec)
    with shell.open_store(config) as store, shell.watching() as progress:
        image, found = verify_spec(loaded, store, config=config, progress=progress)
    if shell.json:
        output.say_json(verified_document(image, found))
    elif found:
        output.say("\n".join(map(str, found)))
    else:
        output.say(f"reproducible: {image.name} {image.digest}")
    return FOUND if found else 0
