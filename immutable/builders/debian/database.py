"""dpkg's database of a layer's packages, as dpkg(1) itself would have left it.

Maintainer scripts are in it, though none was run here: an image that is built upon this one may
upgrade or remove packages, and dpkg then calls what it finds. What the layer leaves out is in no
list, so that ``dpkg --verify`` is content and scanners see what there is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from immutable.builders.debian.package import UnpackedPackage
from immutable.builders.debian.tree import Tree
from immutable.content.entries import Entry, EntryKind, directory, file, show
from immutable.errors import EntryError
from immutable.redact import quoted

FOLDER: Final = b"var/lib/dpkg"
STATUS: Final = FOLDER + b"/status"
TRIGGERS: Final = FOLDER + b"/triggers"
FILE_TRIGGERS: Final = TRIGGERS + b"/File"

_SCRIPTS: Final = frozenset({"config", "postinst", "postrm", "preinst", "prerm"})
_TRIGGER: Final = re.compile(r"/[!-~]*|(?!\.)[!-.0-~]+", re.ASCII)
_RESERVED: Final = frozenset({"File", "Lock", "Unincorp"})  # dpkg's own files beside triggers
_OWN: Final = frozenset({"control", "md5sums", "list"})  # not taken over as they are


def entries(
    packages: Sequence[UnpackedPackage], tree: Tree, lower: Mapping[bytes, bytes]
) -> list[Entry]:
    """Return the database's files.

    `lower` are those of the database in the lower layers, by path; what is in them is kept.
    """
    made = [
        directory(FOLDER + suffix)
        for suffix in (b"", b"/alternatives", b"/info", b"/parts", b"/triggers", b"/updates")
    ]
    made.append(file(STATUS, _status(packages, tree, lower.get(STATUS, b""))))
    if STATUS not in lower:
        made.append(file(FOLDER + b"/available", b""))
        made.append(file(FOLDER + b"/info/format", b"1\n"))
    for package in packages:
        made += _info(package, tree)
    made += _triggers(packages, lower)
    return made


def trigger_names(packages: Iterable[UnpackedPackage]) -> set[bytes]:
    """Return the paths of the database's files of explicit triggers that packages have."""
    return {
        TRIGGERS + b"/" + name.encode()
        for package in packages
        for name, _ in _interests(package)
        if not name.startswith("/")
    }


def _status(packages: Sequence[UnpackedPackage], tree: Tree, lower: bytes) -> bytes:
    """Return the status file: a stanza a package, sorted, those of `lower` included."""
    stanzas = {_key(stanza): stanza for stanza in lower.split(b"\n\n") if stanza.strip()}
    for package in packages:
        stanza = _stanza(package, tree)
        stanzas[_key(stanza)] = stanza
    return b"".join(stanzas[key].strip(b"\n") + b"\n\n" for key in sorted(stanzas))


def _key(stanza: bytes) -> tuple[bytes, bytes]:
    """Return a stanza's package and, where there may be several of a name, architecture."""
    fields: dict[bytes, bytes] = {}
    for line in stanza.split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon and not line[:1].isspace():
            fields[name.lower()] = value.strip()
    same = fields.get(b"multi-arch") == b"same"
    return fields.get(b"package", b""), fields.get(b"architecture", b"") if same else b""


