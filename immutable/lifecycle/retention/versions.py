"""The versions that tags hold, as people write them and not only as Semantic Versioning does.

A tag is a prefix, numbers, and what follows them::

    1.4.0  v1.4  7  2024.01.15  2024-01-15  release-1.0.0  1.2.3.4  3.19-alpine  1.4.0-rc.1-slim

Tags whose prefix, suffix and signs between numbers are the same are one *family*: ``3.19-alpine``
is never weighed against ``3.20``. So it is with numbers that stand alone and with dates: a build
``57`` or ``20240115`` does not push ``1.4.0`` out.

After the numbers come, each if it is there:

- more numbers, such as a revision or a time of day (``1.20-2``, ``20240115-1030``), except after
  three numbers that Semantic Versioning allows: there ``1.4.0-2`` is a pre-release;
- a pre-release: words that say so (``rc.1``, ``beta2``), and the digests of commits;
- a suffix, which is all the rest.

A digest is no version (``a1b2c3d``, ``sha-1234567``), nor is a machine (``latest-arm64``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from immutable.lifecycle.retention.semver import LONGEST, Version

_YEAR: Final = 1000  # the first number that may be one
_START: Final = re.compile(r"([^0-9]*)([0-9].*)", re.ASCII | re.DOTALL)
_DATE: Final = re.compile(r"([0-9]{4})([-_])([0-9]{2})\2([0-9]{2})(?![0-9])")
_NUMBERS: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*(?![0-9])")
_TIME: Final = re.compile(r"T([0-9]{4,6})(?=Z?(?:[-_.]|$))")
_SEMVER: Final = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)){2}")
# What is called by a name with a number in it: node18-1.4.0, s3-sync-1.4.0.
_AFTER_NAME: Final = re.compile(r"[-_][vV]?(?=[0-9]+\.[0-9])")
_PRERELEASE: Final = re.compile(
    r"(?:alpha|beta|[abcm]|rc|cr|pre|preview|prerelease|dev|develop|snapshot|nightly|canary|next|"
    r"ea|milestone|experimental|unstable|insiders?|pr|mr|ci|main|master|trunk|feature|test)"
    r"(?=[^A-Za-z]|$).*",
    re.IGNORECASE,
)
_GLUED: Final = re.compile(r"(?:a|b|c|rc|alpha|beta|pre|dev|m)\.?[0-9]+(?=[-_.]|$)", re.IGNORECASE)
_DIGEST: Final = re.compile(r"g?(?=[0-9a-f]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{7,64}")
_LONG_HEX: Final = re.compile(r"[0-9a-f]{32}")
_COMMIT: Final = re.compile(r"(?:.*[-_.])?(?:sha|git|commit|rev)[-_.]?", re.IGNORECASE)
_LAST_WORD: Final = re.compile(r"([^0-9]*[-_.])?([0-9a-f]{7,64})")
_MACHINE: Final = re.compile(
    r"(?:amd64|arm(?:v[5-8]|32|64)|aarch64|x(?:86|64|32)|i[3-6]86|s390|ppc64|riscv64|mips(?:32|64))"
    r"(?![0-9])",
    re.IGNORECASE,
)


def held(tags: Iterable[str]) -> Iterator[tuple[str, Version]]:
    """Yield those of `tags`, all that an image has, that hold a version, with it.

    Beside digests of commits, what is as long and has only digits is one of them.
    """
    tags = tuple(tags)
    words = {tag: match for tag in tags if (match := _LAST_WORD.fullmatch(tag))}
    digests = {_shape(match) for match in words.values() if _DIGEST.fullmatch(match[2])}
    for tag in tags:
        is_digest = tag in words and words[tag][2].isdigit() and _shape(words[tag]) in digests
        version = None if is_digest else parse(tag)
        if version is not None:
            yield tag, version


def _shape(word: re.Match[str]) -> tuple[str, int]:
    return word[1] or "", len(word[2])


def parse(tag: str) -> Version | None:
    """Return the version that `tag` holds, or None if it holds none."""
    start = _START.fullmatch(tag) if len(tag) <= LONGEST else None
    if start is None or _LONG_HEX.search(tag):
        return None
    prefix, rest = start.groups()
    name = re.split(r"[-_.]", prefix)[-1]
    if name and name not in ("v", "V"):
        after = _AFTER_NAME.search(rest)
        if after is not None:
            prefix, rest = prefix + rest[: after.end()], rest[after.end() :]
        elif _MACHINE.match(name + rest):
            return None
        else:
            word = re.split(r"[-_.]", rest, maxsplit=1)[0]
            if _DIGEST.fullmatch(name + word):
                return None
    if _COMMIT.fullmatch(prefix):
        return None
    return _numbered(prefix, rest)


def _numbered(prefix: str, text: str) -> Version | None:
    """Return the version in `text`, which begins with its numbers."""
    date = _DATE.match(text)
    if date is not None:
        parts, signs, tail = [date[1], date[3], date[4]], date[2] * 2, text[date.end() :]
    else:
        numbers = _NUMBERS.match(text)
        assert numbers is not None  # noqa: S101 - it begins with a digit
        parts, signs, tail = numbers[0].split("."), "", text[numbers.end() :]
    kind = _kind(parts)
    semver = date is None and _SEMVER.fullmatch(".".join(parts)) is not None
    build = ""
    time = _TIME.match(tail)
    glued = _GLUED.match(tail)
    if time is not None:
        parts, signs, tail = [*parts, time[1]], f"{signs}T", tail[time.end() :].removeprefix("Z")
    elif glued is not None:
        tail = f"-{tail}"
    elif tail[:1].isalpha() and not (len(tail) == 1 and len(parts) > 1):
        return None
    if semver:
        tail, _, build = re.sub(r"[+_]", "+", tail, count=1).partition("+")
    else:
        while (more := re.match(r"([-_])([0-9]+)(?=[-_]|$)", tail)) is not None:
            parts, signs, tail = [*parts, more[2]], signs + more[1], tail[more.end() :]
    prerelease, suffix = _split(tail, semver=semver)
    return Version(tuple(map(int, parts)), prerelease, build, (prefix, kind, signs, suffix))


def _kind(numbers: list[str]) -> str:
    """Return what may be weighed against `numbers`: dates, numbers alone, or dotted ones."""
    if int(numbers[0]) >= _YEAR:
        return "date" if len(numbers) > 1 else "long"
    return "" if len(numbers) > 1 else "alone"


def _split(tail: str, *, semver: bool) -> tuple[str, str]:
    """Return the pre-release and the suffix that `tail` is made of."""
    if tail[:1] not in ("-", "."):
        return "", tail
    words = tail[1:].split("-")
    count = 0
    while count < len(words) and _is_prerelease(words[count], digits=semver or count > 0):
        count += 1
    chosen = words[:count]
    if not semver:
        # Only Semantic Versioning has rc10 before rc2.
        chosen = [word if _DIGEST.fullmatch(word) else _apart(word) for word in chosen]
    suffix = "-".join(words[count:])
    sign = "-" if chosen else tail[0]
    prerelease = ("-" if semver else ".").join(chosen)
    return prerelease, f"{sign}{suffix}" if suffix or not chosen else ""


def _apart(word: str) -> str:
    return ".".join(re.findall(r"[0-9]+|[A-Za-z]+", word))


def _is_prerelease(word: str, *, digits: bool) -> bool:
    if digits and word[:1].isdigit():
        return True
    return _PRERELEASE.fullmatch(word) is not None or _DIGEST.fullmatch(word) is not None
