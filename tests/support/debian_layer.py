"""Layers of kind ``debian`` made of packages that a test writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from immutable.builders.base import Facts, Inputs
from immutable.builders.debian import DebianBuilder, DebianOptions
from immutable.config import Config
from immutable.content.entries import Arrangement, Entry, EntryKind, Inline, arrange
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.spec.derivation import Job
from immutable.spec.document import Layer, Spec
from immutable.spec.lock import Pin
from immutable.spec.types import LayerName, PackageRequest
from immutable.store.memory import MemoryStore
from tests.support.beneath import Beneath
from tests.support.debian import File, build_deb, control_text, data_members
from tests.support.entries import content
from tests.support.progress import Notes

AMD64 = Platform("linux", "amd64")


@frozen
class Made:
    """A package's bytes and what names it."""

    name: str
    version: str
    architecture: str
    deb: bytes


@frozen
class Built:
    """A layer that was built: its arrangement, its entries by path, and what was told."""

    job: Job
    arrangement: Arrangement
    entries: Mapping[bytes, Entry]
    notes: Sequence[str]

    def __contains__(self, path: str) -> bool:
        return path.strip("/").encode() in self.entries

    def entry(self, path: str) -> Entry:
        return self.entries[path.strip("/").encode()]

    def text(self, path: str) -> str:
        return content(self.entry(path)).decode()

    def target(self, path: str) -> str:
        entry = self.entry(path)
        assert entry.kind is EntryKind.SYMLINK
        return entry.target.decode()


def package(
    name: str,
    version: str = "1.0",
    *,
    arch: str = "all",
    files: Mapping[str, bytes | File] | None = None,
    links: Mapping[str, str] | None = None,
    members: Sequence[bytes] | None = None,
    scripts: Mapping[str, str] | None = None,
    conffiles: Sequence[str] = (),
    **fields: str,
) -> Made:
    """Return a package; `members` are tar members that stand in for files and links."""
    data = data_members(files or {}, links or {}) if members is None else members
    control = control_text(name, version, arch, fields)
    deb = build_deb(control, data, scripts=scripts, conffiles=conffiles)
    return Made(name, version, arch, deb)


def build(
    *packages: Made,
    lower: Built | None = None,
    jobs: int = 2,
    mtime: int = 0,
    platform: Platform = AMD64,
    **options: Any,
) -> Built:
    """Return the layer that `packages`, in this order, make; its contents are in memory."""
    store, builder, notes = MemoryStore(), DebianBuilder(), Notes()
    pins = tuple(_pin(one, store) for one in packages)
    chosen = DebianOptions(
        suite=options.pop("suite", "bookworm"), packages=(PackageRequest("asked"),), **options
    )
    layer = Layer(LayerName("runtime"), builder.kind, chosen)
    spec = Spec("test")
    facts = Facts(layer, spec, platform, mtime, pins, upper=lower is not None)
    (job,) = builder.derive(facts)
    with ExitStack() as stack:
        inputs = Inputs(
            store=store,
            scratch=lambda: stack.enter_context(store.scratch()),
            beneath=Beneath(lower.entries if lower else {}),
            progress=notes,
            config=Config(Path("store"), Path("cache"), jobs=jobs),
        )
        spooled = arrange(builder.entries(job, inputs), mtime=mtime)
        arrangement = Arrangement(
            spooled.directories, tuple(tuple(map(_in_memory, one)) for one in spooled.sources)
        )
    entries = {entry.path: entry for entry in arrangement}
    merged = {**(lower.entries if lower else {}), **entries}
    return Built(job, arrangement, merged if lower else entries, notes.notes)


def _pin(made: Made, store: MemoryStore) -> Pin:
    digest: Digest = store.put_blob(made.deb)
    path = f"pool/{made.name}.deb"
    return Pin(made.name, made.version, made.architecture, path, len(made.deb), digest)


def _in_memory(entry: Entry) -> Entry:
    return evolve(entry, content=Inline(content(entry))) if entry.content else entry
