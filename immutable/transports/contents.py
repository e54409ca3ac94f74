"""All images of a layout or an archive at once, and what they are called there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from immutable.errors import ImageError, TransportError
from immutable.oci.documents import REF_NAME, Descriptor, Index
from immutable.store import AbstractStore
from immutable.store.layout import Layout
from immutable.transports import docker_saved, members, parse
from immutable.transports.base import Called, Source
from immutable.transports.docker_archive import DockerArchive
from immutable.transports.members import Members
from immutable.transports.oci import LayoutDirectory, LayoutSource
from immutable.transports.oci_archive import ArchiveSource, OciArchive, listing

# What Docker calls an image in the layouts that it saves, where the usual name is a mere tag.
_CONTAINERD_NAME: Final = "io.containerd.image.name"


@frozen
class Held:
    """One image in a place that may hold several; it need not be called anything."""

    source: Source
    called: tuple[Called, ...]


@contextmanager
def opened(reference: str, store: AbstractStore) -> Iterator[tuple[Held, ...]]:
    """Give the images of the layout or archive `reference`, in its order.

    That is ``oci:``, ``oci-archive:`` or ``docker-archive:``, or the path alone of any of these;
    with a name after it, the one image of that name. Raises TransportError and ImageError.
    """
    path = Path(reference)
    if path.is_dir():
        yield _of_layout(path)
    elif path.exists():
        with members.opened(path, store.scratch) as archive:
            yield _of_archive(archive)
    else:
        with _of_transport(reference, store) as held:
            yield held


@contextmanager
def _of_transport(reference: str, store: AbstractStore) -> Iterator[tuple[Held, ...]]:
    place = parse(reference, store=store)
    if not isinstance(place, LayoutDirectory | OciArchive | DockerArchive):
        raise TransportError(
            f"{reference}: expected the path of a layout or an archive, or oci:DIR, "
            "oci-archive:FILE or docker-archive:FILE"
        )
    if place.called() != Called():
        with place.open() as source:
            yield (Held(source, (place.called(),)),)
    elif isinstance(place, LayoutDirectory):
        yield _of_layout(place.path)
    else:
        with members.opened(place.path, place.scratch) as archive:
            yield _of_oci(archive) if isinstance(place, OciArchive) else _of_docker(archive)


def _of_archive(archive: Members) -> tuple[Held, ...]:
    # What newer engines save is both; only the layout has the manifests that were built.
    if "oci-layout" in archive:
        return _of_oci(archive)
    if "manifest.json" in archive:
        return _of_docker(archive)
    raise ImageError(
        f"{archive.name}: expected oci-layout or manifest.json in it; this is no image's archive"
    )


def _of_layout(path: Path) -> tuple[Held, ...]:
    layout = Layout.open(path)
    where = f"oci:{path}"
    return tuple(
        Held(LayoutSource(where, root, layout), called) for root, called in _listed(layout.index())
    )


def _of_oci(archive: Members) -> tuple[Held, ...]:
    where = f"oci-archive:{archive.name}"
    return tuple(
        Held(ArchiveSource(where, root, archive), called)
        for root, called in _listed(listing(archive))
    )


def _of_docker(archive: Members) -> tuple[Held, ...]:
    where = f"docker-archive:{archive.name}"
    return tuple(
        Held(source, tuple(map(Called.parse, tags)))
        for source, tags in docker_saved.sources(archive, where)
    )


def _listed(index: Index) -> Iterator[tuple[Descriptor, tuple[Called, ...]]]:
    """Yield each image of a layout's index once, with all that it is called."""
    found: dict[Descriptor, dict[Called, None]] = {}
    for entry in index.manifests:
        annotations = dict(entry.annotations)
        names = found.setdefault(entry.bare(), {})
        name = annotations.get(_CONTAINERD_NAME) or annotations.get(REF_NAME)
        if name:
            names[Called.parse(name)] = None
    yield from ((root, tuple(names)) for root, names in found.items())
