"""``node_modules/.package-lock.json``: what npm writes of a tree that it has installed.

The bytes are npm's own, as with its setting ``omit-lockfile-registry-resolved``: an image does
not say which mirror its packages came from.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from immutable.oci import canonical
from immutable.sources.npm.lockfile import LockedPackage, Lockfile

# Shrinkwrap's "pkgMetaKeys" and "nodeMetaKeys", and what its "metaFromNode" adds.
_KEPT: Final = frozenset(
    [
        *("name", "version", "resolved", "integrity", "link", "inBundle", "hasShrinkwrap"),
        *("dependencies", "devDependencies", "optionalDependencies", "peerDependencies"),
        *("peerDependenciesMeta", "bundleDependencies", "acceptDependencies", "workspaces"),
        *("funding", "engines", "os", "cpu", "libc", "license", "hasInstallScript", "bin"),
        *("deprecated", "extraneous", "peer", "dev", "optional", "devOptional"),
    ]
)
# Shrinkwrap's "swKeyOrder": these first, wherever they stand.
_FIRST: Final = (
    *("name", "version", "lockfileVersion", "resolved", "integrity", "requires"),
    *("packages", "dependencies"),
)
# ASCII in the order of the Unicode Collation Algorithm (CLDR's root): `localeCompare`.
_ORDER: Final = "_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz"
_WEIGHTS: Final = {character: weight for weight, character in enumerate(_ORDER, 1)}


def text(lockfile: Lockfile, kept: Collection[str]) -> bytes:
    """Return the hidden lockfile of a tree that has the packages at the locations `kept`."""
    packages = {
        location: _entry(package)
        for location, package in lockfile.packages.items()
        if location in kept
    }
    document = {
        **canonical.thaw(lockfile.head),
        "lockfileVersion": 3,
        "requires": True,
        "packages": packages,
    }
    written = json.dumps(_sorted(document), indent=lockfile.indent, ensure_ascii=False)
    return (written + "\n").replace("\n", lockfile.newline).encode()


def _entry(package: LockedPackage) -> dict[str, Any]:
    if package.link is not None:
        return {"resolved": package.link, "link": True}
    kept = {k: v for k, v in canonical.thaw(package.raw).items() if k in _KEPT and v}
    if not package.is_local:
        kept.pop("resolved", None)
    if not package.bundled:
        kept.pop("extraneous", None)  # what is in the tree is not, whatever the lockfile says
    # As npm does with the old way of writing it.
    if isinstance(kept.get("license"), Mapping) and kept["license"].get("type"):
        kept["license"] = kept["license"]["type"]
    return kept


def _sorted(value: Any) -> Any:
    """Return `value` with its keys in npm's order: plain values first, then objects."""
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    pairs = sorted(value.items(), key=lambda pair: (isinstance(pair[1], Mapping), _rank(pair[0])))
    return {key: _sorted(item) for key, item in pairs}


def _rank(key: str) -> tuple[int, object]:
    return (0, _FIRST.index(key)) if key in _FIRST else (1, collation_key(key))


def collation_key(word: str) -> tuple[object, ...]:
    """Return what sorts `word` as JavaScript's ``localeCompare(…, "en")`` does; exact for ASCII.

    Letters differ by case only where nothing else does, small ones first.
    """
    return (
        tuple(_WEIGHTS.get(c, len(_ORDER) + ord(c)) for c in word.lower()),
        tuple(c.isupper() for c in word),
        word,
    )


def ordered(locations: Iterable[str]) -> list[str]:
    """Return locations in the order in which npm links their commands: flat ones first."""
    return sorted(locations, key=lambda one: (_depth(one), collation_key(one)))


def _depth(location: str) -> int:
    return f"/{location}".count("/node_modules/")