def _stanza(package: UnpackedPackage, tree: Tree) -> bytes:
    lines = []
    conffiles = "".join(f"\n {path} {md5}" for path, md5 in _conffiles(package, tree))
    for name, value in package.control.fields:
        if name.lower() in ("status", "conffiles"):
            continue
        if name.lower() == "description" and conffiles:
            lines.append(f"Conffiles:{conffiles}")
            conffiles = ""
        lines.append(f"{name}: {value}" if not value.startswith("\n") else f"{name}:{value}")
        if name.lower() == "package":
            lines.append("Status: install ok installed")
    if conffiles:
        lines.append(f"Conffiles:{conffiles}")
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _conffiles(package: UnpackedPackage, tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield each configuration file that is there, with its MD5 (deb-conffiles(5))."""
    shipped = {one.path for one in package.files}
    for line in package.text("conffiles").split("\n"):
        # Anything else on the line is a flag: the file is to be removed on upgrade.
        path = line.strip()
        raw = path.encode("utf-8", "surrogateescape")
        entry = tree.find(raw) if path.startswith("/") and raw.lstrip(b"/") in shipped else None
        if entry is not None and entry.kind in (EntryKind.FILE, EntryKind.HARDLINK):
            yield path, _md5(entry)


def _info(package: UnpackedPackage, tree: Tree) -> Iterator[Entry]:
    stem = FOLDER + b"/info/" + package.database_name.encode() + b"."
    paths = [b"/."] + [b"/" + one.path for one in package.files]
    for path in paths:
        if b"\n" in path:
            raise EntryError(f"{package.name}: {show(path)}: a line break, which no list can hold")
    yield file(stem + b"list", b"".join(path + b"\n" for path in paths))
    yield file(stem + b"md5sums", _md5sums(package, tree))
    for name, data in sorted(package.members.items()):
        if name in _OWN:
            continue
        if not name.isascii() or not name.isprintable() or "/" in name:
            raise EntryError(f"{package.name}: a control member called {name!r}")
        yield file(stem + name.encode(), data, 0o755 if name in _SCRIPTS else 0o644)


def _md5sums(package: UnpackedPackage, tree: Tree) -> bytes:
    """Return the package's own sums of what is there; without any, made as dpkg does."""
    shipped = {one.path for one in package.files}
    given = package.members.get("md5sums")
    if given is not None:
        lines = (line for line in given.split(b"\n") if line)
        return b"".join(
            line + b"\n" for line in lines if line[34:].removeprefix(b"./").lstrip(b"/") in shipped
        )
    conffiles = {
        path.lstrip("/").encode("utf-8", "surrogateescape") for path, _ in _conffiles(package, tree)
    }
    return b"".join(
        _md5(one.entry).encode() + b"  " + one.path + b"\n"
        for one in package.files
        if one.entry.kind in (EntryKind.FILE, EntryKind.HARDLINK) and one.path not in conffiles
    )


def _md5(entry: Entry) -> str:
    hasher = hashlib.md5(usedforsecurity=False)
    if entry.content is not None:
        for piece in entry.content.read():
            hasher.update(piece)
    return hasher.hexdigest()


def _triggers(packages: Sequence[UnpackedPackage], lower: Mapping[bytes, bytes]) -> Iterator[Entry]:
    """Yield who is to be called for which trigger: deb-triggers(5), dpkg's triggers.txt."""
    lines: dict[bytes, list[bytes]] = {}
    for path, data in lower.items():
        if path.startswith(TRIGGERS + b"/"):
            lines[path] = [line for line in data.split(b"\n") if line]
    for package in packages:
        for name, who in _interests(package):
            if name.startswith("/"):
                path, line = FILE_TRIGGERS, f"{name} {who}".encode()
            else:
                path, line = TRIGGERS + b"/" + name.encode(), who.encode()
            present = lines.setdefault(path, [])
            if line not in present:
                present.append(line)
    for path in sorted(lines):
        yield file(path, b"".join(line + b"\n" for line in lines[path]))


def _interests(package: UnpackedPackage) -> Iterator[tuple[str, str]]:
    """Yield each trigger that the package waits for, with how its file names the package."""
    for line in package.text("triggers").splitlines():
        words = line.partition("#")[0].split()
        if len(words) != 2 or not words[0].startswith("interest"):
            continue
        how, name = words
        if not _TRIGGER.fullmatch(name) or name in _RESERVED:
            raise EntryError(f"{package.name}: a trigger called {quoted(name)}")
        suffix = "/noawait" if how == "interest-noawait" else ""
        yield name, package.database_name + suffix
