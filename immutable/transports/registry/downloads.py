"""A blob on its way from a registry: a stream that goes on where the line broke."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import requests
import urllib3
from typing_extensions import override

from immutable.net.attempts import MOST_ATTEMPTS, FailedError, Run, delay
from immutable.oci.documents import Descriptor
from immutable.transports.registry.connections import failure

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE: Final = 1 << 18  # bytes
_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)

# Asks for a blob from a byte on: the answer is one of 200, 206 or 416.
Ask = Callable[[int], requests.Response]


class WrongSizeError(FailedError):
    """A blob of another size than its descriptor says."""


class BlobReader(io.RawIOBase):
    """The bytes of a blob, which nobody has verified; `ask` is asked for them six times at most.

    It ends one byte after the blob's size at the latest, for a body may have no end.
    Raises what `final` makes of the last failure.
    """

    def __init__(
        self, ask: Ask, blob: Descriptor, run: Run, final: Callable[[FailedError], Exception]
    ) -> None:
        super().__init__()
        self._ask, self._blob, self._run, self._final = ask, blob, run, final
        self._offset = 0
        self._tries = 0
        self._whole = False  # whether the next request is for all of it
        self._response: requests.Response | None = None
        self._connect()

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` as far as there are bytes; return how many, 0 at the end."""
        view = memoryview(buffer).cast("B")
        while True:
            try:
                data = self._read(len(view))
                break
            except FailedError as failed:
                self._give_up_or_wait(failed)
                self._connect()
        self._offset += len(data)
        view[: len(data)] = data
        return len(data)

    @override
    def close(self) -> None:
        """Let go of the connection."""
        if self._response is not None:
            self._response.close()
            self._response = None
        super().close()

    def _read(self, length: int) -> bytes:
        self._run.check()
        if self._response is None:
            raise FailedError("the connection is gone", again=True)
        # Of a piece that breaks off nothing is had: the worse the line, the smaller they are.
        most = min(length, _PIECE >> self._tries, self._blob.size + 1 - self._offset)
        if not most:
            return b""
        try:
            data: bytes = self._response.raw.read(most, decode_content=False)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            self._run.check()
            if self._offset >= self._blob.size:
                return b""
            raise failure(error) from None
        if not data and self._offset < self._blob.size:
            raise FailedError(
                f"the body ended at {self._offset} of {self._blob.size} bytes", again=True
            )
        return data

    def _connect(self) -> None:
        """Ask for the rest until there is an answer."""
        while True:
            try:
                self._open()
            except FailedError as failed:
                self._give_up_or_wait(failed)
            else:
                return

    def _give_up_or_wait(self, failed: FailedError) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
        self._tries += 1
        if not failed.again or self._tries >= MOST_ATTEMPTS:
            raise self._final(failed) from None
        self._run.wait(delay(self._tries, failed.after))

    def _open(self) -> None:
        self._run.check()
        wanted = 0 if self._whole else self._offset
        self._response = response = self._ask(wanted)
        self._expect_size(response)
        begin = _begin(response, wanted, self._blob.size)
        if begin is None:
            # It keeps to no range; it may still give the whole.
            self._whole = True
            raise FailedError("the registry answered with another range than asked", again=True)
        self._skip(response, self._offset - begin)

    def _expect_size(self, response: requests.Response) -> None:
        """Raise WrongSizeError for another blob, which is asked for again but once."""
        offered = response.headers.get("Content-Length", "")
        if response.status_code != 200 or not re.fullmatch(r"[0-9]{1,19}", offered):
            return
        if int(offered) != self._blob.size:
            reason = f"expected {self._blob.size} bytes, the registry offers {offered}"
            raise WrongSizeError(reason, again=not self._tries)

    def _skip(self, response: requests.Response, length: int) -> None:
        """Pass over what came already; the digest will tell if it is now another."""
        try:
            while length > 0:
                self._run.check()
                piece = response.raw.read(min(length, _PIECE), decode_content=False)
                if not piece:
                    raise FailedError("the body ended before the place to go on", again=True)
                length -= len(piece)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise failure(error) from None


def _begin(response: requests.Response, wanted: int, size: int) -> int | None:
    """Return the offset at which the body begins; None if it is no rest of the blob.

    Content-Range is as RFC 9110, 14.4 has it.
    """
    if response.status_code == 200:
        return 0
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code != 206 or match is None:
        return None
    total = size if match[3] == "*" else int(match[3])
    found = (int(match[1]), int(match[2]), total)
    return wanted if found == (wanted, size - 1, size) else None
