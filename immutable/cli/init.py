"""``init``: a first spec."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Final

import click

from immutable.cli import output
from immutable.cli.options import Command
from immutable.cli.shell import Shell, pass_shell
from immutable.errors import SpecError

NAME: Final = "image.toml"

TEMPLATE: Final = """\
# `immutable build {path}` builds this image: no network and no lock needed.
spec-version = 1

[image]
name = "{name}"
# platforms = ["linux/amd64", "linux/arm64"]   # default: this machine's
# tags = ["1.0.0"]

# Files written here, or taken from a folder beside this spec.
[[layer]]
name = "files"
kind = "files"
entries = [
  {{ path = "/etc/motd", text = "Hello from {name}.\\n" }},
]

# [[layer]]
# name = "app"
# kind = "files"
# source = "app"
# target = "/app"

# Packages. They are resolved and pinned by `immutable lock {path}`; put this layer first, so
# that what changes most stands on top.
# [[layer]]
# name = "runtime"
# kind = "debian"
# suite = "bookworm"
# packages = ["python3-minimal", "ca-certificates"]

# What lower layers have and this image is not to have, and what is to be otherwise than there.
# [[layer]]
# name = "changes"
# kind = "files"
# remove = ["/usr/share/doc/**"]
# entries = [{{ path = "/usr/bin/python3.11", capabilities = "cap_net_bind_service+ep" }}]

# [[user]]
# name = "app"
# uid = 1000

[config]
# user = "app"
# workdir = "/app"
# env = {{ LANG = "C.UTF-8" }}
# cmd = ["python3", "main.py"]
"""


@click.command(cls=Command)
@click.argument(
    "directory", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False)
)
@pass_shell
def init(shell: Shell, directory: Path) -> None:
    """Write a starter spec that builds: DIR/image.toml.

    A file that is there already stays as it is, and the exit status is 1.
    """
    path = directory / NAME
    text = TEMPLATE.format(name=image_name(directory.absolute().resolve().name), path=path)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SpecError(str(path), ["is there already, and stays as it is"]) from None
    if shell.json:
        output.say_json({"path": str(path)})
    else:
        output.say(str(path))
    shell.hint(f"build it: immutable build {path}")


def image_name(folder: str) -> str:
    """Return the image name that is nearest to a folder's; ``image`` where nothing is left."""
    plain = unicodedata.normalize("NFKD", folder).encode("ascii", "ignore").decode().lower()
    parts = re.findall(r"[a-z0-9]+", plain)
    return "-".join(parts)[:100].rstrip("-") or "image"
