"""Folders of our own: made for their user alone, and not believed where others can write.

What is kept in them decides what goes into an image: settings, keys, indexes. Whoever can write
a folder can put other files in place of those in it, whatever the files' own modes are.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from immutable.errors import SpecError

MODE: Final = 0o700
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def make_private(folder: Path) -> None:
    """Make `folder`, and the parents it lacks, for this user alone whatever the umask.

    One that is there stays as it is. Raises OSError where the disk refuses.
    """
    # The XDG Base Directory Specification asks for 0700 of the base directories, too.
    for path in (*reversed(folder.parents), folder):
        try:
            path.mkdir(MODE)
        except OSError:
            if not path.is_dir():
                raise


def open_for_owner(path: str, flags: int) -> int:
    """Open a file, as `opener` of `open`; others cannot read or write a new one."""
    return os.open(path, flags, 0o600)


def is_foreign(status: os.stat_result) -> bool:
    """Whether a file or folder belongs to another user than this one and root."""
    return status.st_uid not in (0, os.geteuid())


def others_write(status: os.stat_result) -> int:
    """Return the bits of a mode by which others than its owner can write; 0 for none.

    A group of the user's own with nobody else in it, as Debian gives to each user, is no other.
    """
    mode = status.st_mode & OTHERS_WRITE
    return mode & ~stat.S_IWGRP if _is_private_group(status.st_gid) else mode


def _is_private_group(number: int) -> bool:
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    named = user.pw_gid == number and user.pw_name == group.gr_name
    return named and not {*group.gr_mem} - {user.pw_name}


def expect_private(path: Path, status: os.stat_result) -> None:
    """Raise SpecError if others could have written the open file `path`, or replaced it.

    `status` is the file's. Its folder and that one's parent are looked at, by its name and where
    its name leads to.
    """
    _expect(path, status, "file")
    _expect_own_name(path)
    expect_private_folder(path.parent)
    expect_private_folder(path.resolve().parent)


def expect_private_folder(folder: Path) -> None:
    """Raise SpecError if others could have put other files into `folder`, or replaced it."""
    _expect_own_name(folder)
    for place in (folder, folder.absolute().parent):
        with _readable(place):
            status = place.stat()
        # In a sticky folder, as /tmp is, nobody can rename or remove what is another's.
        sticky = status.st_mode & stat.S_ISVTX
        _expect(place, status, "folder", ignored=OTHERS_WRITE if sticky else 0)


def _expect_own_name(path: Path) -> None:
    """Raise SpecError for another user's link: in a sticky folder it can lead to a file of ours."""
    with _readable(path):
        status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        _expect(path, status, "link", ignored=OTHERS_WRITE)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpecError(str(path), [f"cannot be read: {error.strerror}"]) from None


def _expect(path: Path, status: os.stat_result, what: str, *, ignored: int = 0) -> None:
    """Raise SpecError if others could have written `path`, saying why and what to do."""
    if is_foreign(status):
        advice = f"chown {'-h ' if what == 'link' else ''}{os.geteuid()} {path}"
        fault = (
            f"expected a {what} of this user or root, found one of user {status.st_uid}; "
            f"look at what it holds, then run `{advice}`"
        )
    elif others_write(status) & ~ignored:
        fault = (
            f"expected a {what} that only its owner can write, "
            f"found mode {stat.S_IMODE(status.st_mode):04o}; run `chmod go-w {path}`"
        )
    else:
        return
    raise SpecError(str(path), [fault])
