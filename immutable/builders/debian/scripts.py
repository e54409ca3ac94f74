"""Which packages' scripts would have done more than was made in their stead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from immutable.builders.debian import shell
from immutable.builders.debian.package import UnpackedPackage
from immutable.builders.debian.system import SYNTHESISED

# debhelper's sections that have no effect on an image's files, or one that is made here:
# services are not started in an image, bytecode and caches are made on use.
_HARMLESS: Final = frozenset(
    {
        "dh_installalternatives",
        "dh_installdeb",
        "dh_installmenu",
        "dh_installsystemd",
        "dh_installinit",
        "dh_makeshlibs",
        "dh_python3",
        "dh_systemd_enable",
        "dh_systemd_start",
    }
)
_BEGINS: Final = "# Automatically added by "
_ENDS: Final = "# End automatically added section"
_IDLE: Final = frozenset({"set", "exit", ":", "true", "esac", "fi", "}", "case", "in"})


def not_run(package: UnpackedPackage) -> bool:
    """Tell whether the package has a script that installing runs and whose work is undone here."""
    if package.name in SYNTHESISED:
        return False
    return any(_acts(package.text(name)) for name in ("preinst", "postinst"))


def _acts(script: str) -> bool:
    rest = "\n".join(_own_lines(script))
    return any(words[0] not in _IDLE for words in shell.commands(rest))


def _own_lines(script: str) -> Iterator[str]:
    """Yield the lines of `script` outside debhelper's harmless sections."""
    within = False
    for line in script.splitlines():
        if line.startswith(_BEGINS):
            within = line.removeprefix(_BEGINS).partition("/")[0].strip() in _HARMLESS
        if not within:
            yield line
        if line.startswith(_ENDS):
            within = False
