"""apt's own sources and keys: where this machine has Debian's packages from, and whom it trusts.

Part of `immutable.config`, which alone reads this machine's settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from immutable.reading import read_file

APT = Path("/etc/apt")
KEYRINGS = Path("/usr/share/keyrings")

SCHEMES = ("http://", "https://", "file:///")
_FINGERPRINT = re.compile(r"(?:[0-9A-Fa-f]{40}|[0-9A-Fa-f]{16})!?")


@frozen
class Keyring:
    """The keys that may sign an archive's indexes.

    `origin` says for messages where the choice comes from; `files` hold binary or armoured
    keys; `armoured` is a key given in place; with `fingerprints` (lower-case hex) only those
    keys count.
    """

    origin: str
    files: tuple[Path, ...] = ()
    armoured: str = ""
    fingerprints: tuple[str, ...] = ()


@frozen
class AptSource:
    """One entry of apt's sources: binary packages from `uris`.

    `signed_by` is None where the entry leaves the choice to apt's trusted keys.
    """

    where: Path
    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: Keyring | None = None


def read_apt_sources(folder: Path) -> Iterator[AptSource]:
    """Yield the entries for binary packages in apt's `folder`: sources.list(5), both forms.

    What apt is told to ignore, and what cannot be understood, is passed over: third parties
    put files there, and none of them should keep Debian's own from being used.
    """
    one_line = [folder / "sources.list", *_listing(folder / "sources.list.d", ".list")]
    for path in one_line:
        for line in _read_text(path).splitlines():
            yield from _one_line_source(path, line)
    for path in _listing(folder / "sources.list.d", ".sources"):
        for stanza in _stanzas(_read_text(path)):
            yield from _deb822_source(path, stanza)


def _one_line_source(path: Path, line: str) -> Iterator[AptSource]:
    text = line.partition("#")[0].strip()
    match = re.fullmatch(r"deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)((?:\s+\S+)*)", text)
    if match is None:
        return
    options = {
        key.lower(): value
        for key, equals, value in (word.partition("=") for word in (match[1] or "").split())
        if equals
    }
    signed_by = _signed_by(path, options.get("signed-by", "").replace(",", " "))
    uris = _usable_uris([match[2]])
    if uris:
        yield AptSource(path, uris, (match[3],), tuple(match[4].split()), signed_by)


def _deb822_source(path: Path, stanza: Mapping[str, str]) -> Iterator[AptSource]:
    if "deb" not in stanza.get("types", "").split():
        return
    if stanza.get("enabled", "yes").strip().lower() in ("no", "false", "without", "off", "disable"):
        return
    uris = _usable_uris(stanza.get("uris", "").split())
    suites = tuple(stanza.get("suites", "").split())
    if uris and suites:
        components = tuple(stanza.get("components", "").split())
        signed_by = _signed_by(path, stanza.get("signed-by", ""))
        yield AptSource(path, uris, suites, components, signed_by)


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """Yield the fields of each stanza of a deb822(5) file, their names in lower case."""
    for block in re.split(r"\n(?:[ \t]*\n)+", text):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t"):
                if name:
                    fields[name] += "\n" + line[1:]
                continue
            key, colon, value = line.partition(":")
            name = key.strip().lower() if colon else ""
            if name:
                fields[name] = value.strip()
        if fields:
            yield fields


def _usable_uris(uris: Iterable[str]) -> tuple[str, ...]:
    """Return the URIs that can be fetched, a list of mirrors in a file read in its place."""
    usable: list[str] = []
    for uri in uris:
        if uri.startswith("mirror+file:/"):
            listed = _read_text(Path("/" + uri.removeprefix("mirror+file:").lstrip("/")))
            lines = [line.split() for line in listed.splitlines() if not line.startswith("#")]
            usable += [line[0] for line in lines if line and line[0].startswith(SCHEMES)]
        elif uri.startswith("file:/"):
            usable.append("file:///" + uri.removeprefix("file:").lstrip("/"))
        elif uri.startswith(SCHEMES):
            usable.append(uri)
    return tuple(uri.rstrip("/") for uri in usable)


def _signed_by(path: Path, value: str) -> Keyring | None:
    if not value.strip():
        return None
    origin = f"Signed-By in {path}"
    if "-----BEGIN" in value:
        lines = (line.strip() for line in value.strip().splitlines())
        return Keyring(origin, armoured="\n".join("" if line == "." else line for line in lines))
    words = value.split()
    return Keyring(
        origin,
        files=tuple(Path(word) for word in words if word.startswith("/")),
        fingerprints=tuple(
            word.rstrip("!").lower() for word in words if _FINGERPRINT.fullmatch(word)
        ),
    )


def choose_sources(sources: Sequence[AptSource], archive: str, suite: str) -> tuple[AptSource, ...]:
    """Return the entries that are mirrors of Debian's `archive`, best first.

    Third parties, too, have suites called bookworm: one whose path also ends like the archive's
    comes before one of the same suite, and before one that only has the path, which may stand
    for any suite since a mirror carries all. Entries that trust other keys than the best one
    are left out: they are another archive.
    """
    debian = [source for source in sources if "main" in source.components]
    named = [source for source in debian if suite in source.suites]
    pathed = [source for source in debian if _path_ends(source, archive)]
    for group in ([source for source in named if source in pathed], named, pathed):
        if group:
            return tuple(one for one in group if _same_keys(one, group[0]))
    return ()


def _path_ends(source: AptSource, archive: str) -> bool:
    return any(uri.endswith("/" + archive) for uri in source.uris)


def _same_keys(one: AptSource, other: AptSource) -> bool:
    def keys(source: AptSource) -> tuple[object, ...] | None:
        ring = source.signed_by
        return (ring.files, ring.armoured, ring.fingerprints) if ring else None

    return keys(one) == keys(other)


def system_keys(apt: Path, keyrings: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return Debian's own keyring, and the files of keys that apt trusts for any source."""
    debian = [keyrings / f"debian-archive-keyring.{ending}" for ending in ("pgp", "gpg")]
    trusted = [apt / "trusted.gpg", *_listing(apt / "trusted.gpg.d", ".asc", ".gpg", ".pgp")]
    return (
        tuple(path for path in debian if path.is_file())[:1],
        tuple(path for path in trusted if path.is_file()),
    )


def _listing(folder: Path, *endings: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in endings)
    except OSError:
        return []


def _read_text(path: Path) -> str:
    try:
        return read_file(path).decode("utf-8", "replace")
    except OSError:
        return ""
