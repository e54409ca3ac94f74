"""What the kernel's overlayfs shows of layers, each unpacked into a directory of its own.

A process in a mount namespace of its own unpacks and mounts. It reads tars with the standard
library, and knows nothing of our contents and rootfs: it is what they are compared with.
"""

# Paths are bytes here, as they are in tars.
# ruff: noqa: PTH101, PTH102, PTH103, PTH105, PTH108, PTH115, PTH208, PTH211

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import io
import os
import pickle
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from attrs import field, frozen

_OPENAT2 = 437  # on every processor
_RESOLVE_IN_ROOT = 0x10
_RECORD = "SCHILY.xattr."
# Before Linux 6.6 a tmpfs holds no xattrs of users: there they get names that it takes.
_USER = "user."
_STAND_IN = "security.user."


@frozen
class Shown:
    """What stands at a path: the file type of stat(2), and the rest as it is there.

    `size` and `sha256` are those of a file's bytes. Files with one `inode` are one file with
    several names; the number says nothing else.
    """

    type: int
    mode: int
    uid: int
    gid: int
    device: tuple[int, int] = (0, 0)
    target: bytes = b""
    size: int = 0
    sha256: str = ""
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    inode: Hashable = field(default=0, eq=False)


class Overlay:
    """The process that unpacks and mounts; `lack` says why that cannot be done, if it cannot."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )

    def shows(self, layers: Sequence[bytes | Path]) -> dict[bytes, Shown]:
        """Return what a mount of the layers has at each path: tars, or files of tars, bottom first.

        Paths are raw bytes without a leading ``/``; the root is left out.
        """
        shown: dict[bytes, Shown] = self._ask(look, layers)
        return shown

    def resolves(
        self, layers: Sequence[bytes], paths: Sequence[tuple[bytes, bool]]
    ) -> list[bytes | int]:
        """Return where paths lead in such a mount, or the number of the error.

        Each comes with whether a link at its end is followed: openat2(2), RESOLVE_IN_ROOT.
        """
        found: list[bytes | int] = self._ask(_resolved, layers, paths)
        return found

    def _ask(self, what: Callable[..., Any], layers: Sequence[bytes | Path], *words: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((what, list(layers), words), self._process.stdin)
        self._process.stdin.flush()
        answer = pickle.load(self._process.stdout)
        if isinstance(answer, str):
            raise OSError(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@functools.cache
def lack() -> str:
    """Return why this machine cannot show overlay mounts; empty if it can."""
    if os.geteuid() != 0:
        return "not root"
    if not shutil.which("unshare"):
        return "unshare is not installed"
    overlay = Overlay()
    try:
        overlay.shows([bytes(1024)])
    except EOFError:
        return "no mount namespace, or no tmpfs in it, can be had"
    except OSError as error:
        return f"overlayfs cannot be mounted: {error}"
    finally:
        overlay.close()
    return ""


def _serve() -> None:
    os.umask(0)
    with tempfile.TemporaryDirectory() as place:
        _mount("tmpfs", place, "tmpfs", "")
        os.mkdir(f"{place}/empty", 0o755)
        try:
            with contextlib.suppress(EOFError):
                while True:
                    what, layers, words = pickle.load(sys.stdin.buffer)
                    try:
                        with _merged(os.fsencode(place), layers) as merged:
                            answer = what(merged, *words)
                    except OSError as error:
                        answer = str(error)
                    pickle.dump(answer, sys.stdout.buffer)
                    sys.stdout.buffer.flush()
        finally:
            _unmount(place)


@contextlib.contextmanager
def _merged(place: bytes, layers: Sequence[bytes | Path]) -> Iterator[bytes]:
    """Give the folder in which layers are mounted over one another."""
    made: list[bytes] = [place + b"/empty", place + b"/empty2"]
    os.makedirs(made[1], exist_ok=True)
    merged = place + b"/merged"
    os.makedirs(merged, exist_ok=True)
    try:
        for number, tar in enumerate(layers):
            own = place + b"/%d" % number
            os.mkdir(own, 0o755)
            with _mounted(made, merged), _opened_tar(tar) as file:
                made.append(own)
                _Unpacked(own, merged).unpack(file)
        with _mounted(made, merged):
            yield merged
    finally:
        for own in made[2:]:
            shutil.rmtree(own)


def _opened_tar(tar: bytes | Path) -> BinaryIO:
    return tar.open("rb") if isinstance(tar, Path) else io.BytesIO(tar)


@contextlib.contextmanager
def _mounted(layers: Sequence[bytes], at: bytes) -> Iterator[None]:
    _mount("overlay", at, "overlay", "lowerdir=" + ":".join(map(os.fsdecode, reversed(layers))))
    try:
        yield
    finally:
        _unmount(at)


class _Unpacked:
    """A layer on its way into its `own` directory; `beneath` shows the layers under it.

    Marks are set at the end, as what a whiteout hides is never of its own layer. A directory
    without an entry gets the attributes that it has beneath, as containerd has it.
    """

    def __init__(self, own: bytes, beneath: bytes) -> None:
        self._own, self._beneath = own, beneath
        self._implied: set[bytes] = set()
        self._whiteouts: set[bytes] = set()
        self._opaque: set[bytes] = set()

    def unpack(self, file: BinaryIO) -> None:
        """Unpack a tar."""
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                path = member.name.encode("utf-8", "surrogateescape").strip(b"/")
                folder, _, name = path.rpartition(b"/")
                self._parents(folder)
                if name == b".wh..wh..opq":
                    self._opaque.add(folder)
                elif name.startswith(b".wh."):
                    self._whiteouts.add(b"/".join(filter(None, (folder, name[4:]))))
                else:
                    self._make(tar, member, path)
        self._mark()

    def _at(self, path: bytes) -> bytes:
        return b"/".join(filter(None, (self._own, path)))

    def _parents(self, folder: bytes) -> None:
        if folder and not os.path.lexists(self._at(folder)):
            self._parents(folder.rpartition(b"/")[0])
            os.mkdir(self._at(folder))
            os.lchown(self._at(folder), 0, 0)  # else those of a setgid directory above
            os.chmod(self._at(folder), 0o755)
            self._implied.add(folder)

    def _make(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: bytes) -> None:
        at = self._at(path)
        present = os.lstat(at).st_mode if os.path.lexists(at) else None
        if member.islnk():
            target = self._at(member.linkname.encode("utf-8", "surrogateescape").strip(b"/"))
            spare = self._at(b"spare-name")
            os.link(target, spare, follow_symlinks=False)
            os.replace(spare, at)
            if os.path.lexists(spare):  # both were one file already
                os.unlink(spare)
            return
        if member.isdir() and present is not None and stat.S_ISDIR(present):
            for name in os.listxattr(at):
                os.removexattr(at, name)
            self._implied.discard(path)
        elif present is not None:
            os.unlink(at)
        self._create(tar, member, at)
        os.lchown(at, member.uid, member.gid)
        if not member.issym():
            os.chmod(at, member.mode)
        for key, value in member.pax_headers.items():
            if key.startswith(_RECORD):
                name, data = key.removeprefix(_RECORD), value.encode("utf-8", "surrogateescape")
                if name.startswith(_USER):
                    name = _STAND_IN + name.removeprefix(_USER)
                os.setxattr(at, name, data, follow_symlinks=False)

    def _create(self, tar: tarfile.TarFile, member: tarfile.TarInfo, at: bytes) -> None:
        if member.isdir():
            with contextlib.suppress(FileExistsError):
                os.mkdir(at)
        elif member.issym():
            os.symlink(member.linkname.encode("utf-8", "surrogateescape"), at)
        elif member.isfile():
            data = tar.extractfile(member)
            assert data is not None
            with Path(os.fsdecode(at)).open("wb") as made:
                shutil.copyfileobj(data, made)
        elif member.isfifo():
            os.mkfifo(at)
        else:
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            os.mknod(at, kind | 0o600, os.makedev(member.devmajor, member.devminor))

    def _mark(self) -> None:
        fresh = set()
        for path in self._whiteouts:
            at = self._at(path)
            if not os.path.lexists(at):
                os.mknod(at, stat.S_IFCHR, os.makedev(0, 0))
            elif stat.S_ISDIR(os.lstat(at).st_mode):
                fresh.add(path)
        hiding = fresh | self._opaque
        for path in hiding:
            os.setxattr(self._at(path), "trusted.overlay.opaque", b"y")
        for path in sorted(self._implied - fresh):
            if not self._hidden(path, hiding):
                self._copy(path)

    def _hidden(self, path: bytes, hiding: set[bytes]) -> bool:
        """Tell whether a directory above `path` hides what is beneath."""
        return any(not one or path.startswith(one + b"/") for one in hiding if one != path)

    def _copy(self, path: bytes) -> None:
        """Give a directory the attributes that it has beneath, if it is one there."""
        names = path.split(b"/")
        for count in range(1, len(names) + 1):
            beneath = self._beneath + b"/" + b"/".join(names[:count])
            try:
                found = os.lstat(beneath)
            except FileNotFoundError:
                return
            if not stat.S_ISDIR(found.st_mode):
                return
        at = self._at(path)
        os.lchown(at, found.st_uid, found.st_gid)
        os.chmod(at, stat.S_IMODE(found.st_mode))
        for name in os.listxattr(beneath):
            os.setxattr(at, name, os.getxattr(beneath, name))


def look(folder: bytes) -> dict[bytes, Shown]:
    """Return what stands at each path below a folder."""
    return dict(_walk(folder, b""))


def together(found: Mapping[bytes, Shown]) -> set[tuple[bytes, ...]]:
    """Return the paths that are names of one file, for each file that has several."""
    names: dict[Hashable, list[bytes]] = {}
    for path, one in found.items():
        if one.type == stat.S_IFREG:
            names.setdefault(one.inode, []).append(path)
    return {tuple(sorted(paths)) for paths in names.values() if len(paths) > 1}


def _resolved(merged: bytes, paths: Sequence[tuple[bytes, bool]]) -> list[bytes | int]:
    root = os.open(merged, os.O_PATH | os.O_DIRECTORY)
    try:
        return [_opened(root, path, follow) for path, follow in paths]
    finally:
        os.close(root)


def _opened(root: int, path: bytes, follow: bool) -> bytes | int:
    flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    how = struct.pack("=3Q", flags, 0, _RESOLVE_IN_ROOT)
    for _ in range(100):
        found = _libc.syscall(_OPENAT2, root, path, how, len(how))
        if found >= 0:
            try:
                whole = os.readlink(b"/proc/self/fd/%d" % found)
                top = os.readlink(b"/proc/self/fd/%d" % root)
            finally:
                os.close(found)
            return whole.removeprefix(top).strip(b"/")
        if ctypes.get_errno() != errno.EAGAIN:  # what is mounted elsewhere makes it ask again
            break
    return ctypes.get_errno()


def _walk(root: bytes, folder: bytes) -> Iterator[tuple[bytes, Shown]]:
    for name in os.listdir(root + b"/" + folder):
        path = b"/".join(filter(None, (folder, name)))
        at = root + b"/" + path
        try:
            found = os.lstat(at)
        except FileNotFoundError:
            continue  # a whiteout over nothing may be listed, but is not there
        yield path, _look(at, found)
        if stat.S_ISDIR(found.st_mode):
            yield from _walk(root, path)


def _look(at: bytes, found: os.stat_result) -> Shown:
    kind = stat.S_IFMT(found.st_mode)
    file = kind == stat.S_IFREG
    device = (0, 0)
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        device = (os.major(found.st_rdev), os.minor(found.st_rdev))
    return Shown(
        kind,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        device,
        os.readlink(at) if kind == stat.S_IFLNK else b"",
        found.st_size if file else 0,
        _sha256(at) if file else "",
        _xattrs(at),
        (found.st_dev, found.st_ino),
    )


def _sha256(at: bytes) -> str:
    with Path(os.fsdecode(at)).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _xattrs(at: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return those that layers have; a machine may have given others."""
    found = {}
    for name in os.listxattr(at, follow_symlinks=False):
        own = _USER + name.removeprefix(_STAND_IN) if name.startswith(_STAND_IN) else name
        if own.startswith(_USER) or own in ("security.capability", "security.note"):
            found[os.fsencode(own)] = os.getxattr(at, name, follow_symlinks=False)
    return tuple(sorted(found.items()))


_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, at: str | bytes, kind: str, options: str) -> None:
    words = (source.encode(), os.fsencode(at), kind.encode())
    if _libc.mount(*words, 0, options.encode()) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _unmount(at: str | bytes) -> None:
    if _libc.umount2(os.fsencode(at), 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


if __name__ == "__main__":
    from tests.support import overlay

    overlay._serve()
