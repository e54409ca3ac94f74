"""Wheels made in Python, so that they can be wrong in any one way; and layers made of them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, field, frozen

from immutable.builders.base import Facts, Inputs
from immutable.builders.wheels import WheelsBuilder, WheelsOptions
from immutable.config import Config
from immutable.content.entries import Arrangement, Entry, EntryKind, Inline, arrange
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.spec.derivation import Job
from immutable.spec.document import Layer, Spec
from immutable.spec.lock import Pin
from immutable.spec.types import LayerName
from immutable.spec.written import User
from immutable.store import AbstractStore
from immutable.store.memory import MemoryStore
from tests.support.archives import Zipped, zipped
from tests.support.beneath import Beneath
from tests.support.entries import content
from tests.support.progress import Notes

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
Rows = list[tuple[str, str, str]]


@frozen
class Made:
    """A wheel: what names it, and its bytes."""

    name: str
    version: str
    tag: str
    data: bytes = field(repr=False)
    file: str

    @property
    def digest(self) -> Digest:
        """The digest of its bytes."""
        return Digest.of(self.data)


def wheel(
    name: str = "demo",
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    tag: str = "py3-none-any",
    scripts: Mapping[str, str] | None = None,
    modes: Mapping[str, int] | None = None,
    members: Sequence[Zipped] = (),
    metadata: str | None = None,
    about: str | None = None,
    record: Callable[[Rows], Rows] = lambda rows: rows,
    leave_out: Iterable[str] = (),
    said: Mapping[str, bytes] | None = None,
) -> Made:
    """Return a wheel of `files`, by default one module.

    `members` are further members, also in RECORD; `record` may change that; `leave_out` takes
    files away again. `metadata` and `about` stand in for METADATA and WHEEL, `said` for further
    files of the dist-info.
    """
    folder = f"{name}-{version}.dist-info"
    inside = dict({f"{name}/__init__.py": b"NAME = 'demo'\n"} if files is None else files)
    pure = "true" if tag.endswith("any") else "false"
    tags = "".join(f"Tag: {one}\n" for one in _expanded(tag))
    inside[f"{folder}/METADATA"] = (
        metadata or f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    ).encode()
    inside[f"{folder}/WHEEL"] = (
        about or f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {pure}\n{tags}"
    ).encode()
    if scripts:
        lines = "".join(f"{script} = {point}\n" for script, point in scripts.items())
        inside[f"{folder}/entry_points.txt"] = f"[console_scripts]\n{lines}".encode()
    inside |= {f"{folder}/{key}": data for key, data in (said or {}).items()}
    made = [_member(path, data, (modes or {}).get(path, 0o644)) for path, data in inside.items()]
    rows = [row(one.name.decode("utf-8", "replace"), one.data) for one in (*made, *members)]
    rows.append((f"{folder}/RECORD", "", ""))
    listed = "".join(",".join(fields) + "\n" for fields in record(rows))
    made += [*members, _member(f"{folder}/RECORD", listed.encode(), 0o644)]
    left = [one for one in made if one.name.decode("utf-8", "replace") not in {*leave_out}]
    return Made(name, version, tag, zipped(*left), f"{name}-{version}-{tag}.whl")


def row(path: str, data: bytes, algorithm: str = "sha256") -> tuple[str, str, str]:
    """Return a row of RECORD."""
    value = base64.urlsafe_b64encode(hashlib.new(algorithm, data).digest()).decode().rstrip("=")
    return path, f"{algorithm}={value}", str(len(data))


def _expanded(tag: str) -> list[str]:
    python, abi, platform = tag.split("-")
    return [
        f"{a}-{b}-{c}"
        for a in python.split(".")
        for b in abi.split(".")
        for c in platform.split(".")
    ]


def _member(path: str, data: bytes, mode: int) -> Zipped:
    return Zipped(path.encode(), data, mode=0o100000 | mode)


@frozen
class Built:
    """A layer that was built."""

    job: Job
    arrangement: Arrangement
    entries: Mapping[str, Entry]

    def text(self, path: str) -> str:
        """Return a file's content."""
        return content(self.entries[path]).decode()

    def record(self, path: str) -> dict[str, tuple[str, str]]:
        """Return an installed RECORD: path → (hash, size)."""
        rows = (line.rsplit(",", 2) for line in self.text(path).splitlines())
        return {where: (hashed, size) for where, hashed, size in rows}


