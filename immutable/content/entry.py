"""A tree entry: one path of a layer, or a mark that takes away what lower layers have there.

Paths are raw bytes, relative to the image's root, without a leading ``/`` or ``./`` and without
a trailing ``/``. The root itself is no entry.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from attrs import field, frozen

from immutable.errors import EntryError
from immutable.oci.digest import Digest
from immutable.redact import redact

MAX_NAME = 255  # NAME_MAX of every Linux file system
MAX_PATH = 4095  # PATH_MAX less its NUL

# Directories whose customary mode is not 0755, for when a layer only implies them.
CUSTOMARY_MODES = {b"root": 0o700, b"tmp": 0o1777, b"var/tmp": 0o1777}


class EntryKind(enum.Enum):
    """What an entry is; the value is its ustar type flag (POSIX.1-2017 pax, "typeflag").

    The last two are marks, which no tar has a flag for: it has empty files whose names say so, and
    the value is how these begin. `path` is what a whiteout hides, or the directory that is opaque.
    """

    FILE = b"0"
    HARDLINK = b"1"
    SYMLINK = b"2"
    CHARACTER = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"
    WHITEOUT = b".wh."
    OPAQUE = b".wh..wh..opq"


MARKS: Final = (EntryKind.WHITEOUT, EntryKind.OPAQUE)
KIND_NAMES: Final = {
    EntryKind.FILE: "file",
    EntryKind.HARDLINK: "hard link",
    EntryKind.SYMLINK: "symlink",
    EntryKind.CHARACTER: "character device",
    EntryKind.BLOCK: "block device",
    EntryKind.DIRECTORY: "directory",
    EntryKind.FIFO: "FIFO",
    EntryKind.WHITEOUT: "whiteout",
    EntryKind.OPAQUE: "mark of an opaque directory",
}
# What overlay file systems, the kernel's and FUSE's, keep for themselves: marks that hide lower
# layers, or that change owners and modes. "trusted" is for the machine's own administration.
_KEPT = (b"trusted.", b"user.overlay.", b"user.fuseoverlayfs.", b"user.containers.")


class Sets(enum.Flag):
    """What an entry says of a directory that lower layers have; the rest of it stays as it is."""

    NOTHING = 0
    MODE = enum.auto()
    OWNER = enum.auto()
    XATTRS = enum.auto()


def described(kind: EntryKind, target: bytes = b"") -> str:
    """Return what people call an entry: `target` is a link's."""
    name = f"a {KIND_NAMES[kind]}"
    return f"{name} to {show(target)}" if kind is EntryKind.SYMLINK and target else name


class Content(Protocol):
    """The bytes of a file, readable any number of times.

    It may have a `digest`, that of the bytes, which is known once they have been read, or before.
    """

    @property
    def size(self) -> int:
        """How many bytes `read` gives."""

    def read(self) -> Iterator[bytes]:
        """Yield the bytes in pieces of any length, `size` in all.

        Raises ImmutableError if they are not the bytes, or not as many, as when the content
        was described.
        """


@frozen
class Inline:
    """Content that is held in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """The length of the data in bytes."""
        return len(self.data)

    def read(self) -> Iterator[bytes]:
        """Yield the data."""
        if self.data:
            yield self.data


def has_digest(content: Content | None) -> bool:
    """Whether `content` tells the digest of its bytes once they have been read."""
    return hasattr(content, "digest")


def known_digest(content: Content | None) -> bytes:
    """Return the digest, 32 bytes, that `content` tells; the caller has read its bytes."""
    digest: Digest = getattr(content, "digest")  # noqa: B009 - not every content has one
    return bytes.fromhex(digest.hex)


def _sorted_pairs(pairs: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(sorted(pairs)) if pairs else ()


@frozen
class Entry:
    """One path of a layer.

    `mode` is the permission bits with setuid, setgid and sticky; `mtime` is in whole seconds
    since the epoch. `target` is a symbolic link's text, or the path that a hard link repeats.
    A hard link also has that path's `content`, so it can stand alone when the path is left
    out. `device` is a device's (major, minor); `xattrs` are sorted by name. A directory that
    lower layers have already only gets of these what the entry `sets`.
    """

    path: bytes
    kind: EntryKind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    content: Content | None = None
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = field(default=(), converter=_sorted_pairs)
    sets: Sets = Sets.NOTHING

    @property
    def size(self) -> int:
        """The length of a file's content in bytes; 0 for everything else."""
        if self.kind is EntryKind.FILE and self.content is not None:
            return self.content.size
        return 0

    @property
    def tar_path(self) -> bytes:
        """Where a tar has the entry: at `path`, but for marks."""
        if self.kind is EntryKind.OPAQUE:
            return b"%b/%b" % (self.path, self.kind.value)
        if self.kind is EntryKind.WHITEOUT:
            folder, slash, name = self.path.rpartition(b"/")
            return b"%b%b%b%b" % (folder, slash, self.kind.value, name)
        return self.path


