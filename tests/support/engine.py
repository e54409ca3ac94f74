"""A Docker engine that is none: answers to the calls that loading images and listing them make."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, field


@define
class FakeEngine:
    """What the engine has and says.

    `images` are image ID → diffIDs; `replies` are the bodies of answers to loads, in order, each
    with its status; `loads` are the archives that were received.
    """

    images: dict[str, list[str]] = field(factory=dict)
    tags: dict[str, str] = field(factory=dict)
    replies: list[tuple[int, list[dict[str, Any]]]] = field(factory=list)
    loads: list[bytes] = field(factory=list)
    driver: str = "overlay2"
    architecture: str = "amd64"
    host: str = ""

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve on 127.0.0.1 for the block; give the address as DOCKER_HOST has it."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, path: str, body: bytes) -> tuple[int, list[Any]]:
        """Return status and JSON documents of the answer."""
        if path == "/version":
            version = {"ApiVersion": "1.41", "Os": "linux", "Arch": self.architecture}
            return 200, [version]
        if path == "/info":
            return 200, [{"DriverStatus": [["driver-type", self.driver]]}]
        if path == "/images/json":
            return 200, [[{"Id": image} for image in self.images]]
        if path == "/containers/json":
            return 200, [[]]
        if path == "/system/df":
            return 200, [{"Images": None}]
        if path == "/images/load":
            self.loads.append(body)
            return self.replies.pop(0)
        if path.endswith("/json"):
            name = path.removeprefix("/images/").removesuffix("/json")
            image = self.tags.get(name, name)
            if image in self.images:
                return 200, [{"Id": image, "RootFS": {"Layers": self.images[image]}}]
        if path.endswith("/tag"):
            image = path.removeprefix("/images/").removesuffix("/tag")
            if image in self.images:
                return 201, []
        return 404, [{"message": f"nothing at {path}"}]

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path.startswith("/v1."):
                    path = path[path.index("/", 1) :]
                body = self._body() if self.command == "POST" else b""
                status, documents = fake.answer(path, body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for document in documents:
                    data = json.dumps(document).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                self.wfile.write(b"0\r\n\r\n")

            do_POST = do_GET  # noqa: N815

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while size := int(self.rfile.readline() or b"0", 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, *args: object) -> None:
                pass

        return Handler
