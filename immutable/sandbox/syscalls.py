"""System calls that Python does not have: an OSError names the call that failed.

man-pages(7), sections 2; the numbers of those that libc has no function for are the same on every
processor (Linux 5.11, "unified syscall numbers").
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

__all__ = [
    "KEPT_CAPABILITIES",
    "die_with_parent",
    "drop_capabilities",
    "join_new_keyring",
    "mount",
    "open_beneath",
    "personality",
    "pivot_root",
    "prctl",
    "set_dumpable",
    "set_hostname",
    "set_name",
    "unmount",
    "unshare",
]

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 2

ADDR_NO_RANDOMIZE: Final = 0x0040000

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION_3: Final = 0x20080522
_OPENAT2: Final = 437
_RESOLVE_IN_ROOT: Final = 0x10
_JOIN_SESSION_KEYRING: Final = 1
# The numbers of pivot_root(2) and keyctl(2), by the processor.
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "loongarch64": 41}
_KEYCTL: Final = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "loongarch64": 219}

# linux/capability.h: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
# net_bind_service, sys_chroot, setfcap.
KEPT_CAPABILITIES: Final = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31))

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result


def unshare(flags: int) -> None:
    """Move this process to new namespaces; its children, for those of processes."""
    _check(_libc.unshare(ctypes.c_int(flags)), f"unshare {flags:#x}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount a file system of `kind`, or a part of another one."""
    result = _libc.mount(
        source.encode() or b"none",
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _check(result, f"mount {kind or source} at {target}" + (f" with {options}" if options else ""))


def unmount(target: str, flags: int = 0) -> None:
    """Take a mount away."""
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), f"unmount {target}")


def pivot_root() -> None:
    """Make the current folder, a mount, the root of all; nothing of the old root can be reached."""
    number = _of_processor(_PIVOT_ROOT, "pivot_root")
    _check(_libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    unmount(".", MNT_DETACH)
    os.chroot(".")
    os.chdir("/")


def set_hostname(name: str) -> None:
    """Set the name of the machine in this namespace."""
    _check(_libc.sethostname(name.encode(), ctypes.c_size_t(len(name))), "sethostname")


def personality(flags: int) -> None:
    """Set the execution domain of this process."""
    _check(_libc.personality(ctypes.c_ulong(flags)), f"personality {flags:#x}")


def prctl(option: int, *words: int | bytes) -> int:
    """Ask the kernel something of this process; up to four words."""
    given = [one if isinstance(one, bytes) else ctypes.c_ulong(one) for one in words]
    given += [ctypes.c_ulong(0)] * (4 - len(given))
    return _check(_libc.prctl(ctypes.c_int(option), *given), f"prctl {option}")


def die_with_parent(signal: int) -> None:
    """Have this process get `signal` when its parent, or the thread that made it, ends."""
    prctl(_PR_SET_PDEATHSIG, signal)


def set_dumpable(on: bool) -> None:
    """Say whether others of the same user may look into this process."""
    prctl(_PR_SET_DUMPABLE, int(on))


def set_name(name: str) -> None:
    """Set the name that ps(1) shows of this process."""
    prctl(_PR_SET_NAME, name.encode() + b"\0")


def join_new_keyring() -> None:
    """Leave the keys of the session behind, where the kernel has keys."""
    number = _KEYCTL.get(os.uname().machine)
    if number is not None:
        _libc.syscall(ctypes.c_long(number), ctypes.c_int(_JOIN_SESSION_KEYRING), None, 0, 0, 0)


def open_beneath(root: int, path: str, flags: int) -> int:
    """Open `path` as a process would whose root is the folder `root`: openat2(2)."""
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    for _ in range(100):
        try:
            words = (ctypes.c_int(root), os.fsencode(path), how, ctypes.c_size_t(len(how)))
            return _check(_libc.syscall(ctypes.c_long(_OPENAT2), *words), f"open {path}")
        except BlockingIOError:  # something was mounted or moved meanwhile
            continue
    raise BlockingIOError(f"open {path}")


def bound_capabilities(kept: int) -> None:
    """Let no program that is executed from now on have other capabilities than `kept`."""
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(64):
        try:
            held = prctl(_PR_CAPBSET_READ, number)
        except OSError:  # the kernel has no more
            return
        if held and not kept >> number & 1:
            prctl(_PR_CAPBSET_DROP, number)


def drop_capabilities(kept: int) -> None:
    """Give up all capabilities but `kept`, and have programs inherit none."""
    low, high = kept & 0xFFFFFFFF, kept >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    _check(_libc.capset(header, data), "capset")


def _of_processor(numbers: dict[str, int], name: str) -> int:
    machine = os.uname().machine
    if machine not in numbers:
        raise OSError(f"{name}: expected one of {', '.join(numbers)}, found {machine}")
    return numbers[machine]
