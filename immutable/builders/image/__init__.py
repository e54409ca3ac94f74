"""Layer kind ``image``: the layers of another image, as they are, to build upon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from typing_extensions import override

from immutable.builders.base import Facts, Inputs, Scope
from immutable.builders.image.pinned import Pinned, PinnedLayer
from immutable.builders.image.taking import KIND, VERSION, ImageOptions, TakingBuilder
from immutable.errors import SpecError
from immutable.net.wanted import Wanted
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.spec.derivation import AS_IS, NO_ANSWERS, Job, Realisation

__all__ = ["ImageBuilder", "ImageOptions"]


class ImageBuilder(TakingBuilder):
    """Takes over the layers of a spec's image, or of one in a registry, a layout or an archive."""

    kind: ClassVar[str] = KIND
    version: ClassVar[int] = VERSION
    options: ClassVar[type[Any]] = ImageOptions
    as_is: ClassVar[bool] = True

    @override
    def derive(self, facts: Facts) -> tuple[Job, ...]:
        """Return the other image's layers."""
        if facts.upper or facts.snapshot is None:
            raise SpecError(
                facts.spec.where,
                [f'layer "{facts.layer.name}": an image to build upon has to be the first layer'],
            )
        if facts.layer.replace:
            fault = f'layer "{facts.layer.name}": replace: its layers are taken as they are'
            raise SpecError(facts.spec.where, [fault])
        return self.foundation(facts.snapshot, facts.platform).layers

    @override
    def wanted(self, job: Job, scope: Scope) -> Sequence[Wanted]:
        """Return the layer's blob."""
        pinned, blob = _pinned(job).seen_from(scope), _layer(job).blob
        name = f"{pinned.place.base_name} layer {blob.digest.short}"
        local = pinned.place.local
        return [Wanted(name, blob.digest, blob.size, (), through=pinned, local=local)]

    @override
    def adopt(self, job: Job, inputs: Inputs) -> Realisation:
        """Check the layer's blob, which is in the store, against its digest and diffID."""
        layer = _layer(job)
        _pinned(job).expect(layer, inputs.store)
        return Realisation(job.digest, NO_ANSWERS, AS_IS, layer.diff_id, layer.blob)


def _layer(job: Job) -> PinnedLayer:
    options = job.options
    blob = Descriptor(options["media-type"], job.derivation.sources[0], options["size"])
    return PinnedLayer(blob, Digest.parse(options["diff-id"]))


def _pinned(job: Job) -> Pinned:
    assert job.snapshot is not None  # noqa: S101 - set by _job of `taking`
    pinned: Pinned = job.snapshot.data
    return pinned
