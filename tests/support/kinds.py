"""Layer kinds that misbehave, found through an entry point as those of others are."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from attrs import field, frozen

from immutable.builders.base import Builder, Facts, Inputs, LockScope, Read
from immutable.builders.registry import builders
from immutable.builders.written import WrittenLayer
from immutable.content.entries import Entry, EntryKind, file
from immutable.errors import SourceError
from immutable.oci.digest import Digest
from immutable.spec.derivation import Derivation, Job
from immutable.spec.document import Layer
from immutable.spec.lock import LockedLayer, Pin
from immutable.spec.toml import parsed_by


@frozen
class Options:
    """What these kinds are told: anything, to be told apart by."""

    text: str = ""


class Plain(Builder):
    """A layer of one file; the others differ from it in `entries`."""

    kind: ClassVar[str] = "test-plain"
    version: ClassVar[int] = 1
    options: ClassVar[type[Any]] = Options

    def derive(self, facts: Facts) -> tuple[Job, ...]:
        text = facts.layer.options.text
        derivation = Derivation(self.kind, 1, facts.mtime, {"text": text})
        return (Job(derivation, facts.layer.name),)

    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        return [[file(b"file", job.options["text"].encode())]]


@frozen(kw_only=True)
class WrittenPlain(WrittenLayer):
    """A layer of the plain kind, in Python."""

    kind: ClassVar[str] = "test-plain"

    text: str | None = None


@frozen
class ShoutingOptions:
    """Options whose parsers give other values than what is written."""

    text: str = field(default="", metadata=parsed_by(str.upper, str.lower))
    number: int = field(
        default=0, metadata=parsed_by(int)
    )  # this and the next do not say how to write them
    stars: str = field(default="", metadata=parsed_by("{}*".format))
    table: Mapping[str, Any] = field(factory=dict)


class Shouting(Plain):
    """Takes such options."""

    kind: ClassVar[str] = "test-shouting"
    options: ClassVar[type[Any]] = ShoutingOptions


class Asking(Plain):
    """Pins, as its version, what the layers of its kind beneath it were pinned to."""

    kind: ClassVar[str] = "test-asking"

    def request(self, options: Any, read: Read) -> Mapping[str, Any] | None:
        return {"text": options.text}

    def lock(self, layer: Layer, given: LockScope) -> LockedLayer:
        beneath = [pin.name for one in given.lower if one.kind == self.kind for pin in one.pin]
        name = layer.options.text
        pin = Pin(name, "+".join(beneath), "", name, 1, Digest.of(name.encode()))
        request = self.request(layer.options, given.read) or {}
        return LockedLayer(layer.name, self.kind, request, given.platforms, (), (pin,))


class Random(Plain):
    """Never gives the same twice."""

    kind: ClassVar[str] = "test-random"

    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        return [[file(b"file", secrets.token_bytes())]]


begun = threading.Event()


@frozen
class _Endless:
    """A file that is still being read when the world ends."""

    size: int = 1 << 50

    def read(self) -> Iterator[bytes]:
        while True:
            begun.set()
            yield bytes(1 << 20)


class Endless(Plain):
    """Is never done; the layers of other platforms are made beside it."""

    kind: ClassVar[str] = "test-endless"

    def derive(self, facts: Facts) -> tuple[Job, ...]:
        derivation = Derivation(self.kind, 1, 0, {}, platform=facts.platform)
        return (Job(derivation, facts.layer.name),)

    def entries(self, job: Job, inputs: Inputs) -> Iterable[Iterable[Entry]]:
        if str(job.derivation.platform) != "linux/amd64":
            begun.wait(30)
            self.beside()
        return [[Entry(b"file", EntryKind.FILE, content=_Endless())]]

    def beside(self) -> None:
        """Do what is to happen once the layer of the first platform is under way."""


class Interrupted(Endless):
    """Presses Ctrl-C once it is under way."""

    kind: ClassVar[str] = "test-interrupted"

    def beside(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


class Failing(Endless):
    """Fails for one platform while it is under way for another."""

    kind: ClassVar[str] = "test-failing"

    def beside(self) -> None:
        raise SourceError("the disk is on fire")


def broken() -> None:
    """Stand for a kind that cannot be made."""
    raise RuntimeError("no such luck")


@contextmanager
def installed(folder: Path, patch: pytest.MonkeyPatch, points: Mapping[str, str]) -> Iterator[None]:
    """Have layer kinds found by their entry points, in a distribution that is put into `folder`.

    `points` says which class each kind is: ``module:Class``. Modules in `folder` can be imported.
    """
    metadata = folder / "test_kinds-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: test-kinds\nVersion: 1.0\n")
    lines = [f"{kind} = {place}\n" for kind, place in points.items()]
    (metadata / "entry_points.txt").write_text("".join(["[immutable.builders]\n", *lines]))
    patch.syspath_prepend(folder)
    builders.cache_clear()
    try:
        yield
    finally:
        builders.cache_clear()


@contextmanager
def registered(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have these kinds found, as `installed` does it."""
    classes = (Plain, Shouting, Asking, Random, Endless, Interrupted, Failing)
    kinds = [cls.__name__ for cls in classes]
    points = {f"test-{name.lower()}": f"{__name__}:{name}" for name in kinds}
    begun.clear()
    with installed(folder, patch, {**points, "test-broken": f"{__name__}:broken"}):
        yield
