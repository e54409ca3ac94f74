"""What is beneath a layer: the layers under it, and what tells them from any others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from immutable.oci import canonical
from immutable.oci.canonical import JSON
from immutable.oci.digest import Digest
from immutable.spec.derivation import Home, Realisation, plain_homes

if TYPE_CHECKING:
    from immutable.build.contents import LayerContents, StoredRootfs


@frozen
class Below:
    """The realisations of the layers beneath one, bottom first.

    `homes` are directories that users of the spec will have if no layer makes them, so that what is
    put into one finds it as its user's. `beside` tells the image beside the layer from any other,
    where there is one: see `Job.beside`.
    """

    layers: tuple[Realisation, ...]
    homes: tuple[Home, ...] = ()
    beside: Digest | None = None

    @property
    def chain(self) -> Digest | None:
        """What tells this from anything else that can be beneath; None where there is nothing.

        It is to a root file system what OCI's ChainID is (image-spec config.md, "Layer ChainID").
        """
        if not self.layers and not self.homes and self.beside is None:
            return None
        chain: list[JSON] = [plain_homes(self.homes), [str(one) for one in self.diff_ids]]
        if self.beside is not None:
            chain.append(str(self.beside))
        return Digest.of(canonical.encode(chain))

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        """The diffIDs of the layers."""
        return tuple(one.diff_id for one in self.layers)

    def rootfs(self, contents: LayerContents) -> StoredRootfs:
        """Return the root file system that the layers add up to; the homes are not in it."""
        return contents.rootfs([one.blob for one in self.layers])
