"""How a spec writes names, modes, times and the like: a type and a parser for each.

The types tell a converter which parser to use; what they hold is plain.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, NewType

import cattrs

from immutable.content import globs
from immutable.content.capabilities import XATTR as CAPABILITY
from immutable.content.entries import MAX_NAME, Entry, EntryKind, overlay_mark, safe_path
from immutable.errors import EntryError
from immutable.oci.tags import LATEST, NO_VERSION, is_tag
from immutable.redact import cut, quoted
from immutable.reference.grammar import LONGEST, is_repository
from immutable.spec import toml
from immutable.spec.toml import FaultError, Pairs

VERSION: Final = 1
MOST_LAYERS: Final = 100  # Linux stacks 127 at most, and an image has others
COMPRESSIONS: Final = ("gzip", "zstd", "none")

ImageName = NewType("ImageName", str)
Tag = NewType("Tag", str)
LayerName = NewType("LayerName", str)
AccountName = NewType("AccountName", str)
AccountID = NewType("AccountID", int)
Mode = NewType("Mode", int)  # permission bits, written as a string: "0750"
Target = NewType("Target", str)  # an absolute path in the image
Glob = NewType("Glob", str)
CopiedPath = NewType("CopiedPath", str)
Duration = NewType("Duration", int)  # nanoseconds, written "1m30s"
Port = NewType("Port", str)  # port/protocol
Environment = NewType("Environment", Pairs)
Created = NewType("Created", str)  # RFC 3339, "git" or "source-date-epoch"
Compression = NewType("Compression", str)
SpecVersion = NewType("SpecVersion", int)
Owner = NewType("Owner", str)  # "name", "name:group" or "uid:gid"
AccountPath = NewType("AccountPath", str)  # a Target that can stand in /etc/passwd
Comment = NewType("Comment", str)  # text that can stand in /etc/passwd
Retries = NewType("Retries", int)
LayerCount = NewType("LayerCount", int)  # over how many layers one is spread
Signal = NewType("Signal", str)
RunAs = NewType("RunAs", str)  # "name", "name:group", "uid" or "uid:gid"
Suite = NewType("Suite", str)  # of Debian: "bookworm"
Pocket = NewType("Pocket", str)
Component = NewType("Component", str)
PackageRequest = NewType("PackageRequest", str)  # "name", "name=version", "name (>= version)"
Texts = NewType("Texts", Pairs)  # strings in which {git.…} may stand
Xattrs = NewType("Xattrs", Pairs)  # extended attributes and their values

EPOCH: Final = Created("1970-01-01T00:00:00Z")
NO_ENVIRONMENT: Final = Environment(())
NO_TEXTS: Final = Texts(())
NO_XATTRS: Final = Xattrs(())


PLACEHOLDER: Final = re.compile(r"\{git\.([a-z-]+)\}")
PLACEHOLDERS: Final = ("sha", "short-sha", "tag", "branch", "time")


_LAYER_NAME: Final = re.compile(r"[\w][\w. -]{0,127}")
_ACCOUNT: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_PORT: Final = re.compile(r"([0-9]{1,5})(?:/(tcp|udp|sctp))?", re.ASCII)
_DURATION: Final = re.compile(
    r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?(?:(\d{1,9})ms)?", re.ASCII
)
_LONGEST: Final = (1 << 63) - 1  # nanoseconds, in the engines' 64 bits
_LAST_ID: Final = 2**32 - 2  # -1 means "leave it" to chown
# Of Linux, by signal(7); engines know no others.
_NAMED: Final = (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT "
    "STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX"
)
_SIGNALS: Final = (
    *(f"SIG{name}" for name in _NAMED.split()),
    *(f"SIGRTMIN+{number}" for number in range(1, 16)),
    *(f"SIGRTMAX-{number}" for number in range(1, 15)),
)
_LAST_SIGNAL: Final = 64
# An image's own accounts may have names that useradd(8) would not take.
_RUN_AS: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?", re.ASCII)
_SUITE: Final = re.compile(r"[a-z0-9][a-z0-9.+-]*", re.ASCII)
_COMPONENT: Final = re.compile(rf"{_SUITE.pattern}(?:/{_SUITE.pattern})*", re.ASCII)
POCKETS: Final = ("updates", "security", "backports", "proposed-updates")
# Debian Policy 5.6.7, 5.6.12 and 7.1
_PACKAGE: Final = r"[a-z0-9][a-z0-9+.\-]+"
_PACKAGE_VERSION: Final = r"(?:[0-9]+:)?[0-9A-Za-z][0-9A-Za-z.+:~\-]*"
_PACKAGE_REQUEST: Final = re.compile(
    rf"{_PACKAGE}(?:={_PACKAGE_VERSION}|\s*\(\s*(?:<<|<=|=|>=|>>)\s*{_PACKAGE_VERSION}\s*\))?",
    re.ASCII,
)


def register(made: cattrs.Converter) -> None:
    """Teach `made`, a converter of `structure`, how each of these types is written."""
    for kind, parse in (
        (ImageName, _image_name),
        (Tag, checked_tag),
        (LayerName, _matching(_LAYER_NAME, "a name of letters, digits, space, . _ and -")),
        (AccountName, _matching(_ACCOUNT, "an account name like nodejs")),
        (Mode, _mode),
        (Target, target),
        (Glob, _glob),
        (CopiedPath, _copied_path),
        (Duration, _duration),
        (Port, _port),
        (Compression, _one_of(COMPRESSIONS)),
        (Owner, _owner),
        (AccountPath, _account_path),
        (Comment, _comment),
        (Signal, _signal),
        (RunAs, _run_as),
        (Suite, _matching(_SUITE, "a suite like bookworm")),
        (Pocket, _one_of(POCKETS)),
        (Component, _matching(_COMPONENT, "a component like main")),
        (
            PackageRequest,
            _matching(_PACKAGE_REQUEST, "a package as name, name=version or name (>= version)"),
        ),
    ):
        made.register_structure_hook(kind, toml.parsed(parse))
    made.register_structure_hook(AccountID, _between(0, _LAST_ID, "an id"))
    made.register_structure_hook(Retries, _between(0, 2**31 - 1, "a number"))
    made.register_structure_hook(LayerCount, _between(1, MOST_LAYERS, "a number of layers"))
    made.register_structure_hook(SpecVersion, _spec_version)
    made.register_structure_hook(Created, _created)
    made.register_structure_hook(Environment, lambda value, _: toml.strings(value, _env_name))
    made.register_structure_hook(Texts, lambda value, _: toml.strings(value, _placeholders))
    made.register_structure_hook(Xattrs, lambda value, _: toml.strings(value, _xattr))


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise FaultError(f"expected {what}, found {quoted(text)}")
        return text

    return parse


def _signal(text: str) -> str:
    numbers = map(str, range(1, _LAST_SIGNAL + 1))
    if text not in _SIGNALS and text not in numbers:
        raise FaultError(
            f"expected a signal like SIGTERM or its number from 1 to {_LAST_SIGNAL}, "
            f"found {quoted(text)}{toml.nearest(text, _SIGNALS)}"
        )
    return text


def _one_of(words: Iterable[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise FaultError(f"expected one of {', '.join(words)}, found {quoted(text)}")
        return text

    return parse


def checked_tag(text: str) -> str:
    """Return `text` if it can be a tag of an image; raise FaultError otherwise."""
    if text == LATEST:
        raise FaultError(NO_VERSION)
    _placeholders("", text)
    if not is_tag(PLACEHOLDER.sub("x", text)):
        raise FaultError(f"expected a tag of letters, digits, . _ and -, found {quoted(text)}")
    return text


def _mode(text: str) -> int:
    if not re.fullmatch(r"[0-7]{3,5}", text, re.ASCII) or int(text, 8) > 0o7777:
        raise FaultError(f'expected an octal mode like "0755", found {quoted(text)}')
    return int(text, 8)


def target(text: str) -> str:
    """Return `text` as a normalised absolute path in the image; raise FaultError otherwise."""
    if not text.startswith("/"):
        raise FaultError(f"expected an absolute path, found {quoted(text)}")
    try:
        return "/" + safe_path(text.encode(), reroot=True).decode()
    except EntryError as error:
        raise FaultError(str(error)) from None


def _glob(text: str) -> str:
    globs.check(text)
    return text


def _copied_path(text: str) -> str:
    if not text.startswith("/"):
        raise FaultError(f"expected an absolute path, found {quoted(text)}")
    return text if text == "/" else _glob(text)


def _duration(text: str) -> int:
    match = _DURATION.fullmatch(text)
    if not match or not text:
        raise FaultError(f'expected a duration like "1m30s", found {quoted(text)}')
    hours, minutes, seconds, millis = (int(part or 0) for part in match.groups())
    result = (((hours * 60 + minutes) * 60 + seconds) * 1000 + millis) * 1_000_000
    if result > _LONGEST:
        raise FaultError(f"expected a duration of at most 2562047h, found {text!r}")
    return result


def _port(text: str) -> str:
    match = _PORT.fullmatch(text)
    if not match or not 0 < int(match[1]) < 65536:
        raise FaultError(f'expected a port like "3000/tcp", found {quoted(text)}')
    return f"{int(match[1])}/{match[2] or 'tcp'}"


def _owner(text: str) -> str:
    parts = text.split(":")
    if len(parts) > 2 or not all(_ACCOUNT.fullmatch(p) or _is_id(p) for p in parts):
        raise FaultError(f'expected an owner like "nodejs" or "1001:1001", found {quoted(text)}')
    return text


def _run_as(text: str) -> str:
    parts = text.split(":")
    if len(parts) > 2 or not all(_is_id(p) if p.isdigit() else _RUN_AS.fullmatch(p) for p in parts):
        raise FaultError(f'expected a user like "nodejs" or "1001:1001", found {quoted(text)}')
    return text


def _is_id(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,10}", text) is not None and int(text) <= _LAST_ID


def _image_name(text: str) -> str:
    if len(text) > LONGEST or not is_repository(text):
        raise FaultError(f"expected a repository name like shop/web, found {quoted(text)}")
    return text


def _account_path(text: str) -> str:
    return _comment(target(text))


def _comment(text: str) -> str:
    # It becomes a field of a line of /etc/passwd.
    if ":" in text or not text.isprintable():
        raise FaultError(f"expected no colon and no control character, found {quoted(text)}")
    return text


def _between(least: int, most: int, what: str) -> Callable[[Any, Any], int]:
    def hook(value: Any, _: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            found = toml.found(value)
            raise FaultError(f"expected {what} from {least} to {most}, found {found}")
        return value

    return hook


def _spec_version(value: Any, _: Any) -> int:
    if type(value) is not int or value != VERSION:
        newer = type(value) is int and value > VERSION
        hint = "; it was written for a newer immutable" if newer else ""
        raise FaultError(f"expected {VERSION}, found {toml.found(value)}{hint}")
    return VERSION


def _created(value: Any, _: Any) -> str:
    if value in ("git", "source-date-epoch"):
        return str(value)
    if not isinstance(value, datetime.datetime) or value.tzinfo is None:
        raise FaultError(
            'expected a time with its offset from UTC, "git" or "source-date-epoch", '
            f"found {toml.found(value)}"
        )
    moment = toml.instant(value)
    if moment.microsecond:
        raise FaultError(f"expected whole seconds, found {toml.found(value)}")
    if moment < datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC):
        raise FaultError(f"expected a time from 1970 on, found {toml.found(value)}")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _env_name(name: str, _: str) -> None:
    if not _ENV_NAME.fullmatch(name):
        raise FaultError("no name of an environment variable")


def _placeholders(_: str, text: str) -> None:
    for name in re.findall(r"\{git\.([^}]*)\}", text):
        if name not in PLACEHOLDERS:
            raise FaultError(f"{{git.{cut(name, 40)}}}: unknown{toml.nearest(name, PLACEHOLDERS)}")


def _xattr(name: str, value: str) -> None:
    raw = name.encode()
    if not re.match(r"(?:user|security)\.[^=]", name) or "=" in name or len(raw) > MAX_NAME:
        raise FaultError(
            f"expected a name that begins with user. or security., of at most {MAX_NAME} bytes "
            f"and without =, found {quoted(name)}"
        )
    if raw == CAPABILITY:
        raise FaultError('say capabilities = "…" instead')
    if mark := overlay_mark(Entry(b"", EntryKind.FILE, xattrs=((raw, b""),))):
        raise FaultError(f"{mark}, which may mean deletion to an overlay file system")
    if not value:
        raise FaultError("expected some text: an empty value is lost where layers are unpacked")
