"""Where indexes are kept: which files of a folder are believed.

The archive's signature vouches for the text of an index, not for what is kept of it. So a kept file
is believed only where nobody but this user and root could have written it, and only with the bytes
that its name promises: ``TEXT-KEPT.sqlite``, of the digest of the signed text and of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path

from immutable.config.private import OTHERS_WRITE, is_foreign, make_private, others_write
from immutable.errors import StoreError
from immutable.oci.digest import Digest


def prepare(folder: Path) -> None:
    """Make `folder` one that only this user can write; what others could have put there goes.

    Raises StoreError where it is another user's, or others can replace it; OSError where the
    disk refuses.
    """
    make_private(folder)
    # These may be folders that the user shares on purpose: their modes are not ours to change.
    for place in (folder.parent, folder.parent.parent):
        status = place.stat()
        if others_write(status) and not status.st_mode & stat.S_ISVTX:
            raise StoreError(
                f"{place}: expected a folder that only its owner can write, found mode "
                f"{stat.S_IMODE(status.st_mode):04o}; run `chmod go-w {place}`"
            )
    for place, status in (
        (folder.parent, folder.parent.lstat()),
        (folder.parent, folder.parent.stat()),
        (folder, folder.lstat()),  # a link to a folder of ours can be another user's
        (folder, folder.stat()),
    ):
        if is_foreign(status):
            raise StoreError(
                f"{place}: expected a folder of this user or root, found one of user "
                f"{status.st_uid}; set IMMUTABLE_CACHE to another"
            )
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & OTHERS_WRITE:
        folder.chmod(mode & ~OTHERS_WRITE)
        for file in (*folder.glob("*.sqlite"), *folder.glob("*.current")):
            file.unlink(missing_ok=True)


def find(folder: Path, text: Digest) -> Path | None:
    """Return the kept index of the signed `text`; remove those that cannot be believed."""
    for path in sorted(folder.glob(f"{text.hex}-*.sqlite")):
        if _is_believed(path, text):
            return path
        with contextlib.suppress(OSError):  # a cache that cannot be written to still serves
            path.unlink()
    return None


def _is_believed(path: Path, text: Digest) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or is_foreign(status):
            return False
        return not status.st_mode & OTHERS_WRITE and path.name == name_of(text, file)


def name_of(text: Digest, file: BufferedReader) -> str:
    """Return the name for `file`, which was made of the signed `text`."""
    return f"{text.hex}-{hashlib.file_digest(file, 'sha256').hexdigest()}.sqlite"
