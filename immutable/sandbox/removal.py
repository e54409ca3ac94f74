"""Folders removed that a command made: however deep they are, and whatever their modes."""

# Little is imported, as a process starts with it; paths are looked up in folders that are open.
# ruff: noqa: PTH106, PTH108
# ruff: noqa: PTH208

from __future__ import annotations

import contextlib
import os
import stat

__all__ = ["remove"]


def remove(path: str) -> None:
    """Remove what is at `path`, if anything is. No link is followed.

    Folders are moved up to the top one before they are emptied, as a path could be too long.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(path)
        return
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _empty(top)
    finally:
        os.close(top)
    os.rmdir(path)


def _empty(top: int) -> None:
    number = 0
    again = True
    while again:
        again = False
        for name in os.listdir(top):
            if not stat.S_ISDIR(os.lstat(name, dir_fd=top).st_mode):
                os.unlink(name, dir_fd=top)
                continue
            folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
            try:
                for inner in os.listdir(folder):
                    if not stat.S_ISDIR(os.lstat(inner, dir_fd=folder).st_mode):
                        os.unlink(inner, dir_fd=folder)
                        continue
                    again = True
                    number = _move(inner, folder, top, number)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=top)


def _move(name: str, folder: int, top: int, number: int) -> int:
    """Move a folder to the top under a number that is free; return the next number."""
    while True:
        number += 1
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            if not _exists(f"{number}", top):
                os.rename(name, f"{number}", src_dir_fd=folder, dst_dir_fd=top)
                return number


def _exists(name: str, folder: int) -> bool:
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True
