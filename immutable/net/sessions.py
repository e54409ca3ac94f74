"""What carries requests for pinned bytes: a session that never goes on without TLS after it."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from typing_extensions import override
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs

from immutable.net.attempts import FailedError
from immutable.net.fetch import show_url
from immutable.net.tls import relax


class Session(requests.Session):
    """A session for many threads, with at most `connections` to a host."""

    def __init__(self, connections: int) -> None:
        super().__init__()
        try:
            agent = f"immutable/{version('immutable')}"
        except PackageNotFoundError:
            agent = "immutable"
        # The cookie jar is the one part of a session that threads must not share.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self.headers.update({"User-Agent": agent, "Accept": "*/*", "Accept-Encoding": "identity"})
        adapter = _Adapter(pool_maxsize=connections)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    @override
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where `resp` sends on to; raise FailedError if TLS would end there."""
        try:
            target = super().get_redirect_target(resp)
            url = urljoin(resp.url, target or "")
            schemes = (urlsplit(resp.url).scheme.lower(), urlsplit(url).scheme.lower())
        except ValueError:
            resp.close()
            raise FailedError(f"{show_url(resp.url)} leads to what is no URL") from None
        if schemes == ("https", "http"):
            resp.close()
            raise FailedError(
                f"expected to be sent on to an https URL, {show_url(resp.url)} leads to "
                f"{show_url(url)}"
            )
        return target


class _Adapter(HTTPAdapter):
    """An adapter whose connections look at certificates as strictly as others do."""

    @override
    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        super().init_poolmanager(*args, **settings)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    @override
    def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **settings)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _Secure(HTTPSConnection):
    @override
    def connect(self) -> None:
        # Its own for each: what is trusted may vary, as npm's settings have it.
        if self.ssl_context is None:
            self.ssl_context = create_urllib3_context(cert_reqs=resolve_cert_reqs(self.cert_reqs))
        relax(self.ssl_context)
        super().connect()


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


_POOLS: Final = {"http": HTTPConnectionPool, "https": _SecurePool}
