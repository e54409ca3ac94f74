"""Where an image goes or comes from, spelt as in containers-transports(5); and `copy`.

======================================  ====================================================
``oci:DIR[:REF]``                       an image-layout directory
``oci-archive:FILE[:REF]``              the same in a tar file
``docker-archive:FILE[:NAME:TAG]``      what ``docker load`` and ``docker save`` know
``docker-daemon:NAME:TAG``              a Docker engine
``store:NAME[:TAG]``, ``NAME[:TAG]``    our own store; as a source also ``NAME@sha256:…``
======================================  ====================================================

A path ends at the first colon.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from immutable.errors import TransportError
from immutable.oci import Descriptor
from immutable.platforms import Platform
from immutable.progress import SILENT, Progress
from immutable.store import AbstractStore
from immutable.store.names import Reference
from immutable.transports.base import Image, Source, Transport
from immutable.transports.members import Scratch, temporary
from immutable.transports.tree import expect_platform, gather

__all__ = ["Image", "Source", "Transport", "copy", "parse"]


def copy(
    source: Transport | str,
    destination: Transport | str,
    *,
    platform: Platform | None = None,
    store: AbstractStore | None = None,
    progress: Progress = SILENT,
) -> Descriptor:
    """Copy an image; return the descriptor of what was copied.

    References are parsed with `store` as the one whose names they may be. With `platform`, or
    for a destination that takes one platform only, one manifest of an index is copied, else the
    index with everything in it. All bytes are verified on the way, their names come last: on an
    error the destination has nothing new by its name. Raises ImmutableError.
    """
    given = parse(source, store=store) if isinstance(source, str) else source
    taken = parse(destination, store=store) if isinstance(destination, str) else destination
    wanted = platform or taken.takes()
    with given.open() as opened:
        image = gather(opened, wanted)
        if platform is not None:
            expect_platform(image, platform)
        taken.receive(image, progress)
    return image.root


def parse(reference: str, *, store: AbstractStore | None = None) -> Transport:
    """Return the place that `reference` writes.

    One without a transport is a name in `store`; if that is None, in this user's own. Raises
    TransportError for an unknown transport and for what cannot follow a known one.
    """
    prefix, colon, rest = reference.partition(":")
    transport = _TRANSPORTS.get(prefix) if colon else None
    if transport is None:
        _refuse_unknown(reference, prefix if colon else "")
        return _store(reference, store)
    try:
        return transport(rest, store)
    except ValueError as error:
        raise TransportError(f"{reference}: {error}") from None


def _oci(rest: str, _store: AbstractStore | None) -> Transport:
    from immutable.transports.oci import LayoutDirectory

    path, ref = _path(rest)
    return LayoutDirectory(path, ref)


def _oci_archive(rest: str, store: AbstractStore | None) -> Transport:
    from immutable.transports.oci_archive import OciArchive

    path, ref = _path(rest)
    return OciArchive(path, ref, _scratch(store))


def _docker_archive(rest: str, store: AbstractStore | None) -> Transport:
    from immutable.transports.docker_archive import DockerArchive
    from immutable.transports.docker_names import DockerName

    path, name = _path(rest)
    return DockerArchive(path, DockerName.parse(name) if name else None, _scratch(store))


def _docker_daemon(rest: str, store: AbstractStore | None) -> Transport:
    # The Docker SDK takes a tenth of a second to import.
    from immutable.transports.docker_daemon import DockerDaemon
    from immutable.transports.docker_names import DockerName

    return DockerDaemon(DockerName.parse(rest), scratch=_scratch(store))


def _store(rest: str, store: AbstractStore | None) -> Transport:
    from immutable.transports.store import StoreImage

    if not rest:
        raise ValueError("expected a name")
    return StoreImage(rest, store)


_TRANSPORTS: Final[Mapping[str, Callable[[str, AbstractStore | None], Transport]]] = (
    MappingProxyType(
        {
            "oci": _oci,
            "oci-archive": _oci_archive,
            "docker-archive": _docker_archive,
            "docker-daemon": _docker_daemon,
            "store": _store,
        }
    )
)
# Others of containers-transports(5). A name in the store may look the same, but is hardly meant.
_FOREIGN: Final = ("containers-storage", "dir", "docker", "ostree", "sif", "tarball")
_LIKENESS: Final = 0.75


def _scratch(store: AbstractStore | None) -> Scratch:
    return temporary if store is None else store.scratch


def _path(rest: str) -> tuple[Path, str]:
    """Return path and name of ``PATH[:NAME]``."""
    path, colon, name = rest.partition(":")
    if not path:
        raise ValueError("expected a path")
    if "\0" in path:
        raise ValueError("a NUL in a path")
    if colon and not name:
        raise ValueError("expected a name after the path's colon")
    return Path(path), name


def _refuse_unknown(reference: str, prefix: str) -> None:
    """Raise TransportError for what is no name in a store, and for what looks like a transport.

    A misspelt transport must not become an image of that name.
    """
    near = difflib.get_close_matches(prefix, _TRANSPORTS, n=1, cutoff=_LIKENESS)
    is_name = Reference.parse(reference) is not None or reference.startswith("sha256:")
    if is_name and not near and prefix not in _FOREIGN:
        return
    if not prefix:
        raise TransportError(
            f"{reference!r}: expected NAME, NAME:TAG or TRANSPORT:…, one of {_known()}"
        )
    near = near or difflib.get_close_matches(prefix, _TRANSPORTS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}:?" if near else f"there is {_known()}"
    name = f"; an image of that name is store:{reference}" if is_name else ""
    raise TransportError(f"{reference}: unknown transport {prefix!r}; {hint}{name}")


def _known() -> str:
    return ", ".join(f"{name}:" for name in _TRANSPORTS)
