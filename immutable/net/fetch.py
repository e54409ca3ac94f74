"""Fetching bytes whose digest is known: in parallel, verified, from the first place that has them.

Nothing that is fetched is trusted: a body is cut off at its pinned size, hashed on its way to a
temporary file, and only published when its digest is the pinned one.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from immutable.config import Config
from immutable.config.npm import Npm
from immutable.errors import DigestMismatch, FetchError
from immutable.net.attempts import (
    ATTEMPTS,
    LONGEST_DELAY,
    TRANSIENT,
    FailedError,
    Run,
    attempts,
    in_threads,
)
from immutable.net.wanted import Hashed, Wanted, by_program
from immutable.oci.digest import Digest
from immutable.progress import HighWaterMark, Progress
from immutable.reading import open_regular
from immutable.redact import cut, redact

if TYPE_CHECKING:
    import requests

    from immutable.store.base import AbstractStore

__all__ = ["ATTEMPTS", "LONGEST_DELAY", "Fetcher", "Hashed", "Wanted", "show_url"]

T = TypeVar("T")

_TIMEOUT = (10.0, 30.0)  # seconds: to connect, and between two pieces of a body
_PIECE = 1 << 18
_MOST_HASHED = 4 << 30  # bytes of one package
_MOST_UNPINNED = 64 << 30  # bytes of a body whose size nobody knows
_MOST_AT_ONCE = 8  # connections; more is rude to a mirror and gains nothing


class Fetcher:
    """Fetches over http, https and from ``file:`` URLs; safe to share between threads.

    Proxies and ``.netrc`` count as `requests` has it. `sleep` is given the seconds to wait
    between two attempts.
    """

    def __init__(self, config: Config, *, sleep: Callable[[float], object] | None = None) -> None:
        self._config = config
        self._sleep = sleep
        self._session: requests.Session | None = None
        self._making = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the connections; the next fetch makes new ones."""
        with self._making:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def get_small(self, urls: Sequence[str], *, limit: int, name: str = "") -> bytes:
        """Return the body at the first of `urls` that gives one of at most `limit` bytes.

        Raises FetchError with each URL's reason when none does. Only for data that is verified
        by other means, such as a signature.
        """

        def attempt(url: str, run: Run) -> bytes:
            return b"".join(self._body(url, run, limit=limit))

        return self._from_first(name or _file_name(urls), urls, "", attempt, Run(self._sleep))

    def fetch_into(self, wanted: Wanted, file: IO[bytes]) -> None:
        """Write the wanted bytes into the empty seekable `file`, verified, and rewind it.

        Raises FetchError with each URL's reason when no place has them.
        """

        def attempt(url: str, run: Run) -> None:
            file.seek(0)
            file.truncate()
            hasher = hashlib.sha256()
            length = 0
            for piece in self._body(url, run, limit=wanted.size, settings=wanted.settings):
                hasher.update(piece)
                length += len(piece)
                file.write(piece)
            _check_length(wanted, length)
            actual = Digest(hasher.hexdigest())
            if actual != wanted.digest:
                raise FailedError(_mismatch(wanted.digest, actual))
            file.seek(0)

        self._from_first(wanted.name, wanted.urls, wanted.absent, attempt, Run(self._sleep))

    def fetch_unpinned(
        self, urls: Sequence[str], store: AbstractStore, *, name: str, progress: Progress
    ) -> tuple[Digest, int]:
        """Bring the body at the first of `urls` that gives one into `store`; say what it is.

        Returns its digest and size. Only for `lock`, whose answer pins them. Raises FetchError
        with each URL's reason when none does.
        """
        with progress.task(f"fetching {name}") as advance:

            def attempt(url: str, run: Run) -> tuple[Digest, int]:
                with store.ingest() as blob:
                    for piece in self._body(url, run, limit=_MOST_UNPINNED, whole=True):
                        blob.write(piece)
                        advance(len(piece))
                    return blob.commit(name=name)

            found = self._from_first(name, urls, "", attempt, Run(self._sleep))
            store.record_sources((found[0],))
            return found

    def fetch_hashed(
        self, wanted: Sequence[Hashed], store: AbstractStore, progress: Progress
    ) -> list[tuple[Digest, int]]:
        """Bring bodies of which another lock knows the SHA-512 into `store`, several at a time.

        Returns their digests and sizes, in the order wanted. Only for `lock`, whose answer
        pins them. Raises FetchError for the first that cannot be had.
        """
        found: dict[int, tuple[Digest, int]] = {}
        with progress.task("fetching", len(wanted), unit="packages") as advance:

            def work(numbered: tuple[int, Hashed], run: Run) -> None:
                number, one = numbered
                attempt = functools.partial(self._fetch_hashed, one, store)
                found[number] = self._from_first(one.name, one.urls, one.absent, attempt, run)
                store.record_sources((found[number][0],))
                advance(1)

            if wanted:
                threads = min(len(wanted), max(self._config.jobs, 4), _MOST_AT_ONCE)
                in_threads(work, list(enumerate(wanted)), threads, Run(self._sleep))
        return [found[number] for number in range(len(wanted))]

    def _fetch_hashed(
        self, wanted: Hashed, store: AbstractStore, url: str, run: Run
    ) -> tuple[Digest, int]:
        hasher = hashlib.sha512()
        with store.ingest() as blob:
            for piece in self._body(
                url, run, limit=_MOST_HASHED, whole=True, settings=wanted.settings
            ):
                hasher.update(piece)
                blob.write(piece)
            if hasher.hexdigest() not in wanted.sha512:
                expected = " or ".join(wanted.sha512)
                raise FailedError(
                    f"expected sha512:{expected}, the body is sha512:{hasher.hexdigest()}"
                )
            return blob.commit(name=wanted.name)

    def fetch_all(
        self,
        wanted: Sequence[Wanted],
        store: AbstractStore,
        progress: Progress,
        jobs: int | None = None,
        run: Run | None = None,
    ) -> None:
        """Bring everything wanted into `store`, several at a time; skip what it has.

        Raises FetchError for the first that cannot be had, naming it and each URL with its
        reason. When that or an interrupt ends the work early, what was complete stays in the
        store and nothing is left of the rest. So it is when another thread gives up `run`, with
        HaltedError.
        """
        once = {one.digest: one for one in wanted}.values()
        missing = [one for one in once if not store.has_blob(one.digest)]
        for program, share in by_program(missing):
            program.bring(share, store, progress)
        missing = [one for one in missing if one.through is None]
        if not missing:
            return
        # The large ones first, so that no single one is left running at the end.
        missing.sort(key=lambda one: -(one.size or 0))
        threads = min(len(missing), jobs or max(self._config.jobs, 4), _MOST_AT_ONCE)
        total = None if any(one.size is None for one in missing) else _total(missing)
        with progress.task(f"fetching {_count(missing)}", total) as advance:

            def work(one: Wanted, run: Run) -> None:
                self._fetch_one(one, store, advance, run)

            in_threads(work, missing, threads, run or Run(self._sleep))

    def _fetch_one(
        self, wanted: Wanted, store: AbstractStore, advance: Callable[[int], None], run: Run
    ) -> None:
        mark = HighWaterMark(advance)

        def attempt(url: str, run: Run) -> None:
            length = 0
            with store.ingest() as blob:
                for piece in self._body(url, run, limit=wanted.size, settings=wanted.settings):
                    blob.write(piece)
                    length += len(piece)
                    mark.reach(length)
                if wanted.size is not None and length < wanted.size:
                    again = not url.startswith("file:")
                    raise FailedError(
                        f"the body ended at {length} of {wanted.size} bytes", again=again
                    )
                try:
                    blob.commit(expected=wanted.digest, size=wanted.size, name=wanted.name)
                except DigestMismatch as error:
                    raise FailedError(_mismatch(error.expected, error.actual)) from None

        self._from_first(wanted.name, wanted.urls, wanted.absent, attempt, run)
        store.record_sources((wanted.digest,))

    def _from_first(
        self,
        name: str,
        urls: Sequence[str],
        advice: str,
        attempt: Callable[[str, Run], T],
        run: Run,
    ) -> T:
        """Return what `attempt` makes of the first URL with which it succeeds."""
        reasons: list[str] = []
        only_absent = True
        for url in urls:
            try:
                return attempts(functools.partial(attempt, url, run), run)
            except FailedError as failed:
                only_absent &= failed.absent
                reasons.append(f"{show_url(url)}: {failed}")
        message = f"{name}: cannot be fetched"
        message += "".join(f"\n  {reason}" for reason in reasons) or ": no place is known"
        if advice and only_absent:
            message += f"\n  {advice}"
        raise FetchError(message)

    def _body(
        self,
        url: str,
        run: Run,
        *,
        limit: int | None,
        whole: bool = False,
        settings: Npm | None = None,
    ) -> Iterator[bytes]:
        """Yield the body at `url` in pieces; raise FailedError for a body longer than `limit`.

        With `whole`, also for one shorter than its Content-Length: nothing else would tell.
        """
        length = 0
        with self._open(url, run, settings) as (declared, pieces):
            if limit is not None and declared is not None and declared > limit:
                raise FailedError(f"expected at most {limit} bytes, the server offers {declared}")
            for piece in pieces:
                run.check()
                length += len(piece)
                if limit is not None and length > limit:
                    raise FailedError(f"expected at most {limit} bytes, the body is longer")
                yield piece
        if whole and declared is not None and length < declared:
            raise FailedError(f"the body ended at {length} of {declared} bytes", again=True)

    @contextmanager
    def _open(
        self, url: str, run: Run, settings: Npm | None
    ) -> Iterator[tuple[int | None, Iterator[bytes]]]:
        if url.startswith("file:"):
            with _open_file(url) as opened:
                yield opened
        else:
            with self._open_http(url, run, settings) as opened:
                yield opened

    @contextmanager
    def _open_http(
        self, url: str, run: Run, settings: Npm | None
    ) -> Iterator[tuple[int | None, Iterator[bytes]]]:
        import requests
        import urllib3

        try:
            given = {} if settings is None else _request_settings(url, settings)
            with self._connections().get(url, stream=True, timeout=_TIMEOUT, **given) as response:
                _check_status(response)
                declared = response.headers.get("Content-Length", "")
                # Raw: a server that labels a .gz file with Content-Encoding must not have it
                # unpacked on the way.
                pieces = response.raw.stream(_PIECE, decode_content=False)
                with run.interruptible(response.raw):
                    yield (
                        int(declared) if declared.isascii() and declared.isdigit() else None,
                        pieces,
                    )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            run.check()
            raise _network_failure(error) from None

    def _connections(self) -> requests.Session:
        from immutable.net.sessions import Session

        with self._making:
            if self._session is None:
                self._session = Session(_MOST_AT_ONCE)
            return self._session


