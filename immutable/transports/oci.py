"""``oci:DIR[:REF]``: an OCI image-layout directory (image-spec 1.1, image-layout.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from attrs import evolve, field, frozen

from immutable.errors import ImageError, TransportError
from immutable.oci.documents import REF_NAME, Descriptor, Index
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.store.layout import Layout
from immutable.store.streams import Ingest
from immutable.transports import outputs
from immutable.transports.base import Called, GatheredImage
from immutable.transports.sending import send

# image-spec 1.1, annotations.md, "org.opencontainers.image.ref.name"
_COMPONENT = r"[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*"
_REF: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)


def check_ref(ref: str) -> None:
    """Raise ValueError unless `ref` can name an image in a layout, or is empty."""
    if ref and not _REF.fullmatch(ref):
        raise ValueError(
            f"{ref!r}: expected a name of a-z A-Z 0-9 with single - . _ : @ + or / between them"
        )


def choose(index: Index, ref: str, where: str) -> Descriptor:
    """Return the entry called `ref` in a layout's index; with no `ref`, its only entry.

    Raises TransportError, listing what there is, for none and for several.
    """
    found = [
        entry
        for entry in index.manifests
        if not ref or dict(entry.annotations).get(REF_NAME) == ref
    ]
    if len(found) == 1 or (found and len({entry.digest for entry in found}) == 1):
        return found[0]
    names = sorted(name for e in index.manifests if (name := dict(e.annotations).get(REF_NAME)))
    there = f"there is {', '.join(names[:20])}" if names else f"{len(index.manifests)} have no name"
    if ref:
        many = "no image" if not found else f"{len(found)} images"
        raise TransportError(f"{where}: expected one image called {ref}, found {many}; {there}")
    raise TransportError(
        f"{where}: expected one image, found {len(found)}; {there}; say which: {where}:NAME"
    )


def named(root: Descriptor, ref: str) -> Descriptor:
    """Return `root` as it stands in a layout's index under the name `ref`, empty for none."""
    return evolve(root, annotations={REF_NAME: ref} if ref else {})


@frozen
class LayoutDirectory:
    """The image called `ref` in the layout `path`; with no `ref`, the only one, or an unnamed."""

    path: Path
    ref: str = field(default="")

    @ref.validator
    def _check(self, _attribute: object, value: str) -> None:
        check_ref(value)

    def __str__(self) -> str:
        return f"oci:{self.path}" + (f":{self.ref}" if self.ref else "")

    def called(self) -> Called:
        """Return what the reference calls the image."""
        return Called.parse(self.ref)

    @contextmanager
    def open(self, root: Descriptor | None = None) -> Iterator[LayoutSource]:
        """Open the image that is there, or the one of `root`, whatever has a name now."""
        layout = Layout.open(self.path)
        root = root or choose(layout.index(), self.ref, str(self))
        yield LayoutSource(str(self), root, layout)

    def takes(self) -> Platform | None:
        """Take all platforms."""
        return None

    def expect_replaceable(self) -> None:
        """Raise unless there is nothing, an empty directory or a layout that is no store.

        ImageError says what else is in the directory, TransportError what is wrong with the place.
        """
        outputs.expect_outside_stores(self.path)
        if self.path.is_dir():
            Layout(self.path).expect_layout_or_empty()
        elif self.path.exists() or self.path.is_symlink():
            raise TransportError(
                f"{self.path}: expected a directory or nothing there, found a file; "
                "choose another name"
            )

    def replaces(self) -> Path:
        """Return the layout's index."""
        return Layout(self.path).index_path

    def receive(self, image: GatheredImage, progress: Progress) -> None:
        """Put the image's blobs there, then name it in `index.json`."""
        self.expect_replaceable()
        layout = Layout.create(self.path)
        send(image, _LayoutSink(layout), progress)
        layout.update_index(lambda index: _entered(index, named(image.root, self.ref)))


@frozen
class LayoutSource:
    """An image in a layout directory."""

    where: str
    root: Descriptor
    layout: Layout

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob."""
        found = self.layout.size(descriptor.digest)
        if found != descriptor.size:
            raise ImageError(
                f"{self.layout.blob_path(descriptor.digest)}: expected {descriptor.size} bytes, "
                f"found {found}"
            )
        return self.layout.open_blob(descriptor.digest)


@frozen
class _LayoutSink:
    layout: Layout

    def has(self, descriptor: Descriptor) -> bool:
        return self.layout.holds(descriptor.digest, descriptor.size)

    def ingest(self) -> AbstractContextManager[Ingest]:
        return self.layout.ingest()

    def put_manifest(self, _descriptor: Descriptor, data: bytes) -> None:
        self.layout.put(data)


def _entered(index: Index, entry: Descriptor) -> Index:
    """Return `index` with `entry` in the place of what had its name."""
    name = _name(entry)

    def stays(other: Descriptor) -> bool:
        return _name(other) != name or (not name and other.digest != entry.digest)

    kept = tuple(other for other in index.manifests if stays(other))
    return Index((*kept, entry), index.annotations, index.media_type)


def _name(entry: Descriptor) -> str:
    return dict(entry.annotations).get(REF_NAME, "")
