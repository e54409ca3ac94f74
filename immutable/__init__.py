"""immutable: a Nix-style declarative builder of OCI images.

    import immutable

    spec = immutable.load("specs/hello.toml")
    with immutable.Store.open() as store:
        image = immutable.build(spec, store)
        print(image.digest)

The same spec and the same lock give the same digest on every machine.
"""

from immutable.build import BuiltLayer, BuiltPlatform, Image, build
from immutable.config import Config
from immutable.copying import copy
from immutable.digest import Digest
from immutable.errors import ImmutableError
from immutable.locking import Locked, check, lock
from immutable.oci import Descriptor, ImageConfig, Index, Manifest
from immutable.plan import load
from immutable.platforms import Platform
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
    "Spec",
    "Store",
    "build",
    "check",
    "copy",
    "load",
    "lock",
    "verify",
]
