"""Where an image is to go: references whose name may be left out.

``oci:DIR``, ``oci-archive:FILE``, ``docker-archive:FILE`` and ``docker-daemon:`` take the image's
own name and its first tag; ``docker-daemon:NAME`` takes the tag alone.
"""

from __future__ import annotations

from typing import Final

from immutable import transports
from immutable.errors import TransportError
from immutable.store import AbstractStore
from immutable.structure import nearest

_ARCHIVES: Final = ("oci-archive", "docker-archive")
_LAYOUTS: Final = ("oci", "oci-archive")
_DOCKER: Final = ("docker-archive", "docker-daemon")
_ALL: Final = ("oci", *_ARCHIVES, "docker-daemon", "store")


def completed(destination: str, name: str, tag: str | None) -> str:
    """Return `destination` with what it leaves out of the image's `name` and `tag`.

    Raises TransportError for one without a transport: ``-o web.tar`` must not become an image
    of that name in the store.
    """
    kind, colon, rest = destination.partition(":")
    if colon and kind in _LAYOUTS:
        path, named, _ = rest.partition(":")
        return destination if named or not path else f"{destination}:{_joined(name, tag)}"
    if colon and kind in _DOCKER:
        return _docker(destination, kind, rest, name, tag)
    if colon and kind == "store":
        return destination
    if colon:
        transports.parse(destination)  # knows what an unknown transport may have meant
        raise TransportError(
            f"{destination}: expected a transport before it{nearest(kind, _ALL)}; "
            f"for a name in the store write store:{destination}"
        )
    raise TransportError(
        f"{destination}: expected a transport before it: oci-archive:{destination} or "
        f"docker-archive:{destination} for a file, oci:{destination} for a folder"
    )


def check(destination: str, name: str, tag: str | None, store: AbstractStore) -> None:
    """Raise TransportError if an image called `name` cannot go to `destination`."""
    transports.parse(completed(destination, name, tag), store=store)


def holds_one(destination: str) -> bool:
    """Whether a second image there would take the place of the first."""
    if destination.partition(":")[0] in _ARCHIVES:
        return True
    return completed(destination, "a", "1") == completed(destination, "b", "1")


def _docker(destination: str, kind: str, rest: str, name: str, tag: str | None) -> str:
    given = rest if kind == "docker-daemon" else rest.partition(":")[2]
    if kind == "docker-archive" and not given:
        # An archive may do without a name: `docker load` then prints the image's ID.
        return destination if tag is None or ":" in rest else f"{destination}:{name}:{tag}"
    if ":" in given.rpartition("/")[2]:
        return destination
    if tag is None:
        raise TransportError(
            f"{name} has no tag, and {destination} takes none without; write "
            f"{destination.rstrip(':')}:{'' if given else name + ':'}TAG"
        )
    return f"{destination}:{tag}" if given else f"{destination}{name}:{tag}"


def _joined(name: str, tag: str | None) -> str:
    return name if tag is None else f"{name}:{tag}"
