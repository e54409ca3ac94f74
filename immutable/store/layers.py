"""Layers of others: compressed tars that have to be the ones that somebody promised."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from immutable.content.archives.decompress import open_stream
from immutable.errors import DigestMismatch, ImageError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.store.streams import Ingest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

COMPRESSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {oci.LAYER: "none", oci.LAYER_GZIP: "gzip", oci.LAYER_ZSTD: "zstd"}
)
_PIECE: Final = 1 << 20
_LONGEST: Final = 1 << 40  # bytes of a layer's tar


def expect(raw: BinaryIO, layer: Descriptor, diff_id: Digest, image: str) -> None:
    """Read `raw` to its end; raise DigestMismatch unless it unpacks to the tar `diff_id`.

    `image` is what has the layer, for messages. The bytes of `raw` itself are not compared with
    the layer's digest. Raises ArchiveError for what is damaged or otherwise compressed than the
    media type says, ImageError for a media type that is no layer's.
    """
    name = _named(layer, image)
    compression = COMPRESSIONS.get(oci.family(layer.media_type))
    if compression is None:
        raise ImageError(f"{name}: expected a layer, found {layer.media_type}")
    hasher = hashlib.sha256()
    stream = open_stream(raw, name=name, limit=_LONGEST, compression=compression)
    while piece := stream.read(_PIECE):
        hasher.update(piece)
    actual = Digest(hasher.hexdigest())
    if actual != diff_id:
        raise DigestMismatch(f"{name}: diffID", expected=diff_id, actual=actual)


def take(
    raw: BinaryIO,
    into: Ingest,
    layer: Descriptor,
    diff_id: Digest,
    image: str,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Keep `raw` in a store, in one pass, if it is the layer and unpacks to the tar `diff_id`.

    `image` is what has the layer, for messages. Raises what `expect` does, DigestMismatch and
    StoreError; then nothing was kept.
    """
    expect(cast("BinaryIO", _Copying(raw, into, layer.size, advance)), layer, diff_id, image)
    into.commit(expected=layer.digest, size=layer.size, name=_named(layer, image))


def _named(layer: Descriptor, image: str) -> str:
    return f"{image}: layer {layer.digest.short}"


class _Copying(io.RawIOBase):
    """A stream that writes down whatever is read from it, and has no more than `size` bytes."""

    def __init__(
        self, source: BinaryIO, copy: Ingest, size: int, advance: Callable[[int], None]
    ) -> None:
        super().__init__()
        self._source, self._copy, self._left, self._advance = source, copy, size, advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        # One byte more than there may be, so that a longer one is seen to be longer.
        data = self._source.read(min(len(view), self._left + 1)) if self._left >= 0 else b""
        view[: len(data)] = data
        self._copy.write(data)
        self._left -= len(data)
        self._advance(len(data))
        return len(data)
