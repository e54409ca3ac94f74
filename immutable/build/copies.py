"""What globs match in a root file system, and what is copied out of one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO

from attrs import evolve, frozen

from immutable.build.contents import LayerReader, StoredRootfs
from immutable.content.archives.scratch import ScratchWriter, Slice
from immutable.content.entries import show
from immutable.content.globs import compile_globs, is_plain
from immutable.content.rootfs import Found, Rootfs
from immutable.errors import EntryError
from immutable.oci.digest import Digest


@frozen
class Copied:
    """What is to be copied: `found`, whose path leads there, through links or not.

    `same_as` is the first path of a file that was met by another name before.
    """

    found: Found
    same_as: bytes = b""


def matching(glob: str, rootfs: Rootfs) -> Iterator[tuple[bytes, Found]]:
    """Yield what `glob` matches, by its path as the glob has it; nothing of what is in it.

    The first names, as far as they are plain ones, lead through links.
    """
    folder, pattern = _split(glob)
    resolved = rootfs.resolve(folder)
    if folder and resolved.found is None:
        return
    start = len(resolved.path) + 1 if resolved.path else 0
    matches = compile_globs([pattern])
    last = b"\0"
    for found in rootfs.walk(resolved.path):
        inside = found.path[start:]
        if not found.path.startswith(last) and matches(inside):
            yield _joined(folder, inside), found
            last = found.path + b"/"


def copied(path: str, rootfs: Rootfs, left_out: Callable[[bytes], bool]) -> list[list[Copied]]:
    """Return what `path`, which may be a glob, leads to: each thing, and all that is in it.

    Links are followed on the way and at its end, but not in what it leads to. Raises EntryError
    where there is nothing, or all of it is `left_out`.
    """
    if is_plain(path):
        places = [b"/".join(_names(path))]
    else:
        places = [place for place, _ in matching(path, rootfs)]
    copies = [_copy(place, rootfs, left_out) for place in places if not left_out(place)]
    if not places:
        raise EntryError(f"paths: {path}: nothing matches in the image to copy from")
    if not copies:
        raise EntryError(f"paths: {path}: exclude leaves nothing of it")
    return copies


def _copy(place: bytes, rootfs: Rootfs, left_out: Callable[[bytes], bool]) -> list[Copied]:
    top = rootfs.resolve(place).found
    if top is None:
        raise _missing(place, rootfs)
    start = len(top.path) + 1 if top.path else 0
    copies = [Copied(evolve(top, path=place))]
    firsts: dict[tuple[int | None, int], bytes] = {}
    for found in rootfs.walk(top.path):
        path = _joined(place, found.path[start:])
        if left_out(path):
            continue
        same_as = b""
        if found.inode.position is not None:
            # Files of one layer with one position are one file.
            first = firsts.setdefault((found.layer, found.inode.position), path)
            same_as = b"" if first == path else first
        copies.append(Copied(evolve(found, path=path), same_as))
    return copies


def _missing(place: bytes, rootfs: Rootfs) -> EntryError:
    """Return the error that names the nearest path that is there."""
    if rootfs.resolve(place, follow=False).found is not None:
        return EntryError(
            f"paths: /{show(place)}: is a link that leads to nothing there; leave it out, of a "
            "glob by exclude"
        )
    folder, _, name = place.rpartition(b"/")
    while folder and not rootfs.names(rootfs.resolve(folder).path):
        folder, _, name = folder.rpartition(b"/")
    names = [show(one) for one in rootfs.names(rootfs.resolve(folder).path)]
    close = difflib.get_close_matches(show(name), names, n=1)
    within = f"/{show(folder)}"
    near = f"did you mean {within.rstrip('/')}/{close[0]}?" if close else f"{within} is there"
    return EntryError(f"paths: /{show(place)}: not in the image to copy from; {near}")


def spooled(
    found: Iterable[Found], rootfs: StoredRootfs, scratch: BinaryIO
) -> Mapping[Digest, Slice]:
    """Return the contents of files, by sha256, once they are in `scratch`.

    Each layer is read in one pass, whatever the order of the files.
    """
    files = {one.inode.sha256: rootfs.content(one) for one in found if one.inode.sha256 is not None}
    by_layer: dict[Digest, list[Digest]] = {}
    for digest, content in files.items():
        by_layer.setdefault(content.blob.digest, []).append(digest)
    writer = ScratchWriter(scratch)
    contents: dict[Digest, Slice] = {}
    for digests in by_layer.values():
        one = files[digests[0]]
        with LayerReader(one.store, one.blob, one.frames) as reader:
            for digest in sorted(digests, key=lambda digest: files[digest].inode.position or 0):
                content = files[digest]
                pieces = reader.read(content.path, content.inode)
                contents[digest] = writer.add(_extents(pieces), content.size)
    writer.finish()
    return contents


def _extents(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    offset = 0
    for piece in pieces:
        yield offset, piece
        offset += len(piece)


def _split(glob: str) -> tuple[bytes, str]:
    """Return the directory that a glob's plain names lead to, and the rest of it."""
    names = [name for name in glob.split("/") if name not in ("", ".")]
    plain = 0
    while plain < len(names) - 1 and is_plain(names[plain]):
        plain += 1
    return "/".join(names[:plain]).encode(), "/".join(names[plain:])


def _names(path: str) -> list[bytes]:
    return [name.encode() for name in path.split("/") if name not in ("", ".")]


def _joined(folder: bytes, path: bytes) -> bytes:
    return folder + b"/" + path if folder else path
