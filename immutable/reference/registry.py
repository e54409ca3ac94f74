"""What ``docker://`` is followed by: ``HOST[:PORT]/NAME[:TAG][@DIGEST]``.

The grammar is that of distribution/reference, but for its defaults: no host and no tag is
assumed.
"""

from __future__ import annotations

import re
from typing import Final, Self

from attrs import frozen

from immutable.oci.digest import Digest
from immutable.oci.tags import is_tag
from immutable.redact import quoted
from immutable.reference.grammar import LONGEST, is_repository

_HOST: Final = re.compile(
    r"(?:(?P<name>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)
_SHAPE: Final = "HOST[:PORT]/NAME[:TAG][@DIGEST]"


@frozen
class RegistryName:
    """A repository of a registry, and what is meant in it; `tag` may be empty.

    `host` is in lower case and holds the port if one was written.
    """

    host: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name that `text` writes; raise ValueError, which repeats no password."""
        host, slash, rest = text.partition("/")
        if host in ("http:", "https:"):
            raise ValueError(f"expected {_SHAPE}, found a URL; leave {host}// out")
        if "@" in host and slash:
            raise ValueError("a reference holds no user and no password; use `docker login`")
        if not slash or not _is_host(host):
            raise ValueError(
                f"expected {_SHAPE}; write the registry's host before the name, none is assumed"
            )
        name, at, digits = rest.partition("@")
        repository, colon, tag = name.partition(":")
        if colon and not is_tag(tag):
            raise ValueError(f"expected a tag of a-z A-Z 0-9 _ . -, found {quoted(tag, 140)}")
        check_repository(repository)
        if len(host) + len(repository) >= LONGEST:
            raise ValueError(f"expected at most {LONGEST} characters of host and name")
        return cls(host.lower(), repository, tag, Digest.parse(digits) if at else None)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.repository}{tag}{digest}"


def check_repository(text: str) -> None:
    """Raise ValueError unless `text` can name a repository."""
    if not is_repository(text):
        raise ValueError(
            f"expected a name in lower case, its parts between /, found {quoted(text)}"
        )


def _is_host(text: str) -> bool:
    """Whether `text` is a host, and not the first part of a name without one."""
    match = _HOST.fullmatch(text.lower())
    if match is None or not 0 < int(match["port"] or 1) < 1 << 16:
        return False
    return match["name"] is None or match["name"] == "localhost" or bool({".", ":"} & {*text})
