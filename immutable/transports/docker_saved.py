"""Reading what ``docker save`` writes, as an OCI image.

Layers stay the bytes that are stored; the manifest that Docker does not write is made for them,
so equal archives give equal digests.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final, cast

from attrs import frozen

from immutable.content.archives.decompress import open_stream
from immutable.errors import ArchiveError, BlobMissing, DigestMismatch, ImageError, TransportError
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Manifest
from immutable.reference.docker import DockerName
from immutable.transports.base import MAX_DOCUMENT, PIECE
from immutable.transports.members import Members

# How the compressions that OCI has a media type for begin.
_MAGIC: Final = ((b"\x1f\x8b\x08", oci.LAYER_GZIP), (b"\x28\xb5\x2f\xfd", oci.LAYER_ZSTD))
_HEX: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@frozen
class SavedSource:
    """An image in a docker archive; `paths` says where blobs stand, `made` are those of ours."""

    where: str
    root: Descriptor
    archive: Members
    paths: Mapping[Digest, str]
    made: Mapping[Digest, bytes]

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob."""
        if descriptor.digest in self.made:
            return io.BytesIO(self.made[descriptor.digest])
        path = self.paths.get(descriptor.digest)
        if path is None:
            raise BlobMissing(f"{self.where}: blob {descriptor.digest} is missing")
        return self.archive.open(path, descriptor.size)


def source(archive: Members, name: DockerName | None, where: str) -> SavedSource:
    """Return the image called `name` in `archive`; with no `name`, its only one.

    Compressed layers are read once, for their digests. Raises TransportError if the choice is
    none, ImageError for documents that do not hold, DigestMismatch for bytes that are not those
    of the name or the diffID.
    """
    return _source(archive, _choose(_listing(archive), name, where), where)


def sources(archive: Members, where: str) -> Iterator[tuple[SavedSource, tuple[str, ...]]]:
    """Yield every image in `archive`, with its names as Docker writes them; raise as `source`."""
    for saved in _listing(archive):
        yield _source(archive, saved, where), saved.tags


def _source(archive: Members, chosen: _Saved, where: str) -> SavedSource:
    config_path = archive.follow(chosen.config)
    data = archive.read(config_path, MAX_DOCUMENT)
    digest = Digest.of(data)
    _check_named(f"{where}: {config_path}", config_path, digest)
    diff_ids = oci.decode_config(data, f"{where}: {config_path}").diff_ids
    if len(diff_ids) != len(chosen.layers):
        raise ImageError(
            f"{where}: {config_path}: rootfs.diff_ids: expected {len(chosen.layers)} as "
            f"manifest.json has layers, found {len(diff_ids)}"
        )
    paths = {digest: config_path}
    layers = []
    for path, diff_id in zip(chosen.layers, diff_ids, strict=True):
        file = archive.follow(path)
        layers.append(_layer(archive, file, diff_id))
        paths[layers[-1].digest] = file
    manifest = Manifest(Descriptor(oci.CONFIG, digest, len(data)), tuple(layers)).encode()
    root = Descriptor(oci.MANIFEST, Digest.of(manifest), len(manifest))
    return SavedSource(where, root, archive, paths, {root.digest: manifest})


@frozen
class _Saved:
    """One image of ``manifest.json``."""

    config: str
    tags: tuple[str, ...]
    layers: tuple[str, ...]


def _listing(archive: Members) -> list[_Saved]:
    where = f"{archive.name}: manifest.json"
    if "manifest.json" not in archive:
        hint = "; it is an oci-archive" if "oci-layout" in archive else ""
        raise ImageError(f"{where}: missing; this is no docker archive{hint}")
    try:
        document = canonical.decode(archive.read("manifest.json", MAX_DOCUMENT))
    except ValueError as error:
        raise ImageError(f"{where}: not JSON: {error}") from None
    if not isinstance(document, list):
        raise ImageError(f"{where}: expected a list, found {type(document).__name__}")
    return [_saved(item, f"{where}: [{number}]") for number, item in enumerate(document)]


def _saved(item: Any, where: str) -> _Saved:
    if not isinstance(item, dict):
        raise ImageError(f"{where}: expected an object, found {type(item).__name__}")
    config = item.get("Config")
    if not isinstance(config, str):
        raise ImageError(f"{where}: Config: expected a path, found {config!r}")
    tags = tuple(_texts(item, "RepoTags", where))
    return _Saved(config, tags, tuple(_texts(item, "Layers", where)))


def _texts(item: Mapping[str, Any], key: str, where: str) -> Iterator[str]:
    values = item.get(key)
    if not isinstance(values, list | None):
        raise ImageError(f"{where}: {key}: expected a list, found {type(values).__name__}")
    for value in values or ():
        if not isinstance(value, str):
            raise ImageError(f"{where}: {key}: expected strings, found {type(value).__name__}")
        yield value


def _choose(listing: list[_Saved], name: DockerName | None, where: str) -> _Saved:
    found = listing
    if name is not None:
        found = [saved for saved in listing if str(name) in saved.tags] or [
            saved for saved in listing if any(map(name.is_meant_by, saved.tags))
        ]
    if len(found) == 1:
        return found[0]
    names = sorted(tag for saved in listing for tag in saved.tags)
    there = f"there is {', '.join(names[:20])}" if names else f"{len(listing)} have no name"
    which = f" called {name}" if name else ""
    advice = "" if name else f"; say which: {where}:NAME:TAG"
    raise TransportError(f"{where}: expected one image{which}, found {len(found)}; {there}{advice}")


def _check_named(where: str, path: str, actual: Digest) -> None:
    """Raise DigestMismatch if the file's name is a digest, and not its own."""
    stem = posixpath.basename(path).removesuffix(".json")
    if _HEX.fullmatch(stem) and stem != actual.hex:
        raise DigestMismatch(where, expected=Digest(stem), actual=actual)


def _layer(archive: Members, path: str, diff_id: Digest) -> Descriptor:
    """Return the descriptor of the stored layer at `path`."""
    size = archive.place(path).size
    with archive.open(path) as file:
        head = file.read(4)
    media_type = next((kind for magic, kind in _MAGIC if head.startswith(magic)), oci.LAYER)
    if media_type == oci.LAYER:
        _expect_plain(archive, path)
        # The diffID is the digest: whoever reads the layer verifies it by that.
        return Descriptor(media_type, diff_id, size)
    return Descriptor(media_type, _digest_of_packed(archive, path, diff_id), size)


def _expect_plain(archive: Members, path: str) -> None:
    name = f"{archive.name}: {path}"
    with archive.open(path) as file:
        try:
            open_stream(file, name=name, compression="none")
        except ArchiveError as fault:
            raise TransportError(f"{fault}; OCI has media types for gzip and zstd only") from None


def _digest_of_packed(archive: Members, path: str, diff_id: Digest) -> Digest:
    """Return the digest of a compressed layer, whose tar must have the digest `diff_id`."""
    name = f"{archive.name}: {path}"
    with archive.open(path) as file:
        hashing = _Hashing(file)
        found = hashlib.sha256()
        plain = open_stream(cast("BinaryIO", hashing), name=name)
        while piece := plain.read(PIECE):
            found.update(piece)
    if found.hexdigest() != diff_id.hex:
        actual = Digest(found.hexdigest())
        raise DigestMismatch(f"{name}: diffID", expected=diff_id, actual=actual)
    return hashing.digest()


class _Hashing:
    """A stream whose bytes are hashed as they are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        return data

    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())