def _request_settings(url: str, npm: Npm) -> dict[str, Any]:
    """Return what npm's settings say of requests to `url`.

    The credentials are `requests`' own to drop when it is sent on to another host.
    """
    settings: dict[str, Any] = {}
    if npm.cafile:
        settings["verify"] = npm.cafile
    if npm.proxies:
        settings["proxies"] = dict(npm.proxies)
    header = npm.authorization(url)
    if header is not None:

        def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = header
            return request

        settings["auth"] = sign
    return settings


@contextmanager
def _open_file(url: str) -> Iterator[tuple[int | None, Iterator[bytes]]]:
    path = Path(unquote(urlsplit(url).path))
    try:
        with open(open_regular(path), "rb") as file:  # noqa: PTH123 - a descriptor
            yield os.fstat(file.fileno()).st_size, iter(lambda: file.read(_PIECE), b"")
    except FileNotFoundError:
        raise FailedError("no such file", absent=True) from None
    except OSError as error:
        if error.filename is None:  # not about this file: the store's disk
            raise
        raise FailedError(error.strerror or "cannot be read") from None


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    text = f"the server answered {status} {response.reason or ''}".rstrip()
    after = retry_after(response.headers.get("Retry-After", ""))
    raise FailedError(text, again=status in TRANSIENT, absent=status in (404, 410), after=after)


