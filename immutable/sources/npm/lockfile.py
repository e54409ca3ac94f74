"""``package-lock.json``, versions 2 and 3, parsed once: the "packages" map as typed values.

https://docs.npmjs.com is silent on much of it; what is not said there follows npm's own code
(arborist, npm 11). Hosts that a lockfile names are read past: what a package is, its name,
version and integrity say.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from immutable.errors import SpecError
from immutable.oci import canonical
from immutable.redact import cut, quoted

# validate-npm-package-name's rule for names that registries have: what a URL needs no escape for.
_NAME: Final = re.compile(r"(?:@[\w~!'()*-][\w.~!'()*-]*/)?[\w~!'()*-][\w.~!'()*-]*", re.ASCII)
_VERSION: Final = re.compile(r"\d+\.\d+\.\d+(?:-[\dA-Za-z.-]+)?(?:\+[\dA-Za-z.-]+)?", re.ASCII)
_MODULES: Final = "node_modules/"
_LONGEST: Final = 4000  # characters of a path, which has to fit below a target
_DEEPEST: Final = 64  # levels of JSON


@frozen
class Edge:
    """One package's wish for another, by the name under which it is found.

    A `peer` is wished for beside the package, by whoever installs it.
    """

    name: str
    wanted: str
    optional: bool
    peer: bool = False


@frozen
class LockedPackage:
    """One entry of the "packages" map.

    `location` is the folder relative to the project's; `name` the registry's, which an alias
    hides. `link` is what a link leads to, relative to the project's folder. `sha512` are hex
    digests, any of which counts; `algorithms` names what else "integrity" holds. `bins` are
    (command, path in the package) pairs. `raw` is the whole entry, as plain values.
    """

    location: str
    name: str
    version: str = ""
    link: str | None = None
    resolved: str = ""
    sha512: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    bundled: bool = False
    scripts: bool = False
    dev: bool = False
    optional: bool = False
    dev_optional: bool = False
    peer: bool = False
    os: tuple[str, ...] = ()
    cpu: tuple[str, ...] = ()
    libc: tuple[str, ...] = ()
    bins: tuple[tuple[str, str], ...] = ()
    edges: tuple[Edge, ...] = field(default=(), repr=False)
    raw: Mapping[str, Any] = field(factory=dict, repr=False)

    @property
    def label(self) -> str:
        """The name and version, for messages; the location where there is no version."""
        return f"{self.name} {self.version}" if self.version else self.location

    @property
    def is_installed(self) -> bool:
        """Whether the entry stands in a ``node_modules``, not in a folder of the project's own."""
        return _folder_name(self.location) is not None

    @property
    def has_version(self) -> bool:
        """Whether the version is one (https://semver.org), as all have that a registry has."""
        return _VERSION.fullmatch(self.version) is not None

    @property
    def is_local(self) -> bool:
        """Whether the package is an archive of the project's own."""
        return self.resolved.startswith("file:")


@frozen
class Lockfile:
    """A whole lockfile.

    `where` names it in messages; `packages` stand in its order, the project's own entry apart
    as `root`. `head` is everything beside the packages; `indent` and `newline` are how the
    file is written, which is how npm writes what it derives from it.
    """

    where: str
    root: LockedPackage
    packages: Mapping[str, LockedPackage]
    head: Mapping[str, Any]
    indent: str = "  "
    newline: str = "\n"


def parse(data: bytes, where: str) -> Lockfile:
    """Return the lockfile in the JSON document `data`; `where` names it in errors.

    Raises SpecError with every fault found: not JSON, keys twice, version 1, locations that
    leave the project or are no package's, fields of the wrong type.
    """
    document, text = _read(data, where)
    _check_version(document, where)
    faults: list[str] = []
    packages: dict[str, LockedPackage] = {}
    listed = document.get("packages")
    if not isinstance(listed, dict):
        raise SpecError(where, ["packages: expected an object, found none"])
    for location, entry in listed.items():
        try:
            packages[location] = _package(location, entry)
        except _FaultError as fault:
            faults.append(f"packages[{cut(json.dumps(location), 200)}]{fault}")
    if not faults:
        faults += _wrong_links(packages)
    if faults:
        raise SpecError(where, faults)
    root = packages.pop("", LockedPackage("", ""))
    head = {key: value for key, value in document.items() if key not in ("packages", *_LEGACY)}
    return Lockfile(where, root, packages, head, *_format(text))


_LEGACY: Final = ("dependencies",)


class _FaultError(Exception):
    """What is wrong with an entry, from the key on: ``.version: expected …``."""


