"""The keys of a ``wheels`` layer, and where in the image they put what wheels hold."""

from __future__ import annotations

import re
from typing import Final

from attrs import field, frozen

from immutable.builders.wheels.install import Places
from immutable.oci.platforms import Platform
from immutable.redact import quoted
from immutable.sources.pypi import Environment, check_libc, check_python
from immutable.spec.toml import FaultError, parsed_by
from immutable.spec.types import LayerCount, Owner, Target
from immutable.spec.types import target as parse_target

# A folder of this form belongs to an installation, whose programs stand within the same prefix.
_LIBRARY: Final = re.compile(r"(?P<prefix>(?:/.*)?)/lib/python3(?:\.\d+)?/(?:site|dist)-packages")
_INTERPRETER: Final = Target("/usr/bin/python3")
_LONGEST: Final = 120  # Linux before 5.1 cuts a script's first line at 127 bytes


def _interpreter(text: str) -> str:
    path = parse_target(text)
    if path == "/" or not path.isascii() or not path.isprintable() or " " in path:
        raise FaultError(f"expected an absolute path without spaces, found {quoted(text)}")
    if len(path) > _LONGEST:
        raise FaultError(f"expected a path of at most {_LONGEST} bytes, found {len(path)}")
    return path


def _folder(text: str) -> str:
    path = parse_target(text)
    if path == "/":
        raise FaultError("expected a folder below the root, found the root itself")
    return path


@frozen
class WheelsOptions:
    """A ``wheels`` layer: what `lockfile`, relative to the spec's folder, has for `python`.

    `lockfile` is a ``pylock.toml``, known by its ending, or a requirements file with hashes.
    `extras` and `groups` (PEP 751) choose from the former; `groups` take the place of its default
    ones. `libc` is the image's. `target` is where packages go, by default where Debian's Python
    looks for what dpkg did not install; `scripts` is where programs go. `bytecode` compiles
    modules, and wants all three numbers of `python`. `layers` spreads the packages over at most so
    many.
    """

    lockfile: str
    python: str = field(metadata=parsed_by(check_python))
    target: Target | None = field(default=None, metadata=parsed_by(_folder))
    scripts: Target | None = field(default=None, metadata=parsed_by(_folder))
    interpreter: Target = field(default=_INTERPRETER, metadata=parsed_by(_interpreter))
    libc: str = field(default="glibc-2.36", metadata=parsed_by(check_libc))
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    bytecode: bool = False
    owner: Owner | None = None
    layers: LayerCount | None = None

    def __attrs_post_init__(self) -> None:
        if self.bytecode and self.python.count(".") < 2:
            raise FaultError(
                "bytecode: differs between releases of Python; write all three numbers of it, "
                f'like python = "{self.python}.2"'
            )

    def environment(self, platform: Platform) -> Environment:
        """Return the Python that the image has for `platform`."""
        return Environment(self.python, self.libc, platform)

    @property
    def places(self) -> Places:
        """Where everything goes: as in an installation, or all within the target."""
        minor = ".".join(self.python.split(".")[:2])
        library = self.target or f"/usr/local/lib/python{minor}/dist-packages"
        match = _LIBRARY.fullmatch(library)
        prefix = match["prefix"] if match else library
        include = f"{prefix}/include" + (f"/python{minor}" if match else "")
        return Places(
            library, self.scripts or f"{prefix}/bin", include, prefix or "/", self.interpreter
        )