def retry_after(value: str) -> float:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3); 0 for nonsense."""
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _network_failure(error: Exception) -> FailedError:
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        return FailedError(f"TLS failed: {innermost(error)}")
    wrong = (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        requests.exceptions.TooManyRedirects,
    )
    return FailedError(innermost(error), again=not isinstance(error, wrong))


def innermost(error: BaseException) -> str:
    """Return the cause at the bottom of what the HTTP libraries wrap, in one line."""
    cause = root_cause(error)
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return cut(" ".join(str(text).split()), 200)


def root_cause(error: BaseException) -> BaseException:
    """Return what the HTTP libraries wrap."""
    seen = error
    for _ in range(8):
        reason = getattr(seen, "reason", None)
        below = reason if isinstance(reason, BaseException) else None
        inner = [arg for arg in seen.args if isinstance(arg, BaseException)]
        following = below or (inner[-1] if inner else None) or seen.__cause__
        if following is None:
            break
        seen = following
    return seen


def _check_length(wanted: Wanted, length: int) -> None:
    if wanted.size is not None and length < wanted.size:
        raise FailedError(f"the body ended at {length} of {wanted.size} bytes", again=True)


def _mismatch(expected: Digest, actual: Digest) -> str:
    return f"expected {expected}, the body is {actual}"


def show_url(url: str) -> str:
    """Return `url` for a message: user and password masked, without query and fragment."""
    try:
        parts = urlsplit(redact(url))
    except ValueError:
        return redact(url)
    return urlunsplit(parts._replace(query="", fragment=""))


def _file_name(urls: Sequence[str]) -> str:
    return urlsplit(urls[0]).path.rpartition("/")[2] if urls else "a file"


def _count(wanted: Sequence[Wanted]) -> str:
    return wanted[0].name if len(wanted) == 1 else f"{len(wanted)} files"


def _total(wanted: Sequence[Wanted]) -> int:
    return sum(one.size or 0 for one in wanted)
