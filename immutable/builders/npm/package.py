"""A package's archive, unpacked as npm does: pacote's ``extract``, for a umask of 022.

Only files count: links and directories in an archive are passed over, the first name of each
path is taken off, whatever it is, and a ``.gitignore`` becomes an ``.npmignore`` where there is
none. Modes are 0644, with the execute bits that the archive has.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO, Final

from attrs import frozen

from immutable.builders.base import Inputs
from immutable.builders.unpacking import unpack_each
from immutable.content import tar
from immutable.content.archives import refuse_special
from immutable.content.archives.decompress import open_stream
from immutable.content.archives.scratch import ScratchWriter
from immutable.content.entries import Content, EntryKind, Inline
from immutable.oci.digest import Digest

_SMALL: Final = 4 << 20  # bytes of an archive that may be held in memory
_EXECUTE: Final = 0o111
_WINDOWS_LINE: Final = re.compile(rb"\A(#![^\n]+)\r\n")
_LOOKED_AT: Final = 2048  # bytes, bin-links' "isWindowsHashbangFile"


@frozen
class PinnedArchive:
    """A package to unpack, by the digest of its archive; `label` is for messages."""

    label: str
    digest: Digest


@frozen(eq=False)
class File:
    """A file of a package: its permission bits and content."""

    mode: int
    content: Content

    def as_command(self) -> File:
        """Return the file as npm leaves what a command leads to: executable by all.

        A script whose first line ends as Windows has it would not run, so npm rewrites that
        (as UTF-8, whatever it was).
        """
        head = b""
        for piece in self.content.read():
            head += piece
            if len(head) >= _LOOKED_AT:
                break
        content = self.content
        if _WINDOWS_LINE.match(head[:_LOOKED_AT]):
            data = b"".join(content.read()).decode("utf-8", "replace").encode()
            content = Inline(_WINDOWS_LINE.sub(rb"\1\n", data, count=1))
        return File(0o755, content)


Files = Mapping[bytes, File]


def unpack_all(wanted: Sequence[PinnedArchive], inputs: Inputs) -> list[Files]:
    """Return each package's files by their paths in it, their contents in scratch files.

    Several are unpacked at a time, the largest first. Raises DigestMismatch for a wrong blob, and
    ArchiveError for an archive that is damaged or unsafe.
    """
    once = {one.digest: one for one in wanted}.values()
    largest_first = sorted(once, key=lambda one: -inputs.store.blob_size(one.digest))

    def work(one: PinnedArchive, scratch: BinaryIO) -> Files:
        # Packages are what is counted; of pieces it is only told so that it can end the work.
        files = _unpack(one, inputs, scratch, lambda _: advance(0))
        advance(1)
        return files

    with inputs.progress.task("unpacking", len(largest_first), unit="packages") as advance:
        unpacked = unpack_each(work, largest_first, inputs)
    by_digest = dict(zip((one.digest for one in largest_first), unpacked, strict=True))
    return [by_digest[one.digest] for one in wanted]


def _unpack(
    wanted: PinnedArchive, inputs: Inputs, scratch: BinaryIO, advance: Callable[[int], None]
) -> Files:
    with inputs.store.verified(wanted.digest) as blob:
        file: BinaryIO = blob
        if inputs.store.blob_size(wanted.digest) <= _SMALL:
            file = io.BytesIO(blob.read())
        # Some that were published are filled with zeros to whole blocks; Node passes over these.
        stream = open_stream(file, name=wanted.label, padded=True)
        return dict(_files(stream, wanted.label, ScratchWriter(scratch, advance), advance))


def _files(
    stream: BinaryIO, label: str, writer: ScratchWriter, advance: Callable[[int], None]
) -> Iterator[tuple[bytes, File]]:
    found: dict[bytes, File] = {}
    ignores: set[bytes] = set()
    for member in tar.read(stream, name=label, repeats=True):
        advance(0)
        entry = member.entry
        refuse_special(entry, label)
        if entry.kind is not EntryKind.FILE:
            continue
        path = entry.path.partition(b"/")[2]
        if not path:
            continue
        if path.rpartition(b"/")[2] == b".npmignore":
            ignores.add(path)
        elif path.rpartition(b"/")[2] == b".gitignore":
            path = path[: -len(b".gitignore")] + b".npmignore"
            if path in ignores:
                continue
        content = writer.add(member.extents(), member.size)
        # A path that stands twice, as in some that were published, is written twice: the first
        # makes the file, the last is what stays in it.
        mode = found[path].mode if path in found else 0o644 | (entry.mode & _EXECUTE)
        found[path] = File(mode, content)
    writer.finish()
    yield from found.items()
