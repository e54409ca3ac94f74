"""From a language's own lock to pins: what each platform takes, known to the last byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from attrs import evolve, frozen

from immutable.builders.base import LockScope
from immutable.builders.wheels.options import WheelsOptions
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.sources import pypi
from immutable.sources.pypi import Asked, Choice, Environment
from immutable.spec.lock import Pin
from immutable.store import AbstractStore

_WHY: Final = ("asked for",)


@frozen
class _File:
    """One wheel."""

    name: str
    version: str
    file: str
    digest: Digest
    size: int


def pins_of(options: WheelsOptions, given: LockScope) -> tuple[Pin, ...]:
    """Return the pins of a layer, sorted by name and file, for all platforms that are wanted.

    What the language's lock, the previous pins and the store tell of a wheel is not fetched.
    Raises ResolutionError for a package without a wheel that fits; and FetchError.
    """
    locked = pypi.read(given.read(options.lockfile), options.lockfile)
    takers: dict[_File, list[Platform]] = {}
    known: dict[Choice, _File] = {}
    for platform in given.platforms:
        environment = options.environment(platform)
        choices = locked.select(environment, options.extras, options.groups)
        known |= _known(choices, platform, given)
        missing = [choice for choice in choices if choice not in known]
        fetched = _fetched(missing, environment, given)
        for choice in choices:
            found = known.get(choice) or fetched[choice]
            takers.setdefault(found, []).append(platform)
        # Of these the file's name is part of the choice, so they are the same everywhere.
        known = {choice: found for choice, found in (known | fetched).items() if choice.file}
    return tuple(sorted(_pins(takers, given.platforms), key=lambda pin: (pin.name, pin.path)))


def _pins(
    takers: Mapping[_File, Sequence[Platform]], platforms: Sequence[Platform]
) -> Iterator[Pin]:
    for found, taking in takers.items():
        pin = Pin(
            found.name,
            found.version,
            _architecture(found.file, taking),
            found.file,
            found.size,
            found.digest,
            _WHY,
        )
        yield pin if len(taking) == len(platforms) else evolve(pin, platforms=tuple(sorted(taking)))


def _architecture(file: str, taking: Sequence[Platform]) -> str:
    """Return the architecture that the wheel is only for; empty for any."""
    if file.endswith("-any.whl"):
        return ""
    return str(taking[0]).removeprefix(f"{taking[0].os}/")


def _known(choices: Iterable[Choice], platform: Platform, given: LockScope) -> dict[Choice, _File]:
    """Return those wheels of which everything is known."""
    previous = given.previous.pins_for(platform) if given.previous else ()
    pinned = {} if given.upgrade else {(pin.name, pin.version): pin for pin in previous}
    known = {}
    for choice in choices:
        digest, size = choice.sha256, choice.size
        pin = pinned.get((choice.name, choice.version))
        if pin is not None and f"{pin.sha256}" in choice.hashes:
            if choice.file in ("", pin.path):
                known[choice] = _file(choice, pin.path, pin.sha256, pin.size)
        elif digest is not None and choice.file:
            if size is None:
                size = _stored_size(digest, given.scope.store)
            if size is not None:
                known[choice] = _file(choice, choice.file, digest, size)
    return known


def _stored_size(digest: Digest, store: AbstractStore) -> int | None:
    return store.blob_size(digest) if store.has_blob(digest) else None


def _fetched(
    choices: Sequence[Choice], environment: Environment, given: LockScope
) -> dict[Choice, _File]:
    asked = {Asked(one.name, one.version, one.hashes): one for one in choices}
    came = pypi.download([*asked], environment, given.scope.store, given.scope.progress)
    return {
        asked[one.asked]: _file(asked[one.asked], one.file, one.digest, one.size) for one in came
    }


def _file(choice: Choice, file: str, digest: Digest, size: int) -> _File:
    return _File(choice.name, choice.version, choice.file or file, digest, size)