def directory(
    path: bytes, mode: int | None = None, uid: int = 0, gid: int = 0, sets: Sets = Sets.NOTHING
) -> Entry:
    """Return a directory entry; without `mode`, it has the customary one, 0755 as a rule."""
    if mode is None:
        mode = CUSTOMARY_MODES.get(path, 0o755)
    return Entry(path, EntryKind.DIRECTORY, mode, uid, gid, sets=sets)


def file(path: bytes, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Entry:
    """Return a file entry with content in memory."""
    return Entry(path, EntryKind.FILE, mode, uid, gid, content=Inline(data))


def symlink(path: bytes, target: bytes, uid: int = 0, gid: int = 0) -> Entry:
    """Return a symbolic link; its mode is 0777, as Linux has it."""
    return Entry(path, EntryKind.SYMLINK, 0o777, uid, gid, target=target)


def whiteout(path: bytes) -> Entry:
    """Return the mark that what lower layers have at `path`, and in it, is gone.

    Marks have mode 0 and root for an owner, as those of containerd, BuildKit and umoci have.
    """
    return Entry(path, EntryKind.WHITEOUT, 0)


def opaque(path: bytes) -> Entry:
    """Return the mark that of what is in the directory `path`, the layer's own is all there is."""
    return Entry(path, EntryKind.OPAQUE, 0)


def safe_path(raw: bytes, *, reroot: bool = False) -> bytes:
    """Return `raw` as an entry's path; empty for the root itself.

    ``.`` and empty components vanish. With `reroot`, a leading ``/`` means the image's root;
    without it, an absolute path is refused. Raises EntryError for a ``..`` component, a NUL,
    a component over 255 bytes or a path over 4,095.
    """
    if raw.startswith(b"/") and not reroot:
        raise EntryError(f"{show(raw)}: an absolute path")
    if b"\0" in raw:
        raise EntryError(f"{show(raw)}: a NUL in a path")
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    for part in parts:
        if part == b"..":
            raise EntryError(f"{show(raw)}: leaves the root through ..")
        if len(part) > MAX_NAME:
            raise EntryError(f"{show(raw)}: a name of {len(part)} bytes; at most {MAX_NAME}")
    path = b"/".join(parts)
    if len(path) > MAX_PATH:
        raise EntryError(f"{show(raw)}: a path of {len(path)} bytes; at most {MAX_PATH}")
    return path


def show(path: bytes) -> str:
    """Return a path as people read it, shortened when it is very long."""
    text = path.decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(text) <= 200:
        return text
    text = redact(text)  # of a secret that was cut, the rest would not be known as one
    return text if len(text) <= 200 else f"{text[:120]}…{text[-60:]}"


def overlay_mark(entry: Entry) -> str:
    """Return what of `entry` an overlay file system takes for its own; empty if nothing.

    The kernel's documentation, "Overlay Filesystem", whiteouts and opaque directories.
    """
    if entry.kind is EntryKind.CHARACTER and entry.device == (0, 0):
        return "the character device 0:0"
    kept = next((name for name, _ in entry.xattrs if name.startswith(_KEPT)), b"")
    return f"the extended attribute {show(kept)}" if kept else ""


def parent(path: bytes) -> bytes:
    """Return the path of the directory that holds `path`; empty for the root."""
    return path.rpartition(b"/")[0]


def ancestors(paths: Iterable[bytes]) -> set[bytes]:
    """Return every directory, short of the root, that `paths` lie in."""
    found: set[bytes] = set()
    for path in paths:
        folder = parent(path)
        while folder and folder not in found:
            found.add(folder)
            folder = parent(folder)
    return found
