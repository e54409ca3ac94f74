"""What is beneath a layer: the layers under it, and what tells them from any others."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from immutable.build.contents import LayerContents, StoredRootfs
from immutable.content.account_files import GROUP, MOST_READ, find_group
from immutable.content.entries import EntryKind
from immutable.content.placing import Standing
from immutable.oci import canonical
from immutable.oci.canonical import JSON
from immutable.oci.digest import Digest
from immutable.spec.derivation import Home, Realisation, plain_homes


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
        chain: list[JSON] = [plain_homes(self.homes), [str(one.diff_id) for one in self.layers]]
        if self.beside is not None:
            chain.append(str(self.beside))
        return Digest.of(canonical.encode(chain))

    def rootfs(self, contents: LayerContents) -> StoredRootfs:
        """Return the root file system that the layers add up to; the homes are not in it."""
        return contents.rootfs([one.blob for one in self.layers])

    def to_come(self, stored: StoredRootfs) -> Mapping[bytes, Standing]:
        """Return the homes as directories that will be there, by path.

        Those of a group that `stored`, the layers' root file system, does not have are left out:
        the last layer will refuse such a group unless a layer between brings it.
        """
        table = b""
        if any(one.gid is None for one in self.homes):
            table = stored.read(GROUP, limit=MOST_READ) or b""
        found = {}
        for one in self.homes:
            gid = find_group(table, one.group) if one.gid is None else one.gid
            if gid is not None:
                standing = Standing(EntryKind.DIRECTORY, (one.mode, one.uid, gid, ()))
                found[one.path] = standing
        return found
