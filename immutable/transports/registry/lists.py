"""What there is: a repository's tags, a registry's repositories, a manifest's referrers.

A list comes in pages, of which a registry may give one after the other without end: all pages of
one list together have at most 64 MiB, a million entries and 10,000 requests. RegistryError is
raised for a longer one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import requests
from attrs import evolve, frozen

from immutable.errors import RegistryError
from immutable.net.attempts import MOST_ATTEMPTS, FailedError, attempts
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Index
from immutable.transports.base import MAX_DOCUMENT
from immutable.transports.registry.client import Client
from immutable.transports.registry.documents import subject
from immutable.transports.registry.origins import Origin
from immutable.transports.registry.session import Request, read_small

_MOST_PAGES: Final = 10_000
_MOST_BYTES: Final = 64 << 20  # of all pages
_MOST_ENTRIES: Final = 1_000_000  # on all pages
_NEXT: Final = re.compile(r'<([^<>]{1,4096})>[^,]*;\s*rel="?next"?', re.IGNORECASE)


@frozen
class Referrer:
    """A manifest that refers to another, and what it is."""

    descriptor: Descriptor
    artifact_type: str


def tags(client: Client) -> Iterator[str]:
    """Yield the tags of the client's repository, in the registry's order."""
    yield from _names(client, f"/v2/{client.repository}/tags/list", "tags", client.scopes)


def catalog(client: Client) -> Iterator[str]:
    """Yield the repositories of the client's registry, where it tells."""
    yield from _names(client, "/v2/_catalog", "repositories", ("registry:catalog:*",))


def referrers(client: Client, digest: Digest, artifact_type: str = "") -> tuple[Referrer, ...]:
    """Return the manifests whose subject is `digest`; with `artifact_type` those of that type.

    A registry without that part of the API is asked for the tag that stands for it
    (distribution-spec 1.1, "Referrers Tag Schema").
    """
    path = f"/v2/{client.repository}/referrers/{digest}"
    found: dict[Digest, Referrer] = {}
    count = 0
    try:
        for document, where in _pages(client, path, "referrers", client.scopes):
            entries = _read(document, where)
            count = _counted(count + len(entries), where)
            found.update((one.descriptor.digest, one) for one in entries)
    except RegistryError as error:
        if error.status not in (400, 404, 405):
            raise
        found = {one.descriptor.digest: one for one in _tagged(client, digest)}
    return tuple(one for one in found.values() if artifact_type in ("", one.artifact_type))


def put_referrer(client: Client, manifest: Descriptor, data: bytes) -> None:
    """Put a manifest that has a subject, and see that the subject's referrers name it."""
    if client.put_manifest(manifest, data):
        return
    found = subject(data)
    if found is None:
        return
    try:
        digest = Digest.parse(str(found.get("digest")))
    except ValueError as error:
        raise RegistryError(f"{client.where}: {manifest.digest}: subject: {error}") from None
    known = _tagged(client, digest)
    if any(one.descriptor.digest == manifest.digest for one in known):
        return
    entry = {**manifest.plain(), **_description(canonical.decode(data))}
    plain = [{**one.descriptor.plain(), "artifactType": one.artifact_type} for one in known]
    index: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": oci.INDEX,
        "manifests": [*plain, entry],
    }
    encoded = canonical.encode(index)
    listed = Descriptor(oci.INDEX, Digest.of(encoded), len(encoded))
    client.put_manifest(listed, encoded, _tag(digest))


def _description(document: dict[str, Any]) -> dict[str, Any]:
    """Return what a list of referrers says of a manifest."""
    config = document.get("config")
    kind = document.get("artifactType") or (config or {}).get("mediaType") or ""
    annotations = document.get("annotations")
    return {"artifactType": kind, **({"annotations": annotations} if annotations else {})}


def _tag(digest: Digest) -> str:
    return f"sha256-{digest.hex}"


def _tagged(client: Client, digest: Digest) -> list[Referrer]:
    try:
        _, data = client.manifest(_tag(digest))
    except RegistryError as error:
        if error.status == 404:
            return []
        raise
    return _read(data, f"{client.where}: {_tag(digest)}")


def _read(data: bytes, where: str) -> list[Referrer]:
    index: Index = oci.decode_index(data, where)
    return [Referrer(evolve(one, artifact_type=""), one.artifact_type) for one in index.manifests]


def _names(client: Client, path: str, key: str, scopes: tuple[str, ...]) -> Iterator[str]:
    count = 0
    for data, where in _pages(client, path, key, scopes):
        try:
            document = canonical.decode(data)
        except ValueError as error:
            raise RegistryError(f"{where}: not JSON: {error}") from None
        names = document.get(key) if isinstance(document, dict) else None
        # A repository without tags has null for a list.
        for name in names or () if isinstance(document, dict) and key in document else [None]:
            count = _counted(count + 1, where)
            if not isinstance(name, str) or not name.isprintable():
                raise RegistryError(f"{where}: {key}: expected an array of names")
            yield name


def _counted(count: int, where: str) -> int:
    """Return `count`, the entries so far; raise RegistryError for too many."""
    if count > _MOST_ENTRIES:
        raise RegistryError(f"{where}: expected at most {_MOST_ENTRIES} entries, found more")
    return count


def _pages(
    client: Client, path: str, what: str, scopes: tuple[str, ...]
) -> Iterator[tuple[bytes, str]]:
    """Yield the documents at `path`, and where each was, following Link (RFC 8288)."""
    where = f"{client.where}: {what}"
    url, seen, left = "", set[str](), _MOST_BYTES
    for _ in range(_MOST_PAGES):

        def attempt(url: str = url) -> tuple[bytes, str]:
            asked = url or client.exchange.url(path, client.run)
            request = Request("GET", asked, scopes, {"Accept": oci.INDEX + ", application/json"})
            with client.exchange.answer(request, client.run, 200) as response:
                return read_small(response, MAX_DOCUMENT), _following(response, asked, client)

        try:
            data, url = attempts(attempt, client.run, MOST_ATTEMPTS)
        except FailedError as failed:
            raise client.error(what, failed) from None
        left -= len(data)
        if left < 0:
            raise RegistryError(f"{where}: expected at most {_MOST_BYTES} bytes, found more")
        yield data, where
        if not url:
            return
        if url in seen:
            raise RegistryError(f"{where}: the list leads back to itself")
        seen.add(url)
    raise RegistryError(f"{where}: expected at most {_MOST_PAGES} pages, found more")


def _following(response: requests.Response, asked: str, client: Client) -> str:
    """Return the URL of the next page, empty for none; raise FailedError for one elsewhere."""
    match = _NEXT.search(response.headers.get("Link", ""))
    if match is None:
        return ""
    url = client.exchange.resolved(asked, match[1])
    if Origin.of(url) != Origin.of(asked):
        raise FailedError(f"Link: expected a page at {Origin.of(asked)}, found another host")
    return url