def _read(data: bytes, where: str) -> tuple[dict[str, Any], str]:
    # npm passes over a byte-order mark, which JSON does not allow.
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        document = canonical.decode(data)
        _check_depth(document)
    except RecursionError:
        raise SpecError(where, ["nested too deeply"]) from None
    except ValueError as error:
        raise SpecError(where, [f"not JSON: {cut(str(error), 200)}"]) from None
    if not isinstance(document, dict):
        raise SpecError(where, ["expected an object, as npm writes it"])
    return document, data.decode()


def _check_depth(value: Any, level: int = 0) -> None:
    """Raise RecursionError for a document that is nested more deeply than any lockfile."""
    if level > _DEEPEST:
        raise RecursionError
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, level + 1)


def _check_version(document: Mapping[str, Any], where: str) -> None:
    version = document.get("lockfileVersion")
    if type(version) is int and version in (2, 3):
        return
    advice = ""
    if (type(version) is int and version == 1) or (version is None and "dependencies" in document):
        version = 1
        advice = "; run `npm install --package-lock-only --lockfile-version 3`"
    found = "none" if version is None else cut(json.dumps(version), 80)
    raise SpecError(where, [f"lockfileVersion: expected 2 or 3, found {found}{advice}"])


def _format(text: str) -> tuple[str, str]:
    """Return the indent and the line end of the file; npm's own where it has none."""
    match = re.match(r"\s*\{((?:\r?\n)+)([ \t]*)", text)
    return (match[2][:10] or "  ", match[1]) if match else ("  ", "\n")


def _package(location: str, entry: Any) -> LockedPackage:
    if not isinstance(entry, dict):
        raise _FaultError(": expected an object")
    if location:
        _check_location(location)
    if _flag(entry, "link"):
        return _link(location, entry)
    installed = _folder_name(location)
    name = _text(entry, "name") or installed
    version = _text(entry, "version")
    if installed is not None:
        _check_name(name or "", ".name")
    sha512, others = _integrity(_text(entry, "integrity"))
    return LockedPackage(
        location=location,
        name=name or location,
        version=version,
        resolved=_text(entry, "resolved"),
        sha512=sha512,
        algorithms=others,
        bundled=_flag(entry, "inBundle"),
        scripts=_flag(entry, "hasInstallScript"),
        dev=_flag(entry, "dev"),
        optional=_flag(entry, "optional"),
        dev_optional=_flag(entry, "devOptional"),
        peer=_flag(entry, "peer"),
        os=_words(entry, "os"),
        cpu=_words(entry, "cpu"),
        libc=_words(entry, "libc"),
        bins=tuple(_bins(entry, name or "")),
        edges=tuple(_edges(entry, top=installed is None)),
        raw=canonical.freeze(entry),
    )


def _link(location: str, entry: Mapping[str, Any]) -> LockedPackage:
    name = _folder_name(location)
    if name is None:
        raise _FaultError(": a link outside of any node_modules")
    target = posixpath.normpath(_text(entry, "resolved").removeprefix("file:") or ".")
    if target.startswith("/") or "\0" in target or not target.isprintable():
        raise _FaultError(
            f".resolved: expected a folder of the project, found {quoted(target, 200)}"
        )
    return LockedPackage(
        location, name, link="" if target == "." else target, raw=canonical.freeze(entry)
    )


def _folder_name(location: str) -> str | None:
    """Return the name under which a location's package is found; None for a project's folder."""
    _, installed, name = f"/{location}".rpartition("/" + _MODULES)
    return name if installed else None


def _check_location(location: str) -> None:
    """Raise unless `location` is a folder, or node_modules/NAME below folders of such form."""
    if len(location) > _LONGEST or location.startswith("/") or not location.isprintable():
        raise _FaultError(": expected a path within the project")
    folder, *names = f"/{location}".split("/" + _MODULES)
    for name in names:
        _check_name(name, "")
    parts = folder.removeprefix("/").split("/") if folder else []
    while parts and parts[0] == "..":
        parts.pop(0)  # a folder beside the project, which a link may lead to
    for part in parts:
        if part in ("", ".", "..", "node_modules") or "\\" in part or len(part.encode()) > 255:
            raise _FaultError(f": expected a path within the project, found {quoted(part)} in it")


def _check_name(name: str, key: str) -> None:
    if len(name) > 214 or not _NAME.fullmatch(name):
        raise _FaultError(f"{key}: expected a package's name, found {quoted(name)}")


