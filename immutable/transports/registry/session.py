"""One exchange with a registry: logged in, redirects followed, its refusals understood."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import requests
import urllib3
from attrs import field, frozen

from immutable.config import Registries
from immutable.net.attempts import FailedError, Run
from immutable.net.fetch import retry_after
from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.redact import cut
from immutable.transports.registry.auth import Auth
from immutable.transports.registry.connections import (
    Body,
    Connections,
    failure,
    is_transient,
    release,
)
from immutable.transports.registry.credentials import Login
from immutable.transports.registry.origins import Origin, Trust

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD: Final = frozenset({307, 308})
_MOST_REDIRECTS: Final = 5
_MAX_REFUSAL: Final = 64 << 10  # bytes of an error's document that are looked at
_SHA256: Final = re.compile(r"sha256:[0-9a-f]{64}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


@frozen
class Request:
    """A request to a registry; `scopes` is what a token for it has to allow."""

    method: str
    url: str
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes | Body | None = field(default=None, repr=False)


class RefusedError(FailedError):
    """An answer of another status than was hoped for.

    `codes` are the error codes of the distribution-spec, `digests` what its details name.
    """

    def __init__(
        self,
        reason: str,
        status: int,
        *,
        after: float = 0.0,
        codes: frozenset[str] = frozenset(),
        digests: frozenset[Digest] = frozenset(),
    ) -> None:
        absent = status in (404, 410)
        super().__init__(reason, again=is_transient(status), absent=absent, after=after)
        self.status, self.codes, self.digests = status, codes, digests


class Exchange:
    """Talks to the registry `host`, with its port; safe to share between threads.

    `find_login` is asked for a login once the registry wants one.
    """

    def __init__(
        self,
        host: str,
        registries: Registries,
        find_login: Callable[[], Login | None],
        *,
        clock: Callable[[], float],
    ) -> None:
        self.host = host
        self._trust = Trust(registries, Origin.of(f"https://{host}"))
        self._connections = Connections(registries.ca_files)
        self._auth = Auth(host, self._trust, find_login, self._once, clock)
        self._home: Origin | None = None
        self._reaching = threading.Lock()

    def shutdown(self) -> None:
        """Cut every connection, waking whoever waits for one."""
        self._connections.shutdown()

    def close(self) -> None:
        """Give up the connections."""
        self._connections.close()

    def url(self, path: str, run: Run) -> str:
        """Return the URL of `path` in the registry's API, over TLS where it speaks it.

        Raises FailedError if the registry cannot be reached.
        """
        with self._reaching:
            if self._home is None:
                self._home = self._reached(run)
            return f"{self._home}{path}"

    def location(self, response: requests.Response, run: Run) -> str:
        """Return the URL where `response` says to go on; raise FailedError for a bad one."""
        location = response.headers.get("Location", "")
        if not location:
            raise FailedError(f"the answer {response.status_code} has no Location")
        return self.resolved(response.url or self.url("/", run), location)

    def resolved(self, base: str, location: str) -> str:
        """Return the URL `location` as seen from `base`; raise FailedError for a bad one."""
        return self._trust.target(base, location)

    @contextmanager
    def answer(self, request: Request, run: Run, *expected: int) -> Iterator[requests.Response]:
        """Give the answer to `request`, its body yet to be read.

        Raises RefusedError for another status than those `expected`, and FailedError for none
        at all or a body that breaks off.
        """
        response = self.send(request, run, *expected)
        try:
            with response:
                yield response
                release(response)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            run.check()
            raise failure(error) from None

    def send(self, request: Request, run: Run, *expected: int) -> requests.Response:
        """Return the answer to `request`, which the caller closes; raise as `answer` does."""
        response = self._logged_in(request, run)
        if response.status_code in expected:
            return response
        refusal = self._refusal(response)
        release(response)
        raise refusal

    def _logged_in(self, request: Request, run: Run) -> requests.Response:
        used = self._auth.header(request.scopes, run)
        response, at_home = self._followed(request, used)
        if response.status_code != 401 or not at_home:
            return response
        asked = response.headers.get("WWW-Authenticate", "")
        release(response)
        return self._followed(request, self._auth.renewed(asked, request.scopes, used, run))[0]

    def _followed(self, request: Request, login: str | None) -> tuple[requests.Response, bool]:
        """Return the answer after all redirects, and whether it is the registry's own.

        Once it is sent on to another host a request carries no login, wherever it goes then.
        """
        url, home = request.url, self._home
        for _ in range(_MOST_REDIRECTS):
            at_home = Origin.of(url) == home
            login = login if at_home else None
            signed = {"Authorization": login} if login else {}
            headers = {**request.headers, **signed}
            response = self._once(request.method, url, headers, request.body)
            if not _is_redirect(request.method, response.status_code):
                return response, at_home
            release(response)
            url = self._trust.target(url, response.headers.get("Location", ""))
        raise FailedError(f"sent on more than {_MOST_REDIRECTS} times")

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | Body | None
    ) -> requests.Response:
        verify = not self._trust.is_insecure(Origin.of(url))
        return self._connections.send(method, url, headers, body, verify=verify)

    def _reached(self, run: Run) -> Origin:
        """Return where the API is; without TLS only where that is allowed and nothing else is."""
        secure = Origin.of(f"https://{self.host}")
        plain = Origin.of(f"http://{self.host}")
        if not self._trust.may_be_plain(plain):
            return secure
        try:
            # Only whether it speaks TLS; nothing is told, and certificates are looked at later.
            release(self._connections.send("GET", f"{secure}/v2/", {}, verify=False))
        except FailedError as failed:
            run.check()
            if not failed.again:
                raise
            return self._reached_plainly(plain, failed)
        return secure

    def _reached_plainly(self, plain: Origin, failed: FailedError) -> Origin:
        response = self._once("GET", f"{plain}/v2/", {}, None)
        release(response)
        if response.status_code == 400:  # what a server of TLS says to plain http
            raise failed
        return plain

    def _refusal(self, response: requests.Response) -> RefusedError:
        """Return what a refusal says; nothing in it is trusted to be a document of errors."""
        errors = _errors(response)
        codes = [error["code"] for error in errors if isinstance(error.get("code"), str)]
        texts = [error["message"] for error in errors if isinstance(error.get("message"), str)]
        status = response.status_code
        told = ": ".join([*codes[:1], *texts[:1]]) or response.reason or ""
        login = self._auth.advice() if status in (401, 403) else ""
        return RefusedError(
            f"the registry answered {status} {self._shown(told)}".rstrip() + login,
            status,
            after=retry_after(response.headers.get("Retry-After", "")),
            codes=frozenset(codes),
            digests=frozenset(
                Digest.parse(text)
                for error in errors
                for text in _SHA256.findall(str(error.get("detail", "")))
            ),
        )

    def _shown(self, text: str) -> str:
        """Return what a server wrote, fit for a message; it may repeat what it was sent."""
        return cut(_CONTROL.sub(" ", self._auth.without_secrets(text)), 200)


def read_small(response: requests.Response, limit: int) -> bytes:
    """Return the whole body; raise FailedError for one of more than `limit` bytes."""
    data = bytearray()
    while piece := response.raw.read(limit + 1 - len(data), decode_content=False):
        data += piece
        if len(data) > limit:
            raise FailedError(f"expected a body of at most {limit} bytes, found a longer one")
    return bytes(data)


def _is_redirect(method: str, status: int) -> bool:
    return status in (_REDIRECTS if method in ("GET", "HEAD") else _SAME_METHOD)


def _errors(response: requests.Response) -> list[dict[str, Any]]:
    try:
        data = response.raw.read(_MAX_REFUSAL, decode_content=False)
        document = canonical.decode(data)
    except (ValueError, OSError, urllib3.exceptions.HTTPError):
        return []
    errors = document.get("errors") if isinstance(document, dict) else None
    return [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []
