"""Fetching bytes whose digest is known: in parallel, verified, from the first place that has them.

Nothing that is fetched is trusted: a body is cut off at its pinned size, hashed on its way to a
temporary file, and only published when its digest is the pinned one.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import queue
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from attrs import frozen

from immutable.config import Config, redact
from immutable.digest import Digest
from immutable.errors import DigestMismatch, FetchError
from immutable.progress import Progress

if TYPE_CHECKING:
    import requests

    from immutable.store.base import AbstractStore

T = TypeVar("T")

ATTEMPTS = 4  # per URL
LONGEST_DELAY = 20.0  # seconds between two attempts
_TIMEOUT = (10.0, 30.0)  # seconds: to connect, and between two pieces of a body
_PIECE = 1 << 18
_MOST_UNPINNED = 64 << 30  # bytes of a body whose size nobody knows
_MOST_AT_ONCE = 8  # connections; more is rude to a mirror and gains nothing
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


@frozen
class Wanted:
    """Bytes to fetch: what they are, and where they may be had.

    `name` is for people; `urls` are tried in order; `absent` is the advice to give when every
    one of them answers that it has no such file.
    """

    name: str
    digest: Digest
    size: int | None
    urls: tuple[str, ...]
    absent: str = ""


class _FailedError(Exception):
    """One attempt that failed: why, whether the file is just not there, when to try again."""

    def __init__(
        self, reason: str, *, again: bool = False, absent: bool = False, after: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.again, self.absent, self.after = again, absent, after


class _HaltedError(Exception):
    """The work is being given up; nobody waits for the answer."""


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

        def attempt(url: str, run: _Run) -> bytes:
            return b"".join(self._body(url, run, limit=limit))

        return self._from_first(name or _file_name(urls), urls, "", attempt, _Run(self._sleep))

    def fetch_into(self, wanted: Wanted, file: IO[bytes]) -> None:
        """Write the wanted bytes into the empty seekable `file`, verified, and rewind it.

        Raises FetchError with each URL's reason when no place has them.
        """

        def attempt(url: str, run: _Run) -> None:
            file.seek(0)
            file.truncate()
            hasher = hashlib.sha256()
            length = 0
            for piece in self._body(url, run, limit=wanted.size):
                hasher.update(piece)
                length += len(piece)
                file.write(piece)
            _check_length(wanted, length)
            actual = Digest(hasher.hexdigest())
            if actual != wanted.digest:
                raise _FailedError(_mismatch(wanted.digest, actual))
            file.seek(0)

        self._from_first(wanted.name, wanted.urls, wanted.absent, attempt, _Run(self._sleep))

    def fetch_unpinned(
        self, urls: Sequence[str], store: AbstractStore, *, name: str, progress: Progress
    ) -> tuple[Digest, int]:
        """Bring the body at the first of `urls` that gives one into `store`; say what it is.

        Returns its digest and size. Only for `lock`, whose answer pins them. Raises FetchError
        with each URL's reason when none does.
        """
        with progress.task(f"fetching {name}") as advance:

            def attempt(url: str, run: _Run) -> tuple[Digest, int]:
                with store.ingest() as blob:
                    for piece in self._body(url, run, limit=_MOST_UNPINNED, whole=True):
                        blob.write(piece)
                        advance(len(piece))
                    return blob.commit(name=name)

            return self._from_first(name, urls, "", attempt, _Run(self._sleep))

    def fetch_all(
        self,
        wanted: Sequence[Wanted],
        store: AbstractStore,
        progress: Progress,
        jobs: int | None = None,
    ) -> None:
        """Bring everything wanted into `store`, several at a time; skip what it has.

        Raises FetchError for the first that cannot be had, naming it and each URL with its
        reason. When that or an interrupt ends the work early, what was complete stays in the
        store and nothing is left of the rest.
        """
        once = {one.digest: one for one in wanted}.values()
        missing = [one for one in once if not store.has_blob(one.digest)]
        if not missing:
            return
        # The large ones first, so that no single one is left running at the end.
        missing.sort(key=lambda one: -(one.size or 0))
        threads = min(len(missing), jobs or max(self._config.jobs, 4), _MOST_AT_ONCE)
        total = None if any(one.size is None for one in missing) else _total(missing)
        with progress.task(f"fetching {_count(missing)}", total) as advance:

            def work(one: Wanted, run: _Run) -> None:
                self._fetch_one(one, store, advance, run)

            _in_threads(work, missing, threads, _Run(self._sleep))

    def _fetch_one(
        self, wanted: Wanted, store: AbstractStore, advance: Callable[[int], None], run: _Run
    ) -> None:
        shown = 0

        def attempt(url: str, run: _Run) -> None:
            nonlocal shown
            length = 0
            with store.ingest() as blob:
                for piece in self._body(url, run, limit=wanted.size):
                    blob.write(piece)
                    length += len(piece)
                    # A second attempt repeats bytes that were already counted.
                    if length > shown:
                        advance(length - shown)
                        shown = length
                if wanted.size is not None and length < wanted.size:
                    raise _FailedError(
                        f"the body ended at {length} of {wanted.size} bytes", again=True
                    )
                try:
                    blob.commit(expected=wanted.digest, size=wanted.size, name=wanted.name)
                except DigestMismatch as error:
                    raise _FailedError(_mismatch(error.expected, error.actual)) from None

        self._from_first(wanted.name, wanted.urls, wanted.absent, attempt, run)

    def _from_first(
        self,
        name: str,
        urls: Sequence[str],
        advice: str,
        attempt: Callable[[str, _Run], T],
        run: _Run,
    ) -> T:
        """Return what `attempt` makes of the first URL with which it succeeds."""
        reasons: list[str] = []
        only_absent = True
        for url in urls:
            try:
                return _attempts(functools.partial(attempt, url, run), run)
            except _FailedError as failed:
                only_absent &= failed.absent
                reasons.append(f"{show_url(url)}: {failed}")
        message = f"{name}: cannot be fetched"
        message += "".join(f"\n  {reason}" for reason in reasons) or ": no place is known"
        if advice and only_absent:
            message += f"\n  {advice}"
        raise FetchError(message)

    def _body(
        self, url: str, run: _Run, *, limit: int | None, whole: bool = False
    ) -> Iterator[bytes]:
        """Yield the body at `url` in pieces; raise _FailedError for a body longer than `limit`.

        With `whole`, also for one shorter than its Content-Length: nothing else would tell.
        """
        length = 0
        with self._open(url, run) as (declared, pieces):
            if limit is not None and declared is not None and declared > limit:
                raise _FailedError(f"expected at most {limit} bytes, the server offers {declared}")
            for piece in pieces:
                run.check()
                length += len(piece)
                if limit is not None and length > limit:
                    raise _FailedError(f"expected at most {limit} bytes, the body is longer")
                yield piece
        if whole and declared is not None and length < declared:
            raise _FailedError(f"the body ended at {length} of {declared} bytes", again=True)

    @contextmanager
    def _open(self, url: str, run: _Run) -> Iterator[tuple[int | None, Iterator[bytes]]]:
        if url.startswith("file:"):
            with _open_file(url) as opened:
                yield opened
        else:
            with self._open_http(url, run) as opened:
                yield opened

    @contextmanager
    def _open_http(self, url: str, run: _Run) -> Iterator[tuple[int | None, Iterator[bytes]]]:
        import requests
        import urllib3

        try:
            with self._connections().get(url, stream=True, timeout=_TIMEOUT) as response:
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
        with self._making:
            if self._session is None:
                self._session = _new_session()
            return self._session


class _Run:
    """One piece of work that can be given up from another thread."""

    def __init__(self, sleep: Callable[[float], object] | None = None) -> None:
        self._halt = threading.Event()
        self._sleep = sleep
        self._live: set[object] = set()
        self._lock = threading.Lock()

    def check(self) -> None:
        if self._halt.is_set():
            raise _HaltedError

    def wait(self, seconds: float) -> None:
        if self._sleep is None:
            self._halt.wait(seconds)
        else:
            self._sleep(seconds)
        self.check()

    def halt(self) -> None:
        """Give up: wake every thread that waits for a body or for its next attempt."""
        self._halt.set()
        with self._lock:
            for raw in self._live:
                _shut(raw)

    @contextmanager
    def interruptible(self, raw: object) -> Iterator[None]:
        with self._lock:
            self._live.add(raw)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._live.discard(raw)


def _in_threads(
    work: Callable[[Wanted, _Run], None], items: Sequence[Wanted], threads: int, run: _Run
) -> None:
    """Do `work` for every item; the first failure, or an interrupt here, ends all of it."""
    waiting: queue.SimpleQueue[Wanted] = queue.SimpleQueue()
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)

    def worker() -> None:
        outcome: BaseException | None = None
        try:
            while True:
                run.check()
                work(waiting.get_nowait(), run)
        except (queue.Empty, _HaltedError):
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            outcome = error
        done.put(outcome)

    # Daemons: one that waits for a server's first word cannot be woken, and holds nothing.
    pool = [threading.Thread(target=worker, daemon=True) for _ in range(threads)]
    try:
        for thread in pool:
            thread.start()
        for _ in pool:
            outcome = done.get()
            if outcome is not None:
                raise outcome
    finally:
        run.halt()
        for thread in pool:
            if thread.ident is not None:
                thread.join(2.0)


def _attempts(attempt: Callable[[], T], run: _Run) -> T:
    """Call `attempt` until it succeeds, fails for good, or has failed ATTEMPTS times."""
    for number in range(1, ATTEMPTS + 1):
        run.check()
        try:
            return attempt()
        except _FailedError as failed:
            if not failed.again or number == ATTEMPTS:
                raise
            # Spread out, or all machines that a mirror refused come back at once.
            delay = max(2.0 ** (number - 1) * random.uniform(0.5, 1.0), failed.after)  # noqa: S311
            run.wait(min(delay, LONGEST_DELAY))
    raise AssertionError("unreachable")


def _new_session() -> requests.Session:
    from http.cookiejar import DefaultCookiePolicy
    from importlib.metadata import PackageNotFoundError, version

    import requests
    from requests.adapters import HTTPAdapter

    try:
        agent = f"immutable/{version('immutable')}"
    except PackageNotFoundError:
        agent = "immutable"
    session = requests.Session()
    # The cookie jar is the one part of a session that threads must not share.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    session.headers.update({"User-Agent": agent, "Accept": "*/*", "Accept-Encoding": "identity"})
    adapter = HTTPAdapter(pool_maxsize=_MOST_AT_ONCE)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


@contextmanager
def _open_file(url: str) -> Iterator[tuple[int | None, Iterator[bytes]]]:
    path = Path(unquote(urlsplit(url).path))
    try:
        with path.open("rb") as file:
            yield path.stat().st_size, iter(lambda: file.read(_PIECE), b"")
    except FileNotFoundError:
        raise _FailedError("no such file", absent=True) from None
    except OSError as error:
        if error.filename is None:  # not about this file: the store's disk
            raise
        raise _FailedError(error.strerror or "cannot be read") from None


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    text = f"the server answered {status} {response.reason or ''}".rstrip()
    after = _retry_after(response.headers.get("Retry-After", ""))
    raise _FailedError(text, again=status in _PASSING, absent=status in (404, 410), after=after)


def _retry_after(value: str) -> float:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3); 0 for nonsense."""
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _network_failure(error: Exception) -> _FailedError:
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        return _FailedError(f"TLS failed: {_innermost(error)}")
    wrong = (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        requests.exceptions.TooManyRedirects,
    )
    return _FailedError(_innermost(error), again=not isinstance(error, wrong))


