"""A proxy on this machine that spoils what goes between a client and a real registry.

A script is a list of faults; each strikes once, at the nth request that fits it.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from attrs import define, evolve, field, frozen

from tests.support.web import Handler, serving

ELSEWHERE: Final = "127.0.0.2"
_HOPS: Final = ("connection", "keep-alive", "transfer-encoding", "content-length")


@frozen
class Fault:
    """What goes wrong with a request whose method and path fit; `nth` counts from 1.

    The `value` of a status is its Retry-After; ``a-date`` stands for one an hour from now.
    """

    kind: str
    method: str
    path: str = ""
    nth: int = 1
    value: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, [self.method, self.kind, self.value, self.path]))


@define
class Reply:
    status: int
    headers: dict[str, str] = field(factory=dict)
    body: bytes = b""
    length: int | None = None  # what Content-Length says, if it is wrong


@frozen
class Seen:
    """A request as it came, to which of the two hosts."""

    host: str
    method: str
    path: str
    headers: Mapping[str, str]


class Faults:
    """The proxy; `seen` are the requests, `left` the faults that did not strike yet."""

    def __init__(self, upstream: int, script: Sequence[Fault] = ()) -> None:
        self.upstream = upstream
        self._script = tuple(script)
        self.left = list(script)
        self.seen: list[Seen] = []
        self.host = self.elsewhere = ""
        self._counts = [0] * len(self._script)
        self._lock = threading.Lock()

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve at two addresses; the value is the ``HOST:PORT`` that has the faults."""
        with _listening(self, "127.0.0.1") as port, _listening(self, ELSEWHERE) as other:
            self.host, self.elsewhere = f"127.0.0.1:{port}", f"{ELSEWHERE}:{other}"
            yield self.host

    def fault(self, method: str, path: str) -> Fault | None:
        """Return the fault that strikes this request; every one that fits it counts it."""
        with self._lock:
            ripe = []
            for number, fault in enumerate(self._script):
                if fault.method == method and re.search(fault.path, path):
                    self._counts[number] += 1
                    if self._counts[number] == fault.nth:
                        ripe.append(fault)
            for fault in ripe[:1]:
                self.left.remove(fault)
            return ripe[0] if ripe else None


@contextmanager
def _listening(faults: Faults, address: str) -> Iterator[int]:
    class Placed(_Handler):
        proxy = faults
        here = address

    with serving(Placed, address) as port:
        yield port