def _wrong_links(packages: Mapping[str, LockedPackage]) -> Iterator[str]:
    for location, package in packages.items():
        if package.link and package.link not in packages:
            yield (
                f"packages[{json.dumps(location)}]: a link to {package.link!r}, which the lockfile "
                "does not hold"
            )


def _integrity(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the SHA-512 digests, in hex, and the names of other algorithms.

    W3C's Subresource Integrity: hashes apart by blanks, each of which may have options.
    """
    strong, others = [], []
    for word in text.split():
        algorithm, _, value = word.partition("?")[0].partition("-")
        if algorithm != "sha512":
            others.append(cut(algorithm, 20))
            continue
        try:
            digest = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            digest = b""
        if len(digest) != 64:
            raise _FaultError(f".integrity: expected 64 bytes in base64, found {quoted(word, 120)}")
        strong.append(digest.hex())
    return tuple(sorted(set(strong))), tuple(sorted(set(others)))


def _bins(entry: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
    """Yield (command, path in the package), made harmless as npm-normalize-package-bin does."""
    given = entry.get("bin") or {}
    if isinstance(given, str):
        given = {name: given}
    elif isinstance(given, list):
        given = {posixpath.basename(str(path)): path for path in given}
    if not isinstance(given, dict):
        raise _FaultError(".bin: expected an object")
    seen: dict[str, str] = {}
    for key, path in given.items():
        command = posixpath.basename(re.sub(r"[\\:]", "/", key).rstrip("/"))
        if not isinstance(path, str) or command in ("", ".", "..") or "\0" in command + path:
            continue
        target = posixpath.normpath("/" + path.replace("\\", "/")).lstrip("/")
        if target and len(command.encode()) <= 255:
            seen[command] = target
    yield from seen.items()


def _edges(entry: Mapping[str, Any], *, top: bool) -> Iterator[Edge]:
    """Yield what an entry depends on; only projects have devDependencies that count."""
    optional_peers = {
        name
        for name, meta in _table(entry, "peerDependenciesMeta").items()
        if isinstance(meta, dict) and meta.get("optional")
    }
    found: dict[str, Edge] = {}
    kinds = ["peerDependencies", "dependencies", "optionalDependencies"]
    # A later kind replaces an earlier one: arborist's Node, "_loadDeps".
    for kind in [*kinds, *(["devDependencies"] if top else [])]:
        for name, wanted in _table(entry, kind).items():
            peer = kind == "peerDependencies"
            optional = kind == "optionalDependencies" or (peer and name in optional_peers)
            found[name] = Edge(name, wanted if isinstance(wanted, str) else "", optional, peer)
    yield from found.values()


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key, "")
    # Old lockfiles write `false` for what there is none of.
    if value is False or value is None:
        return ""
    if not isinstance(value, str) or not value.isprintable():
        raise _FaultError(f".{key}: expected a string, found {cut(json.dumps(value), 80)}")
    return value


def _flag(entry: Mapping[str, Any], key: str) -> bool:
    value = entry.get(key, False)
    if not isinstance(value, bool):
        raise _FaultError(f".{key}: expected true or false, found {cut(json.dumps(value), 80)}")
    return value


def _words(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = entry.get(key) or []
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _FaultError(f".{key}: expected an array of strings")
    return tuple(words)


def _table(entry: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = entry.get(key) or {}
    if not isinstance(value, dict):
        raise _FaultError(f".{key}: expected an object")
    return value


def tarball_path(name: str, version: str) -> str:
    """Return where registries have a package's archive, relative to the registry."""
    return f"{name}/-/{name.rpartition('/')[2]}-{version}.tgz"


def other_path(package: LockedPackage) -> str | None:
    """Return the path of the URL in "resolved", if it is not where registries have archives."""
    if not package.resolved.startswith(("https://", "http://")):
        return None
    try:
        path = urlsplit(package.resolved).path
    except ValueError:
        return None
    usual = "/" + tarball_path(package.name, package.version)
    return None if not path or unquote(path).endswith(usual) else path


def local_path(package: LockedPackage) -> str:
    """Return the path of a ``file:`` archive, relative to the lockfile's folder.

    Raises ValueError, saying what was expected, for one that leaves it.
    """
    path = posixpath.normpath(package.resolved.removeprefix("file:"))
    if path.startswith(("/", "../")) or path in (".", "..") or not path.isprintable():
        raise ValueError(f"expected an archive in the lockfile's folder, found {quoted(path, 200)}")
    return path


def enclosing_locations(location: str) -> Iterable[str]:
    """Yield the packages' locations that `location` lies in, nearest first."""
    while "/" + _MODULES in location:
        location = location.rpartition("/" + _MODULES)[0]
        yield location
