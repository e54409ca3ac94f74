"""Carrying one HTTP request: TLS, proxies, a pool of connections that can be cut at once.

`requests` does the HTTP. Its sessions are not used: they follow redirects, read `.netrc` and
keep cookies, all of which would carry secrets to where they do not belong.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from typing_extensions import override
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from immutable.errors import TransportError
from immutable.net.attempts import TRANSIENT, FailedError
from immutable.net.fetch import innermost, root_cause
from immutable.net.tls import relax
from immutable.reading import open_regular
from immutable.transports.registry.origins import is_loopback
from immutable.transports.sending import WORKERS

_CONNECT: Final = 10.0  # seconds
_QUIET: Final = 120.0  # seconds without a byte; a registry hashes a large blob before it answers
_LITTLE: Final = 64 << 10  # bytes
_NO_NAME: Final = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_Watch = Callable[[socket.socket], None]


class Body(Protocol):
    """What a request carries: as long as ``len()`` says, given anew each time it is asked for."""

    @property
    def fault(self) -> OSError | None:
        """What failed on our own side; no other attempt would help."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Any: ...


class Connections:
    """Sends requests; safe to share between threads."""

    def __init__(self, ca_files: tuple[Path, ...] = ()) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._ca_files = ca_files
        self._verified: _Adapter | None = None
        self._unverified = _Adapter(self._watch, _trusting_anybody())

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Body | None = None,
        *,
        verify: bool = True,
    ) -> requests.Response:
        """Return the answer, its body yet to be read; raise FailedError if there is none.

        Raises the body's own fault as it is.
        """
        if not verify:
            _expect_unverified(url)
        proxies = _proxies(url)
        # A proxy may speak TLS even where the registry does not.
        trusting = verify and (url.startswith("https:") or bool(proxies))
        adapter = self._trusting() if trusting else self._unverified
        try:
            request = requests.Request(method, url, {**_headers(), **headers}, data=body)
            return adapter.send(
                request.prepare(),
                stream=True,
                timeout=(_CONNECT, _QUIET),
                verify=verify,
                proxies=proxies,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            fault = getattr(body, "fault", None)
            if fault is not None:
                raise fault from None
            raise failure(error) from None

    def shutdown(self) -> None:
        """Cut every connection, waking whoever waits for one."""
        with self._lock:
            live = [*self._sockets]
        for one in live:
            with contextlib.suppress(OSError, ValueError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give up the connections."""
        for adapter in (self._verified, self._unverified):
            if adapter is not None:
                adapter.close()

    def _trusting(self) -> _Adapter:
        """Return what verifies; made for the first who needs it, for it takes some time."""
        with self._making:
            if self._verified is None:
                context = _context(self._ca_files) if self._ca_files else _usual()
                self._verified = _Adapter(self._watch, context)
            return self._verified

    def _watch(self, made: socket.socket) -> None:
        # A piece of a body may take its time; urllib3 gives it no more than to connect.
        made.settimeout(_QUIET)
        with self._lock:
            self._sockets.add(made)


class _Adapter(HTTPAdapter):
    """An adapter that tells of every socket, and trusts what `context` does."""

    def __init__(self, watch: _Watch, context: ssl.SSLContext) -> None:
        self._classes = _pools(watch)
        self._context = context
        super().__init__(pool_connections=4, pool_maxsize=WORKERS + 1)

    @override
    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        super().init_poolmanager(*args, **settings, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = self._classes

    @override
    def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **settings, ssl_context=self._context)
        manager.pool_classes_by_scheme = self._classes
        return manager

    @override
    def cert_verify(self, conn: Any, url: Any, *_: Any, **__: Any) -> None:
        """Say what the server has to show; the context knows all certificates already."""
        if str(url).lower().startswith("https:"):
            anybody = self._context.verify_mode is ssl.CERT_NONE
            conn.cert_reqs = "CERT_NONE" if anybody else "CERT_REQUIRED"


def _pools(watch: _Watch) -> dict[str, type[HTTPConnectionPool]]:
    """Return urllib3's pools, of connections that tell `watch` of their sockets."""

    class Plain(HTTPConnection):
        @override
        def connect(self) -> None:
            super().connect()
            watch(self.sock)

    class Secure(HTTPSConnection):
        @override
        def connect(self) -> None:
            super().connect()
            watch(self.sock)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def release(response: requests.Response) -> None:
    """Let go of a response that is done with; its connection is kept if little is left to read."""
    with response, contextlib.suppress(OSError, urllib3.exceptions.HTTPError):
        response.raw.read(_LITTLE, decode_content=False)


def failure(error: Exception) -> FailedError:
    """Return what a broken exchange means: whether another attempt may go better."""
    text = innermost(error)
    if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE" in str(error).upper():
        return FailedError(
            f"TLS failed: {text}; --ca-file names the certificate to trust, "
            "--tls-verify=false trusts any"
        )
    wrong = (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        requests.exceptions.InvalidHeader,
    )
    if isinstance(error, wrong):  # its text may repeat a header
        return FailedError(f"{type(error).__name__}: the request cannot be sent")
    cause = root_cause(error)
    if isinstance(cause, socket.gaierror) and cause.errno in _NO_NAME:
        return FailedError(f"{text}: there is no host of this name")
    return FailedError(text, again=True)


def is_transient(status: int) -> bool:
    """Whether the same request may do better after `status`; proxies have 5xx of their own."""
    return status in TRANSIENT or status >= 500


def _proxies(url: str) -> dict[str, str]:
    if is_loopback(urlsplit(url).hostname or ""):
        return {}
    return requests.utils.get_environ_proxies(url)


@functools.cache
def _headers() -> Mapping[str, str]:
    try:
        agent = f"immutable/{version('immutable')}"
    except PackageNotFoundError:
        agent = "immutable"
    # A blob must not be unpacked on the way.
    return {"User-Agent": agent, "Accept": "*/*", "Accept-Encoding": "identity"}


def _trusting_anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@functools.cache
def _usual() -> ssl.SSLContext:
    """Return what trusts the usual certificates; it takes some time to make."""
    return _context(())


def _context(ca_files: tuple[Path, ...]) -> ssl.SSLContext:
    """Return what trusts `ca_files`, the system's certificates and those of `requests`."""
    context = relax(ssl.create_default_context())
    context.load_verify_locations(cafile=DEFAULT_CA_BUNDLE_PATH)
    for path in ca_files:
        try:
            if path.is_dir():
                context.load_verify_locations(capath=path)
            else:
                os.close(open_regular(path, given=True))  # OpenSSL would wait at a FIFO
                context.load_verify_locations(cafile=path)
        except ssl.SSLError:
            raise TransportError(f"{path}: expected certificates in PEM, found none") from None
        except OSError as error:
            raise TransportError(f"{path}: cannot be read: {error.strerror}") from None
    return context


def _expect_unverified(url: str) -> None:
    """Keep urllib3 from warning of what the user asked for."""
    host = urlsplit(url).hostname or ""
    warnings.filterwarnings(
        "ignore",
        message=f"Unverified HTTPS request is being made to host '{host}'",
        category=urllib3.exceptions.InsecureRequestWarning,
    )
