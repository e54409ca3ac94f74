"""The verbs of the OCI distribution-spec 1.1 on one repository."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final, Self, TypeVar, cast

import requests
from attrs import evolve, field, frozen

from immutable.config import Registries
from immutable.errors import BlobMissing, DigestMismatch, ImageError, RegistryError
from immutable.net.attempts import MOST_ATTEMPTS, FailedError, Run, attempts
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.progress import HighWaterMark
from immutable.redact import quoted
from immutable.transports.base import MAX_DOCUMENT, Source
from immutable.transports.registry import credentials, documents
from immutable.transports.registry.downloads import BlobReader, WrongSizeError
from immutable.transports.registry.session import Exchange, RefusedError, Request, read_small
from immutable.transports.registry.uploads import SMALL, Feed, Upload

T = TypeVar("T")
Sleep = Callable[[float], object]

# With these some registries answer for what is not there yet.
UNTOLD: Final = frozenset({403, 405})
_SUBJECT: Final = "OCI-Subject"


@frozen
class Client:
    """One repository of a registry; safe to share between threads.

    All methods raise RegistryError when the registry refuses or cannot be talked to, after six
    attempts where another may go better. `actions` are what the client is going to do with the
    repository, as token scopes have it; `run` is given up to end it.
    """

    exchange: Exchange
    repository: str
    actions: str = "pull"
    sleep: Sleep | None = field(default=None, repr=False)
    run: Run = field(factory=Run, repr=False, eq=False)

    @classmethod
    @contextmanager
    def connect(
        cls,
        host: str,
        repository: str,
        registries: Registries,
        *,
        actions: str = "pull",
        sleep: Sleep | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Iterator[Self]:
        """Give a client of `repository` at `host`; nothing is asked of the registry yet.

        `sleep` is given the seconds to wait between two attempts.
        """
        find_login = functools.partial(credentials.find, registries, host, repository)
        exchange = Exchange(host, registries, find_login, clock=clock)
        try:
            yield cls(exchange, repository, actions, sleep, Run(sleep))
        finally:
            exchange.shutdown()
            exchange.close()

    @contextmanager
    def ending_with(self, run: Run) -> Iterator[Self]:
        """Give this client as one whose connections are cut when `run` is given up."""
        with run.interruptible(self.exchange):
            yield evolve(self, run=run.waiting_by(self.sleep))

    @property
    def where(self) -> str:
        """The repository, for messages."""
        return f"docker://{self.exchange.host}/{self.repository}"

    @property
    def scopes(self) -> tuple[str, ...]:
        """What tokens for this client's requests have to allow."""
        return (f"repository:{self.repository}:{self.actions}",)

    # Blobs

    def has_blob(self, blob: Descriptor) -> bool:
        """Whether the repository has the blob, in its size."""
        return self._tried(f"blob {blob.digest}", lambda: self._has_blob(blob))

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """Open a blob as a stream that survives broken connections; nobody verified its bytes.

        Raises BlobMissing.
        """

        def ask(offset: int) -> requests.Response:
            headers = {"Range": f"bytes={offset}-"} if offset else {}
            request = self.request("GET", f"blobs/{blob.digest}", headers)
            return self.exchange.send(request, self.run, 200, 206, 416)

        def final(failed: FailedError) -> Exception:
            return self.error(f"blob {blob.digest}", failed, missing=BlobMissing)

        # A RawIOBase is what all readers of blobs need.
        return cast("BinaryIO", BlobReader(ask, blob, self.run, final))

    def read_blob(self, blob: Descriptor, *, most: int = SMALL) -> bytes:
        """Return the verified bytes of a small blob; one that comes wrong is asked for again.

        Raises BlobMissing, DigestMismatch, and ImageError for one of more than `most` bytes, by
        default a MiB.
        """
        name = f"{self.where}: blob {blob.digest}"
        if blob.size > most:
            raise ImageError(f"{name}: expected at most {most} bytes, found {blob.size}")

        def get() -> bytes:
            with self.open_blob(blob) as stream:
                data = stream.read()
            return _verified(data, blob.digest, name)

        return twice(get)

    def upload(
        self,
        source: Source,
        blob: Descriptor,
        advance: Callable[[int], None] = lambda _: None,
        *,
        mount: str = "",
        chunk: int | None = None,
    ) -> None:
        """Bring a blob of `source` into the repository, whether it has it or not.

        It is tried first to mount it from the repository `mount`; `chunk` is the most bytes of
        one request. Raises DigestMismatch for wrong bytes, and what `source` raises.
        """
        feed = Feed(source, blob, self.run, HighWaterMark(advance))
        upload = Upload(
            self.exchange,
            f"/v2/{self.repository}/blobs/uploads/",
            self.scopes,
            feed,
            self.run,
            lambda: self._has_blob(blob),
            mount,
            chunk,
        )
        try:
            upload.send()
        except FailedError as failed:
            raise self.error(f"blob {blob.digest}", failed) from None

    def delete_blob(self, digest: Digest) -> None:
        """Delete a blob; raise BlobMissing if it is not there."""
        self._delete(f"blobs/{digest}", f"blob {digest}", BlobMissing)

    # Manifests

    def manifest(self, reference: str | Digest) -> tuple[Descriptor, bytes]:
        """Return the manifest or index called `reference`, a tag or a digest.

        Its bytes are verified by the digest, for a tag by the one that the registry names. Those
        that come wrong are asked for again, once. Raises DigestMismatch, ImageError for what is
        no manifest or says otherwise than its Content-Type.
        """
        return twice(lambda: self._manifest(reference))

    def head_manifest(self, reference: str | Digest) -> Digest | None:
        """Return the digest of what is called `reference`; None if there is no such thing.

        It is read where a registry answers no HEAD.
        """

        def attempt() -> tuple[bool, Digest | None]:
            request = self.request("HEAD", f"manifests/{reference}", {"Accept": documents.ACCEPT})
            with self.exchange.answer(request, self.run, 200, 404, *UNTOLD) as response:
                if response.status_code in UNTOLD:
                    return True, None
                return response.status_code == 200, _named(response)

        there, found = self._tried(f"manifest {reference}", attempt)
        if there and found is None:
            return self._digest_by_reading(reference)
        return found if there else None

    def put_manifest(self, manifest: Descriptor, data: bytes, tag: str = "") -> bool:
        """Put a manifest or index by its digest, or by `tag`; all that it refers to is there.

        Returns whether the registry keeps its own list of referrers for it.
        """
        reference = tag or str(manifest.digest)

        def attempt() -> bool:
            headers = {"Content-Type": manifest.media_type}
            request = self.request("PUT", f"manifests/{reference}", headers, data)
            with self.exchange.answer(request, self.run, 200, 201, 202, 204) as response:
                named = _named(response)
                if named is not None and named != manifest.digest:
                    raise FailedError(f"the registry made {named} of {manifest.digest}")
                return _SUBJECT in response.headers

        return self._tried(f"manifest {reference}", attempt)

    def delete_manifest(self, reference: str | Digest) -> None:
        """Delete a manifest by its digest, or a tag by its name.

        Raises RegistryError of status 404 if it is not there, and of 405 where the registry
        deletes nothing.
        """
        self._delete(f"manifests/{reference}", f"manifest {reference}", None)

    # What the verbs are made of

    def request(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Request:
        """Return a request for `path` below the repository; raise FailedError."""
        url = self.exchange.url(f"/v2/{self.repository}/{path}", self.run)
        return Request(method, url, self.scopes, headers or {}, body)

    def error(
        self,
        what: str,
        failed: FailedError,
        *,
        missing: Callable[[str], Exception] | None = None,
    ) -> Exception:
        """Return the typed error for what failed for good; `missing` makes that of a 404."""
        message = f"{self.where}: {what}: {failed}"
        if missing is not None and failed.absent:
            return missing(message)
        if isinstance(failed, WrongSizeError):
            return ImageError(message)
        if isinstance(failed, RefusedError):
            return RegistryError(message, status=failed.status, codes=failed.codes)
        return RegistryError(message)

    def _tried(self, what: str, attempt: Callable[[], T]) -> T:
        try:
            return attempts(attempt, self.run, MOST_ATTEMPTS)
        except FailedError as failed:
            raise self.error(what, failed) from None

    def _has_blob(self, blob: Descriptor) -> bool:
        request = self.request("HEAD", f"blobs/{blob.digest}")
        with self.exchange.answer(request, self.run, 200, 404) as response:
            if response.status_code == 404:
                return False
            return response.headers.get("Content-Length", "") in ("", str(blob.size))

    def _manifest(self, reference: str | Digest) -> tuple[Descriptor, bytes]:
        where = f"{self.where}: manifest {reference}"

        def attempt() -> tuple[bytes, str, Digest | None]:
            request = self.request("GET", f"manifests/{reference}", {"Accept": documents.ACCEPT})
            with self.exchange.answer(request, self.run, 200) as response:
                data = read_small(response, MAX_DOCUMENT)
                return data, response.headers.get("Content-Type", ""), _named(response)

        data, content_type, named = self._tried(f"manifest {reference}", attempt)
        expected = reference if isinstance(reference, Digest) else named
        digest = Digest.of(data)
        if expected is not None:
            _verified(data, expected, where)
        media_type = documents.check(data, content_type, where)
        return Descriptor(media_type, digest, len(data)), data

    def _digest_by_reading(self, reference: str | Digest) -> Digest | None:
        """Find out what a registry does not tell a HEAD."""
        try:
            return self.manifest(reference)[0].digest
        except RegistryError as error:
            if error.status == 404:
                return None
            raise

    def _delete(self, path: str, what: str, missing: Callable[[str], Exception] | None) -> None:
        def attempt() -> None:
            with self.exchange.answer(self.request("DELETE", path), self.run, 200, 202, 204):
                pass

        try:
            attempts(attempt, self.run, MOST_ATTEMPTS)
        except FailedError as failed:
            raise self.error(what, failed, missing=missing) from None


def twice(get: Callable[[], T]) -> T:
    """Return what `get` gives; what came damaged is asked for once more."""
    try:
        return get()
    except (DigestMismatch, ImageError):
        return get()


def _named(response: requests.Response) -> Digest | None:
    """Return the digest that the registry names for its answer, if it is one known here."""
    text = response.headers.get("Docker-Content-Digest", "")
    try:
        return Digest.parse(text)
    except ValueError:
        if text.startswith("sha256:"):
            raise FailedError(f"Docker-Content-Digest: no digest: {quoted(text)}") from None
        return None


def _verified(data: bytes, expected: Digest, name: str) -> bytes:
    actual = Digest.of(data)
    if actual != expected:
        raise DigestMismatch(name, expected=expected, actual=actual)
    return data