class _Handler(Handler):
    proxy: Faults
    here: str

    def do_any(self) -> None:
        here = self.here
        self.proxy.seen.append(Seen(here, self.command, self.path, dict(self.headers.items())))
        fault = None if here == ELSEWHERE else self.proxy.fault(self.command, self.path)
        try:
            if self.path.startswith("/token"):
                self._read(self._length())
                self._reply(Reply(200, body=json.dumps({"token": "of-no-matter"}).encode()))
            elif fault is None:
                self._reply(self._forward(self._read(self._length())))
            else:
                _STRIKES.get(fault.kind, _by_status)(self, fault)
        except (ConnectionError, http.client.HTTPException):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_any  # noqa: N815

    def _length(self) -> int:
        return int(self.headers.get("Content-Length") or 0)

    def _read(self, length: int) -> bytes:
        data = self.rfile.read(length)
        if len(data) != length:
            raise ConnectionError
        return data

    def _forward(self, body: bytes, path: str = "") -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream, timeout=30)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOPS}
            headers["Content-Length"] = str(len(body))
            connection.request(self.command, path or self.path, body, headers)
            answer = connection.getresponse()
            taken = {k: v for k, v in answer.getheaders() if k.lower() not in _HOPS}
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            return Reply(answer.status, taken, answer.read(), int(length) if length else None)
        finally:
            connection.close()

    def _forward_half(self) -> None:
        """Send half of a body on, and break off."""
        length = self._length()
        with socket.create_connection(("127.0.0.1", self.proxy.upstream)) as upstream:
            head = [f"{self.command} {self.path} HTTP/1.1"]
            head += [f"{name}: {value}" for name, value in self.headers.items()]
            upstream.sendall("\r\n".join([*head, "", ""]).encode() + self._read(length // 2))

    def _reply(self, reply: Reply) -> None:
        self._head(reply)
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        if reply.length is not None and self.command != "HEAD":
            self.close_connection = True

    def _head(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        length = len(reply.body) if reply.length is None else reply.length
        if reply.status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _reset(self) -> None:
        self.wfile.flush()
        # Closed at once and with a reset: what is on its way is lost.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


# The faults. Each gets the handler and the fault; kinds that are none of these are a status.


def _by_status(handler: _Handler, fault: Fault) -> None:
    handler._read(handler._length())
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1))
    headers = {"Retry-After": later if fault.value == "a-date" else fault.value}
    handler._reply(Reply(int(fault.kind), headers if fault.value else {}, b"no\n"))


def _reset_before(handler: _Handler, fault: Fault) -> None:
    handler._reset()


def _lost_answer(handler: _Handler, fault: Fault) -> None:
    handler._forward(handler._read(handler._length()))
    handler._reset()


def _reset_request(handler: _Handler, fault: Fault) -> None:
    handler._forward_half()
    handler._reset()


def _reset_answer(handler: _Handler, fault: Fault) -> None:
    reply = handler._forward(handler._read(handler._length()))
    handler._head(reply)
    handler.wfile.write(reply.body[: len(reply.body) // 2])
    handler._reset()


def _spoilt(spoil: Callable[[Reply], Reply]) -> Callable[[_Handler, Fault], None]:
    def strike(handler: _Handler, fault: Fault) -> None:
        handler._reply(spoil(handler._forward(handler._read(handler._length()))))

    return strike


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1]) if data else data


def _short(reply: Reply) -> Reply:
    return evolve(reply, body=reply.body[: len(reply.body) // 2], length=len(reply.body))


def _cut(reply: Reply) -> Reply:
    return evolve(reply, body=reply.body[: len(reply.body) // 2])


def _long(reply: Reply) -> Reply:
    return evolve(reply, body=reply.body + b"more")


def _wrong(reply: Reply) -> Reply:
    return evolve(reply, body=_flipped(reply.body))


def _wrong_range(reply: Reply) -> Reply:
    end = len(reply.body)
    headers = {**reply.headers, "Content-Range": f"bytes 7-{end + 6}/{end + 7}"}
    return evolve(reply, status=206, headers=headers)


def _wrong_upload(handler: _Handler, fault: Fault) -> None:
    handler._reply(handler._forward(_flipped(handler._read(handler._length()))))


def _no_range(handler: _Handler, fault: Fault) -> None:
    handler._read(handler._length())
    handler._reply(Reply(416, {"Range": "0-0"}))


def _lost_session(handler: _Handler, fault: Fault) -> None:
    handler._read(handler._length())
    body = b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"gone"}]}'
    handler._reply(Reply(404, {"Content-Type": "application/json"}, body))


def _expired(handler: _Handler, fault: Fault) -> None:
    handler._read(handler._length())
    realm = f'Bearer realm="http://{handler.proxy.host}/token",service="test"'
    handler._reply(Reply(401, {"WWW-Authenticate": realm}))


def _redirect(handler: _Handler, fault: Fault) -> None:
    handler._read(handler._length())
    handler._reply(Reply(307, {"Location": f"http://{handler.proxy.elsewhere}{handler.path}"}))


def _moved_upload(handler: _Handler, fault: Fault) -> None:
    reply = handler._forward(handler._read(handler._length()))
    parts = urlsplit(reply.headers["Location"])
    moved = urlunsplit(parts._replace(netloc=handler.proxy.elsewhere))
    handler._reply(evolve(reply, headers={**reply.headers, "Location": moved}))


def _no_mount(handler: _Handler, fault: Fault) -> None:
    handler._reply(handler._forward(b"", handler.path.partition("?")[0]))


def _unknown_blob(handler: _Handler, fault: Fault) -> None:
    handler._read(handler._length())
    body = b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}'
    handler._reply(Reply(404, {"Content-Type": "application/json"}, body))


def _slow(handler: _Handler, fault: Fault) -> None:
    threading.Event().wait(0.05)
    handler._reply(handler._forward(handler._read(handler._length())))


_STRIKES: Final[Mapping[str, Callable[[_Handler, Fault], None]]] = {
    "reset": _reset_before,
    "lost": _lost_answer,
    "reset-request": _reset_request,
    "reset-answer": _reset_answer,
    "short": _spoilt(_short),
    "cut": _spoilt(_cut),
    "long": _spoilt(_long),
    "wrong": _spoilt(_wrong),
    "wrong-range": _spoilt(_wrong_range),
    "wrong-upload": _wrong_upload,
    "no-range": _no_range,
    "lost-session": _lost_session,
    "expired": _expired,
    "redirect": _redirect,
    "moved-upload": _moved_upload,
    "no-mount": _no_mount,
    "unknown-blob": _unknown_blob,
    "slow": _slow,
}
