"""npm's own settings: its registry, credentials and certificates.

npm's configuration manual (``npm help npmrc``) says where they are. A project's own ``.npmrc``
does not count: what is checked out must not say where to fetch from or whom to trust.

Part of `immutable.config`, which alone reads this machine's settings.
"""

from __future__ import annotations

import base64
import binascii
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from attrs import field, frozen

from immutable.config.apt import SCHEMES
from immutable.reading import read_file

_VARIABLE = re.compile(r"(\\*)\$\{([^${}?]+)(\?)?\}")
_PREFIX = "npm_config_"


@frozen
class Npm:
    """What npm is set to on this machine.

    `registry` is empty where only npm's built-in default holds, for which `program` is to be
    asked; `scopes` are (``@scope``, URL) pairs. `credentials` are (``//host/path/``, value of
    the Authorization header) pairs. `cafile` holds the certificates to trust instead of the
    usual ones; `proxies` are (scheme, URL) pairs.
    """

    registry: str = ""
    scopes: tuple[tuple[str, str], ...] = ()
    credentials: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    cafile: str = ""
    proxies: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    program: str = ""

    def registry_of(self, name: str) -> str:
        """Return the registry of the package `name`; empty where nothing is set."""
        scope = name.partition("/")[0] if name.startswith("@") else ""
        return dict(self.scopes).get(scope, self.registry)

    def authorization(self, url: str) -> str | None:
        """Return the Authorization header for `url`: that of the longest path above it.

        A host with another port is another host.
        """
        parts = urlsplit(url)
        place = f"//{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/") + "/"
        known = [pair for pair in self.credentials if place.startswith(pair[0])]
        return max(known, key=lambda pair: len(pair[0]))[1] if known else None


def read_npm(env: Mapping[str, str]) -> Npm:
    """Return npm's settings: the environment's over the user's file over the machine's."""
    program = shutil.which("npm", path=env.get("PATH")) or ""
    given = dict(_from_environment(env))
    user = _read(given.get("userconfig"), _home(env) / ".npmrc", env)
    prefix = given.get("prefix") or env.get("PREFIX") or user.get("prefix") or _prefix(env)
    machine = _read(
        given.get("globalconfig") or user.get("globalconfig"), Path(prefix, "etc", "npmrc"), env
    )
    settings = {**machine, **user, **given}
    proxies = {
        "https": settings.get("https-proxy") or settings.get("proxy"),
        "http": settings.get("proxy"),
    }
    return Npm(
        registry=_url(settings.get("registry", "")),
        scopes=tuple(sorted(_scopes(settings))),
        credentials=tuple(sorted(_credentials(settings))),
        cafile=_existing(settings.get("cafile", "")),
        proxies=tuple((scheme, url) for scheme, url in proxies.items() if url and "://" in url),
        program=program,
    )


def _from_environment(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in env.items():
        if name.lower().startswith(_PREFIX) and value:
            key = name[len(_PREFIX) :]
            if not key.startswith("//"):
                key = key[:1] + key[1:].replace("_", "-")
                key = key.lower()
            yield key, value


def _home(env: Mapping[str, str]) -> Path:
    return Path(env["HOME"]) if env.get("HOME") else Path.home()


def _prefix(env: Mapping[str, str]) -> str:
    """Return the folder above the one in which Node is installed, as npm has it."""
    node = shutil.which("node", path=env.get("PATH"))
    return str(Path(node).resolve().parent.parent) if node else "/usr/local"


def _read(named: str | None, usual: Path, env: Mapping[str, str]) -> dict[str, str]:
    path = Path(named).expanduser() if named else usual
    try:
        text = read_file(path).decode("utf-8", "replace")
    except OSError:
        return {}
    return dict(_settings(text, env))


def _settings(text: str, env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the settings of an ini file as npm writes it; variables filled in, lists left out."""
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if line.lstrip()[:1] in (";", "#", "[") or not key.strip() or not equals:
            continue
        key, value = _plain(key), _plain(value)
        if not key.endswith("[]"):
            yield _filled(key, env), _filled(value, env)


def _plain(word: str) -> str:
    word = word.strip()
    if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'":
        return word[1:-1]
    return re.split(r"(?<!\\)[;#]", word)[0].strip()


def _filled(word: str, env: Mapping[str, str]) -> str:
    def fill(match: re.Match[str]) -> str:
        if len(match[1]) % 2:
            return match[0][1:]
        value = env.get(match[2])
        return match[1] + (("" if match[3] else match[0]) if value is None else value)

    return _VARIABLE.sub(fill, word)


def _url(text: str) -> str:
    return text.rstrip("/") if text.startswith(SCHEMES) else ""


def _existing(path: str) -> str:
    return path if path and Path(path).is_file() else ""


def _scopes(settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if key.startswith("@") and key.endswith(":registry") and _url(value):
            yield key.removesuffix(":registry"), _url(value)


def _credentials(settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (place, header); credentials that name no place are sent nowhere, as npm has it."""
    places = {key.rpartition(":")[0] for key in settings if key.startswith("//")}
    for place in places:
        named = {
            key.rpartition(":")[2]: value
            for key, value in settings.items()
            if key.rpartition(":")[0] == place
        }
        header = _header(named)
        if header:
            yield place.rstrip("/") + "/", header


def _header(given: Mapping[str, str]) -> str:
    if given.get("_authToken"):
        return f"Bearer {given['_authToken']}"
    if given.get("_auth"):
        return f"Basic {given['_auth']}"
    user, password = given.get("username"), given.get("_password")
    if not user or not password:
        return ""
    try:
        plain = base64.b64decode(password, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return "Basic " + base64.b64encode(user.encode() + b":" + plain).decode()
