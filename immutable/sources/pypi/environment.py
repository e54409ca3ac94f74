"""The Python that an image has: its markers (PEP 508) and the wheels that fit it (PEP 425).

Pure: nothing here is asked of this machine.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from attrs import frozen

from immutable.oci.platforms import Platform
from immutable.redact import quoted
from immutable.spec.toml import FaultError

if TYPE_CHECKING:
    from packaging.tags import Tag

_PYTHON: Final = re.compile(r"3\.(\d{1,2})(?:\.(\d{1,3}))?", re.ASCII)
_LIBC: Final = re.compile(r"(glibc-2|musl-1)\.(\d{1,2})", re.ASCII)
_OLDEST: Final = 8  # before that, ABIs had an "m" at the end

# `uname -m` for OCI's architectures; wheels are called by the same names.
_MACHINES: Final = {
    ("386", ""): "i686",
    ("amd64", ""): "x86_64",
    ("arm", "v5"): "armv5tel",
    ("arm", "v6"): "armv6l",
    ("arm", "v7"): "armv7l",
    ("arm64", ""): "aarch64",
    ("loong64", ""): "loongarch64",
    ("mips64le", ""): "mips64",
    ("ppc64le", ""): "ppc64le",
    ("riscv64", ""): "riscv64",
    ("s390x", ""): "s390x",
}
# PEP 600: the old names of three versions, and how far back each architecture goes.
_LEGACY: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_FIRST: Final = {"x86_64": 5, "i686": 5}
_FIRST_OF_OTHERS: Final = 17


def check_python(text: str) -> str:
    """Return `text` if it is a Python's version; raise FaultError otherwise."""
    match = _PYTHON.fullmatch(text)
    if not match or int(match[1]) < _OLDEST:
        raise FaultError(f'expected a version of Python like "3.11", found {quoted(text, 40)}')
    return text


def check_libc(text: str) -> str:
    """Return `text` if it names a C library; raise FaultError otherwise."""
    if not _LIBC.fullmatch(text):
        raise FaultError(f'expected a C library like "glibc-2.36", found {quoted(text, 40)}')
    return text


@frozen
class Environment:
    """CPython of version `python` upon `libc`, for `platform`.

    ``3.11`` counts as 3.11.0 where a marker asks for more.
    """

    python: str
    libc: str
    platform: Platform

    @property
    def minor(self) -> str:
        """The version's first two numbers: ``3.11``."""
        return ".".join(self.python.split(".")[:2])

    @property
    def full(self) -> str:
        """The version's three numbers."""
        return self.python if self.python.count(".") == 2 else f"{self.python}.0"

    @property
    def machine(self) -> str:
        """What the kernel calls the architecture."""
        return _MACHINES[self.platform.architecture, self.platform.variant]

    @property
    def interpreter(self) -> str:
        """The interpreter's tag, which is its ABI's too: ``cp311``."""
        return "cp" + self.minor.replace(".", "")

    def markers(self) -> dict[str, str]:
        """Return the value of every environment marker of PEP 508."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.full,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.full,
            "python_version": self.minor,
            "sys_platform": "linux",
            "extra": "",
        }

    def platform_tags(self) -> list[str]:
        """Return the platform tags of wheels that run here, the best first (PEP 600, 656)."""
        return [*self._libc_tags(), f"linux_{self.machine}"]

    def tags(self) -> tuple[Tag, ...]:
        """Return the tags of wheels that fit, the best first."""
        return _tags(self.interpreter, tuple(map(int, self.minor.split("."))), self._platforms())

    def _platforms(self) -> tuple[str, ...]:
        return tuple(self.platform_tags())

    def _libc_tags(self) -> Iterator[str]:
        match = _LIBC.fullmatch(self.libc)
        assert match is not None  # noqa: S101 - check_libc is the way in
        newest, machine = int(match[2]), self.machine
        if match[1] == "musl-1":
            for minor in range(newest, -1, -1):
                yield f"musllinux_1_{minor}_{machine}"
            return
        for minor in range(newest, _FIRST.get(machine, _FIRST_OF_OTHERS) - 1, -1):
            yield f"manylinux_2_{minor}_{machine}"
            if minor in _LEGACY:
                yield f"{_LEGACY[minor]}_{machine}"


@functools.lru_cache(16)
def _tags(
    interpreter: str, version: tuple[int, ...], platforms: tuple[str, ...]
) -> tuple[Tag, ...]:
    from packaging import tags

    return (
        *tags.cpython_tags(version, [interpreter], platforms),
        *tags.compatible_tags(version, interpreter, platforms),
    )
