"""The values of the global options, and what they open for every command."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import define, evolve, field

from immutable.cli import output
from immutable.config import Config
from immutable.store import AbstractStore, MemoryStore, Store

if TYPE_CHECKING:
    from immutable.cli.bars import Watcher


@define
class Shell:
    """The global options' values; `stopping` is set when the user wants an end."""

    stopping: threading.Event
    store: Path | None = None
    mirror: list[str] = field(factory=list)
    jobs: int | None = None
    tls_verify: bool = True
    ca_file: Path | None = None
    json: bool = False
    quiet: bool = False
    debug: bool = False

    def config(self) -> Config:
        """Return the machine's settings, with those of the command line."""
        config = Config.load(store=self.store, mirrors=self.mirror)
        registries = config.registries.with_options(
            tls_verify=self.tls_verify, ca_file=self.ca_file
        )
        jobs = config.jobs if self.jobs is None else self.jobs
        return evolve(config, jobs=jobs, registries=registries)

    def open_store(self, config: Config | None = None) -> AbstractStore:
        """Open the store, making it if need be."""
        return Store.open(config=config or self.config())

    def reclaim_store(self, config: Config | None = None) -> AbstractStore:
        """Open the store to remove from it, also with no room left on its disk."""
        return Store.open(config=config or self.config(), reclaim=True)

    def look_into_store(self, config: Config | None = None) -> AbstractStore:
        """Open the store to read from; where there is none, give an empty one and make none."""
        config = config or self.config()
        return Store.open(config=config) if config.store.exists() else MemoryStore()

    @contextmanager
    def watching(self) -> Iterator[Watcher]:
        """Show how the block's work goes: bars on a terminal, else only notes and warnings."""
        from immutable.cli.bars import Watcher

        watcher = Watcher(self.stopping, quiet=self.quiet)
        try:
            yield watcher
        finally:
            watcher.close()

    def hint(self, text: str) -> None:
        """Tell a person what could come next; a script is told nothing."""
        if not self.quiet and not self.json and sys.stderr is not None and sys.stderr.isatty():
            output.tell(text)


pass_shell = click.make_pass_decorator(Shell)
