"""Where an image with a name of its own is to go: references whose name may be left out.

``oci:DIR``, ``oci-archive:FILE``, ``docker-archive:FILE``, ``docker-daemon:`` and
``docker://HOST`` take the image's name and its first tag; ``docker-daemon:NAME`` and
``docker://HOST/NAME`` take the tag alone. In a registry an image can have all its tags at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from attrs import evolve

from immutable.config import Registries
from immutable.errors import TransportError
from immutable.reference.registry import RegistryName
from immutable.store import AbstractStore
from immutable.transports import parse, plugins
from immutable.transports.base import Transport, expect_version

if TYPE_CHECKING:
    from immutable.transports.registry.transport import RegistryImage

_ARCHIVES: Final = ("oci-archive", "docker-archive")
_LAYOUTS: Final = ("oci", "oci-archive")
_DOCKER: Final = ("docker-archive", "docker-daemon")
_ALL: Final = ("oci", *_ARCHIVES, "docker-daemon", "docker", "store")
_REGISTRY: Final = "docker://"


def place(
    destination: str,
    name: str,
    tags: Sequence[str],
    *,
    store: AbstractStore | None = None,
    registries: Registries | None = None,
    replace_tag: bool = False,
) -> Transport:
    """Return where the image `name`, with `tags`, goes.

    Raises TransportError as `completed` does, and for `latest`.
    """
    whole = completed(destination, name, next(iter(tags), None))
    found = parse(whole, store=store, registries=registries, replace_tag=replace_tag)
    expect_version(found.called(), found)
    if destination.startswith(_REGISTRY) and not names_version(destination):
        return evolve(_registry_image(found), also=tuple(tags[1:]))
    return found


def references(there: Transport) -> tuple[str, ...]:
    """Return what an image is called at a destination: several references for several tags."""
    if not str(there).startswith(_REGISTRY):
        return (str(there),)
    return _registry_image(there).references()


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
    if destination.startswith(_REGISTRY):
        return _registry(destination, name, tag)
    if colon and kind == "store":
        return destination
    if colon and registry_name(destination) is None:
        if kind in plugins():
            return destination
        from immutable.spec.toml import nearest

        parse(destination)  # knows what an unknown transport may have meant
        raise TransportError(
            f"{destination}: expected a transport before it{nearest(kind, _ALL)}; "
            f"for a name in the store write store:{destination}"
        )
    raise TransportError(
        f"{destination}: expected a transport before it: oci-archive:{destination} or "
        f"docker-archive:{destination} for a file, oci:{destination} for a folder"
        + _or_registry(destination)
    )


def check(destination: str, name: str, tag: str | None, store: AbstractStore) -> Transport:
    """Return where an image called `name` goes; raise TransportError if it cannot go there."""
    return place(destination, name, () if tag is None else (tag,), store=store)


def holds_one(destination: str) -> bool:
    """Whether a second image there would take the place of the first."""
    if destination.partition(":")[0] in _ARCHIVES:
        return True
    return completed(destination, "a", "1") == completed(destination, "b", "1")


def in_registry(reference: str) -> str:
    """Return ``HOST/NAME…``, with its transport or without, as a reference to a registry.

    Raises TransportError for what is none.
    """
    if reference.startswith(_REGISTRY):
        return reference
    if has_transport(reference):
        raise TransportError(
            f"{reference}: expected HOST/NAME[:TAG], an image in a registry; `immutable copy` is "
            "for all other places"
        )
    parse(_REGISTRY + reference)
    return _REGISTRY + reference


def has_transport(reference: str) -> bool:
    """Whether a reference begins with a transport."""
    kind, colon, _ = reference.partition(":")
    if not colon or kind in _ALL:
        return bool(colon)
    # Looking for other packages' transports takes a while, and a registry's name needs none.
    return registry_name(reference) is None and kind in plugins()


def names_version(destination: str) -> bool:
    """Whether a reference to a registry says a tag or a digest."""
    return bool({":", "@"} & {*destination.removeprefix(_REGISTRY).partition("/")[2]})


def registry_name(text: str) -> RegistryName | None:
    """Return the name that ``HOST/NAME…`` without a transport writes; None for anything else."""
    try:
        return RegistryName.parse(text)
    except ValueError:
        return None


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


def _registry(destination: str, name: str, tag: str | None) -> str:
    host, _, path = destination.removeprefix(_REGISTRY).partition("/")
    whole = destination if path else f"{_REGISTRY}{host}/{name}"
    parse(whole)  # knows what is wrong with it
    if names_version(whole):
        return whole
    if tag is None:
        raise TransportError(
            f"{name} has no tag, and {destination} takes none without; write {whole}:TAG"
        )
    return f"{whole}:{tag}"


def _registry_image(there: Transport) -> RegistryImage:
    """Return `there` as what ``docker://`` is parsed to."""
    from immutable.transports.registry.transport import RegistryImage

    assert isinstance(there, RegistryImage)  # noqa: S101
    return there


def _or_registry(destination: str) -> str:
    known = registry_name(destination) is not None
    return f", {_REGISTRY}{destination} for a registry" if known else ""


def _joined(name: str, tag: str | None) -> str:
    return name if tag is None else f"{name}:{tag}"
