"""Bytecode, the same wherever it is compiled: unchecked hashes (PEP 552), one way to marshal.

What the compiler makes differs between releases of Python, also between two of one minor
version. So this machine's Python has to be the one that the spec names, to the last number.
"""

from __future__ import annotations

import importlib.util
import marshal
import platform
import posixpath
import sys
import threading
import warnings
from typing import Final

from immutable.errors import SourceError

_UNCHECKED: Final = 0b01  # PEP 552: based on a hash that Python does not compare
# Warnings' filters are the process's, and one that raises would leave a module out.
_FILTERS: Final = threading.Lock()
_LARGEST: Final = 16 << 20  # bytes of a module that is worth compiling ahead


def check_compiler(python: str, layer: str) -> None:
    """Raise SourceError unless this machine's Python compiles as CPython `python` does."""
    here = platform.python_version()
    if sys.implementation.name != "cpython" or here != python:
        raise SourceError(
            f'layer "{layer}": bytecode = true wants CPython {python}, and this is '
            f"{platform.python_implementation()} {here}; build with that one, or leave bytecode out"
        )
    positions = next(iter(compile("a", "a", "exec").co_positions()))
    if None in positions:
        raise SourceError(
            f'layer "{layer}": bytecode = true wants positions in it, and this Python was told to '
            "leave them out; unset PYTHONNODEBUGRANGES"
        )


def compiled(path: str, source: bytes) -> tuple[str, bytes] | None:
    """Return where the bytecode of the module at `path` goes, and its bytes.

    None for what is no Python of this version, which a package may hold as data.
    """
    if len(source) > _LARGEST:
        return None
    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None
    # What marshal writes depends on who else holds an object. Of what it has just read, nobody.
    body = marshal.dumps(marshal.loads(marshal.dumps(code)))  # noqa: S302 - our own bytes
    head = importlib.util.MAGIC_NUMBER + _UNCHECKED.to_bytes(4, "little")
    folder, name = posixpath.split(path)
    stem = f"{name.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"
    return (
        posixpath.join(folder, "__pycache__", stem),
        head + importlib.util.source_hash(source) + body,
    )


def nothing(path: str, source: bytes) -> tuple[str, bytes] | None:  # noqa: ARG001
    """Compile nothing."""
    return None
