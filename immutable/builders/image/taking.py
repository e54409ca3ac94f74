"""What kinds share that take from another image: ``from``, its pin, its layers for a platform."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen
from typing_extensions import override

from immutable.builders.base import BaseImage, Builder, Foundation, LockScope, Read, Scope
from immutable.builders.image.pinned import Pinned, PinnedLayer, PlatformBase, documents, read
from immutable.builders.image.places import InRegistry, OnDisk, OtherSpec, Place, parse
from immutable.errors import BlobMissing, ImageError, RegistryError, TransportError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.oci.platforms import Platform
from immutable.spec.derivation import Derivation, Job, Snapshot
from immutable.spec.document import Layer
from immutable.spec.lock import LockedLayer, Pin
from immutable.spec.toml import parsed_by

if TYPE_CHECKING:
    from immutable.transports import DiskTransport, Source

KIND: Final = "image"  # what makes a layer of an image that is no spec's
VERSION: Final = 1


@frozen
class ImageOptions:
    """An ``image`` layer: `from` is another spec's path, or says where an image is."""

    from_: OtherSpec | OnDisk | InRegistry = field(metadata=parsed_by(parse, str))


class TakingBuilder(Builder):
    """A kind whose options have a `from_` as `ImageOptions` do."""

    @override
    def request(self, options: Any, read: Read) -> Mapping[str, Any] | None:
        """Return the reference, without a host; a spec has a lock of its own."""
        return None if isinstance(options.from_, OtherSpec) else {"from": options.from_.asked}

    @override
    def base_spec(self, options: Any) -> str | None:
        """Return the path of the other spec; None for anything else."""
        return options.from_.path if isinstance(options.from_, OtherSpec) else None

    @override
    def on_disk(self, options: Any) -> DiskTransport | None:
        """Return the layout or archive that `from` writes."""
        place = options.from_
        return place.transport if isinstance(place, OnDisk) else None

    @override
    def lock(self, layer: Layer, given: LockScope) -> LockedLayer:
        """Pin the digest of what the reference means now.

        Where the lock only lacks a platform, the digest that is pinned stays if it has that.
        Raises TransportError where there is no such image, or none for one of the platforms,
        and ImageError for one that none can build upon.
        """
        place: Place = layer.options.from_
        previous = given.previous
        if previous is not None and not given.upgrade and previous.request["from"] == place.asked:
            with suppress(BlobMissing, ImageError, TransportError):
                return _locked(layer, place, given, _root(previous))
        return _locked(layer, place, given, None)

    @override
    def scan(self, layer: Layer, locked: LockedLayer | None, scope: Scope) -> Snapshot | None:
        """Read the pinned manifests and configs, or plan the other spec."""
        place = layer.options.from_
        foundations: Mapping[Platform, Foundation]
        if isinstance(place, OtherSpec):
            foundations = scope.foundation(scope.folder / place.path)
        else:
            assert locked is not None  # noqa: S101 - a plan has a lock that is not stale
            pinned = Pinned(place, _root(locked), scope)
            foundations = {
                platform: _foundation(base, pinned, layer.name)
                for platform, base in pinned.platforms(scope.platforms).items()
            }
        digests = [layer.digest for found in foundations.values() for layer in found.layers]
        return Snapshot(Digest.of(" ".join(map(str, digests)).encode()), foundations)

    @override
    def foundation(self, snapshot: Snapshot, platform: Platform) -> Foundation:
        """Return what the other image has for `platform`."""
        foundation: Foundation = snapshot.data[platform]
        return foundation


def _root(locked: LockedLayer) -> Descriptor:
    """Return the pinned descriptor; its media type is not known before its bytes are."""
    pin = locked.pin[0]
    return Descriptor("", pin.sha256, pin.size)


def _locked(layer: Layer, place: Place, given: LockScope, root: Descriptor | None) -> LockedLayer:
    """Return the answer that pins `root`, or what `place` means now."""
    with documents(place, given.scope, root) as source:
        platforms = tuple(p for p in given.platforms if _offers(source, p, given))
        pin = Pin(
            name=place.pin_name,
            version="",
            architecture="",
            path="",
            size=source.root.size,
            sha256=source.root.digest,
            why=("asked for",),
        )
    return LockedLayer(layer.name, layer.kind, {"from": place.asked}, platforms, (), (pin,))


def _offers(source: Source, platform: Platform, given: LockScope) -> bool:
    """Tell whether there is an image for `platform`; raise if one is needed and there is none."""
    try:
        read(source, platform)
    except RegistryError:
        raise
    except (ImageError, TransportError):
        # Others are what the lock was once made for, on another machine.
        if platform in given.scope.platforms:
            raise
        return False
    return True


def _foundation(base: PlatformBase, pinned: Pinned, name: str) -> Foundation:
    found = BaseImage(pinned.place.base_name, base.manifest, base.config)
    jobs = tuple(_job(layer, pinned, name) for layer in base.layers)
    return Foundation(jobs, lambda _: found)


def _job(layer: PinnedLayer, pinned: Pinned, name: str) -> Job:
    return Job(
        Derivation(
            kind=KIND,
            version=VERSION,
            mtime=0,
            options={
                "media-type": oci.family(layer.blob.media_type),
                "size": layer.blob.size,
                "diff-id": str(layer.diff_id),
            },
            sources=(layer.blob.digest,),
        ),
        name=name,
        snapshot=Snapshot(layer.blob.digest, pinned),
    )
