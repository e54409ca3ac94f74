"""A registry in memory, on this machine, that can be told what to answer.

It knows as much of the distribution-spec 1.1 as a client may ask for, and no more.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from attrs import define, field, frozen

from immutable.config import Registries
from immutable.oci import documents as oci
from immutable.oci.canonical import encode
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.transports.registry.client import Client
from tests.support.web import Handler, serving

USER, PASSWORD, IDENTITY = "someone", "of-no-use-elsewhere", "an-identity-of-no-use"
ELSEWHERE: Final = "127.0.0.2"


@define
class Answer:
    """What to answer; its Content-Length is right unless `headers` say another.

    `pieces` are a body of which no length is said, sent until they end or whoever asked has gone.
    """

    status: int = 200
    headers: dict[str, str] = field(factory=dict)
    body: bytes = b""
    pieces: Iterable[bytes] | None = None


@frozen
class Asked:
    """A request as it came; `host` is the address that it came to."""

    host: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)


@define
class Repository:
    blobs: dict[Digest, bytes] = field(factory=dict)
    manifests: dict[Digest, tuple[str, bytes]] = field(factory=dict)
    tags: dict[str, Digest] = field(factory=dict)


class Flood:
    """A body of 256 MiB, which nobody should ask for to the end; `given` is how much was."""

    def __init__(self, begin: bytes = b"") -> None:
        self.begin, self.given = begin, 0

    def __iter__(self) -> Iterator[bytes]:
        yield self.begin
        for _ in range(256):
            self.given += 1 << 20
            yield bytes(1 << 20)

    @property
    def was_cut(self) -> bool:
        """Whether no more was taken than what the buffers on the way hold."""
        return self.given < 64 << 20


Planned = tuple[str, str, Callable[[Asked], Answer | None]]


@define(eq=False)
class FakeRegistry:
    """The registry; `asked` are the requests in order.

    `login` is empty, ``basic`` or ``token``. `referrers` says whether it has that part of the
    API. `realm` is where tokens are had, the registry itself when empty; each is worth `uses`
    requests.
    """

    login: str = ""
    referrers: bool = True
    page: int = 1000
    realm: str = ""
    uses: int = 1_000_000
    repositories: dict[str, Repository] = field(factory=dict)
    asked: list[Asked] = field(factory=list)
    host: str = field(default="", init=False)
    elsewhere: str = field(default="", init=False)
    tokens: dict[str, int] = field(factory=dict, init=False)
    _planned: list[Planned] = field(factory=list, init=False)
    _sessions: dict[str, bytes] = field(factory=dict, init=False)
    _lock: threading.RLock = field(factory=threading.RLock, init=False)

    def plan(
        self, method: str, path: str, answer: Answer | Callable[[Asked], Answer | None]
    ) -> None:
        """Give `answer` once, to the next request that fits; None stands for the usual answer."""
        given = answer if callable(answer) else lambda _: answer
        self._planned.append((method, path, given))

    def repository(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())

    def put(self, name: str, data: bytes, media_type: str, tag: str = "") -> Digest:
        """Put a manifest there."""
        repository = self.repository(name)
        digest = Digest.of(data)
        repository.manifests[digest] = (media_type, data)
        if tag:
            repository.tags[tag] = digest
        return digest

    @contextmanager
    def serve(self, tls: ssl.SSLContext | None = None) -> Iterator[str]:
        """Serve at two addresses, the first over `tls` if given; give its ``HOST:PORT``."""
        with _listening(self, "127.0.0.1", tls) as port, _listening(self, ELSEWHERE) as other:
            self.host, self.elsewhere = f"127.0.0.1:{port}", f"{ELSEWHERE}:{other}"
            yield self.host

    def answer(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            for planned in self._planned:
                if planned[0] == asked.method and re.search(planned[1], asked.path):
                    self._planned.remove(planned)
                    answer = planned[2](asked)
                    if answer is not None:
                        return answer
                    break
            return self._usual(asked)

    def _usual(self, asked: Asked) -> Answer:
        path = urlsplit(asked.path).path
        if path == "/token":
            return self._token(asked)
        if asked.host != ELSEWHERE and not self._allowed(asked):
            return Answer(401, {"WWW-Authenticate": self._challenge(asked)}, b"{}")
        if path == "/v2/":
            return Answer()
        if path == "/v2/_catalog":
            return self._page(asked, "repositories", sorted(self.repositories))
        match = re.fullmatch(
            r"/v2/(.+)/(blobs/uploads|blobs|manifests|tags|referrers)/([^/]*)", path
        )
        if match is None:
            return _error(404, "UNSUPPORTED")
        name, kind, rest = match.groups()
        return _KINDS[kind](self, asked, name, rest)

    # Logging in

    def _allowed(self, asked: Asked) -> bool:
        header = asked.headers.get("Authorization", "")
        if self.login == "basic":
            return header == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.login == "token":
            token = header.removeprefix("Bearer ")
            left = self.tokens.get(token, 0)
            self.tokens[token] = left - 1
            return left > 0
        return True

    def _challenge(self, asked: Asked) -> str:
        if self.login == "basic":
            return 'Basic realm="here", charset="UTF-8"'
        match = re.match(r"/v2/(.+)/(?:blobs|manifests|tags|referrers)/", asked.path)
        scope = f',scope="repository:{match[1]}:pull"' if match else ""
        realm = self.realm or f"http://{self.host}/token"
        return f'Bearer realm="{realm}",service="fake"{scope}'

    def _token(self, asked: Asked) -> Answer:
        form = parse_qs(asked.body.decode())
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if asked.method == "POST":
            known = form.get("refresh_token") == [IDENTITY]
        else:
            known = asked.headers.get("Authorization") == basic
        if not known:
            return Answer(401)
        token = f"token-{secrets.token_hex(8)}"
        self.tokens[token] = self.uses
        return Answer(body=encode({"token": token, "expires_in": 300}))

    # Blobs

    def _blobs(self, asked: Asked, name: str, text: str) -> Answer:
        repository = self.repository(name)
        digest = Digest.parse(text)
        if digest not in repository.blobs:
            return _error(404, "BLOB_UNKNOWN")
        if asked.method == "DELETE":
            del repository.blobs[digest]
            return Answer(202)
        data = repository.blobs[digest]
        match = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("Range", ""))
        if match is None:
            return Answer(200, {"Docker-Content-Digest": text}, data)
        start = int(match[1])
        return Answer(
            206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start:]
        )

    def _uploads(self, asked: Asked, name: str, session: str) -> Answer:
        repository = self.repository(name)
        if asked.method == "POST":
            return self._begin(asked, name)
        if session not in self._sessions:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        if asked.method == "DELETE":
            del self._sessions[session]
            return Answer(204)
        if asked.method == "PATCH":
            start = asked.headers.get("Content-Range", "0-").partition("-")[0]
            if int(start) != len(self._sessions[session]):
                return Answer(416, self._progress(name, session))
        self._sessions[session] += asked.body
        if asked.method != "PUT":
            return Answer(202 if asked.method == "PATCH" else 204, self._progress(name, session))
        data = self._sessions.pop(session)
        digest = Digest.parse(asked.query["digest"][0])
        if Digest.of(data) != digest:
            return _error(400, "DIGEST_INVALID")
        repository.blobs[digest] = data
        return Answer(201, {"Location": f"/v2/{name}/blobs/{digest}"})

    def _begin(self, asked: Asked, name: str) -> Answer:
        if "mount" in asked.query:
            digest = Digest.parse(asked.query["mount"][0])
            other = self.repository(asked.query.get("from", [""])[0])
            if digest in other.blobs:
                self.repository(name).blobs[digest] = other.blobs[digest]
                return Answer(201, {"Location": f"/v2/{name}/blobs/{digest}"})
        session = secrets.token_hex(8)
        self._sessions[session] = b""
        return Answer(202, self._progress(name, session))

    def _progress(self, name: str, session: str) -> dict[str, str]:
        end = max(len(self._sessions[session]) - 1, 0)
        return {"Location": f"/v2/{name}/blobs/uploads/{session}", "Range": f"0-{end}"}

    # Manifests

    def _manifests(self, asked: Asked, name: str, reference: str) -> Answer:
        repository = self.repository(name)
        if asked.method == "PUT":
            return self._put(asked, name, reference)
        if reference.startswith("sha256:"):
            digest: Digest | None = Digest.parse(reference)
        else:
            digest = repository.tags.get(reference)
        if digest is None or digest not in repository.manifests:
            return _error(404, "MANIFEST_UNKNOWN")
        if asked.method == "DELETE":
            return self._delete(repository, reference, digest)
        media_type, data = repository.manifests[digest]
        return Answer(200, {"Content-Type": media_type, "Docker-Content-Digest": str(digest)}, data)

    def _delete(self, repository: Repository, reference: str, digest: Digest) -> Answer:
        if reference in repository.tags:
            del repository.tags[reference]
        else:
            del repository.manifests[digest]
        return Answer(202)

    def _put(self, asked: Asked, name: str, reference: str) -> Answer:
        repository = self.repository(name)
        document = json.loads(asked.body)
        wanted = [d["digest"] for d in (document.get("config"), *document.get("layers", [])) if d]
        lost = [text for text in wanted if Digest.parse(text) not in repository.blobs]
        if lost:
            return _error(404, "MANIFEST_BLOB_UNKNOWN", lost[0])
        digest = Digest.of(asked.body)
        repository.manifests[digest] = (asked.headers["Content-Type"], asked.body)
        if not reference.startswith("sha256:"):
            repository.tags[reference] = digest
        headers = {"Location": f"/v2/{name}/manifests/{digest}"}
        if "subject" in document and self.referrers:
            headers["OCI-Subject"] = document["subject"]["digest"]
        return Answer(201, headers)

    # Lists

    def _tags(self, asked: Asked, name: str, rest: str) -> Answer:
        return self._page(asked, "tags", sorted(self.repository(name).tags), {"name": name})

    def _page(
        self, asked: Asked, key: str, names: list[str], more: Mapping[str, str] | None = None
    ) -> Answer:
        last = asked.query.get("last", [""])[0]
        rest = [name for name in names if name > last]
        given = rest[: self.page]
        path = urlsplit(asked.path).path
        link = {"Link": f'<{path}?last={given[-1]}>; rel="next"'} if len(rest) > len(given) else {}
        return Answer(200, link, encode({**(more or {}), key: tuple(given)}))

    def _referrers(self, asked: Asked, name: str, text: str) -> Answer:
        if not self.referrers:
            return Answer(404)
        found: list[Any] = []
        for digest, (media_type, data) in self.repository(name).manifests.items():
            document = json.loads(data)
            if document.get("subject", {}).get("digest") == text:
                kind = document.get("artifactType") or document["config"]["mediaType"]
                found.append(
                    {
                        "mediaType": media_type,
                        "digest": str(digest),
                        "size": len(data),
                        "artifactType": kind,
                    }
                )
        index: dict[str, Any] = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": found}
        return Answer(200, {"Content-Type": oci.INDEX}, encode(index))


_KINDS: Final[Mapping[str, Callable[[FakeRegistry, Asked, str, str], Answer]]] = {
    "blobs": FakeRegistry._blobs,
    "blobs/uploads": FakeRegistry._uploads,
    "manifests": FakeRegistry._manifests,
    "tags": FakeRegistry._tags,
    "referrers": FakeRegistry._referrers,
}


def _error(status: int, code: str, detail: str = "") -> Answer:
    body = encode({"errors": [{"code": code, "message": "no", "detail": detail}]})
    return Answer(status, {"Content-Type": "application/json"}, body)


@contextmanager
def _listening(
    registry: FakeRegistry, address: str, tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    class Answering(Handler):
        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = dict(self.headers.items())
            self.reply(registry.answer(Asked(address, self.command, self.path, headers, body)))

        def reply(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.pieces is not None:
                self.end_headers()
                self.close_connection = True
                for piece in answer.pieces:
                    self.wfile.write(piece)
                return
            if "Content-Length" not in answer.headers and answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            if "Content-Length" in answer.headers:
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_any  # noqa: N815

    with serving(Answering, address, tls) as port:
        yield port


def holding(*datas: bytes, **settings: Any) -> FakeRegistry:
    """Return a registry with blobs in its repository ``web``."""
    fake = FakeRegistry(**settings)
    fake.repository("web").blobs.update((Digest.of(data), data) for data in datas)
    return fake


def described(data: bytes, media_type: str = oci.LAYER) -> Descriptor:
    """Return the descriptor of a blob."""
    return Descriptor(media_type, Digest.of(data), len(data))


@contextmanager
def connected(fake: FakeRegistry) -> Iterator[Client]:
    """Serve `fake`, and give a client of its repository ``web`` that never waits."""
    with (
        fake.serve() as host,
        Client.connect(
            host, "web", Registries(), actions="pull,push", sleep=lambda _: None
        ) as client,
    ):
        yield client
