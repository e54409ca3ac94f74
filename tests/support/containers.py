"""Images that are run for a moment, in Docker or podman."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import immutable
from tests.support.specs import AMD64

# In a sandbox, root may not raise limits, and crun refuses hybrid cgroups; runc takes both.
RUN: Final = {
    "docker": ("run",),
    "podman": (
        *("--runtime", "runc", "run"),
        *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
    ),
}


ENGINES: Final = tuple(RUN)


class Loaded:
    """An image that is in an `engine`, ``docker`` or ``podman``, until the end of a with block.

    It has a name of its own: two runs may share an engine.
    """

    def __init__(self, engine: str, image: immutable.Image) -> None:
        self._engine = engine
        self._reference = f"localhost/immutable-test/{secrets.token_hex(8)}:1"
        if engine == "docker":
            immutable.copy(image, f"docker-daemon:{self._reference}", platform=AMD64)
            return
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "image.tar"
            immutable.copy(image, f"docker-archive:{archive}:{self._reference}", platform=AMD64)
            run("podman", "load", "--quiet", "--input", str(archive))

    def says(self, *command: str, user: str = "0") -> str:
        """Return what `command` prints, without a network; it has to succeed."""
        options = ("--rm", "--network", "none", "--user", user)
        return run(self._engine, *RUN[self._engine], *options, self._reference, *command)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        run(self._engine, "rmi", "--force", self._reference)


def run(*command: str) -> str:
    """Return what a command prints; it has to succeed, and within two minutes."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert 0 == done.returncode, f"{' '.join(command)}: {done.stderr}{done.stdout}"
    return done.stdout.strip()
