"""immutable: a Nix-style declarative builder of OCI images.

    import immutable

    spec = immutable.load("specs/hello.toml")
    with immutable.Store.open() as store:
        image = immutable.build(spec, store)
        print(image.digest)

The same spec and the same lock give the same digest on every machine.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from immutable.build.build import build
    from immutable.build.copy import copy
    from immutable.build.loading import load
    from immutable.build.lock import Locked, check, lock
    from immutable.build.results import BuiltLayer, BuiltPlatform, Image
    from immutable.build.verify import Difference, verify
    from immutable.builders.written import (
        Archive,
        Copy,
        Debian,
        Files,
        FromImage,
        InlineEntry,
        Npm,
        OtherLayer,
        Run,
        RunFetch,
        RunInput,
        Wheels,
        WrittenLayer,
    )
    from immutable.config import Config
    from immutable.errors import ImmutableError
    from immutable.lifecycle.generations import Version, generations, rollback
    from immutable.lifecycle.prune import Pruned, prune
    from immutable.lifecycle.retention import Policy
    from immutable.oci.digest import Digest
    from immutable.oci.documents import Descriptor, ImageConfig, Index, Manifest
    from immutable.oci.platforms import Platform
    from immutable.spec.document import Spec
    from immutable.spec.written import ContainerConfig, Group, Healthcheck, User
    from immutable.store import MemoryStore, Store

__version__ = "0.1.0"

__all__ = [
    "Archive",
    "BuiltLayer",
    "BuiltPlatform",
    "Config",
    "ContainerConfig",
    "Copy",
    "Debian",
    "Descriptor",
    "Difference",
    "Digest",
    "Files",
    "FromImage",
    "Group",
    "Healthcheck",
    "Image",
    "ImageConfig",
    "ImmutableError",
    "Index",
    "InlineEntry",
    "Locked",
    "Manifest",
    "MemoryStore",
    "Npm",
    "OtherLayer",
    "Platform",
    "Policy",
    "Pruned",
    "Run",
    "RunFetch",
    "RunInput",
    "Spec",
    "Store",
    "User",
    "Version",
    "Wheels",
    "WrittenLayer",
    "build",
    "check",
    "copy",
    "generations",
    "load",
    "lock",
    "prune",
    "rollback",
    "verify",
]

# All of it takes longer to import than an unchanged image takes to push.
_HOMES: Final = {
    **dict.fromkeys(("BuiltLayer", "BuiltPlatform", "Image"), "build.results"),
    **dict.fromkeys(("Descriptor", "ImageConfig", "Index", "Manifest"), "oci.documents"),
    **dict.fromkeys(("Locked", "check", "lock"), "build.lock"),
    **dict.fromkeys(("Version", "generations", "rollback"), "lifecycle.generations"),
    **dict.fromkeys(("Pruned", "prune"), "lifecycle.prune"),
    "Policy": "lifecycle.retention",
    **dict.fromkeys(("MemoryStore", "Store"), "store"),
    **dict.fromkeys(("Difference", "verify"), "build.verify"),
    **dict.fromkeys(
        (
            *("Archive", "Copy", "Debian", "Files", "FromImage", "InlineEntry", "Npm"),
            *("OtherLayer", "Run", "RunFetch", "RunInput", "Wheels", "WrittenLayer"),
        ),
        "builders.written",
    ),
    **dict.fromkeys(("ContainerConfig", "Group", "Healthcheck", "User"), "spec.written"),
    "Config": "config",
    "Digest": "oci.digest",
    "ImmutableError": "errors",
    "Platform": "oci.platforms",
    "Spec": "spec.document",
    "copy": "build.copy",
    "build": "build.build",
    "load": "build.loading",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    setattr(sys.modules[__name__], name, found)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """The package itself; a verb's module does not take the place of the verb."""

    def __setattr__(self, name: str, value: object) -> None:
        # The import system puts every submodule here, by its name.
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