def pin(made: Made, platforms: tuple[Platform, ...] = ()) -> Pin:
    """Return the pin of a wheel."""
    architecture = "" if made.tag.endswith("any") else "amd64"
    return Pin(
        made.name,
        made.version,
        architecture,
        made.file,
        len(made.data),
        made.digest,
        platforms=platforms,
    )


def derive(*wheels: Made, upper: bool = False, **options: Any) -> Job:
    """Return the job of a layer of `wheels`."""
    chosen = WheelsOptions(**{"lockfile": "pylock.toml", "python": "3.11", **options})
    layer = Layer(LayerName("dependencies"), "wheels", chosen)
    spec = Spec("test", users=[User("web", 1001)])
    facts = Facts(layer, spec, AMD64, 7, tuple(map(pin, wheels)), upper=upper)
    (job,) = WheelsBuilder().derive(facts)
    return job


def build(
    *wheels: Made, jobs: int = 2, store: AbstractStore | None = None, **options: Any
) -> Built:
    """Return the layer that `wheels`, in this order, make; its contents are in memory.

    They are put into a store of their own, unless there is a `store` that holds them.
    """
    builder = WheelsBuilder()
    if store is None:
        store = MemoryStore()
        for one in wheels:
            store.put_blob(one.data)
    job = derive(*wheels, **options)
    with ExitStack() as stack:
        inputs = Inputs(
            store=store,
            scratch=lambda: stack.enter_context(store.scratch()),
            beneath=Beneath(),
            progress=Notes(),
            config=Config(Path("store"), Path("cache"), jobs=jobs),
        )
        spooled = arrange(builder.entries(job, inputs), mtime=job.derivation.mtime)
        arrangement = Arrangement(
            spooled.directories, tuple(tuple(map(_in_memory, one)) for one in spooled.sources)
        )
    entries = {"/" + entry.path.decode(): entry for entry in arrangement}
    return Built(job, arrangement, entries)


def _in_memory(entry: Entry) -> Entry:
    return evolve(entry, content=Inline(content(entry))) if entry.kind is EntryKind.FILE else entry


def pylock(*wheels: Made, extra: str = "", sizes: bool = True) -> str:
    """Return a ``pylock.toml`` of `wheels`; those of one name are one package's."""
    lines = ['lock-version = "1.0"', 'created-by = "tests"', extra]
    for name in dict.fromkeys(one.name for one in wheels):
        group = [one for one in wheels if one.name == name]
        lines += [
            "[[packages]]",
            f'name = "{name}"',
            f'version = "{group[0].version}"',
            "wheels = [",
        ]
        for one in group:
            size = f"size = {len(one.data)}, " if sizes else ""
            lines.append(
                f'{{ name = "{one.file}", url = "https://files.test/{one.file}", {size}'
                f'hashes = {{ sha256 = "{one.digest.hex}" }} }},'
            )
        lines.append("]")
    return "\n".join([*lines, "" if wheels else "packages = []"]) + "\n"


def offer(patch: pytest.MonkeyPatch, folder: Path, *wheels: Made) -> None:
    """Have this machine's pip know these wheels and nothing else."""
    folder.mkdir(exist_ok=True)
    for one in wheels:
        (folder / one.file).write_bytes(one.data)
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_NO_CACHE_DIR": "1",
    }.items():
        patch.setenv(name, value)
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "PIP_REQUIREMENT"):
        patch.delenv(name, raising=False)
