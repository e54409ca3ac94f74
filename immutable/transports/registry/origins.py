"""Hosts that a registry may send us on to, and what they may be told."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Final, Self
from urllib.parse import urljoin, urlsplit

from attrs import frozen

from immutable.config import Registries
from immutable.net.attempts import FailedError

_PORTS: Final = {"http": 80, "https": 443}
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\\]")


@frozen
class Origin:
    """What a URL's secrets belong to: scheme, host and port (RFC 6454, 4)."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Self:
        """Return the origin of `url`; raise FailedError for a URL that cannot be followed."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise FailedError("expected a URL, found something else") from None
        if parts.scheme not in _PORTS or not host or _UNSAFE.search(url):
            raise FailedError("expected an http or https URL with a host, found another")
        if "@" in parts.netloc:
            raise FailedError("expected a URL without user and password, found one with them")
        return cls(parts.scheme, host, port or _PORTS[parts.scheme])

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


@frozen
class Trust:
    """What `registries` allow in dealing with the registry at the host and port of `home`."""

    registries: Registries
    home: Origin

    def may_be_plain(self, origin: Origin) -> bool:
        """Whether `origin` may be talked to without TLS: on this machine, or where asked."""
        if is_loopback(origin.host) and is_loopback(self.home.host):
            return True
        return self.is_insecure(origin)

    def is_insecure(self, origin: Origin) -> bool:
        """Whether whoever says to be `origin` is believed, as the user asked."""
        listed = self.registries.is_insecure
        if listed(origin.host, origin.port):
            return True
        # The registry's own realm may well be at another port.
        asked = not self.registries.tls_verify or listed(self.home.host, self.home.port)
        return asked and origin.host == self.home.host

    def target(self, base: str, location: str) -> str:
        """Return the URL of a redirect or an upload; raise FailedError for one not to follow."""
        try:
            url = urljoin(base, location)
        except ValueError:
            raise FailedError("expected a URL to go on with, found something else") from None
        self.check(url, "Location")
        return url

    def check(self, url: str, what: str) -> Origin:
        """Return the origin of `url`; raise FailedError if nothing may be asked of it."""
        try:
            origin = Origin.of(url)
        except FailedError as failed:
            raise FailedError(f"{what}: {failed}") from None
        if origin.scheme == "http" and not self.may_be_plain(origin):
            raise FailedError(f"{what}: expected an https URL, found one at {origin}")
        if origin.host != self.home.host and is_link_local(origin.host):
            # Where clouds tell a machine its own credentials.
            raise FailedError(f"{what}: {origin} is a link-local address, which no registry needs")
        return origin


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by its very name; nothing is looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_link_local(host: str) -> bool:
    """Whether `host`, in whatever spelling, is an address of this link alone."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False  # nobody but a proxy could reach it
    for text in found:
        address = ipaddress.ip_address(text)
        mapped = getattr(address, "ipv4_mapped", None)
        if address.is_link_local or (mapped is not None and mapped.is_link_local):
            return True
    return False
