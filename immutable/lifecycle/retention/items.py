"""What retention judges and what it says: one shape for a store, a registry and an engine."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from attrs import Attribute, field, frozen

from immutable.oci.digest import Digest

# Where a time is asked for, reproducible builds write the epoch, the second after it (Nix) or the
# first of 1980 (buildpacks), and nothing was made then.
_FIRST: Final = datetime(1981, 1, 1, tzinfo=UTC)

# The referrers tag schema of the OCI distribution-spec, and cosign's tags made like it.
_COMPANION: Final = re.compile(r"sha256-([0-9a-f]{64})(?:\.[a-z0-9.-]+)?", re.ASCII)

# What text may hold of a digest, a repository's name and a tag.
_HEX: Final = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{64}(?![0-9A-Za-z])")
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ESCAPED: Final = re.compile(r"\\[nrt/]")
_LONGEST: Final = 512  # characters of a name, its registry included, or of a tag


def _aware(_item: object, attribute: Attribute[datetime | None], value: datetime | None) -> None:
    if value is not None and value.tzinfo is None:
        raise ValueError(f"{attribute.name}: expected a time with its offset from UTC")


def _digests(values: Iterable[Digest]) -> tuple[Digest, ...]:
    return tuple(values)


def _sorted(tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(tags)))


@frozen(kw_only=True)
class Item:
    """One manifest or index under the image `name`, as wherever it stands tells it.

    - `number`: that of its generation, where there are generations;
    - `created`: when it was made or came here; None, or a time before 1981 such as reproducible
      builds write, where nobody knows;
    - `current`: whether the bare name means it; `pinned`: whether something keeps it that is no
      policy's business, such as a person or a running container;
    - `size`: in bytes, of whatever the caller counts; nothing is decided by it;
    - `children`: every manifest below it, if it is an index;
    - `subject`: what it is a referrer of;
    - `aliases`: other digests that it is called by, such as an image ID.
    """

    name: str
    digest: Digest
    number: int | None = None
    created: datetime | None = field(default=None, validator=_aware)
    tags: tuple[str, ...] = field(default=(), converter=_sorted)
    current: bool = False
    pinned: bool = False
    size: int = 0
    media_type: str = ""
    children: tuple[Digest, ...] = field(default=(), converter=_digests)
    subject: Digest | None = None
    aliases: tuple[Digest, ...] = field(default=(), converter=_digests)

    @property
    def known_since(self) -> datetime | None:
        """When it was made, or None where nobody knows."""
        return self.created if self.created is not None and self.created >= _FIRST else None

    @property
    def own_tags(self) -> tuple[str, ...]:
        """Its tags without those that say what it refers to (``sha256-<hex>.sig``)."""
        return tuple(tag for tag in self.tags if not _COMPANION.fullmatch(tag))

    @property
    def refers_to(self) -> Digest | None:
        """Its subject, also where only its tag says so."""
        if self.subject is not None or self.own_tags:
            return self.subject
        found = {match[1] for tag in self.tags if (match := _COMPANION.fullmatch(tag))}
        return Digest(found.pop()) if len(found) == 1 else None

    def __str__(self) -> str:
        if self.number is not None:
            return f"{self.name}@{self.number}"
        return f"{self.name}:{self.tags[0]}" if self.tags else f"{self.name}@{self.digest}"


@frozen
class Decision:
    """Whether `item` stays, and why.

    `reason` is for people and starts with ``kept:`` or ``expired:``; `rule` is the number, from
    1, of the rule that keeps it or the first that lets it go; None where no rule had a say.
    """

    item: Item
    keep: bool
    rule: int | None
    reason: str


@frozen
class Mention:
    """What the text `where` may name: digests, repositories and tags, comments included."""

    where: str
    digests: frozenset[Digest] = frozenset()
    names: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str, where: str) -> Mention:
        """Return what `text` may name.

        Nothing is parsed, so that it takes YAML, JSON, TOML, HCL or anything else: every run of
        64 hex digits is a digest, with ``sha256:`` or without; every word may be a name or a tag.
        ``repository: shop/web`` and ``tag: 1.4.0`` on two lines count as ``shop/web:1.4.0`` does.
        """
        # A manifest in a JSON string has its line ends and slashes escaped.
        plain = _ESCAPED.sub(lambda match: "/" if match[0] == "\\/" else "\n", text)
        names, tags = set(_WORD.findall(plain)), set(_TAG.findall(plain))
        if plain != text:
            names.update(_WORD.findall(text))
            tags.update(_TAG.findall(text))
        tags.update(tag.rstrip(".-") for tag in tuple(tags))  # a sentence may end in a tag
        return cls(
            where,
            frozenset(Digest(found.lower()) for found in _HEX.findall(plain)),
            frozenset(name.rstrip("./-_") for name in names if len(name) <= _LONGEST),
            frozenset(tag for tag in tags if len(tag) <= _LONGEST),
        )


def _mentions(values: Iterable[Mention]) -> tuple[Mention, ...]:
    return tuple(values)


@frozen
class Deployed:
    """What is in use, as far as `mentions` of it tell."""

    mentions: tuple[Mention, ...] = field(default=(), converter=_mentions)

    @property
    def digests(self) -> frozenset[Digest]:
        """All digests that are mentioned."""
        return frozenset().union(*(mention.digests for mention in self.mentions))


class Lookup:
    """Answers whether an item is deployed. Built once for many items."""

    def __init__(self, deployed: Deployed) -> None:
        self._digests: dict[Digest, str] = {}
        for mention in deployed.mentions:
            for digest in mention.digests:
                self._digests.setdefault(digest, mention.where)
        self._mentions = [(mention, _by_last(mention.names)) for mention in deployed.mentions]
        self._known: dict[str, list[Mention]] = {}

    def where(self, item: Item) -> str | None:
        """Return what mentions `item`: by a digest of it or in it, or by its name and a tag.

        A name in a text may have a registry before it that the item's has not, or the other
        way round. A text that names the image speaks of its tag ``latest`` too.
        """
        for digest in (item.digest, *item.aliases, *item.children):
            if digest in self._digests:
                return self._digests[digest]
        for mention in self._naming(item.name) if item.tags else ():
            if not mention.tags.isdisjoint(item.tags) or "latest" in item.tags:
                return mention.where
        return None

    def _naming(self, name: str) -> list[Mention]:
        found = self._known.get(name)
        if found is None:
            found = [mention for mention, names in self._mentions if _names(names, name)]
            self._known[name] = found
        return found


def _by_last(names: Iterable[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[name.rpartition("/")[2]].append(name)
    return dict(found)


def _names(words: Mapping[str, list[str]], name: str) -> bool:
    """Whether one of `words`, by their last part, is `name`, or either is the other's end."""
    name = name.rpartition(":")[2]  # words end at the colon before a registry's port
    return any(
        f"/{word}".endswith(f"/{name}") or f"/{name}".endswith(f"/{word}")
        for word in words.get(name.rpartition("/")[2], ())
    )
