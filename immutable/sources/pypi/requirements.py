"""Requirements files with hashes, as pip-compile and `uv export` write them.

https://pip.pypa.io/en/stable/reference/requirements-file-format/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from attrs import frozen

from immutable.errors import LockError, ResolutionError
from immutable.redact import quoted, redact
from immutable.sources.pypi.choice import Choice, checked_hash
from immutable.sources.pypi.environment import Environment

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_COMMENT: Final = re.compile(r"(^|\s+)#.*$")
_HASH: Final = re.compile(r"\s--hash[=\s]\s*(\S+)")
# Options that say where packages come from or that hold here anyway: pip's own settings count.
_IDLE: Final = re.compile(
    r"(--index-url|--extra-index-url|--find-links|--trusted-host|--no-index|--require-hashes"
    r"|--only-binary|--prefer-binary|-i|-f)(\s|=|$)"
)
_SHOWN: Final = 120


@frozen
class _Line:
    number: int
    requirement: Requirement
    choice: Choice


class Requirements:
    """A requirements file whose every line is pinned with ``==`` and hashes."""

    def __init__(self, data: bytes, where: str) -> None:
        self._where = where
        faults: list[str] = []
        self._lines: list[_Line] = []
        for number, text in _logical_lines(_decoded(data, where)):
            try:
                if not _IDLE.match(text):
                    self._lines.append(_parsed(number, text))
            except ValueError as error:
                faults.append(f"{where}: line {number}: {error}: {_short(text)}")
        if faults:
            raise LockError("\n".join(faults))

    def named(
        self, environments: Iterable[Environment], extras: Sequence[str], groups: Sequence[str]
    ) -> list[str]:
        """Return, sorted, the packages that may be taken in any of `environments`."""
        self._refuse(extras, groups)
        markers = [environment.markers() for environment in environments]
        return sorted(
            {str(line.choice) for line in self._lines if any(self._holds(line, m) for m in markers)}
        )

    def select(
        self, environment: Environment, extras: Sequence[str], groups: Sequence[str]
    ) -> list[Choice]:
        """Return the packages that are taken in `environment`, sorted by name."""
        self._refuse(extras, groups)
        markers = environment.markers()
        taken: dict[str, _Line] = {}
        for line in self._lines:
            if not self._holds(line, markers):
                continue
            other = taken.setdefault(line.choice.name, line)
            if other.choice != line.choice:
                raise ResolutionError(
                    f"{self._where}: lines {other.number} and {line.number} both name "
                    f"{line.choice.name} for {environment.platform}; expected one"
                )
        return [taken[name].choice for name in sorted(taken)]

    def _holds(self, line: _Line, markers: dict[str, str]) -> bool:
        marker = line.requirement.marker
        try:
            return marker is None or marker.evaluate(dict(markers))
        except (ValueError, RecursionError, KeyError) as error:
            raise LockError(f"{self._where}: line {line.number}: {error}") from None

    def _refuse(self, extras: Sequence[str], groups: Sequence[str]) -> None:
        for what in (*extras, *groups):
            raise ResolutionError(
                f"{self._where}: a requirements file has no extras or groups, and {what!r} is "
                "asked for; write a file that has what is wanted, or use a pylock.toml"
            )


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LockError(
            f"{where}: not UTF-8: byte {error.start} is {data[error.start]:#04x}"
        ) from None


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of its first line, text) of each line, continued ones joined, less comments."""
    begun, parts = 0, []
    for number, raw in enumerate((*text.splitlines(), ""), 1):
        begun = begun or number
        # pip: a comment line ends what it stands in.
        comment = raw.lstrip().startswith("#")
        line = _COMMENT.sub("", raw)
        if raw.endswith("\\") and not comment:
            parts.append(line.rstrip("\\"))
            continue
        joined = " ".join([*parts, line]).strip()
        if joined:
            yield begun, joined
        begun, parts = 0, []


def _parsed(number: int, text: str) -> _Line:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    if text.startswith("-"):
        raise ValueError("expected a requirement; files, options and editables are not followed")
    bare = _HASH.sub("", text).strip()
    if re.search(r"\s--\w", bare):
        raise ValueError("expected no option but --hash")
    requirement = Requirement(bare)
    if requirement.url:
        raise ValueError("expected a release, found a URL")
    hashes = tuple(sorted({_hash(found) for found in _HASH.findall(text)}))
    if not hashes:
        raise ValueError("expected at least one --hash=sha256:…, found none")
    name = canonicalize_name(requirement.name, validate=True)
    return _Line(number, requirement, Choice(name, _version(requirement), hashes))


def _version(requirement: Requirement) -> str:
    from packaging.version import Version

    pins = [*requirement.specifier]
    if len(pins) != 1 or pins[0].operator != "==" or pins[0].version.endswith(".*"):
        raise ValueError("expected one version, ==X")
    return str(Version(pins[0].version))


def _hash(text: str) -> str:
    algorithm, colon, digits = text.partition(":")
    if not colon:
        raise ValueError(f"expected --hash=sha256:…, found {quoted(text, _SHOWN)}")
    return checked_hash(algorithm, digits)


def _short(text: str) -> str:
    text = " ".join(text.split())
    text = redact(text)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
