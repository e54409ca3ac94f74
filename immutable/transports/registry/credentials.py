"""Logins as Docker's and podman's users have them: helpers, stores, and files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import field, frozen

from immutable.config import Registries
from immutable.config.registries import AuthFile
from immutable.errors import TransportError
from immutable.transports.registry.helpers import HelperFailedError, ask

_IDENTITY: Final = "<token>"  # the user of what is no password, but a token


@frozen
class Login:
    """A user and a password; with `identity`, `secret` is a token that is traded for others."""

    user: str = ""
    secret: str = field(default="", repr=False)
    identity: bool = False


def find(registries: Registries, host: str, repository: str) -> Login | None:
    """Return the login for `repository` at `host`, with its port; None if there is none.

    In each file helpers come first, then the entry with the longest path above the repository.
    Raises TransportError for files and helpers that fail; it names them and tells no more.
    """
    for file in registries.auth_files:
        if file.fault:
            raise TransportError(f"{file.path}: {file.fault}; `docker login {host}` writes it")
        login = _from_helper(file, host) or _from_entries(file, host, repository)
        if login is not None:
            return login
    return None


def _from_helper(file: AuthFile, host: str) -> Login | None:
    import docker.auth

    helpers = file.content.get("credHelpers")
    helper = helpers.get(host) if isinstance(helpers, Mapping) else None
    helper = helper or file.content.get("credsStore")
    if not isinstance(helper, str) or not helper:
        return None
    program = f"docker-credential-{helper}"
    path = shutil.which(program)
    if path is None:
        raise TransportError(f"{file.path}: {program}, which has the logins, is not installed")
    # The SDK would let a helper's stderr through to the terminal, and wait for it for ever.
    try:
        found = ask(path, docker.auth.INDEX_URL if host == docker.auth.INDEX_NAME else host)
    except HelperFailedError as failed:
        raise TransportError(
            f"{file.path}: {program} failed for {host}: {failed}; "
            f"`echo {host} | {program} get` shows what it says"
        ) from None
    if found is None:
        return None
    user, secret = found["Username"], found["Secret"]
    if user == _IDENTITY:
        return Login(secret=secret, identity=True) if secret else None
    return _login({"username": user, "password": secret})


def _from_entries(file: AuthFile, host: str, repository: str) -> Login | None:
    import docker.auth
    import docker.errors

    entries = file.content.get("auths")
    if not isinstance(entries, Mapping):
        return None
    by_place = {_place(key): (key, entry) for key, entry in reversed([*entries.items()])}
    for place in _above(f"{host}/{repository}"):
        key, entry = by_place.get(place, ("", None))
        if not isinstance(entry, Mapping):
            continue
        if not entry.get("identitytoken") and not entry.get("auth"):
            login = _login(entry)
        else:
            given = {name: value for name, value in entry.items() if value}
            try:
                parsed = docker.auth.AuthConfig.parse_auth({key: given}, raise_on_error=True)
            except (docker.errors.DockerException, ValueError, TypeError, AttributeError):
                raise TransportError(
                    f"{file.path}: auths: {place}: expected a login in base64; "
                    f"`docker login {host}` writes it"
                ) from None
            login = _login(parsed[key])
        if login is not None and not _is_text(login):
            raise TransportError(
                f"{file.path}: auths: {place}: expected a login in Unicode, found half a "
                f"surrogate pair; `docker login {host}` writes it"
            )
        if login is not None:
            return login
    return None


def _login(found: Mapping[str, Any]) -> Login | None:
    """Return what the SDK makes of an entry or a helper's answer."""
    named = {key.lower(): value for key, value in found.items() if isinstance(value, str)}
    if named.get("identitytoken"):
        return Login(secret=named["identitytoken"], identity=True)
    if named.get("username") and named.get("password"):
        # Docker's own files end the password with NULs.
        return Login(named["username"], named["password"].rstrip("\0"))
    return None


def _is_text(login: Login) -> bool:
    """Whether `login` can be sent: JSON may hold halves of surrogate pairs."""
    try:
        (login.user + login.secret).encode()
    except UnicodeEncodeError:
        return False
    return True


def _place(key: str) -> str:
    """Return the place that an entry is for: older ones are URLs of an API."""
    plain = re.sub(r"^https?://", "", key)
    return re.sub(r"/(?:v[12]/?)?$", "", plain).lower()


def _above(place: str) -> Iterator[str]:
    while place:
        yield place
        place = place.rpartition("/")[0]
