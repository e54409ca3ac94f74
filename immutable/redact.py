"""Take users, passwords and tokens out of text that people are to see.

Every message passes here: errors when they are made, and what the command line prints. The text
may be anything, say another program's output. Where it could be read in two ways, the secret
counts: rather hide a host than show a password.

A URL's user ends at the *last* ``@`` of its word, as a password may hold ``@ / ? #`` unescaped.
Spared are digests (``name@sha256:…``), versions (``name@1.0``), npm's scopes (``/@scope/name``),
email addresses, paths, and ``git@host:path``. A password may hold blanks, too, if it and its user
stand in one line. Not recognised is one that has an ``@`` before a blank (``u:p@ss w@host``); one
that reads as a port where the user reads as a host with a dot (``a.b:80 x@host``); and, without a
scheme and a quote, one with more than seven blanks, or with ``: ; , .`` before the first.

The time taken is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

MASK: Final = "***"
# Characters that are looked at for a message that shows the first few; no secret is as long.
_LONGEST: Final = 1 << 16

_WORDS: Final = re.compile(r"(\s+)")
# Several URLs may stand in one word, as in a compact JSON array.
_NEXT_URL: Final = re.compile(r"(?<=[,;|'\"(\[<=`])(?=[A-Za-z][A-Za-z0-9+.-]{0,30}://)")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:[/\\]{2,8}")
_WEB: Final = re.compile(r"(?:https?|ftps?|socks[45]?[ah]?|wss?)://", re.IGNORECASE)
_SAFE_AT: Final = re.compile(
    r"@(?:(?:sha256|sha384|sha512):[0-9a-f]{6}"
    # A version, and no address: 1.2 and 1.2.3, not 10.0.0.1.
    r"|[\^~<>=v]{0,3}[0-9]+\.[0-9]+(?:\.[0-9]+)?(?![0-9.]*\.[0-9])(?![0-9:])"
    # A generation, and how the help writes one.
    r"|[0-9]{1,6}(?![\w.:/-])|(?<=\|@)N\])"
)
_PORT: Final = re.compile(r"[^:\[\]@]*:[0-9]{1,5}|\[[0-9A-Fa-f:.]*\](?::[0-9]{1,5})?")
_HOST: Final = re.compile(
    r"(?:(?:[\w-]+\.)+[\w-]*|localhost|\[[0-9A-Fa-f:.]*\])(?::[0-9]{0,5})?[.,;:!')\"\]]*",
    re.IGNORECASE,
)
_OPENING: Final = "'\"`(<[{=,"
_CLOSING: Final = "'\"`)>]},.;:"
# As in `immutable.transports`; a colon after one of them ends no user.
_TRANSPORT: Final = re.compile(
    r"(?:oci|oci-archive|docker-archive|docker-daemon|dir|store|containers-storage|mailto):"
)
_PATH: Final = re.compile(r"\.{0,2}/(?!/)|~/|[A-Za-z]:[/\\]")
_NAME: Final = (
    r"(?:token|signature|secret|passw(?:or)?d|passphrase|credentials?|api[_-]?key|access[_-]?key"
    r"|(?:(?<=[?&;_-])|(?<![\w-]))(?:sig|pwd|pass|auth|authorization|x-amz-security-token))"
)
_PARAMETER: Final = re.compile(
    rf"({_NAME}(?:=|%3D))(\"[^\"\n]*\"|'[^'\n]*'|[^\s&]*[^\s&'\")\]}}>,.;:])",
    re.IGNORECASE,
)
_MEMBER: Final = re.compile(
    r"""(["'](?:[\w-]{0,20}(?:password|secret|token)|auth)["']\s{0,4}:\s{0,4})"""
    r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""",
    re.IGNORECASE,
)
_HEADER: Final = re.compile(
    r"(authorization['\"]?\s{0,4}[:=]\s{0,4}['\"]?(?:(?:basic|bearer|digest)\s{1,4})?)[^\s'\"]+",
    re.IGNORECASE,
)
# What Python's libraries say of a URL whose password they took for a port.
_BAD_PORT: Final = re.compile(
    r"((?:nonnumeric port: |integer value as )['\"]?)[^'\"\n]*"
    r"|('[^'\n]{1,1024}'|\"[^\"\n]{1,1024}\")(?= is not a valid host or port)"
)
_SCOPE: Final = re.compile(r"@[\w.~-]+(?:/|%2F)[\w.~-]", re.IGNORECASE)
# A host with a port, or a user with a password: a host without a dot is rare.
_EITHER: Final = re.compile(r"(?!localhost:)[^.:\[\]@]*:[0-9]{1,5}", re.IGNORECASE)
_OPEN_USER: Final = re.compile(
    r"(?!(?:sha256|sha384|sha512):[0-9a-f]{6})(?![0-9]{1,2}:[0-9]{2}(?![0-9]))"
    r"[^:/\\@]+:(?:\S*[^\s.,:;)\]}>'\"`])$"
)
_MAIL: Final = re.compile(r"<[\w.+-]+@[\w.-]+>[.,;:)]*")
_MOST_BLANKS: Final = 7  # in a password that only a colon tells from other words
_ESCAPED_SCHEME: Final = re.compile(r"%3A%2F%2F", re.IGNORECASE)


def redact(text: str) -> str:
    """Return `text` without the users, passwords and tokens in it, each one replaced by MASK."""
    if "@" in text or "://" in text or "%40" in text:
        text = _without_users(text)
    for pattern in (_PARAMETER, _MEMBER, _HEADER):
        text = pattern.sub(_masked, text)
    return _BAD_PORT.sub(_masked, text)


def cut(text: str, most: int) -> str:
    """Return the start of `text` for a message; secrets go before it is cut."""
    return redact(text[:_LONGEST])[:most]


def quoted(text: str | bytes, most: int = 80) -> str:
    """Return the start of `text` in quotes, for a message; secrets go before it is cut."""
    if isinstance(text, bytes):
        return repr(cut(text[:_LONGEST].decode("latin-1"), most).encode("latin-1"))
    return repr(cut(text, most))


def redact_document(document: Any) -> Any:
    """Return `document`, of JSON's types, with each string in it redacted, names of members too."""
    if isinstance(document, str):
        return redact(document)
    if isinstance(document, Mapping):
        return {redact_document(key): redact_document(one) for key, one in document.items()}
    if isinstance(document, Sequence) and not isinstance(document, bytes):
        return [redact_document(one) for one in document]
    return document


def _masked(match: re.Match[str]) -> str:
    return (match[1] or "") + MASK


def _without_users(text: str) -> str:
    words = _WORDS.split(text)
    following = _next_at(words)
    done: list[str] = []
    at = 0
    while at < len(words):
        end = following[at]
        if end is not None and _goes_on(words[at], words[end], (end - at) // 2):
            at, word = end, "".join(words[at : end + 1])
        else:
            word = words[at]
        done.append(_word(word) if at % 2 == 0 else word)
        at += 1
    return "".join(done)


def _next_at(words: Sequence[str]) -> Sequence[int | None]:
    """Return for each word the next in its line that has an ``@``, if no URL begins before it."""
    found: list[int | None] = []
    following: int | None = None
    for at in range(len(words) - 1, -1, -1):
        found.append(following)
        word = words[at]
        if (at % 2 and "\n" in word) or "://" in word:
            following = None
        elif _ends(word):
            following = at
    return found[::-1]


def _goes_on(word: str, last: str, blanks: int) -> bool:
    """Whether `word` begins a user whose password has blanks, and ends in `last`."""
    web = _last_match(word)
    if web is not None:
        rest = word[web:]
        authority = _authority(rest)
        if ":" not in rest or "@" in authority or _ends(rest):
            return False
        if _EITHER.fullmatch(authority):
            return not word.endswith((":", ";", ","))
        return not _is_host(authority)
    if "@" in word or ":" not in word:
        return False
    quote = word[:1]
    if quote in ("'", '"', "`") and quote not in word[1:] and "://" not in word:
        return ":" in word[1:-1]
    start = _start_of_user(word)
    scheme = _SCHEME.match(word, start)
    start = start if scheme is None else scheme.end()
    if blanks > _MOST_BLANKS or last.startswith("@") or _MAIL.fullmatch(last):
        return False
    return _PATH.match(word, start) is None and _OPEN_USER.match(word, start) is not None


def _last_match(word: str) -> int | None:
    ends = [match.end() for match in _WEB.finditer(word)]
    return ends[-1] if ends else None


def _authority(rest: str) -> str:
    return re.split(r"[/?#\\]", rest, maxsplit=1)[0]


def _is_host(authority: str) -> bool:
    """Whether `authority` is surely a host, or a host and a port, and no user."""
    if _HOST.fullmatch(authority) or _PORT.fullmatch(authority.rstrip(_CLOSING)):
        return True
    return ":" not in authority.rstrip(_CLOSING)


def _ends(text: str) -> list[int]:
    """Return where in `text` an ``@`` is that may end a user: none of a digest or a version."""
    return [
        match.start() for match in re.finditer("@", text) if not _SAFE_AT.match(text, match.start())
    ]


def _word(word: str) -> str:
    """Return `word` without users: it may hold several URLs, each from its scheme on."""
    return "".join(map(_piece, _NEXT_URL.split(word)))


def _piece(piece: str) -> str:
    scheme = _SCHEME.search(piece)
    if scheme is not None and ":" in piece[: scheme.start()] and _ends(piece):
        return _escaped(_without_scheme(piece))  # the "scheme" may be part of a password
    if scheme is not None:
        before, rest = piece[: scheme.end()], piece[scheme.end() :]
    elif piece.startswith("//"):
        before, rest = "//", piece[2:]
    else:
        return _escaped(_without_scheme(piece))
    is_web = _WEB.search(before) is not None
    end = None if before.lower().endswith("file:///") else _end_of_user(rest, is_web=is_web)
    if end is not None:
        rest = MASK + rest[end:]
    elif is_web and not _is_host(_authority(rest)) and "@" not in rest:
        closing = rest[len(rest.rstrip(_CLOSING)) :]
        rest = MASK + closing  # a user and a password, of which the rest was cut off
    return before + _escaped(rest)


def _end_of_user(rest: str, *, is_web: bool) -> int | None:
    """Return where the ``@`` is that ends the user in `rest`, what follows a URL's scheme."""
    authority = _authority(rest)
    ends = _ends(rest)
    if is_web and "@" in authority:  # before a host that reads as a version
        ends = sorted({*ends, authority.rindex("@")})
    if not ends:
        return None
    in_authority = [end for end in ends if end < len(authority)]
    if in_authority and ":" not in authority[: in_authority[-1]]:
        return in_authority[-1]
    if not in_authority:
        if ":" not in authority and (not authority or _HOST.fullmatch(authority)):
            return None
        ends = [end for end in ends if not _is_scope(rest, end, authority)]
    return ends[-1] if ends else None


def _is_scope(text: str, at: int, authority: str) -> bool:
    """Whether the ``@`` in `text` begins the scope of a package, at the place `authority`."""
    is_place = ":" not in authority or _PORT.fullmatch(authority) is not None
    follows = is_place and not _EITHER.fullmatch(authority) and text[at - 1 : at] == "/"
    return follows and _SCOPE.match(text, at) is not None


def _start_of_user(word: str) -> int:
    """Return where in `word` a user begins that its first colon would end."""
    opening = len(word) - len(word.lstrip(_OPENING))
    start = max(opening, *(word.rfind(one, 0, word.find(":")) + 1 for one in _OPENING))
    transport = _TRANSPORT.match(word, start)
    return start if transport is None else transport.end()


def _without_scheme(piece: str) -> str:
    """Return `piece` without what stands before an ``@``, if there is a colon in that."""
    ends = _ends(piece)
    if not ends or ":" not in piece:
        return piece
    start = _start_of_user(piece)
    if _PATH.match(piece, start):
        return piece
    colon = piece.find(":", start)
    authority = _authority(piece[start:])
    is_alias = piece[start:colon] == "npm"
    ends = [
        end
        for end in ends
        if 0 <= colon < end
        and not (":" in authority and _is_scope(piece, end, authority))
        and not (is_alias and end == colon + 1 and _SCOPE.match(piece, end))
    ]
    return piece[:start] + MASK + piece[ends[-1] :] if ends else piece


def _escaped(text: str) -> str:
    """Return `text` without the users of URLs that stand percent-encoded in it."""
    parts = _ESCAPED_SCHEME.split(text)
    if len(parts) == 1:
        return text
    separators = _ESCAPED_SCHEME.findall(text)
    done = [parts[0]]
    for separator, part in zip(separators, parts[1:], strict=True):
        end = part.partition("&")[0].rfind("%40")
        done += [separator, part if end < 0 else MASK + part[end:]]
    return "".join(done)
