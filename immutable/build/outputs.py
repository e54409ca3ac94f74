"""Whether a spec's image may be put somewhere: never in the place of what it is built from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import evolve, frozen

from immutable.build.loading import load, own_files
from immutable.builders.registry import builders
from immutable.errors import TransportError
from immutable.spec.document import Layer, Spec
from immutable.transports import DiskTransport, Transport
from immutable.transports.outputs import expect_apart, real, same


def expect_place(destination: Transport, spec: Spec) -> None:
    """Raise TransportError if `spec`'s image must not go to `destination`.

    It must not replace what the image is built from: the spec, its lock, local files, an image
    that it builds upon, the same of base specs; nor become a part of it. Also raises what
    `DiskTransport.expect_replaceable` does, and SpecError for a base spec that cannot be read.
    """
    if not isinstance(destination, DiskTransport):
        return
    for one in _inputs(spec, set()):
        one.expect_apart(destination)
    # Second, as it advises to remove what is in the way.
    destination.expect_replaceable()


def expect_distinct(destinations: Sequence[Transport]) -> None:
    """Raise TransportError if two destinations are one archive: it holds one image."""
    files = [one for one in destinations if isinstance(one, DiskTransport) and _is_archive(one)]
    for number, one in enumerate(files):
        for other in files[:number]:
            if same(one.path, other.path):
                raise TransportError(
                    f"{one}: expected a file of its own, found that of {other}; "
                    "give each output another name"
                )


def _is_archive(place: DiskTransport) -> bool:
    return place.replaces() == place.path


@frozen
class _File:
    """A file that is read, whatever its content."""

    what: str
    path: Path

    def expect_apart(self, output: DiskTransport) -> None:
        expect_apart(output.replaces(), self.path, self.what)


@frozen
class _Source:
    """What a layer takes from this machine: a file, or what it chooses of a folder."""

    layer: Layer
    path: Path
    folder: Path  # the spec's own

    def expect_apart(self, output: DiskTransport) -> None:
        replaced, source = real(output.replaces()), real(self.path)
        builder = builders()[self.layer.kind]
        if source in replaced.parents:
            inside = os.fsencode(replaced.relative_to(source))
            if not builder.chooses(self.layer.options, inside, self.folder):
                return
            raise TransportError(
                f"{output.path}: expected a place that nothing is read from, found the source "
                f'{self.path} of layer "{self.layer.name}", which would hold the image in the '
                "next build; choose another place, or exclude it there"
            )
        expect_apart(output.replaces(), self.path, f'the source of layer "{self.layer.name}"')


@frozen
class _Image:
    """Another image that is taken from, in a layout or an archive."""

    place: DiskTransport

    def expect_apart(self, output: DiskTransport) -> None:
        # Another name in the same layout replaces nothing.
        shared = not _is_archive(self.place) and same(self.place.path, output.path)
        if not shared or getattr(self.place, "ref", "") == getattr(output, "ref", ""):
            expect_apart(output.replaces(), self.place.path, "the image to build upon,")


def _inputs(spec: Spec, seen: set[Path]) -> Iterator[_File | _Source | _Image]:
    """Yield what an image is built from; of specs, those that were not `seen` before."""
    path = Path(spec.where)
    folder = path.parent
    seen.add(real(path))
    for what, file in own_files(spec).items():
        yield _File(what, file)
    for layer in spec.layer:
        builder = builders()[layer.kind]
        for taken in builder.paths(layer.options):
            yield _Source(layer, folder / taken, folder)
        place = builder.on_disk(layer.options)
        if place is not None:
            yield _Image(evolve(place, path=folder / place.path))  # type: ignore[misc]
        base = builder.base_spec(layer.options)
        if base is not None and real(folder / base) not in seen:
            yield from _inputs(load(folder / base), seen)
