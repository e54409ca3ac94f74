"""Logging in: Basic, and the tokens of the distribution project's token specification.

A secret goes to the registry itself, and to the realm that its challenge names: over TLS, or on
the machine that the user allowed to do without.
"""

from __future__ import annotations

import base64
import functools
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import requests
import urllib3
from attrs import field, frozen

from immutable.net.attempts import MOST_ATTEMPTS, FailedError, Run, attempts
from immutable.net.fetch import retry_after
from immutable.oci import canonical
from immutable.transports.registry.challenge import Challenge, parse
from immutable.transports.registry.connections import Body, failure, is_transient, release
from immutable.transports.registry.credentials import Login
from immutable.transports.registry.origins import Origin, Trust

_MAX_ANSWER: Final = 1 << 20
_SHORTEST: Final = 60  # seconds, which a token lasts that does not say (token specification)
_MARGIN: Final = 5.0  # seconds before its end in which a token is no more used
_SENDABLE: Final = re.compile(r"[\x21-\x7e]+")
_CLIENT: Final = "immutable"


class Send(Protocol):
    """Sends one request, which follows no redirect and carries nothing but what is given."""

    def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | Body | None, /
    ) -> requests.Response:
        """Return the answer; raise FailedError if there is none."""


@frozen
class _Token:
    header: str = field(repr=False)
    until: float


class Auth:
    """What to write into the Authorization header for the registry `host`.

    The challenge is remembered, so that only the first request has to be refused. Several
    threads share one token.
    """

    def __init__(
        self,
        host: str,
        trust: Trust,
        find_login: Callable[[], Login | None],
        send: Send,
        clock: Callable[[], float],
    ) -> None:
        self._host, self._trust, self._send, self._clock = host, trust, send, clock
        self._login = functools.cache(find_login)
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._secrets: set[str] = set()
        self._lock = threading.RLock()

    def header(self, scopes: tuple[str, ...], run: Run) -> str | None:
        """Return the header for a request that needs `scopes`; None if none is known to be due.

        Raises FailedError if no token is to be had.
        """
        with self._lock:
            if self._challenge is None:
                return None
            token = self._tokens.get(scopes)
            if token is None or token.until < self._clock():
                token = self._tokens[scopes] = self._made(self._challenge, scopes, run)
            return token.header

    def renewed(self, asked: str, scopes: tuple[str, ...], used: str | None, run: Run) -> str:
        """Return another header after a 401 with the WWW-Authenticate header `asked`.

        `used` is the one that was refused. Raises FailedError if there is no other.
        """
        challenge = _chosen(asked)
        if challenge is None:
            raise FailedError(f"{self._host}: asks for a login of no kind known here")
        with self._lock:
            token = self._tokens.get(scopes)
            if token is None or token.header == used:  # else another thread was faster
                token = self._tokens[scopes] = self._made(challenge, scopes, run)
            self._challenge = challenge
            return token.header

    def advice(self) -> str:
        """Return what to do about a refusal, to be put behind it."""
        with self._lock:
            known = self._challenge is None or self._login() is not None
        if known:
            return f"; `docker login {self._host}` renews the login" if self._challenge else ""
        return f"; there is no login for {self._host}: `docker login {self._host}` makes one"

    def without_secrets(self, text: str) -> str:
        """Return `text` with everything left out that only the registry may know."""
        with self._lock:
            for secret in sorted(self._secrets, key=len, reverse=True):
                text = text.replace(secret, "…")
        return text

    def _made(self, challenge: Challenge, scopes: tuple[str, ...], run: Run) -> _Token:
        login = self._login()
        if login is not None:
            self._secrets |= {login.secret, _basic(login)}
        if challenge.scheme == "basic":
            if login is None or login.identity:
                raise FailedError(
                    f"{self._host}: asks for a user and a password, and none is known; "
                    f"`docker login {self._host}` makes a login"
                )
            return _Token(f"Basic {_basic(login)}", float("inf"))
        wanted = _merged(scopes, challenge.get("scope").split())
        try:
            fetch = functools.partial(self._fetched, challenge, wanted, login, run)
            token = attempts(fetch, run, MOST_ATTEMPTS)
        except FailedError as failed:
            raise FailedError(f"no token for {self._host}: {failed}") from None
        self._secrets.add(token.header.partition(" ")[2])
        return token

    def _fetched(
        self, challenge: Challenge, scopes: tuple[str, ...], login: Login | None, run: Run
    ) -> _Token:
        """Ask the realm for a token; `identity` tokens are traded as OAuth2 has it."""
        realm, now = challenge.get("realm"), self._clock()
        origin = self._trust.check(realm, "realm")
        service = challenge.get("service")
        query = [("service", service)] if service else []
        if login is not None and login.identity:
            form = [("grant_type", "refresh_token"), *query, ("client_id", _CLIENT)]
            form += [("scope", " ".join(scopes)), ("refresh_token", login.secret)]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._send("POST", realm, headers, urlencode(form).encode())
        else:
            query += [("scope", scope) for scope in scopes]
            headers = {"Authorization": f"Basic {_basic(login)}"} if login else {}
            url = realm + ("&" if "?" in realm else "?") + urlencode(query)
            response = self._send("GET", url, headers, None)
        run.check()
        return _token(response, origin, now)


def _token(response: requests.Response, origin: Origin, now: float) -> _Token:
    """Return the token in a realm's answer; nothing else of it is ever shown."""
    with response:
        status = response.status_code
        if status != 200:
            release(response)
            after = retry_after(response.headers.get("Retry-After", ""))
            raise FailedError(
                f"{origin} answered {status}", again=is_transient(status), after=after
            )
        try:
            data = response.raw.read(_MAX_ANSWER, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise failure(error) from None
    try:
        document = canonical.decode(data)
    except ValueError:
        raise FailedError(f"{origin}: expected a token in JSON, found none", again=True) from None
    found: dict[str, Any] = document if isinstance(document, dict) else {}
    text = found.get("token") or found.get("access_token")
    if not isinstance(text, str) or not _SENDABLE.fullmatch(text):
        raise FailedError(f"{origin}: expected a token, found none")
    lasts = found.get("expires_in")
    seconds = lasts if isinstance(lasts, int) and 0 < lasts < 1 << 31 else _SHORTEST
    return _Token(f"Bearer {text}", now + max(seconds - _MARGIN, 1.0))


def _chosen(header: str) -> Challenge | None:
    """Return the challenge to answer: a token rather than the password itself."""
    challenges = {challenge.scheme: challenge for challenge in reversed(parse(header))}
    bearer = challenges.get("bearer")
    return bearer if bearer and bearer.get("realm") else challenges.get("basic")


def _merged(scopes: tuple[str, ...], asked: Iterable[str]) -> tuple[str, ...]:
    """Return `scopes` and those of `asked` that they do not allow already."""
    allowed = dict(map(_parts, scopes))
    more = []
    for scope in asked:
        resource, actions = _parts(scope)
        if not actions <= allowed.get(resource, frozenset()):
            more.append(scope)
    return (*scopes, *dict.fromkeys(more))


def _parts(scope: str) -> tuple[str, frozenset[str]]:
    resource, _, actions = scope.rpartition(":")
    return resource, frozenset(actions.split(","))


def _basic(login: Login) -> str:
    return base64.b64encode(f"{login.user}:{login.secret}".encode()).decode()
