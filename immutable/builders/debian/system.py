"""What the scripts of the base packages make: accounts, login shells, standard files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from immutable.builders.debian import certificates, java, shell
from immutable.builders.debian.package import UnpackedPackage
from immutable.builders.debian.tree import Tree
from immutable.content.entries import Entry, EntryKind, directory, file, parent, safe_path, symlink

_BASE_FILES: Final = b"/usr/share/base-files/"
# The static groups that base-files names: Debian policy 9.2.2, the same on every system.
_GROUPS: Final = {"root": 0, "adm": 4, "mail": 8, "utmp": 43, "staff": 50}
_SHADOW: Final = 42


def add(packages: Iterable[UnpackedPackage], tree: Tree) -> None:
    """Add to `tree` what installing `packages` makes beyond their files."""
    by_name = {package.name: package for package in packages}
    for name, effect in _EFFECTS.items():
        if name in by_name:
            tree.add(*effect(by_name[name], tree, by_name))


Effect = Callable[[UnpackedPackage, Tree, Mapping[str, UnpackedPackage]], Iterable[Entry]]


def _standard_files(package: UnpackedPackage, tree: Tree, _all: object) -> Iterator[Entry]:
    """Yield what a postinst says by the helper functions that base-files and libc-bin define.

    Reading the calls rather than keeping a list of them follows the release.
    """
    for words in shell.commands(package.text("postinst")):
        if None not in words:
            yield from _called([word or "" for word in words], tree)


def _called(words: list[str], tree: Tree) -> Iterator[Entry]:
    match words:
        case ["install_from_default", source, path]:
            data = tree.read(_in_base_files(source))
            place = _path(path)
            holder = tree.find(parent(place))
            if data is not None and holder is not None and holder.kind is EntryKind.DIRECTORY:
                yield file(place, data)
        case ["install_directory", path, mode, group] if group in _GROUPS and _is_mode(mode):
            yield directory(_path(path), int(mode, 8), 0, _GROUPS[group])
        case ["install_local_dir", path]:
            yield directory(_path(path))
        case ["ensure_file_owner_mode", path, owner, mode] if _is_mode(mode):
            user, _, group = owner.partition(":")
            if user == "root" and group in _GROUPS:
                yield file(_path(path), b"", int(mode, 8), 0, _GROUPS[group])
        case ["migrate_directory", path, target] | ["ln", "-s" | "-sf", target, path]:
            yield symlink(_path(path), target.encode("utf-8", "surrogateescape"))


def _in_base_files(source: str) -> bytes:
    raw = source.encode("utf-8", "surrogateescape")
    return raw if source.startswith("/") else _BASE_FILES + raw


def _path(text: str) -> bytes:
    return safe_path(text.encode("utf-8", "surrogateescape"), reroot=True)


def _is_mode(text: str) -> bool:
    return re.fullmatch(r"[0-7]{3,4}", text) is not None


def _accounts(
    _package: UnpackedPackage, tree: Tree, packages: Mapping[str, UnpackedPackage]
) -> Iterator[Entry]:
    """Yield base-passwd's accounts and, with the package passwd, their shadows.

    The day of a password's last change is left empty: the first day of 1970 would make pam_unix
    ask for a new one.
    """
    passwd = tree.read(b"usr/share/base-passwd/passwd.master")
    group = tree.read(b"usr/share/base-passwd/group.master")
    if passwd is None or group is None:
        return
    if "passwd" in packages:
        names = (line.partition(b":")[0] for line in passwd.splitlines())
        shadow = b"".join(name + b":*::0:99999:7:::\n" for name in names)
        names = (line.partition(b":")[0] for line in group.splitlines())
        gshadow = b"".join(name + b":*::\n" for name in names)
        yield file(b"etc/shadow", shadow, 0o640, 0, _SHADOW)
        yield file(b"etc/gshadow", gshadow, 0o640, 0, _SHADOW)
        passwd, group = _shadowed(passwd), _shadowed(group)
    yield file(b"etc/passwd", passwd)
    yield file(b"etc/group", group)


def _shadowed(table: bytes) -> bytes:
    return re.sub(rb"(?m)^([^:\n]+):\*:", rb"\1:x:", table)


def _shells(_package: UnpackedPackage, tree: Tree, _all: object) -> Iterator[Entry]:
    """Yield /etc/shells as update-shells(8) makes it on a new system, and its own record."""
    template = tree.read(b"usr/share/debianutils/shells")
    if template is None:
        return
    folder = b"usr/share/debianutils/shells.d"
    sources = [template, *(tree.read(path) or b"" for path in tree.within(folder))]
    shells: dict[bytes, None] = {}
    for source in sources:
        for line in source.splitlines():
            name = line.partition(b"#")[0].strip()
            if name:
                shells[name] = None
                real = tree.real(parent(name))
                if real:
                    shells[b"/" + real + b"/" + name.rpartition(b"/")[2]] = None
    present = {line.partition(b"#")[0] for line in template.splitlines()}
    added = b"".join(name + b"\n" for name in shells if name not in present)
    yield file(b"etc/shells", template + added)
    yield file(b"var/lib/shells.state", b"".join(name + b"\n" for name in shells))


def _certificates(_package: UnpackedPackage, tree: Tree, _all: object) -> Iterator[Entry]:
    return certificates.entries(tree)


def _keystore(_package: UnpackedPackage, tree: Tree, _all: object) -> Iterator[Entry]:
    return java.keystore(tree)


# In the order in which the effects build upon one another.
_EFFECTS: Final[Mapping[str, Effect]] = {
    "base-files": _standard_files,
    "base-passwd": _accounts,
    "libc-bin": _standard_files,
    "debianutils": _shells,
    "ca-certificates": _certificates,
    "ca-certificates-java": _keystore,
}

SYNTHESISED: Final = frozenset({*_EFFECTS, "passwd"})
