"""The layer kinds as people write them in Python: one class a kind, one field a key.

A kind of another package is written by a class like these, which may stand beside the kind, or as
an `OtherLayer`. What the keys mean is in ``specs/README.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from attrs import field, frozen
from typing_extensions import override

from immutable.spec.toml import key_of
from immutable.spec.written import LayerTable, Strings, Table, plain


def _options() -> Mapping[str, type[Any]]:
    # Writing a layer needs none of what the kinds are made of.
    from immutable.builders.registry import options

    return options()


@frozen
class WrittenLayer(LayerTable):
    """A layer of the kind that its class names; a subclass has a field for each of the keys."""

    kind: ClassVar[str]

    @override
    def kinds(self) -> Mapping[str, type[Any]]:
        return _options()

    @override
    def row(self) -> dict[str, Any]:
        return {"kind": self.kind, **LayerTable.row(self)}


@frozen
class PlacedLayer(WrittenLayer):
    """A layer that is placed on the lower ones.

    With `replace` it may hide what these have of another kind: a link, a directory, a file.
    """

    replace: bool | None = field(default=None, kw_only=True)


@frozen(init=False)
class OtherLayer(LayerTable):
    """A layer of any kind, by its name: for kinds of other packages that have no class here.

    `options` are the keys, ``pretty_name`` for ``pretty-name``. Their types are not known before
    the spec is made.
    """

    kind: str
    options: Mapping[str, Any]

    def __init__(self, name: str, kind: str, **options: Any) -> None:
        self.__attrs_init__(name, kind, options)

    @override
    def kinds(self) -> Mapping[str, type[Any]]:
        return _options()

    @override
    def row(self) -> dict[str, Any]:
        keys = {
            key_of(name): plain(value) for name, value in self.options.items() if value is not None
        }
        return {"name": self.name, "kind": self.kind, **keys}


@frozen(kw_only=True)
class InlineEntry(Table):
    """One of the `entries` of `Files`: at most one of text, base64, directory and link.

    With none of these it changes what a lower layer has at its path.

    - `path`: absolute, below the root
    - `text`, `base64`: what is in a file
    - `directory`: True for a directory
    - `link`: where a symbolic link leads
    - `mode`: octal, like ``"0750"``
    - `owner`: else that of the layer
    - `xattrs`: extended attributes, by names like ``"user.mime_type"``
    - `capabilities`: of a file, like ``"cap_net_raw+ep"``; empty for none
    """

    path: str = field(kw_only=False)
    text: str | None = None
    base64: str | None = None
    directory: bool | None = None
    link: str | None = None
    mode: str | None = None
    owner: str | None = None
    xattrs: Mapping[str, str] | None = None
    capabilities: str | None = None


@frozen(kw_only=True)
class Files(PlacedLayer):
    """A ``files`` layer: a local tree, and entries that are written in the spec.

    - `source`: a folder, whose content goes below `target`, or a file, which becomes `target`
    - `target`: an absolute path in the image
    - `include`, `exclude`: globs over the folder
    - `ignore_file`: a list of what to leave out, in the words of ``.dockerignore``
    - `owner`: ``name``, ``name:group``, ``uid`` or ``uid:gid``; else root
    - `mode`, `directory_mode`: octal, like ``"0750"``, for all files and all directories
    - `entries`: what is written here
    - `remove`: globs of what lower layers have and the image shall not
    - `layers`: over how many layers at most the files are spread
    """

    kind: ClassVar[str] = "files"

    source: str | None = None
    target: str | None = None
    include: Strings | None = None
    exclude: Strings | None = None
    ignore_file: str | None = None
    owner: str | None = None
    mode: str | None = None
    directory_mode: str | None = None
    entries: Sequence[InlineEntry] | None = None
    remove: Strings | None = None
    layers: int | None = None


@frozen(kw_only=True)
class Archive(PlacedLayer):
    """An ``archive`` layer: what a tar or zip holds.

    - `path` or `url`: where it is
    - `sha256`: its digest, 64 hex digits; required for a `path`
    - `strip`: how many leading names to take off each path
    - `include`, `exclude`: globs over the stripped paths
    - `target`, `owner`: as for `Files`
    - `setuid`, `special`: allow setuid bits; devices and FIFOs
    - `layers`: over how many layers at most the files are spread
    """

    kind: ClassVar[str] = "archive"

    path: str | None = None
    url: str | None = None
    sha256: str | None = None
    strip: int | None = None
    include: Strings | None = None
    exclude: Strings | None = None
    target: str | None = None
    owner: str | None = None
    setuid: bool | None = None
    special: bool | None = None
    layers: int | None = None


@frozen(kw_only=True)
class Debian(PlacedLayer):
    """A ``debian`` layer: packages of a suite, and what they depend on.

    - `suite`: ``"bookworm"``
    - `packages`: names, ``"name=version"`` or ``"name (>= version)"``
    - `pockets`: of updates, security, backports and proposed-updates
    - `components`: else main
    - `recommends`, `essential`: add what is recommended; all that is essential
    - `exclude`, `include`: globs of what to leave out, and what of that to keep
    - `keyring`: a file of OpenPGP certificates that must have signed
    - `layers`: over how many layers at most the packages are spread
    """

    kind: ClassVar[str] = "debian"

    suite: str
    packages: Strings
    pockets: Strings | None = None
    components: Strings | None = None
    recommends: bool | None = None
    essential: bool | None = None
    exclude: Strings | None = None
    include: Strings | None = None
    keyring: str | None = None
    layers: int | None = None


@frozen(kw_only=True)
class Wheels(PlacedLayer):
    """A ``wheels`` layer: a Python environment.

    - `lockfile`: a ``pylock.toml``, or a requirements file with hashes
    - `python`: the image's version of Python, like ``"3.11"``
    - `target`, `scripts`: where packages and programs go
    - `interpreter`: the first line of programs
    - `libc`: the image's C library, ``"glibc-2.36"`` or ``"musl-1.2"``
    - `extras`, `groups`: of the ``pylock.toml``
    - `bytecode`: compile modules
    - `owner`, `layers`: as for `Files` and `Debian`
    """

    kind: ClassVar[str] = "wheels"

    lockfile: str
    python: str
    target: str | None = None
    scripts: str | None = None
    interpreter: str | None = None
    libc: str | None = None
    extras: Strings | None = None
    groups: Strings | None = None
    bytecode: bool | None = None
    owner: str | None = None
    layers: int | None = None


@frozen(kw_only=True)
class Npm(PlacedLayer):
    """An ``npm`` layer: the ``node_modules`` of an application.

    - `lockfile`: a ``package-lock.json``
    - `target`: the application's folder in the image
    - `omit`: any of dev, optional and peer
    - `libc`: the image's C library
    - `owner`, `layers`: as for `Files` and `Debian`
    """

    kind: ClassVar[str] = "npm"

    lockfile: str
    target: str
    omit: Strings | None = None
    libc: Literal["glibc", "musl"] | None = None
    owner: str | None = None
    layers: int | None = None


@frozen
class FromImage(WrittenLayer):
    """An ``image`` layer, which has to be the first: the layers of another image, as they are.

    - `from_`: another spec, ``"base.toml"``; ``"HOST/NAME:TAG"`` or ``"HOST/NAME@sha256:…"``; or
      an image on this machine, ``"oci:DIR"``, ``"oci-archive:FILE"`` or ``"docker-archive:FILE"``
    """

    kind: ClassVar[str] = "image"

    from_: str


@frozen(kw_only=True)
class Copy(PlacedLayer):
    """A ``copy`` layer: files out of another image, as a Dockerfile's ``COPY --from``.

    - `from_`: the image, as for `FromImage`
    - `paths`: absolute paths in it, or globs
    - `target`: where they go; else to the same paths. What is in a directory goes into it; a file
      becomes it, or goes into it where it ends in ``/``
    - `exclude`: globs over the other image
    - `owner`: else everything keeps its own
    """

    kind: ClassVar[str] = "copy"

    from_: str
    paths: Strings
    target: str | None = None
    exclude: Strings | None = None
    owner: str | None = None


@frozen(kw_only=True)
class RunInput(Table):
    """One of the `inputs` of `Run`: a file or folder of this machine, which a command can read.

    - `path`: where it is
    - `to`: where the command finds it, an absolute path
    - `include`, `exclude`, `ignore_file`: what of a folder, as for `Files`
    """

    path: str = field(kw_only=False)
    to: str
    include: Strings | None = None
    exclude: Strings | None = None
    ignore_file: str | None = None


@frozen(kw_only=True)
class RunFetch(Table):
    """One of what is to `fetch` for `Run`: a file that a command can read.

    - `url`: where it is
    - `to`: where the command finds it, an absolute path
    - `sha256`: its digest, 64 hex digits; else the lock pins it
    """

    url: str = field(kw_only=False)
    to: str
    sha256: str | None = None


@frozen(kw_only=True)
class Run(WrittenLayer):
    """A ``run`` layer: what a command changes, without a network, twice the same.

    - `command`: a program with its arguments, run without a shell; or
    - `script`: run by ``/bin/sh -e``, or by what its first line names after ``#!``
    - `env`, `workdir`, `user`: its variables, where it starts, and as whom
    - `keep`, `drop`: globs of what to take of its changes, and what not
    - `cache`: paths that are empty when it starts, and no part of its changes
    - `inputs`, `fetch`: what it can read
    - `timeout`, `memory`: what each run may take, like ``"1h"`` and ``"4GiB"``
    """

    kind: ClassVar[str] = "run"

    command: Strings | None = None
    script: str | None = None
    env: Mapping[str, str] | None = None
    workdir: str | None = None
    user: str | None = None
    keep: Strings | None = None
    drop: Strings | None = None
    cache: Strings | None = None
    inputs: Sequence[RunInput] | None = None
    fetch: Sequence[RunFetch] | None = None
    timeout: str | None = None
    memory: str | None = None
