"""From a root descriptor to everything that an image is made of (image-spec 1.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from immutable.errors import ImageError, TransportError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Index
from immutable.oci.platforms import Platform
from immutable.transports.base import Document, GatheredImage, Source, read

# An index is bounded, and so is a manifest; a thousand of the largest would still be too much
# to hold.
MAX_DOCUMENTS: Final = 64 << 20  # bytes


def gather(source: Source, platform: Platform | None = None) -> GatheredImage:
    """Return the image of `source`; with `platform`, the one that its index has for it.

    All manifests are read and verified; of the blobs only their descriptors are looked at.
    Raises DigestMismatch for wrong bytes, ImageError for documents that do not hold, an index
    within an index, and descriptors that contradict each other; TransportError when there is
    nothing for `platform`, listing what there is.
    """
    root = _document(source, source.root.bare())
    if platform is not None and isinstance(root.value, Index):
        chosen = _choose(root.value, platform, source.where)
        root = _document(source, chosen.bare())
    documents = (root, *_children(source, root))
    _check_sizes(source, documents)
    return GatheredImage(source, documents, tuple(_blobs(documents)))


def expect_platform(image: GatheredImage, platform: Platform) -> None:
    """Raise TransportError if the image is one manifest, and that is not for `platform`."""
    root = image.documents[0].value
    if isinstance(root, Index) or oci.family(root.config.media_type) != oci.CONFIG:
        return
    where = f"{image.source.where}: config {root.config.digest}"
    found = oci.decode_config(image.read(root.config), where).platform
    if found != platform:
        raise TransportError(f"{image.source.where}: nothing for {platform}; there is {found}")


def _document(source: Source, descriptor: Descriptor) -> Document:
    """Read a manifest or index."""
    family = oci.family(descriptor.media_type)
    where = f"{source.where}: {descriptor.digest}"
    if family not in (oci.INDEX, oci.MANIFEST):
        raise ImageError(f"{where}: expected a manifest or an index, found {descriptor.media_type}")
    data = read(source, descriptor)
    value = oci.decode_document(data, family, where)
    # CVE-2021-41190: what calls itself otherwise than it is called may be read otherwise.
    if oci.family(value.media_type) != family:
        raise ImageError(
            f"{where}: mediaType: expected {descriptor.media_type}, found {value.media_type}"
        )
    return Document(descriptor, data, value)


def _children(source: Source, root: Document) -> list[Document]:
    where = f"{source.where}: {root.descriptor.digest}"
    found: dict[Digest, Descriptor] = {}
    for descriptor in root.value.children:
        family = oci.family(descriptor.media_type)
        if family == oci.INDEX:
            raise _nested(where, descriptor)
        if family == oci.MANIFEST:
            found.setdefault(descriptor.digest, descriptor)
    total = sum(descriptor.size for descriptor in found.values())
    if total > MAX_DOCUMENTS:
        raise ImageError(
            f"{where}: expected at most {MAX_DOCUMENTS} bytes of manifests, found {total}"
        )
    return [_document(source, descriptor) for descriptor in found.values()]


def _nested(where: str, descriptor: Descriptor) -> ImageError:
    return ImageError(f"{where}: holds the index {descriptor.digest}; expected manifests only")


def _choose(index: Index, platform: Platform, where: str) -> Descriptor:
    for descriptor in index.manifests:
        if descriptor.platform == platform and oci.family(descriptor.media_type) == oci.MANIFEST:
            return descriptor
    for descriptor in index.manifests:
        if oci.family(descriptor.media_type) == oci.INDEX:
            raise _nested(where, descriptor)
    there = sorted({str(d.platform) for d in index.manifests if d.platform is not None})
    raise TransportError(
        f"{where}: nothing for {platform}; there is {', '.join(there) or 'no platform named'}"
    )


def _blobs(documents: Iterable[Document]) -> Iterable[Descriptor]:
    """Yield what is no manifest of an index, each digest once."""
    documents = tuple(documents)
    seen = {document.descriptor.digest for document in documents}
    for document in documents:
        for descriptor in _references(document):
            if descriptor.digest not in seen:
                seen.add(descriptor.digest)
                yield descriptor


def _references(document: Document) -> Iterable[Descriptor]:
    return (*document.value.children, *document.value.blobs)


def _check_sizes(source: Source, documents: Iterable[Document]) -> None:
    sizes: dict[Digest, int] = {}
    for document in documents:
        for descriptor in (document.descriptor, *_references(document)):
            size = sizes.setdefault(descriptor.digest, descriptor.size)
            if size != descriptor.size:
                raise ImageError(
                    f"{source.where}: {descriptor.digest}: said to have {size} bytes and "
                    f"{descriptor.size} bytes"
                )


def total_size(image: GatheredImage) -> int:
    """Return the bytes of all that an image is made of, each blob once."""
    documents = sum(document.descriptor.size for document in image.documents)
    return documents + sum(blob.size for blob in image.blobs)
