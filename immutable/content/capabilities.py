"""File capabilities: the text of cap_from_text(3), and the bytes of ``security.capability``.

A file has a permitted and an inheritable set, and one effective bit for all of them:
capabilities(7), "File capabilities". The bytes are those of linux/capability.h, `vfs_cap_data`,
whatever the kernel that runs here knows.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

__all__ = ["NAMES", "XATTR", "parse", "show"]

XATTR: Final = b"security.capability"
NAMES: Final = (
    "cap_chown",
    "cap_dac_override",
    "cap_dac_read_search",
    "cap_fowner",
    "cap_fsetid",
    "cap_kill",
    "cap_setgid",
    "cap_setuid",
    "cap_setpcap",
    "cap_linux_immutable",
    "cap_net_bind_service",
    "cap_net_broadcast",
    "cap_net_admin",
    "cap_net_raw",
    "cap_ipc_lock",
    "cap_ipc_owner",
    "cap_sys_module",
    "cap_sys_rawio",
    "cap_sys_chroot",
    "cap_sys_ptrace",
    "cap_sys_pacct",
    "cap_sys_admin",
    "cap_sys_boot",
    "cap_sys_nice",
    "cap_sys_resource",
    "cap_sys_time",
    "cap_sys_tty_config",
    "cap_mknod",
    "cap_lease",
    "cap_audit_write",
    "cap_audit_control",
    "cap_setfcap",
    "cap_mac_override",
    "cap_mac_admin",
    "cap_syslog",
    "cap_wake_alarm",
    "cap_block_suspend",
    "cap_audit_read",
    "cap_perfmon",
    "cap_bpf",
    "cap_checkpoint_restore",
)
"""The capabilities by their numbers, from 0, which capability.h gives."""

_EFFECTIVE: Final = 0x000001
_REVISION: Final = 24  # the bit at which it begins
_WRITTEN: Final = 2
_DATA: Final = struct.Struct("<5I")  # magic; permitted and inheritable, low; the same, high
# What each revision has: 1 only the low numbers, 3 also the root of a user namespace.
_SHAPES: Final = {1: struct.Struct("<3I"), 2: _DATA, 3: struct.Struct("<6I")}
_ALL: Final = (1 << len(NAMES)) - 1
_BITS: Final = 64
_CLAUSE: Final = re.compile(r"([A-Za-z0-9_,]*)((?:=[eip]*)?(?:[+-][eip]+)*)")
_ACTION: Final = re.compile(r"([=+-])([eip]*)")


def parse(text: str) -> bytes:
    """Return the value of ``security.capability`` for text such as ``cap_net_raw+ep``.

    The grammar is cap_from_text(3)'s: clauses between blanks, from left to right; ``all``, or no
    name before ``=``, means all of `NAMES`. A capability may also be its number, up to 63. Raises
    ValueError for anything else, and for sets that no file can have.
    """
    clauses = text.split()
    if not clauses:
        raise ValueError("expected capabilities such as cap_net_raw+ep, found none")
    sets = dict.fromkeys("eip", 0)
    for clause in clauses:
        found = _CLAUSE.fullmatch(clause)
        if found is None or not found[2] or not (found[1] or found[2].startswith("=")):
            raise ValueError(
                f"expected names and what to do with them, such as cap_net_raw+ep, found {clause!r}"
            )
        chosen = _chosen(found[1].lower()) if found[1] else _ALL
        for operator, flags in _ACTION.findall(found[2]):
            for flag in sets:
                if operator == "=" or (operator == "-" and flag in flags):
                    sets[flag] &= ~chosen
                if operator != "-" and flag in flags:
                    sets[flag] |= chosen
    return _packed(sets["e"], sets["i"], sets["p"])


def show(data: bytes) -> str:
    """Return the text for a value of ``security.capability``; `parse` gives the value again.

    That is so for revision 2 of the format. Text of revision 3 ends in the namespace's root, such
    as ``[rootid=1000]``, which `parse` does not take. Raises ValueError for what is no such value.
    """
    revision = data[3] if len(data) > 3 else 0
    shape = _SHAPES.get(revision)
    if shape is None or len(data) != shape.size:
        raise ValueError(
            "expected capabilities of a file, of revision 1, 2 or 3 in 12, 20 or 24 bytes, "
            f"found revision {revision} in {len(data)} bytes"
        )
    magic, *words = shape.unpack(data)
    if magic & ~_EFFECTIVE != revision << _REVISION:
        raise ValueError(f"expected no flag but the effective bit, found the magic {magic:#010x}")
    permitted, inheritable = words[0], words[1]
    if revision > 1:
        permitted, inheritable = permitted | words[2] << 32, inheritable | words[3] << 32
    text = _shown(bool(magic & _EFFECTIVE), inheritable, permitted)
    return f"{text} [rootid={words[4]}]" if revision == 3 else text


def _chosen(names: str) -> int:
    chosen = 0
    for name in names.split(","):
        if name == "all":
            chosen |= _ALL
        elif name in NAMES:
            chosen |= 1 << NAMES.index(name)
        elif name.isdecimal() and int(name) < _BITS:
            chosen |= 1 << int(name)
        else:
            near = get_close_matches(name, NAMES, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"expected a capability such as cap_net_raw, found {name!r}{hint}")
    return chosen


def _packed(effective: int, inheritable: int, permitted: int) -> bytes:
    held = permitted | inheritable
    if effective & ~held:
        raise ValueError(
            "expected effective capabilities to be permitted or inheritable too, such as "
            f"cap_net_raw+ep, found {_named(effective & ~held)} effective alone"
        )
    if effective and effective != held:
        raise ValueError(
            "expected all capabilities to be effective or none, as a file has one effective bit "
            f"for all, found {_named(effective)} effective and {_named(held & ~effective)} not"
        )
    low = (1 << 32) - 1
    return _DATA.pack(
        _WRITTEN << _REVISION | (_EFFECTIVE if effective else 0),
        permitted & low,
        inheritable & low,
        permitted >> 32,
        inheritable >> 32,
    )


def _shown(effective: bool, inheritable: int, permitted: int) -> str:
    """Return a clause for the capabilities that are in the same sets."""
    clauses = []
    for flags, chosen in (
        ("ip", inheritable & permitted),
        ("i", inheritable & ~permitted),
        ("p", permitted & ~inheritable),
    ):
        if chosen:
            clauses.append(f"{_named(chosen)}={'e' if effective else ''}{flags}")
    return " ".join(clauses) or "="


def _named(chosen: int) -> str:
    return "all" if chosen == _ALL else ",".join(_names(chosen))


def _names(chosen: int) -> Iterator[str]:
    for number in range(_BITS):
        if chosen >> number & 1:
            yield NAMES[number] if number < len(NAMES) else str(number)
