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
    from immutable.build import BuiltLayer, BuiltPlatform, Image, build
    from immutable.config import Config
    from immutable.copying import copy
    from immutable.digest import Digest
    from immutable.errors import ImmutableError
    from immutable.generations import Version, generations, rollback
    from immutable.locking import Locked, check, lock
    from immutable.oci import Descriptor, ImageConfig, Index, Manifest
    from immutable.plan import load
    from immutable.platforms import Platform
    from immutable.prune import Pruned, prune
    from immutable.retention import Policy
    from immutable.spec import Spec
    from immutable.store import MemoryStore, Store
    from immutable.verify import Difference, verify

__version__ = "0.1.0"

__all__ = [
    "BuiltLayer",
    "BuiltPlatform",
    "Config",
    "Descriptor",
    "Difference",
    "Digest",
    "Image",
    "ImageConfig",
    "ImmutableError",
    "Index",
    "Locked",
    "Manifest",
    "MemoryStore",
    "Platform",
    "Policy",
    "Pruned",
    "Spec",
    "Store",
    "Version",
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
    **dict.fromkeys(("BuiltLayer", "BuiltPlatform", "Image", "build"), "build"),
    **dict.fromkeys(("Descriptor", "ImageConfig", "Index", "Manifest"), "oci"),
    **dict.fromkeys(("Locked", "check", "lock"), "locking"),
    **dict.fromkeys(("Version", "generations", "rollback"), "generations"),
    **dict.fromkeys(("Pruned", "prune"), "prune"),
    "Policy": "retention",
    **dict.fromkeys(("MemoryStore", "Store"), "store"),
    **dict.fromkeys(("Difference", "verify"), "verify"),
    "Config": "config",
    "Digest": "digest",
    "ImmutableError": "errors",
    "Platform": "platforms",
    "Spec": "spec",
    "copy": "copying",
    "load": "plan",
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
