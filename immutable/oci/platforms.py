"""Platforms in OCI's words (image-index.md, "platform"; Go's GOOS and GOARCH)."""

from __future__ import annotations

from typing import Self

from attrs import frozen

from immutable.redact import quoted

# What `platform.machine()` says on the systems we know, in OCI's words.
_MACHINES = {
    "aarch64": ("arm64", ""),
    "amd64": ("amd64", ""),
    "arm64": ("arm64", ""),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v7"),  # a 32-bit system on a 64-bit processor
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
    "ppc64le": ("ppc64le", ""),
    "riscv64": ("riscv64", ""),
    "s390x": ("s390x", ""),
    "x86_64": ("amd64", ""),
}

# https://wiki.debian.org/SupportedArchitectures
_DEBIAN = {
    ("386", ""): "i386",
    ("amd64", ""): "amd64",
    ("arm", "v5"): "armel",
    ("arm", "v6"): "armel",
    ("arm", "v7"): "armhf",
    ("arm64", ""): "arm64",
    ("loong64", ""): "loong64",
    ("mips64le", ""): "mips64el",
    ("ppc64le", ""): "ppc64el",
    ("riscv64", ""): "riscv64",
    ("s390x", ""): "s390x",
}

# How an architecture and its variant are written, and what is the same as what.
_WRITTEN = {"/".join(filter(None, pair)): pair for pair in _DEBIAN}
_NORMAL = {"arm64/v8": "arm64", "arm": "arm/v7"}


@frozen(order=True)
class Platform:
    """An operating system, an architecture and, for arm, a variant."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the platform written ``linux/<architecture>[/<variant>]``.

        ``linux/arm64/v8`` is ``linux/arm64`` and ``linux/arm`` is ``linux/arm/v7``, as
        containerd normalises them. Raises ValueError for anything we cannot build.
        """
        os, _, rest = text.partition("/")
        machine = _NORMAL.get(rest, rest)
        if os != "linux" or machine not in _WRITTEN:
            known = ", ".join(f"linux/{name}" for name in sorted(_WRITTEN))
            raise ValueError(f"expected one of {known}; found {quoted(text)}")
        return cls(os, *_WRITTEN[machine])

    @classmethod
    def of_machine(cls, machine: str) -> Self:
        """Return the Linux platform of a machine that calls itself `machine` (``uname -m``)."""
        try:
            return cls("linux", *_MACHINES[machine.lower()])
        except KeyError:
            raise ValueError(f"no OCI architecture is known for a machine {machine!r}") from None

    @property
    def debian(self) -> str:
        """Debian's name for this architecture."""
        return _DEBIAN[self.architecture, self.variant]

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
