"""The system calls that a command is refused, whatever it may do otherwise: seccomp(2).

Capabilities alone refuse most of them. The filter is for what they do not reach: new namespaces,
the kernel's keys, interfaces that are wide and of no use here, and sockets of families that no
network namespace holds apart (a virtual machine's host listens on AF_VSOCK).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

from immutable.sandbox import syscalls

_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_LOAD: Final = 0x20  # a word of seccomp_data
_EQUAL: Final = 0x15
_AT_LEAST: Final = 0x35
_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # where they stand in seccomp_data, little-endian
_PR_SET_SECCOMP: Final = 22
_FILTER: Final = 2

# AUDIT_ARCH of linux/audit.h; the numbers of the calls that are not the same on every processor.
_ARCHES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NUMBERS: Final = {
    "x86_64": {
        "clone": 56, "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155,
        "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "perf_event_open": 298,
        "userfaultfd": 323, "socket": 41,
    },
    "aarch64": {
        "clone": 220, "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "pivot_root": 41,
        "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280, "perf_event_open": 241,
        "userfaultfd": 282, "socket": 198,
    },
}  # fmt: skip
# On every processor: io_uring_setup to io_uring_register; open_tree to fspick; mount_setattr.
_IO_URING: Final = range(425, 428)
_MOUNTS: Final = (*range(428, 434), 442)
_CLONE3: Final = 435
_X32: Final = 0x40000000
_NAMESPACES: Final = 0x7E020000  # each CLONE_NEW… that clone(2) takes
_FAMILIES: Final = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK


def program(machine: str) -> bytes | None:
    """Return the filter for a processor, `struct sock_filter` after the other; None for others.

    It refuses by EPERM, and by ENOSYS where a library then takes another way: clone3, whose flags
    a filter cannot read, and io_uring. Calls of another processor than `machine` are refused too.
    """
    if machine not in _ARCHES:
        return None
    numbers = _NUMBERS[machine]
    refused, missing = _refuse(errno.EPERM), _refuse(errno.ENOSYS)
    code = [_step(_LOAD, _ARCH), _step(_EQUAL, _ARCHES[machine], yes=1), missing]
    code += [_step(_LOAD, _NUMBER)]
    if machine == "x86_64":
        code += [_step(_AT_LEAST, _X32, no=1), missing]
    code += [
        _step(_EQUAL, numbers["clone"], no=4),
        _step(_LOAD, _FIRST_ARGUMENT),
        _step(_ANY_BIT, _NAMESPACES, no=1),
        refused,
        _step(_RETURN, _ALLOW),
        _step(_EQUAL, numbers["socket"], no=3 + len(_FAMILIES)),
        _step(_LOAD, _FIRST_ARGUMENT),
    ]
    for position, family in enumerate(_FAMILIES):
        code.append(_step(_EQUAL, family, yes=len(_FAMILIES) - position))
    code += [_refuse(errno.EAFNOSUPPORT), _step(_RETURN, _ALLOW)]
    for number in (_CLONE3, *_IO_URING):
        code += [_step(_EQUAL, number, no=1), missing]
    for number in (
        *_MOUNTS,
        *(n for name, n in numbers.items() if name not in ("clone", "socket")),
    ):
        code += [_step(_EQUAL, number, no=1), refused]
    return b"".join([*code, _step(_RETURN, _ALLOW)])


def install() -> None:
    """Hold this process, and all that it starts, to the filter, where there is one."""
    code = program(os.uname().machine)
    if code is None:
        return
    held = ctypes.create_string_buffer(code, len(code))
    given = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(held))
    syscalls.prctl(_PR_SET_SECCOMP, _FILTER, given)


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _refuse(code: int) -> bytes:
    return _step(_RETURN, _ERRNO | code)
