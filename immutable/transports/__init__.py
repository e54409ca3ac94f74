"""Where an image goes or comes from, spelt as in containers-transports(5); and `copy`.

======================================  =========================================================
``oci:DIR[:REF]``                       an image-layout directory
``oci-archive:FILE[:REF]``              the same in a tar file
``docker-archive:FILE[:NAME:TAG]``      what ``docker load`` and ``docker save`` know
``docker-daemon:NAME:TAG``              a Docker engine
``docker://HOST[:PORT]/NAME:TAG``       a registry; also ``NAME@sha256:…``, ``NAME:TAG@sha256:…``
``store:NAME[:TAG]``, ``NAME[:TAG]``    our own store; as a source also ``NAME@sha256:…``
======================================  =========================================================

A path ends at the first colon. No registry and no tag is assumed where none is written, and nothing
is written as ``latest``. Tags in registries and in the store do not move unless that is asked for.

Other packages add transports by entry points in the group ``immutable.transports``: see `Around`.
One whose reference would read as a name of the store, such as ``ipfs:abc``, is written with
slashes, ``ipfs://abc``.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from attrs import frozen

from immutable.config import Registries
from immutable.errors import TransportError
from immutable.oci.documents import Descriptor
from immutable.oci.platforms import Platform
from immutable.progress import SILENT, Progress
from immutable.reference.store import Reference
from immutable.store import AbstractStore
from immutable.transports.base import (
    GatheredImage,
    Scratch,
    Source,
    Transport,
    expect_version,
    temporary,
)
from immutable.transports.outputs import DiskTransport, expect_apart, same
from immutable.transports.tree import expect_platform, gather

__all__ = ["Around", "DiskTransport", "GatheredImage", "Source", "Transport", "copy", "parse"]


def copy(
    source: Transport | str,
    destination: Transport | str,
    *,
    platform: Platform | None = None,
    store: AbstractStore | None = None,
    registries: Registries | None = None,
    replace_tag: bool = False,
    progress: Progress = SILENT,
) -> Descriptor:
    """Copy an image; return the descriptor of what was copied.

    References are parsed with `store`, `registries` and `replace_tag`, as `parse` does it. With
    `platform`, or for a destination that takes one platform only, one manifest of an index is
    copied, else the index with everything in it. All bytes are verified on the way, their names
    come last: on an error the destination has nothing new by its name. Raises ImmutableError:
    TagTaken for a tag of another image in a registry or a store, TransportError for `latest` as
    a destination's tag, for the source itself, and for a file that is not to be replaced.
    """

    def place(named: Transport | str) -> Transport:
        if not isinstance(named, str):
            return named
        return parse(named, store=store, registries=registries, replace_tag=replace_tag)

    given, taken = place(source), place(destination)
    expect_version(taken.called(), taken)
    _expect_apart(given, taken)
    wanted = platform or taken.takes()
    with given.open() as opened:
        image = gather(opened, wanted)
        if platform is not None:
            expect_platform(image, platform)
        taken.receive(image, progress)
    return image.root


def parse(
    reference: str,
    *,
    store: AbstractStore | None = None,
    registries: Registries | None = None,
    replace_tag: bool = False,
) -> Transport:
    """Return the place that `reference` writes.

    One without a transport is a name in `store`; if that is None, in this user's own. What is
    in a registry is reached by `registries`, or by this user's own settings. With `replace_tag`
    what goes to a registry or a store takes tags away from other images. Raises TransportError
    for an unknown transport and for what cannot follow a known one.
    """
    around = Around(store, registries, replace_tag)
    prefix, colon, rest = reference.partition(":")
    transport = _TRANSPORTS.get(prefix) if colon else None
    if colon and prefix == "docker":
        return _docker(rest, around)
    if transport is None and colon and not _is_name(reference):
        transport = plugins().get(prefix)
    if transport is None:
        _refuse_unknown(reference, prefix if colon else "")
        return _store(reference, around)
    try:
        return transport(rest, around)
    except ValueError as error:
        raise TransportError(f"{reference}: {error}") from None


def _expect_apart(source: Transport, destination: Transport) -> None:
    """Raise TransportError, before anything is read, for a place that an image must not go to."""
    if not isinstance(destination, DiskTransport):
        return
    # A layout takes an image of its own under another name: nothing of it is replaced.
    shared = isinstance(source, DiskTransport) and source.replaces() != source.path
    if isinstance(source, DiskTransport) and not (shared and same(source.path, destination.path)):
        expect_apart(destination.replaces(), source.path, "the source")
    destination.expect_replaceable()


@frozen
class Around:
    """What a reference itself does not say.

    A transport is a function of what follows its colon and of this. It returns the place, and
    raises ValueError, saying what is wrong, for what cannot follow the colon.
    """

    store: AbstractStore | None
    registries: Registries | None
    replace_tag: bool

    @property
    def scratch(self) -> Scratch:
        """Where temporary files are had."""
        return temporary if self.store is None else self.store.scratch


Parser = Callable[[str, Around], Transport]


def _oci(rest: str, _around: Around) -> Transport:
    from immutable.transports.oci import LayoutDirectory

    path, ref = _path(rest)
    return LayoutDirectory(path, ref)


def _oci_archive(rest: str, around: Around) -> Transport:
    from immutable.transports.oci_archive import OciArchive

    path, ref = _path(rest)
    return OciArchive(path, ref, around.scratch)


def _docker_archive(rest: str, around: Around) -> Transport:
    from immutable.reference.docker import DockerName
    from immutable.transports.docker_archive import DockerArchive

    path, name = _path(rest)
    return DockerArchive(path, DockerName.parse(name) if name else None, around.scratch)


def _docker_daemon(rest: str, around: Around) -> Transport:
    # The Docker SDK takes a tenth of a second to import.
    from immutable.reference.docker import DockerName
    from immutable.transports.docker_daemon import DockerDaemon

    return DockerDaemon(DockerName.parse(rest), scratch=around.scratch)


def _docker(rest: str, around: Around) -> Transport:
    # `requests` takes a tenth of a second to import.
    from immutable.reference.registry import RegistryName
    from immutable.transports.registry.transport import RegistryImage

    if not rest.startswith("//"):
        raise TransportError(
            f"docker:{rest}: expected docker://HOST/NAME:TAG for an image in a registry; one in "
            f"the Docker engine is docker-daemon:NAME:TAG, one in the store store:docker:{rest}"
        )
    try:
        return RegistryImage(
            RegistryName.parse(rest[2:]), around.registries, replace_tag=around.replace_tag
        )
    except ValueError as error:
        shown = _USER.sub("//", rest)
        raise TransportError(f"docker:{shown}: {error}") from None


def _store(rest: str, around: Around) -> Transport:
    from immutable.transports.store import StoreImage

    if not rest:
        raise ValueError("expected a name")
    return StoreImage(rest, around.store, replace_tag=around.replace_tag)


_TRANSPORTS: Final[Mapping[str, Parser]] = MappingProxyType(
    {
        "oci": _oci,
        "oci-archive": _oci_archive,
        "docker-archive": _docker_archive,
        "docker-daemon": _docker_daemon,
        "store": _store,
    }
)
# Others of containers-transports(5). A name in the store may look the same, but is hardly meant.
_FOREIGN: Final = ("containers-storage", "dir", "ostree", "sif", "tarball")
# A password, which has no place in a reference, but may stand there.
_USER: Final = re.compile(r"//.*@(?!sha256:)", re.DOTALL)
_LIKENESS: Final = 0.75


@functools.cache
def plugins() -> Mapping[str, Parser]:
    """Return the transports of other packages, by name.

    Asking for one that cannot be loaded raises TransportError.
    """
    from immutable.plugins import Plugins  # looking for entry points takes a while

    return Plugins("immutable.transports", lambda parser: parser, _failed)


def _failed(name: str, reason: str) -> TransportError:
    return TransportError(f"transport {name}: {reason}")


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
    is_name = _is_name(reference)
    if is_name and not near and prefix not in _FOREIGN:
        return
    if not prefix:
        raise TransportError(
            f"{reference!r}: expected NAME, NAME:TAG or TRANSPORT:…, one of {_known()}"
        )
    near = near or difflib.get_close_matches(prefix, _TRANSPORTS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}:?" if near else f"there is {_known()}"
    if reference.removeprefix(prefix).startswith("://"):
        hint = "a registry is docker://HOST/NAME:TAG"
    name = f"; an image of that name is store:{reference}" if is_name else ""
    raise TransportError(f"{reference}: unknown transport {prefix!r}; {hint}{name}")


def _is_name(reference: str) -> bool:
    """Whether a reference without a known transport may name an image of the store."""
    return Reference.parse(reference) is not None or reference.startswith("sha256:")


def _known() -> str:
    return ", ".join([*(f"{name}:" for name in (*_TRANSPORTS, *plugins())), "docker://"])
