"""npm's archives, lockfiles and registries, made by hand."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define, evolve, field

import immutable
from immutable.build.lock import Locked
from immutable.build.results import Image
from immutable.config import Config
from immutable.content.entries import Entry, EntryKind
from immutable.store import AbstractStore
from tests.support.archives import END, gzipped, member
from tests.support.specs import CONFIG, contents, layer, write

KINDS = {
    "dev": "devDependencies",
    "optional": "optionalDependencies",
    "peer": "peerDependencies",
}
Content = str | bytes | tuple[str, int]  # text, bytes, or text with a mode


def tarball(files: Mapping[str, Content], *, top: str = "package", more: bytes = b"") -> bytes:
    """Return an archive of `files` as npm packs them; `more` are further members."""
    made = b""
    for name, content in files.items():
        data, mode = content if isinstance(content, tuple) else (content, 0o644)
        raw = data.encode() if isinstance(data, str) else data
        made += member(f"{top}/{name}".encode(), raw, mode=mode)
    return gzipped(made + more + END)


def integrity(data: bytes, algorithm: str = "sha512") -> str:
    """Return the hash of `data` as lockfiles write it."""
    digest = hashlib.new(algorithm, data, usedforsecurity=False).digest()
    return f"{algorithm}-{base64.b64encode(digest).decode()}"


@define
class Project:
    """A project's folder with a spec, a lockfile, and a registry that has its packages."""

    root: Path
    packages: dict[str, dict[str, Any]] = field(factory=dict)
    project: dict[str, Any] = field(factory=dict)
    options: dict[str, Any] = field(factory=dict)
    image: str = ""
    more: str = ""

    @property
    def config(self) -> Config:
        """Settings under which the registry is found."""
        return evolve(CONFIG, mirrors={"npm": [(self.root / "registry").as_uri()]})

    def add(
        self,
        location: str,
        files: Mapping[str, Content] | bytes | None = None,
        *,
        version: str = "1.0.0",
        **entry: Any,
    ) -> Project:
        """Add a package at `location`, or below node_modules; and its archive to the registry."""
        if "node_modules/" not in location:
            location = f"node_modules/{location}"
        name = entry.get("name") or location.rpartition("node_modules/")[2]
        if files is None:
            files = {"package.json": json.dumps({"name": name, "version": version})}
        data = files if isinstance(files, bytes) else tarball(files)
        self.publish(name, version, data)
        entry = {"version": version, "integrity": integrity(data), **entry}
        kept = {key: value for key, value in entry.items() if value is not None}
        self.packages[location] = kept
        return self

    def publish(self, name: str, version: str, data: bytes) -> None:
        """Put an archive into the registry."""
        path = self.root / "registry" / name / "-" / f"{name.rpartition('/')[2]}-{version}.tgz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def entry(self, location: str, **entry: Any) -> Project:
        """Add an entry to the lockfile and nothing to the registry."""
        self.packages[location] = entry
        return self

    def depend(self, **names: str) -> Project:
        """Have the project itself ask for packages."""
        self.project.setdefault("dependencies", {}).update(names)
        return self

    def lockfile(self) -> bytes:
        """Return the lockfile; what nobody asks for is asked for by whoever has it."""
        self._ask()
        document = {
            "name": "app",
            "version": "1.0.0",
            "lockfileVersion": 3,
            "requires": True,
            "packages": {
                "": {"name": "app", "version": "1.0.0", **self.project},
                **dict(sorted(self.packages.items())),
            },
        }
        return json.dumps(document, indent=2).encode() + b"\n"

    def _ask(self) -> None:
        entries = {"": self.project, **self.packages}
        wanted = {
            name
            for entry in entries.values()
            for kind in ("dependencies", "optionalDependencies", "peerDependencies")
            for name in entry.get(kind, ())
        }
        for location, entry in self.packages.items():
            holder, installed, name = location.rpartition("node_modules/")
            if installed and name not in wanted and not entry.get("extraneous"):
                kinds = [KINDS[key] for key in KINDS if entry.get(key) and not holder]
                asking = entries.get(holder.rstrip("/"), self.project)
                asking.setdefault((*kinds, "dependencies")[0], {})[name] = "*"

    def write(self) -> Path:
        """Write lockfile and spec; return the spec's path."""
        folder = self.root / "app"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package-lock.json").write_bytes(self.lockfile())
        options = {"lockfile": "app/package-lock.json", "target": "/app", **self.options}
        text = layer("npm", "dependencies", **options)
        return write(self.root, text + self.more, image=self.image)

    def lock(self, store: AbstractStore, **options: Any) -> Locked:
        """Write and lock."""
        return immutable.lock(self.write(), store, **{"config": self.config, **options})

    def build(self, store: AbstractStore, **options: Any) -> Image:
        """Write, lock and build."""
        self.lock(store)
        return immutable.build(self.write(), store, **{"config": self.config, **options})

    def layer(self, store: AbstractStore, **options: Any) -> dict[str, Entry]:
        """Write, lock and build; return the npm layer's entries by path."""
        return contents(store, self.build(store, **options).platforms[0].layers[0])


def shape(entries: Mapping[str, Entry], lower: str = "app/") -> dict[str, str]:
    """Return path → what is there, in a few words, of all but directories."""
    return {
        path.removeprefix(lower): _word(entry)
        for path, entry in sorted(entries.items())
        if entry.kind is not EntryKind.DIRECTORY
    }


def _word(entry: Entry) -> str:
    if entry.kind is EntryKind.SYMLINK:
        return f"-> {entry.target.decode()}"
    assert entry.content is not None
    return f"{entry.mode:o} {b''.join(entry.content.read()).decode()}"
