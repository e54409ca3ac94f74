"""What carries requests for pinned bytes: a session that never goes on without TLS after it."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from immutable.sources.attempts import FailedError
from immutable.sources.fetch import show_url


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
        adapter = HTTPAdapter(pool_maxsize=connections)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

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
