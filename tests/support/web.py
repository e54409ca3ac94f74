"""A web server on this machine that serves a folder and can be told to misbehave."""

from __future__ import annotations

import ssl
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import define, field


class _Server(ThreadingHTTPServer):
    """A server to which clients may come that do not trust it."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ssl.SSLError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers on connections that stay open, logs nothing, and minds nobody's going away."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler],
    address: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> Iterator[int]:
    """Serve at a free port of `address` for the block, over `tls` if given; give the port."""
    server = _Server((address, 0), handler)
    if tls is not None:
        # The handshake is left to the thread of the connection.
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@define
class Answer:
    """What to answer once: `promised` is the Content-Length, the body's own when None.

    With a longer `promised` the connection breaks in the middle of the body. `gate`, when
    given, is called before the last byte goes out.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(factory=dict)
    promised: int | None = None
    gate: Callable[[], object] | None = None


class WebServer:
    """Serves `folder` over http on 127.0.0.1; `requests` are the paths asked for, in order.

    `answers[path]` are used up first, one a request; the file at the path comes after them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answers: defaultdict[str, list[Answer]] = defaultdict(list)

    @contextmanager
    def serve(self, tls: ssl.SSLContext | None = None) -> Iterator[str]:
        """Serve in a thread, over `tls` if given; give the base URL, without a trailing ``/``."""
        web = self

        class Served(Handler):
            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                web.requests.append(path)
                web.headers.append(dict(self.headers.items()))
                planned = web.answers.get(path)
                _send(self, planned.pop(0) if planned else web._file(path))

            do_HEAD = do_GET  # noqa: N815 - the base class's name

        with serving(Served, tls=tls) as port:
            yield f"http{'s' if tls else ''}://127.0.0.1:{port}"

    def _file(self, path: str) -> Answer:
        target = self.folder / path.lstrip("/")
        if ".." in path.split("/") or not target.is_file():
            return Answer(404, b"not here\n")
        return Answer(200, target.read_bytes())


def _send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    try:
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        length = len(answer.body) if answer.promised is None else answer.promised
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        if answer.gate is not None:
            handler.wfile.write(answer.body[:-1])
            handler.wfile.flush()
            answer.gate()
            handler.wfile.write(answer.body[-1:])
        else:
            handler.wfile.write(answer.body)
        if length != len(answer.body):
            handler.close_connection = True
    except (BrokenPipeError, ConnectionResetError):
        handler.close_connection = True
