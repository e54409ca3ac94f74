"""A suite's Release: fetched as InRelease, its signature verified, and only then read.

The format is that of https://wiki.debian.org/DebianRepository/Format. Nothing but the text
that the verifier returned is ever looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from attrs import frozen

from immutable.config import Keyring, Mirrors
from immutable.errors import SignatureError
from immutable.net.fetch import Fetcher
from immutable.oci.digest import Digest
from immutable.reading import read_file
from immutable.redact import quoted
from immutable.sources.debian.stanza import parse_stanza

if TYPE_CHECKING:
    from pysequoia import Cert

MAX_SIZE = 16 << 20  # bytes; the largest of Debian's is below one MiB
SKEW = timedelta(hours=1)  # how far ahead of ours the archive's clock may be


@frozen
class IndexFile:
    """A file that a Release vouches for; `path` is relative to the suite's folder."""

    path: str
    size: int
    sha256: Digest


@frozen
class Release:
    """What the signed text says.

    `suite` is the name that was asked for; `by_hash` says whether files are also to be had
    by their digest; `separate_all` whether ``Architecture: all`` has indexes of its own.
    """

    suite: str
    date: datetime
    architectures: tuple[str, ...]
    components: tuple[str, ...]
    by_hash: bool
    separate_all: bool
    files: Mapping[str, IndexFile]


def fetch_release(
    suite: str, *, mirrors: Mirrors, keyring: Keyring, fetcher: Fetcher, now: datetime
) -> Release:
    """Return the verified Release of `suite`.

    Raises FetchError when no mirror gives one, SignatureError when it is not to be trusted.
    """
    urls = [f"{url}/dists/{suite}/InRelease" for url in mirrors.urls]
    data = fetcher.get_small(urls, limit=MAX_SIZE, name=f"{suite}/InRelease")
    return read_release(data, suite, keyring=keyring, now=now)


def read_release(data: bytes, suite: str, *, keyring: Keyring, now: datetime) -> Release:
    """Return what the clear-signed InRelease `data` says of `suite`.

    Raises SignatureError for a signature by none of the keyring's keys that are in force at
    `now`, a Valid-Until that has passed, a Date in the future, another suite's Release, and
    text that is not in the expected form.
    """
    where = f"{suite}/InRelease"
    text = verify(data, load_keys(keyring, now), where, keyring.origin)
    try:
        fields = parse_stanza(text)
    except ValueError as error:
        raise SignatureError(f"{where}: {error}") from None
    _check_suite(fields, suite, where)
    date = _check_dates(fields, now, where)
    architectures = tuple(fields.get("architectures", "").split())
    return Release(
        suite=suite,
        date=date,
        architectures=architectures,
        # The security archive calls its components updates/main and so on.
        components=tuple(name.rpartition("/")[2] for name in fields.get("components", "").split()),
        by_hash=fields.get("acquire-by-hash", "").lower() == "yes",
        separate_all="all" in architectures
        and "packages" not in fields.get("no-support-for-architecture-all", "").lower().split(),
        files={file.path: file for file in _files(fields, where)},
    )


def load_keys(keyring: Keyring, now: datetime) -> tuple[Cert, ...]:
    """Return the keyring's certificates that are in force at `now`.

    Raises SignatureError, naming the file, for one that cannot be read or holds no key, and
    when none is in force.
    """
    parts = [(keyring.origin, keyring.armoured.encode())] if keyring.armoured else []
    for path in keyring.files:
        try:
            parts.append((f"{keyring.origin}, {path}", read_file(path)))
        except OSError as error:
            raise SignatureError(
                f"{keyring.origin}: the keys in {path} cannot be read: {error.strerror}"
            ) from None
    certificates = [cert for where, data in parts for cert in _parse_keys(where, data)]
    if keyring.fingerprints:
        certificates = [
            cert for cert in certificates if cert.fingerprint.endswith(keyring.fingerprints)
        ]
    in_force = [
        cert
        for cert in certificates
        if not cert.is_revoked and (cert.expiration is None or cert.expiration > now)
    ]
    if not in_force:
        lack = "all its keys have expired or are revoked" if certificates else "it holds no key"
        raise SignatureError(f"{keyring.origin}: {lack}; update it, or name another keyring")
    return tuple(in_force)


def verify(data: bytes, keys: Sequence[Cert], where: str, origin: str) -> bytes:
    """Return the text of the clear-signed `data` that one of `keys` vouches for.

    Whatever stands around the signed text is not returned. Raises SignatureError.
    """
    import pysequoia

    signers: list[str] = []

    def store(ids: Sequence[str]) -> list[Cert]:
        signers.extend(ids)
        return list(keys)

    try:
        verified = pysequoia.verify(bytes=data, store=store)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = f"signed by {', '.join(signers)}" if signers else _first_line(error)
        raise SignatureError(
            f"{where}: expected a valid signature by a key in force of {origin}, found: {reason}; "
            "check the mirror, or update or name the keyring"
        ) from None
    if not verified.valid_sigs or not verified.bytes:
        raise SignatureError(f"{where}: expected a signed text, found none")
    return bytes(verified.bytes)


def _parse_keys(where: str, data: bytes) -> list[Cert]:
    from pysequoia import Cert

    try:
        return list(Cert.split_bytes(data))
    except (RuntimeError, ValueError) as error:
        raise SignatureError(f"{where}: not OpenPGP keys: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    # The library appends a stack trace of its own.
    return str(error).partition("\n")[0]


def _check_suite(fields: Mapping[str, str], suite: str, where: str) -> None:
    names = [fields[key] for key in ("suite", "codename") if fields.get(key)]
    if suite not in names:
        raise SignatureError(
            f"{where}: expected the Release of {suite}, found that of {' or '.join(names) or '?'}"
        )


def _check_dates(fields: Mapping[str, str], now: datetime, where: str) -> datetime:
    """Return the Date; raise SignatureError if it lies ahead or Valid-Until has passed."""
    date = _date(fields, "date", where)
    if date is None:
        raise SignatureError(f"{where}: expected a Date, found none")
    if date > now + SKEW:
        raise SignatureError(
            f"{where}: Date: {date:%Y-%m-%d %H:%M} UTC is in the future; it is now "
            f"{now.astimezone(UTC):%Y-%m-%d %H:%M}; check this machine's clock"
        )
    until = _date(fields, "valid-until", where)
    if until is not None and until < now:
        raise SignatureError(
            f"{where}: Valid-Until: {until:%Y-%m-%d %H:%M} UTC has passed; the mirror is stale: "
            "use another, or check this machine's clock"
        )
    return date


def _date(fields: Mapping[str, str], name: str, where: str) -> datetime | None:
    text = fields.get(name)
    if text is None:
        return None
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        raise SignatureError(
            f"{where}: {name}: expected a date, found {quoted(text, 60)}"
        ) from None


_FILE_LINE = re.compile(r"([0-9a-f]{64})[ \t]+([0-9]{1,15})[ \t]+(\S+)", re.ASCII)


def _files(fields: Mapping[str, str], where: str) -> Iterator[IndexFile]:
    section = fields.get("sha256")
    if not section:
        raise SignatureError(f"{where}: expected a SHA256 section, found none")
    for line in section.split("\n"):
        if not line.strip():
            continue
        match = _FILE_LINE.fullmatch(line.strip())
        if match is None or match[3].startswith("/") or ".." in match[3].split("/"):
            raise SignatureError(
                f"{where}: SHA256: expected a digest, a size and a path, found {quoted(line, 120)}"
            )
        yield IndexFile(match[3], int(match[2]), Digest(match[1]))
