"""A blob on its way to a registry: sent in one stream or in chunks, and resumed.

distribution-spec 1.1, "Pushing blobs": a session is begun by POST, fed by PATCH, closed by PUT;
GET tells how far it is.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, cast
from urllib.parse import urlencode

import requests
from attrs import define, field, frozen

from immutable.errors import ImageError
from immutable.net.attempts import MOST_ATTEMPTS, FailedError, HaltedError, Run, attempts
from immutable.oci.documents import Descriptor
from immutable.progress import HighWaterMark
from immutable.store.streams import VerifiedReader
from immutable.transports.base import PIECE, Source
from immutable.transports.registry.session import Exchange, RefusedError, Request

SMALL: Final = PIECE  # bytes up to which a blob is held, and sent within the PUT
_CHUNK: Final = 16 << 20  # bytes at a time, for a registry that takes no more in one request
_SMALLEST_CHUNK: Final = 64 << 10  # bytes; a registry that takes no more than that is given up
_MOST_RESTARTS: Final = 2
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,19})", re.ASCII)
# What the registry has of the upload is not what was sent, or is no more.
_SPOILT: Final = frozenset(
    {"BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "SIZE_INVALID"}
)


@define
class Feed:
    """The verified bytes of a blob from any offset on; `source` is opened again where need be.

    `fault` is what failed on this side. `mark` shows how far the blob is there, however often a
    byte is sent.
    """

    source: Source
    blob: Descriptor
    run: Run
    mark: HighWaterMark
    fault: OSError | None = None
    _position: int = field(default=0, init=False)
    _file: BinaryIO | None = field(default=None, init=False)
    _stream: BinaryIO | None = field(default=None, init=False)

    def close(self) -> None:
        """Let go of the source."""
        if self._file is not None:
            self._file.close()
        self._file = self._stream = None

    def whole(self) -> bytes:
        """Return all of a small blob."""
        try:
            data = self._opened().read()
        except OSError as error:
            self.fault = error
            raise
        if len(data) != self.blob.size:
            raise self._too_short()
        return data

    def pieces(self, start: int, length: int) -> Iterator[bytes]:
        """Yield `length` bytes from `start` on."""
        try:
            stream = self._at(start)
            while length:
                self.run.check()
                piece = stream.read(min(PIECE, length))
                if not piece:
                    raise self._too_short()
                self._position += len(piece)
                length -= len(piece)
                yield piece
                self.mark.reach(self._position)
        except OSError as error:
            self.fault = error
            raise

    def _at(self, start: int) -> BinaryIO:
        if self._stream is not None and self._position == start:
            return self._stream
        stream = self._opened()
        while self._position < start:
            self.run.check()
            # Read and not sought: the bytes are hashed from the first on.
            piece = stream.read(min(PIECE, start - self._position))
            if not piece:
                raise self._too_short()
            self._position += len(piece)
        return stream

    def _too_short(self) -> ImageError:
        """Return what to raise for right bytes of which the descriptor says the wrong size."""
        return ImageError(
            f"{self.source.where}: blob {self.blob.digest}: expected {self.blob.size} bytes, found "
            "another number"
        )

    def _opened(self) -> BinaryIO:
        self.close()
        name = f"{self.source.where}: blob {self.blob.digest}"
        self._file = self.source.open(self.blob)
        reader = VerifiedReader(self._file, name, self.blob.digest, self.blob.size)
        self._stream, self._position = cast("BinaryIO", reader), 0
        return self._stream


@frozen
class Stretch:
    """A part of a blob as the body of a request, which may be sent more than once."""

    feed: Feed
    start: int
    length: int

    @property
    def fault(self) -> OSError | None:
        """What failed on this side."""
        return self.feed.fault

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[bytes]:
        return self.feed.pieces(self.start, self.length)


@define
class Upload:
    """One blob's way into the repository whose uploads begin at `path`.

    `is_there` asks whether the blob is there already; `mount` is the repository at the same
    registry that may have it; `chunk` the most bytes to send in one request, None for any.
    """

    exchange: Exchange
    path: str
    scopes: tuple[str, ...]
    feed: Feed
    run: Run
    is_there: Callable[[], bool]
    mount: str = ""
    chunk: int | None = None
    _location: str = field(default="", init=False)
    _offset: int = field(default=0, init=False)
    _sent: int = field(default=0, init=False)  # bytes of the last request that carried some
    _least: int = field(default=0, init=False)  # bytes of a chunk that is not the last
    _unsure: bool = field(default=False, init=False)
    _tries: int = field(default=0, init=False)
    _restarts: int = field(default=0, init=False)

    def send(self) -> None:
        """Bring the blob there, in at most six attempts.

        Raises FailedError, DigestMismatch for wrong bytes of the source, and whatever else the
        source raises; then the session is given up.
        """
        try:
            attempts(self._attempt, self.run, MOST_ATTEMPTS)
        except HaltedError:
            raise
        except Exception:
            self._cancel()
            raise
        finally:
            self.feed.close()
        self.feed.mark.reach(self.feed.blob.size)

    def _attempt(self) -> None:
        self._tries += 1
        try:
            while not self._went_on():
                pass
        except RefusedError as refused:
            if not self._location or refused.again:
                raise
            if refused.status != 416:
                if refused.status != 404 and not _SPOILT & refused.codes:
                    raise
                self._restart(refused)
            raise FailedError(str(refused), again=True) from None

    def _went_on(self) -> bool:
        """Bring the blob there; return False if the registry took less, and gets less next."""
        try:
            self._go_on()
        except RefusedError as refused:
            self._unsure = True
            if self._location and self._was_too_large(refused) and self._shrink():
                return False
            raise
        except FailedError:
            self._unsure = True
            raise
        return True

    def _was_too_large(self, refused: RefusedError) -> bool:
        """Whether a refusal is of a request for its size; some registries say so by a 416.

        That may also say that the registry is at another byte, which is asked for.
        """
        if refused.status != 416 or not self._sent:
            return refused.status == 413 and self._sent > 0
        before = self._offset
        self._ask()
        self._unsure = False
        return not self._location or self._offset == before

    def _shrink(self) -> bool:
        """Have the next requests carry at most half of what the last one did, if they may."""
        chunk = _CHUNK
        while chunk >= self._sent:
            chunk //= 2
        chunk = max(chunk, self._least)
        if not _SMALLEST_CHUNK <= chunk < self._sent:
            return False
        self.chunk, self._restarts = chunk, 0
        return True

    def _restart(self, failed: FailedError) -> None:
        self._restarts += 1
        if self._restarts > _MOST_RESTARTS:
            raise failed
        self._location, self._offset = "", 0

    def _go_on(self) -> None:
        self._sent = 0
        if self._location and self._unsure:
            self._ask()
        if not self._location and self._begin():
            return
        self._unsure = False
        size = self.feed.blob.size
        if size <= min(SMALL, self.chunk or SMALL) and not self._offset:
            self._finish(self.feed.whole())
            return
        while self._offset < size:
            self._send_more()
        self._finish(b"")

    def _begin(self) -> bool:
        """Begin a session; return True if it turns out that the blob is there."""
        if self._tries > 1 and self.is_there():
            return True
        if self.mount and self._mounted():
            return True
        if not self._location:
            with self._answer("POST", self.exchange.url(self.path, self.run), 202) as response:
                self._follow(response)
        return False

    def _mounted(self) -> bool:
        """Ask for the blob of another repository; a session may be what is given instead."""
        query = urlencode({"mount": str(self.feed.blob.digest), "from": self.mount})
        url = f"{self.exchange.url(self.path, self.run)}?{query}"
        scopes = (*self.scopes, f"repository:{self.mount}:pull")
        self.mount = ""  # once is enough
        try:
            with self._answer("POST", url, 201, 202, scopes=scopes) as response:
                if response.status_code == 201:
                    return True
                self._follow(response)
        except FailedError as failed:
            if failed.again:
                raise
        return False

    def _ask(self) -> None:
        """Find out how far the registry is; a session that is gone is begun again."""
        try:
            with self._answer("GET", self._location, 200, 202, 204) as response:
                self._follow(response)
                self._offset = _reached(response, 0)
        except RefusedError as refused:
            if refused.again:
                raise
            self._restart(refused)
        if self._offset > self.feed.blob.size:
            self._restart(FailedError("the registry has more bytes than the blob"))

    def _send_more(self) -> None:
        start, size = self._offset, self.feed.blob.size
        self._sent = length = min(self.chunk or size, size - start)
        headers = {"Content-Type": "application/octet-stream"}
        # A stream carries none, as the standard has it; some registries limit what carries one.
        if self.chunk is not None or start:
            headers["Content-Range"] = f"{start}-{start + length - 1}"
        body = Stretch(self.feed, start, length)
        request = Request("PATCH", self._location, self.scopes, headers, body)
        with self.exchange.answer(request, self.run, 200, 201, 202, 204) as response:
            self._follow(response)
            reached = _reached(response, start + length)
        self._offset = _position(start, length, size, reached)
        if self._offset <= start:
            self._restart(FailedError(f"the registry is at byte {reached} after {start}"))
            raise FailedError("the registry lost what it had of the upload", again=True)

    def _finish(self, rest: bytes) -> None:
        self._sent = len(rest)
        mark = "&" if "?" in self._location else "?"
        url = self._location + mark + urlencode({"digest": str(self.feed.blob.digest)})
        headers = {"Content-Type": "application/octet-stream"}
        request = Request("PUT", url, self.scopes, headers, rest)
        with self.exchange.answer(request, self.run, 200, 201, 204):
            self._location = ""

    def _answer(
        self, method: str, url: str, *expected: int, scopes: tuple[str, ...] = ()
    ) -> contextlib.AbstractContextManager[requests.Response]:
        return self.exchange.answer(
            Request(method, url, scopes or self.scopes), self.run, *expected
        )

    def _follow(self, response: requests.Response) -> None:
        """Take down where the session goes on, and how large a chunk has to be at least."""
        if not self._location or "Location" in response.headers:
            self._location = self.exchange.location(response, self.run)
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        if re.fullmatch(r"[0-9]{1,15}", least):
            self._least = int(least)
        if self.chunk is not None:
            self.chunk = max(self.chunk, self._least)

    def _cancel(self) -> None:
        """Tell the registry to forget the session; it will find out by itself if it cannot be."""
        if self._location:
            with (
                contextlib.suppress(Exception),
                self._answer("DELETE", self._location, 204),
            ):
                pass


def _reached(response: requests.Response, otherwise: int) -> int:
    """Return how many bytes the registry has, by its Range header; `otherwise` without one.

    Some registries say ``0-0`` for none: one byte alone is never on its way.
    """
    match = _RANGE.fullmatch(response.headers.get("Range", ""))
    if match is None:
        return otherwise
    return int(match[1]) + 1 if int(match[1]) else 0


def _position(start: int, length: int, size: int, reached: int) -> int:
    """Return the byte to go on at, after `length` from `start` on were taken; 0 if none is right.

    `reached` is what the registry says. Some are off by one, or count from the chunk's beginning;
    once all was sent, the digest in the closing request decides what nonsense cannot.
    """
    end = start + length
    if abs(reached - end) <= 1:
        return end
    if start < reached < end:
        return reached
    return end if end == size or abs(reached - length) <= 1 else 0
