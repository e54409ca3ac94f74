"""The links of update-alternatives(1), from what packages' scripts would ask it for.

The calls are read from the scripts' text. One whose words depend on the run, as within a loop,
cannot be and is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve, field, frozen

from immutable.builders.debian import shell
from immutable.builders.debian.package import UnpackedPackage
from immutable.builders.debian.tree import Tree
from immutable.content.entries import Entry, EntryKind, file, symlink

FOLDER: Final = b"var/lib/dpkg/alternatives"
_LINKS: Final = b"etc/alternatives/"
# What may stand before a command's name without changing what it is called with.
_PREFIXES: Final = frozenset({"then", "else", "do", "{", "!", "if", "exec", "elif"})


def _frozen(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping))


@frozen
class Choice:
    """One way to provide an alternative: `slaves` maps their names to paths."""

    path: str
    priority: int
    slaves: Mapping[str, str] = field(converter=_frozen)


@frozen
class Alternative:
    """One alternative: `slaves` maps their names to their links."""

    name: str
    link: str
    slaves: Mapping[str, str] = field(converter=_frozen)
    choices: Mapping[str, Choice] = field(converter=_frozen)
    automatic: bool = True

    def having(self, other: Alternative) -> Alternative:
        """Return this with the choices of `other` as well; those of the same path win."""
        return evolve(
            self,
            link=other.link,
            slaves={**self.slaves, **other.slaves},
            choices={**self.choices, **other.choices},
        )


def calls(packages: Iterable[UnpackedPackage]) -> Iterator[Alternative]:
    """Yield what each call in the packages' postinst scripts would install."""
    for package in packages:
        for words in shell.commands(package.text("postinst")):
            call = _call(words)
            if call is not None:
                yield call


def merged(calls: Iterable[Alternative]) -> dict[str, Alternative]:
    """Return by name the alternatives that `calls` make, less those that no file can hold."""
    found: dict[str, Alternative] = {}
    for call in filter(_is_safe, calls):
        found[call.name] = found[call.name].having(call) if call.name in found else call
    return found


def admin_path(name: str) -> bytes:
    """Return the path of the file in which dpkg keeps the alternative `name`."""
    return FOLDER + b"/" + name.encode()


def entries(
    called: Mapping[str, Alternative], tree: Tree, lower: Mapping[bytes, bytes]
) -> Iterator[Entry]:
    """Yield links and dpkg's records of the alternatives that can be provided.

    `lower` holds the records of the lower layers, by path. A choice whose file is not there
    is none. As ``update-alternatives`` has it, the highest priority wins, of equal ones the
    first by path here, and no link replaces a file.
    """
    for name in sorted(called):
        fresh = called[name]
        choices = {p: c for p, c in fresh.choices.items() if tree.find(p.encode()) is not None}
        if not choices or _occupied(tree, fresh.link):
            continue
        alternative = evolve(fresh, choices=choices)
        record = lower.get(admin_path(name))
        if record is not None:
            older = _parse(name, record)
            if older is None:
                continue
            alternative = older.having(alternative)
        yield file(admin_path(name), _dump(alternative))
        if alternative.automatic:
            best = min(alternative.choices.values(), key=lambda c: (-c.priority, c.path))
            # What a lower layer chose and still stands needs no repeating.
            if best.path in choices:
                yield from _links(alternative, best, tree)


def _links(alternative: Alternative, best: Choice, tree: Tree) -> Iterator[Entry]:
    yield from _pair(alternative.name, alternative.link, best.path)
    for name, link in sorted(alternative.slaves.items()):
        path = best.slaves.get(name)
        if path and tree.find(path.encode()) is not None and not _occupied(tree, link):
            yield from _pair(name, link, path)


def _pair(name: str, link: str, path: str) -> Iterator[Entry]:
    middle = _LINKS + name.encode()
    yield symlink(middle, path.encode())
    yield symlink(link.strip("/").encode(), b"/" + middle)


def _occupied(tree: Tree, link: str) -> bool:
    present = tree.get(link.encode())
    return present is not None and present.kind is not EntryKind.SYMLINK


def _call(words: Sequence[shell.Word]) -> Alternative | None:
    """Return what a command asks of update-alternatives; None for other or unknown words."""
    rest = list(words)
    while rest and rest[0] in _PREFIXES:
        rest.pop(0)
    if not rest or (rest.pop(0) or "").rpartition("/")[2] != "update-alternatives":
        return None
    while rest and rest[0] in ("--quiet", "--force", "--verbose"):
        rest.pop(0)
    if len(rest) < 5 or rest[0] != "--install" or None in rest:
        return None
    plain = [word or "" for word in rest]
    link, name, path, priority = plain[1:5]
    slaves: dict[str, str] = {}
    paths: dict[str, str] = {}
    rest_words = plain[5:]
    while len(rest_words) >= 4 and rest_words[0] == "--slave":
        _, slave_link, slave, slave_path = rest_words[:4]
        slaves[slave], paths[slave] = slave_link, slave_path
        rest_words = rest_words[4:]
    number = priority.removeprefix("-")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        return None
    return Alternative(name, link, slaves, {path: Choice(path, int(priority), paths)})


def _is_safe(call: Alternative) -> bool:
    """Tell whether names and paths are such that files can be made of them."""
    names = {call.name, *call.slaves}
    places = {call.link, *call.slaves.values()}
    for choice in call.choices.values():
        places |= {choice.path, *choice.slaves.values()}
    return all(map(_is_name, names)) and all(map(_is_place, places))


def _is_name(name: str) -> bool:
    return bool(name) and "/" not in name and name not in (".", "..") and _is_one_line(name)


def _is_place(path: str) -> bool:
    return path.startswith("/") and ".." not in path.split("/") and _is_one_line(path)


def _is_one_line(text: str) -> bool:
    return text.isprintable() and len(text) < 4096


# --- dpkg's records: utils/update-alternatives.c, "altdb" ---


def _dump(alternative: Alternative) -> bytes:
    slaves = sorted(alternative.slaves.items())
    lines = ["auto" if alternative.automatic else "manual", alternative.link]
    for name, link in slaves:
        lines += [name, link]
    lines.append("")
    for path, choice in sorted(alternative.choices.items()):
        lines += [path, str(choice.priority)]
        lines += [choice.slaves.get(name, "") for name, _ in slaves]
    return "".join(line + "\n" for line in [*lines, ""]).encode()


def _parse(name: str, record: bytes) -> Alternative | None:
    """Return the alternative that a record holds; None if it cannot be understood."""
    try:
        lines = iter(record.decode("utf-8").split("\n"))
        mode, link = next(lines), next(lines)
        slaves: dict[str, str] = {}
        while slave := next(lines):
            slaves[slave] = next(lines)
        choices: dict[str, Choice] = {}
        while path := next(lines):
            priority = int(next(lines))
            paths = {slave: next(lines) for slave in slaves}
            choices[path] = Choice(path, priority, {k: v for k, v in paths.items() if v})
    except (StopIteration, ValueError):
        return None
    return Alternative(name, link, slaves, choices, mode == "auto")