def _innermost(error: BaseException) -> str:
    """Return the cause at the bottom of what the HTTP libraries wrap, in one line."""
    seen: BaseException = error
    for _ in range(8):
        reason = getattr(seen, "reason", None)
        below = reason if isinstance(reason, BaseException) else None
        inner = [arg for arg in seen.args if isinstance(arg, BaseException)]
        following = below or (inner[-1] if inner else None) or seen.__cause__
        if following is None:
            break
        seen = following
    text = getattr(seen, "strerror", None) or str(seen) or type(seen).__name__
    return redact(" ".join(str(text).split()))[:200]


def _shut(raw: object) -> None:
    """Stop a response from being read, waking whoever reads it."""
    shutdown = getattr(raw, "shutdown", None)  # urllib3 ≥ 2.3
    if shutdown is not None:
        with contextlib.suppress(OSError, ValueError):
            shutdown()


def _check_length(wanted: Wanted, length: int) -> None:
    if wanted.size is not None and length < wanted.size:
        raise _FailedError(f"the body ended at {length} of {wanted.size} bytes", again=True)


def _mismatch(expected: Digest, actual: Digest) -> str:
    return f"expected {expected}, the body is {actual}"


def show_url(url: str) -> str:
    """Return `url` for a message: without user, password, query and fragment."""
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
